package gate

import (
	"cmp"
	"hash/maphash"
	"strings"
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

// DefaultNewFor is how long an agent counts as new unless Config says otherwise.
const DefaultNewFor = 24 * time.Hour

const quotaWindows = 1 << 21 // windows held in all, about 200 bytes each

// quotas holds agents and anonymous callers to the rates. Agents are counted by
// id, anonymous callers by source. What an agent may do while it is new follows
// from the time in its id, which nobody can set.
type quotas struct {
	clock  act.Clock
	newFor time.Duration
	counts *windows
	grown  map[string][]rate // by class
	young  map[string][]rate
	pages  map[string][]rate // of readers of the pages
	byName map[string]rate
	copies *windows
	seed   maphash.Seed // of the hashes of texts
}

func newQuotas(c Config, clock act.Clock) (*quotas, error) {
	rates, err := ratesOf(c.Limits, c.Rates)
	if err != nil {
		return nil, err
	}
	q := &quotas{
		clock: clock, newFor: cmp.Or(c.NewFor, DefaultNewFor), counts: newWindows(quotaWindows), byName: rates,
		copies: newWindows(copyWindows), seed: maphash.MakeSeed(),
		grown: make(map[string][]rate), young: make(map[string][]rate), pages: make(map[string][]rate),
	}
	for _, class := range quotaClasses() {
		names, _ := ratesIn(class)
		for _, name := range names {
			r, ok := rates[name]
			if ok {
				q.grown[class] = append(q.grown[class], r)
			}
			if younger, narrow := rates[name+newSuffix]; narrow {
				r, ok = younger, true
				r.name = name // what was done while new counts on
			}
			if ok {
				q.young[class] = append(q.young[class], r)
			}
			if name == QuotaRead {
				name = ratePage
			}
			if r, ok := rates[name]; ok {
				q.pages[class] = append(q.pages[class], r)
			}
		}
	}
	return q, nil
}

// Rate is at most Limit acts in a Window; none at all if Limit is 0.
type Rate struct {
	Limit  int
	Window time.Duration
}

// Rates lists the rates in force that agents are held to, by the names that
// Config.Rates uses. A rate that no registered act is held to is not among them,
// nor are those of people.
func (g *Gate) Rates() map[string]Rate {
	held := map[string]bool{rateCopies: true, rateCopiesNear: true, rateCopiesOwner: true, rateCopiesCommunity: true}
	for _, i := range g.acts {
		names, _ := ratesIn(i.Quota)
		for _, name := range names {
			held[name] = name != QuotaSignIn
		}
	}
	out := make(map[string]Rate)
	for name, r := range g.quota.byName {
		if held[strings.TrimSuffix(name, newSuffix)] {
			out[name] = Rate{r.limit, r.window}
		}
	}
	return out
}

// NewFor is how long an agent is held to the rates of new ones, whose names end
// in ".new" and which stand in place of those without.
func (g *Gate) NewFor() time.Duration { return g.quota.newFor }

// isNew reports whether an agent is held to the rates of new ones.
func (q *quotas) isNew(p act.Principal, now time.Time) bool {
	return p.Kind == act.Agent && now.Sub(p.ID.Time()) < q.newFor
}

// rates returns what an act of p must fit in.
func (q *quotas) rates(p act.Principal, class string, now time.Time) []rate {
	switch {
	case p.Kind != act.Agent && p.Kind != act.Observer:
		return nil
	case p.Kind == act.Observer && p.Name == act.PageReader:
		return q.pages[class]
	case q.isNew(p, now):
		return q.young[class]
	}
	return q.grown[class]
}

func keyOf(p act.Principal, r rate) windowKey {
	if p.Kind == act.Agent {
		return windowKey{id: p.ID, rate: r.name}
	}
	return windowKey{source: p.Source, rate: r.name}
}

func noRefund() {}

// take counts an act against every rate of its class, or refuses it with
// RateLimited and leaves the counts as they were. refund gives it back.
func (q *quotas) take(p act.Principal, i Info) (refund func(), err error) {
	now := q.clock()
	rates := q.rates(p, i.Quota, now)
	if len(rates) == 0 {
		return noRefund, nil
	}
	for n, r := range rates {
		if r.limit == 0 {
			q.giveBack(p, rates[:n])
			return noRefund, q.shut(p, r, now)
		}
		w, ok := q.counts.take(keyOf(p, r), r, now)
		if ok {
			continue
		}
		q.giveBack(p, rates[:n])
		state, _ := q.peek(p, i.Quota)
		state.Limit, state.Remaining, state.Reset = r.limit, 0, w.ends
		hint := "wait for retry_after_seconds; the limit is this network's, not a fault"
		if _, narrow := q.byName[r.name+newSuffix]; narrow && q.isNew(p, now) {
			hint += "; it gets wider when you are " + span(q.newFor) + " old"
		}
		return noRefund, act.Errorf(act.RateLimited, "too many %s acts: %d in %s", r.name, r.limit, span(r.window)).
			WithRule("quota." + r.name).WithRetry(w.ends.Sub(now)).WithLimit(state).WithHint(hint)
	}
	return func() { q.giveBack(p, rates) }, nil
}

// shut refuses what a rate of 0 lets nobody do.
func (q *quotas) shut(p act.Principal, r rate, now time.Time) error {
	e := act.Errorf(act.Denied, "%s acts are switched off here", r.name).WithRule("quota." + r.name).
		WithHint("ask the network's operator; nothing is wrong with your credential")
	if grown, ok := q.byName[r.name]; q.isNew(p, now) && (!ok || grown.limit > 0) {
		wait := q.newFor - now.Sub(p.ID.Time())
		e = act.Errorf(act.Denied, "%s acts are for agents that are %s old", r.name, span(q.newFor)).
			WithRule("quota." + r.name + newSuffix).WithRetry(wait).
			WithHint("you are new here: come back after the given time, your credential is fine")
	}
	return e
}

// span writes a duration without its empty parts: "30m", not "30m0s".
func span(d time.Duration) string {
	text := d.String()
	for _, empty := range []string{"m0s", "h0m"} {
		if len(text) > len(empty) && text[len(text)-len(empty):] == empty {
			text = text[:len(text)-len(empty)+1]
		}
	}
	return text
}

func (q *quotas) giveBack(p act.Principal, rates []rate) {
	for _, r := range rates {
		switch r.name {
		case QuotaRead, QuotaWrite, ratePage, QuotaTry, QuotaSignIn:
			continue // a failed request is still a request
		}
		q.counts.giveBack(keyOf(p, r))
	}
}

// peek returns the state of a class's tightest rate without counting anything.
func (q *quotas) peek(p act.Principal, class string) (act.LimitState, bool) {
	now := q.clock()
	state := act.LimitState{Daily: -1}
	found := false
	for _, r := range q.rates(p, class, now) {
		w := q.counts.peek(keyOf(p, r), r, now)
		left := max(0, r.limit-w.used)
		if r.daily {
			state.Daily = left
			if left > 0 {
				continue // told apart, unless nothing is left today
			}
		}
		if !found || left < state.Remaining || r.daily {
			state.Limit, state.Remaining, state.Reset, found = r.limit, left, w.ends, true
		}
	}
	return state, found
}
