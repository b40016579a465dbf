package lifecycle

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ApprovalState says how far a kept call has come. Numbers are stored; those
// below approvalOver are open.
type ApprovalState uint8

// The states. Every one but the first two is final, and the first two end by
// themselves when the approval's time is over.
const (
	ApprovalPending   ApprovalState = 1 // waits for somebody's word
	ApprovalApproved  ApprovalState = 2 // may be done, and is about to be
	ApprovalExecuted  ApprovalState = 3 // was done, once
	ApprovalFailed    ApprovalState = 4 // was let through and could not be done
	ApprovalDenied    ApprovalState = 5
	ApprovalExpired   ApprovalState = 6 // nobody decided in time
	ApprovalWithdrawn ApprovalState = 7 // its agent was ended

	approvalOver = ApprovalExecuted
)

// String returns the state's name as wires have it.
func (s ApprovalState) String() string {
	if s < ApprovalPending || s > ApprovalWithdrawn {
		return "unknown"
	}
	return [...]string{"pending", "approved", "executed", "failed", "denied", "expired", "withdrawn"}[s-1]
}

const (
	// HoldLife is how long a held act waits for a human.
	HoldLife = 24 * time.Hour
	// MaxPending bounds how many acts of one agent wait at once.
	MaxPending = 16

	// MaxAsked bounds how many acts of one agent are held for a human in an hour, whatever
	// becomes of them: who decides about very many looks at none (T42).
	MaxAsked = 60

	// carryLife is how long an approved act may take to be done, whatever fails
	// meanwhile.
	carryLife = time.Hour
)

// Approval is an act that waits, or waited, for somebody's word.
type Approval struct {
	ID        act.ID
	Act       string
	Agent     act.ID // who asked for it: an agent, or an operator
	AgentName string // "" for an operator
	Target    act.Ref
	Demand    gate.Obligation // gate.Hold or gate.Challenge, and whom it asks
	Policy    string          // that demanded it
	Risk      gate.Risk       // of it, as that policy names it
	Quorum    int             // how many different people have to approve; 0 is one, who may have asked
	State     ApprovalState
	Epoch     int64  // raised by one with each change of state
	Owner     act.ID // for whom the operator acted; 0 for nobody
	OwnerName string
	DecidedBy act.ID // operator, or the agent that met its challenge
	Reason    string // the operator's
	Made      act.Ref
	Code      string // why a failed one failed
	Rule      string
	CreatedAt int64 // Unix microseconds
	ExpiresAt int64 // Unix microseconds
	DecidedAt int64 // Unix microseconds; 0 before
	EndedAt   int64 // Unix microseconds; 0 before

	// Input is what would be done, for whoever decides; only approval.show fills
	// it, and only while the approval is open.
	Input []gate.Field

	// Alike are the open ones of the same agent, act and policy, itself among them, and Past
	// what was decided about the same act of the same agent within pastDays, where the
	// approval waits for a human.
	Alike int64
	Past  Past

	// Score is what a request for an agent risks, as far as is known now, for whoever
	// decides; with Input.
	Score *trust.Score

	// Assents are who has approved so far, where a quorum is wanted.
	Assents []Assent

	digest, sealed, answer []byte
	answered               bool // the reader answers for its agent; see approvalFor
}

