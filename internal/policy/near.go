package policy

import "strings"

// nearest returns the known word that a misspelled one is closest to, "" when none is
// close: about a third of its letters are other ones.
func nearest(word string, known []string) (best string) {
	least := (len(word)+2)/3 + 1
	for _, k := range known {
		if d := distance(word, k, least); d < least {
			best, least = k, d
		}
	}
	return best
}

// didYouMean is what a problem ends with when a known word is near.
func didYouMean(word string, known []string) string {
	if best := nearest(strings.ToLower(word), known); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}

// distance is how many letters have to be put in, left out or changed to make a of b, or
// most when there are more.
func distance(a, b string, most int) int {
	if d := len(a) - len(b); d >= most || -d >= most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], cost
		}
	}
	return min(row[len(b)], most)
}
