package identity_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// named is a Subjects that calls a function between the look-up of a credential
// and its caching.
type named func(id act.ID) (string, error)

func (n named) Subject(_ context.Context, id act.ID) (string, error) { return n(id) }

func (named) Lost() error { return nil }

func service(t testing.TB, db *store.DB, c identity.Config) *identity.Service {
	t.Helper()
	k, err := identity.LoadKeys(filepath.Join(t.TempDir(), "master"))
	if err != nil {
		t.Fatal(err)
	}
	s := identity.New(db, k, c)
	s.Plug(named(func(act.ID) (string, error) { return "nemo", nil }))
	return s
}

// issue makes an agent's key, as a registration does.
func issue(t testing.TB, db *store.DB, s *identity.Service) (agent, credential act.ID, key string) {
	t.Helper()
	if err := db.Write(context.Background(), func(tx *store.Tx) (err error) {
		if agent, err = tx.Mint(act.KindAgent); err != nil {
			return err
		}
		key, credential, err = s.IssueKey(tx, agent)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return agent, credential, key
}

func revoke(t testing.TB, db *store.DB, s *identity.Service, agent act.ID) (n int64) {
	t.Helper()
	if err := db.Write(context.Background(), func(tx *store.Tx) (err error) {
		n, err = s.Revoke(tx, agent)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func is(t testing.TB, what string, err error, code act.Code, rule string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted, want %s %s", what, code, rule)
		return
	}
	if e := act.AsError(err); e.Code != code || e.Rule != rule || e.Hint == "" {
		t.Errorf("%s: %v (rule %q, hint %q), want %s (rule %q) with a hint", what, e, e.Rule, e.Hint, code, rule)
	}
}

func TestAuthenticate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := service(t, db, identity.Config{})
		agent, credential, key := issue(t, db, s)
		for range 3 { // from the database, then from memory
			p, err := s.Authenticate(t.Context(), key)
			if err != nil || p.Kind != act.Agent || p.ID != agent || p.Name != "nemo" || p.Credential != credential || p.Binding != act.BindingBootstrap {
				t.Fatalf("%+v, %v", p, err)
			}
		}
		claim, _ := s.NewSecret(identity.ClaimToken)
		token, _ := s.NewSecret(identity.OperatorToken)
		stranger, _ := service(t, db, identity.Config{}).NewSecret(identity.AgentKey)
		unstored, _ := s.NewSecret(identity.AgentKey)
		for what, c := range map[string]struct{ text, rule string }{
			"nothing":                {"", "key.malformed"},
			"a word":                 {"secret", "key.malformed"},
			"a long text":            {strings.Repeat("x", 1<<20), "key.malformed"},
			"a claim token":          {claim, "key.malformed"},
			"another network's":      {stranger, "key.unknown"},
			"a changed key":          {key[:len(key)-1] + "!", "key.unknown"},
			"never stored":           {unstored, "key.unknown"},
			"never stored, operator": {token, "key.unknown"},
		} {
			_, err := s.Authenticate(t.Context(), c.text)
			is(t, what, err, act.Unauthenticated, c.rule)
			if err != nil && c.text != "" && strings.Contains(err.Error()+act.AsError(err).Hint, c.text) {
				t.Errorf("%s: the error repeats the credential", what)
			}
		}
		other, _, otherKey := issue(t, db, s)
		if n := revoke(t, db, s, agent); n != 1 {
			t.Errorf("%d revoked, want 1", n)
		}
		if n := revoke(t, db, s, agent); n != 0 {
			t.Errorf("%d revoked the second time, want 0", n)
		}
		s.Forget([]act.ID{agent})
		for range 3 {
			_, err := s.Authenticate(t.Context(), key)
			is(t, "revoked", err, act.Unauthenticated, "key.revoked")
		}
		if p, err := s.Authenticate(t.Context(), otherKey); err != nil || p.ID != other {
			t.Errorf("the other agent: %+v, %v", p, err)
		}
	})
}

// A credential is revoked while it is being verified: that one request may still
// pass, no later one does.
func TestForgetWhileVerifying(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := service(t, db, identity.Config{})
		agent, _, key := issue(t, db, s)
		var calls int
		s.Plug(named(func(id act.ID) (string, error) {
			if calls++; calls == 1 {
				revoke(t, db, s, id)
				s.Forget([]act.ID{id})
			}
			return "nemo", nil
		}))
		if p, err := s.Authenticate(t.Context(), key); err != nil || p.ID != agent {
			t.Fatalf("%+v, %v", p, err)
		}
		_, err := s.Authenticate(t.Context(), key)
		is(t, "after the fence", err, act.Unauthenticated, "key.revoked")
		if calls != 1 {
			t.Errorf("a revoked credential's agent was asked for")
		}
	})
}

