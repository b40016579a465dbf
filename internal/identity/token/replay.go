package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	replayShards = 16
	replaySpan   = 10        // seconds of ends that share a generation
	replayKeep   = time.Hour // longer than anything read here is good for
)

// Replay remembers what was shown until it is too old to be taken. It is exact:
// it never forgets in time, and refuses when it is full. Its memory is bounded by
// its capacity, at some 50 bytes each.
//
// Clocks may jump (T16). What was forgotten because the clock was ahead is not
// taken when the clock comes back: ends that a forgotten generation may have held
// are refused from then on.
type Replay struct {
	clock  act.Clock
	secret [16]byte // nobody can choose who shares a shard or a hash
	most   int      // of one shard
	shards [replayShards]replayShard
}

type replayShard struct {
	mu          sync.Mutex
	generations []replayGeneration // guarded by mu; in order of end
	forgotten   int64              // guarded by mu: end of the last generation that was dropped
	count       int                // guarded by mu
}

// replayGeneration holds what ends in the replaySpan seconds before end.
type replayGeneration struct {
	end  int64 // Unix seconds
	seen map[[16]byte]struct{}
}

// NewReplay returns an empty set for at most capacity things at a time.
func NewReplay(clock act.Clock, capacity int) *Replay {
	r := &Replay{clock: clock, most: max(1, capacity/replayShards)}
	_, _ = rand.Read(r.secret[:]) // never fails (crypto/rand)
	return r
}

// Seen reports whether owner's id was shown before, or could have been; if not,
// it is remembered until the given time, from which on the caller must not take
// it. Of many at once exactly one is told false. It fails with Unavailable
// (dpop.full) when it cannot remember more, and then nothing was remembered.
func (r *Replay) Seen(owner, id string, until time.Time) (bool, error) {
	key := r.hash(owner, id)
	s := &r.shards[key[0]%replayShards]
	end := (until.Unix()/replaySpan + 1) * replaySpan // later than until
	s.mu.Lock()
	defer s.mu.Unlock()
	now := r.clock()
	s.forget(now.Unix())
	if !now.Before(until) || end <= s.forgotten {
		return true, nil
	}
	for i := range s.generations {
		if _, ok := s.generations[i].seen[key]; ok {
			return true, nil
		}
	}
	if s.count >= r.most || until.Sub(now) > replayKeep {
		return false, refuse("dpop.full")
	}
	s.generation(end)[key] = struct{}{}
	s.count++
	return false, nil
}

// forget drops the generations that have ended.
func (s *replayShard) forget(now int64) {
	n := 0
	for n < len(s.generations) && s.generations[n].end <= now {
		s.forgotten = max(s.forgotten, s.generations[n].end)
		s.count -= len(s.generations[n].seen)
		n++
	}
	if n > 0 {
		s.generations = slices.Delete(s.generations, 0, n)
	}
}

// generation returns what is remembered until end.
func (s *replayShard) generation(end int64) map[[16]byte]struct{} {
	i, ok := slices.BinarySearchFunc(s.generations, end, func(g replayGeneration, end int64) int { return int(g.end - end) })
	if !ok {
		s.generations = slices.Insert(s.generations, i, replayGeneration{end: end, seen: map[[16]byte]struct{}{}})
	}
	return s.generations[i].seen
}

// Len returns how many are remembered, for a gauge.
func (r *Replay) Len() int {
	n := 0
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		n += s.count
		s.mu.Unlock()
	}
	return n
}

// hash stands for an owner's id. Sixteen bytes keep accidents away, and an
// accident refuses, never takes.
func (r *Replay) hash(owner, id string) (key [16]byte) {
	var in [16 + 2 + 2*maxName]byte
	b := append(in[:0], r.secret[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(owner)))
	b = append(b, owner...)
	b = append(b, id...)
	sum := sha256.Sum256(b)
	copy(key[:], sum[:])
	return key
}
