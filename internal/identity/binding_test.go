package identity_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

const idpIssuer = "https://idp.example"

// people signs people in at a server.
type people struct {
	*servertest.Server
	t *testing.T
	n int
}

func eachPeople(t *testing.T, fn func(t *testing.T, h *people)) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) { fn(t, &people{Server: s, t: t}) })
}

// enter signs somebody in with what the settings give them, and the groups that they are in.
func (h *people) enter(name string, roles gate.OperatorRoles, groups ...string) (key string, err error) {
	h.n++
	out, err := h.Lifecycle.OpenSession.Do(h.t.Context(), act.Principal{Source: "test"}, lifecycle.NewSession{Person: &identity.Person{
		Issuer: idpIssuer, Subject: name, Name: name, Roles: roles, Groups: groups, AuthAt: act.Micros(time.Now()), Once: fmt.Sprint(name, h.n), Until: time.Now().Add(time.Minute),
	}})
	return out.Key, err
}

func (h *people) must(key string, err error) string {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	return key
}

func (h *people) by(key string) act.Principal {
	h.t.Helper()
	p, err := h.Identity.Session(h.t.Context(), key)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *people) boss() act.Principal {
	h.t.Helper()
	p, err := h.Identity.Authenticate(h.t.Context(), h.Token)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *people) bind(p act.Principal, b identity.Binding) error {
	_, err := h.Roles.Bind.Do(h.t.Context(), p, identity.BindOrder{Binding: b, Reason: "a test"})
	return err
}

func (h *people) unbind(p act.Principal, name string) error {
	_, err := h.Roles.Unbind.Do(h.t.Context(), p, identity.UnbindOrder{Name: name, Reason: "a test"})
	return err
}

func ruleBy(err error) string {
	if err == nil {
		return ""
	}
	return act.AsError(err).Rule
}

// A binding adds to what the settings give: for those who are signed in, for those who come
// later, and no longer than it is there, whatever they have open.
func TestBindings(t *testing.T) {
	eachPeople(t, func(t *testing.T, h *people) {
		boss := h.boss()
		mara := h.must(h.enter("mara", gate.OperatorObserver, "oncall", "staff"))
		has := func(when, key string, want gate.OperatorRoles) {
			t.Helper()
			if p := h.by(key); p.Roles != uint8(want) {
				t.Errorf("%s: %v, want %v", when, gate.OperatorRoles(p.Roles).Names(), want.Names())
			}
		}
		if _, err := h.enter("olaf", 0, "oncall"); ruleBy(err) != identity.RuleRole {
			t.Fatalf("who has no role comes in: %v", err)
		}
		oncall := identity.Binding{Name: "oncall", Role: "responder", Issuer: idpIssuer, Group: "oncall"}
		if err := h.bind(boss, oncall); err != nil {
			t.Fatal(err)
		}
		has("in the session that was open", mara, gate.OperatorObserver|gate.OperatorResponder)
		olaf := h.must(h.enter("olaf", 0, "oncall"))
		has("who comes later", olaf, gate.OperatorResponder)
		if _, err := h.enter("otto", 0, "staff"); ruleBy(err) != identity.RuleRole {
			t.Errorf("who is in another group comes in: %v", err)
		}
		if err := h.bind(boss, identity.Binding{Name: "elsewhere", Role: "admin", Issuer: "https://other.example", Group: "oncall"}); err != nil {
			t.Fatal(err)
		}
		has("another issuer's group of that name", olaf, gate.OperatorResponder)
		if err := h.bind(boss, identity.Binding{Name: "mara", Role: "auditor", Issuer: idpIssuer, Person: "mara"}); err != nil {
			t.Fatal(err)
		}
		has("by their subject", mara, gate.OperatorObserver|gate.OperatorResponder|gate.OperatorAuditor)
		has("somebody else", olaf, gate.OperatorResponder)

		all, err := h.Roles.List.Do(t.Context(), boss, struct{}{})
		list := all.Bindings
		if err != nil || len(all.Bindings) != 3 || list[2].Name != "oncall" || list[2].Reaches != 2 || list[2].By != boss.ID || list[0].Reaches != 0 {
			t.Errorf("the list: %+v, %v", list, err)
		}
		twice := oncall
		for name, want := range map[string]string{"oncall": "role.bound", "again": "role.bound", "No": "role.name"} {
			if twice.Name = name; ruleBy(h.bind(boss, twice)) != want {
				t.Errorf("bound twice as %s: %v, want %s", name, h.bind(boss, twice), want)
			}
		}

		if err := h.unbind(boss, "oncall"); err != nil {
			t.Fatal(err)
		}
		has("what she has by something else", mara, gate.OperatorObserver|gate.OperatorAuditor)
		has("what he had by it alone", olaf, 0)
		if _, err := h.enter("olaf", 0, "oncall"); ruleBy(err) != identity.RuleRole {
			t.Errorf("who has lost the role comes in: %v", err)
		}
		if err := h.unbind(boss, "oncall"); ruleBy(err) != "role.unknown" {
			t.Errorf("taken back twice: %v", err)
		}
		// Whom a group is taken from at the provider loses the role with the sign-in that says so.
		if err := h.bind(boss, oncall); err != nil {
			t.Fatal(err)
		}
		h.must(h.enter("mara", gate.OperatorObserver, "staff"))
		has("in a session of before, out of the group", mara, gate.OperatorObserver|gate.OperatorAuditor)
	})
}

