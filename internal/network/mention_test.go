package network

import (
	"fmt"
	"strings"
	"testing"
)

func TestMentions(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"@ada", "[ada]"},
		{"hello @ada, and @bob-2! (@cy_d) @ada again", "[ada bob-2 cy_d]"},
		{"mail me@ada.example or x/@ada, a.@b2 @@ada", "[]"},
		{"@a @ @@ @-- ", "[--]"},
		{"@adé é@ada", "[]"},
		{"@" + strings.Repeat("x", 33), "[]"},
		{"@a1 @a2 @a3 @a4 @a5 @a6 @a7 @a8 @a9 @b0 @b1 @b2", "[a1 a2 a3 a4 a5 a6 a7 a8 a9 b0]"},
	} {
		if got := fmt.Sprint(mentions(c.text)); got != c.want {
			t.Errorf("%q mentions %s, want %s", c.text, got, c.want)
		}
	}
}

// Whatever the text, what is found is a name that the text holds behind an @.
func FuzzMentions(f *testing.F) {
	for _, s := range []string{"@ada", "a@b", "@@", "@\xff", "é@ada", "@ada@bob", strings.Repeat("@aa", 100), "@" + strings.Repeat("y", 40) + " @ok"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		names := mentions(s)
		if len(names) > maxMentions {
			t.Fatalf("%d names", len(names))
		}
		seen := map[string]bool{}
		for _, n := range names {
			if seen[n] || len(n) < 2 || len(n) > maxNamed || !strings.Contains(s, "@"+n) {
				t.Fatalf("found %q in %q", n, s)
			}
			seen[n] = true
			for i := range len(n) {
				if !nameByte(n[i]) {
					t.Fatalf("%q is no name", n)
				}
			}
		}
	})
}