const (
	approvalColumns = `id, act, agent, target, target_version, demand, asks, policy, state, epoch, owner, decided_by, reason,
made, made_version, code, rule, created_at, expires_at, decided_at, ended_at, digest, sealed, answer, risk, quorum`

	qApproval      store.Q = `SELECT ` + approvalColumns + ` FROM approval WHERE id = $1`
	qApprovalAlike store.Q = `SELECT ` + approvalColumns + ` FROM approval WHERE agent = $1 AND digest = $2 AND state < 3`
	qApprovalSlots store.Q = `SELECT slot FROM approval WHERE agent = $1 AND state < 3 ORDER BY id`
	qApprovalAsked store.Q = `SELECT COUNT(*) FROM approval WHERE agent = $1 AND id >= $2 AND demand = 'hold'`
	qApprovalPast  store.Q = `SELECT COALESCE(SUM(CASE WHEN state < 3 AND policy = $3 THEN 1 ELSE 0 END), 0),
COALESCE(SUM(CASE WHEN state IN (2, 3, 4) THEN 1 ELSE 0 END), 0), COALESCE(SUM(CASE WHEN state = 5 THEN 1 ELSE 0 END), 0),
COALESCE(SUM(CASE WHEN state = 6 THEN 1 ELSE 0 END), 0) FROM approval WHERE agent = $1 AND act = $2 AND id >= $4`
	qApprovalEpoch store.Q = `SELECT epoch FROM approval WHERE id = $1`

	qApprovalMake store.Q = `INSERT INTO approval (id, agent, act, target, target_version, demand, asks, policy, digest, sealed, answer, slot,
state, epoch, owner, decided_by, reason, made, made_version, code, rule, created_at, expires_at, decided_at, ended_at, risk, quorum)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, 1, 0, 0, '', 0, 0, '', '', $13, $14, 0, 0, $15, $16) ON CONFLICT DO NOTHING`

	// The content goes when the approval ends: what was made of it is elsewhere,
	// and of what was not made nothing stays.
	qApprovalSpend store.Q = `UPDATE approval SET state = 3, epoch = epoch + 1, sealed = $5, made = $3, made_version = $4, ended_at = $6
WHERE id = $1 AND digest = $2 AND state = 2 AND expires_at > $6`
	qApprovalEnd store.Q = `UPDATE approval SET state = $3, epoch = epoch + 1, sealed = $4, code = $5, rule = $6, ended_at = $7
WHERE id = $1 AND epoch = $2 AND state < 3`
	qApprovalWithdraw store.Q = `UPDATE approval SET state = 7, epoch = epoch + 1, sealed = $2, ended_at = $3 WHERE agent = $1 AND state < 3`
)

// Past counts how approvals ended.
type Past struct{ Approved, Denied, Expired int64 }

const pastDays = 30

// compare fills in what a human who decides compares an approval with.
func (l *Lifecycle) compare(v *store.View, a *Approval) error {
	if a.Demand.Name != gate.Hold || a.State != ApprovalPending {
		return nil
	}
	since := act.FirstID(l.db.Clock()().AddDate(0, 0, -pastDays))
	_, err := v.One(qApprovalPast, func(r *store.Row) error {
		a.Alike, a.Past = r.Int(0), Past{Approved: r.Int(1), Denied: r.Int(2), Expired: r.Int(3)}
		return nil
	}, a.Agent, a.Act, a.Policy, since)
	return err
}

// asked refuses to hold more acts of an agent than a human can look at.
func (l *Lifecycle) asked(tx *store.Tx, p act.Principal) error {
	if p.Kind != act.Agent {
		return nil
	}
	var n int64
	if _, err := tx.One(qApprovalAsked, func(r *store.Row) error { n = r.Int(0); return nil }, p.ID, act.FirstID(act.FromMicros(tx.Now()).Add(-time.Hour))); err != nil {
		return err
	}
	if n < MaxAsked {
		return nil
	}
	return act.Errorf(act.RateLimited, "%d of your acts were held for a human within the last hour", n).WithRule("approval.asked").
		WithRetry(10 * time.Minute).WithHint("ask for less at a time: people decide about each of them")
}

func scanApproval(r *store.Row) Approval {
	return Approval{
		ID: r.ID(0), Act: r.Text(1), Agent: r.ID(2), Target: act.Ref{ID: r.ID(3), Version: r.Int(4)},
		Demand: gate.Obligation{Name: r.Text(5), Arg: r.Text(6)}, Policy: r.Text(7), State: ApprovalState(r.Int(8)),
		Epoch: r.Int(9), Owner: r.ID(10), DecidedBy: r.ID(11), Reason: r.Text(12),
		Made: act.Ref{ID: r.ID(13), Version: r.Int(14)}, Code: r.Text(15), Rule: r.Text(16), CreatedAt: r.Int(17),
		ExpiresAt: r.Int(18), DecidedAt: r.Int(19), EndedAt: r.Int(20), digest: r.Bytes(21), sealed: r.Bytes(22), answer: r.Bytes(23), Risk: riskOf(r.Text(24)), Quorum: int(r.Int(25)),
	}
}