// What a binding says is looked at before anything is done.
func TestBindingsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		b    identity.Binding
		rule string
	}{
		"a good one":          {identity.Binding{Name: "a", Role: "observer", Issuer: "i", Group: "g"}, ""},
		"two roles":           {identity.Binding{Name: "a", Role: "admin observer", Issuer: "i", Group: "g"}, "role.role"},
		"nobody":              {identity.Binding{Name: "a", Role: "observer", Issuer: "i"}, "role.subject"},
		"two subjects":        {identity.Binding{Name: "a", Role: "observer", Issuer: "i", Group: "g", Person: "p"}, "role.subject"},
		"nobody's group":      {identity.Binding{Name: "a", Role: "observer", Group: "g"}, "role.issuer"},
		"an issuer's service": {identity.Binding{Name: "a", Role: "observer", Issuer: "i", Service: "s"}, "role.issuer"},
		"a machine that owns": {identity.Binding{Name: "a", Role: "owner", Service: "s"}, "role.owner"},
		"a hidden character":  {identity.Binding{Name: "a", Role: "observer", Issuer: "i", Group: "g\n"}, "role.subject"},
	} {
		if err := c.b.Check(); ruleBy(err) != c.rule || err != nil && act.AsError(err).Hint == "" {
			t.Errorf("%s: %v, want %q", name, err, c.rule)
		}
	}
}

func (h *people) define(p act.Principal, name string, roles ...string) error {
	_, err := h.Roles.Define.Do(h.t.Context(), p, identity.RoleOrder{Name: name, Roles: roles, Reason: "a test"})
	return err
}

func (h *people) drop(p act.Principal, name string) error {
	_, err := h.Roles.Drop.Do(h.t.Context(), p, identity.DropOrder{Name: name, Reason: "a test"})
	return err
}

