package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/lifecycle/conduct"
	"github.com/reefwarden/reefwarden/internal/store"
)

// One node follows the record and counts what agents of classes with rules do: no act
// waits for it, and it costs what the acts are many. What it has counted is in its memory
// alone. A node that takes over reads the longest window again, at most watchBack numbers
// of the record; what was done about it stands in the tables and is not done twice.
const (
	watchPage = 1000
	watchBack = 200_000

	watchBehind = 5 * time.Second // whoever is further behind only reads, until it is not
)

// watch is how far this node has followed the record, and what it has counted.
type watch struct {
	mu      sync.Mutex        // one pass at a time
	seq     int64             // guarded by mu: the last number taken in
	began   bool              // guarded by mu
	conduct *conduct.Watcher  // guarded by mu
	due     []conduct.Finding // guarded by mu: what is to be done yet
	warned  map[warning]int   // guarded by mu: the percentages that were said
}

// warning is a part of an agent's budget.
type warning struct {
	agent act.ID
	kind  string
}

// answer is whom a comment or a message answers, and where.
type answer struct{ thread, whom act.ID }

// look is one page of the record with what the rules need beside it.
type look struct {
	events  []store.NumberedEvent
	refused map[int64]conduct.Event
	answers map[act.ID]answer
	budgets map[act.ID][]Budget
}

// Watch follows the record and does what the rules of classes say of what it finds, and
// tells of quotas that are nearly used up. The
// server calls it on one node at a time; two at once do nothing twice.
func (l *Lifecycle) Watch(ctx context.Context) error {
	if err := l.warnQuotas(ctx); err != nil {
		return err
	}
	w := &l.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		var page look
		if err := l.db.View(ctx, func(v *store.View) (err error) { page, err = l.lookOn(v); return err }); err != nil {
			return fmt.Errorf("lifecycle: follow the record: %w", err)
		}
		for _, e := range page.events {
			l.takeIn(e, &page)
			w.seq = e.Seq
		}
		w.due = append(w.due, w.conduct.Found()...)
		l.weighBudgets(&page)
		now := act.Micros(l.db.Clock()())
		if n := len(page.events); n == watchPage && page.events[n-1].At < now-watchBehind.Microseconds() {
			continue // what comes next may say that somebody has let the agent go on
		}
		if err := l.respondAll(ctx, now); err != nil || len(page.events) < watchPage {
			return err
		}
	}
}

// respondAll does what is due. What was found longer ago than its rule looks is no news:
// another node has dealt with it. The caller holds mu.
func (l *Lifecycle) respondAll(ctx context.Context, now int64) error {
	w := &l.watch
	for len(w.due) > 0 {
		if f := w.due[0]; f.At == 0 || f.At+f.Quiet.Microseconds() >= now {
			if err := l.respond(ctx, f); err != nil {
				return err
			}
		}
		w.due = w.due[1:]
	}
	return nil
}

// respond does what a rule says. Who is stopped already is not stopped again.
func (l *Lifecycle) respond(ctx context.Context, f conduct.Finding) error {
	do := l.arrest
	if f.Does == charter.Alert {
		do = l.alert
	} else if state, _ := l.rowStanding(f.Agent); state != act.Active {
		return nil
	}
	_, err := do.Do(ctx, act.SystemPrincipal(reaper), f)
	return mended(err)
}

// subject is an agent with the rules of its class; watched is false where there is nothing
// to look at.
func (l *Lifecycle) subject(agent act.ID) (s conduct.Subject, watched bool) {
	if agent.Kind() != act.KindAgent {
		return s, false
	}
	b := l.bondOf(agent)
	if b == nil || b.class == 0 {
		return s, false
	}
	c := l.charters.Load().classes[b.class]
	if c == nil {
		return s, false
	}
	return conduct.Subject{Agent: agent, Class: c.ID, Health: c.Document.Health}, c.Document.Health != charter.Health{}
}

// watches reports what the classes in use have looked at: the longest window of a rule,
// whether any caps turns, and whether any has a budget.
func (c *charters) watches() (longest time.Duration, turns, budgets bool) {
	for _, one := range c.classes {
		longest = max(longest, one.Document.Health.Longest())
		turns = turns || one.Document.Health.Turns != nil
		budgets = budgets || one.Document.Grant.Budget != charter.Budget{}
	}
	return longest, turns, budgets
}

// bounded reports whether an agent has a budget.
func (l *Lifecycle) bounded(agent act.ID) bool {
	if agent.Kind() != act.KindAgent {
		return false
	}
	b := l.bondOf(agent)
	return b != nil && b.terms != nil && b.terms.grant.Budget != charter.Budget{}
}

