package agent

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever an agent writes in a story, every colleague recognises as that step
// and reads the same facts from.
func TestBookReadsWhatItWrites(t *testing.T) {
	sc := book(t)
	written := 0
	for _, st := range sc.stories {
		for n, subject := range st.Subjects {
			for seed := range uint64(8) {
				mt := &matter{story: st, key: st.keyOf("123"), facts: facts{numberSlot: "123", st.Subject: subject[st.Subject]}, made: make(map[string]made)}
				value := func(p part) (string, bool) {
					if p.mark == '@' {
						return "@somebody-else", true
					}
					switch p.slot {
					case "quote", "title":
						return "They said 'so', and meant it", true
					}
					return st.value(seed, mt.key, mt.facts, subject, p, "09:41")
				}
				for _, s := range st.Steps {
					titles := s.title
					if !s.posts() {
						titles = []*template{nil}
					}
					for _, tt := range titles {
						for v, text := range s.text {
							title := ""
							if tt != nil {
								title = must(t, st.Name+"."+s.ID+" title", tt, value)
							}
							body := must(t, st.Name+"."+s.ID, text, value)
							h, ok := sc.recognise(title, body)
							if !ok || h.step != s {
								t.Fatalf("%s.%s, subject %d, text %d is not recognised as itself but as %+v:\n%s\n%s", st.Name, s.ID, n, v, h.step, title, body)
							}
							for name, got := range h.facts {
								want, _ := value(part{slot: name})
								if got != want {
									t.Fatalf("%s.%s: fact %s came back as %q, was %q:\n%s", st.Name, s.ID, name, got, want, body)
								}
							}
							if again, ok := sc.recognise(title, "Stepping in for @probe-nine. "+body); !ok || again.step != s || !maps.Equal(again.facts, h.facts) {
								t.Fatalf("%s.%s is not recognised when another steps in", st.Name, s.ID)
							}
							checkProse(t, title, body)
							written++
						}
					}
					// What follows knows what any of the variants told.
					for _, list := range [][]*template{s.title, s.text} {
						for _, tmpl := range list {
							for _, p := range tmpl.parts {
								if v, ok := value(p); ok && p.slot != "" && p.mark == 0 && p.slot != "quote" && p.slot != "title" {
									mt.facts[p.slot] = v
								}
							}
						}
					}
				}
			}
		}
	}
	if written < 1000 {
		t.Errorf("only %d texts were tried", written)
	}
}

func must(t *testing.T, what string, tmpl *template, value func(part) (string, bool)) string {
	t.Helper()
	text, ok := tmpl.fill(value)
	if !ok {
		for _, p := range tmpl.parts {
			if p.slot != "" {
				if v, ok := value(p); !ok || v == "" {
					t.Fatalf("%s: slot %s has no value", what, p.slot)
				}
			}
		}
	}
	return text
}

// checkProse holds the texts to what a network takes and a reader expects.
func checkProse(t *testing.T, title, body string) {
	t.Helper()
	for _, s := range []string{title, body} {
		switch {
		case strings.ContainsAny(s, "{}"):
			t.Fatalf("a slot was left: %s", s)
		case strings.Contains(s, "  "), strings.Contains(s, " ."), strings.Contains(s, ".."), strings.Contains(s, " ,"):
			t.Fatalf("untidy: %s", s)
		case presses(s):
			t.Fatalf("reads like an attack: %s", s)
		}
	}
	if n := utf8.RuneCountInString(title); n > 300 {
		t.Fatalf("a title of %d characters: %s", n, title)
	}
	if first, _ := utf8.DecodeRuneInString(body); !strings.ContainsRune(`"*`, first) && strings.ToUpper(string(first)) != string(first) {
		if name, _, _ := strings.Cut(body, " "); !strings.Contains(name, "_") { // price_list is a name
			t.Fatalf("begins with a small letter: %s", body)
		}
	}
	if utf8.RuneCountInString(body) < 20 {
		t.Fatalf("says nothing: %s", body)
	}
}

