package conduct

import (
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
)

const second = int64(time.Second / time.Microsecond)

func rule(limit int64, window time.Duration, does charter.Response) *charter.Rule {
	return &charter.Rule{Limit: limit, Window: charter.Duration(window), Does: does}
}

func watcher() *Watcher { return New(func(id act.ID) string { return "agent" + string(rune('a'+id)) }) }

// only fails unless exactly one thing was found, by a rule about an agent.
func only(t *testing.T, w *Watcher, rule string, agent act.ID) Finding {
	t.Helper()
	list := w.Found()
	if len(list) != 1 || list[0].Rule != rule || list[0].Agent != agent {
		t.Fatalf("found %+v, want one %s about %d", list, rule, agent)
	}
	return list[0]
}

// T39: two that always answer each other, and one that answers itself, are found at the
// cap; one that speaks alone, and two that do so in many threads, are not.
func TestT39_TurnsAreCapped(t *testing.T) {
	w := watcher()
	h := charter.Health{Turns: rule(10, 10*time.Minute, charter.Pause)}
	one, two := Subject{1, 9, h}, Subject{2, 9, h}
	seq := int64(0)
	said := func(by, to Subject, thread act.ID) {
		seq++
		w.Answered(by, to.Agent, thread, by.Agent, seq, seq*second)
		if by.Agent != to.Agent {
			w.Answered(to, by.Agent, thread, by.Agent, seq, seq*second)
		}
	}
	for range 30 {
		said(one, two, 100) // a monologue
	}
	for i := range 30 {
		said(one, two, act.ID(200+i))
		said(two, one, act.ID(200+i))
	}
	if list := w.Found(); len(list) != 0 {
		t.Fatalf("found %+v", list)
	}
	for i := range 10 {
		if list := w.Found(); len(list) != 0 {
			t.Fatalf("after %d turns found %+v", i, list)
		}
		if i%2 == 0 {
			said(one, two, 300)
		} else {
			said(two, one, 300)
		}
	}
	list := w.Found()
	if len(list) != 2 || !strings.HasPrefix(list[0].Evidence+list[1].Evidence, "10 turns with agent") {
		t.Fatalf("at the cap found %+v", list)
	}
	for range 9 {
		said(one, one, 400)
	}
	if list := w.Found(); len(list) != 0 {
		t.Fatalf("found %+v", list)
	}
	w.Forget(1, seq*second)
	for range 10 {
		said(one, one, 400)
	}
	if f := only(t, w, RuleTurns, 1); !strings.HasPrefix(f.Evidence, "10 turns with itself in one thread within 10m (numbers ") {
		t.Errorf("evidence %q", f.Evidence)
	}
}

// Errors, denials and burn count within their windows, and not what is no fault of the
// agent's.
func TestRulesCountInWindows(t *testing.T) {
	w := watcher()
	s := Subject{1, 9, charter.Health{
		Errors:  &charter.Rule{Limit: 50, Window: charter.Duration(time.Minute), Least: 10, Does: charter.Alert},
		Denials: rule(5, time.Minute, charter.Quarantine), Burn: rule(30, time.Hour, charter.Terminate),
	}}
	refused := func(at int64, by string, n int64) {
		w.Did(s, Event{Seq: at, At: at * second, Act: "post.create", Outcome: Refused, Rule: by, Count: n})
	}
	for at := int64(1); at <= 20; at++ {
		refused(at, "standing.paused", 1)
	}
	for at := int64(100); at < 500; at += 20 { // five in a hundred seconds
		refused(at, "members-post", 1)
		w.Did(s, Event{Seq: at, At: at * second, Act: "vote.cast", Count: 2})
	}
	if list := w.Found(); len(list) != 0 {
		t.Fatalf("found %+v", list)
	}
	refused(600, "members-post", 4)
	refused(601, "others-post", 1)
	refused(602, "members-post", 1)
	if f := only(t, w, RuleDenials, 1); f.Does != charter.Quarantine || f.Evidence != "members-post refused it 5 times within 1m (numbers 600 to 602 of the record)" {
		t.Errorf("%+v", f)
	}
	for at := int64(610); at < 615; at++ {
		w.Did(s, Event{Seq: at, At: at * second, Act: "post.create", Outcome: Failed, Rule: "title", Count: 1})
	}
	if f := only(t, w, RuleErrors, 1); f.Evidence != "10 of 10 acts were refused or failed within 1m (numbers 600 to 613 of the record)" {
		t.Errorf("%+v", f)
	}
	w.Spent(s, "tokens", 500, 1000, 620, 620*second) // what was used before is not known
	w.Spent(s, "tokens", 799, 1000, 621, 621*second)
	w.Spent(s, "tokens", 700, 1000, 622, 622*second) // given back
	if list := w.Found(); len(list) != 0 {
		t.Fatalf("found %+v", list)
	}
	w.Spent(s, "tokens", 701, 1000, 623, 623*second)
	if f := only(t, w, RuleBurn, 1); f.Evidence != "300 of its 1000 tokens were used up within 1h (numbers 621 to 623 of the record)" {
		t.Errorf("%+v", f)
	}
}

// An agent that does what nobody else of its version does is found, and what it was
// stopped for does not become what others do.
func TestDeviationFromTheProfile(t *testing.T) {
	w := watcher()
	h := charter.Health{Deviation: &charter.Rule{Limit: 50, Window: charter.Duration(time.Hour), Least: 10, Does: charter.Pause}}
	seq := int64(0)
	did := func(agent act.ID, name string) {
		seq++
		w.Did(Subject{agent, 9, h}, Event{Seq: seq, At: seq * second, Act: name, Count: 1})
	}
	stray := func() Finding {
		for range 5 {
			did(1, "vote.cast")
		}
		for range 20 {
			did(1, "post.create")
		}
		return only(t, w, RuleDeviation, 1)
	}
	for range 50 {
		did(2, "vote.cast")
		did(3, "vote.cast")
	}
	if f := stray(); !strings.HasPrefix(f.Evidence, "5 of its 10 changes, post.create most of all, are of a kind that is less than one in 100 among the 100 of others of its version within 1h") {
		t.Errorf("evidence %q", f.Evidence)
	}
	w.Forget(1, seq*second)
	stray()
}

// What is kept of an agent is bounded, and goes when nothing happens.
func TestKeptIsBounded(t *testing.T) {
	w := watcher()
	h := charter.Health{Turns: rule(10, time.Minute, charter.Pause), Denials: rule(5, time.Minute, charter.Alert)}
	for i := range int64(5000) {
		w.Answered(Subject{1, 9, h}, 2, act.ID(i+1), 1, i, i*second)
	}
	if n := len(w.subjects[1].marks); n > maxMarks {
		t.Errorf("%d marks are kept", n)
	}
	later := 5000*second + idle + second
	w.Did(Subject{2, 9, h}, Event{Seq: 9999, At: later, Act: "post.create", Outcome: Refused, Rule: "x", Count: 1})
	if w.Len() != 1 {
		t.Errorf("something is kept of %d agents", w.Len())
	}
}
