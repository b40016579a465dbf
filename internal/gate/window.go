package gate

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	windowShards = 64
	sweepEvery   = time.Second
	evictAmong   = 16 // windows looked at to find one to give up
)

// windows counts in fixed windows that begin with the first act in them. It
// holds a bounded number: when a shard is full, ended windows go, and if none
// has ended, of a few windows the one that ends soonest. All is in this node's
// memory: a restart forgets it, and each node counts for itself.
type windows struct {
	seed   maphash.Seed
	each   int // windows a shard may hold
	shards [windowShards]windowShard
}

type windowShard struct {
	mu    sync.Mutex
	live  map[windowKey]window // guarded by mu
	sweep time.Time            // guarded by mu: not looked for ended ones before
}

// windowKey says whose acts of which rate are counted, and about what: a hash,
// 0 where a rate is about nothing in particular.
type windowKey struct {
	id     act.ID
	about  uint64
	source string
	rate   string
}

type window struct {
	used int
	ends time.Time
}

func newWindows(atMost int) *windows {
	w := &windows{seed: maphash.MakeSeed(), each: max(1, atMost/windowShards)}
	for i := range w.shards {
		w.shards[i].live = make(map[windowKey]window)
	}
	return w
}

func (w *windows) shard(k windowKey) *windowShard {
	return &w.shards[maphash.Comparable(w.seed, k)%windowShards]
}

// take counts one act, or reports false and the window that is full.
func (w *windows) take(k windowKey, r rate, now time.Time) (window, bool) {
	s := w.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.live[k]
	if !now.Before(at.ends) {
		at = window{ends: now.Add(r.window)}
	}
	if at.used >= r.limit {
		return at, false
	}
	at.used++
	if !known && len(s.live) >= w.each {
		s.makeRoom(now)
	}
	s.live[k] = at
	return at, true
}

// makeRoom takes at least one window out of a full shard.
func (s *windowShard) makeRoom(now time.Time) {
	before := len(s.live)
	if !now.Before(s.sweep) {
		s.sweep = now.Add(sweepEvery)
		for k, at := range s.live {
			if !now.Before(at.ends) {
				delete(s.live, k)
			}
		}
	}
	if len(s.live) < before {
		return
	}
	var victim windowKey
	var soonest time.Time
	seen := 0
	for k, at := range s.live {
		if seen == 0 || at.ends.Before(soonest) {
			victim, soonest = k, at.ends
		}
		if seen++; seen == evictAmong {
			break
		}
	}
	delete(s.live, victim)
}

// giveBack undoes a take.
func (w *windows) giveBack(k windowKey) {
	s := w.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.live[k]; ok && at.used > 0 {
		at.used--
		s.live[k] = at
	}
}

// peek returns the window of k, a fresh one if none runs.
func (w *windows) peek(k windowKey, r rate, now time.Time) window {
	s := w.shard(k)
	s.mu.Lock()
	at := s.live[k]
	s.mu.Unlock()
	if !now.Before(at.ends) {
		at = window{ends: now.Add(r.window)}
	}
	return at
}

// len returns how many windows are held.
func (w *windows) len() (n int) {
	for i := range w.shards {
		w.shards[i].mu.Lock()
		n += len(w.shards[i].live)
		w.shards[i].mu.Unlock()
	}
	return n
}
