package lifecycle_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// weighed has the record followed to its end, and trust changed by it.
func (h *house) weighed() {
	h.t.Helper()
	h.numbered()
	h.do("weigh trust", h.life.WeighTrust(h.t.Context()))
}

// ward is an agent with its key: its principal is another after each change of its trust.
type ward struct {
	id  act.ID
	key string
}

func (h *house) ward(name, owner string) ward {
	h.t.Helper()
	r := h.register(name)
	_, err := h.life.Claim.Do(h.t.Context(), h.operator, lifecycle.NewClaim{Agent: r.Agent, Owner: owner})
	h.do("claim", err)
	return ward{r.Agent, r.Key}
}

// tomorrow moves the clock by a day.
func (h *house) tomorrow(w *watch) {
	h.t.Helper()
	w.move(24 * time.Hour)
	h.reserved(w)
}

// reserved reserves ids after the clock has leapt.
func (h *house) reserved(w *watch) {
	h.t.Helper()
	h.do("reserve ids", h.db.Reserve(h.t.Context(), w.now().Add(time.Minute)))
}

// live lets days pass, on each of which the agents act.
func (h *house) live(w *watch, days int, wards ...ward) {
	h.t.Helper()
	for range days {
		for _, one := range wards {
			h.do("a day's act", h.writes(h.principal(one.key)))
		}
		h.tomorrow(w)
	}
	for _, one := range wards { // by that the last day is over
		h.do("an act", h.writes(h.principal(one.key)))
	}
	h.weighed()
}

// trusts fails unless an agent is trusted so far, by memory, by its row and by its history.
func (h *house) trusts(one ward, want trust.Level, rule string) {
	h.t.Helper()
	a := h.show(one.id)
	if now := h.life.Facts(one.id).Trust; now != want || a.Trust != want || a.Trusted.Rule != rule || a.Trusted.Level != want {
		h.t.Fatalf("%s is trusted %s in memory and %s in its row, by %+v; want %s by %s", a.Name, now, a.Trust, a.Trusted, want, rule)
	}
}

func (h *house) vouch(one ward, l trust.Level) {
	h.t.Helper()
	_, err := h.life.Entrust.Do(h.t.Context(), h.operator, lifecycle.Entrusting{Agent: one.id, Level: l, Reason: "known to us"})
	h.do("vouch", err)
}

// likes has agents vote for a post of another, once each.
func (h *house) likes(of ward, by ...ward) {
	h.t.Helper()
	post, err := h.post(h.principal(of.key), "praise")
	h.do("post", err)
	for _, one := range by {
		_, err := h.net.CastVote.Do(h.t.Context(), h.principal(one.key), network.NewVote{Target: network.Named{ID: post.ID}, On: act.KindPost, Up: true})
		h.do("vote", err)
	}
}

// Trust is earned in days by what an agent does, and lost at once by what is found against it.
func TestTrustIsEarnedAndLost(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		one := h.ward("steady", "ann")
		h.live(w, 6, one)
		if a := h.show(one.id); a.Trust != trust.Unknown || a.Trusted.Rule != "" {
			t.Fatalf("after six days: %s, %+v", a.Trust, a.Trusted)
		}
		h.live(w, 1, one)
		h.trusts(one, trust.Normal, trust.RuleEarned)
		_, err := h.life.Quarantine.Do(t.Context(), h.operator, lifecycle.Order{Agent: one.id, Reason: "look"})
		h.do("quarantine", err)
		if now := h.life.Facts(one.id).Trust; now != trust.Low {
			t.Errorf("with the quarantine it is trusted %s", now)
		}
		_, err = h.life.Release.Do(t.Context(), h.operator, lifecycle.Order{Agent: one.id, Reason: "nothing"})
		h.do("release", err)
		h.weighed()
		h.trusts(one, trust.Low, trust.RuleStopped)
		if why := h.show(one.id).Trusted.Reason; !strings.HasPrefix(why, "agent.quarantine on ") || !strings.HasSuffix(why, " of the record)") {
			t.Errorf("the evidence is %q", why)
		}
		h.live(w, 8, one)
		h.trusts(one, trust.Low, trust.RuleStopped) // once it was low it takes twice as long
		h.live(w, 8, one)
		h.trusts(one, trust.Normal, trust.RuleEarned)
		_, err = h.labels.Flag.Do(t.Context(), h.operator, provenance.TaintOrder{Subject: one.id, Reason: "spam"})
		h.do("flag", err)
		h.weighed()
		h.trusts(one, trust.Low, trust.RuleFlagged)
		h.live(w, 20, one)
		_, err = h.life.Adopt.Do(t.Context(), h.operator, lifecycle.Adoption{Agent: one.id, Owner: "ben", Reason: "ann has left"})
		h.do("adopt", err)
		h.weighed()
		h.trusts(one, trust.Unknown, trust.RuleAdopted)
		page, err := h.life.ListTrust.Do(t.Context(), h.principal(one.key), lifecycle.TrustQuery{Agent: one.id, Limit: 4})
		if h.do("history", err); len(page.Items) != 4 || page.Next.IsZero() || page.Items[1].Rule != trust.RuleEarned || page.Items[3].Rule != trust.RuleEarned {
			t.Errorf("the history: %+v", page.Items)
		}
		if n := h.count(qEvents, "agent.trust", int64(one.id)); n != 6 {
			t.Errorf("%d changes on record, want 6", n)
		}
	})
}

