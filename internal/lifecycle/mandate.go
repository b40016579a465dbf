package lifecycle

import (
	"context"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// MandateCursor is the name of the list of mandates in its cursors.
const MandateCursor = "mandate.list"

// Mandate is a business purpose that agents act under, as it is now.
type Mandate struct {
	ID        act.ID
	Name      string
	Owner     act.ID // who answers for it
	OwnerName string
	Revision  int64 // 1 for the first
	Purpose
	Grace     time.Duration // from when agents are stale to their end
	Closed    bool
	Epoch     int64
	Outcomes  int64  // recorded so far
	Reason    string // of the last change
	MadeAt    int64  // Unix microseconds
	ChangedAt int64  // Unix microseconds

	Agents, Stale int64 // that are bound to it and have not ended, and those of an older revision; only mandate.show
}

// Purpose is what a revision of a mandate says.
type Purpose struct {
	Statement string // what is to be done, and why
	Success   string // how it is known that it is done; "" open-ended
	Stop      string // when it has to end whatever is done; ""
	ExpiresAt int64  // Unix microseconds; 0 never
}

// NewMandate opens a mandate.
type NewMandate struct {
	Name  string
	Owner string // name
	Purpose
	Grace time.Duration // DefaultGrace if 0
}

// Revision says a mandate's purpose anew. Agents that are bound to what it said before
// are stale until somebody who answers for it attests them.
type Revision struct {
	Mandate act.ID
	Purpose
	Reason string // 1 to MaxReason characters; goes on record
}

// MandateOrder is a word about a mandate.
type MandateOrder struct {
	Mandate act.ID
	Reason  string // 1 to MaxReason characters; goes on record
}

// Attestation binds agents to the present revision of their mandate.
type Attestation struct {
	Mandate act.ID
	Agent   act.ID // 0 is all of them, MaxAttested at a time
	Reason  string // 1 to MaxReason characters; goes on record
}

// Attested says how many agents an attestation has bound anew.
type Attested struct {
	Mandate Mandate
	Bound   int64
	Left    bool // there are more: attest again
}

// NamedMandate names a mandate by its id, or by its name.
type NamedMandate struct {
	Mandate act.ID
	Name    string // used when Mandate is 0
}

// MandateQuery asks for a page of mandates by id.
type MandateQuery struct {
	Mine   bool       // only those that the reader answers for
	Cursor act.Cursor // of MandateCursor; zero is the start
	Limit  int        // 1 to MaxList; MaxList if 0
}

const (
	// DefaultGrace is how long stale agents wait to be attested unless the mandate says.
	DefaultGrace = 24 * time.Hour
	// MaxAttested bounds the agents that are bound anew in one transaction.
	MaxAttested = 200

	maxGrace     = 90 * 24 * time.Hour
	maxStatement = 4000 // characters

	mandateClosed = 2
)

const (
	mandateColumns = `id, name, owner, revision, statement, success, stop, expires_at, grace, state, epoch, outcomes, reason, made_at, changed_at`

	qMandate        store.Q = `SELECT ` + mandateColumns + ` FROM mandate WHERE id = $1`
	qMandateNamed   store.Q = `SELECT ` + mandateColumns + ` FROM mandate WHERE name = $1`
	qMandates       store.Q = `SELECT ` + mandateColumns + ` FROM mandate WHERE id > $1 ORDER BY id LIMIT $2`
	qMandatesOf     store.Q = `SELECT ` + mandateColumns + ` FROM mandate WHERE id > $1 AND owner = $3 ORDER BY id LIMIT $2`
	qMandateEpoch   store.Q = `SELECT epoch FROM mandate WHERE id = $1`
	qMandatesEnding store.Q = `SELECT id, expires_at FROM mandate WHERE expires_at <> 0 AND state = 1 ORDER BY expires_at, id`
	qMandateMake    store.Q = `INSERT INTO mandate (id, name, owner, revision, statement, success, stop, expires_at, grace, state, epoch, outcomes, reason, made_by, made_at, changed_at)
VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, 1, 1, 0, '', $9, $10, $10)`
	qMandateRevise store.Q = `UPDATE mandate SET revision = revision + 1, statement = $3, success = $4, stop = $5, expires_at = $6, epoch = epoch + 1,
reason = $7, changed_at = $8 WHERE id = $1 AND epoch = $2 AND state = 1`
	qMandateClose store.Q = `UPDATE mandate SET state = 2, epoch = epoch + 1, reason = $3, changed_at = $4 WHERE id = $1 AND epoch = $2 AND state = 1`
	qRevisionMake store.Q = `INSERT INTO revision (mandate, n, statement, success, stop, expires_at, reason, made_by, made_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

	qMandateAgents store.Q = `SELECT COUNT(*) FROM agent WHERE mandate = $1 AND mandate <> 0 AND state <> $2 AND state <> $3`
	qMandateStale  store.Q = `SELECT COUNT(*) FROM agent WHERE mandate = $1 AND mandate <> 0 AND revision < $4 AND state <> $2 AND state <> $3`
	qStaleAgents   store.Q = `SELECT id FROM agent WHERE mandate = $1 AND mandate <> 0 AND revision < $2 AND state <> $4 AND state <> $5 ORDER BY id LIMIT $3`
	qAgentRebind   store.Q = `UPDATE agent SET revision = $2, epoch = epoch + 1 WHERE id = $1 AND mandate = $3 AND state <> $4 AND state <> $5`
)

func scanMandate(r *store.Row) Mandate {
	return Mandate{
		ID: r.ID(0), Name: r.Text(1), Owner: r.ID(2), Revision: r.Int(3),
		Purpose: Purpose{Statement: r.Text(4), Success: r.Text(5), Stop: r.Text(6), ExpiresAt: r.Int(7)},
		Grace:   time.Duration(r.Int(8)) * time.Microsecond, Closed: r.Int(9) == mandateClosed, Epoch: r.Int(10), Outcomes: r.Int(11),
		Reason: r.Text(12), MadeAt: r.Int(13), ChangedAt: r.Int(14),
	}
}

// check reports what is wrong with a purpose at a time.
func (p Purpose) check(now int64) error {
	bad := func(rule, format string, args ...any) error {
		return act.Errorf(act.Invalid, format, args...).WithRule(rule).WithHint("say what the agents are for, in words that whoever audits them understands")
	}
	for _, text := range []string{p.Statement, p.Success, p.Stop} {
		if n := utf8.RuneCountInString(text); n > maxStatement || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return bad("mandate.text", "a mandate's texts have at most %d characters", maxStatement)
		}
	}
	switch {
	case strings.TrimSpace(p.Statement) == "":
		return bad("mandate.statement", "the mandate has no statement")
	case p.ExpiresAt < 0 || p.ExpiresAt != 0 && p.ExpiresAt <= now:
		return bad("mandate.expires", "the mandate would have ended already")
	}
	return nil
}

func (l *Lifecycle) registerMandates(g *gate.Gate) {
	l.OpenMandate = gate.RegisterWrite(g, gate.Write[NewMandate, Mandate]{
		Info: gate.Info{Name: "mandate.open", Doc: "Open a mandate: the business purpose that agents act under.", On: act.KindMandate, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewMandate) (gate.Resource, error) {
			r := gate.Resource{Facts: gate.Facts{Kind: act.KindMandate}}
			if err := l.checkMandate(in); err != nil {
				return r, err
			}
			mine, found, err := l.ids.OwnerBy(v, p.ID)
			r.Facts.Answered = found && mine.Name == in.Owner
			return r, err
		},
		Run:    l.openMandate,
		Replay: l.replayMandate,
	})
	l.ReviseMandate = gate.RegisterWrite(g, gate.Write[Revision, Mandate]{
		Info: gate.Info{Name: "mandate.revise", Doc: "Say a mandate's purpose anew; its agents are stale until they are attested.", On: act.KindMandate, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in Revision) (gate.Resource, error) {
			if err := in.check(act.Micros(l.db.Clock()())); err != nil {
				return gate.Resource{}, err
			}
			return l.mandateResource(v, p, in.Mandate, in.Reason)
		},
		Run:    l.reviseMandate,
		Replay: l.replayMandate,
	})
	l.CloseMandate = gate.RegisterWrite(g, gate.Write[MandateOrder, Mandate]{
		Info: gate.Info{Name: "mandate.close", Doc: "Close a mandate: its agents are stopped, and ended when their time of grace is over.", On: act.KindMandate, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in MandateOrder) (gate.Resource, error) {
			return l.mandateResource(v, p, in.Mandate, in.Reason)
		},
		Run:    l.closeMandate,
		Replay: l.replayMandate,
	})
	l.Attest = gate.RegisterWrite(g, gate.Write[Attestation, Attested]{
		Info: gate.Info{Name: "mandate.attest", Doc: "Bind agents to the present revision of their mandate; they are stale no more.", On: act.KindMandate, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in Attestation) (gate.Resource, error) {
			return l.mandateResource(v, p, in.Mandate, in.Reason)
		},
		Run: l.attest,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (out Attested, err error) {
			out.Mandate, err = l.mandate(v, NamedMandate{Mandate: made.ID})
			return out, err
		},
	})
	l.ShowMandate = gate.RegisterRead(g, gate.Read[NamedMandate, Mandate]{
		Info: gate.Info{Name: "mandate.show", Doc: "Show a mandate, and how many agents are bound to it.", On: act.KindMandate, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, p act.Principal, in NamedMandate) (gate.Resource, error) {
			m, err := l.mandate(v, in)
			if err != nil {
				return gate.Resource{}, err
			}
			guards, err := l.ids.Answers(v, p, m.Owner)
			return gate.Resource{Ref: act.Ref{ID: m.ID}, Facts: gate.Facts{Kind: act.KindMandate, Answered: len(guards) > 0}}, err
		},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in NamedMandate) (Mandate, error) {
			m, err := l.mandate(v, in)
			if err != nil {
				return m, err
			}
			if _, err := v.One(qMandateAgents, func(r *store.Row) error { m.Agents = r.Int(0); return nil }, m.ID, int64(act.Killed), int64(act.Expired)); err != nil {
				return m, err
			}
			least := m.Revision
			if m.Closed {
				least = math.MaxInt64
			}
			_, err = v.One(qMandateStale, func(r *store.Row) error { m.Stale = r.Int(0); return nil }, m.ID, int64(act.Killed), int64(act.Expired), least)
			return m, err
		},
	})
	l.ListMandates = gate.RegisterRead(g, gate.Read[MandateQuery, act.Page[Mandate]]{
		Info:   gate.Info{Name: "mandate.list", Doc: "List mandates.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Narrow: func(in MandateQuery) MandateQuery { in.Mine = true; return in },
		Run: func(_ context.Context, v *store.View, p act.Principal, in MandateQuery) (act.Page[Mandate], error) {
			return l.listMandates(v, p, in)
		},
	})
}

func (l *Lifecycle) checkMandate(in NewMandate) error {
	if !className.MatchString(in.Name) {
		return act.Errorf(act.Invalid, "%.80q cannot be the name of a mandate", in.Name).WithRule("mandate.name").
			WithHint("use 1 to 63 small letters, digits and '-', like pricing-2026")
	}
	if in.Grace < 0 || in.Grace > maxGrace {
		return act.Errorf(act.Invalid, "the grace is 0 to %s", maxGrace).WithRule("mandate.grace").WithHint("leave it out for a day")
	}
	if err := identity.CheckName("owner", in.Owner); err != nil {
		return err
	}
	return in.check(act.Micros(l.db.Clock()()))
}

// mandate reads a mandate; NotFound without one.
func (l *Lifecycle) mandate(v *store.View, in NamedMandate) (m Mandate, err error) {
	q, key := qMandate, any(in.Mandate)
	if in.Mandate == 0 {
		q, key = qMandateNamed, in.Name
	}
	found, err := v.One(q, func(r *store.Row) error { m = scanMandate(r); return nil }, key)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no such mandate").WithRule("mandate.unknown").WithHint("use the id or the name as mandate.list shows it")
	}
	if err == nil {
		m.OwnerName, err = l.ids.OwnerName(v, m.Owner)
	}
	return m, err
}

func (l *Lifecycle) replayMandate(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Mandate, error) {
	return l.mandate(v, NamedMandate{Mandate: made.ID})
}

// mandateResource is a mandate as the target of a word of p.
func (l *Lifecycle) mandateResource(v *store.View, p act.Principal, id act.ID, reason string) (r gate.Resource, err error) {
	if _, err := checkReason(reason); err != nil {
		return r, err
	}
	m, err := l.mandate(v, NamedMandate{Mandate: id})
	if err != nil {
		return r, err
	}
	r = gate.Resource{
		Ref: act.Ref{ID: m.ID, Version: m.Epoch}, Facts: gate.Facts{Kind: act.KindMandate},
		Guards: []gate.Guard{{Q: qMandateEpoch, ID: m.ID, Epoch: m.Epoch}},
	}
	guards, err := l.ids.Answers(v, p, m.Owner)
	r.Facts.Answered = len(guards) > 0
	r.Guards = append(r.Guards, guards...)
	return r, err
}

func (l *Lifecycle) openMandate(_ context.Context, tx *store.Tx, p act.Principal, in NewMandate) (m Mandate, fx gate.Effects, err error) {
	if err := l.checkMandate(in); err != nil {
		return m, fx, err
	}
	if in.Grace == 0 {
		in.Grace = DefaultGrace
	}
	owner, err := l.ids.EnsureOwner(tx, in.Owner)
	if err != nil {
		return m, fx, err
	}
	if m.ID, err = tx.Mint(act.KindMandate); err != nil {
		return m, fx, err
	}
	if _, err = tx.Exec(qMandateMake, m.ID, in.Name, owner, in.Statement, in.Success, in.Stop, in.ExpiresAt, in.Grace.Microseconds(), p.ID, tx.Now()); err != nil {
		if act.CodeOf(err) == act.Conflict {
			err = act.Errorf(act.Conflict, "there is a mandate %q", in.Name).WithRule("mandate.name").WithHint("revise it, or choose another name")
		}
		return m, fx, err
	}
	if m, err = l.mandate(&tx.View, NamedMandate{Mandate: m.ID}); err != nil {
		return m, fx, err
	}
	tx.Fence(act.KindMandate, m.ID)
	return m, gate.Effects{Out: act.Ref{ID: m.ID, Version: m.Epoch}}, keepRevision(tx, m, p.ID)
}

// keepRevision keeps what a mandate says now.
func keepRevision(tx *store.Tx, m Mandate, by act.ID) error {
	return tx.Batch(qRevisionMake, m.ID, m.Revision, m.Statement, m.Success, m.Stop, m.ExpiresAt, m.Reason, by, tx.Now())
}

// closedMandate is why nothing is done about a mandate any more.
func closedMandate() error {
	return act.Errorf(act.Conflict, "the mandate is closed").WithRule("mandate.closed").WithHint("open another one; what is closed stays so")
}

func (l *Lifecycle) reviseMandate(_ context.Context, tx *store.Tx, p act.Principal, in Revision) (m Mandate, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return m, fx, err
	}
	if m, err = l.mandate(&tx.View, NamedMandate{Mandate: in.Mandate}); err != nil {
		return m, fx, err
	}
	if m.Closed {
		return m, fx, closedMandate()
	}
	changed, err := tx.Exec(qMandateRevise, m.ID, m.Epoch, in.Statement, in.Success, in.Stop, in.ExpiresAt, reason, tx.Now())
	if err != nil {
		return m, fx, err
	}
	if changed == 0 {
		return m, fx, gate.Moved()
	}
	if m, err = l.mandate(&tx.View, NamedMandate{Mandate: m.ID}); err != nil {
		return m, fx, err
	}
	if err := keepRevision(tx, m, p.ID); err != nil {
		return m, fx, err
	}
	tx.Fence(act.KindMandate, m.ID)
	return m, gate.Effects{Out: act.Ref{ID: m.ID, Version: m.Epoch}, Reason: reason},
		l.putHalt(tx, halt{Scope: Scope{Kind: ScopeMandate, Target: m.ID}, does: act.Stale, least: m.Revision}, p.ID, reason)
}

func (l *Lifecycle) closeMandate(_ context.Context, tx *store.Tx, p act.Principal, in MandateOrder) (m Mandate, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return m, fx, err
	}
	if m, err = l.mandate(&tx.View, NamedMandate{Mandate: in.Mandate}); err != nil {
		return m, fx, err
	}
	if !m.Closed {
		changed, err := tx.Exec(qMandateClose, m.ID, m.Epoch, reason, tx.Now())
		if err != nil {
			return m, fx, err
		}
		if changed == 0 {
			return m, fx, gate.Moved()
		}
		m.Closed, m.Reason, m.ChangedAt = true, reason, tx.Now()
		m.Epoch++
	}
	tx.Fence(act.KindMandate, m.ID)
	return m, gate.Effects{Out: act.Ref{ID: m.ID, Version: m.Epoch}, Reason: reason},
		l.putHalt(tx, halt{Scope: Scope{Kind: ScopeMandate, Target: m.ID}, does: act.Stale, least: math.MaxInt64}, p.ID, reason)
}

// attest binds agents anew. Each is fenced: it may act from then on.
func (l *Lifecycle) attest(_ context.Context, tx *store.Tx, _ act.Principal, in Attestation) (out Attested, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return out, fx, err
	}
	m, err := l.mandate(&tx.View, NamedMandate{Mandate: in.Mandate})
	if err != nil {
		return out, fx, err
	}
	if m.Closed {
		return out, fx, closedMandate()
	}
	agents := []act.ID{in.Agent}
	if in.Agent == 0 {
		agents = nil
		if err := tx.All(qStaleAgents, func(r *store.Row) error { agents = append(agents, r.ID(0)); return nil },
			m.ID, m.Revision, int64(MaxAttested+1), int64(act.Killed), int64(act.Expired)); err != nil {
			return out, fx, err
		}
		if out.Left = len(agents) > MaxAttested; out.Left {
			agents = agents[:MaxAttested]
		}
	}
	for _, id := range agents {
		changed, err := tx.Exec(qAgentRebind, id, m.Revision, m.ID, int64(act.Killed), int64(act.Expired))
		if err != nil {
			return out, fx, err
		}
		if changed == 0 {
			return out, fx, act.Errorf(act.Conflict, "the agent is not bound to this mandate, or has ended").WithRule("mandate.agent").
				WithHint("agent.show says what an agent is bound to")
		}
		out.Bound++
		tx.Fence(act.KindAgent, id)
	}
	out.Mandate = m
	return out, gate.Effects{Out: act.Ref{ID: m.ID, Version: m.Epoch}, Reason: reason}, nil
}

func (l *Lifecycle) listMandates(v *store.View, p act.Principal, in MandateQuery) (page act.Page[Mandate], err error) {
	n, after, err := listed(MandateCursor, "mandates", in.Limit, in.Cursor, 0)
	if err != nil {
		return page, err
	}
	q, args := qMandates, []any{after, int64(n + 1)}
	if in.Mine {
		mine, found, err := l.ids.OwnerBy(v, p.ID)
		if err != nil || !found {
			return page, err
		}
		q, args = qMandatesOf, append(args, mine.ID)
	}
	var items []Mandate
	if err := v.All(q, func(r *store.Row) error { items = append(items, scanMandate(r)); return nil }, args...); err != nil {
		return page, err
	}
	for i := range items {
		if items[i].OwnerName, err = l.ids.OwnerName(v, items[i].Owner); err != nil {
			return page, err
		}
	}
	return paged(MandateCursor, items, n, func(m Mandate) int64 { return int64(m.ID) }), nil
}
