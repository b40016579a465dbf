package audit

import (
	"context"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Filter says which acts on record a question is about: those that every field that is
// set lets through.
type Filter struct {
	Acts    []string `json:"acts,omitempty"`    // names; one that ends in "." means all that begin so
	Kinds   []string `json:"kinds,omitempty"`   // of who acted: agent, operator, observer, system
	Outcome string   `json:"outcome,omitempty"` // done, denied, failed, or refused, which is both of these
	Rule    string   `json:"rule,omitempty"`    // the rule that refused, or the policy that decided
	Actor   act.ID   `json:"actor,omitempty"`   // who acted; they have to be agents or operators
	Target  act.ID   `json:"target,omitempty"`  // what it was aimed at, or made
}

// Inquiry asks a question of the record: a saved one, narrowed by what is given beside.
type Inquiry struct {
	Name     string
	Version  int64 // 0 is the newest
	Narrowed Filter
	From, To int64      // Unix microseconds; from the one on and before the other, 0 without a bound
	Cursor   act.Cursor // of QueryCursor; zero is the first page
	Limit    int        // 1 to MaxAnswers; MaxAnswers if 0
}

// Answer is an act on record, with its number.
type Answer struct {
	Seq int64
	Leaf
}

// Answers is a page of them.
type Answers struct {
	Question Question
	act.Page[Answer]
	Through int64 // number of the last act that was looked at
}

const (
	// QueryCursor is the name of answers in their cursors.
	QueryCursor = "audit.query"
	// MaxAnswers bounds a page of audit.query.
	MaxAnswers = 200

	queryLooks = 20_000 // acts looked at for a page
	skewed     = time.Minute

	qEventsBetween store.Q = `SELECT seq, act, actor, ref, target, outcome, at FROM event WHERE seq > $1 ORDER BY seq LIMIT $2`
	qEventsLast    store.Q = `SELECT seq FROM event WHERE seq > 0 ORDER BY seq DESC LIMIT 1`
)

func (in *Inquiry) check() error {
	if in.Limit == 0 {
		in.Limit = MaxAnswers
	}
	if in.Limit < 1 || in.Limit > MaxAnswers {
		return act.Errorf(act.Invalid, "a page has 1 to %d acts", MaxAnswers).WithRule("limit").WithHint("ask for less and follow next_cursor")
	}
	if in.To != 0 && in.To <= in.From {
		return act.Errorf(act.Invalid, "the range has no time in it").WithRule("query.range").WithHint("to is later than from")
	}
	return in.Narrowed.check()
}

// outcomes are what a filter can say of how acts ended, and what that means.
var outcomes = map[string][]gate.Outcome{
	"":                    {gate.Done, gate.Refused, gate.Failed},
	"refused":             {gate.Refused, gate.Failed},
	gate.Done.String():    {gate.Done},
	gate.Refused.String(): {gate.Refused},
	gate.Failed.String():  {gate.Failed},
}

func (f Filter) check() error {
	if _, known := outcomes[f.Outcome]; !known {
		return act.Errorf(act.Invalid, "no act ends as %.20q", f.Outcome).WithRule("query.outcome").WithHint("outcome is done, denied, failed or refused (denied or failed)")
	}
	for _, kind := range f.Kinds {
		switch kind {
		case act.Agent.String(), act.Operator.String(), act.Observer.String(), act.System.String():
		default:
			return act.Errorf(act.Invalid, "nobody is a %.20q", kind).WithRule("query.kind").WithHint("kinds are agent, operator, observer and system")
		}
	}
	if len(f.Acts) > maxFilterActs || len(f.Rule) > maxFilterText {
		return act.Errorf(act.Invalid, "the question is too long").WithRule("query.long").WithHint("name at most 100 acts, or the part of them up to the point: policy.")
	}
	for _, name := range f.Acts {
		if noun, _, ok := strings.Cut(name, "."); !ok || noun == "" || len(name) > maxFilterText {
			return act.Errorf(act.Invalid, "%.40q names no act", name).WithRule("query.act").WithHint("write policy.activate, or policy. for all acts on policies")
		}
	}
	return nil
}

const (
	maxFilterActs = 100
	maxFilterText = 200
)

// noted is what an event's row says.
type noted struct {
	seq, at            int64
	act                string
	actor, ref, target act.ID
	outcome            gate.Outcome
}

// maybe reports whether the filter lets an act through, as far as its event says.
func (f Filter) maybe(n *noted) bool {
	named := len(f.Acts) == 0
	for _, name := range f.Acts {
		named = named || n.act == name || strings.HasSuffix(name, ".") && strings.HasPrefix(n.act, name)
	}
	ended := false
	for _, o := range outcomes[f.Outcome] {
		ended = ended || n.outcome == o
	}
	return named && ended && (f.Actor == 0 || n.actor == f.Actor) && (f.Target == 0 || n.target == f.Target || n.ref == f.Target)
}

// lets reports whether it lets a leaf through of which maybe has said so.
func (f Filter) lets(l *Leaf) bool {
	kind := len(f.Kinds) == 0
	for _, k := range f.Kinds {
		kind = kind || l.Principal.Kind == k
	}
	return kind && (f.Rule == "" || l.Rule == f.Rule || l.Policy.ID == f.Rule)
}

// ask answers an inquiry: a page of what matches among the next queryLooks acts.
func ask(_ context.Context, v *store.View, in Inquiry) (out Answers, err error) {
	if err := in.check(); err != nil {
		return out, err
	}
	if out.Question, err = questionOf(v, in.Name, in.Version); err != nil {
		return out, err
	}
	last := int64(0)
	if _, err := v.One(qEventsLast, func(r *store.Row) error { last = r.Int(0); return nil }); err != nil {
		return out, err
	}
	after := int64(0)
	if !in.Cursor.IsZero() {
		after = in.Cursor.Keys[0]
	} else if in.From > 0 {
		first, err := firstSince(v, last, in.From-skewed.Microseconds())
		if err != nil {
			return out, err
		}
		after = first - 1
	}
	return out, out.look(v, in, after, last)
}

// look goes through the acts after a number, up to the last.
func (out *Answers) look(v *store.View, in Inquiry, after, last int64) error {
	asked := out.Question.Filter
	out.Through = after
	var found []int64
	over, looked := false, 0
	if err := v.All(qEventsBetween, func(r *store.Row) error {
		n := noted{seq: r.Int(0), act: r.Text(1), actor: r.ID(2), ref: r.ID(3), target: r.ID(4), outcome: gate.Outcome(r.Int(5)), at: r.Int(6)}
		looked++
		if over = over || in.To != 0 && n.at >= in.To+skewed.Microseconds(); over {
			return nil
		}
		if n.at >= in.From && (in.To == 0 || n.at < in.To) && asked.maybe(&n) && in.Narrowed.maybe(&n) {
			found = append(found, n.seq)
		}
		out.Through = n.seq
		return nil
	}, after, int64(queryLooks)); err != nil {
		return err
	}
	for _, seq := range found {
		a := Answer{Seq: seq}
		if _, err := v.One(qLeafNumber, func(r *store.Row) (err error) { a.Leaf, err = Parse(r.Bytes(0)); return err }, seq); err != nil {
			return err
		}
		if !asked.lets(&a.Leaf) || !in.Narrowed.lets(&a.Leaf) {
			continue
		}
		out.Items = append(out.Items, a)
		if len(out.Items) == in.Limit {
			out.Through = seq
			break
		}
	}
	if !over && out.Through < last && (looked == queryLooks || len(out.Items) == in.Limit) {
		out.Next = act.Cursor{List: QueryCursor, Keys: []int64{out.Through}}
	}
	return nil
}

// firstSince finds the first number that may be of an act at or after a time, up to size.
func firstSince(v *store.View, size, since int64) (int64, error) {
	first, after := int64(1), size
	for first < after {
		middle := first + (after-first)/2
		var at int64
		if _, err := v.One(qEventAt, func(r *store.Row) error { at = r.Int(0); return nil }, middle); err != nil {
			return 0, err
		}
		if at < since {
			first = middle + 1
		} else {
			after = middle
		}
	}
	return first, nil
}