// lookOn reads the next page of the record.
func (l *Lifecycle) lookOn(v *store.View) (page look, err error) {
	w := &l.watch
	longest, turns, bounded := l.charters.Load().watches()
	if !w.began || longest == 0 && !bounded {
		if w.seq, err = l.watchFrom(v, longest); err != nil {
			return page, err
		}
		w.conduct, w.warned, w.began = conduct.New(l.Name), make(map[warning]int), true
	}
	page = look{refused: make(map[int64]conduct.Event), answers: make(map[act.ID]answer), budgets: make(map[act.ID][]Budget)}
	if page.events, err = v.EventsAfter(w.seq, watchPage); err != nil || len(page.events) == 0 {
		return page, err
	}
	var first, last int64
	for _, e := range page.events {
		_, watched := l.subject(e.Actor)
		switch {
		case gate.Outcome(e.Outcome) != gate.Done && watched:
			if first == 0 {
				first = e.Seq
			}
			last = e.Seq
		case gate.Outcome(e.Outcome) == gate.Done && turns && (e.Ref.ID.Kind() == act.KindComment || e.Ref.ID.Kind() == act.KindMessage) && l.cfg.Answers != nil:
			var a answer
			if a.thread, a.whom, err = l.cfg.Answers(v, e.Ref.ID); err != nil {
				return page, err
			}
			page.answers[e.Ref.ID] = a
		}
		if _, known := page.budgets[e.Actor]; bounded && !known && l.bounded(e.Actor) {
			if page.budgets[e.Actor], err = budgets(v, e.Actor); err != nil {
				return page, err
			}
		}
	}
	if first == 0 || l.cfg.Refusals == nil {
		return page, nil
	}
	err = l.cfg.Refusals(v, first-1, last, func(seq int64, rule string, count int64) {
		page.refused[seq] = conduct.Event{Rule: rule, Count: count}
	})
	return page, err
}

// watchFrom is where in the record the longest window begins.
func (l *Lifecycle) watchFrom(v *store.View, longest time.Duration) (seq int64, err error) {
	last, err := v.LastSequence()
	if err != nil || longest == 0 {
		return last, err
	}
	since := act.Micros(l.db.Clock()().Add(-longest))
	low, high := max(0, last-watchBack), last
	for low < high { // times grow with the numbers, but for what came in at once
		middle := (low + high) / 2
		next, err := v.EventsAfter(middle, 1)
		if err != nil {
			return 0, err
		}
		if len(next) == 0 || next[0].At >= since {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, nil
}

// freed are the acts after which an agent begins anew.
var freed = []string{"agent.resume", "agent.release", "agent.appeal"}

// takeIn counts one event. The caller holds mu.
func (l *Lifecycle) takeIn(e store.NumberedEvent, page *look) {
	w := &l.watch
	done := gate.Outcome(e.Outcome) == gate.Done
	if done && e.Ref.ID.Kind() == act.KindAgent && slices.Contains(freed, e.Act) {
		w.conduct.Forget(e.Ref.ID, e.At)
		w.due = slices.DeleteFunc(w.due, func(f conduct.Finding) bool { return f.Agent == e.Ref.ID })
		return
	}
	if s, watched := l.subject(e.Actor); watched {
		one := conduct.Event{Count: 1}
		if !done {
			one = page.refused[e.Seq]
			one.Outcome = conduct.Failed
			if gate.Outcome(e.Outcome) == gate.Refused {
				one.Outcome = conduct.Refused
			}
		}
		one.Seq, one.At, one.Act = e.Seq, e.At, e.Act
		if one.Count > 0 {
			w.conduct.Did(s, one)
		}
	}
	a := page.answers[e.Ref.ID]
	if !done || a.whom == 0 {
		return
	}
	if s, watched := l.subject(e.Actor); watched {
		w.conduct.Answered(s, a.whom, a.thread, e.Actor, e.Seq, e.At)
	}
	if s, watched := l.subject(a.whom); watched && a.whom != e.Actor {
		w.conduct.Answered(s, e.Actor, a.thread, e.Actor, e.Seq, e.At)
	}
}

// weighBudgets looks at what those who acted have used up: how fast, and whether so much
// that somebody is told before it is all. The caller holds mu.
func (l *Lifecycle) weighBudgets(page *look) {
	w := &l.watch
	if len(w.warned) > watchBack {
		clear(w.warned) // the table knows what was said
	}
	for agent, list := range page.budgets {
		b := l.bondOf(agent)
		if b == nil || len(page.events) == 0 {
			continue
		}
		c := l.charters.Load().classes[b.class]
		if c == nil {
			continue
		}
		last := page.events[len(page.events)-1]
		s, watched := l.subject(agent)
		for _, one := range list {
			if watched {
				w.conduct.Spent(s, one.Kind, one.Used, one.Granted, last.Seq, last.At)
			}
			level := 0
			for _, percent := range c.Document.Warnings() {
				if one.Granted > 0 && (one.Used+one.Carved)*100 >= one.Granted*int64(percent) {
					level = percent
				}
			}
			if at := (warning{agent, one.Kind}); level > w.warned[at] {
				w.warned[at] = level
				w.due = append(w.due, conduct.Finding{
					Agent: agent, Rule: fmt.Sprintf("budget.%s.%d", one.Kind, level), Does: charter.Alert,
					Evidence: fmt.Sprintf("%d of %d %s are used up or given to children; it is stopped when nothing is left", one.Used+one.Carved, one.Granted, one.Kind),
				})
			}
		}
	}
	w.due = append(w.due, w.conduct.Found()...)
}
