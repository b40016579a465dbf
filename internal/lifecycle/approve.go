package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

var errDigest = errors.New("the digest differs")

// Verdict is an operator's word about a held act.
type Verdict struct {
	Approval act.ID
	Owner    string // for whom the operator acts: the agent's owner; "" for themselves if they are that, else nobody
	Reason   string // 1 to MaxReason characters; goes on record
	Grant    string // of an agent that is asked for: at most this, as charter.Grant; "" is what was asked for
}

const qApprovalDecide store.Q = `UPDATE approval SET state = $3, epoch = epoch + 1, owner = $4, decided_by = $5, reason = $6, decided_at = $7,
expires_at = $8, sealed = $9, ended_at = $10 WHERE id = $1 AND epoch = $2 AND state = 1`

func (l *Lifecycle) registerApprovals(g *gate.Gate) {
	l.approve = l.registerVerdict(g, "approval.approve", "Let a held act be done, once, as its agent asked for it.", ApprovalApproved)
	l.Deny = l.registerVerdict(g, "approval.deny", "End a held act; nothing of it is done or kept.", ApprovalDenied)
	l.settle = gate.RegisterWrite(g, gate.Write[ending, act.Ref]{
		Info: gate.Info{Name: "system.settle", Doc: "End an approval whose time is over, or whose act could not be done.", On: act.KindApproval, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in ending) (gate.Resource, error) {
			a, err := l.approval(v, in.Approval)
			return a.resource(p), err
		},
		Run: l.end,
	})
}

func (l *Lifecycle) registerVerdict(g *gate.Gate, name, doc string, to ApprovalState) *gate.WriteAct[Verdict, Approval] {
	return gate.RegisterWrite(g, gate.Write[Verdict, Approval]{
		Info: gate.Info{Name: name, Doc: doc, On: act.KindApproval, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in Verdict) (gate.Resource, error) {
			if _, err := checkReason(in.Reason); err != nil {
				return gate.Resource{}, err
			}
			a, err := l.approval(v, in.Approval)
			if err != nil {
				return gate.Resource{}, err
			}
			return l.toDecide(v, p, a)
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Verdict) (Approval, gate.Effects, error) {
			return l.decide(tx, p, in, to)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Approval, error) {
			return l.approval(v, made.ID)
		},
	})
}

// decide takes the operator's word down.
func (l *Lifecycle) decide(tx *store.Tx, p act.Principal, in Verdict, to ApprovalState) (a Approval, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return a, fx, err
	}
	if a, err = l.approval(&tx.View, in.Approval); err != nil {
		return a, fx, err
	}
	if a.State != ApprovalPending || a.ExpiresAt <= tx.Now() {
		return a, fx, a.over()
	}
	agent := Agent{Standing: act.Active} // an operator's act: nobody's agent, and no standing
	if a.asker() == act.Agent {
		if agent, err = l.agent(&tx.View, a.Agent); err != nil {
			return a, fx, err
		}
	}
	if in.Owner == "" && a.asksOwner() {
		mine, err := l.ids.Answers(&tx.View, p, agent.Owner)
		if err != nil {
			return a, fx, err
		}
		if len(mine) > 0 {
			in.Owner = agent.OwnerName
		}
	}
	if a.Owner, err = forWhom(a, agent, in.Owner); err != nil {
		return a, fx, err
	}
	a.OwnerName = in.Owner
	ended, sealed := tx.Now(), noBytes
	if to == ApprovalApproved {
		if !agent.Standing.MayAct() {
			return a, fx, act.Errorf(act.Conflict, "the agent is %s", agent.Standing).WithRule("standing." + agent.Standing.String()).
				WithHint("resume or release the agent first, or deny the act; until then it waits and ends by itself")
		}
		c, err := l.open(a)
		if err != nil {
			return a, fx, err
		}
		if in.Grant != "" {
			if err := l.narrow(tx, &a, c, in.Grant); err != nil {
				return a, fx, err
			}
		}
		more, err := l.assent(tx, &a, p, reason)
		if err != nil || more {
			return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}, Reason: reason}, err
		}
		ended, sealed = 0, a.sealed
		a.ExpiresAt = max(a.ExpiresAt, tx.Now()+carryLife.Microseconds())
	}
	if err := l.word(tx, &a, to, p.ID, reason, sealed, ended); err != nil {
		return a, fx, err
	}
	return a, gate.Effects{Out: act.Ref{ID: a.ID, Version: a.Epoch}, Reason: reason}, nil
}

// word stores a decision on a pending approval and brings a up to date.
func (l *Lifecycle) word(tx *store.Tx, a *Approval, to ApprovalState, by act.ID, reason string, sealed []byte, ended int64) error {
	changed, err := tx.Exec(qApprovalDecide, a.ID, a.Epoch, int64(to), a.Owner, by, reason, tx.Now(), a.ExpiresAt, sealed, ended)
	if err != nil {
		return err
	}
	if changed == 0 {
		return gate.Moved()
	}
	a.State, a.DecidedBy, a.Reason, a.DecidedAt, a.EndedAt = to, by, reason, tx.Now(), ended
	a.Epoch++
	return nil
}

// forWhom checks the owner for whom the operator acts.
func forWhom(a Approval, agent Agent, owner string) (act.ID, error) {
	switch {
	case owner == "" && a.Demand.Arg == "owner":
		return 0, act.Errorf(act.Invalid, "the policy wants the owner's word").WithRule("approval.owner").
			WithHint("say for which owner you act; the agent's is " + quotedOwner(agent))
	case owner != "" && (agent.Owner == 0 || owner != agent.OwnerName):
		return 0, act.Errorf(act.Conflict, "the agent is not that owner's").WithRule("approval.owner").
			WithHint("the agent's owner is " + quotedOwner(agent))
	case owner == "":
		return 0, nil
	}
	return agent.Owner, nil
}

