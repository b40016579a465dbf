package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Quota bounds what all agents of the network, of a team or of a class use up together,
// above what each has for itself (Budget). How nodes share it is in escrow.go.
type Quota struct {
	ID     act.ID
	On     QuotaName
	Limit  int64
	Period Period

	Used     int64 // since it began
	Given    int64 // to nodes since then, what is used of it included; more is not used before a node asks for it
	BeganAt  int64 // the period that it is in; Unix microseconds, 0 without one
	WarnedAt int64 // when it was said that most of it is used up, 0 if not since BeganAt
	Reason   string
	By       act.ID // operator
	SetAt    int64  // Unix microseconds
}

// QuotaName says what a quota bounds. There is one quota of each name.
type QuotaName struct {
	Scope string // QuotaNetwork, or with a name after it QuotaTeam or QuotaClass
	Kind  string // see charter.BudgetKinds
}

// The scopes of quotas.
const (
	QuotaNetwork = "network"
	QuotaTeam    = "team:"  // whose owners work in it
	QuotaClass   = "class:" // of every version of it
)

// Period is after what time a quota begins anew.
type Period string

// The periods, which begin as hours and days do in UTC.
const (
	Once   Period = ""
	Hourly Period = "hour"
	Daily  Period = "day"
)

// Periods lists them.
func Periods() []Period { return []Period{Once, Hourly, Daily} }

// length is how long a period is, in microseconds; 0 for ever.
func (p Period) length() int64 {
	switch p {
	case Hourly:
		return time.Hour.Microseconds()
	case Daily:
		return 24 * time.Hour.Microseconds()
	case Once:
	}
	return 0
}

// began is when the period began that a time is in, both Unix microseconds.
func (p Period) began(now int64) int64 {
	if n := p.length(); n > 0 {
		return now - now%n
	}
	return 0
}

// Left is what remains. It is negative where the limit was set below what was used.
func (q *Quota) Left() int64 { return q.Limit - q.Used }

// RenewsAt is when it begins anew, in Unix microseconds; 0 never.
func (q *Quota) RenewsAt() int64 {
	if n := q.Period.length(); n > 0 {
		return q.BeganAt + n
	}
	return 0
}

// Low reports whether most of it is used up: so much that operators are told.
func (q *Quota) Low() bool { return q.Limit > 0 && q.Used > 0 && q.Used >= (q.Limit*quotaWarns+99)/100 }

// Reported reports whether what is used is the agents' own word.
func (q *Quota) Reported() bool { return q.On.Kind != charter.BudgetKinds()[budgetActs] }

// Bounds reports whether a quota of the name bounds the agents of a team and a class.
func (n QuotaName) Bounds(team, class string) bool {
	return n.Scope == QuotaNetwork || n.Scope == QuotaTeam+team && team != "" || n.Scope == QuotaClass+class && class != ""
}

// level is the scope without the name: "team".
func (n QuotaName) level() string { level, _, _ := strings.Cut(n.Scope, ":"); return level }

// rule is that of a refusal.
func (n QuotaName) rule() string { return "quota." + n.level() + "." + n.Kind }

// Check reports what is wrong with a name. A team or a class need not be there yet.
func (n QuotaName) Check() error {
	level, name, named := strings.Cut(n.Scope, ":")
	var err error
	switch level + ":" {
	case QuotaNetwork + ":":
		if named {
			err = badScope(n.Scope)
		}
	case QuotaTeam:
		err = identity.CheckName("team", name)
	case QuotaClass:
		err = checkClassName(name)
	default:
		err = badScope(n.Scope)
	}
	if err != nil {
		return err
	}
	if !slices.Contains(charter.BudgetKinds(), n.Kind) {
		return act.Errorf(act.Invalid, "there is no kind of budget %.40q", n.Kind).WithRule("quota.kind").
			WithHint("there are " + strings.Join(charter.BudgetKinds(), ", "))
	}
	return nil
}

func badScope(scope string) error {
	return act.Errorf(act.Invalid, "%.80q is nothing that a quota bounds", scope).WithRule("quota.scope").
		WithHint("say network, team:NAME or class:NAME")
}

// NewQuota sets a quota, in place of the one of its name.
type NewQuota struct {
	On     QuotaName
	Limit  int64 // 0 lets nobody use any
	Period Period
	Reason string // 1 to MaxReason characters; goes on record
}

// QuotaOrder is an operator's word about a quota.
type QuotaOrder struct {
	On     QuotaName
	Reason string // 1 to MaxReason characters; goes on record
}