// T44, T45, T46: agents that praise each other lift nobody, be they of one owner or of many;
// those who are valued by agents that are trusted already rise, one owner counting once.
func TestT46_RingsLiftNobody(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		ring := []ward{h.ward("ring-one", "a"), h.ward("ring-two", "b"), h.ward("ring-three", "c"), h.ward("ring-four", "d")}
		honest, farm := h.ward("honest", "ann"), h.ward("farm", "x")
		all := append([]ward{honest, farm}, ring...)
		h.live(w, 8, all...)
		seeds := []ward{h.ward("seed-one", "ben"), h.ward("seed-two", "eve"), h.ward("seed-three", "kim"), h.ward("seed-four", "ben"), h.ward("seed-five", "ben")}
		for _, s := range seeds {
			h.vouch(s, trust.High)
		}
		for _, one := range ring {
			h.likes(one, ring...)
		}
		h.likes(honest, seeds[:3]...)
		h.likes(farm, seeds[0], seeds[3], seeds[4]) // three agents of one owner
		h.live(w, 24, all...)
		for _, one := range append(ring, farm) {
			h.trusts(one, trust.Normal, trust.RuleEarned)
		}
		h.trusts(honest, trust.High, trust.RuleSupported)

		// It stays high with one of them less, and not with two.
		h.vouch(seeds[1], trust.Low)
		h.live(w, 1, honest)
		h.trusts(honest, trust.High, trust.RuleSupported)
		h.vouch(seeds[2], trust.Unknown)
		h.live(w, 1, honest)
		h.trusts(honest, trust.Normal, trust.RuleUnsupported)
	})
}

// An operator's word stands in the place of what is earned, visibly, until it is taken back;
// what they did not know of ends one in favour. Who is low has children that are.
func TestOperatorsSayWhomTheyTrust(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		idle := h.ward("idle", "ann") // it has never done anything
		_, err := h.life.Quarantine.Do(t.Context(), h.operator, lifecycle.Order{Agent: idle.id, Reason: "look"})
		h.do("quarantine", err)
		h.weighed()
		_, err = h.life.Release.Do(t.Context(), h.operator, lifecycle.Order{Agent: idle.id, Reason: "nothing"})
		h.do("release", err)
		h.trusts(idle, trust.Low, trust.RuleStopped)

		one := h.ward("vouched", "ann")
		h.vouch(one, trust.High)
		h.trusts(one, trust.High, trust.RuleSaid)
		if why := h.show(one.id).Trusted; why.ByName != "operator" || why.Reason != "known to us" || why.Earned != trust.Unknown {
			t.Errorf("the word of an operator: %+v", why)
		}
		h.live(w, 8, one)
		h.trusts(one, trust.High, trust.RuleEarned) // beneath the word
		h.vouch(one, trust.Unknown)
		h.trusts(one, trust.Normal, trust.RuleSaid)
		h.vouch(one, trust.High)
		_, err = h.life.Quarantine.Do(t.Context(), h.operator, lifecycle.Order{Agent: one.id, Reason: "look"})
		h.do("quarantine", err)
		h.weighed()
		h.trusts(one, trust.Low, trust.RuleStopped)

		h.class("family", strings.Replace(family, `"24h"`, `"2400h"`, 1))
		for i, level := range []trust.Level{trust.High, trust.Low} {
			parent, _ := h.born(lifecycle.NewInstance{Name: []string{"trusted", "limited"}[i], Class: "family"})
			h.vouch(ward{id: parent.ID}, level)
			parent.Epoch = h.show(parent.ID).Epoch
			child, err := h.child(parent, lifecycle.NewInstance{Name: parent.Name + "-child", Class: "family", Grant: `{"budget":{"acts":10}}`})
			h.do("child", err)
			want := trust.Inherited(level)
			if a := h.show(child.ID); a.Trust != want || h.life.Facts(child.ID).Trust != want {
				t.Errorf("the child of %s begins as %s (%s in memory)", parent.Name, a.Trust, h.life.Facts(child.ID).Trust)
			}
			h.do("an act of the child", h.writes(child))
			h.weighed()
			if a := h.show(child.ID); a.Trust != want {
				t.Errorf("the child of %s has become %s", parent.Name, a.Trust)
			}
		}
		_, err = h.life.Entrust.Do(t.Context(), h.principal(h.ward("friend", "ann").key), lifecycle.Entrusting{Agent: one.id, Level: trust.High, Reason: "a friend"})
		is(t, "the word of an agent", err, act.Denied, "default-deny")
	})
}

