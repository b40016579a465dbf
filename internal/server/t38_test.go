package server_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/backup"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// killed kills an agent over the wire and returns the network's kill epoch.
func killed(t *testing.T, s *servertest.Server, agent act.ID) string {
	t.Helper()
	a := s.Call(t, http.MethodPost, "/v1/agents/"+s.Codec.String(agent)+"/kill", s.Token, map[string]string{"reason": "it went astray"})
	epoch, _ := a.JSON["kill_epoch"].(string)
	if a.Status != http.StatusOK || epoch == "" {
		t.Fatalf("kill: %d %s", a.Status, a.Raw)
	}
	return epoch
}

// tries has an agent try to read and to write, which must come to nothing.
func tries(t *testing.T, s *servertest.Server, when, key string) {
	t.Helper()
	if a := s.Call(t, http.MethodGet, "/v1/home", key, nil); a.Status < 400 {
		t.Errorf("%s it reads: %d %s", when, a.Status, a.Raw)
	}
	if a := s.Call(t, http.MethodPost, "/v1/posts", key, map[string]string{"community": "general", "title": "I am back", "content": "c"}); a.Status < 400 {
		t.Errorf("%s it posts: %d %s", when, a.Status, a.Raw)
	}
}

// neverActed fails if anything an agent did is on record, and unless it is dead.
func neverActed(t *testing.T, s *servertest.Server, agent act.ID) {
	t.Helper()
	var n int64
	if err := s.DB.View(context.Background(), func(v *store.View) error {
		_, err := v.One(qTestActsBy, func(r *store.Row) error { n = r.Int(0); return nil }, agent)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("%d acts of a killed agent are on record", n)
	}
	if a := s.Call(t, http.MethodGet, "/v1/agents/"+s.Codec.String(agent), s.Token, nil); a.JSON["standing"] != act.Killed.String() {
		t.Errorf("it is %s", a.Raw)
	}
}

// T38: an agent that was killed after a backup does nothing in the network that is
// restored from it, whether the kill log is at hand, or an operator knows the kill
// epoch, or somebody confirms carelessly and the kill log turns up later.
func TestT38_AKilledAgentStaysDead(t *testing.T) {
	eachCarriage(t, func(t *testing.T, from, to server.Config) {
		s := servertest.Open(t, from)
		victimKey, victim := s.Agent(t, "victim")
		otherKey, _ := s.Agent(t, "other")
		file, m := backedUp(t, s)
		lateKey, late := s.Agent(t, "late")  // not in the backup
		m0 := lifecycle.KillEpoch{}.String() // of the backup
		killed(t, s, victim.ID)
		epoch := killed(t, s, late.ID)
		tries(t, s, "killed", victimKey)
		s.Stop()

		t.Run("the kill log is at hand", func(t *testing.T) {
			to := servertest.Config(t, dialectOf(to))
			to.KillLog = from.KillLogPath()
			out := restored(t, from, to, file)
			if got := out.Condition.Kills.String(); got != epoch || out.Condition.Confirmed() {
				t.Errorf("the epoch is %s, want %s", got, epoch)
			}
			r := servertest.Start(t, to)
			tries(t, r, "restored", victimKey)
			tries(t, r, "restored", lateKey)
			// Whatever an operator confirms, rightly or wrongly or again.
			for _, said := range []struct{ kills, rule string }{
				{lifecycle.NoKills, "kill.since"}, {"0", "kill.behind"}, {"1", "kill.behind"}, {m0, "kill.behind"}, {"3", "kill.missing"},
				{"2-deadbeef", "kill.differ"}, {"2", ""}, {epoch, ""}, {lifecycle.NoKills, "kill.since"},
			} {
				if status, rule := confirm(t, r, said.kills); said.rule == "" != (status == http.StatusOK) || said.rule != "" && rule != said.rule {
					t.Errorf("%s is confirmed with %d %v, want %q", said.kills, status, rule, said.rule)
				}
				tries(t, r, "with "+said.kills+" confirmed", victimKey)
				tries(t, r, "with "+said.kills+" confirmed", lateKey)
			}
			// Nor can an operator bring it back.
			for _, order := range []string{"resume", "release", "pause", "quarantine"} {
				path := "/v1/agents/" + r.Codec.String(victim.ID) + "/" + order
				if a := r.Call(t, http.MethodPost, path, r.Token, map[string]string{"reason": "give it another chance"}); a.Status < 400 {
					t.Errorf("%s of a killed agent: %d %s", order, a.Status, a.Raw)
				}
				tries(t, r, order, victimKey)
			}
			if a := r.Call(t, http.MethodGet, "/v1/home", otherKey, nil); a.Status != http.StatusOK {
				t.Errorf("another agent is answered %d %s", a.Status, a.Raw)
			}
			neverActed(t, r, victim.ID)
			dense(t, r, m.Seq)
		})

		t.Run("the epoch is known", func(t *testing.T) {
			to := servertest.Config(t, dialectOf(to))
			restored(t, from, to, file)
			r := servertest.Start(t, to)
			tries(t, r, "restored", victimKey)
			if status, rule := confirm(t, r, epoch); status != http.StatusConflict || rule != "kill.missing" {
				t.Errorf("confirmed with the victim alive: %d %v", status, rule)
			}
			mustWait(t, "the victim, alive again", r.Call(t, http.MethodGet, "/v1/home", victimKey, nil))
			killed(t, r, victim.ID)
			// The number is right now and the agents are not.
			wrong := lifecycle.KillEpoch{N: 1, Check: 0xdeadbeef}.String()
			if status, rule := confirm(t, r, wrong); status != http.StatusConflict || rule != "kill.differ" {
				t.Errorf("the epoch of other agents is confirmed: %d %v", status, rule)
			}
			note := map[string]string{"agent": r.Codec.String(late.ID), "name": "late", "reason": "it went astray"}
			if a := r.Call(t, http.MethodPost, "/v1/kills", r.Token, note); a.Status != http.StatusCreated || a.JSON["epoch"] != epoch {
				t.Fatalf("note: %d %s, want the epoch %s", a.Status, a.Raw, epoch)
			}
			if status, rule := confirm(t, r, epoch); status != http.StatusOK {
				t.Errorf("confirm: %d %v", status, rule)
			}
			tries(t, r, "confirmed", victimKey)
			neverActed(t, r, victim.ID)
		})

		t.Run("the kill log turns up", func(t *testing.T) {
			to := servertest.Config(t, dialectOf(to))
			restored(t, from, to, file)
			r := servertest.Open(t, to)
			if status, rule := confirm(t, r, lifecycle.NoKills); status != http.StatusOK { // nobody knew better
				t.Errorf("confirm: %d %v", status, rule)
			}
			r.Stop()
			// As it is with a database that was put back without reef restore, too.
			to.KillLog = from.KillLogPath()
			r = servertest.Start(t, to)
			mustWait(t, "an agent of a network behind its kill log", r.Call(t, http.MethodGet, "/v1/home", otherKey, nil))
			tries(t, r, "behind its log", victimKey)
			if status, rule := confirm(t, r, epoch); status != http.StatusOK {
				t.Errorf("confirm: %d %v", status, rule)
			}
			tries(t, r, "confirmed", victimKey)
			neverActed(t, r, victim.ID)
		})
	})
}

// T38: the kill of a scope is known outside the database before its agents have ended one
// by one, so a state from before it lets none of them act, and neither does a release of
// later make a node that was away think that its state is old.
func TestT38_AScopeStaysKilled(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			from, to := servertest.Config(t, d), servertest.Config(t, d)
			s := servertest.Open(t, from)
			strayKey, stray := s.Agent(t, "stray")
			otherKey, _ := s.Agent(t, "other")
			file, _ := backedUp(t, s)
			scope := "/v1/scopes/lineage:" + s.Codec.String(stray.ID)
			why := map[string]string{"reason": "it went astray"}
			if a := s.Call(t, http.MethodPost, scope+"/kill", s.Token, why); a.Status != http.StatusOK {
				t.Fatalf("kill a line: %d %s", a.Status, a.Raw)
			}
			// What the log had when the kill was acknowledged, whatever has ended since.
			only := scopesOnly(t, from.KillLogPath())
			if err := s.Lifecycle.SweepScopes(t.Context()); err != nil {
				t.Fatal(err)
			}
			if a := s.Call(t, http.MethodPost, scope+"/release", s.Token, why); a.Status != http.StatusOK {
				t.Fatalf("release: %d %s", a.Status, a.Raw)
			}
			s.Stop()
			s = servertest.Start(t, from)
			if a := s.Call(t, http.MethodGet, "/v1/home", otherKey, nil); a.Status != http.StatusOK {
				t.Errorf("after a release the network is taken for an older one: %d %s", a.Status, a.Raw)
			}

			to.KillLog = filepath.Join(t.TempDir(), "kills.log")
			if err := os.WriteFile(to.KillLog, only, 0o600); err != nil {
				t.Fatal(err)
			}
			restored(t, from, to, file)
			r := servertest.Start(t, to)
			tries(t, r, "restored", strayKey)
			if err := r.Lifecycle.SweepScopes(t.Context()); err != nil {
				t.Fatal(err)
			}
			if status, rule := confirm(t, r, "1"); status != http.StatusOK {
				t.Errorf("confirm: %d %v", status, rule)
			}
			tries(t, r, "confirmed", strayKey)
			neverActed(t, r, stray.ID)
			if a := r.Call(t, http.MethodGet, "/v1/home", otherKey, nil); a.Status != http.StatusOK {
				t.Errorf("another agent is answered %d %s", a.Status, a.Raw)
			}
		})
	}
}

