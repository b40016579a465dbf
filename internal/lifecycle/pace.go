package lifecycle

import (
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
)

const (
	paceShards = 32
	paceMost   = 1 << 14 // of a shard, before those that have nothing to wait for are dropped
	paceSweep  = time.Second
)

// paces hold agents to the rates of their classes by the generic cell rate algorithm: of
// each agent and rate there is one number, the time at which it is as if nothing had been
// done. They are in this node's memory, like the network's rates.
type paces [paceShards]paceShard

type paceShard struct {
	mu    sync.Mutex
	at    map[paceKey]int64 // guarded by mu: Unix microseconds
	sweep int64             // guarded by mu: not looked for those before; Unix microseconds
}

// paceKey is a rate of an agent, by its place in the version of its class.
type paceKey struct {
	agent, class act.ID
	rate         int
}

// interval is how long one act of a rate takes up.
func interval(r charter.Rate) int64 {
	return max(1, time.Duration(r.Window).Microseconds()/r.Limit)
}

// take lets one act through, or says how long it has to wait.
func (p *paces) take(k paceKey, r charter.Rate, now int64) (wait time.Duration) {
	s := &p[spread(k.agent)%paceShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	each := interval(r)
	at := max(s.at[k], now)
	if ahead := at - now - each*(r.AtOnce()-1); ahead > 0 {
		return time.Duration(ahead) * time.Microsecond
	}
	if s.at == nil {
		s.at = make(map[paceKey]int64)
	}
	if len(s.at) >= paceMost && now >= s.sweep {
		s.sweep = now + paceSweep.Microseconds()
		for other, until := range s.at {
			if until <= now {
				delete(s.at, other)
			}
		}
	}
	s.at[k] = at + each
	return 0
}

// giveBack undoes a take.
func (p *paces) giveBack(k paceKey, r charter.Rate) {
	s := &p[spread(k.agent)%paceShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.at[k]; ok {
		s.at[k] = at - interval(r)
	}
}

// Pace implements gate.Bounds.
func (l *Lifecycle) Pace(agent act.ID, name string) (giveBack func(), err error) {
	b := l.bondOf(agent)
	if b == nil || b.class == 0 {
		return nil, nil
	}
	c := l.charters.Load().classes[b.class]
	if c == nil || len(c.Document.Rates) == 0 {
		return nil, nil
	}
	now := act.Micros(l.db.Clock()())
	var taken []int
	undo := func() {
		for _, i := range taken {
			l.paces.giveBack(paceKey{agent, c.ID, i}, c.Document.Rates[i])
		}
	}
	for i, r := range c.Document.Rates {
		if !r.Acts.Has(name) {
			continue
		}
		if wait := l.paces.take(paceKey{agent, c.ID, i}, r, now); wait > 0 {
			undo()
			return nil, act.Errorf(act.RateLimited, "your class lets you do %d such acts in %s, %d at once", r.Limit, time.Duration(r.Window), r.AtOnce()).
				WithRule("class.rate").WithRetry(wait).WithHint("wait for retry_after_seconds; the rate stands in your class, your owner can ask for another")
		}
		taken = append(taken, i)
	}
	if len(taken) == 0 {
		return nil, nil
	}
	return undo, nil
}
