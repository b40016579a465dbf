package identity_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// Somebody is known by issuer and subject and by nothing else, has the roles of their
// last sign-in, and is out for good when an operator says so.
func TestPersons(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
		cfg.Clock = func() time.Time { return now }
		db := storetest.OpenConfig(t, cfg)
		s := service(t, db, identity.Config{})
		ctx := context.Background()
		if err := s.EnsureOperator(ctx, "operator", t.TempDir()+"/operator.token"); err != nil {
			t.Fatal(err)
		}
		n := 0
		enter := func(who identity.Person) (p act.Principal, key string, err error) {
			if who.Once == "" {
				n++
				who.Once = strings.Repeat("x", n)
			}
			who.Until = now.Add(10 * time.Minute)
			err = db.Write(ctx, func(tx *store.Tx) error {
				if p, err = s.EnsurePerson(tx, who); err == nil {
					key, _, _, err = s.OpenSession(tx, p)
				}
				return err
			})
			return p, key, err
		}
		mara := identity.Person{Issuer: "https://idp.example", Subject: "1", Name: "mara@example.com", Roles: gate.OperatorResponder | gate.OperatorAuditor, AuthAt: act.Micros(now)}
		first, key, err := enter(mara)
		if err != nil || first.Name != mara.Name || first.Roles != uint8(mara.Roles) {
			t.Fatalf("%+v, %v", first, err)
		}
		in, err := s.Session(ctx, key)
		if err != nil || in.ID != first.ID || in.Roles != uint8(mara.Roles) || in.AuthAt != mara.AuthAt || in.Binding != act.BindingSession {
			t.Fatalf("%+v, %v", in, err)
		}

		// The names of others are not to be had: not the bootstrap operator's, not hers.
		for _, name := range []string{"operator", mara.Name, "service deploy", "", "\u202e", " x", strings.Repeat("n", 300)} {
			p, _, err := enter(identity.Person{Issuer: mara.Issuer, Subject: "of " + name, Name: name, Roles: gate.OperatorObserver})
			if err != nil || p.Name == name || p.ID == first.ID || identity.CheckName("operator", p.Name) != nil {
				t.Errorf("%q becomes %+v, %v", name, p, err)
			}
		}
		// The same subject elsewhere is somebody else; here it is her, whatever her name.
		other := mara
		other.Issuer = "https://other.example"
		if p, _, err := enter(other); err != nil || p.ID == first.ID {
			t.Errorf("another issuer's subject: %+v, %v", p, err)
		}
		joined := mara
		joined.Issuer, joined.Subject = "https://idp.example\n", "1"
		if p, _, err := enter(joined); err != nil || p.ID == first.ID {
			t.Errorf("an issuer with something behind it: %+v, %v", p, err)
		}

		// What she loses, her other sessions lose; what she gains, they do not have.
		mara.Name, mara.Roles = "mara@new.example", gate.OperatorAuditor|gate.OperatorAdmin
		again, second, err := enter(mara)
		if err != nil || again.ID != first.ID || again.Name != first.Name {
			t.Fatalf("%+v, %v", again, err)
		}
		for k, want := range map[string]gate.OperatorRoles{key: gate.OperatorAuditor, second: gate.OperatorAuditor | gate.OperatorAdmin} {
			if p, err := s.Session(ctx, k); err != nil || p.Roles != uint8(want) {
				t.Errorf("a session has %v, want %v (%v)", gate.OperatorRoles(p.Roles).Names(), want.Names(), err)
			}
		}
		if err := db.View(ctx, func(v *store.View) error {
			list, err := s.SessionsOf(v, first.ID)
			if len(list) != 2 || list[0].Roles != mara.Roles || list[0].ExpiresAt != act.Micros(now.Add(identity.DefaultSessionLife)) {
				t.Errorf("her sessions: %+v", list)
			}
			return err
		}); err != nil {
			t.Error(err)
		}

		used := mara
		used.Once = "once"
		if _, _, err := enter(used); err != nil {
			t.Fatal(err)
		}
		if _, _, err := enter(used); ruleOf(err) != "sign-in.used" {
			t.Errorf("a sign-in is used twice: %v", err)
		}
		for _, bad := range []identity.Person{{}, {Issuer: "x", Subject: "y", Once: "z"}, {Issuer: "x", Subject: "y", Once: "z", Roles: 1 << 7}, {Subject: "y", Once: "z", Roles: 1}} {
			bad.Once += "!"
			if _, _, err := enter(bad); err == nil {
				t.Errorf("%+v comes in", bad)
			}
		}

		// Idle sessions are over before their time.
		now = now.Add(identity.DefaultSessionIdle)
		if err := db.Reserve(ctx, now); err != nil { // as the node's lease would in time
			t.Fatal(err)
		}
		if _, err := s.Session(ctx, second); ruleOf(err) != "session.over" {
			t.Errorf("an idle session: %v", err)
		}
		_, last, err := enter(mara)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE credential SET revoked_at = $2 WHERE subject = $1 AND kind = 'person'`, first.ID, tx.Now())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Session(ctx, last); ruleOf(err) != "session.over" {
			t.Errorf("a session of who was barred: %v", err)
		}
		if _, _, err := enter(mara); ruleOf(err) != "sign-in.barred" {
			t.Errorf("who was barred comes in: %v", err)
		}
	})
}
