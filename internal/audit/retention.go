package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// For how long rows are kept that go for their age is a setting of each node, until operators
// say otherwise for all of them. Who drops asks in the transaction that drops, so that what
// is said holds everywhere at once. What makes a time shorter holds after RetentionGrace
// only: until then somebody can say otherwise, or place a hold, and nothing is lost.

// RetentionGrace is how long after its act a shorter time comes into force.
const RetentionGrace = 7 * 24 * time.Hour

const oneDay = 24 * time.Hour

// Term is what is kept for the same time.
type Term struct {
	Name    store.Term
	What    string        // is kept
	Setting time.Duration // of this node, without an act
	Least   int64         // days that an act may say
	Most    int64
	Why     string // it may not be less, or more
	Past    []Past
}

// Past counts the rows of a table that a term dates.
type Past struct {
	Table string
	Count store.Q // how many are of before the time $1, as far as $2
}

// TermOrder says for how many days what a term names is kept. Without days it is for as long
// as the settings say again.
type TermOrder struct {
	Term   string // its name
	Days   int64  // of retention.set
	Reason string // goes on record
}

// Retained is for how long what a term names is kept.
type Retained struct {
	Term
	Days    int64             // in force
	Said    int64             // days that were said last; 0 is what the settings say
	From    int64             // when those come into force, if they are not yet; Unix microseconds
	Changes []RetentionChange // the newest first, MaxRetentionChanges at most
}

// RetentionChange is one act that said it.
type RetentionChange struct {
	N      int64
	Days   int64 // 0 is what the settings say
	Was    int64 // in force until From
	From   int64 // Unix microseconds
	Reason string
	By     act.ID
	At     int64
}

// MaxRetentionChanges bounds the changes that are listed of a term; the record has all.
const MaxRetentionChanges = 20

// Retention are the acts on how long is kept what is dropped for its age.
type Retention struct {
	SetRetention   *gate.WriteAct[TermOrder, Retained]
	ResetRetention *gate.WriteAct[TermOrder, Retained]
	ListRetention  *gate.ReadAct[struct{}, []Retained]

	terms []Term
	clock act.Clock
	drops func(v *store.View, before int64) (int64, error) // store.DB.Droppable
}

const (
	retentionColumns = `n, days, was, from_at, reason, made_by, made_at`

	qRetentionNow  store.Q = `SELECT days, was, from_at FROM retention WHERE term = $1 ORDER BY n DESC LIMIT 1`
	qRetentionList store.Q = `SELECT ` + retentionColumns + ` FROM retention WHERE term = $1 ORDER BY n DESC LIMIT $2`
	qRetentionTerm store.Q = `SELECT term FROM retention WHERE n = $1`
	qRetentionLast store.Q = `SELECT n FROM retention WHERE n > 0 ORDER BY n DESC LIMIT 1`
	qRetentionAdd  store.Q = `INSERT INTO retention (term, ` + retentionColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
)

// KeptNow is for how many days operators say at a time (Unix microseconds) that what a term
// names is kept, and since when they have said it; days is 0 where the settings say it.
func KeptNow(v *store.View, term store.Term, now int64) (days, since int64, err error) {
	_, err = v.One(qRetentionNow, func(r *store.Row) error {
		if days, since = r.Int(0), r.Int(2); since > now {
			days, since = r.Int(1), 0
		}
		return nil
	}, string(term))
	return days, since, err
}

// keptFor is KeptNow as store.DB.Retain asks it.
func keptFor(v *store.View, term store.Term, now int64) (keep time.Duration, said bool, err error) {
	days, _, err := KeptNow(v, term, now)
	return time.Duration(days) * oneDay, days > 0, err
}

func newRetention(c ActsConfig) *Retention {
	r := &Retention{terms: c.Terms, clock: c.DB.Clock(), drops: c.DB.Droppable}
	resolve := func(needs func(*store.View, TermOrder) error) func(context.Context, *store.View, act.Principal, TermOrder) (gate.Resource, error) {
		return func(_ context.Context, v *store.View, _ act.Principal, in TermOrder) (gate.Resource, error) {
			err := c.Reason(in.Reason)
			if err == nil {
				err = needs(v, in)
			}
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, err
		}
	}
	again := func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (out Retained, err error) {
		var name string
		if _, err := v.One(qRetentionTerm, func(r *store.Row) error { name = r.Text(0); return nil }, made.Version); err != nil {
			return out, err
		}
		return r.named(v, name, act.Micros(r.clock()))
	}
	r.SetRetention = gate.RegisterWrite(c.Gate, gate.Write[TermOrder, Retained]{
		Info: gate.Info{Name: "retention.set", Doc: "Say for how many days what a term names is kept, on all nodes and in place of the settings; a shorter time holds after seven days.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: resolve(func(_ *store.View, in TermOrder) error {
			return r.CheckRetention(in.Term, in.Days)
		}),
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in TermOrder) (Retained, gate.Effects, error) {
			return r.change(tx, p, in)
		},
		Replay: again,
	})
	r.ResetRetention = gate.RegisterWrite(c.Gate, gate.Write[TermOrder, Retained]{
		Info: gate.Info{Name: "retention.reset", Doc: "Keep what a term names for as long as the settings say again; a shorter time holds after seven days.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: resolve(func(v *store.View, in TermOrder) error {
			_, err := r.named(v, in.Term, act.Micros(r.clock()))
			return err
		}),
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in TermOrder) (Retained, gate.Effects, error) {
			in.Days = 0
			return r.change(tx, p, in)
		},
		Replay: again,
	})
	r.ListRetention = gate.RegisterRead(c.Gate, gate.Read[struct{}, []Retained]{
		Info: gate.Info{Name: "retention.list", Doc: "List for how long is kept what is dropped for its age: by a setting or by an act, whose and why, and within which bounds.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, _ act.Principal, _ struct{}) ([]Retained, error) {
			return r.All(v)
		},
	})
	return r
}

