package gain

import (
	"math"
	"slices"
	"strings"
	"unicode"
)

// Text is the features of a text: their hashes, ascending, each once.
type Text []uint64

const (
	maxWords = 2048 // of a text that are looked at
	runWords = 3    // words of a run
	rareRune = 4    // characters of a word that counts by itself, at least
)

// Kinds of features; each is worth a factor of its rarity.
const (
	kindWord uint64 = iota
	kindRun
	kindAddress
	kinds
)

var worth = [kinds]float64{kindWord: 1, kindRun: 1, kindAddress: 2}

// Of returns the features of a text.
func Of(s string) Text {
	words := split(s)
	t := make(Text, 0, 2*len(words))
	for i, w := range words {
		switch {
		case strings.Contains(w, "://"):
			t = append(t, feature(kindAddress, w))
			continue
		case len(w) >= rareRune:
			t = append(t, feature(kindWord, w))
		}
		if i+runWords <= len(words) {
			t = append(t, feature(kindRun, words[i:i+runWords]...))
		}
	}
	slices.Sort(t)
	return slices.Compact(t)
}

// split returns the words of a text in lower case; an address is one word.
func split(s string) (words []string) {
	for part := range strings.FieldsSeq(strings.ToLower(s)) {
		if len(words) >= maxWords {
			break
		}
		if strings.Contains(part, "://") {
			words = append(words, strings.TrimRight(part, ".,;:!?)>]\"'"))
			continue
		}
		words = append(words, strings.FieldsFunc(part, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })...)
	}
	return words[:min(len(words), maxWords)]
}

// feature hashes words (FNV-1a, 64 bit); the lowest bits say the kind.
func feature(kind uint64, words ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, w := range words {
		for i := range len(w) {
			h = (h ^ uint64(w[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	return h<<2 | kind
}

// Background knows how common features are. It forgets by halves, so that it follows what
// the network talks about. It is not safe for concurrent use.
type Background struct {
	texts    float64
	features map[uint64]float32
	most     int
}

// NewBackground returns a background of at most so many features.
func NewBackground(most int) *Background {
	return &Background{features: make(map[uint64]float32), most: most}
}

// Add takes a text in.
func (b *Background) Add(t Text) {
	b.texts++
	for _, f := range t {
		b.features[f]++
	}
	for len(b.features) > b.most { // halved, until what was met once has gone
		b.texts /= 2
		for f, n := range b.features {
			if n /= 2; n < 0.9 {
				delete(b.features, f)
			} else {
				b.features[f] = n
			}
		}
	}
}

// bits is what a feature is worth.
func (b *Background) bits(f uint64) float64 {
	return worth[f&3] * max(0, math.Log2((b.texts+2)/(float64(b.features[f])+1)))
}

// Score is how much of what a text says stands in another one and in nothing that its
// author had said before, in bits.
func (b *Background) Score(made, shown, before Text) (bits float64) {
	for i, j := 0, 0; i < len(made) && j < len(shown); {
		switch f := made[i]; {
		case f < shown[j]:
			i++
		case f > shown[j]:
			j++
		default:
			if _, said := slices.BinarySearch(before, f); !said {
				bits += b.bits(f)
			}
			i, j = i+1, j+1
		}
	}
	return bits
}

// repeated is the share of a text that stands in another one, from which on it is the same
// thing said again.
const repeated = 0.25

// Repeats reports whether a text says again what stands in one of others.
func (b *Background) Repeats(t Text, others []Text) bool {
	all := b.Score(t, t, nil)
	return slices.ContainsFunc(others, func(o Text) bool { return b.Score(t, o, nil) > repeated*all })
}

// Join is the features of both texts.
func (t Text) Join(o Text) Text {
	both := append(slices.Clone(t), o...)
	slices.Sort(both)
	return slices.Compact(both)
}
