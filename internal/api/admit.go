package api

import (
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// lane bounds how many requests are in an act at once, in all and for each
// caller. It never queues: who finds it full is told when to come back, so that
// waiting is done by the clients and memory stays bounded.
type lane struct {
	limit, each int

	mu      sync.Mutex
	inside  int            // guarded by mu
	callers map[caller]int // guarded by mu; only those inside
}

type caller struct {
	id     act.ID
	source string // of callers without an id
}

func newLane(limit, each int) *lane {
	return &lane{limit: limit, each: each, callers: make(map[caller]int)}
}

const (
	fullRetry       = time.Second
	ruleConcurrency = "http.concurrency"
)

// enter takes a slot; leave gives it back.
func (l *lane) enter(p act.Principal) (caller, error) {
	who := caller{id: p.ID}
	if p.ID == 0 {
		who.source = p.Source
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.callers[who] >= l.each {
		return who, act.Errorf(act.Unavailable, "you have %d requests under way", l.each).WithRule(ruleConcurrency).
			WithRetry(fullRetry).WithHint("wait for answers before sending more; your credential is fine")
	}
	if l.inside >= l.limit {
		return who, act.Errorf(act.Unavailable, "the server is busy").WithRule("http.busy").
			WithRetry(fullRetry).WithHint("retry after the given time; your credential is fine")
	}
	l.inside++
	l.callers[who]++
	return who, nil
}

func (l *lane) leave(who caller) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside--
	if n := l.callers[who] - 1; n > 0 {
		l.callers[who] = n
	} else {
		delete(l.callers, who)
	}
}

// lane returns the slots that are for a principal: operators have their own, so
// that whoever floods the network can be stopped.
func (k *Kernel) lane(p act.Principal) *lane {
	if p.Kind == act.Operator {
		return k.reserved
	}
	return k.ordinary
}
