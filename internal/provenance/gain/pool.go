package gain

import (
	"cmp"
	"math"
	"slices"
)

// Pool is competitions of late, and what they say of how often a likeness is wrong. It is
// not safe for concurrent use.
type Pool struct {
	bound float64 // of the share of wrong ones
	keep  int
	ring  []contest
	next  int
}

// contest is how one text came out: the best score, and whether a decoy had it.
type contest struct {
	score float64
	decoy bool
}

// Verdict is what a pool says of scores.
type Verdict struct {
	Threshold float64 // scores from here on count; 0 says that none do
	Rate      float64 // at most about so many of those that count are wrong
	Targets   int     // wins above the threshold of what was shown,
	Decoys    int     // and of what was not
}

// Counts reports whether a score is at the threshold or above.
func (v Verdict) Counts(score float64) bool { return v.Threshold > 0 && score >= v.Threshold }

// NewPool returns a pool of the last keep competitions in which at most a share of bound is
// to be wrong.
func NewPool(keep int, bound float64) *Pool { return &Pool{bound: bound, keep: keep} }

// apart is how much of the best score the next one may have, where the best is to count.
const apart = 0.8

// Best returns the best of some scores and its place: 0 and -1 where another is about as
// good, for then nobody can say which it was.
func Best(scores []float64) (best float64, at int) {
	at, next := -1, 0.0
	for i, s := range scores {
		if s > best {
			best, next, at = s, best, i
		} else {
			next = max(next, s)
		}
	}
	if next > apart*best {
		return 0, -1
	}
	return best, at
}

// Add takes a competition in. Where neither has anything, nobody wins; where both have as
// much, the decoy does.
func (p *Pool) Add(target, decoy float64) {
	if target <= 0 && decoy <= 0 {
		return
	}
	c := contest{score: max(target, decoy), decoy: decoy >= target}
	if len(p.ring) < p.keep {
		p.ring = append(p.ring, c)
		return
	}
	p.ring[p.next] = c
	p.next = (p.next + 1) % p.keep
}

// wrong is how many of those that count are wrong at the most, when so many decoys count:
// as many, one more, and three times the deviation of that, because the threshold is chosen
// where the decoys happen to be few.
func wrong(decoys int) float64 {
	n := float64(decoys + 1)
	return n + 3*math.Sqrt(n)
}

// Verdict finds the lowest threshold above which the share of wrong ones, as the decoys
// tell it, stays within the bound.
func (p *Pool) Verdict() (v Verdict) {
	sorted := slices.Clone(p.ring)
	slices.SortFunc(sorted, func(a, b contest) int {
		if a.score != b.score {
			return cmp.Compare(b.score, a.score)
		}
		if a.decoy == b.decoy {
			return 0
		} else if a.decoy {
			return -1 // counts against a threshold at this score
		}
		return 1
	})
	targets, decoys := 0, 0
	for i, c := range sorted {
		if c.decoy {
			decoys++
		} else {
			targets++
		}
		if i+1 < len(sorted) && sorted[i+1].score == c.score {
			continue // a threshold takes all of one score
		}
		if targets > 0 {
			if rate := wrong(decoys) / float64(targets); rate <= p.bound {
				v = Verdict{Threshold: c.score, Rate: rate, Targets: targets, Decoys: decoys}
			}
		}
	}
	return v
}
