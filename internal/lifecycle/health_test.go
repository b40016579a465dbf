package lifecycle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/store"
)

// watched has the record followed to its end.
func (h *house) watched() {
	h.t.Helper()
	h.numbered()
	h.do("watch", h.life.Watch(h.t.Context()))
}

// numbered gives all that has happened its numbers.
func (h *house) numbered() {
	h.t.Helper()
	h.gate.Flush()
	if h.db.Dialect() == store.Postgres {
		lease, leads, err := h.db.Lead(h.t.Context(), store.SequencerLease)
		if err == nil && !leads {
			err = errors.New("somebody else numbers events")
		}
		h.do("lead", err)
		for n := 1; n > 0 && err == nil; {
			n, err = h.db.SequencePass(h.t.Context(), lease)
		}
		h.do("number the events", err)
	}
}

func (h *house) notices() []lifecycle.Notice {
	h.t.Helper()
	list, err := h.life.ListNotices.Do(h.t.Context(), h.operator, lifecycle.NoticeQuery{})
	h.do("notices", err)
	return list
}

// post makes a post in a community of its own.
func (h *house) post(p act.Principal, community string) (network.Post, error) {
	_, err := h.net.CreateCommunity.Do(h.t.Context(), act.SystemPrincipal("setup"), network.NewCommunity{Name: community, DisplayName: "Place"})
	if act.CodeOf(err) != act.Conflict {
		h.do("community", err)
	}
	return h.net.CreatePost.Do(h.t.Context(), p, network.NewPost{Community: community, Title: "a beginning", Content: "x"})
}

// T39: two agents that always answer each other, and one that answers itself, are stopped at
// the cap of their class; who talks to many is not. The record names the rule and what was
// found, the owner of the rule lets them go on, and the count begins anew.
func TestT39_LoopsAreStopped(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("talker", `{"health":{"turns":{"limit":6,"window":"10m","does":"pause"}}}`)
		one, _ := h.born(lifecycle.NewInstance{Name: "one", Class: "talker"})
		two, _ := h.born(lifecycle.NewInstance{Name: "two", Class: "talker"})
		self, _ := h.born(lifecycle.NewInstance{Name: "self", Class: "talker"})
		h.watched()
		said := func(p act.Principal, under network.Post, above act.ID) (act.ID, error) {
			in := network.NewComment{Post: network.Named{ID: under.ID}, Content: "and then?"}
			in.Parent.ID = above
			c, err := h.net.CreateComment.Do(t.Context(), p, in)
			h.watched()
			return c.ID, err
		}
		loop := func(title string, pair ...act.Principal) (said1 int) {
			t.Helper()
			post, err := h.post(pair[0], "talk")
			h.do("post", err)
			var last act.ID
			for i := range 20 {
				c, err := said(pair[(i+1)%len(pair)], post, last)
				if err != nil {
					is(t, title, err, act.Denied, "standing.paused")
					return i
				}
				last = c
			}
			return 20
		}
		if n := loop("two that answer each other", one, two); n != 6 {
			t.Errorf("two that answer each other were stopped after %d turns", n)
		}
		if n := loop("one that answers itself", self); n != 6 {
			t.Errorf("one that answers itself was stopped after %d turns", n)
		}
		for _, p := range []act.Principal{one, two, self} {
			if a := h.show(p.ID); a.Standing != act.Paused || !strings.HasPrefix(a.Reason, "health.turns: 6 turns with ") {
				t.Errorf("%s is %s: %q", p.Name, a.Standing, a.Reason)
			}
		}
		if list := h.notices(); len(list) != 3 || list[0].Rule != "health.turns" || list[0].Does != "pause" {
			t.Errorf("notices: %+v", list)
		}
		_, err := h.life.Appeal.Do(t.Context(), h.operator, lifecycle.Order{Agent: one.ID, Reason: "they negotiate"})
		h.do("appeal", err)
		h.watched()
		if err := h.writes(one); err != nil {
			t.Errorf("after the appeal: %v", err)
		}
		if list := h.notices(); len(list) != 2 {
			t.Errorf("notices after the appeal: %+v", list)
		}
		_, err = h.life.Appeal.Do(t.Context(), h.operator, lifecycle.Order{Agent: one.ID, Reason: "again"})
		is(t, "an appeal against nothing", err, act.Conflict, "appeal.none")
		_, err = h.life.Quarantine.Do(t.Context(), h.operator, lifecycle.Order{Agent: two.ID, Reason: "look"})
		h.do("quarantine", err)
		_, err = h.life.Appeal.Do(t.Context(), h.operator, lifecycle.Order{Agent: two.ID, Reason: "they negotiate"})
		is(t, "an appeal against an operator's order", err, act.Conflict, "appeal.none")
		for i := range 8 { // new threads with many, each of two turns
			post, err := h.post(one, fmt.Sprint("place-", i))
			h.do("post", err)
			if _, err := said(one, post, 0); err != nil {
				t.Fatalf("in another thread: %v", err)
			}
		}
	})
}

