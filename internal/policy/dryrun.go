package policy

import (
	"cmp"
	"context"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// MostFlips is how many different flips an answer lists; the rest is counted.
const MostFlips = 10_000

// MaxWindow is the longest window of one dry run, in hours.
const MaxWindow = 31 * 24

// DryRun is what a candidate would have decided otherwise.
type DryRun struct {
	From, To  int64 // Unix microseconds; whole hours
	Decisions int64 // that were asked again
	Distinct  int64 // different ones among them
	Flipped   int64 // of the decisions
	Gained    int64 // of the flipped: those that would let more through
	Gone      int64 // decisions about acts that there are no more; they are not asked again
	Unnamed   int64 // of the decisions: those of which only the number is kept, not who asked
	Flips     []Flip
	Rest      int64 // flipped decisions beyond MostFlips different ones
}

// flipKey tells flips apart.
type flipKey struct {
	kind     act.PrincipalKind
	who      act.ID
	name     string
	act      string
	was, now string
	rule, by string
	at       string
}

// flipped counts flips up to a bound.
type flipped struct {
	n    map[flipKey]int64
	rest int64
}

func (f *flipped) add(k flipKey, n int64) {
	if _, there := f.n[k]; !there && len(f.n) >= MostFlips {
		f.rest += n
		return
	}
	f.n[k] += n
}

// list returns the flips, most frequent first.
func (f *flipped) list() []Flip {
	out := make([]Flip, 0, len(f.n))
	for k, n := range f.n {
		out = append(out, Flip{Kind: k.kind, Who: k.who, Name: k.name, Act: k.act, Was: k.was, Rule: k.rule, Now: k.now, By: k.by, At: k.at, Count: n})
	}
	slices.SortFunc(out, func(a, b Flip) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Act, b.Act), cmp.Compare(a.Who, b.Who), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.By, b.By), cmp.Compare(a.Was, b.Was), cmp.Compare(a.Now, b.Now))
	})
	return out
}

// dryRun asks a candidate everything that was decided in whole hours, from the one that
// holds from to the one that holds to.
func (e *Engine) dryRun(ctx context.Context, v *store.View, candidate *snapshot, from, to int64) (out DryRun, err error) {
	first, last := from/hourMicros, to/hourMicros
	out.From, out.To = first*hourMicros, (last+1)*hourMicros
	flips := flipped{n: make(map[flipKey]int64)}
	for hour := first; hour <= last; hour++ {
		if err := decisions(v, hour, func(r row) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			x, known, err := e.readSample(r.who, r.act, r.body)
			if err != nil {
				return err
			}
			if !known {
				out.Gone += r.n
				return nil
			}
			out.Decisions += r.n
			out.Distinct++
			if x.who == 0 && (x.kind == act.Agent || x.kind == act.Operator) {
				out.Unnamed += r.n
			}
			d := e.decide(candidate, x, e.context)
			now := resultOf(d)
			if now == r.result {
				return nil
			}
			out.Flipped += r.n
			if gains(r.result, now) {
				out.Gained += r.n
			}
			flips.add(flipKey{x.kind, x.who, x.name, r.act, r.result, now, r.rule, d.Policy, d.Place}, r.n)
			return nil
		}); err != nil {
			return out, err
		}
	}
	out.Flips, out.Rest = flips.list(), flips.rest
	return out, nil
}