// riskOf reads a stored risk; what nobody knows is high.
func riskOf(stored string) gate.Risk {
	if stored == gate.RiskNormal.String() {
		return gate.RiskNormal
	}
	return gate.RiskHigh
}

// approval reads one approval; NotFound without one.
func (l *Lifecycle) approval(v *store.View, id act.ID) (a Approval, err error) {
	found, err := v.One(qApproval, func(r *store.Row) error { a = scanApproval(r); return nil }, id)
	if err == nil && !found {
		err = noApproval()
	}
	if err == nil {
		a.AgentName = l.Name(a.Agent)
		a.OwnerName, err = l.ids.OwnerName(v, a.Owner)
	}
	if err == nil && a.Quorum > 1 {
		a.Assents, err = l.assents(v, id)
	}
	return a, err
}

func noApproval() error {
	return act.Errorf(act.NotFound, "no such approval").WithHint("use the id as the held request returned it, or as approval.list shows it")
}

// resource is an approval as the target of an act that changes it.
func (a Approval) resource(p act.Principal) gate.Resource {
	return gate.Resource{
		Ref:    act.Ref{ID: a.ID, Version: a.Epoch},
		Facts:  gate.Facts{Kind: act.KindApproval, Author: a.Agent, Own: p.ID == a.Agent, Risk: a.Risk},
		Guards: []gate.Guard{{Q: qApprovalEpoch, ID: a.ID, Epoch: a.Epoch}},
	}
}

// asksOwner reports whether it is the owner of its agent who is asked.
func (a Approval) asksOwner() bool {
	return a.Demand == gate.Obligation{Name: gate.Hold, Arg: "owner"}
}

// toDecide is an approval as the target of a word of p. Who answers for its agent is
// asked where policy asks the owner, and nowhere else.
func (l *Lifecycle) toDecide(v *store.View, p act.Principal, a Approval) (gate.Resource, error) {
	r := a.resource(p)
	if !a.asksOwner() {
		return r, nil
	}
	guards, err := l.ids.Answers(v, p, l.Facts(a.Agent).Owner)
	r.Facts.Answered = len(guards) > 0
	r.Guards = append(r.Guards, guards...)
	return r, err
}

// asker is what asked for the act: an agent, or an operator.
func (a Approval) asker() act.PrincipalKind {
	if a.Agent.Kind() == act.KindOperator {
		return act.Operator
	}
	return act.Agent
}

// Pending is the approval as the caller of the kept act is told of it.
func (l *Lifecycle) pending(a Approval) gate.Pending {
	p := gate.Pending{
		Approval: a.ID, Epoch: a.Epoch, Act: a.Act, Target: a.Target, Policy: a.Policy, Demand: a.Demand, ExpiresAt: a.ExpiresAt,
	}
	if a.Demand.Name == gate.Challenge {
		p.Question = l.puzzle(a.ID).text
	}
	return p
}

// sealedCall is what is kept under seal: the request, and whose it was beyond
// the id.
type sealedCall struct {
	Name       string
	Credential act.ID
	Binding    act.Binding
	Chain      []act.ID
	Grant      act.ID `json:",omitzero"`
	Scope      string `json:",omitempty"`
	Source     string
	Roles      uint8 `json:",omitempty"` // an operator's
	AuthAt     int64 `json:",omitzero"`  // the same, and the next
	PasskeyAt  int64 `json:",omitzero"`
	Input      json.RawMessage
}

// digest stands for one call: the act, whose it is, at what it is aimed and
// every byte of its input (T43).
func (l *Lifecycle) digest(c gate.Call) []byte {
	who := binary.BigEndian.AppendUint64([]byte{byte(c.Principal.Kind)}, uint64(c.Principal.ID))
	at := binary.BigEndian.AppendUint64(nil, uint64(c.Target.ID))
	sum := l.ids.Proof("call", []byte(c.Act), who, at, c.Input)
	return sum[:]
}