const (
	// MaxQuotas bounds how many there are: every node has all of them in memory.
	MaxQuotas = 10_000

	// MaxQuota bounds a limit, so that sums of what is asked for stay whole numbers.
	MaxQuota = 1_000_000_000_000_000

	quotaWarns = 80 // percent

	quotaLock = "quota" // of store.Tx.Serialize: setting, and nothing that agents do

	quotaColumns = `q.id, q.scope, q.kind, q.most, q.period, q.since, q.warned_at, q.reason, q.set_by, q.set_at, q.given,
CAST(COALESCE((SELECT SUM(b.used) FROM quota_block AS b WHERE b.quota = q.id AND b.since = q.since), 0) AS BIGINT)`

	qQuotas     store.Q = `SELECT ` + quotaColumns + ` FROM quota AS q ORDER BY q.scope, q.kind`
	qQuotaNamed store.Q = `SELECT ` + quotaColumns + ` FROM quota AS q WHERE q.scope = $1 AND q.kind = $2`
	qQuotaOf    store.Q = `SELECT ` + quotaColumns + ` FROM quota AS q WHERE q.id = $1`
	qQuotaCount store.Q = `SELECT COUNT(*) FROM quota`
	qQuotaMake  store.Q = `INSERT INTO quota (id, scope, kind, most, period, since, given, warned_at, reason, set_by, set_at)
VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7, $8, $9)`
	qQuotaSet  store.Q = `UPDATE quota SET most = $2, period = $3, warned_at = 0, reason = $4, set_by = $5, set_at = $6 WHERE id = $1`
	qQuotaWarn store.Q = `UPDATE quota SET warned_at = $3 WHERE id = $1 AND warned_at <= $2`
	qQuotaDrop store.Q = `DELETE FROM quota WHERE id = $1`

	qNoticeForget store.Q = `DELETE FROM notice WHERE agent = 0 AND rule = $1`
)

func scanQuota(r *store.Row) Quota {
	return Quota{
		ID: r.ID(0), On: QuotaName{r.Text(1), r.Text(2)}, Limit: r.Int(3), Period: Period(r.Text(4)), BeganAt: r.Int(5), WarnedAt: r.Int(6),
		Reason: r.Text(7), By: r.ID(8), SetAt: r.Int(9), Given: r.Int(10), Used: r.Int(11),
	}
}

// at is a quota as it is at a time, Unix microseconds: its row turns to a period when
// somebody first uses it.
func (q Quota) at(now int64) Quota {
	if began := q.Period.began(now); began > q.BeganAt {
		q.BeganAt, q.Used, q.Given = began, 0, 0
	}
	if q.WarnedAt <= q.BeganAt {
		q.WarnedAt = 0
	}
	return q
}