// Repeated denials quarantine, a rule that ends gives the owner the time of grace, and an
// alert stops nobody. What was dealt with is not dealt with twice.
func TestHealthRulesStop(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("prober", `{"grant":{"acts":["agent.me","agent.update"]},"health":{"denials":{"limit":8,"window":"10m","does":"quarantine"}}}`)
		h.class("brittle", `{"grace":"1h","health":{"errors":{"limit":60,"least":5,"window":"10m","does":"terminate"}}}`)
		h.class("watched", `{"health":{"denials":{"limit":3,"window":"10m","does":"alert"}}}`)
		prober, _ := h.born(lifecycle.NewInstance{Name: "prober", Class: "prober"})
		brittle, _ := h.born(lifecycle.NewInstance{Name: "brittle", Class: "brittle"})
		appealed, _ := h.born(lifecycle.NewInstance{Name: "appealed", Class: "brittle"})
		looked, _ := h.born(lifecycle.NewInstance{Name: "looked", Class: "watched"})
		h.watched()
		for range 8 {
			_, err := h.life.ListCauses.Do(t.Context(), prober, lifecycle.CauseQuery{})
			is(t, "what is not granted", err, act.Denied, "grant.act")
		}
		for _, p := range []act.Principal{brittle, appealed} {
			for range 5 {
				_, err := h.net.CreateComment.Do(t.Context(), p, network.NewComment{Content: "x"})
				is(t, "a comment on nothing", err, act.NotFound, "")
			}
		}
		for range 7 {
			_, err := h.life.ListCauses.Do(t.Context(), looked, lifecycle.CauseQuery{})
			is(t, "what no policy permits", err, act.Denied, "default-deny")
		}
		h.watched()
		if a := h.show(prober.ID); a.Standing != act.Quarantined || !strings.HasPrefix(a.Reason, "health.denials: grant.act refused it 8 times within 10m (numbers ") {
			t.Errorf("the prober is %s: %q", a.Standing, a.Reason)
		}
		if a := h.show(brittle.ID); a.Standing != act.Paused || !strings.HasPrefix(a.Reason, "health.errors: ") {
			t.Errorf("the brittle one is %s: %q", a.Standing, a.Reason)
		}
		if err := h.writes(looked); err != nil {
			t.Errorf("one that is only told of: %v", err)
		}
		if n := len(h.notices()); n != 4 {
			t.Errorf("%d notices: %+v", n, h.notices())
		}
		h.watched()
		if n := len(h.notices()); n != 4 {
			t.Errorf("%d notices when nothing has happened", n)
		}
		causes, err := h.life.ListCauses.Do(t.Context(), h.operator, lifecycle.CauseQuery{})
		if err != nil || len(causes) != 2 || causes[0].Rule != "health.errors" || causes[0].EndsAt-causes[0].Since != time.Hour.Microseconds() {
			t.Errorf("orphans: %+v, %v", causes, err)
		}
		_, err = h.life.Appeal.Do(t.Context(), h.operator, lifecycle.Order{Agent: appealed.ID, Reason: "its peer was down"})
		h.do("appeal", err)
		w.move(2 * time.Hour)
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 1 {
			t.Errorf("%d ended, %v", n, err)
		}
		if a := h.show(brittle.ID); a.Standing != act.Expired || !strings.HasPrefix(a.Reason, "health.errors: ") {
			t.Errorf("the brittle one is %s: %q", a.Standing, a.Reason)
		}
		if err := h.writes(appealed); err != nil {
			t.Errorf("who was let go on: %v", err)
		}
	})
}

// A budget that is nearly used up is told of once for each level, before anything stops.
func TestBudgetsWarn(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		h.class("spender", `{"grant":{"budget":{"acts":100,"tokens":1000}},"warn_at":[50,90],"health":{"burn":{"limit":40,"window":"1h","does":"alert"}}}`)
		p, _ := h.born(lifecycle.NewInstance{Name: "spender", Class: "spender"})
		rules := func() (list []string) {
			h.watched()
			for _, n := range h.notices() {
				list = append(list, n.Rule)
			}
			return list
		}
		spend := func(n int64) {
			t.Helper()
			_, err := h.life.Report.Do(t.Context(), p, lifecycle.Usage{Tokens: n})
			h.do("report", err)
		}
		spend(100)
		if got := rules(); len(got) != 0 {
			t.Errorf("at a tenth: %v", got)
		}
		spend(410)
		if got := strings.Join(rules(), " "); !strings.Contains(got, "budget.tokens.50") || !strings.Contains(got, "health.burn") || len(h.notices()) != 2 {
			t.Errorf("at a half: %v", got)
		}
		spend(100)
		if got := rules(); len(got) != 2 {
			t.Errorf("still above a half: %v", got)
		}
		spend(390)
		if got := rules(); len(got) != 3 {
			t.Errorf("at the end: %v", got)
		}
		_, err := h.life.Report.Do(t.Context(), p, lifecycle.Usage{Tokens: 1})
		is(t, "one more", err, act.Denied, "budget.tokens")
	})
}

