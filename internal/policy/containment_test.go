package policy

import (
	"slices"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// T37: where two persons are wanted, an order about the fleet waits for somebody else's
// word, which is of high risk and never one's own, also not an admin's.
func TestT37_FleetWantsTwoPersons(t *testing.T) {
	orders := []string{"scope.pause", "scope.resume", "scope.quarantine", "scope.release", "scope.kill"}
	for _, two := range []bool{false, true} {
		e := newEngine(t, &people{by: map[act.ID]PrincipalFacts{}}, func(c *Config) { c.TwoPersons = two })
		activateDefault(t, e)
		for _, roles := range []gate.OperatorRoles{gate.OperatorAdmin, gate.OperatorResponder, gate.OperatorAdmin | gate.OperatorApprover} {
			p := act.Principal{Kind: act.Operator, ID: testID(act.KindOperator, 1), Roles: uint8(roles), Binding: act.BindingOperator}
			for _, name := range orders {
				for _, kind := range append([]act.Kind{act.KindNetwork}, scoped...) {
					d := e.Decide(p, gate.Question{Act: name, Resource: gate.Facts{Kind: kind}})
					fleet := kind == act.KindNetwork
					wide := name == "scope.kill" && (kind == act.KindOwner || kind == act.KindClass)
					held := slices.Contains(d.Obligations, gate.Obligation{Name: gate.Hold, Arg: "approver"})
					if want := two && (fleet || wide); !d.Allow || held != want || held != (d.Risk() == gate.RiskHigh) {
						t.Errorf("two persons %v: %s of a %v by %v: %+v", two, name, kind, roles.Names(), d)
					}
				}
			}
			if roles&gate.OperatorAdmin == 0 {
				continue
			}
			for _, own := range []bool{false, true} {
				d := e.Decide(p, gate.Question{Act: "approval.approve", Resource: gate.Facts{Kind: act.KindApproval, Risk: gate.RiskHigh, Own: own}})
				if want := !two || !own; d.Allow != want {
					t.Errorf("two persons %v: approving, one's own %v: %+v", two, own, d)
				}
			}
		}
		if d := e.Decide(act.SystemPrincipal("other"), gate.Question{Act: "scope.kill"}); d.Allow {
			t.Errorf("a part of the server kills the fleet: %+v", d)
		}
	}
}
