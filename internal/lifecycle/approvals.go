package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ApprovalCursor is the name of the list of approvals in its cursors.
const ApprovalCursor = "approval.list"

// ApprovalQuery asks for a page of approvals, newest first. An agent is shown
// its own only, and an owner those of their agents.
type ApprovalQuery struct {
	State  ApprovalState // only these; 0 is any
	Agent  act.ID        // only this agent's; 0 is any
	Mine   bool          // only those of agents that the reader answers for
	Cursor act.Cursor    // of ApprovalCursor; zero is the start
	Limit  int           // 1 to MaxList; MaxList if 0
}

const (
	qApprovalsAll        store.Q = `SELECT ` + approvalColumns + ` FROM approval WHERE id < $1 ORDER BY id DESC LIMIT $2`
	qApprovalsState      store.Q = `SELECT ` + approvalColumns + ` FROM approval WHERE id < $1 AND state = $3 ORDER BY id DESC LIMIT $2`
	qApprovalsAgent      store.Q = `SELECT ` + approvalColumns + ` FROM approval WHERE id < $1 AND agent = $3 ORDER BY id DESC LIMIT $2`
	qApprovalsAgentState store.Q = `SELECT ` + approvalColumns + ` FROM approval WHERE id < $1 AND agent = $3 AND state = $4 ORDER BY id DESC LIMIT $2`
	qApprovalsOwner      store.Q = `SELECT ` + approvalColumns + ` FROM approval WHERE id < $1 AND agent IN (SELECT a.id FROM agent AS a WHERE a.owner = $3) ORDER BY id DESC LIMIT $2`
	qApprovalsOwnerState store.Q = `SELECT ` + approvalColumns + ` FROM approval WHERE id < $1 AND agent IN (SELECT a.id FROM agent AS a WHERE a.owner = $3) AND state = $4
ORDER BY id DESC LIMIT $2`
)

func (l *Lifecycle) registerApprovalReads(g *gate.Gate) {
	l.ListApprovals = gate.RegisterRead(g, gate.Read[ApprovalQuery, act.Page[Approval]]{
		Info:   gate.Info{Name: "approval.list", Doc: "List held acts, newest first; an agent sees its own.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Narrow: func(in ApprovalQuery) ApprovalQuery { in.Mine = true; return in },
		Run: func(_ context.Context, v *store.View, p act.Principal, in ApprovalQuery) (act.Page[Approval], error) {
			return l.listApprovals(v, p, in)
		},
	})
	l.ShowApproval = gate.RegisterRead(g, gate.Read[act.ID, Approval]{
		Info: gate.Info{Name: "approval.show", Doc: "Show one held act with its content, to who decides or whose it is.", On: act.KindApproval, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, p act.Principal, in act.ID) (gate.Resource, error) {
			a, err := l.approvalFor(v, p, in)
			if err != nil {
				return gate.Resource{}, err
			}
			return gate.Resource{Ref: act.Ref{ID: in}, Facts: gate.Facts{Kind: act.KindApproval, Author: a.Agent, Answered: a.answered}}, nil
		},
		Run: func(_ context.Context, v *store.View, p act.Principal, in act.ID) (Approval, error) {
			a, err := l.approvalFor(v, p, in)
			if err == nil {
				err = l.compare(v, &a)
			}
			if err == nil && a.State < approvalOver {
				var c gate.Call
				if c, err = l.open(a); err == nil {
					a.Input, err = l.gate.Describe(a.Act, c.Input)
				}
				if err == nil && p.Kind == act.Operator { // an agent would learn how to ask for it
					err = l.score(v, &a, c)
				}
			}
			return a, err
		},
		// The content of what waits is the agent's: that an operator saw it is put
		// on record like any other showing.
		Shown: func(p act.Principal, a Approval, item func(act.Ref, gate.Facts) bool) Approval {
			if len(a.Input) > 0 && a.Agent != p.ID && !item(act.Ref{ID: a.ID, Version: a.Epoch}, gate.Facts{Kind: act.KindApproval, Author: a.Agent, Answered: a.answered}) {
				a.Input, a.Score = nil, nil
			}
			return a
		},
	})
}

// approvalFor reads an approval that p may know of.
func (l *Lifecycle) approvalFor(v *store.View, p act.Principal, id act.ID) (Approval, error) {
	a, err := l.approval(v, id)
	switch {
	case err != nil:
		return a, err
	case p.Kind != act.Operator && a.Agent != p.ID:
		return a, noApproval()
	}
	answers, err := l.ids.Answers(v, p, l.Facts(a.Agent).Owner)
	a.answered = len(answers) > 0
	return a, err
}

func (l *Lifecycle) listApprovals(v *store.View, p act.Principal, in ApprovalQuery) (page act.Page[Approval], err error) {
	n, before, err := listed(ApprovalCursor, "approvals", in.Limit, in.Cursor, 1<<63-1)
	if err != nil {
		return page, err
	}
	if p.Kind != act.Operator {
		in.Agent = p.ID
	}
	q, args := qApprovalsAll, []any{before, int64(n + 1)}
	var mine identity.Owner
	if in.Mine {
		var found bool
		mine, found, err = l.ids.OwnerBy(v, p.ID)
		if err != nil || !found || in.Agent != 0 && l.Facts(in.Agent).Owner != mine.ID {
			return page, err
		}
	}
	switch {
	case in.Agent != 0 && in.State != 0:
		q, args = qApprovalsAgentState, append(args, in.Agent, int64(in.State))
	case in.Agent != 0:
		q, args = qApprovalsAgent, append(args, in.Agent)
	case in.Mine && in.State != 0:
		q, args = qApprovalsOwnerState, append(args, mine.ID, int64(in.State))
	case in.Mine:
		q, args = qApprovalsOwner, append(args, mine.ID)
	case in.State != 0:
		q, args = qApprovalsState, append(args, int64(in.State))
	}
	var items []Approval
	if err := v.All(q, func(r *store.Row) error {
		a := scanApproval(r)
		a.AgentName = l.Name(a.Agent)
		items = append(items, a)
		return nil
	}, args...); err != nil {
		return page, err
	}
	page = paged(ApprovalCursor, items, n, func(a Approval) int64 { return int64(a.ID) })
	names := make(map[act.ID]string)
	for i := range page.Items {
		a := &page.Items[i]
		if _, known := names[a.Owner]; !known {
			if names[a.Owner], err = l.ids.OwnerName(v, a.Owner); err != nil {
				return page, err
			}
		}
		a.OwnerName = names[a.Owner]
		if err := l.compare(v, a); err != nil {
			return page, err
		}
	}
	return page, nil
}
