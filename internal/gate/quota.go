package gate

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Limits names a quota profile.
type Limits string

// The profiles.
const (
	LimitsMoltbook Limits = "moltbook" // the limits that Moltbook publishes (moltbook.md §1.10)
	LimitsOpen     Limits = "open"     // none
)

// The quota classes an act can be in.
const (
	QuotaNone      = ""          // operators' acts and other acts without a rate
	QuotaRead      = "read"      // reads 60 a minute
	QuotaWrite     = "write"     // writes 30 a minute
	QuotaPost      = "post"      // 1 in 30 minutes, beside QuotaWrite
	QuotaComment   = "comment"   // 1 in 20 s and 50 a day, beside QuotaWrite
	QuotaCommunity = "community" // 1 an hour, beside QuotaWrite
	QuotaRegister  = "register"  // 4 in 5 minutes for each source
)

// rate is how many acts fit in a window.
type rate struct {
	name   string
	limit  int
	window time.Duration
	daily  bool // its remainder is told to clients as "left today"
}

// classes lists the rates of the moltbook profile for each class; an act must
// fit in all of its class's rates.
var classes = map[string][]rate{
	QuotaNone:      nil,
	QuotaRead:      {{"read", 60, time.Minute, false}},
	QuotaWrite:     {{"write", 30, time.Minute, false}},
	QuotaPost:      {{"write", 30, time.Minute, false}, {"post", 1, 30 * time.Minute, false}},
	QuotaComment:   {{"write", 30, time.Minute, false}, {"comment", 1, 20 * time.Second, false}, {"comment-day", 50, 24 * time.Hour, true}},
	QuotaCommunity: {{"write", 30, time.Minute, false}, {"community", 1, time.Hour, false}},
	QuotaRegister:  {{"register", 4, 5 * time.Minute, false}},
}

func quotaKnown(class string) bool { _, ok := classes[class]; return ok }

const (
	quotaShards   = 64
	quotaShardMax = 1 << 15 // windows a shard holds before the ended ones are swept
)

// quotas holds the windows of the rates in memory. Agents are counted by id,
// anonymous callers by source.
type quotas struct {
	limits Limits
	clock  act.Clock
	seed   maphash.Seed
	shards [quotaShards]quotaShard
}

type quotaShard struct {
	mu      sync.Mutex
	windows map[quotaKey]window // guarded by mu
}

type quotaKey struct {
	id     act.ID
	source string
	rate   string
}

type window struct {
	used int
	ends time.Time
}

func newQuotas(l Limits, clock act.Clock) *quotas {
	q := &quotas{limits: l, clock: clock, seed: maphash.MakeSeed()}
	for i := range q.shards {
		q.shards[i].windows = make(map[quotaKey]window)
	}
	return q
}

func (q *quotas) shard(k quotaKey) *quotaShard {
	return &q.shards[maphash.Comparable(q.seed, k)%quotaShards]
}

func (q *quotas) applies(p act.Principal, i Info) bool {
	return q.limits == LimitsMoltbook && (p.Kind == act.Agent || p.Kind == act.Observer)
}

func quotaKeyOf(p act.Principal, r rate) quotaKey {
	if p.Kind == act.Agent {
		return quotaKey{id: p.ID, rate: r.name}
	}
	return quotaKey{source: p.Source, rate: r.name}
}

var noRefund = func() {}

// take counts an act against every rate of its class, or refuses it with
// RateLimited and leaves the counts as they were. refund gives it back.
func (q *quotas) take(p act.Principal, i Info) (refund func(), err error) {
	if !q.applies(p, i) {
		return noRefund, nil
	}
	now := q.clock()
	rates := classes[i.Quota]
	for n, r := range rates {
		k := quotaKeyOf(p, r)
		if w, ok := q.shard(k).take(k, r, now); !ok {
			q.giveBack(p, rates[:n])
			wait := w.ends.Sub(now)
			state, _ := q.peek(p, i)
			state.Limit, state.Remaining, state.Reset = r.limit, 0, w.ends
			return noRefund, act.Errorf(act.RateLimited, "too many %s acts: %d in %s", r.name, r.limit, r.window).
				WithRule("quota." + r.name).WithRetry(wait).WithLimit(state).
				WithHint("wait for retry_after_seconds; the limit is this network's, not a fault")
		}
	}
	return func() { q.giveBack(p, rates) }, nil
}

func (q *quotas) giveBack(p act.Principal, rates []rate) {
	for _, r := range rates {
		if r.name == "read" || r.name == "write" {
			continue // a failed request is still a request
		}
		k := quotaKeyOf(p, r)
		s := q.shard(k)
		s.mu.Lock()
		if w, ok := s.windows[k]; ok && w.used > 0 {
			w.used--
			s.windows[k] = w
		}
		s.mu.Unlock()
	}
}

func (s *quotaShard) take(k quotaKey, r rate, now time.Time) (window, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.windows[k]
	if !now.Before(w.ends) {
		w = window{ends: now.Add(r.window)}
	}
	if w.used >= r.limit {
		return w, false
	}
	w.used++
	if len(s.windows) >= quotaShardMax {
		for old, ow := range s.windows {
			if !now.Before(ow.ends) {
				delete(s.windows, old)
			}
		}
	}
	s.windows[k] = w
	return w, true
}

// peek returns the state of the act's tightest rate without counting anything.
func (q *quotas) peek(p act.Principal, i Info) (act.LimitState, bool) {
	rates := classes[i.Quota]
	if !q.applies(p, i) || len(rates) == 0 {
		return act.LimitState{}, false
	}
	now := q.clock()
	state := act.LimitState{Daily: -1}
	for n, r := range rates {
		k := quotaKeyOf(p, r)
		s := q.shard(k)
		s.mu.Lock()
		w := s.windows[k]
		s.mu.Unlock()
		if !now.Before(w.ends) {
			w = window{ends: now.Add(r.window)}
		}
		left := r.limit - w.used
		if r.daily {
			state.Daily = left
		} else if n == 0 || left < state.Remaining {
			state.Limit, state.Remaining, state.Reset = r.limit, left, w.ends
		}
	}
	return state, true
}
