package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// fresh are the acts that want an operator who has just proved who they are.
var fresh = []string{"agent.kill", "agent.release", "audit.release", "command.register", "content.erase", "credential.recover", "key.renew", "key.rotate", "kill.note", "network.confirm", "owner.link", "passkey.add", "passkey.remove", "policy.activate", "policy.revert", "retention.reset", "retention.set", "role.bind", "role.define", "role.drop", "role.unbind", "scope.kill", "scope.release", "trace.restore"}

// What the default bundle lets operators of each role do. Whoever has no role does
// nothing but end what is their own.
func TestDefaultBundleOnOperators(t *testing.T) {
	e := newEngine(t, &people{by: map[act.ID]PrincipalFacts{}}, nil)
	activateDefault(t, e)
	const (
		admin    = gate.OperatorAdmin
		stops    = admin | gate.OperatorResponder
		decides  = admin | gate.OperatorApprover
		audits   = admin | gate.OperatorAuditor
		oversees = stops | decides | gate.OperatorAuditor
		all      = oversees | gate.OperatorObserver
		owner    = gate.OperatorOwner
		everyone = all | owner
	)
	may := map[string]gate.OperatorRoles{
		"agent.invite": admin, "network.backup": admin, "network.confirm": admin, "kill.note": admin, "app.create": admin, "app.revoke": admin,
		"import.write": admin, "credential.recover": admin, "enrollment.create": admin, "key.rotate": admin, "key.renew": admin, "owner.link": admin, "owner.move": admin,
		"role.list": oversees, "role.bind": admin, "role.unbind": admin, "role.define": admin, "role.drop": admin,
		"retention.list": oversees, "retention.set": admin, "retention.reset": admin,

		"policy.activate": admin, "policy.revert": admin, "policy.shadow": admin, "policy.unshadow": admin,
		"manifest.plan": oversees, "manifest.list": oversees, "manifest.get": oversees, "manifest.export": oversees, "manifest.apply": decides, "community.provide": admin,
		"community.classify": admin, "taint.flag": stops, "taint.clear": decides, "taint.list": all, "taint.show": all,

		"policy.list": oversees, "policy.show": oversees, "policy.check": oversees, "policy.diff": oversees, "policy.dryrun": oversees, "policy.flips": oversees,

		"agent.pause": stops, "agent.resume": stops, "agent.quarantine": stops, "agent.release": stops, "agent.kill": stops,
		"content.unseal": stops, "content.erase": stops, "community.appoint": stops, "community.dismiss": stops, "label.revoke": stops,
		"dm.inspect": stops, "dm.reveal": stops, "token.revoke": stops, "credential.revoke": stops,
		"command.register": stops,
		"scope.pause":      stops, "scope.resume": stops, "scope.quarantine": stops, "scope.release": stops, "scope.kill": stops,

		"trace.why": oversees &^ gate.OperatorApprover, "trace.blast": oversees &^ gate.OperatorApprover, "trace.spread": oversees &^ gate.OperatorApprover,
		"trace.cut": oversees &^ gate.OperatorApprover, "trace.flow": oversees &^ gate.OperatorApprover, "trace.replay": oversees &^ gate.OperatorApprover,
		"trace.recalls": oversees &^ gate.OperatorApprover, "trace.contain": stops, "trace.restore": stops,

		"class.put": admin, "class.retire": admin, "class.list": oversees, "class.show": oversees,
		"mandate.open": decides, "mandate.revise": decides, "mandate.close": decides, "mandate.attest": decides,
		"mandate.list": oversees, "mandate.show": oversees, "outcome.list": oversees,
		"agent.request": decides, "agent.adopt": decides, "agent.orphans": oversees, "process.list": oversees, "telemetry.read": oversees, "rollout.start": admin, "rollout.resume": admin, "rollout.pause": stops, "rollout.abort": stops, "rollout.show": oversees, "agent.appeal": stops, "agent.trust": decides, "trust.list": oversees, "notice.list": oversees, "agent.line": oversees, "budget.show": oversees,
		"quota.set": admin, "quota.drop": admin, "quota.list": oversees, "quota.show": oversees,

		"claim.show": decides | owner, "owner.list": oversees,
		"agent.claim": decides, "approval.approve": decides, "approval.deny": decides, "dm.approve": decides, "dm.reject": decides, "dm.unblock": decides,

		"kill.list": oversees, "policy.schema": oversees, "report.list": oversees, "approval.list": oversees, "approval.show": oversees, "event.read": oversees,
		"webhook.create": oversees, "webhook.list": oversees, "webhook.delete": oversees, "webhook.rotate": oversees, "webhook.replay": oversees,
		"webhook.deliveries": oversees, "dm.survey": oversees, "queue.list": oversees, "scope.list": oversees, "scope.show": oversees, "queue.show": oversees,
		"token.inspect": oversees, "identity.inventory": oversees,

		"audit.checkpoint": all, "audit.tile": audits, "audit.entries": audits, "audit.prove": audits, "audit.hold": audits, "audit.holds": audits, "audit.release": audits,
		"audit.controls": audits, "audit.query": audits, "audit.queries": audits, "audit.define": audits, "audit.withdraw": audits,

		"agent.list": all, "agent.show": all, "network.condition": all, "post.read": all, "comment.list": all, "feed.read": all, "image.read": all,
		"agent.profile": all, "community.list": all, "community.show": all, "community.moderators": all, "label.list": all, "label.roles": all,
		"search.run": all, "network.show": all, "session.list": everyone,
		"passkey.list": everyone, "passkey.add": everyone, "passkey.remove": everyone, "passkey.prove": everyone,
		"consent.give": everyone, "consent.redeem": everyone, "device.show": everyone, "device.approve": everyone, "device.deny": everyone,
	}
	theirs := []string{ // of one's own agents, by who has the role owner
		"agent.list", "agent.show", "approval.list", "approval.show", "dm.survey", "identity.inventory", "trace.why", "trace.flow", "trace.replay",
		"agent.claim", "agent.pause", "approval.approve", "approval.deny", "credential.recover", "dm.approve", "dm.reject", "dm.unblock",
		"mandate.open", "mandate.revise", "mandate.close", "mandate.attest", "mandate.show", "mandate.list", "outcome.list", "agent.line", "budget.show", "agent.appeal", "notice.list", "trust.list",
	}
	own := []string{"session.close", "token.assert", "token.refresh", "token.revoke", "credential.revoke"} // without any role
	for _, i := range registry() {
		for roles := range everyone + 1 {
			p := act.Principal{Kind: act.Operator, ID: testID(act.KindOperator, 1), Roles: uint8(roles), Binding: act.BindingOperator}
			got := e.Decide(p, gate.Question{Act: i.Name})
			if want := may[i.Name]&roles != 0; got.Allow != want {
				t.Errorf("%s by %v: allowed is %v (by %s)", i.Name, roles.Names(), got.Allow, got.Policy)
			}
			if mine := e.Decide(p, gate.Question{Act: i.Name, Resource: gate.Facts{Own: true}}); !i.Read && mine.Allow != (got.Allow && (i.Name != "approval.approve" || roles&admin != 0) || slices.Contains(own, i.Name)) {
				t.Errorf("%s of one's own by %v: allowed is %v (by %s)", i.Name, roles.Names(), mine.Allow, mine.Policy)
			}
			answers := e.Decide(p, gate.Question{Act: i.Name, Resource: gate.Facts{Answered: true}})
			if want := slices.Contains(theirs, i.Name) && roles&owner != 0 || got.Allow && (i.Name != "agent.claim" || roles&owner != 0) && (i.Name != "agent.trust" || roles&admin != 0); answers.Allow != want {
				t.Errorf("%s of an agent that one answers for by %v: allowed is %v (by %s)", i.Name, roles.Names(), answers.Allow, answers.Policy)
			}
			p.Binding = act.BindingSession
			if a := e.Decide(p, gate.Question{Act: i.Name, Resource: gate.Facts{Answered: true}}); a.Allow != (answers.Allow && !slices.Contains(fresh, i.Name)) {
				t.Errorf("%s of an agent that one answers for by %v, signed in long ago: allowed is %v (by %s)", i.Name, roles.Names(), a.Allow, a.Policy)
			}
			stale := e.Decide(p, gate.Question{Act: i.Name})
			if want := got.Allow && !slices.Contains(fresh, i.Name); stale.Allow != want {
				t.Errorf("%s by %v, signed in long ago: allowed is %v (by %s)", i.Name, roles.Names(), stale.Allow, stale.Policy)
			}
		}
		p := act.Principal{Kind: act.Operator, ID: testID(act.KindOperator, 1), Roles: 0xC0, Binding: act.BindingOperator}
		if d := e.Decide(p, gate.Question{Act: i.Name}); d.Allow {
			t.Errorf("%s by roles that nobody knows: allowed by %s", i.Name, d.Policy)
		}
	}
}

