package conduct

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
)

// Subject is an agent with the version of its class and what that says.
type Subject struct {
	Agent  act.ID
	Class  act.ID
	Health charter.Health
}

// Outcome is how an act ended.
type Outcome uint8

// The outcomes.
const (
	Done Outcome = iota
	Refused
	Failed
)

// Event is something that an agent did, as the record has it.
type Event struct {
	Seq     int64 // in the record
	At      int64 // Unix microseconds
	Act     string
	Outcome Outcome
	Rule    string // that refused it; "" else
	Count   int64  // how many alike it stands for
}

// stamp is the number and the time of what shows that a rule is broken.
type stamp struct{ seq, at int64 }

func (e Event) stamp() stamp { return stamp{e.Seq, e.At} }

// Finding is a rule that an agent has broken, and by what.
type Finding struct {
	Agent    act.ID
	Rule     string // "health.turns"
	Does     charter.Response
	Evidence string
	Quiet    time.Duration // an alert is not said again for so long
	At       int64         // of what shows it, Unix microseconds; 0 for what is so now
}

// The rules' names.
const (
	RuleErrors    = "health.errors"
	RuleDenials   = "health.denials"
	RuleBurn      = "health.burn"
	RuleTurns     = "health.turns"
	RuleDeviation = "health.deviation"
)

// mark says what of an agent is counted.
type mark struct {
	rule   string // of the rules' names
	name   string // an act, a rule that refuses, a part of a budget; total or faults
	other  act.ID // of a turn
	thread act.ID
}

const (
	total  = "" // everything that a share is of
	faults = "!"

	maxMarks = 256 // of one agent; what is counted least gives way

	// rare is what an act of others counts as if it is less than one of so many.
	rare = 100

	// idle is for how long nothing has to be counted of an agent before it is given up.
	idle = int64(charter.MaxWindow / time.Microsecond)
)

// subject is what is kept of one agent.
type subject struct {
	class act.ID
	marks map[mark]*tally
	since int64            // what was before does not count, Unix microseconds
	last  int64            // when something was counted last, Unix microseconds
	used  map[string]int64 // of each part of its budget, when it was last looked at
	quiet map[string]int64 // until when a rule that has spoken says nothing, Unix microseconds
}

func newSubject(class act.ID) *subject {
	return &subject{class: class, marks: make(map[mark]*tally), used: make(map[string]int64), quiet: make(map[string]int64)}
}

// Watcher counts. It is not for concurrent use.
type Watcher struct {
	subjects map[act.ID]*subject
	profiles map[act.ID]*subject // of versions of classes: what their agents do
	found    []Finding
	names    func(act.ID) string
	swept    int64
}

// New returns a watcher that calls agents by what names says.
func New(names func(act.ID) string) *Watcher {
	return &Watcher{subjects: make(map[act.ID]*subject), profiles: make(map[act.ID]*subject), names: names}
}

// Len is how many agents something is kept of.
func (w *Watcher) Len() int { return len(w.subjects) }

// Found returns what was found since it was last asked.
func (w *Watcher) Found() []Finding {
	list := w.found
	w.found = nil
	return list
}

// Forget begins anew with an agent: what it did up to a time does not count any more, nor
// does what was found by that.
func (w *Watcher) Forget(agent act.ID, at int64) {
	anew := newSubject(0)
	if of := w.subjects[agent]; of != nil {
		w.withdraw(of)
		anew.class = of.class
	}
	anew.since, anew.last = at, at
	w.subjects[agent] = anew
	kept := w.found[:0]
	for _, f := range w.found {
		if f.Agent != agent {
			kept = append(kept, f)
		}
	}
	w.found = kept
}

// withdraw takes what an agent did out of the profile of its version, so that what it was
// stopped for is never what others do.
func (w *Watcher) withdraw(of *subject) {
	profile := w.profiles[of.class]
	if profile == nil {
		return
	}
	for m, t := range of.marks {
		if m.rule == RuleDeviation && profile.marks[m] != nil {
			profile.marks[m].take(t)
		}
	}
}

