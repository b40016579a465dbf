package identity_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

func ruleOf(err error) string {
	if err == nil {
		return ""
	}
	return act.AsError(err).Rule
}

// A session is the operator's, ends with its time, its token or its closing, and
// its key is good for nothing else.
func TestSessions(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
		cfg.Clock = func() time.Time { return now }
		db := storetest.OpenConfig(t, cfg)
		s := service(t, db, identity.Config{})
		ctx := context.Background()
		file := filepath.Join(t.TempDir(), "operator.token")
		if err := s.EnsureOperator(ctx, "operator", file); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		token := strings.TrimSpace(string(raw))
		open := func() (key string, id act.ID) {
			t.Helper()
			for deadline := time.Now().Add(time.Minute); ; {
				err := db.Write(ctx, func(tx *store.Tx) error {
					who, err := s.OperatorOf(&tx.View, token)
					if err != nil {
						return err
					}
					key, id, _, err = s.OpenSession(tx, who)
					return err
				})
				if err == nil {
					return key, id
				}
				// A node whose clock has jumped waits for its next reservation of ids.
				if act.CodeOf(err) != act.Unavailable || time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
		}
		key, id := open()
		p, err := s.Session(ctx, key)
		if err != nil || p.Kind != act.Operator || p.Name != "operator" || p.Credential != id || p.Binding != act.BindingSession {
			t.Fatalf("session: %+v, %v", p, err)
		}
		if _, err := s.Authenticate(ctx, key); ruleOf(err) != "key.malformed" {
			t.Errorf("a session's key passes as a credential: %v", err)
		}
		for _, bad := range []string{"", token, key[:len(key)-1], key[:len(key)-1] + "!", strings.Replace(key, "reef_ses_", "reef_op_", 1), key + "A"} {
			if _, err := s.Session(ctx, bad); ruleOf(err) != "session.over" || strings.Contains(err.Error(), key[9:20]) {
				t.Errorf("%q: %v", bad, err)
			}
		}

		_, _, agentKey := issue(t, db, s)
		for _, bad := range []string{"", key, agentKey, token + "x", strings.ToUpper(token)} {
			err := db.View(ctx, func(v *store.View) error { _, err := s.OperatorOf(v, bad); return err })
			if ruleOf(err) != "session.token" {
				t.Errorf("%q opens a session: %v", bad, err)
			}
		}

		// Closing ends one, time all.
		other, _ := open()
		if err := db.Write(ctx, func(tx *store.Tx) error { return s.CloseSession(tx, id) }); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Session(ctx, key); ruleOf(err) != "session.over" {
			t.Errorf("a closed session: %v", err)
		}
		if _, err := s.Session(ctx, other); err != nil {
			t.Errorf("another session: %v", err)
		}
		end := now.Add(identity.DefaultSessionLife)
		for now.Before(end.Add(-time.Second)) { // it is used, so that only its time ends it
			now = now.Add(min(identity.DefaultSessionIdle-time.Second, end.Add(-time.Second).Sub(now)))
			if _, err := s.Session(ctx, other); err != nil {
				t.Fatalf("a session %s before its time is over: %v", end.Sub(now), err)
			}
			if now.Minute()%2 == 0 { // or a restart would forget it
				if err := s.StoreUses(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		now = end
		if _, err := s.Session(ctx, other); ruleOf(err) != "session.over" {
			t.Errorf("a session whose time is over: %v", err)
		}

		// What is over is swept by those that come.
		now = now.Add(time.Second)
		last, _ := open()
		var rows int64
		if err := db.View(ctx, func(v *store.View) error {
			_, err := v.One(`SELECT COUNT(*) FROM credential WHERE kind = 'session'`, func(r *store.Row) error { rows = r.Int(0); return nil })
			return err
		}); err != nil || rows != 1 {
			t.Errorf("%d sessions are kept (%v), want 1", rows, err)
		}

		// The token's end is the session's end.
		if err := db.Write(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE credential SET revoked_at = $1 WHERE kind = 'operator-token'`, tx.Now())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Session(ctx, last); ruleOf(err) != "session.over" {
			t.Errorf("a session of a revoked token: %v", err)
		}
		if err := db.View(ctx, func(v *store.View) error { _, err := s.OperatorOf(v, token); return err }); ruleOf(err) != "session.token" {
			t.Errorf("a revoked token opens a session: %v", err)
		}
	})
}