// Who is signed in as an owner reads what everybody may read, and no agent answers for
// itself.
func TestOwnersReadThePagesOfAll(t *testing.T) {
	for _, public := range []bool{true, false} {
		e := newEngine(t, &people{by: map[act.ID]PrincipalFacts{testID(act.KindAgent, 2): {Standing: act.Active}}}, func(c *Config) { c.ObserverPages = public })
		activateDefault(t, e)
		p := act.Principal{Kind: act.Operator, ID: testID(act.KindOperator, 1), Roles: uint8(gate.OperatorOwner), Binding: act.BindingSession}
		for _, name := range []string{"feed.read", "post.read", "comment.list", "agent.profile", "community.list", "community.show", "search.run", "network.show"} {
			if d := e.Decide(p, gate.Question{Act: name}); d.Allow != public {
				t.Errorf("%s by an owner, pages public %v: allowed is %v (by %s)", name, public, d.Allow, d.Policy)
			}
			if d := e.Decide(p, gate.Question{Act: name, Resource: gate.Facts{Visibility: gate.Restricted}}); d.Allow {
				t.Errorf("%s of what is restricted by an owner: allowed by %s", name, d.Policy)
			}
		}
		agent := act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, 2), Roles: uint8(gate.OperatorOwner)}
		if d := e.Decide(agent, gate.Question{Act: "agent.show", Resource: gate.Facts{Answered: true}}); d.Allow {
			t.Errorf("an agent is its own owner, by %s", d.Policy)
		}
	}
}

