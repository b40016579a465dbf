package lifecycle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// person is an operator with a role who is somebody else than the n others.
func (h *house) person(n int, roles gate.OperatorRoles) act.Principal {
	return act.Principal{Kind: act.Operator, ID: h.operator.ID + act.ID(n), Name: "person", Roles: uint8(roles), AuthAt: act.Micros(h.db.Clock()()), PasskeyAt: act.Micros(h.db.Clock()())}
}

// held is the approval of what was asked for and has to wait.
func held(t *testing.T, err error) act.ID {
	t.Helper()
	is(t, "it waits", err, act.Held, act.AsError(err).Rule)
	waits, ok := act.AsError(err).Unwrap().(*gate.Pending)
	if !ok {
		t.Fatalf("no approval in %v", err)
	}
	return waits.Approval
}

// A class that wants two people gets two, neither of whom has asked; what they let
// through is what the last of them left of it.
func TestCreationByQuorum(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		h.class("careful", `{"grant":{"acts":["agent.*","post.*"],"budget":{"acts":100},"life":"24h"},"approval":{"quorum":2,"asks":"approver","risk":"high"}}`)
		asker, one, two := h.operator, h.person(2, gate.OperatorApprover), h.person(3, gate.OperatorApprover)
		_, err := h.life.Request.Do(t.Context(), asker, lifecycle.NewInstance{Name: "careful-one", Class: "careful", Owner: "owner", Reason: "to write reports"})
		id := held(t, err)
		a, err := h.life.ShowApproval.Do(t.Context(), one, id)
		h.do("show", err)
		if a.Quorum != 2 || a.Risk != gate.RiskHigh || len(a.Assents) != 0 {
			t.Errorf("%+v", a)
		}
		_, err = h.life.Approve(t.Context(), asker, gate.Key{}, lifecycle.Verdict{Approval: id, Reason: "mine"})
		is(t, "by who has asked", err, act.Denied, "approval.self")
		a, err = h.life.Approve(t.Context(), one, gate.Key{}, lifecycle.Verdict{Approval: id, Reason: "reports are fine", Grant: `{"acts":["agent.*"],"budget":{"acts":10}}`})
		h.do("the first", err)
		if a.State != lifecycle.ApprovalPending || len(a.Assents) != 1 {
			t.Errorf("after the first: %s, %+v", a.State, a.Assents)
		}
		_, err = h.life.Approve(t.Context(), one, gate.Key{}, lifecycle.Verdict{Approval: id, Reason: "again"})
		is(t, "by the first again", err, act.Denied, "approval.twice")
		_, err = h.life.Approve(t.Context(), two, gate.Key{}, lifecycle.Verdict{Approval: id, Reason: "wider", Grant: `{"acts":["*"],"budget":{"acts":1000}}`})
		h.do("the second", err)
		a, err = h.life.ShowApproval.Do(t.Context(), one, id)
		h.do("show", err)
		if a.State != lifecycle.ApprovalExecuted || len(a.Assents) != 2 || a.Made.ID == 0 {
			t.Fatalf("after the second: %s %s, %+v", a.State, a.Rule, a.Assents)
		}
		p := act.Principal{Kind: act.Agent, ID: a.Made.ID, Epoch: 1}
		if err := h.writes(p); err != nil {
			t.Errorf("what it may: %v", err)
		}
		is(t, "what was taken out of its grant", h.life.Within(p, "post.create", gate.Facts{}), act.Denied, "grant.act")
		left, err := h.life.ShowBudget.Do(t.Context(), h.operator, lifecycle.Named{Agent: p.ID})
		if err != nil || left[0].Granted != 10 {
			t.Errorf("budget: %+v, %v", left, err)
		}
	})
}