// Keep implements gate.Holds.
func (l *Lifecycle) Keep(tx *store.Tx, c gate.Call) (gate.Pending, error) {
	if c.Demand.Name == gate.Challenge {
		if err := l.cooled(tx, c.Principal.ID); err != nil {
			return gate.Pending{}, err
		}
	}
	digest := l.digest(c)
	known, found, err := l.alike(tx, c.Principal.ID, digest)
	if err != nil {
		return gate.Pending{}, err
	}
	if found {
		if known.ExpiresAt > tx.Now() {
			p := l.pending(known)
			p.Known = true
			return p, nil
		}
		// Its time is over and nobody has said so yet.
		if _, err := tx.Exec(qApprovalEnd, known.ID, known.Epoch, int64(ApprovalExpired), noBytes, "", "", tx.Now()); err != nil {
			return gate.Pending{}, err
		}
	}
	if c.Demand.Name == gate.Hold {
		if err := l.asked(tx, c.Principal); err != nil {
			return gate.Pending{}, err
		}
	}
	slot, err := l.slot(tx, c.Principal.ID)
	if err != nil {
		return gate.Pending{}, err
	}
	id, err := tx.Mint(act.KindApproval)
	if err != nil {
		return gate.Pending{}, err
	}
	raw, err := json.Marshal(sealedCall{
		Name: c.Principal.Name, Credential: c.Principal.Credential, Binding: c.Principal.Binding,
		Chain: c.Principal.Chain, Grant: c.Principal.Grant, Scope: c.Principal.Scope, Source: c.Principal.Source, Roles: c.Principal.Roles,
		AuthAt: c.Principal.AuthAt, PasskeyAt: c.Principal.PasskeyAt, Input: c.Input,
	})
	if err != nil {
		return gate.Pending{}, act.Errorf(act.Internal, "the act cannot be kept: %w", err)
	}
	a := Approval{
		ID: id, Act: c.Act, Agent: c.Principal.ID, Target: c.Target, Demand: c.Demand, Policy: c.Decision.Policy, Risk: c.Decision.Risk(), Quorum: c.Decision.Quorum(),
		State: ApprovalPending, Epoch: 1, CreatedAt: tx.Now(), ExpiresAt: tx.Now() + lifeOf(c).Microseconds(), answer: noBytes,
	}
	if c.Demand.Name == gate.Challenge {
		a.answer = l.puzzle(id).proof
	}
	made, err := tx.Exec(qApprovalMake, a.ID, a.Agent, a.Act, a.Target.ID, a.Target.Version, a.Demand.Name, a.Demand.Arg, a.Policy,
		digest, l.ids.SealHeld(id, raw), a.answer, slot, a.CreatedAt, a.ExpiresAt, a.Risk.String(), int64(a.Quorum))
	if err == nil && made == 0 {
		err = gate.Moved() // the same agent was faster elsewhere, with the same call or the same slot
	}
	return l.pending(a), err
}

var noBytes = []byte{}

// alike finds an open approval of the same call.
func (l *Lifecycle) alike(tx *store.Tx, agent act.ID, digest []byte) (a Approval, found bool, err error) {
	found, err = tx.One(qApprovalAlike, func(r *store.Row) error { a = scanApproval(r); return nil }, agent, digest)
	return a, found, err
}

// slot returns a free one of an agent's MaxPending places.
func (l *Lifecycle) slot(tx *store.Tx, agent act.ID) (int64, error) {
	var taken [MaxPending]bool
	if err := tx.All(qApprovalSlots, func(r *store.Row) error { taken[r.Int(0)] = true; return nil }, agent); err != nil {
		return 0, err
	}
	for i, t := range taken {
		if !t {
			return int64(i), nil
		}
	}
	return 0, act.Errorf(act.RateLimited, "%d of your acts wait for a decision already", MaxPending).WithRule("approval.pending").
		WithRetry(time.Minute).WithHint("wait until some of them are decided; each ends by itself in time")
}