// A role of the network's own gives what it is made of, to whom it is bound and as long as it
// is so made.
func TestRolesOfOnesOwn(t *testing.T) {
	eachPeople(t, func(t *testing.T, h *people) {
		boss := h.boss()
		mara := h.must(h.enter("mara", gate.OperatorObserver, "night"))
		has := func(when string, want gate.OperatorRoles) {
			t.Helper()
			if p := h.by(mara); p.Roles != uint8(want) {
				t.Errorf("%s: %v, want %v", when, gate.OperatorRoles(p.Roles).Names(), want.Names())
			}
		}
		if err := h.define(boss, "other", "owner"); err != nil {
			t.Fatal(err)
		}
		night := identity.Binding{Name: "night", Role: "night-shift", Issuer: idpIssuer, Group: "night"}
		for name, c := range map[string]struct {
			err  error
			rule string
		}{
			"bound before it is there":  {h.bind(boss, night), "role.role"},
			"named like one there is":   {h.define(boss, "auditor", "observer"), "role.name"},
			"made of nothing":           {h.define(boss, "night-shift"), "role.role"},
			"made of what there is not": {h.define(boss, "night-shift", "root"), "role.role"},
			"made of another":           {h.define(boss, "night-shift", "other"), "role.role"},
			"for who answers for none":  {h.bind(boss, identity.Binding{Name: "ci", Role: "other", Service: "ci"}), "role.owner"},
			"dropped, and not there":    {h.drop(boss, "none"), "role.none"},
		} {
			if ruleBy(c.err) != c.rule {
				t.Errorf("%s: %v, want %q", name, c.err, c.rule)
			}
		}
		for _, err := range []error{h.define(boss, "night-shift", "responder", "auditor"), h.bind(boss, night)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		has("what it is made of", gate.OperatorObserver|gate.OperatorResponder|gate.OperatorAuditor)
		if err := h.drop(boss, "night-shift"); ruleBy(err) != "role.used" {
			t.Errorf("dropped while it is bound: %v", err)
		}
		all, err := h.Roles.List.Do(t.Context(), boss, struct{}{})
		if err != nil || len(all.Roles) != 2 || all.Roles[0].Name != "night-shift" || all.Roles[0].Bindings != 1 || all.Roles[0].Reaches != 1 || all.Bindings[0].Role != "night-shift" {
			t.Errorf("the list: %+v, %v", all, err)
		}
		if err := h.define(boss, "night-shift", "approver"); err != nil {
			t.Fatal(err)
		}
		has("made of others", gate.OperatorObserver|gate.OperatorApprover)
		if err := h.unbind(boss, "night"); err != nil {
			t.Fatal(err)
		}
		has("no longer bound", gate.OperatorObserver)
		if err := h.drop(boss, "night-shift"); err != nil {
			t.Error(err)
		}
	})
}

// T65: nobody widens what they have by a role that is bound to them, takes the last admin away
// by one, or defines one without being an admin who is there.
func TestT65_NobodyWidensTheirOwnRole(t *testing.T) {
	eachPeople(t, func(t *testing.T, h *people) {
		boss := h.boss()
		_, ada := h.Agent(t, "ada")
		if err := h.define(ada, "mine", "admin"); ruleBy(err) != "roles-governed" {
			t.Errorf("an agent defines a role: %v", err)
		}
		eve := h.by(h.must(h.enter("eve", gate.OperatorAdmin, "night")))
		lower := h.by(h.must(h.enter("otto", gate.OperatorApprover|gate.OperatorResponder|gate.OperatorAuditor)))
		stale := eve
		stale.AuthAt = act.Micros(time.Now().Add(-time.Hour))
		for _, err := range []error{
			h.define(boss, "night-shift", "observer"), h.bind(boss, identity.Binding{Name: "night", Role: "night-shift", Issuer: idpIssuer, Group: "night"}),
			h.define(boss, "keepers", "admin"), h.bind(boss, identity.Binding{Name: "keepers", Role: "keepers", Issuer: idpIssuer, Person: "mara"}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for name, c := range map[string]struct {
			p    act.Principal
			rule string
		}{"who has it": {eve, "role.self"}, "who signed in long ago": {stale, "step-up"}} {
			if err := h.define(c.p, "night-shift", "observer", "responder"); ruleBy(err) != c.rule {
				t.Errorf("widened by %s: %v, want %s", name, err, c.rule)
			}
		}
		if err := h.define(lower, "night-shift", "observer", "responder"); act.CodeOf(err) != act.Denied {
			t.Errorf("widened by who is no admin: %v", err)
		}
		// The last admin has it by a role of the network's own.
		h.must(h.enter("eve", 0, "night"))
		h.must(h.enter("mara", 0))
		if err := h.DB.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE operator SET roles = 0, given = 0 WHERE id = $1`, boss.ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := h.define(boss, "keepers", "observer"); ruleBy(err) != "role.last" {
			t.Errorf("nobody is left who keeps the network: %v", err)
		}
	})
}

// T65: no agent gives roles, nobody gives themselves one or takes one from themselves, by
// whatever name, and somebody is always left who keeps the network.
func TestT65_NobodyRaisesThemselves(t *testing.T) {
	eachPeople(t, func(t *testing.T, h *people) {
		_, ada := h.Agent(t, "ada")
		all := identity.Binding{Name: "all", Role: "admin", Issuer: idpIssuer, Group: "admins"}
		if err := h.bind(ada, all); ruleBy(err) != "roles-governed" {
			t.Errorf("an agent binds: %v", err)
		}
		mara := h.by(h.must(h.enter("mara", gate.OperatorAdmin, "admins")))
		lower := h.by(h.must(h.enter("otto", gate.OperatorApprover|gate.OperatorResponder|gate.OperatorAuditor, "admins")))
		for name, b := range map[string]identity.Binding{
			"the group that she is in": {Name: "a", Role: "owner", Issuer: idpIssuer, Group: "admins"},
			"herself":                  {Name: "b", Role: "owner", Issuer: idpIssuer, Person: "mara"},
		} {
			if err := h.bind(mara, b); ruleBy(err) != "role.self" {
				t.Errorf("an admin binds %s: %v", name, err)
			}
			if err := h.bind(lower, b); act.CodeOf(err) != act.Denied {
				t.Errorf("who is no admin binds %s: %v", name, err)
			}
		}
		stale := mara
		stale.AuthAt = act.Micros(time.Now().Add(-time.Hour))
		if err := h.bind(stale, all); ruleBy(err) != "step-up" {
			t.Errorf("who signed in long ago binds: %v", err)
		}

		boss := h.boss()
		if err := h.bind(boss, all); err != nil {
			t.Fatal(err)
		}
		if err := h.unbind(mara, "all"); ruleBy(err) != "role.self" {
			t.Errorf("she takes from herself what she has by a group: %v", err)
		}
		// Two who take the role from each other at once: the one who comes second is decided about
		// as an admin, and is none any more.
		h.must(h.enter("mara", 0, "admins"))
		h.must(h.enter("otto", gate.OperatorObserver))
		if err := h.DB.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE operator SET roles = 0, given = 0 WHERE id = $1`, boss.ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := h.unbind(boss, "all"); ruleBy(err) != "role.last" {
			t.Errorf("nobody is left who keeps the network: %v", err)
		}
	})
}

// T65: where the network wants two persons, a binding waits for the other one.
func TestT65_BindingWaitsForAnother(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.TwoPerson = true
	h := &people{Server: servertest.Start(t, cfg), t: t}
	mara := h.by(h.must(h.enter("mara", gate.OperatorAdmin|gate.OperatorApprover)))
	otto := h.must(h.enter("otto", gate.OperatorObserver, "oncall"))
	err := h.bind(mara, identity.Binding{Name: "oncall", Role: "responder", Issuer: idpIssuer, Group: "oncall"})
	waits, held := errors.AsType[*gate.Pending](err)
	if !held {
		t.Fatalf("it waits for nobody: %v", err)
	}
	verdict := lifecycle.Verdict{Approval: waits.Approval, Reason: "they are on call"}
	mara.PasskeyAt = act.Micros(time.Now())
	if _, err := h.Lifecycle.Approve(t.Context(), mara, gate.Key{}, verdict); ruleBy(err) != "two-persons" {
		t.Errorf("she approves it herself: %v", err)
	}
	if a, err := h.Lifecycle.Approve(t.Context(), h.boss(), gate.Key{}, verdict); err != nil || a.State != lifecycle.ApprovalExecuted {
		t.Fatalf("%+v, %v", a, err)
	}
	if p := h.by(otto); p.Roles != uint8(gate.OperatorObserver|gate.OperatorResponder) {
		t.Errorf("he has %v", gate.OperatorRoles(p.Roles).Names())
	}
}