// T34: who is deleted at the identity provider answers for nobody: their agents are
// stopped at once, ended when nobody takes them in time, and go on where somebody does.
func TestT34_OwnerIsGone(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("monitor", `{}`)
		who := identity.Person{Issuer: "https://idp.example", Subject: "u-1", Name: "mara", Roles: gate.OperatorOwner, AuthAt: act.Micros(w.now()), Once: "sign-in-1", Until: w.now().Add(time.Hour)}
		s, err := h.life.OpenSession.Do(t.Context(), act.Principal{Source: "idp"}, lifecycle.NewSession{Person: &who})
		h.do("sign in", err)
		mara := act.Principal{Kind: act.Operator, ID: s.Operator, Name: s.Name, Roles: uint8(gate.OperatorOwner)}
		r := h.register("maras-first")
		_, err = h.life.Claim.Do(t.Context(), mara, lifecycle.NewClaim{ClaimToken: r.ClaimToken})
		h.do("claim", err)
		owner := h.show(r.Agent).OwnerName
		p, _ := h.born(lifecycle.NewInstance{Name: "maras-second", Class: "monitor", Owner: owner})
		lost, _ := h.born(lifecycle.NewInstance{Name: "maras-third", Class: "monitor", Owner: owner})
		if err := h.writes(p); err != nil {
			t.Fatal(err)
		}
		_, err = h.life.LapseSession.Do(t.Context(), act.Principal{Source: "idp"}, who)
		h.do("the provider knows her no more", err)
		is(t, "her agent", h.writes(p), act.Denied, "standing.paused")
		list, err := h.life.ListCauses.Do(t.Context(), h.operator, lifecycle.CauseQuery{})
		if err != nil || len(list) != 3 || list[0].Rule != "owner.gone" {
			t.Errorf("orphans: %+v, %v", list, err)
		}
		_, err = h.life.Request.Do(t.Context(), h.operator, lifecycle.NewInstance{Name: "maras-fourth", Class: "monitor", Owner: owner, Reason: "x"})
		is(t, "a new one of hers", err, act.Denied, "halt.birth")
		_, err = h.life.Adopt.Do(t.Context(), h.operator, lifecycle.Adoption{Agent: p.ID, Owner: "team-b", Reason: "they need it"})
		h.do("adopt", err)
		if err := h.writes(p); err != nil {
			t.Errorf("who was adopted: %v", err)
		}
		w.move(lifecycle.DefaultGrace + time.Minute)
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 2 {
			t.Errorf("%d ended, %v", n, err)
		}
		if a := h.show(lost.ID); a.Standing != act.Expired {
			t.Errorf("the one that nobody took is %s", a.Standing)
		}
		if err := h.writes(p); err != nil {
			t.Errorf("who was adopted, later: %v", err)
		}
	})
}

// T34: the team of an owner is what the identity provider says when they sign in; who has left
// one answers for its agents no more, and what it does not speak of stays.
func TestT34_TeamFollowsTheProvider(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("monitor", `{}`)
		n := 0
		enter := func(team *string) (lifecycle.Session, error) {
			n++
			return h.life.SignIn(t.Context(), act.Principal{Source: "idp"}, lifecycle.NewSession{Person: &identity.Person{
				Issuer: "https://idp.example", Subject: "u-1", Name: "mara", Roles: gate.OperatorOwner, Team: team, AuthAt: act.Micros(w.now()), Once: fmt.Sprint("sign-in-", n), Until: w.now().Add(time.Hour),
			}})
		}
		pricing, stock, bad := "pricing", "stock", "a\nb"
		s, err := enter(&pricing)
		h.do("sign in", err)
		r := h.register("maras-first")
		_, err = h.life.Claim.Do(t.Context(), act.Principal{Kind: act.Operator, ID: s.Operator, Name: s.Name, Roles: uint8(gate.OperatorOwner)}, lifecycle.NewClaim{ClaimToken: r.ClaimToken})
		h.do("claim", err)
		p, _ := h.born(lifecycle.NewInstance{Name: "maras-second", Class: "monitor", Owner: h.show(r.Agent).OwnerName})
		works := func(when, team string, goesOn bool) {
			t.Helper()
			if f := h.life.Facts(p.ID); f.Team != team {
				t.Errorf("%s she works in %q, want %q", when, f.Team, team)
			}
			if err := h.writes(p); (err == nil) != goesOn {
				t.Errorf("%s her agent: %v", when, err)
			}
		}
		_, err = enter(&pricing)
		h.do("sign in again", err)
		works("from no team to a first one", pricing, true)
		_, err = enter(nil)
		h.do("sign in where nothing is said", err)
		works("where nothing is said", pricing, true)
		_, err = enter(&bad)
		is(t, "a team that is none", err, act.Invalid, "team.name")
		_, err = enter(&stock)
		h.do("sign in from another team", err)
		works("after she has moved", stock, false)
		list, err := h.life.ListCauses.Do(t.Context(), h.operator, lifecycle.CauseQuery{})
		if err != nil || len(list) != 2 || list[0].Rule != "owner.moved" {
			t.Errorf("orphans: %+v, %v", list, err)
		}
	})
}

