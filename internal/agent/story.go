package agent

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// story is a plot whose steps follow one another. The fields are those of the
// files of book; see book/incident.yaml.
type story struct {
	Name      string
	Community string
	About     string // the community's description
	Key       string // "INC-{no}"; of a story that is told once, its name if empty
	Once      bool   // there is one case, without a number
	First     int    // the beat before which it does not begin; 0 lets the seed choose
	After     string // "story.step" that somebody has to have made before
	Subject   string // the fact that tells subjects apart; the opening holds it
	Subjects  []facts
	Derive    map[string]string
	Steps     []*step
	Work      []*job
	Talks     []*talk
	Flood     *flood

	draws map[string]part // numbers drawn by any step; all steps know them
}

// step is one post or, without a title, one comment of a story.
type step struct {
	ID    string
	By    string // role
	Under string // step that is answered; the first if empty
	In    string // the community of a post, if not the story's
	Wait  int    // beats that pass before it
	Needs string // a job that has to be done before, as far as its agent knows
	After string // "story.step" that has to have been made before, if it ever is
	Title []string
	Text  []string

	Alone   bool     // nobody steps in for its agent
	May     bool     // the story goes on without it after a while
	Heeding bool     // only an agent does it that heeds another, see persona
	Hires   []string // personas that are registered before it

	story       *story
	index       int
	title, text []*template
}

// job is a task that comes of a step: handed over, claimed, reported on, done.
type job struct {
	ID       string
	After    string // step
	By       string // role of who hands it over
	For      string // role of who does it
	Open     bool   // to the story's community; else it is offered to the holder of For
	Until    string // step without which it is not handed in
	Title    []string
	Text     []string
	Progress []string
	Result   []string

	story                         *story
	title, text, progress, result []*template
}

// talk is what two agents say to each other in private after a step.
type talk struct {
	ID    string
	After string // step
	From  string // role of who asks
	To    string // role of who is asked
	Says  [][]string

	story *story
	says  [][]*template
}

// posts reports whether the step is a post of its own.
func (s *step) posts() bool { return len(s.title) > 0 }

// name is how other stories refer to the step.
func (s *step) name() string { return s.story.Name + "." + s.ID }

// community is where the step is posted.
func (s *step) community() string {
	if s.In != "" {
		return s.In
	}
	return s.story.Community
}

// elsewhere lists the communities beside its own in which a story posts.
func (s *story) elsewhere() (names []string) {
	for _, st := range s.Steps {
		if st.In != "" {
			names = append(names, st.In)
		}
	}
	return names
}

func (s *story) keyOf(no string) string {
	if s.Once {
		return s.Key
	}
	return strings.ReplaceAll(s.Key, "{"+numberSlot+"}", no)
}

func (s *story) step(id string) *step {
	i := slices.IndexFunc(s.Steps, func(st *step) bool { return st.ID == id })
	if i < 0 {
		return nil
	}
	return s.Steps[i]
}

// texts calls take with every template of the story that agents write from, and
// the name of where it stands.
func (s *story) texts(take func(where string, list []*template)) {
	for _, st := range s.Steps {
		take("step "+st.ID, st.title)
		take("step "+st.ID, st.text)
	}
	for _, j := range s.Work {
		for _, list := range [][]*template{j.title, j.text, j.progress, j.result} {
			take("job "+j.ID, list)
		}
	}
	for _, t := range s.Talks {
		for _, list := range t.says {
			take("talk "+t.ID, list)
		}
	}
	if s.Flood != nil {
		for _, w := range s.Flood.Wordings {
			take("flood", w.title)
			take("flood", w.text)
		}
	}
}

func (s *story) prepare() error {
	if len(s.Steps) == 0 && s.Flood == nil || len(s.Subjects) == 0 && !s.Once {
		return errors.New("a story needs steps and subjects")
	}
	if s.Once && s.Key == "" {
		s.Key = s.Name
	}
	for i, st := range s.Steps {
		if err := st.prepare(s, i); err != nil {
			return fmt.Errorf("step %s: %w", st.ID, err)
		}
	}
	for _, j := range s.Work {
		if err := j.prepare(s); err != nil {
			return fmt.Errorf("job %s: %w", j.ID, err)
		}
	}
	for _, t := range s.Talks {
		if err := t.prepare(s); err != nil {
			return fmt.Errorf("talk %s: %w", t.ID, err)
		}
	}
	if s.Flood != nil {
		if err := s.Flood.prepare(); err != nil {
			return fmt.Errorf("flood: %w", err)
		}
	}
	return s.collect()
}

// collect gathers the draws: a number is the same wherever it is used.
func (s *story) collect() (err error) {
	s.draws = make(map[string]part)
	s.texts(func(where string, list []*template) {
		for _, t := range list {
			for _, p := range t.parts {
				if before, twice := s.draws[p.slot]; twice && p.hi > 0 && before != p {
					err = fmt.Errorf("%s: {%s} has another range elsewhere", where, p.slot)
				}
				if p.hi > 0 {
					s.draws[p.slot] = p
				}
			}
		}
	})
	return err
}

func (st *step) prepare(s *story, index int) (err error) {
	st.story, st.index = s, index
	if st.title, err = parseAll(st.Title); err != nil {
		return fmt.Errorf("title: %w", err)
	}
	if st.text, err = parseAll(st.Text); err != nil {
		return err
	}
	if st.Under == "" {
		st.Under = s.Steps[0].ID
	}
	if len(st.text) == 0 || index == 0 && !st.posts() {
		return errors.New("every step has a text, and the first one a title")
	}
	if under := s.step(st.Under); under == nil || under.index >= index && index > 0 {
		return fmt.Errorf("it stands under %q, which is not an earlier step", st.Under)
	}
	if st.Needs != "" && !slices.ContainsFunc(s.Work, func(j *job) bool { return j.ID == st.Needs }) {
		return fmt.Errorf("there is no job %q", st.Needs)
	}
	return nil
}

func (j *job) prepare(s *story) (err error) {
	j.story = s
	for _, of := range []struct {
		from []string
		to   *[]*template
	}{{j.Title, &j.title}, {j.Text, &j.text}, {j.Progress, &j.progress}, {j.Result, &j.result}} {
		if *of.to, err = parseAll(of.from); err != nil {
			return err
		}
		if len(*of.to) == 0 {
			return errors.New("a job needs title, text, progress and result")
		}
	}
	if s.step(j.After) == nil || j.Until != "" && s.step(j.Until) == nil {
		return errors.New("it comes after, or waits for, a step that there is not")
	}
	return nil
}

func (t *talk) prepare(s *story) (err error) {
	t.story = s
	for _, list := range t.Says {
		parsed, err := parseAll(list)
		if err != nil {
			return err
		}
		t.says = append(t.says, parsed)
	}
	if len(t.says) < 2 || s.step(t.After) == nil {
		return errors.New("a talk has two lines or more and comes after a step")
	}
	return nil
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
