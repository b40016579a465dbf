package bus

import "sync"

// Bounds of every queue: a subscriber's, and the one towards NATS.
const (
	maxQueued      = 1024
	maxQueuedBytes = 1 << 20
	firstRing      = 8
)

type signal struct {
	subject string // wire subject; empty in a subscriber's queue
	data    []byte
}

// queue is a bounded first-in first-out of signals that makes room by throwing
// the oldest away: the newest signal is the one worth having.
type queue struct {
	wake chan struct{} // holds one token when there may be something to pop

	mu    sync.Mutex
	ring  []signal // guarded by mu; grows to maxQueued as needed
	head  int      // guarded by mu: index of the oldest
	n     int      // guarded by mu: how many are queued
	bytes int      // guarded by mu: sum of their data
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// push adds a signal and returns how many old ones had to go for it.
func (q *queue) push(s signal) (dropped int64) {
	q.mu.Lock()
	for q.n > 0 && (q.n == maxQueued || q.bytes+len(s.data) > maxQueuedBytes) {
		q.take()
		dropped++
	}
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.n)%len(q.ring)] = s
	q.n++
	q.bytes += len(s.data)
	q.mu.Unlock()
	q.poke()
	return dropped
}

// pop takes the oldest signal.
func (q *queue) pop() (signal, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		return signal{}, false
	}
	return q.take(), true
}

// poke wakes the consumer.
func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take removes the oldest; mu is held and n > 0.
func (q *queue) take() signal {
	s := q.ring[q.head]
	q.ring[q.head] = signal{} // let the data go
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	q.bytes -= len(s.data)
	return s
}

// grow doubles the ring; mu is held.
func (q *queue) grow() {
	ring := make([]signal, min(maxQueued, max(firstRing, 2*len(q.ring))))
	for i := range q.n {
		ring[i] = q.ring[(q.head+i)%len(q.ring)]
	}
	q.ring, q.head = ring, 0
}