// T34: who works in another team answers no more for what the first one wanted: their
// agents wait, are taken over, kept, or ended when nobody says anything.
func TestT34_OwnerMovesToAnotherTeam(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		h.class("monitor", `{}`)
		move := func(team string, keep bool) error {
			_, err := h.life.MoveOwner.Do(t.Context(), h.operator, lifecycle.OwnerMove{Owner: "team-a", Team: team, Keep: keep, Reason: "x"})
			return err
		}
		is(t, "a move of nobody", move("pricing", false), act.NotFound, "owner.name")
		p, _ := h.born(lifecycle.NewInstance{Name: "first", Class: "monitor", Owner: "team-a"})
		lost, _ := h.born(lifecycle.NewInstance{Name: "second", Class: "monitor", Owner: "team-a"})
		other, _ := h.born(lifecycle.NewInstance{Name: "third", Class: "monitor", Owner: "team-b"})
		is(t, "a name that is none", move("a\nb", false), act.Invalid, "team.name")
		h.do("the first team", move("pricing", false))
		if err := h.writes(p); err != nil {
			t.Errorf("who had no team has moved from none: %v", err)
		}
		if f := h.life.Facts(p.ID); f.Team != "pricing" || h.life.Facts(other.ID).Team != "" {
			t.Errorf("teams: %+v, %+v", f, h.life.Facts(other.ID))
		}
		is(t, "the same again", move("pricing", false), act.Conflict, "owner.team")

		h.do("along with their agents", move("stock", true))
		if err := h.writes(p); err != nil || h.life.Facts(p.ID).Team != "stock" {
			t.Errorf("who came along: %v, %+v", err, h.life.Facts(p.ID))
		}

		h.do("without them", move("legal", false))
		is(t, "their agent", h.writes(p), act.Denied, "standing.paused")
		if err := h.writes(other); err != nil {
			t.Errorf("somebody else's: %v", err)
		}
		list, err := h.life.ListCauses.Do(t.Context(), h.operator, lifecycle.CauseQuery{})
		if err != nil || len(list) != 2 || list[0].Rule != "owner.moved" {
			t.Errorf("orphans: %+v, %v", list, err)
		}
		h.do("they keep them after all", move("legal", true))
		if err := h.writes(p); err != nil {
			t.Errorf("who was kept: %v", err)
		}

		h.do("on again", move("", false))
		_, err = h.life.Adopt.Do(t.Context(), h.operator, lifecycle.Adoption{Agent: p.ID, Owner: "team-b", Reason: "they need it"})
		h.do("adopt", err)
		w.move(lifecycle.DefaultGrace + time.Minute)
		if n, err := h.life.Sweep(t.Context()); err != nil || n != 1 {
			t.Errorf("%d ended, %v", n, err)
		}
		if a := h.show(lost.ID); a.Standing != act.Expired {
			t.Errorf("the one that nobody took is %s", a.Standing)
		}
		if err := h.writes(p); err != nil {
			t.Errorf("who was adopted: %v", err)
		}
	})
}
