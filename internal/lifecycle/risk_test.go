package lifecycle_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// What a request risks is shown to who decides, part by part, and takes more people where
// the class says so. Who asks counts, and what was denied them before.
func TestRiskRaisesTheQuorum(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		h.class("worker", `{"grant":{"acts":["agent.*","approval.*","post.*"],"egress":[],"budget":{"acts":100,"tokens":1,"money_micros":1,"cpu_ms":1},"life":"24h",
			"spawn":{"classes":["worker"],"depth":2,"fan_out":3}},
			"approval":{"raise":[{"risk_at_least":11,"quorum":1},{"risk_at_least":15,"quorum":2,"risk":"high"}]}}`)
		one := h.person(2, gate.OperatorApprover)
		ask := func(name, grant string) error {
			_, err := h.life.Request.Do(t.Context(), h.operator, lifecycle.NewInstance{Name: name, Class: "worker", Owner: "owner", Grant: grant, Reason: "it is needed"})
			return err
		}
		shows := func(id act.ID, quorum int, risk gate.Risk, points int, parts ...string) lifecycle.Approval {
			t.Helper()
			a, err := h.life.ShowApproval.Do(t.Context(), one, id)
			if h.do("show", err); a.Score == nil {
				t.Fatalf("%s has no score", a.Act)
			}
			var names []string
			for _, p := range a.Score.Parts {
				names = append(names, p.Name)
			}
			if a.Quorum != quorum || a.Risk != risk || a.Score.Points != points || !slices.Equal(names, parts) {
				t.Errorf("quorum %d, risk %s, score %+v; want %d, %s, %d of %v", a.Quorum, a.Risk, *a.Score, quorum, risk, points, parts)
			}
			return a
		}
		decide := func(what string, id act.ID, do func() (lifecycle.Approval, error)) lifecycle.Approval {
			t.Helper()
			_, err := do()
			h.do(what, err)
			a, err := h.life.ShowApproval.Do(t.Context(), one, id)
			h.do("show", err)
			return a
		}

		h.do("a request that risks little", ask("alone", `{"spawn":{}}`))
		id := held(t, ask("father", ""))
		shows(id, 1, gate.RiskNormal, 11, "acts", "spawn")
		verdict := lifecycle.Verdict{Approval: id, Reason: "fine"}
		a := decide("approve", id, func() (lifecycle.Approval, error) { return h.life.Approve(t.Context(), one, gate.Key{}, verdict) })
		if a.Made.ID == 0 || a.Score != nil {
			t.Fatalf("approved: %+v", a)
		}
		father := act.Principal{Kind: act.Agent, ID: a.Made.ID, Name: "father", Epoch: 1}
		_, err := h.child(father, lifecycle.NewInstance{Name: "son", Class: "worker", Grant: `{"budget":{"acts":10},"spawn":{"classes":["worker"],"depth":1,"fan_out":3}}`})
		id = held(t, err)
		a = shows(id, 1, gate.RiskNormal, 13, "acts", "spawn", "trust")
		if why := a.Score.Parts[2].Why; !strings.Contains(why, "unknown") {
			t.Errorf("who asks is %q", why)
		}
		if own, err := h.life.ShowApproval.Do(t.Context(), father, id); err != nil || own.Score != nil {
			t.Errorf("who asks is shown %+v, %v", own.Score, err)
		}
		verdict.Approval = id
		decide("deny", id, func() (lifecycle.Approval, error) { return h.life.Deny.Do(t.Context(), one, verdict) })
		_, err = h.child(father, lifecycle.NewInstance{Name: "daughter", Class: "worker", Grant: `{"budget":{"acts":10},"spawn":{"classes":["worker"],"depth":1,"fan_out":3}}`})
		shows(held(t, err), 2, gate.RiskHigh, 15, "acts", "spawn", "trust", "denied")
	})
}
