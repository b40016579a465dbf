package lifecycle_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T34: one renewal keeps all agents of a process; when it is silent they are paused, and end
// when their grace is over, and nobody else's do.
func TestT34_LostProcess(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("hosted", `{"grace":"1h"}`)
		agents := h.fleet("hosted", 4)
		foreign, _ := h.born(lifecycle.NewInstance{Name: "foreign", Class: "hosted", Owner: "others"})
		open := func(by act.Principal, held ...act.ID) (lifecycle.Process, error) {
			return h.life.OpenProcess.Do(t.Context(), by, lifecycle.NewProcess{Name: "runtime", Lease: 10 * time.Second, Agents: held})
		}
		_, err := open(agents[0], agents[1].ID, foreign.ID)
		is(t, "with another owner's agent", err, act.Denied, "process.agent")
		p, err := open(agents[0], agents[1].ID, agents[2].ID)
		h.do("open", err)
		again, err := open(agents[0], agents[1].ID, agents[2].ID)
		if err != nil || again.ID != p.ID || again.Agents != 3 {
			t.Errorf("opened again: %+v, %v", again, err)
		}
		_, err = h.life.RenewProcess.Do(t.Context(), agents[1], p.ID)
		is(t, "renewed by another", err, act.NotFound, "process.unknown")
		for range 4 { // longer than a lease in all
			w.move(8 * time.Second)
			_, err := h.life.RenewProcess.Do(t.Context(), agents[0], p.ID)
			h.do("renew", err)
			h.do("write renewals down", h.life.RenewLeases(t.Context()))
			if n, err := h.life.Sweep(t.Context()); err != nil || n != 0 || h.show(agents[2].ID).Standing != act.Active {
				t.Fatalf("%d ended, %v", n, err)
			}
		}
		list, err := h.life.ListProcesses.Do(t.Context(), h.operator, struct{}{})
		if err != nil || len(list) != 1 || list[0].Agents != 3 || list[0].Keeper != agents[0].ID {
			t.Errorf("processes: %+v, %v", list, err)
		}
		w.move(11 * time.Second)
		_, err = h.life.RenewProcess.Do(t.Context(), agents[0], p.ID)
		is(t, "renewed too late", err, act.Gone, "process.lost")
		_, err = h.life.Sweep(t.Context())
		h.do("sweep", err)
		for _, one := range agents[:3] {
			if a := h.show(one.ID); a.Standing != act.Paused || !strings.HasPrefix(a.Reason, "process.lost: the process runtime was silent") {
				t.Errorf("%s is %s: %q", one.Name, a.Standing, a.Reason)
			}
		}
		for _, one := range []act.Principal{agents[3], foreign} {
			if err := h.writes(one); err != nil {
				t.Errorf("%s, which no process holds: %v", one.Name, err)
			}
		}
		_, err = h.life.Resume.Do(t.Context(), h.operator, lifecycle.Order{Agent: agents[1].ID, Reason: "its machine is back"})
		h.do("resume", err)
		w.move(2 * time.Hour)
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 2 {
			t.Errorf("%d ended, %v", n, err)
		}
		if err := h.writes(agents[1]); err != nil {
			t.Errorf("who was resumed: %v", err)
		}
	})
}

// T35: an agent that falls silent again and again is brought back once, and a parent whose
// children die waits before it has the next.
func TestT35_NoRevivalAfterTwoDeaths(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("broken", `{"heartbeat":"5s","tolerance":1,"grace":"1h"}`)
		h.class("elder", `{"grant":{"spawn":{"classes":["broken"],"depth":1,"fan_out":20}}}`)
		p, _ := h.born(lifecycle.NewInstance{Name: "crasher", Class: "broken"})
		elder, _ := h.born(lifecycle.NewInstance{Name: "elder", Class: "elder"})
		revived := 0
		for range 10 {
			w.move(6 * time.Second)
			_, err := h.life.Sweep(t.Context())
			h.do("sweep", err)
			_, err = h.life.Resume.Do(t.Context(), h.operator, lifecycle.Order{Agent: p.ID, Reason: "the node is up again"})
			if err != nil {
				is(t, "brought back", err, act.Conflict, "revival.tombstone")
				continue
			}
			revived++
		}
		if revived != 1 {
			t.Errorf("brought back %d times", revived)
		}
		if list := h.notices(); len(list) != 1 || list[0].Rule != "revival.tombstone" || list[0].Agent != p.ID {
			t.Errorf("notices: %+v", list)
		}
		born := 0
		for i := range 10 {
			_, err := h.child(elder, lifecycle.NewInstance{Name: fmt.Sprint("crash-", i), Class: "broken"})
			eventually(t, "the node may make ids again", func() bool {
				if act.CodeOf(err) == act.Unavailable {
					_, err = h.child(elder, lifecycle.NewInstance{Name: fmt.Sprint("crash-", i), Class: "broken"})
				}
				return act.CodeOf(err) != act.Unavailable
			})
			if err == nil {
				born++
			} else {
				is(t, "another child", err, act.RateLimited, "spawn.back-off")
			}
			w.move(6 * time.Second)
			_, err = h.life.Sweep(t.Context())
			h.do("sweep", err)
		}
		if born != 2 {
			t.Errorf("%d children were born", born)
		}
	})
}

