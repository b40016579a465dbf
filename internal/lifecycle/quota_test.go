package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	qTestUpdates store.Q = `SELECT COUNT(*) FROM event WHERE act = 'agent.update' AND outcome = 0`
	qTestAlerts  store.Q = `SELECT COUNT(*) FROM event WHERE act = 'quota.alert' AND outcome = 0`
	qTestLeased  store.Q = `SELECT COUNT(*) FROM quota AS q WHERE q.given <> (SELECT COALESCE(SUM(b.leased), 0) FROM quota_block AS b WHERE b.quota = q.id)`
	qTestHold    store.Q = `UPDATE quota SET given = given`
)

func (h *house) quota(scope, kind string, limit int64, period lifecycle.Period) lifecycle.Quota {
	h.t.Helper()
	q, err := h.life.SetQuota.Do(h.t.Context(), h.operator, lifecycle.NewQuota{
		On: lifecycle.QuotaName{Scope: scope, Kind: kind}, Limit: limit, Period: period, Reason: "so much and no more",
	})
	h.do("set the quota", err)
	return q
}

func (h *house) left(scope, kind string) int64 {
	h.t.Helper()
	q, err := h.life.ShowQuota.Do(h.t.Context(), h.operator, lifecycle.QuotaName{Scope: scope, Kind: kind})
	h.do("show the quota", err)
	return q.Left()
}

// crowd makes agents without a class.
func (h *house) crowd(n int) (list []act.Principal) {
	h.t.Helper()
	for i := range n {
		p, _ := h.active(fmt.Sprintf("one-of-%d", i))
		list = append(list, p)
	}
	return list
}

// spendAll lets agents write, several at once on each node, until every one is refused by
// a rule. It returns how many acts were answered.
func spendAll(t *testing.T, rule string, crowd []act.Principal, nodes ...*house) int64 {
	t.Helper()
	var done atomic.Int64
	var all sync.WaitGroup
	for i, p := range crowd {
		h := nodes[i%len(nodes)]
		all.Go(func() {
			for {
				err := h.writes(p)
				switch e := act.AsError(err); {
				case err == nil:
					done.Add(1)
				case e.Code == act.Unavailable: // a fault of the test's
				case e.Rule == rule:
					return
				default:
					t.Errorf("%s writes: %v (rule %q, cause %v)", p.Name, e, e.Rule, errors.Unwrap(e))
					return
				}
			}
		})
	}
	all.Wait()
	return done.Load()
}

// exact compares a quota with the record: as many acts as it has, and not one more.
func (h *house) exact(scope string, limit int64) {
	h.t.Helper()
	if left, done := h.left(scope, "acts"), h.count(qTestUpdates); left != 0 || done != limit {
		h.t.Errorf("%d left, %d acts on record, want %d", left, done, limit)
	}
	if n := h.count(qTestLeased); n != 0 {
		h.t.Errorf("what nodes have of %d quotas is not what was given", n)
	}
}

// T04, T39: however many ask at once, a quota is used up to the last and never beyond. What
// is rolled back or fails counts for nothing, and what is stored though its answer is lost
// counts.
func TestT39_QuotaIsExact(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		h := open(t, cfg, plan{})
		crowd := h.crowd(6)
		const limit = 90
		h.quota(lifecycle.QuotaNetwork, "acts", limit, lifecycle.Once)
		long := strings.Repeat("x", 10_000)
		for _, p := range crowd[:2] {
			_, err := h.net.UpdateProfile.Do(t.Context(), p, network.ProfileChange{Description: &long})
			if act.CodeOf(err) != act.Invalid {
				t.Fatalf("a text that is too long: %v", err)
			}
		}
		h.do("the first write", h.writes(crowd[0]))
		for _, s := range steps {
			h.during(t, "a write", s.step, func() error { return h.writes(crowd[0]) })
		}
		if left := h.left(lifecycle.QuotaNetwork, "acts"); left != limit-2 {
			t.Errorf("%d left after one that was done, three that were lost and one that was stored", left)
		}
		if done := spendAll(t, "quota.network.acts", crowd, h); done != limit-2 {
			t.Errorf("%d acts were answered", done)
		}
		h.exact(lifecycle.QuotaNetwork, limit)
		if err := h.reads(crowd[0]); err != nil {
			t.Errorf("reads when the quota is used up: %v", err)
		}
	})
}