// Of two nodes that follow the record at once nothing counts twice, and nothing is left out
// when one of them is gone. A policy that reads trust decides otherwise on every node as
// soon as a level is answered.
func TestTrustOnEveryNode(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	w := &watch{}
	cfg.Clock = w.now
	rules := policy.File{Name: "trust.cedar", Text: `@id("unproven")
@hint("Who is trusted changes its profile.")
forbid (principal is Agent, action == Action::"agent.update", resource)
when { principal.trust == "low" };`}
	hub := bus.NewLocal()
	a := open(t, cfg, plan{hub: hub, rules: rules})
	b := open(t, cfg, plan{hub: hub, rules: rules, dir: a.dir, deaf: true})
	one := a.ward("steady", "ann")
	on := func(h *house) error { return h.writes(h.principal(one.key)) }
	for range 7 {
		a.do("a day's act", on(a))
		b.numbered()
		var both sync.WaitGroup
		for _, h := range []*house{a, b} {
			both.Go(func() {
				if err := h.life.WeighTrust(t.Context()); err != nil {
					t.Errorf("weigh trust: %v", err)
				}
			})
		}
		both.Wait()
		a.tomorrow(w)
		b.reserved(w)
	}
	b.do("the last act", on(b)) // which the other one does not see any more
	b.weighed()
	b.trusts(one, trust.Normal, trust.RuleEarned)
	if why := b.show(one.id).Trusted.Reason; !strings.Contains(why, "active on 7 days") {
		t.Errorf("the evidence is %q", why)
	}
	c := open(t, cfg, plan{hub: hub, rules: rules, dir: a.dir, deaf: true})
	for _, h := range []*house{b, c} {
		h.do("an act", on(h))
	}
	b.vouch(one, trust.Low)
	for _, h := range []*house{b, c} {
		is(t, "who is limited", on(h), act.Denied, "unproven")
	}
	c.vouch(one, trust.Unknown)
	for _, h := range []*house{b, c} {
		h.do("who is not any more", on(h))
	}
}

// T05: where a policy asks for it, the keys of an agent of high trust take a second person,
// and those of others do not.
func TestT05_KeysOfTrustedAgentsTakeTwo(t *testing.T) {
	rules := policy.File{Name: "keys.cedar", Text: `@id("recover-trusted")
@hold("approver")
permit (principal is Operator, action == Action::"credential.recover", resource)
when { resource.author_trust == "high" && principal in Role::"admin" };`}
	h := open(t, storetest.Config(t, store.SQLite), plan{rules: rules})
	one := h.ward("steady", "ann")
	recover := func() error {
		_, err := h.issuer.Recover.Do(t.Context(), h.operator, identity.Recovery{Agent: one.id, Owner: "ann", Reason: "they lost it"})
		return err
	}
	h.vouch(one, trust.High)
	id := held(t, recover())
	h.do("an act under the old key", h.writes(h.principal(one.key)))
	_, err := h.life.Approve(t.Context(), h.person(2, gate.OperatorApprover), gate.Key{}, lifecycle.Verdict{Approval: id, Reason: "ann called"})
	h.do("approve", err)
	_, err = h.ids.Authenticate(t.Context(), one.key)
	is(t, "the old key", err, act.Unauthenticated, "key.revoked")
	h.vouch(one, trust.Unknown)
	h.do("recover who is not trusted", recover())
}
