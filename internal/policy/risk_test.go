package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// T21: what is of high risk is approved by somebody who has just shown a passkey, whatever
// their roles and however else they have proved who they are. The operators' own token
// needs none.
func TestT21_HighRiskWantsAPasskey(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	e := newEngine(t, &people{by: map[act.ID]PrincipalFacts{}}, func(c *Config) {
		c.Clock, c.Fresh = func() time.Time { return now }, 10*time.Minute
	})
	activateDefault(t, e)
	ago := func(d time.Duration) int64 { return act.Micros(now.Add(-d)) }
	for _, c := range []struct {
		what string
		p    act.Principal
		want bool
	}{
		{"signed in just now", act.Principal{Binding: act.BindingSession, AuthAt: ago(0)}, false},
		{"a passkey just now", act.Principal{Binding: act.BindingSession, AuthAt: ago(0), PasskeyAt: ago(0)}, true},
		{"a passkey nearly too long ago", act.Principal{Binding: act.BindingSession, PasskeyAt: ago(10*time.Minute - time.Microsecond)}, true},
		{"a passkey too long ago", act.Principal{Binding: act.BindingSession, AuthAt: ago(0), PasskeyAt: ago(10 * time.Minute)}, false},
		{"a program whose human signed in", act.Principal{Binding: act.BindingDPoP, Grant: 1, AuthAt: ago(0)}, false},
		{"a program whose human showed a passkey", act.Principal{Binding: act.BindingDPoP, Grant: 1, PasskeyAt: ago(time.Minute)}, true},
		{"a service account", act.Principal{Binding: act.BindingAsserted}, false},
		{"the local token", act.Principal{Binding: act.BindingOperator}, true},
	} {
		for _, roles := range []gate.OperatorRoles{gate.OperatorApprover, gate.OperatorAdmin, gate.OperatorResponder} {
			p := c.p
			p.Kind, p.ID, p.Roles = act.Operator, testID(act.KindOperator, 1), uint8(roles)
			may := roles != gate.OperatorResponder
			d := e.Decide(p, gate.Question{Act: "approval.approve", Resource: gate.Facts{Risk: gate.RiskHigh}})
			if d.Allow != (c.want && may) || !d.Allow && !c.want && (d.Policy != "passkey" || !strings.Contains(d.Hint, "/step-up") || !strings.Contains(d.Hint, "/account")) {
				t.Errorf("%s, %v: %+v", c.what, roles.Names(), d)
			}
			for name, risk := range map[string]gate.Risk{"approval.approve": gate.RiskNormal, "approval.deny": gate.RiskHigh} {
				if d := e.Decide(p, gate.Question{Act: name, Resource: gate.Facts{Risk: risk}}); d.Allow != may {
					t.Errorf("%s, %v: %s of %s risk: %+v", c.what, roles.Names(), name, risk, d)
				}
			}
		}
	}
	if d := e.Decide(act.Principal{Kind: act.System, Name: "approvals"}, gate.Question{Act: "approval.approve", Resource: gate.Facts{Risk: gate.RiskHigh}}); d.Allow {
		t.Errorf("the server approves: %+v", d)
	}
	admin := act.Principal{Kind: act.Operator, ID: testID(act.KindOperator, 1), Roles: uint8(gate.OperatorAdmin), Binding: act.BindingOperator}
	if d := e.Decide(admin, gate.Question{Act: "approval.approve", Resource: gate.Facts{Risk: gate.RiskHigh + 1}}); d.Allow {
		t.Errorf("a risk that nobody knows: %+v", d)
	}
}

// The risk of what is held comes back with the decision: the highest of any policy that
// has a part in it, and high for what steers other agents or opens what is others' alone.
func TestRiskOfHeldActs(t *testing.T) {
	mod := act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, 1)}
	d := &people{by: map[act.ID]PrincipalFacts{mod.ID: {Standing: act.Active, Claimed: true}}}
	e := newEngine(t, d, nil)
	activateDefault(t, e)
	admin := act.Principal{Kind: act.Operator, ID: testID(act.KindOperator, 1), Roles: uint8(gate.OperatorAdmin), Binding: act.BindingSession}
	for _, c := range []struct {
		p   act.Principal
		act string
	}{{mod, "label.prompt"}, {admin, "dm.inspect"}} {
		got := e.Decide(c.p, gate.Question{Act: c.act, Resource: gate.Facts{Role: gate.RoleModerator}})
		held := slices.ContainsFunc(got.Obligations, func(o gate.Obligation) bool { return o.Name == gate.Hold })
		if !got.Allow || !held || got.Risk() != gate.RiskHigh {
			t.Errorf("%s: %+v", c.act, got)
		}
	}
	both := newEngine(t, d, nil)
	if err := both.Activate(bundle(t, 1, `@id("a") permit (principal, action == Action::"post.create", resource);
@id("b") @hold("owner") permit (principal, action == Action::"post.create", resource);
@id("c") @hold("owner") @risk("high") permit (principal, action == Action::"post.create", resource) when { resource.locked };`)); err != nil {
		t.Fatal(err)
	}
	for locked, want := range map[bool]gate.Risk{false: gate.RiskNormal, true: gate.RiskHigh} {
		if got := both.Decide(mod, gate.Question{Act: "post.create", Resource: gate.Facts{Locked: locked}}); !got.Allow || got.Risk() != want {
			t.Errorf("locked %v: %s of %+v", locked, got.Risk(), got)
		}
	}
}
