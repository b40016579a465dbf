package network

import (
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	maxWord       = 64   // bytes of a folded word that count
	maxIndexed    = 4000 // different words of one item that can be found
	maxQueryWords = 12   // of one query; those after are not looked for
)

// eachWord calls fn with every word of s: where it stands and its folded form. A
// word is a run of letters and digits; in scripts without spaces every character
// is one. It ends when fn returns false.
func eachWord(s string, fn func(start, end int, folded string) bool) {
	start := -1
	for i, r := range s {
		inside := unicode.IsLetter(r) || unicode.IsDigit(r) || (start >= 0 && unicode.Is(unicode.M, r))
		alone := r >= 0x1100 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul)
		if start >= 0 && (!inside || alone) {
			if !fn(start, i, fold(s[start:i])) {
				return
			}
			start = -1
		}
		switch {
		case inside && alone:
			end := i + utf8.RuneLen(r)
			if !fn(i, end, fold(s[i:end])) {
				return
			}
		case inside && start < 0:
			start = i
		}
	}
	if start >= 0 {
		fn(start, len(s), fold(s[start:]))
	}
}

// fold brings a word to the form it is compared in: lower case, without accents
// and other marks, compatible forms as one, at most maxWord bytes.
func fold(word string) string {
	plain := true
	for i := range len(word) {
		plain = plain && word[i] < utf8.RuneSelf
	}
	if plain {
		word = strings.ToLower(word)
	} else {
		word = strings.Map(func(r rune) rune {
			if unicode.Is(unicode.M, r) {
				return -1
			}
			return unicode.ToLower(r)
		}, norm.NFKD.String(word))
	}
	return word[:min(len(word), maxWord)]
}

// queryWords returns the different words of a query, in its order.
func queryWords(q string) (list []string) {
	eachWord(q, func(_, _ int, w string) bool {
		if w != "" && !slices.Contains(list, w) {
			list = append(list, w)
		}
		return len(list) < maxQueryWords
	})
	return list
}

var wordCode = base32.HexEncoding.WithPadding(base32.NoPadding)

// mark is what stands for a word in the index: a short hash under the network's
// own key. So the index, its log and its leftovers hold no text, an erased item
// leaves no words behind, and no query can have a syntax. Two words with one mark
// are told apart when the item is read.
func (n *Network) mark(word string) string {
	buf := make([]byte, 0, 32+maxWord)
	buf = append(append(buf, n.indexKey...), word...)
	sum := sha256.Sum256(buf)
	return strings.ToLower(wordCode.EncodeToString(sum[:6]))
}

// The marks of kinds are shorter than any word's.
const (
	markItem      = "ki" // posts and comments
	markPost      = "kp"
	markComment   = "kc"
	markAgent     = "ka"
	markCommunity = "ks"
)

// marks returns the index entry of an item: the marks of its words and kind.
func (n *Network) marks(kind act.Kind, texts ...string) string {
	seen := make(map[string]struct{})
	var b strings.Builder
	switch kind {
	case act.KindPost:
		b.WriteString(markItem + " " + markPost)
	case act.KindComment:
		b.WriteString(markItem + " " + markComment)
	case act.KindAgent:
		b.WriteString(markAgent)
	default:
		b.WriteString(markCommunity)
	}
	for _, s := range texts {
		eachWord(s, func(_, _ int, w string) bool {
			if _, known := seen[w]; !known && w != "" {
				seen[w] = struct{}{}
				b.WriteByte(' ')
				b.WriteString(n.mark(w))
			}
			return len(seen) < maxIndexed
		})
	}
	return b.String()
}