// The whole cast of a default network covers every role, and nobody's name can
// be taken for another's.
func TestBookCast(t *testing.T) {
	sc := book(t)
	roles := make(map[string]bool)
	names := regexp.MustCompile(`^[a-z][a-z-]{1,30}$`)
	communities := map[string]bool{"general": true}
	for _, st := range sc.stories {
		communities[st.Community] = true
	}
	for i, p := range sc.cast {
		if !names.MatchString(p.Name) {
			t.Errorf("name %q", p.Name)
		}
		if !communities[p.Home] {
			t.Errorf("%s is at home in %q, which no story has", p.Name, p.Home)
		}
		if len(withSlot(p.asks, "figure")) == 0 {
			t.Errorf("%s has nothing to ask about a number", p.Name)
		}
		for _, r := range p.Roles {
			if i < 10 {
				roles[r] = true
			}
		}
	}
	for _, st := range sc.stories {
		for _, s := range st.Steps {
			if !roles[s.By] {
				t.Errorf("%s.%s is for role %q, which nobody of the first ten has", st.Name, s.ID, s.By)
			}
		}
	}
	if len(sc.cast) < 8 || len(sc.stories) < 5 {
		t.Errorf("%d personas and %d stories", len(sc.cast), len(sc.stories))
	}
}

func TestTemplate(t *testing.T) {
	known := func(f facts) func(part) (string, bool) {
		return func(p part) (string, bool) { v, ok := f[p.slot]; return v, ok }
	}
	tmpl, err := parseTemplate("{^what} went from {before} to {after:1-9}, seen at {seen_at} by {@open}.")
	if err != nil {
		t.Fatal(err)
	}
	f := facts{"what": "latency", "before": "240 ms", "after": "7", "seen_at": "12:01", "open": "@tide-marshal"}
	text, ok := tmpl.fill(known(f))
	if want := "Latency went from 240 ms to 7, seen at 12:01 by @tide-marshal."; !ok || text != want {
		t.Fatalf("filled %q, want %q", text, want)
	}
	got, ok := tmpl.match(text)
	if want := (facts{"before": "240 ms", "after": "7", "seen_at": "12:01"}); !ok || !maps.Equal(got, want) {
		t.Errorf("matched %v, want %v", got, want)
	}
	if _, ok := tmpl.fill(known(facts{"what": "latency"})); ok {
		t.Error("filled without facts")
	}
	for _, other := range []string{
		"Latency went from 240 ms to seven, seen at 12:01 by @tide-marshal.",
		"Latency went from 240\nms to 7, seen at 12:01 by @tide-marshal.",
		"x" + strings.Repeat("y", 5000) + text,
		text + " And more.",
	} {
		if _, ok := tmpl.match(other); ok {
			t.Errorf("matched %.80q", other)
		}
	}
	for _, bad := range []string{"{", "a } b", "{Upper}", "{x:9-2}", "{^x:1-2}", "{x:1}"} {
		if _, err := parseTemplate(bad); err == nil {
			t.Errorf("parsed %q", bad)
		}
	}
}

func TestCompute(t *testing.T) {
	for _, c := range []struct {
		fn   string
		a, b int
		want string
	}{
		{"percent", 40, 46, "15"}, {"percent", 0, 46, ""}, {"less", 3, 5, "-2"}, {"times", 1200, 9, "10,800"},
		{"middle", 20, 29, "25"}, {"part", 60116, 5, "3,006"}, {"plus", 999, 1, "1,000"}, {"power", 2, 2, ""},
	} {
		n, ok := compute(c.fn, c.a, c.b)
		if got := grouped(n); ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s %d %d = %q %v, want %q", c.fn, c.a, c.b, got, ok, c.want)
		}
	}
	for _, s := range []string{"0", "999", "1,000", "-2", "1,234,567"} {
		n, ok := whole(s)
		if !ok || grouped(n) != s {
			t.Errorf("%s was read as %d %v", s, n, ok)
		}
	}
	seen := make(map[int]bool)
	for i := range 200 {
		n := draw(3, strconv.Itoa(i), 4, 7)
		if n < 4 || n > 7 {
			t.Fatalf("drew %d", n)
		}
		seen[n] = true
	}
	if !slices.Equal(slices.Sorted(maps.Keys(seen)), []int{4, 5, 6, 7}) {
		t.Errorf("drew only %v", seen)
	}
}
