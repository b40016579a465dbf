package policy

import (
	"math"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/gate"
)

// front is what was met lately, and who asked, by what was asked and before it is folded
// into a key: an agent asks much the same all day. Beside the answer stands the counter of such
// decisions, so that neither a key nor a tally is made for what is known. What falls to the
// same places pushes out what was there.
type front struct {
	met    [1 << frontBits]atomic.Pointer[met]
	askers [1 << askerBits]atomic.Pointer[asker]
}

const (
	frontBits = 17 // places; one that is taken holds 112 bytes and a counter
	frontWays = 2  // places beside each other that a question may have
	askerBits = 15 // places; one that is taken holds 144 bytes
)

// meeting is under what a question was met; where that is another, it is met anew.
type meeting struct {
	version int64   // of the bundle
	beside  *shadow // nil for none
	hour    int64   // since 1970; 0 where nothing is kept
}

// inquest is a question as it was asked: a sample whose askers are remembered elsewhere, so
// that two are compared by a few words.
type inquest struct {
	by     *asker
	act    *table
	on     gate.Facts
	author *asker // nil where nobody asks who is behind the thing
}

func (q *inquest) sample() sample {
	x := sample{asker: *q.by, act: q.act, on: q.on}
	if q.author != nil {
		x.author = q.author.facts
	}
	return x
}

// met is a question that was answered. It is never changed.
type met struct {
	meeting
	inquest
	answer *gate.Decision
	n      *counter // of such decisions; nil where nothing is kept
}

// asker returns one that is equal to a and is the same each time, as long as nobody else
// pushes it out. It is never changed.
func (f *front) asker(a *asker) *asker {
	if f == nil {
		known := *a
		return &known
	}
	place := &f.askers[(uint64(a.who)^uint64(a.kind)<<1)*0x9E3779B97F4A7C15>>(64-askerBits)]
	if known := place.Load(); known != nil && *known == *a {
		return known
	}
	known := *a
	place.Store(&known)
	return &known
}

// places are where a question would be; nil where it may not be remembered, because its
// answer depends on the time of day, or nothing is.
func (f *front) places(s *snapshot, beside *shadow, q *inquest) []atomic.Pointer[met] {
	if f == nil || (s.looks[q.act.index]|beside.looks(q.act))&looksAges != 0 {
		return nil
	}
	small := uint64(q.act.index) | uint64(q.on.Kind)<<16 | uint64(q.on.AuthorStanding)<<24 | uint64(q.on.Origin)<<32 |
		uint64(q.on.Visibility)<<40 | uint64(q.on.Classification)<<48 | uint64(q.on.Role)<<56
	for i, on := range [...]bool{q.on.Own, q.on.Locked, q.on.Answered} {
		if on {
			small ^= 1 << (61 + i)
		}
	}
	// Fibonacci hashing, with another odd multiplier for each word.
	h := uint64(q.by.who)*0x9E3779B97F4A7C15 ^ small*0xC2B2AE3D27D4EB4F ^
		uint64(q.on.Community)*0x165667B19E3779F9 ^ uint64(q.on.Author)*0xD6E8FEB86659FD93
	at := (h ^ h>>29) * 0x9E3779B97F4A7C15 >> (64 - frontBits) &^ (frontWays - 1)
	return f.met[at : at+frontWays]
}

// counter counts decisions that are alike until it is taken.
type counter struct{ n atomic.Int64 }

const taken = math.MinInt64 / 2

// more counts one more; false says that the counter was taken and has not counted it. A
// nil counter counts nothing.
func (c *counter) more() bool { return c == nil || c.add(1) }

func (c *counter) add(n int64) bool { return c.n.Add(n) > 0 }

// take returns what was counted, and ends the counting.
func (c *counter) take() int64 { return c.n.Swap(taken) }