// A class's rates let a burst through and then one act at a time; what comes to nothing is
// given back, and siblings have rates of their own.
func TestRatesOfAClass(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("steady", `{"rates":[{"acts":["agent.update"],"limit":6,"window":"1m","burst":2},{"acts":["agent.*"],"limit":1000,"window":"1m"}]}`)
		p, _ := h.born(lifecycle.NewInstance{Name: "steady", Class: "steady"})
		sibling, _ := h.born(lifecycle.NewInstance{Name: "sibling", Class: "steady"})
		long := strings.Repeat("x", 10_000)
		_, err := h.net.UpdateProfile.Do(t.Context(), p, network.ProfileChange{Description: &long})
		if act.CodeOf(err) == act.RateLimited || err == nil {
			t.Fatalf("too long a description: %v", err)
		}
		for range 2 {
			h.do("within the burst", h.writes(p))
		}
		err = h.writes(p)
		is(t, "beyond it", err, act.RateLimited, "class.rate")
		if wait := act.AsError(err).RetryAfter; wait <= 0 || wait > 10*time.Second {
			t.Errorf("it is told to wait %s", wait)
		}
		if err := h.reads(p); err != nil {
			t.Errorf("another act: %v", err)
		}
		if err := h.writes(sibling); err != nil {
			t.Errorf("the sibling: %v", err)
		}
		w.move(10 * time.Second)
		h.do("ten seconds later", h.writes(p))
		is(t, "and no more", h.writes(p), act.RateLimited, "class.rate")
	})
}

// follows does what the chore of a node does: it watches while it leads.
func (h *house) follows() (leads bool) {
	h.t.Helper()
	_, leads, err := h.db.Lead(h.t.Context(), "conduct")
	if h.do("lead", err); leads {
		h.do("watch", h.life.Watch(h.t.Context()))
	}
	return leads
}

// When the node that judges is gone another one goes on: what the first has counted counts
// once, neither twice nor not at all, and what was found is done once.
func TestConductIsTakenOver(t *testing.T) {
	a, b := twoNodes(t, false)
	a.class("prober", `{"grant":{"acts":["agent.me","agent.update"]},"health":{"denials":{"limit":8,"window":"10m","does":"quarantine"}}}`)
	prober, _ := a.born(lifecycle.NewInstance{Name: "prober", Class: "prober"})
	denied := func(n int) {
		t.Helper()
		for range n {
			_, err := b.life.ListCauses.Do(t.Context(), prober, lifecycle.CauseQuery{})
			is(t, "what is not granted", err, act.Denied, "grant.act")
		}
		b.numbered()
	}
	standing := func(want act.Standing) {
		t.Helper()
		if x := b.show(prober.ID); x.Standing != want {
			t.Fatalf("the prober is %s: %q, want %s", x.Standing, x.Reason, want)
		}
	}
	if !a.follows() || b.follows() {
		t.Fatal("the first node does not lead alone")
	}
	denied(5)
	a.follows()
	lease, leads, err := a.db.Lead(t.Context(), "conduct")
	if a.do("lead", err); !leads {
		t.Fatal("the first node leads no more")
	}
	a.do("end", a.db.Resign(t.Context(), lease)) // it is gone, with all that it has counted
	if !b.follows() {
		t.Fatal("the second node does not take over")
	}
	standing(act.Active)
	denied(2)
	b.follows()
	standing(act.Active) // 7 of 8: the first 5 would be 10 by now, had they counted twice
	denied(1)
	b.follows()
	standing(act.Quarantined)
	if why := b.show(prober.ID).Reason; !strings.HasPrefix(why, "health.denials: grant.act refused it 8 times within 10m (numbers ") {
		t.Errorf("the evidence is %q", why)
	}
	a.do("the first node again", a.life.Watch(t.Context())) // it comes back, and finds it known
	if n := a.count(qEvents, "health.stop", int64(prober.ID)); n != 1 {
		t.Errorf("%d stops on record", n)
	}
}