func quotedOwner(a Agent) string {
	if a.Owner == 0 {
		return "nobody yet: claim it first"
	}
	return `"` + a.OwnerName + `"`
}

// Approve lets a held act through and has it done. The decision is committed
// first; what then fails for a while is done later by Tend.
func (l *Lifecycle) Approve(ctx context.Context, p act.Principal, key gate.Key, in Verdict) (Approval, error) {
	a, err := l.approve.DoOnce(ctx, p, key, in)
	if err != nil {
		return a, err
	}
	if a.State == ApprovalApproved {
		l.carry(ctx, a.ID)
	}
	err = l.db.View(ctx, func(v *store.View) error { a, err = l.approval(v, a.ID); return err })
	return a, err
}

const carryTime = 20 * time.Second

// carry does an approved act as its agent. Whoever comes second finds the
// approval used: it is spent in the act's own transaction.
func (l *Lifecycle) carry(ctx context.Context, id act.ID) {
	// The decision is committed; its effect must not depend on its giver's patience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), carryTime)
	defer cancel()
	var a Approval
	err := l.db.View(ctx, func(v *store.View) (err error) { a, err = l.approval(v, id); return err })
	if err != nil || a.State != ApprovalApproved {
		return
	}
	c, err := l.open(a)
	if err == nil && c.Principal.Kind == act.Operator { // whose role was taken meanwhile does nothing by it
		err = l.db.View(ctx, func(v *store.View) error {
			now, err := l.ids.OperatorRoles(v, c.Principal.ID)
			c.Principal.Roles &= uint8(now)
			return err
		})
	}
	if err == nil {
		_, err = l.gate.Carry(ctx, id, c)
	}
	if err == nil || passing(err) {
		return
	}
	e := act.AsError(err)
	_, err = l.settle.Do(ctx, act.SystemPrincipal(keeper), ending{Approval: id, State: ApprovalFailed, Code: e.Code.String(), Rule: e.Rule})
	if err != nil {
		l.log.WarnContext(ctx, "put down that an approved act failed", slog.Any("err", err))
	}
}

// passing reports whether what kept an approved act from being done may pass: a
// fault, a pause, or that somebody else was faster.
func passing(err error) bool {
	e := act.AsError(err)
	switch e.Code {
	case act.Unavailable, act.RateLimited:
		return true
	case act.Denied:
		return e.Rule == "standing.paused" || e.Rule == "standing.quarantined" || e.Rule == "standing.stale"
	case act.Conflict:
		return e.Rule == ruleSpent
	case act.Internal, act.Invalid, act.Unauthenticated, act.NotFound, act.TooLarge, act.Gone, act.Mismatch, act.Method, act.Held:
	}
	return false
}

// keeper is the part of the server that ends approvals.
const keeper = "approvals"

// ending is how an approval ends without anybody's word.
type ending struct {
	Approval act.ID
	State    ApprovalState // ApprovalFailed or ApprovalExpired
	Code     string
	Rule     string
}

func (l *Lifecycle) end(_ context.Context, tx *store.Tx, _ act.Principal, in ending) (made act.Ref, fx gate.Effects, err error) {
	a, err := l.approval(&tx.View, in.Approval)
	if err != nil {
		return made, fx, err
	}
	if a.State >= approvalOver || in.State == ApprovalExpired && a.ExpiresAt > tx.Now() {
		return made, fx, a.over()
	}
	changed, err := tx.Exec(qApprovalEnd, a.ID, a.Epoch, int64(in.State), noBytes, in.Code, in.Rule, tx.Now())
	if err != nil {
		return made, fx, err
	}
	if changed == 0 {
		return made, fx, gate.Moved()
	}
	made = act.Ref{ID: a.ID, Version: a.Epoch + 1}
	return made, gate.Effects{Out: made, Reason: in.State.String()}, nil
}

const (
	tendPage = 100

	qApprovalsApproved store.Q = `SELECT id FROM approval WHERE state = 2 AND id > $1 ORDER BY id LIMIT $2`
	qApprovalsExpired  store.Q = `SELECT id FROM approval WHERE state < 3 AND expires_at <= $1 AND id > $2 ORDER BY expires_at, id LIMIT $3`
)

// Tend ends the approvals whose time is over and does what was approved but not
// done: a node may have died between the two. The server calls it at start and
// now and then, on one node at a time; two at once do nothing twice.
func (l *Lifecycle) Tend(ctx context.Context) error {
	now := act.Micros(l.db.Clock()())
	if err := l.each(ctx, qApprovalsExpired, func(id act.ID) error {
		_, err := l.settle.Do(ctx, act.SystemPrincipal(keeper), ending{Approval: id, State: ApprovalExpired, Rule: "approval.expired"})
		if act.CodeOf(err) == act.Conflict || act.CodeOf(err) == act.Gone {
			return nil // it has ended meanwhile
		}
		return err
	}, now); err != nil {
		return err
	}
	return l.each(ctx, qApprovalsApproved, func(id act.ID) error {
		l.carry(ctx, id)
		return ctx.Err()
	})
}

// each calls do with the ids that a query yields, a page at a time.
func (l *Lifecycle) each(ctx context.Context, q store.Q, do func(act.ID) error, args ...any) error {
	var last act.ID
	for {
		var ids []act.ID
		if err := l.db.View(ctx, func(v *store.View) error {
			return v.All(q, func(r *store.Row) error { ids = append(ids, r.ID(0)); return nil }, append(args, last, tendPage)...)
		}); err != nil {
			return err
		}
		for _, id := range ids {
			if err := do(id); err != nil {
				return err
			}
			last = max(last, id)
		}
		if len(ids) < tendPage {
			return nil
		}
	}
}
