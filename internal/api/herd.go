package api

import (
	"math/rand/v2"
	"sync"
	"time"
)

// herd gives those who have to come back times that are spread, so that a crowd
// that is sent away at one instant does not return at another. It is a queue
// without waiters: each caller gets the next free moment at the pace at which
// acts are done at present. Whoever would wait longer than herdWait gets some
// moment in the second half of it.
type herd struct {
	mu   sync.Mutex
	next time.Time // guarded by mu: the last moment given away
	tick int64     // guarded by mu: the second that is being counted
	done int       // guarded by mu: acts done in it
	pace float64   // guarded by mu: acts a second, smoothed
}

const (
	herdWait = 2 * time.Minute
	herdPace = 200 // acts a second that are taken for granted
	herdSlow = 0.3 // weight of the last second
)

// count notes that an act was done.
func (h *herd) count(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turn(now)
	h.done++
}

// turn brings the pace up to date at the end of a second. The caller holds mu.
func (h *herd) turn(now time.Time) {
	second := now.Unix()
	if second == h.tick {
		return
	}
	if h.tick != 0 && second == h.tick+1 {
		h.pace += herdSlow * (float64(h.done) - h.pace)
	} else {
		h.pace = 0 // nothing was done meanwhile
	}
	h.tick, h.done = second, 0
}

// again says how long a caller should wait, at least so long.
func (h *herd) again(now time.Time, least time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turn(now)
	if h.next.Before(now) {
		h.next = now
	}
	step := time.Duration(float64(time.Second) / max(h.pace, herdPace))
	if wait := h.next.Add(step).Sub(now); wait <= herdWait {
		h.next = h.next.Add(step)
		return least + wait
	}
	return least + herdWait/2 + rand.N(herdWait/2)
}