func (l *Lifecycle) registerQuotas(g *gate.Gate) {
	on := func(_ context.Context, v *store.View, _ act.Principal, in QuotaName) (gate.Resource, error) {
		q, err := l.quota(v, in)
		return gate.Resource{Ref: act.Ref{ID: q.ID}, Facts: gate.Facts{Kind: act.KindNetwork}}, err
	}
	l.SetQuota = gate.RegisterWrite(g, gate.Write[NewQuota, Quota]{
		Info: gate.Info{Name: "quota.set", Doc: "Bound what all agents of the network, of a team or of a class use up together.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NewQuota) (gate.Resource, error) {
			_, err := checkReason(in.Reason)
			if err == nil {
				err = in.Check()
			}
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, err
		},
		After: true,
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in NewQuota) (Quota, gate.Effects, error) {
			return l.setQuota(tx, p, in)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Quota, error) {
			return l.quotaBy(v, made.ID)
		},
	})
	l.DropQuota = gate.RegisterWrite(g, gate.Write[QuotaOrder, Quota]{
		Info: gate.Info{Name: "quota.drop", Doc: "End a quota: what it bounded is bounded no more.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(ctx context.Context, v *store.View, p act.Principal, in QuotaOrder) (gate.Resource, error) {
			if _, err := checkReason(in.Reason); err != nil {
				return gate.Resource{}, err
			}
			return on(ctx, v, p, in.On)
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in QuotaOrder) (Quota, gate.Effects, error) {
			return l.dropQuota(tx, in)
		},
	})
	l.ShowQuota = gate.RegisterRead(g, gate.Read[QuotaName, Quota]{
		Info:   gate.Info{Name: "quota.show", Doc: "Show a quota: what is left of it, and when it renews.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Target: on,
		Run: func(_ context.Context, v *store.View, _ act.Principal, in QuotaName) (Quota, error) {
			return l.quota(v, in)
		},
	})
	l.ListQuotas = gate.RegisterRead(g, gate.Read[struct{}, []Quota]{
		Info: gate.Info{Name: "quota.list", Doc: "List the quotas of the network, of teams and of classes, and what is left of each.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, _ act.Principal, _ struct{}) ([]Quota, error) {
			return l.Quotas(v)
		},
	})
	l.warnQuota = gate.RegisterWrite(g, gate.Write[act.ID, Quota]{
		Info: gate.Info{Name: "quota.alert", Doc: "Tell operators that most of a quota is used up, before it stops anybody.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in act.ID) (gate.Resource, error) {
			return gate.Resource{Ref: act.Ref{ID: in}, Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in act.ID) (Quota, gate.Effects, error) {
			return l.runQuotaAlert(tx, in)
		},
	})
}

// Quotas lists all, by scope and kind.
func (l *Lifecycle) Quotas(v *store.View) (list []Quota, err error) {
	now := act.Micros(l.db.Clock()())
	err = v.All(qQuotas, func(r *store.Row) error { list = append(list, scanQuota(r).at(now)); return nil })
	return list, err
}

// QuotaNamed finds a quota.
func (l *Lifecycle) QuotaNamed(v *store.View, name QuotaName) (q Quota, found bool, err error) {
	return l.oneQuota(v, qQuotaNamed, name.Scope, name.Kind)
}

func (l *Lifecycle) oneQuota(v *store.View, by store.Q, args ...any) (q Quota, found bool, err error) {
	now := act.Micros(l.db.Clock()())
	found, err = v.One(by, func(r *store.Row) error { q = scanQuota(r).at(now); return nil }, args...)
	return q, found, err
}

// quota is QuotaNamed for one that has to be there.
func (l *Lifecycle) quota(v *store.View, name QuotaName) (q Quota, err error) {
	if err := name.Check(); err != nil {
		return q, err
	}
	q, found, err := l.QuotaNamed(v, name)
	return q, thereIs(found, err)
}

func (l *Lifecycle) quotaBy(v *store.View, id act.ID) (Quota, error) {
	q, found, err := l.oneQuota(v, qQuotaOf, id)
	return q, thereIs(found, err)
}

// thereIs makes an error of a quota that was not found.
func thereIs(found bool, err error) error {
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "there is no such quota").WithRule("quota.unknown").WithHint("quota.list shows those that there are")
	}
	return err
}

// Check reports what is wrong with a quota that is to be set, beside its reason.
func (in NewQuota) Check() error {
	if err := in.On.Check(); err != nil {
		return err
	}
	if in.Limit < 0 || in.Limit > MaxQuota || !slices.Contains(Periods(), in.Period) {
		return act.Errorf(act.Invalid, "a quota has a limit of 0 to %d, and the period hour, day or none", int64(MaxQuota)).
			WithRule("quota.form").WithHint("without a period it is used up for good")
	}
	return nil
}

// setQuota stores a quota, and takes back what nodes hold of it and have not used: from
// the commit on nobody draws on more than is left of the new limit.
func (l *Lifecycle) setQuota(tx *store.Tx, p act.Principal, in NewQuota) (q Quota, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err == nil {
		err = in.Check()
	}
	if err == nil {
		err = tx.Serialize(quotaLock)
	}
	if err != nil {
		return q, fx, err
	}
	q, found, err := l.QuotaNamed(&tx.View, in.On)
	switch {
	case err == nil && !found:
		q, err = l.makeQuota(tx, p, in, reason)
	case err == nil:
		if err = tx.Batch(qQuotaSet, q.ID, in.Limit, string(in.Period), reason, p.ID, tx.Now()); err == nil {
			err = recallBlocks(tx, q, in.Period)
		}
	}
	if err != nil {
		return q, fx, err
	}
	tx.Fence(act.KindSystem, 0)
	q, err = l.quotaBy(&tx.View, q.ID)
	return q, gate.Effects{Out: act.Ref{ID: q.ID}, Reason: cutReason(fmt.Sprintf("%s %s %d %s: ", in.On.Scope, in.On.Kind, in.Limit, orForGood(in.Period)), reason)}, err
}

// orForGood names a period in a record.
func orForGood(p Period) string {
	if p == Once {
		return "for good"
	}
	return "a " + string(p)
}