// Keys are revoked under load: nothing passes that began after the fence.
func TestRevokeUnderLoad(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	s := service(t, db, identity.Config{})
	for range 50 {
		agent, _, key := issue(t, db, s)
		var fenced, stop atomic.Bool
		var passed, late atomic.Int64
		var workers sync.WaitGroup
		for range 4 {
			workers.Go(func() {
				for !stop.Load() {
					after := fenced.Load()
					if _, err := s.Authenticate(context.Background(), key); err == nil {
						passed.Add(1)
						if after {
							late.Add(1)
						}
					}
				}
			})
		}
		for end := time.Now().Add(10 * time.Second); passed.Load() < 50 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		revoke(t, db, s, agent)
		s.Forget([]act.ID{agent})
		fenced.Store(true)
		_, err := s.Authenticate(context.Background(), key)
		is(t, "after the fence", err, act.Unauthenticated, "key.revoked")
		stop.Store(true)
		workers.Wait()
		if passed.Load() < 50 || late.Load() != 0 {
			t.Fatalf("%d passed, %d of them after the fence", passed.Load(), late.Load())
		}
	}
}

func TestKeysExpire(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		var ahead atomic.Int64
		cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		db := storetest.OpenConfig(t, cfg)
		s := service(t, db, identity.Config{KeyTTL: time.Hour})
		agent, _, key := issue(t, db, s)
		for _, c := range []struct {
			ahead time.Duration
			good  bool
		}{{0, true}, {59 * time.Minute, true}, {time.Hour, false}, {48 * time.Hour, false}} {
			ahead.Store(int64(c.ahead))
			for range 2 { // from memory, then from the database
				_, err := s.Authenticate(t.Context(), key)
				if c.good && err != nil {
					t.Errorf("after %s: %v", c.ahead, err)
				} else if !c.good {
					is(t, "after "+c.ahead.String(), err, act.Unauthenticated, "key.expired")
				}
				s.Forget([]act.ID{agent})
			}
		}
	})
}

// T06: storage that does not answer says nothing about a credential.
func TestT06_StorageGone(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		db := storetest.OpenConfig(t, cfg)
		s := service(t, db, identity.Config{})
		_, _, seen := issue(t, db, s)
		_, _, unseen := issue(t, db, s)
		if _, err := s.Authenticate(t.Context(), seen); err != nil {
			t.Fatal(err)
		}
		s2 := service(t, db, identity.Config{})
		_, _, lost := issue(t, db, s2)
		s2.Plug(named(func(act.ID) (string, error) { return "", errors.New("the directory's storage is gone") }))
		_, err := s2.Authenticate(t.Context(), lost)
		is(t, "the directory cannot be read", err, act.Unavailable, "key.unchecked")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if _, err := s.Authenticate(t.Context(), seen); err != nil {
				t.Fatalf("a key seen before: %v", err)
			}
			_, err := s.Authenticate(t.Context(), unseen)
			is(t, "a good key", err, act.Unavailable, "key.unchecked")
			if err != nil && act.AsError(err).RetryAfter == 0 {
				t.Fatal("unavailable without a time")
			}
			_, err = s.Authenticate(t.Context(), unseen[:43]+"~")
			is(t, "a wrong key", err, act.Unauthenticated, "key.unknown")
			if t.Failed() {
				return
			}
		}
	})
}

