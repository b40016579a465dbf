package lifecycle

import (
	"context"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/lifecycle/conduct"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Notice is what a rule of an agent's class has found about it, or with no agent that a quota
// is nearly used up. One of each rule is kept
// as long as it matters: an alert until the next one, a stop until somebody lifts it.
type Notice struct {
	Agent    act.ID
	Rule     string // see conduct; "budget.tokens.80" for a budget, "quota.network.acts.80" for a quota
	Does     charter.Response
	Evidence string
	At       int64 // Unix microseconds
	EndsAt   int64 // when the agent is ended unless somebody lets it go on, Unix microseconds; 0 never
}

// NoticeQuery asks for the newest notices.
type NoticeQuery struct {
	Mine  bool // only about agents that the reader answers for
	Limit int  // 1 to MaxNotices; MaxNotices if 0
}

// MaxNotices bounds an answer of notice.list.
const MaxNotices = 1000

const (
	noticeColumns = `n.agent, n.rule, n.does, n.evidence, n.made_at, n.ends_at`

	qNotices   store.Q = `SELECT ` + noticeColumns + ` FROM notice AS n WHERE n.made_at > 0 ORDER BY n.made_at DESC, n.agent, n.rule LIMIT $1`
	qNoticesOf store.Q = `SELECT ` + noticeColumns + ` FROM notice AS n JOIN agent AS a ON a.id = n.agent WHERE a.owner = $2
ORDER BY n.made_at DESC, n.agent, n.rule LIMIT $1`
	qNoticeOf  store.Q = `SELECT ` + noticeColumns + ` FROM notice AS n WHERE n.agent = $1 AND n.rule = $2`
	qNoticePut store.Q = `INSERT INTO notice (agent, rule, does, evidence, made_at, ends_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (agent, rule) DO UPDATE SET does = $3, evidence = $4, made_at = $5, ends_at = $6`
	qNoticeStops store.Q = `SELECT ` + noticeColumns + ` FROM notice AS n WHERE n.agent = $1 AND n.does <> 'alert' ORDER BY n.made_at DESC, n.agent, n.rule LIMIT 1`
	qNoticeLift  store.Q = `DELETE FROM notice WHERE agent = $1 AND does <> 'alert'`
	qNoticeDrop  store.Q = `DELETE FROM notice WHERE agent = $1`
	qNoticeEnds  store.Q = `SELECT agent FROM notice WHERE ends_at <> 0 AND ends_at <= $1 AND agent > $2 ORDER BY agent, rule LIMIT $3`
)

func scanNotice(r *store.Row) Notice {
	return Notice{
		Agent: r.ID(0), Rule: r.Text(1), Does: charter.Response(r.Text(2)), Evidence: r.Text(3), At: r.Int(4), EndsAt: r.Int(5),
	}
}

func (l *Lifecycle) registerHealth(g *gate.Gate) {
	about := func(_ context.Context, v *store.View, _ act.Principal, in conduct.Finding) (gate.Resource, error) {
		a, err := l.agent(v, in.Agent)
		return a.resource(), err
	}
	l.alert = gate.RegisterWrite(g, gate.Write[conduct.Finding, Agent]{
		Info:    gate.Info{Name: "health.alert", Doc: "Tell owner and operators what a rule of an agent's class has found about it.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: about,
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in conduct.Finding) (Agent, gate.Effects, error) {
			return l.runAlert(tx, in)
		},
	})
	l.arrest = gate.RegisterWrite(g, gate.Write[conduct.Finding, Agent]{
		Info:    gate.Info{Name: "health.stop", Doc: "Pause, quarantine or end an agent by a rule of its class.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: about,
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in conduct.Finding) (Agent, gate.Effects, error) {
			return l.runHealthStop(tx, p, in)
		},
	})
	l.Appeal = gate.RegisterWrite(g, gate.Write[Order, Agent]{
		Info:    gate.Info{Name: "agent.appeal", Doc: "Let an agent go on that a rule of its class has stopped.", On: act.KindAgent, Quota: gate.QuotaNone},
		Resolve: l.aimed,
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Order) (Agent, gate.Effects, error) {
			return l.appeal(tx, p, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Agent, error) {
			return l.agent(v, made.ID)
		},
	})
	l.ListNotices = gate.RegisterRead(g, gate.Read[NoticeQuery, []Notice]{
		Info:   gate.Info{Name: "notice.list", Doc: "List what rules of classes have found about agents and what was done, the newest first.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Narrow: func(in NoticeQuery) NoticeQuery { in.Mine = true; return in },
		Run: func(_ context.Context, v *store.View, p act.Principal, in NoticeQuery) ([]Notice, error) {
			return l.notices(v, p, in)
		},
	})
}

// settledNotice says that what was found was dealt with already, here or on another node.
func settledNotice() error {
	return act.Errorf(act.Conflict, "that is known").WithRule("health.known").WithHint("notice.list shows it")
}

// runAlert notes a finding, unless the same was said a short while ago.
func (l *Lifecycle) runAlert(tx *store.Tx, in conduct.Finding) (a Agent, fx gate.Effects, err error) {
	if a, err = l.agent(&tx.View, in.Agent); err != nil {
		return a, fx, err
	}
	known, err := tx.One(qNoticeOf, func(r *store.Row) error {
		if n := scanNotice(r); in.Quiet == 0 || n.At+in.Quiet.Microseconds() > tx.Now() {
			return settledNotice()
		}
		return nil
	}, in.Agent, in.Rule)
	if err != nil {
		return a, fx, err
	}
	if !known && a.Standing.Final() {
		return a, fx, act.Errorf(act.Conflict, "the agent has ended").WithRule("standing." + a.Standing.String()).WithHint("nothing is to be done")
	}
	reason := cutReason(in.Rule+": ", in.Evidence)
	if err := tx.Batch(qNoticePut, a.ID, in.Rule, string(charter.Alert), in.Evidence, tx.Now(), int64(0)); err != nil {
		return a, fx, err
	}
	if strings.HasPrefix(in.Rule, "health.") { // a rule of its class, not a budget
		err = tx.Batch(qRebindMark, a.ID, reason, tx.Now())
	}
	return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}, Reason: reason}, err
}

