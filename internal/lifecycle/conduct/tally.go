package conduct

import (
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
)

// slots is how many parts a window has: it slides by one of them.
const slots = 10

// tally counts in a window that slides. It keeps what the last slots have, each with the
// first number in the record that is in it.
type tally struct {
	parts [slots]part
	last  act.ID // of a thread: who has spoken last
}

type part struct{ turn, n, first int64 }

// turnOf is the number of the slot that a time is in.
func turnOf(at int64, window charter.Duration) int64 {
	return at / (time.Duration(window).Microseconds() / slots)
}

func (t *tally) add(turn, n, seq int64) {
	p := &t.parts[turn%slots]
	if p.turn != turn {
		if turn < p.turn {
			return // what comes too late to be in the window
		}
		*p = part{turn: turn, first: seq}
	}
	p.n += n
}

// sum is what the window has that ends with a slot, and where in the record it begins.
func (t *tally) sum(turn int64) (n, first int64) {
	if t == nil {
		return 0, 0
	}
	for _, p := range t.parts {
		if p.n == 0 || p.turn <= turn-slots || p.turn > turn {
			continue
		}
		n += p.n
		if first == 0 || p.first < first {
			first = p.first
		}
	}
	return n, first
}

// take takes out what another one has counted in the same slots.
func (t *tally) take(o *tally) {
	for i := range t.parts {
		if t.parts[i].turn == o.parts[i].turn {
			t.parts[i].n -= o.parts[i].n
		}
	}
}

// newest is the last slot in which something was counted.
func (t *tally) newest() (turn int64) {
	for _, p := range t.parts {
		turn = max(turn, p.turn)
	}
	return turn
}