func TestEnsureOperator(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := service(t, db, identity.Config{})
		read := func(file string) string {
			t.Helper()
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("token file: %v, %v", info, err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(text))
		}
		who := func(token string) act.Principal {
			t.Helper()
			p, err := s.Authenticate(t.Context(), token)
			if err != nil || p.Kind != act.Operator || p.Name != "operator" || p.Binding != act.BindingOperator || p.Credential == 0 {
				t.Fatalf("%+v, %v", p, err)
			}
			return p
		}
		ensure := func(file string) error { return s.EnsureOperator(t.Context(), "operator", file) }
		first, second := filepath.Join(t.TempDir(), "operator.token"), filepath.Join(t.TempDir(), "deeper", "operator.token")
		for _, file := range []string{first, second, first} {
			if err := ensure(file); err != nil {
				t.Fatal(err)
			}
		}
		a, b := who(read(first)), who(read(second))
		if a.ID != b.ID || a.Credential == b.Credential || read(first) == read(second) {
			t.Errorf("two directories gave %+v and %+v, want one operator with two tokens", a, b)
		}
		// The database forgot (a restored backup): the file brings the token back.
		token, _ := s.NewSecret(identity.OperatorToken)
		third := filepath.Join(t.TempDir(), "operator.token")
		if err := os.WriteFile(third, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ensure(third); err != nil {
			t.Fatal(err)
		}
		if c := who(token); c.ID != a.ID {
			t.Errorf("%+v", c)
		}
		// A revoked token stays revoked.
		revoke(t, db, s, a.ID)
		s.Forget([]act.ID{a.ID})
		if err := ensure(first); err != nil {
			t.Fatal(err)
		}
		_, err := s.Authenticate(t.Context(), read(first))
		is(t, "a revoked token", err, act.Unauthenticated, "key.revoked")

		foreign, _ := service(t, db, identity.Config{}).NewSecret(identity.OperatorToken)
		key, _ := s.NewSecret(identity.AgentKey)
		for what, text := range map[string]string{"another network's": foreign, "an agent's key": key, "empty": "", "junk": "junk"} {
			file := filepath.Join(t.TempDir(), "operator.token")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := ensure(file); err == nil {
				t.Errorf("a token file that is %s was taken", what)
			}
		}
		if err := os.Chmod(first, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := ensure(first); err == nil {
			t.Error("a token file that all may read was taken")
		}
		if err := s.EnsureOperator(t.Context(), "", second); err == nil {
			t.Error("an operator without a name")
		}
	})
}

func TestEnsureOwner(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := service(t, db, identity.Config{})
		const n = 12
		ids := make([]act.ID, n)
		var workers sync.WaitGroup
		for i := range n {
			workers.Go(func() {
				if err := db.Write(context.Background(), func(tx *store.Tx) (err error) {
					ids[i], err = s.EnsureOwner(tx, "ann@example.org")
					return err
				}); err != nil {
					t.Error(err)
				}
			})
		}
		workers.Wait()
		for _, id := range ids {
			if id == 0 || id != ids[0] || id.Kind() != act.KindOwner {
				t.Fatalf("owners %v, want one", ids)
			}
		}
		if err := db.View(t.Context(), func(v *store.View) error {
			name, err := s.OwnerName(v, ids[0])
			if err != nil || name != "ann@example.org" {
				t.Errorf("owner's name %q, %v", name, err)
			}
			if name, err := s.OwnerName(v, 0); err != nil || name != "" {
				t.Errorf("nobody's name %q, %v", name, err)
			}
			id, found, err := s.Owner(v, "bob")
			if found || err != nil || id != 0 {
				t.Errorf("bob: %d, %t, %v", id, found, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"", " ann", "ann ", "a\nb", "a\u200bb", "a\xff", strings.Repeat("ä", 65), "a\u202eb"} {
			err := db.Write(t.Context(), func(tx *store.Tx) error { _, err := s.EnsureOwner(tx, name); return err })
			is(t, name, err, act.Invalid, "owner.name")
		}
	})
}

// Memory is bounded: more credentials than the cache holds still verify.
func TestCacheIsBounded(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	s := service(t, db, identity.Config{CacheSize: 8})
	var keys []string
	for range 100 {
		_, _, key := issue(t, db, s)
		keys = append(keys, key)
	}
	for range 3 {
		for _, key := range keys {
			if _, err := s.Authenticate(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func BenchmarkAuthenticateCached(b *testing.B) {
	db := storetest.Open(b, store.SQLite)
	s := service(b, db, identity.Config{})
	var keys []string
	for range 1024 {
		_, _, key := issue(b, db, s)
		keys = append(keys, key)
		if _, err := s.Authenticate(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 1) & 1023
		if _, err := s.Authenticate(b.Context(), keys[i]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticateWrong(b *testing.B) {
	db := storetest.Open(b, store.SQLite)
	s := service(b, db, identity.Config{})
	_, _, key := issue(b, db, s)
	wrong := key[:len(key)-1] + "!"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), wrong); err == nil {
			b.Fatal("a wrong key passed")
		}
	}
}
