package network

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/store"
)

// Whatever is asked, what reaches the databases is made of marks alone, and the
// words of a text find that text.
func FuzzSearchQuery(f *testing.F) {
	for _, s := range []string{"quarterly report", `"`, `a AND b`, `NEAR(a b)`, `x:*`, `' | !`, "\x00", "\xff\xfe", "é東京ﬁ", strings.Repeat("ab ", 200), "\u0301\u0301", "İI"} {
		f.Add(s)
	}
	lite := regexp.MustCompile(`^"k[ipcas]" AND \("[0-9a-v]{10}"( (AND|OR) "[0-9a-v]{10}"){0,11}\)$`)
	pg := regexp.MustCompile(`^'k[ipcas]' & \('[0-9a-v]{10}'( [&|] '[0-9a-v]{10}'){0,11}\)$`)
	n := &Network{indexKey: make([]byte, 32)}
	f.Fuzz(func(t *testing.T, s string) {
		words, kind, err := checkSearch(SearchQuery{Text: s, Type: SearchAll})
		if err != nil {
			return
		}
		for _, anyWord := range []bool{false, true} {
			if q := n.matching(store.SQLite, words, kind, anyWord); !lite.MatchString(q) {
				t.Fatalf("%q becomes %q", s, q)
			}
			if q := n.matching(store.Postgres, words, kind, anyWord); !pg.MatchString(q) {
				t.Fatalf("%q becomes %q", s, q)
			}
		}
		entry := " " + n.marks(0, s) + " "
		for _, w := range words {
			if !strings.Contains(entry, " "+n.mark(w)+" ") {
				t.Fatalf("%q is not indexed under its word %q", s, w)
			}
		}
		m := rank(0, "", s, words, true)
		if m.similarity < 1 || m.similarity > 1000 || !utf8.ValidString(snippet(s, m.at)) || !utf8.ValidString(firstRunes(s, MaxFound)) {
			t.Fatalf("%q ranks %+v", s, m)
		}
	})
}