// unfit are refusals that are no fault of the agent's: it, its line or the place is stopped.
var unfit = []string{"standing.", "place.", "lease.", "fence.", "halt.", "quota."}

// Blameless reports whether a refusal by a rule is no fault of the agent's.
func Blameless(rule string) bool {
	return slices.ContainsFunc(unfit, func(prefix string) bool { return strings.HasPrefix(rule, prefix) })
}

// Did counts an act.
func (w *Watcher) Did(s Subject, e Event) {
	if e.Outcome != Done && Blameless(e.Rule) {
		return
	}
	of := w.of(s, e.At)
	if of == nil {
		return
	}
	if r := s.Health.Errors; r != nil {
		turn := turnOf(e.At, r.Window)
		of.count(mark{rule: RuleErrors, name: total}, turn, e.Count, e.Seq)
		if e.Outcome != Done {
			of.count(mark{rule: RuleErrors, name: faults}, turn, e.Count, e.Seq)
			all, _ := of.marks[mark{rule: RuleErrors, name: total}].sum(turn)
			bad, first := of.marks[mark{rule: RuleErrors, name: faults}].sum(turn)
			if all >= r.Enough() && bad*100 >= all*r.Limit {
				w.find(s, RuleErrors, r, fmt.Sprintf("%d of %d acts were refused or failed", bad, all), first, e.stamp())
			}
		}
	}
	if r := s.Health.Denials; r != nil && e.Outcome == Refused {
		turn, m := turnOf(e.At, r.Window), mark{rule: RuleDenials, name: e.Rule}
		if n, first := of.count(m, turn, e.Count, e.Seq); n >= r.Limit {
			w.find(s, RuleDenials, r, fmt.Sprintf("%s refused it %d times", e.Rule, n), first, e.stamp())
		}
	}
	if r := s.Health.Deviation; r != nil && e.Outcome == Done {
		w.deviates(s, of, r, e)
	}
}

// deviates counts a change and compares what an agent does with what the others of its
// version do: which share of its changes is of a kind that is rare among theirs.
func (w *Watcher) deviates(s Subject, of *subject, r *charter.Rule, e Event) {
	turn := turnOf(e.At, r.Window)
	profile := w.profiles[s.Class]
	if profile == nil {
		profile = newSubject(s.Class)
		w.profiles[s.Class] = profile
	}
	profile.last = max(profile.last, e.At)
	for _, name := range []string{total, e.Act} {
		of.count(mark{rule: RuleDeviation, name: name}, turn, e.Count, e.Seq)
		profile.count(mark{rule: RuleDeviation, name: name}, turn, e.Count, e.Seq)
	}
	own, first := of.marks[mark{rule: RuleDeviation}].sum(turn)
	all, _ := profile.marks[mark{rule: RuleDeviation}].sum(turn)
	others := all - own
	if own < r.Enough() || others < r.Enough() {
		return
	}
	var strange, most int64
	var what string
	for m, t := range of.marks {
		if m.rule != RuleDeviation || m.name == total {
			continue
		}
		n, _ := t.sum(turn)
		theirs, _ := profile.marks[m].sum(turn)
		if theirs -= n; theirs*rare < others {
			strange += n
			if n > most || n == most && m.name < what {
				most, what = n, m.name
			}
		}
	}
	if strange*100 >= own*r.Limit && strange > 0 {
		w.find(s, RuleDeviation, r, fmt.Sprintf("%d of its %d changes, %s most of all, are of a kind that is less than one in %d among the %d of others of its version", strange, own, what, rare, others), first, e.stamp())
	}
}

