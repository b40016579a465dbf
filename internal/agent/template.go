package agent

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// facts are the values of slots by name.
type facts map[string]string

// A template is a text with slots in braces. fill makes a text of it, match
// finds in a text what stood in the slots.
//
//	{name}      a fact
//	{name:2-9}  a fact that is a number, drawn when it is not known yet
//	{name_at}   a time of day, that of writing when it is not known yet
//	{^name}     a fact that begins a sentence
//	{@step}     the agent who made a step, or who has a role
//
// match gives back plain facts, numbers and times.
type template struct {
	parts   []part
	shape   *regexp.Regexp
	longest string // literal; a text without it cannot match
}

// part is a literal or, with slot set, a slot.
type part struct {
	literal string
	slot    string
	mark    byte // '^', '@' or 0
	lo, hi  int  // the range of a draw; hi is 0 when there is none
}

const (
	maxMatched = 4000 // bytes of a text that are compared with templates
	maxFact    = 300  // characters of a fact that is carried over
	numberSlot = "no" // the number of a story's key
)

// standIn is what an agent writes before a step that is another's.
const standIn = "Stepping in for %s. "

func parseTemplate(text string) (*template, error) {
	slot := regexp.MustCompile(`\{([@^]?)([a-z][a-z0-9_]*)(?::(\d+)-(\d+))?\}`)
	t := &template{}
	shape := strings.Builder{}
	shape.WriteString(`^(?:` + strings.TrimSuffix(fmt.Sprintf(standIn, `@[A-Za-z0-9_-]{2,32}`), " ") + ` )?`)
	named := make(map[string]bool)
	literal := func(s string) error {
		if strings.ContainsAny(s, "{}") {
			return fmt.Errorf("%.60q holds a brace that is no slot", s)
		}
		if s != "" {
			t.parts = append(t.parts, part{literal: s})
			shape.WriteString(regexp.QuoteMeta(s))
		}
		if len(s) > len(t.longest) {
			t.longest = s
		}
		return nil
	}
	end := 0
	for _, at := range slot.FindAllStringSubmatchIndex(text, -1) {
		if err := literal(text[end:at[0]]); err != nil {
			return nil, err
		}
		end = at[1]
		p := part{slot: text[at[4]:at[5]]}
		if at[2] < at[3] {
			p.mark = text[at[2]]
		}
		if at[6] >= 0 {
			p.lo, _ = strconv.Atoi(text[at[6]:at[7]])
			p.hi, _ = strconv.Atoi(text[at[8]:at[9]])
			if p.hi <= p.lo || p.mark != 0 {
				return nil, fmt.Errorf("slot %s: a draw is {name:low-high}", p.slot)
			}
		}
		t.parts = append(t.parts, p)
		group := "(?:"
		if p.mark == 0 && !named[p.slot] {
			group = "(?P<" + p.slot + ">"
			named[p.slot] = true
		}
		shape.WriteString(group + p.pattern() + ")")
	}
	if err := literal(text[end:]); err != nil {
		return nil, err
	}
	compiled, err := regexp.Compile(shape.String() + `\s*$`)
	t.shape = compiled
	return t, err
}

// pattern is what can stand in a slot. It never spans lines.
func (p part) pattern() string {
	switch {
	case p.mark == '@':
		return `@[A-Za-z0-9_-]{2,32}`
	case p.slot == numberSlot:
		return `[0-9]{1,9}`
	case p.hi > 0:
		return `[0-9][0-9,]{0,12}`
	case p.isTime():
		return `[0-9]{2}:[0-9]{2}`
	}
	return fmt.Sprintf(`[^\n]{1,%d}?`, maxFact)
}

func (p part) isTime() bool { return strings.HasSuffix(p.slot, "_at") }

// fill puts values into the slots. It fails if one has none.
func (t *template) fill(value func(part) (string, bool)) (string, bool) {
	b := strings.Builder{}
	for _, p := range t.parts {
		if p.slot == "" {
			b.WriteString(p.literal)
			continue
		}
		v, ok := value(p)
		if !ok || v == "" {
			return "", false
		}
		if p.mark == '^' {
			first, size := utf8.DecodeRuneInString(v)
			v = string(unicode.ToUpper(first)) + v[size:]
		}
		b.WriteString(v)
	}
	return b.String(), true
}

// match finds the facts in a text that was made with the template.
func (t *template) match(text string) (facts, bool) {
	if len(text) > maxMatched || !strings.Contains(text, t.longest) {
		return nil, false
	}
	found := t.shape.FindStringSubmatch(text)
	if found == nil {
		return nil, false
	}
	f := facts{}
	for i, name := range t.shape.SubexpNames() {
		if name != "" && found[i] != "" {
			f[name] = clean(found[i], maxFact)
		}
	}
	return f, true
}

// draw picks a number from lo to hi, always the same for a seed and a name.
func draw(seed uint64, name string, lo, hi int) int {
	return lo + random(seed, name).IntN(hi-lo+1)
}

// random is a stream of numbers that a seed and a name determine.
func random(seed uint64, name string) *rand.Rand {
	return rand.New(rand.NewPCG(seed, hash(name))) //nolint:gosec // a demonstration that can be repeated is the purpose
}

// hash is FNV-1a.
func hash(s string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * prime
	}
	return h
}

// mark stands for something that somebody wrote, the same in every run: ids are
// not, since they tell the time.
func mark(words ...string) string {
	return strconv.FormatUint(hash(strings.Join(words, "\x00")), 36)
}

// expand replaces draws like {220-260} in a subject's fact.
func expand(seed uint64, name, text string) string {
	n := 0
	return regexp.MustCompile(`\{(\d+)-(\d+)\}`).ReplaceAllStringFunc(text, func(s string) string {
		lo, hi, _ := strings.Cut(s[1:len(s)-1], "-")
		from, _ := strconv.Atoi(lo)
		to, _ := strconv.Atoi(hi)
		n++
		return grouped(draw(seed, name+"/"+strconv.Itoa(n), from, max(from, to)))
	})
}

// grouped writes 1234 as 1,234.
func grouped(n int) string {
	if n < 0 {
		return "-" + grouped(-n)
	}
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// whole reads a number as grouped writes it.
func whole(s string) (int, bool) {
	n, err := strconv.Atoi(strings.ReplaceAll(s, ",", ""))
	return n, err == nil && n > -1e12 && n < 1e12
}

// compute is what a story's derived facts are made with.
func compute(fn string, a, b int) (int, bool) {
	round := func(n, d int) (int, bool) {
		if d == 0 {
			return 0, false
		}
		return (2*n + d) / (2 * d), true
	}
	switch fn {
	case "plus":
		return a + b, true
	case "less":
		return a - b, true
	case "times":
		return a * b, true
	case "middle":
		return round(a+b, 2)
	case "percent": // from a to b
		return round((b-a)*100, a)
	case "part": // b per cent of a
		return round(a*b, 100)
	}
	return 0, false
}
