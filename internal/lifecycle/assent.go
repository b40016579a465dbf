package lifecycle

import (
	"encoding/json"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Assent is one of several approvals of the same thing.
type Assent struct {
	Operator act.ID
	Name     string
	Reason   string
	At       int64 // Unix microseconds
}

const (
	qAssents    store.Q = `SELECT operator, reason, made_at FROM assent WHERE approval = $1 ORDER BY made_at, approval, operator`
	qAssentMake store.Q = `INSERT INTO assent (approval, operator, reason, made_at) VALUES ($1, $2, $3, $4)`

	qApprovalNarrow store.Q = `UPDATE approval SET epoch = epoch + 1, digest = $3, sealed = $4 WHERE id = $1 AND epoch = $2 AND state = 1`
	qApprovalCount  store.Q = `UPDATE approval SET epoch = epoch + 1 WHERE id = $1 AND epoch = $2 AND state = 1`
)

func (l *Lifecycle) assents(v *store.View, approval act.ID) (list []Assent, err error) {
	if err := v.All(qAssents, func(r *store.Row) error {
		list = append(list, Assent{Operator: r.ID(0), Reason: r.Text(1), At: r.Int(2)})
		return nil
	}, approval); err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Name, err = l.ids.OperatorName(v, list[i].Operator); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// assent counts one person's approval of what wants several, and says whether more are
// wanted. Where a class asks for people, who has asked for the act is none of them: that
// is not for a policy to say, since the class's author did.
func (l *Lifecycle) assent(tx *store.Tx, a *Approval, p act.Principal, reason string) (more bool, err error) {
	if a.Quorum == 0 {
		return false, nil
	}
	refused := func(rule, why, hint string) error {
		return act.Errorf(act.Denied, "%s", why).WithRule(rule).WithHint(hint)
	}
	if p.ID == a.Agent {
		return false, refused("approval.self", "you have asked for this yourself", "somebody else has to approve it")
	}
	if a.Quorum == 1 {
		return false, nil
	}
	if slices.ContainsFunc(a.Assents, func(one Assent) bool { return one.Operator == p.ID }) {
		return false, refused("approval.twice", "you have approved this already", "it waits for other people")
	}
	if err := tx.Batch(qAssentMake, a.ID, p.ID, reason, tx.Now()); err != nil {
		return false, err
	}
	if a.Assents = append(a.Assents, Assent{Operator: p.ID, Name: p.Name, Reason: reason, At: tx.Now()}); len(a.Assents) >= a.Quorum {
		return false, nil
	}
	return true, l.turn(tx, a, qApprovalCount)
}

// turn changes a pending approval's row; whoever is faster elsewhere makes it start again.
func (l *Lifecycle) turn(tx *store.Tx, a *Approval, q store.Q, args ...any) error {
	changed, err := tx.Exec(q, append([]any{a.ID, a.Epoch}, args...)...)
	if err == nil && changed == 0 {
		err = gate.Moved()
	}
	a.Epoch++
	return err
}

// narrow has a kept request for an agent ask for less. What is done is then what was
// approved, to the byte, and not what was asked for.
func (l *Lifecycle) narrow(tx *store.Tx, a *Approval, c gate.Call, grant string) error {
	if c.Act != actRequest && c.Act != actSpawn {
		return act.Errorf(act.Invalid, "%s asks for no grant", c.Act).WithRule("approval.grant").WithHint("leave grant out")
	}
	input, err := narrower(c.Input, grant)
	if err != nil {
		return err
	}
	raw, err := l.ids.OpenHeld(a.ID, a.sealed)
	if err != nil {
		return err
	}
	var kept sealedCall
	if err := json.Unmarshal(raw, &kept); err != nil {
		return act.Errorf(act.Internal, "the kept request cannot be read: %w", err)
	}
	kept.Input, c.Input = input, input
	if raw, err = json.Marshal(kept); err != nil {
		return act.Errorf(act.Internal, "the request cannot be kept: %w", err)
	}
	a.digest, a.sealed = l.digest(c), l.ids.SealHeld(a.ID, raw)
	return l.turn(tx, a, qApprovalNarrow, a.digest, a.sealed)
}