// term finds a term by its name.
func (r *Retention) term(name string) (Term, error) {
	i := slices.IndexFunc(r.terms, func(t Term) bool { return string(t.Name) == name })
	if i < 0 {
		var names []string
		for _, t := range r.terms {
			names = append(names, string(t.Name))
		}
		return Term{}, act.Errorf(act.NotFound, "nothing is kept under the name %.40q", name).WithRule("retention.unknown").
			WithHint("there are " + strings.Join(names, ", "))
	}
	return r.terms[i], nil
}

// CheckTerm reports whether there is such a term.
func (r *Retention) CheckTerm(name string) error {
	_, err := r.term(name)
	return err
}

// CheckRetention reports whether what a term names may be kept for so many days.
func (r *Retention) CheckRetention(name string, days int64) error {
	t, err := r.term(name)
	if err == nil && (days < t.Least || days > t.Most) {
		err = act.Errorf(act.Invalid, "%s is kept for %d to %d days, not for %d", t.What, t.Least, t.Most, days).WithRule("retention.bounds").WithHint(t.Why)
	}
	return err
}

// All lists the terms with what is in force.
func (r *Retention) All(v *store.View) (list []Retained, err error) {
	now := act.Micros(r.clock())
	for _, t := range r.terms {
		one, err := r.read(v, t, now)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// Named is one term with what is in force.
func (r *Retention) Named(v *store.View, name string) (Retained, error) {
	return r.named(v, name, act.Micros(r.clock()))
}

func (r *Retention) named(v *store.View, name string, now int64) (out Retained, err error) {
	t, err := r.term(name)
	if err != nil {
		return out, err
	}
	return r.read(v, t, now)
}

func (r *Retention) read(v *store.View, t Term, now int64) (out Retained, err error) {
	out = Retained{Term: t, Days: t.inSettings()}
	if err := v.All(qRetentionList, func(row *store.Row) error {
		out.Changes = append(out.Changes, RetentionChange{
			N: row.Int(0), Days: row.Int(1), Was: row.Int(2), From: row.Int(3), Reason: row.Text(4), By: row.ID(5), At: row.Int(6),
		})
		return nil
	}, string(t.Name), int64(MaxRetentionChanges)); err != nil || len(out.Changes) == 0 {
		return out, err
	}
	last := out.Changes[0]
	out.Said, out.Days = last.Days, cmp.Or(last.Days, out.Days)
	if last.From > now {
		out.From, out.Days = last.From, last.Was
	}
	return out, nil
}

// inSettings is the setting in days.
func (t Term) inSettings() int64 { return int64(t.Setting / oneDay) }

// Until is for how many days it will be kept when so many are said; 0 is the setting.
func (r Retained) Until(days int64) int64 { return cmp.Or(days, r.inSettings()) }

// Source says where what is in force comes from: "act", or "setting".
func (r Retained) Source() string {
	if r.Said == 0 && r.From == 0 {
		return "setting"
	}
	return "act"
}

func (r *Retention) change(tx *store.Tx, p act.Principal, in TermOrder) (out Retained, fx gate.Effects, err error) {
	if err := tx.LockRetention(); err != nil {
		return out, fx, err
	}
	was, err := r.named(&tx.View, in.Term, tx.Now())
	if err != nil {
		return out, fx, err
	}
	if was.Said == in.Days {
		return out, fx, act.Errorf(act.Conflict, "that is what is said of it already").WithRule("retention.same").WithHint("retention.list shows what is in force, and from when")
	}
	c := RetentionChange{Days: in.Days, Was: was.Days, From: tx.Now(), Reason: strings.TrimSpace(in.Reason), By: p.ID, At: tx.Now()}
	next := was.Until(in.Days)
	if next < was.Days {
		c.From += RetentionGrace.Microseconds()
	}
	if _, err := tx.One(qRetentionLast, func(r *store.Row) error { c.N = r.Int(0); return nil }); err != nil {
		return out, fx, err
	}
	c.N++
	if _, err := tx.Exec(qRetentionAdd, in.Term, c.N, c.Days, c.Was, c.From, c.Reason, c.By, c.At); err != nil {
		return out, fx, err
	}
	about := fmt.Sprintf("%s: %d days in place of %d from %s", in.Term, next, was.Days, act.FromMicros(c.From).Format(act.WireTime))
	fx = gate.Effects{Out: act.Ref{Version: c.N}, Reason: gate.OnRecord(about, c.Reason)}
	out, err = r.named(&tx.View, in.Term, tx.Now())
	return out, fx, err
}

// Falling is how much of a table would be dropped.
type Falling struct {
	Table string
	Rows  int64 // MaxFalling stands for more
}

// MaxFalling bounds what is counted of a table.
const MaxFalling = 10_000

// Falls counts what would be dropped now if what a term names were kept for so many days.
func (r *Retention) Falls(v *store.View, name string, days int64) (list []Falling, err error) {
	t, err := r.term(name)
	if err != nil {
		return nil, err
	}
	before, err := r.drops(v, act.Micros(r.clock().Add(-time.Duration(days)*oneDay)))
	if err != nil {
		return nil, err
	}
	for _, past := range t.Past {
		f := Falling{Table: past.Table}
		if _, err := v.One(past.Count, func(row *store.Row) error { f.Rows = row.Int(0); return nil }, before, int64(MaxFalling)); err != nil {
			return nil, err
		}
		if f.Rows > 0 {
			list = append(list, f)
		}
	}
	return list, nil
}
