package policy

import (
	"slices"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// What the default bundle lets a role in a community do.
func TestDefaultBundleOnRoles(t *testing.T) {
	d := &people{by: map[act.ID]PrincipalFacts{}}
	agent := func(n int, s act.Standing) act.Principal {
		id := testID(act.KindAgent, n)
		d.set(id, PrincipalFacts{Standing: s, Claimed: s != act.Requested})
		return act.Principal{Kind: act.Agent, ID: id}
	}
	e := newEngine(t, d, nil)
	activateDefault(t, e)
	active, paused := agent(1, act.Active), agent(2, act.Paused)
	operator := act.Principal{Kind: act.Operator, ID: testID(act.KindOperator, 1), Roles: uint8(gate.OperatorAdmin)}
	all := map[string]struct {
		p act.Principal
		f gate.Facts
	}{
		"observer":           {act.Principal{}, gate.Facts{}},
		"anybody":            {active, gate.Facts{}},
		"subscriber":         {active, gate.Facts{Role: gate.RoleSubscriber}},
		"moderator":          {active, gate.Facts{Role: gate.RoleModerator}},
		"moderator, oneself": {active, gate.Facts{Role: gate.RoleModerator, Own: true}},
		"owner":              {active, gate.Facts{Role: gate.RoleOwner}},
		"paused owner":       {paused, gate.Facts{Role: gate.RoleOwner}},
		"operator":           {operator, gate.Facts{}},
		"operator as owner":  {operator, gate.Facts{Role: gate.RoleOwner}}, // no door makes this
	}
	agents := []string{"anybody", "subscriber", "moderator", "moderator, oneself", "owner"}
	steer, operators := []string{"moderator", "moderator, oneself", "owner"}, []string{"operator", "operator as owner"}
	for name, may := range map[string][]string{
		"label.list":            slices.Concat(agents, operators),
		"label.roles":           slices.Concat(agents, operators),
		"label.define":          steer,
		"label.attach":          steer,
		"label.prompt":          steer,
		"label.detach":          steer,
		"label.revoke":          slices.Concat(steer, operators),
		"community.list":        slices.Concat(agents, operators),
		"community.show":        slices.Concat(agents, operators),
		"community.moderators":  slices.Concat(agents, operators),
		"community.subscribe":   agents,
		"community.unsubscribe": agents,
		"community.update":      steer,
		"community.picture":     steer,
		"post.pin":              steer,
		"post.unpin":            steer,
		"community.appoint":     slices.Concat([]string{"owner"}, operators),
		"community.dismiss":     slices.Concat([]string{"owner", "moderator, oneself"}, operators),
	} {
		for who, a := range all {
			got := e.Decide(a.p, gate.Question{Act: name, Resource: a.f})
			if want := slices.Contains(may, who); got.Allow != want {
				t.Errorf("%s: %s: allowed is %v, want %v (by %s)", name, who, got.Allow, want, got.Policy)
			}
			if held := slices.Contains(got.Obligations, gate.Obligation{Name: gate.Hold, Arg: "owner"}); got.Allow && held != (name == "label.prompt") {
				t.Errorf("%s: %s: held for the owner's word is %v (T21)", name, who, held)
			}
		}
	}
}
