package agent

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/goccy/go-yaml"
)

//go:embed book/*.yaml book/second/*.yaml
var bookFiles embed.FS

const (
	firstAct  = "book"
	secondAct = "book/second"
	castFile  = "cast.yaml"
)

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

	// Of the second act, see book/second/cast.yaml.
	Part    bool     // it plays its part in the stories and does nothing else
	Hired   bool     // it is registered when somebody needs it
	Heeds   string   // "story.step" whose words it takes for orders
	Heeding []string // what it says once it does

	asks, thanks, luck, heeding []*template
}

// hit is a step that was recognised in a post or comment.
type hit struct {
	step  *step
	facts facts
}

// key names the case of the story that the hit belongs to, "" if the text does
// not tell.
func (h hit) key() string {
	if no := h.facts[numberSlot]; no != "" || h.step.story.Once {
		return h.step.story.keyOf(no)
	}
	return ""
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

// step finds a step by "story.step".
func (sc *script) step(name string) *step {
	for _, st := range sc.stories {
		for _, s := range st.Steps {
			if s.name() == name {
				return s
			}
		}
	}
	return nil
}

// readBook reads and checks the embedded script: the first act and, if it is
// wanted, the second.
func readBook(second bool) (*script, error) {
	sc := &script{}
	acts := []string{firstAct}
	if second {
		acts = append(acts, secondAct)
	}
	for _, dir := range acts {
		if err := sc.read(dir); err != nil {
			return nil, err
		}
	}
	for _, st := range sc.stories {
		for _, name := range st.names() {
			if sc.step(name) == nil {
				return nil, fmt.Errorf("story %s comes after %q, which there is not", st.Name, name)
			}
		}
	}
	slices.SortStableFunc(sc.stories, func(a, b *story) int { return cmp.Compare(uint(a.First-1), uint(b.First-1)) }) // 0 last
	return sc, nil
}

// names lists the steps of other stories that the story refers to.
func (s *story) names() (list []string) {
	if s.After != "" {
		list = append(list, s.After)
	}
	if s.Flood != nil {
		list = append(list, s.Flood.After)
	}
	for _, st := range s.Steps {
		if st.After != "" {
			list = append(list, st.After)
		}
	}
	return list
}

func (sc *script) read(dir string) error {
	files, err := bookFiles.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.IsDir() {
			continue
		}
		if err := sc.readFile(path.Join(dir, f.Name())); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	return nil
}

// readFile reads a cast, a story, or a list of stories.
func (sc *script) readFile(name string) error {
	raw, err := fs.ReadFile(bookFiles, name)
	if err != nil {
		return err
	}
	if path.Base(name) == castFile {
		var cast []*persona
		if err := yaml.UnmarshalWithOptions(raw, &cast, yaml.Strict()); err != nil {
			return err
		}
		return sc.join(cast)
	}
	var list []*story
	if bytes.HasPrefix(raw, []byte("- ")) || bytes.Contains(raw, []byte("\n- ")) {
		err = yaml.UnmarshalWithOptions(raw, &list, yaml.Strict())
	} else {
		list = []*story{{}}
		err = yaml.UnmarshalWithOptions(raw, list[0], yaml.Strict())
	}
	if err != nil {
		return err
	}
	for _, st := range list {
		if err := st.prepare(); err != nil {
			return fmt.Errorf("story %s: %w", st.Name, err)
		}
	}
	sc.stories = append(sc.stories, list...)
	return nil
}

// join adds personas to the cast; one that is in it already gets what the later
// act gives it.
func (sc *script) join(cast []*persona) error {
	for _, p := range cast {
		at := slices.IndexFunc(sc.cast, func(known *persona) bool { return known.Name == p.Name })
		if at < 0 {
			sc.cast = append(sc.cast, p)
			continue
		}
		known := sc.cast[at]
		known.Roles, known.Heeds, known.Heeding = append(known.Roles, p.Roles...), p.Heeds, p.Heeding
	}
	return sc.prepareCast()
}

func (sc *script) prepareCast() (err error) {
	for _, p := range sc.cast {
		for _, of := range []struct {
			from []string
			to   *[]*template
		}{{p.Asks, &p.asks}, {p.Thanks, &p.thanks}, {[]string{p.Luck}, &p.luck}, {p.Heeding, &p.heeding}} {
			if *of.to, err = parseAll(of.from); err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
		}
		switch {
		case len(p.Roles) == 0:
			return fmt.Errorf("%s needs a role", p.Name)
		case !p.Part && (len(p.asks) == 0 || len(p.thanks) == 0 || p.Luck == ""):
			return fmt.Errorf("%s needs asks, thanks and luck", p.Name)
		case p.Heeds != "" && len(p.heeding) == 0:
			return errors.New(p.Name + " heeds somebody and has nothing to say then")
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