// T39: two nodes share a quota. Neither goes beyond what both have, and neither stops while
// the other has something left, whether it lives or not.
func TestT39_NodesShareAQuota(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	t.Run("postgres", func(t *testing.T) {
		hub := bus.NewLocal()
		a := open(t, cfg, plan{hub: hub})
		b := open(t, cfg, plan{hub: hub, dir: a.dir})
		crowd := a.crowd(8)
		const limit = 120
		a.quota(lifecycle.QuotaNetwork, "acts", limit, lifecycle.Once)
		if done := spendAll(t, "quota.network.acts", crowd, a, b); done != limit {
			t.Errorf("%d acts were answered", done)
		}
		b.exact(lifecycle.QuotaNetwork, limit)

		// One takes a block, and is not heard of again.
		a.quota(lifecycle.QuotaNetwork, "acts", limit+80, lifecycle.Once)
		b.do("a write", b.writes(crowd[0]))
		if done := spendAll(t, "quota.network.acts", crowd, a); done != 79 {
			t.Errorf("%d acts were answered", done)
		}
		a.exact(lifecycle.QuotaNetwork, limit+80)
	})
}

// No act waits for the row that nodes share, while its node has some of it.
func TestQuotaLocksNoSharedRow(t *testing.T) {
	cfg := storetest.Config(t, store.Postgres)
	t.Run("postgres", func(t *testing.T) {
		h := open(t, cfg, plan{})
		p := h.crowd(1)[0]
		h.quota(lifecycle.QuotaNetwork, "acts", 800, lifecycle.Once)
		h.do("the first write", h.writes(p))
		h.do("hold the row", h.db.Write(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Exec(qTestHold); err != nil {
				return err
			}
			for range 20 {
				if err := h.writes(p); err != nil {
					return err
				}
			}
			return nil
		}))
		if left := h.left(lifecycle.QuotaNetwork, "acts"); left != 779 {
			t.Errorf("%d left", left)
		}
	})
}

// A quota of a period begins anew with it, and not before; of each, operators are told once
// that most of it is used up.
func TestQuotaRenews(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		later := func(by time.Duration) {
			w.move(by)
			h.do("reserve ids", h.db.Reserve(t.Context(), w.now()))
		}
		later(time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(25 * time.Hour))) // an hour begins, and no day
		p := h.crowd(1)[0]
		h.quota(lifecycle.QuotaNetwork, "acts", 10, lifecycle.Hourly)
		told := func() (n int) {
			h.watched()
			for _, one := range h.notices() {
				if one.Rule == "quota.network.acts.80" && one.Agent == 0 {
					n++
				}
			}
			return n + int(h.count(qTestAlerts))*10
		}
		for range 7 {
			h.do("a write", h.writes(p))
		}
		if n := told(); n != 0 {
			t.Errorf("told at 7 of 10: %d", n)
		}
		for range 3 {
			h.do("a write", h.writes(p))
		}
		if n := told(); n != 11 {
			t.Errorf("told at 10 of 10: %d", n)
		}
		if n := told(); n != 11 {
			t.Errorf("told again: %d", n)
		}
		err := h.writes(p)
		is(t, "one more", err, act.Denied, "quota.network.acts")
		if e := act.AsError(err); e.RetryAfter <= 0 || e.RetryAfter > time.Hour || !strings.Contains(e.Hint, "renews at") {
			t.Errorf("the refusal says %q, retry after %s", e.Hint, e.RetryAfter)
		}
		later(time.Hour)
		if left := h.left(lifecycle.QuotaNetwork, "acts"); left != 10 {
			t.Errorf("%d left in the next hour, before anybody acts", left)
		}
		for range 8 {
			h.do("a write in the next hour", h.writes(p))
		}
		if n := told(); n != 21 {
			t.Errorf("told in the next hour: %d", n)
		}
		h.quota(lifecycle.QuotaNetwork, "acts", 8, lifecycle.Daily) // another period counts anew
		for range 8 {
			h.do("a write of the day", h.writes(p))
		}
		later(time.Hour)
		is(t, "an hour later", h.writes(p), act.Denied, "quota.network.acts")
		later(24 * time.Hour)
		h.do("a day later", h.writes(p))
	})
}

