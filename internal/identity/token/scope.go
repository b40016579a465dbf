package token

import (
	"iter"
	"slices"
	"strings"
)

// Scope is a set of acts in the form in which it stands in tokens: words that
// are the name of an act (post.create), all acts of a noun (post.*) or every act
// (*), in order, none covered by another, with single spaces between (RFC 6749
// §3.3). Two scopes are the same set when they are the same text. The zero value
// is no act at all.
//
// Only [ParseScope] and the methods here make one; any other text still grants
// at most the acts that it names.
type Scope string

// ScopeAll is every act.
const ScopeAll Scope = "*"

const (
	maxScope      = 2048 // bytes of one that is asked for
	maxScopeWords = 64
	maxScopeHeld  = 2 * maxScope // of what narrowing may make of two
)

// ParseScope reads the scope parameter of a request, or the claim. It fails with
// scope.missing for nothing and with scope.malformed.
func ParseScope(text string) (Scope, error) {
	if text == "" {
		return "", refuse("scope.missing")
	}
	if len(text) > maxScope || strings.Count(text, " ") >= maxScopeWords {
		return "", refuse("scope.malformed")
	}
	s, ok := readScope(text)
	if !ok {
		return "", refuse("scope.malformed")
	}
	return s, nil
}

func readScope(text string) (s Scope, ok bool) {
	words := strings.Split(text, " ")
	for _, w := range words {
		if !isScopeWord(w) {
			return "", false
		}
	}
	return scopeOf(words), true
}

// isScopeWord reports whether a word is noun.verb, noun.* or *.
func isScopeWord(w string) bool {
	if w == "*" {
		return true
	}
	noun, verb, ok := strings.Cut(w, ".")
	return ok && isName(noun) && (verb == "*" || isName(verb))
}

func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxWord
}

// scopeOf makes the scope of words that have been checked, in any order.
func scopeOf(words []string) Scope {
	slices.Sort(words)
	words = slices.Compact(words)
	if len(words) > 0 && words[0] == "*" { // nothing sorts before it
		return ScopeAll
	}
	whole := ""
	words = slices.DeleteFunc(words, func(w string) bool { // "post.*" sorts before "post.create"
		noun, verb, _ := strings.Cut(w, ".")
		if verb == "*" {
			whole = noun
			return false
		}
		return whole != "" && noun == whole
	})
	return Scope(strings.Join(words, " "))
}

// Words iterates over the words, in order.
func (s Scope) Words() iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := string(s); rest != ""; {
			var word string
			word, rest, _ = strings.Cut(rest, " ")
			if !yield(word) {
				return
			}
		}
	}
}

// Has reports whether the scope has the act, by its name. It does not allocate.
func (s Scope) Has(name string) bool {
	noun, verb, ok := strings.Cut(name, ".")
	if !ok || noun == "" || verb == "" || verb == "*" {
		return false
	}
	return s.covers(noun, verb)
}

// covers reports whether a word of the scope is noun.verb, noun.* or *.
func (s Scope) covers(noun, verb string) bool {
	for rest := string(s); rest != ""; {
		end := strings.IndexByte(rest, ' ')
		word := rest
		if end >= 0 {
			word, rest = rest[:end], rest[end+1:]
		} else {
			rest = ""
		}
		if word == "*" {
			return true
		}
		if n := len(noun); len(word) > n+1 && word[n] == '.' && word[:n] == noun && (word[n+1:] == "*" || word[n+1:] == verb) {
			return true
		}
	}
	return false
}

// Covers reports whether every act of other is one of s.
func (s Scope) Covers(other Scope) bool {
	for w := range other.Words() {
		if !s.coversWord(w) {
			return false
		}
	}
	return true
}

func (s Scope) coversWord(w string) bool {
	noun, verb, ok := strings.Cut(w, ".")
	if !ok {
		return s == ScopeAll
	}
	return s.covers(noun, verb)
}

// Intersect returns the acts that both have.
func (s Scope) Intersect(other Scope) Scope {
	switch {
	case s == ScopeAll:
		return other
	case other == ScopeAll || s == other:
		return s
	}
	var words []string
	for w := range s.Words() {
		if other.coversWord(w) {
			words = append(words, w)
		}
	}
	for w := range other.Words() {
		if s.coversWord(w) {
			words = append(words, w)
		}
	}
	return scopeOf(words)
}