// scopesOnly is a kill log without the kills of single agents.
func scopesOnly(t *testing.T, path string) (out []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(raw) {
		if bytes.Contains(line, []byte(`"scope":`)) {
			out = append(out, line...)
		}
	}
	if len(out) == 0 {
		t.Fatalf("no scope in %s", raw)
	}
	return out
}

func dialectOf(c server.Config) store.Dialect {
	if c.DB != "" {
		return store.Postgres
	}
	return store.SQLite
}

// A restore that cannot be right is refused before it changes anything, and one
// that is only tried changes nothing.
func TestRestoreRefuses(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			ctx, log := context.Background(), slog.New(slog.DiscardHandler)
			from := servertest.Config(t, d)
			s := servertest.Start(t, from)
			_, p := s.Agent(t, "ada")
			s.Community(t, p, "lab")
			file, _ := backedUp(t, s)
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for what, raw := range map[string][]byte{
				"cut short":    whole[:len(whole)/2],
				"without end":  whole[:len(whole)-1],
				"one bit off":  append(append(append([]byte{}, whole[:520]...), whole[520]^1), whole[521:]...), // of the first rows
				"with a tail":  append(append([]byte{}, whole...), 0),
				"not a backup": []byte("hello"),
			} {
				path := filepath.Join(t.TempDir(), "bad")
				if err := os.WriteFile(path, raw, 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := backup.Open(ctx, path, nil); act.CodeOf(err) != act.Invalid {
					t.Errorf("a backup %s is opened: %v", what, err)
				}
			}
			archive, err := backup.Open(ctx, file, nil)
			if err != nil {
				t.Fatal(err)
			}
			right := server.Restoring{Archive: archive, Key: from.KeyPath()}

			foreign := filepath.Join(t.TempDir(), "foreign.key")
			if err := os.WriteFile(foreign, make([]byte, 32), 0o600); err != nil {
				t.Fatal(err)
			}
			to := servertest.Config(t, d)
			for what, r := range map[string]server.Restoring{
				"a foreign key": {Archive: archive, Key: foreign},
				"no key":        {Archive: archive},
			} {
				if _, err := server.Restore(ctx, to, r, log); err == nil {
					t.Errorf("restored with %s", what)
				}
			}
			if err := server.CheckRestore(ctx, to, right); err != nil {
				t.Errorf("a trial: %v", err)
			}
			if left, err := os.ReadDir(to.Data); err != nil || len(left) != 0 {
				t.Errorf("after refusals and a trial there are %v (%v)", left, err)
			}
			if err := store.Vacant(ctx, to.Store()); err != nil {
				t.Errorf("after refusals and a trial: %v", err)
			}

			occupied := servertest.Config(t, d)
			there := servertest.Open(t, occupied)
			there.Agent(t, "bob")
			there.Stop()
			occupied.KeyFile = from.KeyPath()
			for what, do := range map[string]func() error{
				"tried":    func() error { return server.CheckRestore(ctx, occupied, right) },
				"restored": func() error { _, err := server.Restore(ctx, occupied, right, log); return err },
			} {
				if err := do(); act.CodeOf(err) != act.Conflict || act.AsError(err).Rule != "restore.occupied" {
					t.Errorf("%s over a network: %v", what, err)
				}
			}
			occupied.KeyFile = ""
			again := servertest.Start(t, occupied) // and it is as it was
			if a := again.Call(t, http.MethodGet, "/v1/agents", again.Token, nil); a.Status != http.StatusOK {
				t.Errorf("the network that was there answers %d %s", a.Status, a.Raw)
			}
		})
	}
}