// Another key for an agent that is there, and the end of what another operator signs in
// with, are for admins who are there.
func TestAgentsAndOperatorsAreNotTakenOver(t *testing.T) {
	e := newEngine(t, &people{by: map[act.ID]PrincipalFacts{}}, nil)
	activateDefault(t, e)
	for _, c := range []struct {
		what  string
		act   string
		on    gate.Facts
		roles gate.OperatorRoles
		fresh bool
		want  bool
	}{
		{"a new agent's key, signed in long ago", "enrollment.create", gate.Facts{Kind: act.KindNetwork}, gate.OperatorAdmin, false, true},
		{"another key of an agent, signed in long ago", "enrollment.create", gate.Facts{Kind: act.KindAgent}, gate.OperatorAdmin, false, false},
		{"another key of an agent", "enrollment.create", gate.Facts{Kind: act.KindAgent}, gate.OperatorAdmin, true, true},
		{"an agent's key, by a responder", "credential.revoke", gate.Facts{Kind: act.KindCredential}, gate.OperatorResponder, false, true},
		{"an operator, by a responder", "credential.revoke", gate.Facts{Kind: act.KindOperator}, gate.OperatorResponder, true, false},
		{"an operator, by an admin who signed in long ago", "credential.revoke", gate.Facts{Kind: act.KindOperator}, gate.OperatorAdmin, false, false},
		{"an operator, by an admin", "credential.revoke", gate.Facts{Kind: act.KindOperator}, gate.OperatorAdmin, true, true},
		{"one's own session", "credential.revoke", gate.Facts{Kind: act.KindOperator, Own: true}, gate.OperatorObserver, false, true},
	} {
		p := act.Principal{Kind: act.Operator, ID: testID(act.KindOperator, 1), Roles: uint8(c.roles), Binding: act.BindingSession}
		if c.fresh {
			p.Binding = act.BindingOperator
		}
		if d := e.Decide(p, gate.Question{Act: c.act, Resource: c.on}); d.Allow != c.want {
			t.Errorf("%s: allowed is %v (by %s)", c.what, d.Allow, d.Policy)
		}
	}
}

// How long a proof of who one is lasts, and what the refused are told.
func TestStepUp(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	e := newEngine(t, &people{by: map[act.ID]PrincipalFacts{}}, func(c *Config) {
		c.Clock, c.Fresh = func() time.Time { return now }, 10*time.Minute
	})
	activateDefault(t, e)
	kill := func(p act.Principal) gate.Decision {
		p.Kind, p.ID, p.Roles = act.Operator, testID(act.KindOperator, 1), uint8(gate.OperatorResponder)
		return e.Decide(p, gate.Question{Act: "agent.kill"})
	}
	for _, b := range []act.Binding{act.BindingSession, act.BindingDPoP, act.BindingMTLS} {
		p := act.Principal{Binding: b, AuthAt: act.Micros(now)}
		for _, c := range []struct {
			age  time.Duration
			want bool
		}{{0, true}, {10*time.Minute - time.Microsecond, true}, {10 * time.Minute, false}, {time.Hour, false}, {time.Minute, true}} {
			was := now
			now = now.Add(c.age)
			d := kill(p)
			if d.Allow != c.want || !d.Allow && (d.Policy != "step-up" || !strings.Contains(d.Hint, "sign in")) {
				t.Errorf("%v, %s after: %+v", b, c.age, d)
			}
			now = was
		}
		if d := kill(act.Principal{Binding: b}); d.Allow {
			t.Errorf("%v, at an unknown time: %+v", b, d)
		}
	}
	if d := kill(act.Principal{Binding: act.BindingOperator}); !d.Allow {
		t.Errorf("by the token itself: %+v", d)
	}
	for name, text := range map[string]string{
		"a role that nobody has": `@id("a") permit (principal in Role::"king", action, resource);`,
		"roles of agents":        `@id("a") permit (principal is Agent, action, resource) when { principal.fresh };`,
		"a role as a text":       `@id("a") permit (principal is Operator, action, resource) when { principal in "admin" };`,
		"resources have none":    `@id("a") permit (principal, action, resource in Role::"admin");`,
	} {
		b := &Bundle{Version: 99, Schema: Schema, CreatedAt: created, Files: []File{{"x.cedar", text}}}
		if _, err := Sign(b, testKey(1)); err != nil {
			t.Fatal(err)
		}
		if err := e.Activate(b); ruleOf(err) != "bundle.policy" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
