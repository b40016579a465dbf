package lifecycle

import (
	"context"
	"regexp"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// OutcomeCursor is the name of the list of outcomes in its cursors.
const OutcomeCursor = "outcome.list"

// Outcome is a result that an agent has recorded for its mandate.
type Outcome struct {
	Mandate  act.ID
	N        int64 // its number within the mandate
	Agent    act.ID
	Name     string // the agent's
	Revision int64  // that the agent was bound to
	Metric   string // "prices_checked"
	Value    int64
	Task     act.ID // that it came of; 0 for none
	MadeAt   int64  // Unix microseconds
}

// NewOutcome records a result for the mandate of who calls.
type NewOutcome struct {
	Metric string
	Value  int64
	Task   act.ID
}

// OutcomeQuery asks for a page of a mandate's outcomes, newest first.
type OutcomeQuery struct {
	Mandate act.ID
	Cursor  act.Cursor // of OutcomeCursor; zero is the newest
	Limit   int        // 1 to MaxList; MaxList if 0
}

const (
	qOutcomeNext store.Q = `UPDATE mandate SET outcomes = outcomes + 1 WHERE id = $1 AND state = 1`
	qOutcomeN    store.Q = `SELECT outcomes FROM mandate WHERE id = $1`
	qOutcomeMake store.Q = `INSERT INTO outcome (mandate, n, agent, revision, metric, value, task, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	qOutcomes    store.Q = `SELECT mandate, n, agent, revision, metric, value, task, made_at FROM outcome WHERE mandate = $1 AND n < $2 ORDER BY n DESC, mandate LIMIT $3`
)

var metricName = regexp.MustCompile(`^[a-z][a-z0-9_.]{0,62}$`)

func (l *Lifecycle) registerOutcomes(g *gate.Gate) {
	l.RecordOutcome = gate.RegisterWrite(g, gate.Write[NewOutcome, Outcome]{
		Info: gate.Info{Name: "outcome.record", Doc: "Record a result for your mandate: a metric, a value, and the task that it came of.", On: act.KindMandate, Also: []act.Kind{act.KindNetwork}, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewOutcome) (gate.Resource, error) {
			if !metricName.MatchString(in.Metric) {
				return gate.Resource{}, act.Errorf(act.Invalid, "%.80q cannot be the name of a metric", in.Metric).WithRule("outcome.metric").
					WithHint("use small letters, digits, '_' and '.', like prices_checked")
			}
			b := l.bondOf(p.ID)
			if p.Kind != act.Agent || b == nil || b.mandate == 0 {
				return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
			}
			m, err := l.mandate(v, NamedMandate{Mandate: b.mandate})
			return gate.Resource{Ref: act.Ref{ID: m.ID, Version: m.Revision}, Facts: gate.Facts{Kind: act.KindMandate, Own: true}}, err
		},
		Run: l.recordOutcome,
	})
	l.ListOutcomes = gate.RegisterRead(g, gate.Read[OutcomeQuery, act.Page[Outcome]]{
		Info: gate.Info{Name: "outcome.list", Doc: "List what agents have recorded for a mandate, newest first.", On: act.KindMandate, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, p act.Principal, in OutcomeQuery) (gate.Resource, error) {
			m, err := l.mandate(v, NamedMandate{Mandate: in.Mandate})
			if err != nil {
				return gate.Resource{}, err
			}
			guards, err := l.ids.Answers(v, p, m.Owner)
			return gate.Resource{Ref: act.Ref{ID: m.ID}, Facts: gate.Facts{Kind: act.KindMandate, Answered: len(guards) > 0}}, err
		},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in OutcomeQuery) (page act.Page[Outcome], err error) {
			n, before, err := listed(OutcomeCursor, "outcomes", in.Limit, in.Cursor, 1<<62)
			if err != nil {
				return page, err
			}
			var items []Outcome
			err = v.All(qOutcomes, func(r *store.Row) error {
				o := Outcome{
					Mandate: r.ID(0), N: r.Int(1), Agent: r.ID(2), Revision: r.Int(3), Metric: r.Text(4), Value: r.Int(5), Task: r.ID(6), MadeAt: r.Int(7),
				}
				o.Name = l.Name(o.Agent)
				items = append(items, o)
				return nil
			}, in.Mandate, before, int64(n+1))
			return paged(OutcomeCursor, items, n, func(o Outcome) int64 { return o.N }), err
		},
	})
}

func (l *Lifecycle) recordOutcome(_ context.Context, tx *store.Tx, p act.Principal, in NewOutcome) (o Outcome, fx gate.Effects, err error) {
	b := l.bondOf(p.ID)
	if b == nil || b.mandate == 0 {
		return o, fx, act.Errorf(act.Denied, "you act under no mandate").WithRule("mandate.none").WithHint("ask your owner to bind you to one")
	}
	changed, err := tx.Exec(qOutcomeNext, b.mandate)
	if err != nil {
		return o, fx, err
	}
	if changed == 0 {
		return o, fx, closedMandate()
	}
	o = Outcome{Mandate: b.mandate, Agent: p.ID, Name: l.Name(p.ID), Revision: b.revision, Metric: in.Metric, Value: in.Value, Task: in.Task, MadeAt: tx.Now()}
	if _, err := tx.One(qOutcomeN, func(r *store.Row) error { o.N = r.Int(0); return nil }, b.mandate); err != nil {
		return o, fx, err
	}
	return o, gate.Effects{Out: act.Ref{ID: b.mandate, Version: o.N}},
		tx.Batch(qOutcomeMake, o.Mandate, o.N, o.Agent, o.Revision, o.Metric, o.Value, o.Task, o.MadeAt)
}
