package agent

import (
	"embed"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

//go:embed book/*.yaml
var bookFiles embed.FS

// script is all that can be played.
type script struct {
	cast    []*persona
	stories []*story
}

// persona is who an agent is. The fields are those of book/cast.yaml.
type persona struct {
	Name   string
	Roles  []string
	Home   string
	Bio    string
	Asks   []string
	Thanks []string
	Luck   string

	asks, thanks, luck []*template
}

// story is a plot whose steps follow one another. The fields are those of the
// files of book; see book/incident.yaml.
type story struct {
	Name      string
	Community string
	About     string // the community's description
	Key       string // "INC-{no}"
	First     int    // the beat before which it does not begin
	Subject   string // the fact that tells subjects apart; the opening holds it
	Subjects  []facts
	Derive    map[string]string
	Steps     []*step

	draws map[string]part // numbers drawn by any step; all steps know them
}

// step is one post or, without a title, one comment of a story.
type step struct {
	ID    string
	By    string // role
	Under string // step that is answered; the first if empty
	Wait  int    // beats that pass before it; 1 if 0
	Title []string
	Text  []string

	story       *story
	index       int
	title, text []*template
}

// posts reports whether the step is a post of its own.
func (s *step) posts() bool { return len(s.title) > 0 }

// hit is a step that was recognised in a post or comment.
type hit struct {
	step  *step
	facts facts
}

// key names the case of the story that the hit belongs to, "" if the text does
// not tell.
func (h hit) key() string {
	if no := h.facts[numberSlot]; no != "" {
		return h.step.story.keyOf(no)
	}
	return ""
}

func (s *story) keyOf(no string) string {
	return strings.ReplaceAll(s.Key, "{"+numberSlot+"}", no)
}

// recognise finds the step of which a post (with a title) or a comment (without)
// was made.
func (sc *script) recognise(title, text string) (hit, bool) {
	for _, st := range sc.stories {
		for _, s := range st.Steps {
			if s.posts() != (title != "") {
				continue
			}
			f := facts{}
			if s.posts() && !matchAny(s.title, title, f) {
				continue
			}
			if matchAny(s.text, text, f) {
				return hit{step: s, facts: f}, true
			}
		}
	}
	return hit{}, false
}

func matchAny(list []*template, text string, into facts) bool {
	for _, t := range list {
		if f, ok := t.match(text); ok {
			for k, v := range f {
				into[k] = v
			}
			return true
		}
	}
	return false
}

// readBook reads and checks the embedded script.
func readBook() (*script, error) {
	sc := &script{}
	files, err := bookFiles.ReadDir("book")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		raw, err := bookFiles.ReadFile(path.Join("book", f.Name()))
		if err != nil {
			return nil, err
		}
		if f.Name() == "cast.yaml" {
			err = errors.Join(yaml.UnmarshalWithOptions(raw, &sc.cast, yaml.Strict()), sc.prepareCast())
		} else {
			st := &story{}
			err = errors.Join(yaml.UnmarshalWithOptions(raw, st, yaml.Strict()), st.prepare())
			sc.stories = append(sc.stories, st)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	slices.SortFunc(sc.stories, func(a, b *story) int { return a.First - b.First })
	return sc, nil
}

func (sc *script) prepareCast() (err error) {
	for _, p := range sc.cast {
		if p.asks, err = parseAll(p.Asks); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if p.thanks, err = parseAll(p.Thanks); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if p.luck, err = parseAll([]string{p.Luck}); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if len(p.Roles) == 0 || len(p.asks) == 0 || len(p.thanks) == 0 || p.Luck == "" {
			return fmt.Errorf("%s needs roles, asks, thanks and luck", p.Name)
		}
	}
	return nil
}

func parseAll(texts []string) (list []*template, err error) {
	for _, text := range texts {
		t, err := parseTemplate(text)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

func (s *story) prepare() (err error) {
	if len(s.Steps) == 0 || len(s.Subjects) == 0 {
		return errors.New("a story needs steps and subjects")
	}
	s.draws = make(map[string]part)
	for i, st := range s.Steps {
		st.story, st.index = s, i
		if st.title, err = parseAll(st.Title); err != nil {
			return fmt.Errorf("step %s: title: %w", st.ID, err)
		}
		if st.text, err = parseAll(st.Text); err != nil {
			return fmt.Errorf("step %s: %w", st.ID, err)
		}
		for _, t := range slices.Concat(st.title, st.text) {
			for _, p := range t.parts {
				if before, twice := s.draws[p.slot]; twice && p.hi > 0 && before != p {
					return fmt.Errorf("step %s: {%s} has another range elsewhere", st.ID, p.slot)
				}
				if p.hi > 0 {
					s.draws[p.slot] = p
				}
			}
		}
		if st.Under == "" {
			st.Under = s.Steps[0].ID
		}
		st.Wait = max(st.Wait, 1)
		if len(st.text) == 0 || (i == 0 && !st.posts()) {
			return fmt.Errorf("step %s: every step has a text, and the first one a title", st.ID)
		}
		if under := s.step(st.Under); under == nil || (under.index >= i && i > 0) {
			return fmt.Errorf("step %s: it stands under %q, which is not an earlier step", st.ID, st.Under)
		}
	}
	return nil
}

func (s *story) step(id string) *step {
	i := slices.IndexFunc(s.Steps, func(st *step) bool { return st.ID == id })
	if i < 0 {
		return nil
	}
	return s.Steps[i]
}

// subject returns the facts of the subject that a case is about, nil if it is
// none of ours.
func (s *story) subject(f facts) facts {
	for _, known := range s.Subjects {
		if known[s.Subject] == f[s.Subject] {
			return known
		}
	}
	return nil
}

// value finds a fact of a case: what was written before, else the story's own
// knowledge of the subject, else what follows from other facts. The case's key
// makes draws differ from case to case.
func (s *story) value(seed uint64, key string, known, subject facts, p part, clock string) (string, bool) {
	if v, ok := known[p.slot]; ok {
		return v, true
	}
	if p.isTime() {
		return clock, true
	}
	if v, ok := subject[p.slot]; ok {
		return expand(seed, key+"/"+p.slot, v), true
	}
	if p, ok := s.draws[p.slot]; ok {
		return grouped(draw(seed, key+"/"+p.slot, p.lo, p.hi)), true
	}
	fields := strings.Fields(s.Derive[p.slot])
	if len(fields) != 3 {
		return "", false
	}
	var args [2]int
	for i, name := range fields[1:] {
		n, err := strconv.Atoi(name)
		if err != nil {
			v, ok := s.value(seed, key, known, subject, part{slot: name}, clock)
			if !ok {
				return "", false
			}
			if n, ok = whole(v); !ok {
				return "", false
			}
		}
		args[i] = n
	}
	n, ok := compute(fields[0], args[0], args[1])
	return grouped(n), ok
}