// What nobody has claimed, and what nobody uses, is found on demand and told of once.
func TestIdleAgentsAreFound(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		waiting, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "waiting", Invite: h.invite("")})
		h.do("register", err)
		used, _ := h.active("used")
		h.active("unused")
		rules := func() string {
			var list []string
			causes, err := h.life.ListCauses.Do(t.Context(), h.operator, lifecycle.CauseQuery{})
			h.do("orphans", err)
			for _, c := range causes {
				list = append(list, h.life.Name(c.Agent)+" "+c.Rule)
			}
			return strings.Join(list, ", ")
		}
		if got := rules(); got != "" {
			t.Errorf("at first: %s", got)
		}
		w.move(25 * time.Hour)
		if state := h.show(waiting.Agent).Standing; state == act.Requested {
			if got := rules(); got != "waiting claim.never" {
				t.Errorf("after a day: %s", got)
			}
		}
		w.move(31 * 24 * time.Hour)
		_, err = h.ids.Authenticate(t.Context(), "nobody's")
		if err == nil {
			t.Error("a key that is nobody's")
		}
		if got := rules(); !strings.Contains(got, "unused credential.unused") || !strings.Contains(got, used.Name+" credential.unused") {
			t.Errorf("after a month: %s", got)
		}
		h.do("tell", h.life.TellIdle(t.Context()))
		n := len(h.notices())
		h.do("tell again", h.life.TellIdle(t.Context()))
		if n < 2 || len(h.notices()) != n {
			t.Errorf("%d notices, then %d", n, len(h.notices()))
		}
	})
}

// T42: of 500 requests of one agent in an hour few are held, the rest is throttled, and
// nobody's silence does anything. Who decides sees how many are alike, and how it was
// decided before.
func TestT42_ApprovalFatigue(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		asker, _ := h.active("asker")
		held, throttled := 0, 0
		for i := range 500 {
			err := h.db.Write(t.Context(), func(tx *store.Tx) error {
				_, err := h.life.Keep(tx, gate.Call{
					Act: "post.create", Principal: asker, Input: fmt.Appendf(nil, `{"n":%d}`, i), Demand: gate.Obligation{Name: gate.Hold, Arg: "operator"},
					Decision: gate.Decision{Allow: true, Policy: "held-posts"},
				})
				return err
			})
			switch e := act.AsError(err); {
			case err == nil:
				held++
			case e.Code == act.RateLimited:
				throttled++
			default:
				t.Fatalf("request %d: %v (%v)", i, err, errors.Unwrap(err))
			}
			if i%7 != 0 || err != nil {
				continue
			}
			page, err := h.life.ListApprovals.Do(t.Context(), h.operator, lifecycle.ApprovalQuery{State: lifecycle.ApprovalPending})
			h.do("list", err)
			newest := page.Items[0]
			if newest.Alike != int64(len(page.Items)) {
				t.Fatalf("%d are alike of %d", newest.Alike, len(page.Items))
			}
			_, err = h.life.Deny.Do(t.Context(), h.operator, lifecycle.Verdict{Approval: newest.ID, Reason: "no"})
			h.do("deny", err)
		}
		if held > lifecycle.MaxAsked || held+throttled != 500 {
			t.Errorf("%d held, %d throttled", held, throttled)
		}
		page, err := h.life.ListApprovals.Do(t.Context(), h.operator, lifecycle.ApprovalQuery{State: lifecycle.ApprovalPending})
		if err != nil || len(page.Items) > lifecycle.MaxPending || page.Items[0].Past.Denied == 0 || page.Items[0].Past.Approved != 0 {
			t.Errorf("%d wait, of the past %+v, %v", len(page.Items), page.Items[0].Past, err)
		}
		if made := h.count(qEvents, "post.create", 0); made != 0 {
			t.Errorf("%d posts were made", made)
		}
	})
}
