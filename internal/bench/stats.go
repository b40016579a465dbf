package bench

import (
	"math"
	"slices"
)

// spread is a median with its range.
type spread struct{ med, low, high float64 }

// spreadOf returns the spread of a list; zero for an empty one.
func spreadOf(list []float64) spread {
	if len(list) == 0 {
		return spread{}
	}
	return spread{med: median(list), low: slices.Min(list), high: slices.Max(list)}
}

// median returns the middle value of a list that need not be sorted, the mean
// of the two middle ones of an even number, and 0 of none.
func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	mid := len(s) / 2
	if len(s)%2 == 1 {
		return s[mid]
	}
	return (s[mid-1] + s[mid]) / 2
}

// percentile returns the smallest value of a sorted list that at least p of
// 100 are not above (nearest rank); 0 of none.
func percentile(sorted []uint32, p float64) uint32 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// ratios divides the lists element by element: what was measured in the same
// repetition is compared with each other. Pairs with a zero are left out.
func ratios(of, to []float64) (list []float64) {
	for i := range min(len(of), len(to)) {
		if of[i] > 0 && to[i] > 0 {
			list = append(list, of[i]/to[i])
		}
	}
	return list
}

// exponent returns e of the least-squares fit cost ~ size^e; ok is false with
// fewer than two different sizes.
func exponent(size, cost []float64) (e float64, ok bool) {
	var n, sx, sy, sxx, sxy float64
	for i := range min(len(size), len(cost)) {
		if size[i] <= 0 || cost[i] <= 0 {
			continue
		}
		x, y := math.Log(size[i]), math.Log(cost[i])
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	d := n*sxx - sx*sx
	if n < 2 || d < 1e-9 {
		return 0, false
	}
	return (n*sxy - sx*sy) / d, true
}

// digits rounds to four significant digits: no measurement here is better.
func digits(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-3)
	if unit < 1 {
		inverse := math.Round(1 / unit) // exact, where unit is not
		return math.Round(v*inverse) / inverse
	}
	return math.Round(v/unit) * unit
}