func (l *Lifecycle) makeQuota(tx *store.Tx, p act.Principal, in NewQuota, reason string) (q Quota, err error) {
	var n int64
	if _, err := tx.One(qQuotaCount, func(r *store.Row) error { n = r.Int(0); return nil }); err != nil {
		return q, err
	}
	if n >= MaxQuotas {
		return q, act.Errorf(act.Conflict, "there are %d quotas", n).WithRule("quota.most").WithHint("drop some that are not needed, or set one for more agents")
	}
	if q.ID, err = tx.Mint(act.KindSystem); err != nil {
		return q, err
	}
	return q, tx.Batch(qQuotaMake, q.ID, in.On.Scope, in.On.Kind, in.Limit, string(in.Period), in.Period.began(tx.Now()), reason, p.ID, tx.Now())
}

func (l *Lifecycle) dropQuota(tx *store.Tx, in QuotaOrder) (q Quota, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return q, fx, err
	}
	if err := tx.Serialize(quotaLock); err != nil {
		return q, fx, err
	}
	if q, err = l.quota(&tx.View, in.On); err != nil {
		return q, fx, err
	}
	if err := tx.Batch(qQuotaDrop, q.ID); err != nil {
		return q, fx, err
	}
	if err := dropBlocks(tx, q.ID); err != nil {
		return q, fx, err
	}
	if err := tx.Batch(qNoticeForget, q.On.notice()); err != nil {
		return q, fx, err
	}
	tx.Fence(act.KindSystem, 0)
	return q, gate.Effects{Out: act.Ref{ID: q.ID}, Reason: cutReason(in.On.Scope+" "+in.On.Kind+": ", reason)}, nil
}

// notice is the rule under which operators find a warning among the notices.
func (n QuotaName) notice() string { return fmt.Sprintf("quota.%s.%s.%d", n.Scope, n.Kind, quotaWarns) }

// due reports whether most of a quota is used up and nobody has been told since it began.
func (q *Quota) due() bool {
	return q.WarnedAt == 0 && q.Low()
}

// warnQuotas tells of quotas that are nearly used up. Each is told of once in its period,
// and again when it was set meanwhile.
func (l *Lifecycle) warnQuotas(ctx context.Context) error {
	if l.quotas.Load().none() {
		return nil
	}
	var list []Quota
	if err := l.db.View(ctx, func(v *store.View) (err error) { list, err = l.Quotas(v); return err }); err != nil {
		return fmt.Errorf("lifecycle: look at the quotas: %w", err)
	}
	for i := range list {
		if !list[i].due() {
			continue
		}
		if _, err := l.warnQuota.Do(ctx, act.SystemPrincipal(reaper), list[i].ID); mended(err) != nil {
			return err
		}
	}
	return nil
}

func (l *Lifecycle) runQuotaAlert(tx *store.Tx, id act.ID) (q Quota, fx gate.Effects, err error) {
	if q, err = l.quotaBy(&tx.View, id); err != nil {
		return q, fx, err
	}
	if !q.due() {
		return q, fx, settledNotice()
	}
	q.WarnedAt = max(tx.Now(), q.BeganAt+1)
	changed, err := tx.Exec(qQuotaWarn, id, q.BeganAt, q.WarnedAt)
	if err == nil && changed == 0 {
		err = settledNotice()
	}
	if err != nil {
		return q, fx, err
	}
	evidence := fmt.Sprintf("%d of %d %s of %s are used up, %s; it is stopped when nothing is left", q.Used, q.Limit, q.On.Kind, q.On.Scope, q.renewal())
	err = tx.Batch(qNoticePut, act.ID(0), q.On.notice(), string(charter.Alert), evidence, tx.Now(), int64(0))
	return q, gate.Effects{Out: act.Ref{ID: id}, Reason: cutReason("", evidence)}, err
}

// renewal says when it comes back.
func (q *Quota) renewal() string {
	if at := q.RenewsAt(); at != 0 {
		return "and it renews at " + wireTime(at)
	}
	return "and it does not renew"
}

// boundBy lists the quotas that an agent is under, the widest first.
func (l *Lifecycle) boundBy(v *store.View, agent act.ID) (list []Quota, err error) {
	for kind := range charter.BudgetKinds() {
		for _, p := range l.above(agent, kind) {
			if p == nil {
				continue
			}
			q, found, err := l.oneQuota(v, qQuotaOf, p.ID)
			if err != nil {
				return nil, err
			}
			if found { // else it was dropped, and is not out of memory yet
				list = append(list, q)
			}
		}
	}
	return list, nil
}