// runHealthStop stops an agent as an operator would, by the same orders. One that is to be
// ended is paused first: so its owner has the time of grace to say that the rule is wrong.
func (l *Lifecycle) runHealthStop(tx *store.Tx, p act.Principal, in conduct.Finding) (a Agent, fx gate.Effects, err error) {
	if a, err = l.agent(&tx.View, in.Agent); err != nil {
		return a, fx, err
	}
	if a.Standing != act.Active {
		return a, fx, settledNotice()
	}
	t, ends := pauseOrder(), int64(0)
	switch in.Does {
	case charter.Quarantine:
		t = quarantineOrder()
	case charter.Terminate:
		ends = tx.Now() + l.graceOf(a.class).Microseconds()
	case charter.Alert, charter.Pause:
	}
	if a, fx, err = l.order(tx, t, p, Order{Agent: in.Agent, Reason: cutReason(in.Rule+": ", in.Evidence)}); err != nil {
		return a, fx, err
	}
	return a, fx, tx.Batch(qNoticePut, a.ID, in.Rule, string(in.Does), in.Evidence, tx.Now(), ends)
}

// appeal takes back a stop by a rule, and nothing else: an order that somebody has given
// since has taken its place (see ordered), and is theirs to lift.
func (l *Lifecycle) appeal(tx *store.Tx, p act.Principal, in Order) (a Agent, fx gate.Effects, err error) {
	if a, err = l.agent(&tx.View, in.Agent); err != nil {
		return a, fx, err
	}
	found, err := tx.One(qNoticeStops, func(*store.Row) error { return nil }, in.Agent)
	switch {
	case err != nil:
		return a, fx, err
	case !found:
		return a, fx, act.Errorf(act.Conflict, "no rule of its class holds the agent").WithRule("appeal.none").
			WithHint("what an operator has ordered is lifted by agent.resume or agent.release; what has ended stays so")
	}
	if a.Standing == act.Quarantined {
		return l.order(tx, releaseOrder(), p, in)
	}
	return l.order(tx, resumeOrder(), p, in)
}

func (l *Lifecycle) notices(v *store.View, p act.Principal, in NoticeQuery) (list []Notice, err error) {
	if in.Limit == 0 {
		in.Limit = MaxNotices
	}
	if in.Limit < 1 || in.Limit > MaxNotices {
		return nil, act.Errorf(act.Invalid, "an answer has 1 to %d notices", MaxNotices).WithRule("limit").WithHint("ask for less")
	}
	q, args := qNotices, []any{int64(in.Limit)}
	if in.Mine {
		mine, found, err := l.ids.OwnerBy(v, p.ID)
		if err != nil || !found {
			return nil, err
		}
		q, args = qNoticesOf, append(args, mine.ID)
	}
	err = v.All(q, func(r *store.Row) error { list = append(list, scanNotice(r)); return nil }, args...)
	return list, err
}

// healthOver ends whom a rule of its class has sentenced, and nobody has let go on.
func (l *Lifecycle) healthOver(v *store.View, b bound, _ int64) (c Cause, found bool, err error) {
	if b.class == 0 {
		return c, false, nil
	}
	found, err = v.One(qNoticeStops, func(r *store.Row) error {
		n := scanNotice(r)
		c = Cause{Rule: n.Rule, Evidence: n.Evidence, Since: n.At, EndsAt: n.EndsAt}
		return nil
	}, b.id)
	return c, found && c.EndsAt != 0, err
}

// WatchEvery is how often the server calls Watch.
const WatchEvery = time.Second
