package world

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// stream returns the random numbers of one part of a plan. Parts have streams of
// their own, so that a change of one does not change the others.
func stream(seed uint64, part string, number uint64) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(part) {
		h = (h ^ uint64(part[i])) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed^h, number)) //nolint:gosec // a world is drawn, not kept secret
}

// maxPower bounds the largest number of a power law.
const maxPower = 1 << 17

// powers returns n whole numbers of at least 1, the largest first, that add up to
// total and are distributed by a power law with the exponent alpha, cut off where
// their mean wants it, at most if that is lower. They are quantiles, not draws: two
// worlds of one size have the same.
func powers(n, total int, alpha float64, most int) []int {
	if n <= 0 {
		return nil
	}
	mean := float64(total) / float64(n)
	var weight, sum float64
	var below []float64
	for k := 1.0; k <= float64(most); k++ {
		w := math.Pow(k, -alpha)
		weight, sum = weight+w, sum+w*k
		below = append(below, weight)
		if sum/weight >= mean {
			break
		}
	}
	list := make([]int, n)
	k := 0
	for i := range n {
		for below[k] < (float64(i)+0.5)/float64(n)*weight {
			k++
		}
		list[n-1-i] = k + 1
	}
	settle(list, total, 1, nil)
	slices.SortFunc(list, func(a, b int) int { return cmp.Compare(b, a) })
	return list
}

// settle scales a list so that it adds up to total, where least and most allow.
func settle(list []int, total, least int, most []int) {
	sum := 0
	for _, v := range list {
		sum += v
	}
	if sum == 0 {
		return
	}
	scale, carry := float64(total)/float64(sum), 0.0
	left := total
	bound := func(i, v int) int {
		if v = max(v, least); most != nil {
			v = min(v, most[i])
		}
		return v
	}
	for i, v := range list {
		want := float64(v)*scale + carry
		list[i] = bound(i, int(want))
		carry = want - float64(list[i])
		left -= list[i]
	}
	for pass := 0; left != 0 && pass < 64; pass++ {
		for i := range list {
			step := max(1, left/max(1, len(list)/4))
			if left < 0 {
				step = -1
			}
			if v := bound(i, list[i]+step); v != list[i] && left != 0 {
				left -= v - list[i]
				list[i] = v
			}
		}
	}
}

// shares gives each of counts, the largest first, a part, so that the parts add up
// to total and the Gini coefficient of those who have one is g. Who has few may get
// none: without that most would have to get the same.
func shares(counts []int, total int, g float64) []int {
	list, part := make([]int, len(counts)), make([]float64, len(counts))
	fit := func(b float64, some int) float64 { // part ~ count^b for the first some; returns the Gini
		clear(list)
		low, high := 0.0, float64(total)
		for range 40 {
			a, sum, carry := (low+high)/2, 0, 0.0
			for i, k := range counts[:some] {
				want := min(max(a*math.Pow(float64(k), b), 1), float64(k)) + carry
				list[i] = min(max(int(want), 1), k)
				carry = min(want-float64(list[i]), 1)
				sum += list[i]
			}
			if sum < total {
				low = a
			} else {
				high = a
			}
		}
		part = part[:some]
		for i, v := range list[:some] {
			part[i] = float64(v)
		}
		slices.SortFunc(part, func(a, b float64) int { return cmp.Compare(b, a) })
		return giniOf(part)
	}
	const even = 0.1 // who does more posts more, if only a little
	all := len(counts)
	if fit(even, all) > g {
		low := all / 8
		for high := all; high-low > max(1, all/1000); {
			if mid := (low + high) / 2; fit(even, mid) < g {
				low = mid
			} else {
				high = mid
			}
		}
		fit(even, low)
		return list
	}
	low, high := even, 1.0
	for range 16 {
		if b := (low + high) / 2; fit(b, all) < g {
			low = b
		} else {
			high = b
		}
	}
	fit((low+high)/2, all)
	return list
}

// giniOf is the Gini coefficient of numbers, the largest first.
func giniOf(sorted []float64) float64 {
	var sum, weighted float64
	n := float64(len(sorted))
	for i, v := range sorted {
		sum += v
		weighted += v * (n - float64(i)) // rank from the smallest
	}
	if sum == 0 {
		return 0
	}
	return 2*weighted/(n*sum) - (n+1)/n
}

// shuffled returns a list in an order of r's.
func shuffled[T any](r *rand.Rand, list []T) []T {
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// logNormal draws a time in milliseconds with the given median; two thirds lie
// within a factor of e^sigma.
func logNormal(r *rand.Rand, median, sigma float64) float64 {
	return median * math.Exp(sigma*r.NormFloat64())
}
