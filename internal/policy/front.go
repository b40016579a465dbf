package policy

import (
	"math"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/gate"
)

// front is what was met lately, by what was asked and before it is folded into a key: an
// agent asks much the same all day. Beside the answer stands the counter of such
// decisions, so that neither a key nor a tally is made for what is known. Places are
// shared by what falls into them, and the last one has it.
type front [1 << frontBits]atomic.Pointer[met]

const frontBits = 16 // places; one that is taken holds 320 bytes and a counter

// meeting is under what a question was met; where that is another, it is met anew.
type meeting struct {
	version int64   // of the bundle
	beside  *shadow // nil for none
	hour    int64   // since 1970; 0 where nothing is kept
}

// met is a question that was answered. It is never changed.
type met struct {
	meeting
	sample
	answer *gate.Decision
	n      *counter // of such decisions; nil where nothing is kept
}

// place is where a question would be; nil where it may not be remembered, because its
// answer depends on the time of day, or nothing is.
func (f *front) place(s *snapshot, beside *shadow, x *sample) *atomic.Pointer[met] {
	if f == nil || (s.looks[x.act.index]|beside.looks(x.act))&looksAges != 0 {
		return nil
	}
	small := uint64(x.act.index) | uint64(x.on.Kind)<<16 | uint64(x.on.AuthorStanding)<<24 | uint64(x.on.Origin)<<32 |
		uint64(x.on.Visibility)<<40 | uint64(x.on.Classification)<<48 | uint64(x.on.Role)<<56
	for i, on := range [...]bool{x.on.Own, x.on.Locked, x.on.Answered} {
		if on {
			small ^= 1 << (61 + i)
		}
	}
	// Fibonacci hashing, with another odd multiplier for each word.
	h := uint64(x.who)*0x9E3779B97F4A7C15 ^ small*0xC2B2AE3D27D4EB4F ^
		uint64(x.on.Community)*0x165667B19E3779F9 ^ uint64(x.on.Author)*0xD6E8FEB86659FD93
	return &f[(h^h>>29)*0x9E3779B97F4A7C15>>(64-frontBits)]
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