// A restore that fails leaves the place as it was, wherever it breaks off: while
// the database is opened, suspended, indexed or reconciled.
func TestRestoreFailsWhole(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			from := servertest.Config(t, d)
			s := servertest.Open(t, from)
			_, p := s.Agent(t, "ada")
			s.Community(t, p, "lab")
			file, _ := backedUp(t, s)
			s.Stop()
			archive, err := backup.Open(t.Context(), file, nil)
			if err != nil {
				t.Fatal(err)
			}
			failed := 0
			for at := int64(1); ; at *= 2 { // of the places where storage can fail
				to := servertest.Config(t, d)
				to.KeyFile = filepath.Join(to.Data, "keys", "of-its-own", "network.key")
				var n atomic.Int64
				to.Fault = func(store.Step) error {
					if n.Add(1) == at {
						return errors.New("the disk is gone")
					}
					return nil
				}
				_, err := server.Restore(t.Context(), to, server.Restoring{Archive: archive, Key: from.KeyPath()}, slog.New(slog.DiscardHandler))
				if n.Load() < at {
					if err != nil {
						t.Errorf("nothing failed, and still: %v", err)
					}
					break
				}
				if err == nil {
					continue // what failed was of no consequence
				}
				failed++
				if err := store.Vacant(t.Context(), to.Store()); err != nil {
					t.Errorf("after a failure at %d the place is not vacant: %v", at, err)
				}
				if left, err := os.ReadDir(to.Data); err != nil || len(left) > 0 {
					t.Errorf("after a failure at %d there are %v (%v)", at, left, err)
				}
			}
			if failed < 3 {
				t.Errorf("%d restores failed: that tells nothing", failed)
			}
		})
	}
}