// Spend implements gate.Holds. The digest is made of what is being done, not of
// what was kept: another act, agent, target or byte of input finds no row.
func (l *Lifecycle) Spend(tx *store.Tx, approval act.ID, c gate.Call, made act.Ref) error {
	changed, err := tx.Exec(qApprovalSpend, approval, l.digest(c), made.ID, made.Version, noBytes, tx.Now())
	if err == nil && changed != 1 {
		err = act.Errorf(act.Conflict, "the approval is not for this, or is used or over").WithRule(ruleSpent).
			WithHint("look at the approval; an approval is good for one act, once")
	}
	return err
}

const ruleSpent = "approval.spent"

// Recall implements gate.Holds.
func (l *Lifecycle) Recall(v *store.View, p act.Principal, approval act.ID) (made act.Ref, waits *gate.Pending, err error) {
	a, err := l.approval(v, approval)
	switch {
	case err != nil:
		return made, nil, err
	case a.Agent != p.ID:
		return made, nil, noApproval()
	case a.State == ApprovalExecuted:
		return a.Made, nil, nil
	case a.State < approvalOver:
		w := l.pending(a)
		return made, &w, nil
	}
	return made, nil, a.over()
}

// over says why nothing comes of an approval any more.
func (a Approval) over() *act.Error {
	switch a.State {
	case ApprovalDenied:
		return act.Errorf(act.Denied, "%s was denied", a.Act).WithRule("approval.denied").WithHint("the approval shows the reason; do not repeat it unchanged")
	case ApprovalFailed:
		return act.Errorf(act.Conflict, "%s was approved and could not be done", a.Act).WithRule(a.Rule).WithHint("the approval shows why; send the request again when that has changed")
	case ApprovalWithdrawn:
		return act.Errorf(act.Gone, "the agent has ended, and %s with it", a.Act).WithRule("approval.withdrawn").WithHint("nothing can come of it any more")
	case ApprovalExecuted, ApprovalApproved:
		return act.Errorf(act.Conflict, "this was decided already: %s", a.State).WithRule("approval.decided").WithHint("look at the approval for what came of it")
	case ApprovalPending, ApprovalExpired:
	}
	return act.Errorf(act.Gone, "the time for %s is over", a.Act).WithRule("approval.expired").WithHint("send the request again")
}

// open returns the call that an approval keeps. What does not open, or is not
// what was kept, is refused.
func (l *Lifecycle) open(a Approval) (gate.Call, error) {
	spoilt := func(cause error) error {
		return act.Errorf(act.Gone, "what was kept has been changed or cannot be read: %w", cause).WithRule("approval.spoilt").
			WithHint("tell an operator, and send the request again")
	}
	raw, err := l.ids.OpenHeld(a.ID, a.sealed)
	if err != nil {
		return gate.Call{}, spoilt(err)
	}
	var kept sealedCall
	if err := json.Unmarshal(raw, &kept); err != nil {
		return gate.Call{}, spoilt(err)
	}
	c := gate.Call{
		Act: a.Act, Target: a.Target, Input: kept.Input, Demand: a.Demand,
		Principal: act.Principal{
			Kind: a.asker(), ID: a.Agent, Name: kept.Name, Credential: kept.Credential, Binding: kept.Binding,
			Chain: kept.Chain, Grant: kept.Grant, Scope: kept.Scope, Source: kept.Source, Roles: kept.Roles,
		},
	}
	// Who had proved who they were when they asked has proved it for this act, however
	// long the other's word takes.
	waited := act.Micros(l.db.Clock()()) - a.CreatedAt
	if kept.AuthAt > 0 {
		c.Principal.AuthAt = kept.AuthAt + waited
	}
	if kept.PasskeyAt > 0 {
		c.Principal.PasskeyAt = kept.PasskeyAt + waited
	}
	if !bytes.Equal(l.digest(c), a.digest) {
		return gate.Call{}, spoilt(errDigest)
	}
	return c, nil
}