// Answered counts that by, who is the agent or the other one, has answered the other of
// them (or itself) in a thread. It counts as a turn where the other one spoke before.
func (w *Watcher) Answered(s Subject, other, thread, by act.ID, seq, at int64) {
	r := s.Health.Turns
	of := w.of(s, at)
	if r == nil || of == nil {
		return
	}
	m, turn := mark{rule: RuleTurns, other: other, thread: thread}, turnOf(at, r.Window)
	if t := of.marks[m]; t != nil && t.last == by && other != s.Agent {
		return
	}
	n, first := of.count(m, turn, 1, seq)
	of.marks[m].last = by
	if n < r.Limit {
		return
	}
	with := "with " + w.names(other)
	if other == s.Agent {
		with = "with itself"
	}
	w.find(s, RuleTurns, r, fmt.Sprintf("%d turns %s in one thread", n, with), first, stamp{seq, at})
}

// Spent takes in what of a part of its budget an agent has used by now.
func (w *Watcher) Spent(s Subject, kind string, used, granted, seq, at int64) {
	r := s.Health.Burn
	of := w.of(s, at)
	if r == nil || of == nil || granted <= 0 {
		return
	}
	before, known := of.used[kind]
	of.used[kind] = used
	if !known || used <= before {
		return
	}
	turn := turnOf(at, r.Window)
	if n, first := of.count(mark{rule: RuleBurn, name: kind}, turn, used-before, seq); n*100 >= granted*r.Limit {
		w.find(s, RuleBurn, r, fmt.Sprintf("%d of its %d %s were used up", n, granted, kind), first, stamp{seq, at})
	}
}

// of returns what is kept of an agent, nil if what happened at a time does not count.
func (w *Watcher) of(s Subject, at int64) *subject {
	w.sweep(at)
	of := w.subjects[s.Agent]
	if of == nil {
		of = newSubject(s.Class)
		w.subjects[s.Agent] = of
	}
	if of.class != s.Class { // it is bound to another version, whose agents do other things
		w.withdraw(of)
		*of = subject{class: s.Class, marks: make(map[mark]*tally), since: of.since, used: of.used, quiet: of.quiet}
	}
	if at < of.since {
		return nil
	}
	of.last = max(of.last, at)
	return of
}

// sweep gives up whom nothing was counted of for as long as a window can be. It looks
// once in a hundredth of that, so that it costs an event next to nothing.
func (w *Watcher) sweep(now int64) {
	if now-w.swept < idle/100 {
		return
	}
	w.swept = now
	for _, all := range []map[act.ID]*subject{w.subjects, w.profiles} {
		for id, of := range all {
			if of.last < now-idle {
				delete(all, id)
			}
		}
	}
}

// count adds to a mark and returns what it comes to.
func (of *subject) count(m mark, turn, n, seq int64) (sum, first int64) {
	t := of.marks[m]
	if t == nil {
		if len(of.marks) >= maxMarks {
			of.makeRoom()
		}
		t = &tally{}
		of.marks[m] = t
	}
	t.add(turn, n, seq)
	return t.sum(turn)
}

// makeRoom gives up the mark that is counted least: an agent that talks in very many
// threads is in no loop in those.
func (of *subject) makeRoom() {
	var least mark
	fewest := int64(-1)
	for m, t := range of.marks {
		if m.name == total && m.rule != RuleTurns {
			continue
		}
		if n, _ := t.sum(t.newest()); fewest < 0 || n < fewest {
			least, fewest = m, n
		}
	}
	delete(of.marks, least)
}

// find puts a finding down, and says it once in a window.
func (w *Watcher) find(s Subject, rule string, r *charter.Rule, what string, first int64, by stamp) {
	window, of := time.Duration(r.Window), w.subjects[s.Agent]
	if by.at < of.quiet[rule] {
		return
	}
	of.quiet[rule] = by.at + window.Microseconds()
	w.found = append(w.found, Finding{
		Agent: s.Agent, Rule: rule, Does: r.Does, Quiet: window, At: by.at,
		Evidence: fmt.Sprintf("%s within %s (numbers %d to %d of the record)", what, brief(window), first, by.seq),
	})
}

// brief writes a time without its empty parts: "10m", not "10m0s".
func brief(d time.Duration) string {
	text := d.String()
	for _, empty := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, empty) {
			text = text[:len(text)-2]
		}
	}
	return text
}