// That nothing is left is remembered for no longer than the period.
func TestQuotaIsNotSpentBeforeItsPeriod(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		p := h.crowd(1)[0]
		h.quota(lifecycle.QuotaNetwork, "acts", 1, lifecycle.Hourly)
		for told := false; !told; { // within half a second before the hour, at whatever pace this runs
			w.move(w.now().UTC().Truncate(time.Hour).Add(2*time.Hour - 500*time.Millisecond).Sub(w.now()))
			h.do("reserve ids", h.db.Reserve(t.Context(), w.now()))
			hour := w.now().UTC().Truncate(time.Hour)
			h.do("a write", h.writes(p))
			err := h.writes(p)
			if told = w.now().UTC().Truncate(time.Hour).Equal(hour); told {
				is(t, "one more", err, act.Denied, "quota.network.acts")
			}
		}
		w.move(500 * time.Millisecond)
		h.do("reserve ids", h.db.Reserve(t.Context(), w.now()))
		h.do("a write in the next hour", h.writes(p))
	})
}

// The levels bind together: whichever has nothing left stops its agents, and nobody else's.
func TestQuotaLevels(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, _ *watch) {
		h.class("monitor", `{"grant":{"budget":{"acts":100}}}`)
		one, _ := h.born(lifecycle.NewInstance{Name: "one", Class: "monitor", Owner: "team-a"})
		two, _ := h.born(lifecycle.NewInstance{Name: "two", Class: "monitor", Owner: "team-b"})
		free := h.crowd(1)[0]
		_, err := h.life.MoveOwner.Do(t.Context(), h.operator, lifecycle.OwnerMove{Owner: "team-a", Team: "pricing", Reason: "x"})
		h.do("move", err)
		h.quota(lifecycle.QuotaClass+"monitor", "acts", 6, lifecycle.Once)
		h.quota(lifecycle.QuotaTeam+"pricing", "acts", 2, lifecycle.Once)
		h.quota(lifecycle.QuotaNetwork, "acts", 8, lifecycle.Once)
		for range 2 {
			h.do("one", h.writes(one))
		}
		is(t, "the team is done", h.writes(one), act.Denied, "quota.team.acts")
		list, err := h.life.ShowBudget.Do(t.Context(), one, lifecycle.Named{Agent: one.ID})
		h.do("budget", err)
		var seen []string
		for _, b := range list {
			seen = append(seen, fmt.Sprint(b.Scope, " ", b.Left()))
		}
		if want := []string{" 98", "network 6", "team:pricing 0", "class:monitor 4"}; !slices.Equal(seen, want) {
			t.Errorf("what bounds the agent: %q", seen)
		}
		for range 4 {
			h.do("two", h.writes(two))
		}
		is(t, "the class is done", h.writes(two), act.Denied, "quota.class.acts")
		h.quota(lifecycle.QuotaClass+"monitor", "acts", 60, lifecycle.Once)
		h.do("two", h.writes(two))
		h.do("who has no class counts, too", h.writes(free))
		is(t, "the network is done, and the class is not", h.writes(two), act.Denied, "quota.network.acts")
		is(t, "who has no class", h.writes(free), act.Denied, "quota.network.acts")
		_, err = h.life.SetQuota.Do(t.Context(), one, lifecycle.NewQuota{On: lifecycle.QuotaName{Scope: "network", Kind: "acts"}, Limit: 99, Reason: "x"})
		is(t, "an agent raises it", err, act.Denied, "default-deny")
		for name, in := range map[string]lifecycle.QuotaName{
			"quota.scope": {Scope: "owner:x", Kind: "acts"}, "quota.kind": {Scope: "network", Kind: "posts"}, "class.name": {Scope: "class:A!", Kind: "acts"}, "team.name": {Scope: "team:", Kind: "acts"},
		} {
			_, err := h.life.SetQuota.Do(t.Context(), h.operator, lifecycle.NewQuota{On: in, Reason: "x"})
			is(t, fmt.Sprintf("%+v", in), err, act.Invalid, name)
		}
	})
}

