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

// A case that is told without a network: what every slot of its texts holds.
func telling(seed uint64, mt *matter) func(part) (string, bool) {
	subject := mt.story.subject(mt.facts)
	return func(p part) (string, bool) {
		switch {
		case p.mark == '@':
			return "@somebody-else", true
		case p.slot == "quote" || p.slot == "title" || p.slot == "alike_words":
			return "They said 'so', and meant it", true
		case strings.HasPrefix(p.slot, countedSlots):
			return "6", true
		}
		return mt.story.value(seed, mt.key, mt.facts, subject, p, "09:41")
	}
}

// cases tells every story about every subject, by several seeds.
func cases(sc *script, tell func(seed uint64, mt *matter)) {
	for _, st := range sc.stories {
		subjects := st.Subjects
		if len(subjects) == 0 {
			subjects = []facts{{}}
		}
		for _, subject := range subjects {
			for seed := range uint64(8) {
				mt := &matter{story: st, key: st.keyOf("123"), facts: facts{}, made: make(map[string]made)}
				if !st.Once {
					mt.facts = facts{numberSlot: "123", st.Subject: subject[st.Subject]}
				}
				tell(seed, mt)
			}
		}
	}
}

// told adds to a case what any of the variants tell.
func told(mt *matter, value func(part) (string, bool), lists ...[]*template) {
	for _, tmpl := range slices.Concat(lists...) {
		for _, p := range tmpl.parts {
			if v, ok := value(p); ok && p.slot != "" && p.mark == 0 && p.slot != "quote" && p.slot != "title" {
				mt.facts[p.slot] = v
			}
		}
	}
}

// Whatever an agent writes in a story, every colleague recognises as that step
// and reads the same facts from.
func TestBookReadsWhatItWrites(t *testing.T) {
	sc := book(t, true)
	written := 0
	cases(sc, func(seed uint64, mt *matter) {
		st, value := mt.story, telling(seed, mt)
		for _, s := range st.Steps {
			titles := s.title
			if !s.posts() {
				titles = []*template{nil}
			}
			for _, tt := range titles {
				for v, text := range s.text {
					title := ""
					if tt != nil {
						title = must(t, s.name()+" title", tt, value)
					}
					body := must(t, s.name(), text, value)
					h, ok := sc.recognise(title, body)
					if !ok || h.step != s || h.key() != mt.key && s.posts() {
						t.Fatalf("%s, text %d is not recognised as itself but as %+v:\n%s\n%s", s.name(), v, h.step, title, body)
					}
					same(t, s.name(), h.facts, value)
					if again, ok := sc.recognise(title, "Stepping in for @probe-nine. "+body); !ok || again.step != s || !maps.Equal(again.facts, h.facts) {
						t.Fatalf("%s is not recognised when another steps in", s.name())
					}
					if s.name() != poison {
						checkProse(t, title, body)
					}
					written++
				}
			}
			told(mt, value, s.title, s.text)
		}
	})
	if written < 1000 {
		t.Errorf("only %d texts were tried", written)
	}
}

// poison is the step whose words the second act turns on. It reads like an attack
// because it is one.
const poison = "contract.index"

func TestBookPoison(t *testing.T) {
	sc := book(t, true)
	s := sc.step(poison)
	for _, text := range s.Text {
		if !presses(text) {
			t.Errorf("colleagues would not take this for an attack: %s", text)
		}
	}
	for _, p := range sc.cast {
		if p.Heeds != "" && (p.Heeds != poison || p.Name != "survey-otter") {
			t.Errorf("%s heeds %s", p.Name, p.Heeds)
		}
	}
	for _, p := range book(t, false).cast {
		if p.Heeds != "" || p.Part || p.Hired {
			t.Errorf("%s of the first act is of the second", p.Name)
		}
	}
}

func same(t *testing.T, where string, got facts, value func(part) (string, bool)) {
	t.Helper()
	for name, is := range got {
		if want, _ := value(part{slot: name}); is != want {
			t.Fatalf("%s: fact %s came back as %q, was %q", where, name, is, want)
		}
	}
}

// The same holds for tasks, their reports and results, and for what is said in
// private.
func TestBookReadsTasksAndTalks(t *testing.T) {
	sc := book(t, true)
	tasks, lines := 0, 0
	cases(sc, func(seed uint64, mt *matter) {
		value := telling(seed, mt)
		for _, s := range mt.story.Steps {
			told(mt, value, s.title, s.text)
		}
		for _, j := range mt.story.Work {
			title := must(t, j.ID, j.title[0], value)
			for _, tmpl := range j.text {
				text := must(t, j.ID, tmpl, value)
				of, f := sc.assigned(title, text)
				if of != j || j.story.keyOf(f[numberSlot]) != mt.key {
					t.Fatalf("%s.%s is not recognised: %s\n%s", mt.story.Name, j.ID, title, text)
				}
				same(t, j.ID, f, value)
				checkProse(t, title, text)
				tasks++
			}
			for _, tmpl := range slices.Concat(j.progress, j.result) {
				checkProse(t, "", must(t, j.ID, tmpl, value))
			}
		}
		for _, talk := range mt.story.Talks {
			for n, list := range talk.says {
				for _, tmpl := range list {
					text := must(t, talk.ID, tmpl, value)
					of, at, f := sc.spoken(text)
					if of != talk || at != n || n == 0 && talk.story.keyOf(f[numberSlot]) != mt.key {
						t.Fatalf("%s.%s, line %d is not recognised: %s", mt.story.Name, talk.ID, n, text)
					}
					same(t, talk.ID, f, value)
					checkProse(t, "", text)
					lines++
				}
			}
		}
	})
	if tasks < 200 || lines < 1000 {
		t.Errorf("%d tasks and %d lines were tried", tasks, lines)
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
	sc := book(t, false)
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
		need := func(where, role string) {
			if !roles[role] {
				t.Errorf("%s.%s is for role %q, which nobody of the first ten has", st.Name, where, role)
			}
		}
		for _, s := range st.Steps {
			need(s.ID, s.By)
		}
		for _, j := range st.Work {
			need(j.ID, j.By)
			need(j.ID, j.For)
		}
		for _, k := range st.Talks {
			need(k.ID, k.From)
			need(k.ID, k.To)
		}
	}
	if len(sc.cast) != Cast || len(sc.stories) < 5 {
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
