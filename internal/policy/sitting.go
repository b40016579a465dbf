package policy

import (
	"fmt"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// sitting decides what one principal asks by one act, all under one bundle; see gate.Sitting.
type sitting struct {
	e      *Engine
	s      *snapshot
	act    *table
	by     *asker
	at     meeting
	closed *gate.Decision // what everything comes to, without a bundle or an act; else nil
}

// sit makes the sitting t, which is zero.
func (e *Engine) sit(t *sitting, p *act.Principal, name string) {
	t.e, t.s = e, e.current.Load()
	if t.s == nil {
		t.closed = &gate.Decision{Policy: noBundle, Hint: "This network has no valid policy at the moment, so it allows nothing. Retry later; your credential is fine."}
		return
	}
	if t.act = e.acts[name]; t.act == nil {
		t.closed = &gate.Decision{Policy: DefaultDeny, Bundle: t.s.version, Hint: "No policy knows the act " + name + "."}
		return
	}
	defer t.rescue(&t.closed)
	t.at = meeting{version: t.s.version, beside: e.beside.Load()}
	if e.keeper != nil {
		t.at.hour = act.Micros(e.clock()) / hourMicros
	}
	var a asker
	e.asked(&a, p)
	t.by = e.front.asker(&a)
}

// Decide implements gate.Sitting. It never fails: what cannot be decided is denied.
func (t *sitting) Decide(on gate.Facts) (d *gate.Decision) {
	if t.closed != nil {
		return t.closed
	}
	defer t.rescue(&d)
	return t.answer(t.about(on))
}

// rescue makes a denial of a panic; it is deferred.
func (t *sitting) rescue(d **gate.Decision) {
	if r := recover(); r != nil {
		t.e.log.Error("policy evaluator panicked", "act", t.act.name, "bundle", t.s.version, "panic", fmt.Sprint(r))
		*d = &gate.Decision{Policy: panicked, Bundle: t.s.version, Hint: "The policy could not be evaluated, so this is refused. Tell an operator."}
	}
}

// about is a question about a thing.
func (t *sitting) about(on gate.Facts) inquest {
	q := inquest{by: t.by, act: t.act, on: on}
	t.s.fold(t.act, &q.on)
	if q.on.Author != 0 {
		q.author = t.e.front.asker(&asker{kind: act.Agent, who: q.on.Author, facts: t.e.directory.Facts(q.on.Author)})
	}
	return q
}

// keyOf makes the key of a question under the bundle in force; ok is false where it has none.
func (e *Engine) keyOf(p act.Principal, q gate.Question) (k key, ok bool) {
	var t sitting
	if e.sit(&t, &p, q.Act); t.closed != nil {
		return k, false
	}
	asked := t.about(q.Resource)
	x := asked.sample()
	return e.keyNow(t.s, &x)
}

// answer answers from what was met before, or decides, and counts it.
func (t *sitting) answer(q inquest) *gate.Decision {
	places := t.e.front.places(t.s, t.at.beside, &q)
	for i := range places {
		if m := places[i].Load(); m != nil && m.meeting == t.at && m.inquest == q && m.n.more() {
			return m.answer
		}
	}
	x := q.sample()
	found := t.e.decided(t.s, &x)
	if places == nil && t.e.keeper == nil {
		return found
	}
	m := &met{meeting: t.at, inquest: q, answer: found}
	if t.e.keeper != nil {
		m.n = t.e.keeper.note(t.e, m, &x)
	}
	if places != nil {
		t.free(places).Store(m)
	}
	return found
}

// free is the place that something new takes: one that holds nothing of now, or the last.
func (t *sitting) free(places []atomic.Pointer[met]) *atomic.Pointer[met] {
	last := len(places) - 1
	for i := range places[:last] {
		if m := places[i].Load(); m == nil || m.meeting != t.at {
			return &places[i]
		}
	}
	return &places[last]
}