// What is reported is reserved before it is spent, and comes back as far as who gives it
// back has reserved it: nobody frees what others use.
func TestQuotaOfWhatIsReported(t *testing.T) {
	eachAt(t, func(t *testing.T, h *house, w *watch) {
		later := func(by time.Duration) {
			w.move(by)
			h.do("reserve ids", h.db.Reserve(t.Context(), w.now()))
		}
		later(time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(25 * time.Hour))) // no day ends meanwhile
		crowd := h.crowd(2)
		h.quota(lifecycle.QuotaNetwork, "tokens", 1000, lifecycle.Daily)
		report := func(p act.Principal, n int64) error {
			_, err := h.life.Report.Do(t.Context(), p, lifecycle.Usage{Tokens: n})
			return err
		}
		h.do("700", report(crowd[0], 700))
		is(t, "400 more", report(crowd[1], 400), act.Denied, "quota.network.tokens")
		is(t, "more than there can be", report(crowd[1], 1<<62), act.Denied, "quota.network.tokens")
		h.do("200 more", report(crowd[1], 200))
		h.do("500 that others use", report(crowd[1], -500))
		if left := h.left(lifecycle.QuotaNetwork, "tokens"); left != 300 {
			t.Errorf("%d left", left)
		}
		h.do("600 back", report(crowd[0], -600))
		h.do("900", report(crowd[1], 900))
		is(t, "one more", report(crowd[0], 1), act.Denied, "quota.network.tokens")

		// Where the limit was set below what is used, what comes back is nobody's.
		h.quota(lifecycle.QuotaNetwork, "tokens", 500, lifecycle.Daily)
		h.do("400 back", report(crowd[1], -400))
		is(t, "one of them", report(crowd[0], 1), act.Denied, "quota.network.tokens")
		h.do("200 back", report(crowd[1], -200))
		later(2 * time.Second)
		is(t, "one more than there are", report(crowd[0], 101), act.Denied, "quota.network.tokens")
		h.do("100", report(crowd[0], 100))
	})
}

// Whatever an operator does to a quota meanwhile, nothing is done beyond what it is from
// the answer on.
func TestQuotaIsChangedUnderLoad(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		h := open(t, cfg, plan{})
		crowd := h.crowd(3)
		on := lifecycle.QuotaName{Scope: lifecycle.QuotaNetwork, Kind: "acts"}
		h.quota(on.Scope, on.Kind, 100_000, lifecycle.Once)
		var load busy
		defer load.workers.Wait()
		defer load.stop.Store(true)
		for _, p := range crowd {
			load.run(func() error { return h.writes(p) })
		}
		acts := func(n int64) { eventually(t, "the agents act", func() bool { return load.done.Load() > n }) }
		acts(30)
		h.quota(on.Scope, on.Kind, 10, lifecycle.Once) // below what is used
		done := h.count(qTestUpdates)
		is(t, "a write after the answer", h.writes(crowd[0]), act.Denied, "quota.network.acts")
		if now := h.count(qTestUpdates); now != done {
			t.Errorf("%d acts after the limit was lowered", now-done)
		}
		h.quota(on.Scope, on.Kind, done+40, lifecycle.Once)
		eventually(t, "all are done", func() bool { return h.count(qTestUpdates) == done+40 })
		is(t, "one more", h.writes(crowd[0]), act.Denied, "quota.network.acts")
		_, err := h.life.DropQuota.Do(context.Background(), h.operator, lifecycle.QuotaOrder{On: on, Reason: "x"})
		h.do("drop", err)
		acts(load.done.Load() + 20)
		if _, err := h.life.ShowQuota.Do(context.Background(), h.operator, on); act.CodeOf(err) != act.NotFound {
			t.Errorf("a quota that was dropped: %v", err)
		}
	})
}

// BenchmarkCharge is the way of a write with no quota, and with one.
func BenchmarkCharge(b *testing.B) {
	for _, quotas := range []bool{false, true} {
		b.Run(fmt.Sprintf("quotas=%t", quotas), func(b *testing.B) {
			h := open(b, storetest.Config(b, store.SQLite), plan{})
			r, err := h.life.Register.Do(b.Context(), stranger, lifecycle.NewAgent{Name: "writer", Invite: h.invite("")})
			h.do("register", err)
			p := h.principal(r.Key)
			if quotas {
				h.quota(lifecycle.QuotaNetwork, "acts", lifecycle.MaxQuota, lifecycle.Daily)
			}
			b.SetParallelism(16) // so many that a commit is for several
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := h.writes(p); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
