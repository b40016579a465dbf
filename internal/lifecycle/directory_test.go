package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// manyAgents puts n agents into a directory and returns their ids.
func manyAgents(t testing.TB, d *directory, n int) []act.ID {
	t.Helper()
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	m := act.NewMinter(func() time.Time { return now }, 3, 0, act.IDMillis(now)+1<<40)
	ids := make([]act.ID, n)
	for i := range ids {
		id, err := m.New(act.KindAgent)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
		d.put(id, entry{name: fmt.Sprintf("agent-%07d", i), owner: id + 1, epoch: int64(i%9 + 1), state: act.Active})
	}
	return ids
}

// Memory must hold 1.6 million agents; an agent may take 100 bytes.
func TestDirectorySize(t *testing.T) {
	const n = 400_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d := newDirectory()
	ids := manyAgents(t, d, n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc)/n - 8 // ids
	t.Logf("%.1f bytes an agent, %d agents", each, n)
	if each > 100 {
		t.Errorf("an agent takes %.1f bytes, want at most 100", each)
	}
	if d.len() != n {
		t.Errorf("%d agents, want %d", d.len(), n)
	}
	runtime.KeepAlive(ids)
}

func TestStandingDoesNotAllocate(t *testing.T) {
	l := &Lifecycle{agents: newDirectory()}
	ids := manyAgents(t, l.agents, 1000)
	var state act.Standing
	var facts Facts
	var name string
	if n := testing.AllocsPerRun(1000, func() {
		state, _ = l.Standing(ids[7])
		facts = l.Facts(ids[8])
		name = l.Name(ids[9])
		_, _ = l.Standing(42)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if state != act.Active || facts.Owner != ids[8]+1 || !facts.Claimed || name != "agent-0000009" {
		t.Errorf("%s, %+v, %q", state, facts, name)
	}
	if s, e := l.Standing(42); s != act.StandingUnknown || e != 0 {
		t.Errorf("nobody has %s at epoch %d", s, e)
	}
}

// Rows are read by several goroutines at once; the higher epoch stays.
func TestDirectoryNeverGoesBack(t *testing.T) {
	d := newDirectory()
	id := manyAgents(t, d, 1)[0]
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			for i := range 1000 {
				epoch := int64((i*7+w*13)%1000 + 1)
				state := act.Active
				if epoch == 1000 {
					state = act.Killed
				}
				d.put(id, entry{name: "nemo", epoch: epoch, state: state})
			}
		})
	}
	workers.Wait()
	l := &Lifecycle{agents: d}
	if state, epoch := l.Standing(id); epoch != 1000 || state != act.Killed {
		t.Errorf("%s at epoch %d, want killed at 1000", state, epoch)
	}
}

// Readers see every agent that was put, whole, while the tables grow under
// them and standings change.
func TestDirectoryUnderLoad(t *testing.T) {
	l := &Lifecycle{agents: newDirectory()}
	var put atomic.Int64
	const n = 50_000
	id := func(i int64) act.ID { return act.ID(i+1) << 10 }
	var workers sync.WaitGroup
	workers.Go(func() {
		for i := range int64(n) {
			l.agents.put(id(i), entry{name: strconv.FormatInt(i, 10), owner: act.ID(i + 1), epoch: 1, state: act.Active})
			put.Store(i + 1)
			l.agents.put(id(i/2), entry{name: "not taken", owner: act.ID(i/2 + 1), epoch: i, state: act.Paused})
		}
	})
	for w := range 2 {
		workers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			for have := put.Load(); have < n; have = put.Load() {
				if have == 0 {
					continue
				}
				i := random.Int64N(have)
				state, epoch := l.Standing(id(i))
				if state != act.Active && state != act.Paused || epoch == 0 || state == act.Active && epoch > 1 {
					t.Errorf("agent %d has %s at epoch %d", i, state, epoch)
					return
				}
				if f := l.Facts(id(i)); f.Owner != act.ID(i+1) || l.Name(id(i)) != strconv.FormatInt(i, 10) {
					t.Errorf("agent %d is %q with %+v", i, l.Name(id(i)), f)
					return
				}
				if s, _ := l.Standing(id(i) + 1); s != act.StandingUnknown {
					t.Errorf("nobody is %s", s)
					return
				}
			}
		})
	}
	workers.Wait()
	if got := l.agents.len(); got != n {
		t.Errorf("%d agents, want %d", got, n)
	}
}

func BenchmarkStanding(b *testing.B) {
	l := &Lifecycle{agents: newDirectory()}
	ids := manyAgents(b, l.agents, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i = (i + 1) & (1<<20 - 1)
			l.Standing(ids[i])
		}
	})
	b.Run("hot", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i = (i + 1) & 1023
			l.Standing(ids[i])
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			i := 0
			for pb.Next() {
				i = (i + 1) & (1<<20 - 1)
				l.Standing(ids[i])
			}
		})
	})
}
