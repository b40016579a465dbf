package lifecycle

import (
	"context"
	"encoding/json"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewInstance asks for an agent of a class: an operator for a first one, an agent for a
// child of its own.
type NewInstance struct {
	Name        string
	Description string // checked by Config.Born
	Class       string
	Version     int64  // of the class; the one in use if 0
	Mandate     act.ID // a child's is its parent's
	Owner       string // a child's is its parent's
	Grant       string // what is wanted of the class's grant, as charter.Grant; "" is all of it
	Reason      string // 1 to MaxReason characters; goes on record
}

// Instance is an agent of a class as it was made.
type Instance struct {
	Agent   Agent
	Class   string
	Version int64
	Grant   charter.Grant
	EndsAt  int64 // Unix microseconds; 0 never

	// Token lets the agent enrol its key; it is in the answer and nowhere else. It is
	// "" when the act was held: then an operator makes one (enrollment.create).
	Token     string
	ExpiresAt int64 // of it, Unix microseconds
	entry     entry
}

// LineQuery asks for a page of an agent's children by id.
type LineQuery struct {
	Parent act.ID
	Cursor act.Cursor // of LineCursor; zero is the start
	Limit  int        // 1 to MaxList; MaxList if 0
}

// LineCursor is the name of the list of children in its cursors.
const LineCursor = "agent.line"

const (
	qInstanceAdd store.Q = `INSERT INTO agent (id, name, skeleton, owner, state, epoch, reason, invite, source, created_at, claimed_at, changed_at,
class, mandate, revision, parent, root, depth, ends_at, granted, trust)
VALUES ($1, $2, $3, $4, $5, 1, '', 0, 0, $6, $6, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`
	// A birth locks the parent's row, as every order to the parent does: whichever comes
	// second sees the first.
	qParentLock store.Q = `UPDATE agent SET changed_at = changed_at WHERE id = $1 AND epoch = $2 AND state = $3`
	qChildren   store.Q = `SELECT COUNT(*) FROM agent WHERE parent = $1 AND parent <> 0 AND state <> $2 AND state <> $3`
	qBirths     store.Q = `SELECT COUNT(*) FROM agent WHERE parent = $1 AND parent <> 0 AND created_at > $2`
	qChildrenOf store.Q = `SELECT ` + agentColumns + ` FROM agent WHERE parent = $1 AND parent <> 0 AND id > $2 ORDER BY id LIMIT $3`
)

func (l *Lifecycle) registerBirths(g *gate.Gate) {
	l.Request = gate.RegisterWrite(g, gate.Write[NewInstance, Instance]{
		Info: gate.Info{Name: actRequest, Doc: "Ask for an agent of a class, under a mandate; the class says who has to approve.", On: act.KindClass, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewInstance) (gate.Resource, error) {
			if err := identity.CheckName("owner", in.Owner); err != nil {
				return gate.Resource{}, err
			}
			return l.resolveBirth(v, p, in)
		},
		Run:    l.request,
		Replay: l.replayBirth,
		Apply:  func(_ act.Principal, out Instance) { l.agents.put(out.Agent.ID, out.entry) },
	})
	l.Spawn = gate.RegisterWrite(g, gate.Write[NewInstance, Instance]{
		Info: gate.Info{Name: actSpawn, Doc: "Make a child of your own, out of what is left of your grant.", On: act.KindClass, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewInstance) (gate.Resource, error) {
			if in.Owner != "" || in.Mandate != 0 {
				return gate.Resource{}, act.Errorf(act.Invalid, "a child has its parent's owner and mandate").WithRule("spawn.inherits").
					WithHint("leave owner and mandate out")
			}
			r, err := l.resolveBirth(v, p, in)
			if err == nil {
				_, err = l.maySpawn(p.ID, in.Class)
			}
			return r, err
		},
		Run:    l.spawn,
		Replay: l.replayBirth,
		Apply:  func(_ act.Principal, out Instance) { l.agents.put(out.Agent.ID, out.entry) },
	})
	l.ListLine = gate.RegisterRead(g, gate.Read[LineQuery, act.Page[Agent]]{
		Info: gate.Info{Name: "agent.line", Doc: "List the children of an agent.", On: act.KindAgent, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, p act.Principal, in LineQuery) (gate.Resource, error) {
			return l.ownOrAnswered(v, p, in.Parent)
		},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in LineQuery) (page act.Page[Agent], err error) {
			n, after, err := listed(LineCursor, "agents", in.Limit, in.Cursor, 0)
			if err != nil {
				return page, err
			}
			var items []Agent
			if err := v.All(qChildrenOf, func(r *store.Row) error { items = append(items, scanAgent(r)); return nil }, in.Parent, after, int64(n+1)); err != nil {
				return page, err
			}
			page = paged(LineCursor, items, n, func(a Agent) int64 { return int64(a.ID) })
			return page, l.nameOwners(v, page.Items)
		},
	})
}

// resolveBirth checks what is asked for, and brings in who has to approve: the class
// says that, not the policy, and may say so by what the request risks.
func (l *Lifecycle) resolveBirth(v *store.View, p act.Principal, in NewInstance) (r gate.Resource, err error) {
	if _, err := checkReason(in.Reason); err != nil {
		return r, err
	}
	if err := CheckName(in.Name); err != nil {
		return r, err
	}
	wish, err := wishOf(in.Grant)
	if err != nil {
		return r, err
	}
	c, err := usable(v, in)
	if err != nil {
		return r, err
	}
	r = c.resource()
	rule := c.Document.Approval
	if len(rule.Raise) > 0 {
		score, err := l.risk(v, p, c, wish)
		if err != nil {
			return r, err
		}
		rule = rule.At(score.Points)
	}
	if rule.Quorum > 0 {
		asks := "operator"
		if rule.Asks == "owner" {
			asks = "owner"
		}
		r.Demands = append(r.Demands, gate.Obligation{Name: gate.Hold, Arg: asks}, gate.QuorumOf(rule.Quorum))
		if rule.Risk == gate.RiskHigh.String() {
			r.Demands = append(r.Demands, gate.HighRisk())
		}
	}
	return r, nil
}

// usable reads the class that an instance is asked of.
func usable(v *store.View, in NewInstance) (Class, error) {
	c, err := inUse(v, in.Class)
	if in.Version != 0 {
		c, err = class(v, NamedClass{Name: in.Class, Version: in.Version})
	}
	if err == nil {
		err = c.used()
	}
	return c, err
}

// wishOf reads what is wanted of a grant.
func wishOf(text string) (charter.Grant, error) {
	if text == "" {
		// All of it: what no bound says does not narrow. A wish of children says how many.
		return charter.Grant{Spawn: charter.Spawn{Depth: charter.MaxDepth, FanOut: charter.MaxFanOut}}, nil
	}
	g, err := charter.ParseGrant([]byte(text))
	if err != nil {
		return g, act.Errorf(act.Invalid, "the grant is not in order: %w", err).WithRule("grant.form").
			WithHint(`say what you want less of, like {"acts":["post.*"],"life":"1h"}; leave it out for all that the class has`)
	}
	return g, nil
}

// birth is what request and spawn have in common.
type birth struct {
	id    act.ID
	in    NewInstance
	class Class
	grant charter.Grant
	owner act.ID
	bond  bond
	trust trust.Level // that it begins with
}

func (l *Lifecycle) request(ctx context.Context, tx *store.Tx, p act.Principal, in NewInstance) (out Instance, fx gate.Effects, err error) {
	wish, err := wishOf(in.Grant)
	if err != nil {
		return out, fx, err
	}
	b := birth{in: in}
	if b.class, err = usable(&tx.View, in); err != nil {
		return out, fx, err
	}
	b.grant = charter.Narrow(b.class.Document.Grant, wish)
	if b.owner, err = l.ids.EnsureOwner(tx, in.Owner); err != nil {
		return out, fx, err
	}
	if in.Mandate != 0 {
		m, err := l.mandate(&tx.View, NamedMandate{Mandate: in.Mandate})
		switch {
		case err != nil:
			return out, fx, err
		case m.Closed || m.ExpiresAt != 0 && m.ExpiresAt <= tx.Now():
			return out, fx, closedMandate()
		case m.Owner != b.owner:
			return out, fx, foreignMandate(m)
		}
		b.bond.mandate, b.bond.revision = m.ID, m.Revision
	}
	return l.bear(ctx, tx, p, b)
}

// maySpawn says what an agent may give a child of a class, from memory.
func (l *Lifecycle) maySpawn(parent act.ID, class string) (*bond, error) {
	b := l.bondOf(parent)
	refused := func(rule, why string) (*bond, error) {
		return nil, act.Errorf(act.Denied, "%s", why).WithRule(rule).
			WithHint("what children an agent may have stands in its class, and gets less with each generation; ask your owner")
	}
	switch {
	case b == nil || b.terms == nil:
		return refused("spawn.class", "you have no class that lets you have children")
	case b.terms.grant.Spawn.Depth < 1 || b.terms.grant.Spawn.FanOut < 1:
		return refused("spawn.depth", "you may have no children")
	case !b.terms.grant.Spawn.Classes.Has(class):
		return refused("spawn.class", "you may have no children of that class")
	}
	return b, nil
}

// spawn makes a child. Everything that bounds it is taken from its parent's row and
// budget while the parent's row is locked.
func (l *Lifecycle) spawn(ctx context.Context, tx *store.Tx, p act.Principal, in NewInstance) (out Instance, fx gate.Effects, err error) {
	above, err := l.maySpawn(p.ID, in.Class)
	if err != nil {
		return out, fx, err
	}
	wish, err := wishOf(in.Grant)
	if err != nil {
		return out, fx, err
	}
	b := birth{in: in}
	if b.class, err = usable(&tx.View, in); err != nil {
		return out, fx, err
	}
	locked, err := tx.Exec(qParentLock, p.ID, p.Epoch, int64(act.Active))
	if err != nil {
		return out, fx, err
	}
	if locked == 0 {
		return out, fx, gate.Moved()
	}
	if err := room(tx, p.ID, above.terms.grant.Spawn); err != nil {
		return out, fx, err
	}
	own := l.Facts(p.ID)
	b.owner, b.trust = own.Owner, trust.Inherited(own.Trust)
	b.grant = charter.Narrow(charter.Narrow(above.terms.grant.Handed(), b.class.Document.Grant), wish)
	b.bond = bond{mandate: above.mandate, revision: above.revision, parent: p.ID, root: above.root, depth: above.depth + 1, endsAt: above.endsAt}
	if b.bond.root == 0 {
		b.bond.root = p.ID
	}
	return l.bear(ctx, tx, p, b)
}

// room checks how many children an agent has, and how fast they came.
func room(tx *store.Tx, parent act.ID, s charter.Spawn) error {
	var living, born int64
	if _, err := tx.One(qChildren, func(r *store.Row) error { living = r.Int(0); return nil }, parent, int64(act.Killed), int64(act.Expired)); err != nil {
		return err
	}
	if living >= int64(s.FanOut) {
		return act.Errorf(act.Denied, "you have %d children, which is as many as you may have at a time", living).WithRule("spawn.fan-out").
			WithHint("wait until one has ended, or end one")
	}
	if err := backOff(&tx.View, parent, tx.Now()); err != nil || s.Rate == 0 {
		return err
	}
	window := time.Duration(s.SpawnWindow())
	if _, err := tx.One(qBirths, func(r *store.Row) error { born = r.Int(0); return nil }, parent, tx.Now()-window.Microseconds()); err != nil {
		return err
	}
	if born >= int64(s.Rate) {
		return act.Errorf(act.RateLimited, "you have had %d children in %s", born, window).WithRule("spawn.rate").WithRetry(window).
			WithHint("wait; the rate stands in your class")
	}
	return nil
}

// bear makes the agent of a birth.
func (l *Lifecycle) bear(ctx context.Context, tx *store.Tx, p act.Principal, b birth) (out Instance, fx gate.Effects, err error) {
	reason, err := checkReason(b.in.Reason)
	if err != nil {
		return out, fx, err
	}
	if l.halts.Load().onClass(b.class.ID, b.owner) {
		return out, fx, act.Errorf(act.Denied, "agents of this class, or of this owner, are stopped").WithRule("halt.birth").
			WithHint("an operator has stopped them; scope.list says why")
	}
	if b.id, err = tx.Mint(act.KindAgent); err != nil {
		return out, fx, err
	}
	b.bond.class = b.class.ID
	if life := time.Duration(b.grant.Life); life > 0 {
		ends := tx.Now() + life.Microseconds()
		if b.bond.endsAt == 0 || ends < b.bond.endsAt {
			b.bond.endsAt = ends
		}
	}
	granted, err := b.grant.Text()
	if err != nil {
		return out, fx, err
	}
	if err := l.seatNetwork(tx, b.id); err != nil {
		return out, fx, err
	}
	if err := l.seatOwner(tx, b.owner); err != nil {
		return out, fx, err
	}
	_, err = tx.Exec(qInstanceAdd, b.id, b.in.Name, Skeleton(b.in.Name), b.owner, int64(act.Active), tx.Now(), b.bond.class, b.bond.mandate,
		b.bond.revision, b.bond.parent, b.bond.root, b.bond.depth, b.bond.endsAt, string(granted), int64(b.trust))
	if err != nil {
		return out, fx, taken(b.in.Name, err)
	}
	if err := l.cfg.Born(ctx, tx, b.id, b.in.Name, b.in.Description); err != nil {
		return out, fx, err
	}
	var from charter.Budget
	if above := l.bondOf(b.bond.parent); above != nil && above.terms != nil {
		from = above.terms.grant.Budget
	}
	if err := grantBudget(tx, b.id, b.bond.parent, from, b.grant.Budget); err != nil {
		return out, fx, err
	}
	if lease := b.class.Document.Lease(); lease > 0 {
		if err := tx.Batch(qLeasePut, b.id, tx.Now()+lease.Microseconds()); err != nil {
			return out, fx, err
		}
	}
	if p.Approval == 0 { // else nobody would be told
		if out.Token, out.ExpiresAt, err = l.ids.NewEnrollment(tx, p.ID, b.id); err != nil {
			return out, fx, err
		}
	}
	tx.Fence(act.KindAgent, b.id) // what it writes must be recognised on every node
	kept := b.bond
	kept.terms = l.grants.of(string(granted))
	out.entry = entry{name: b.in.Name, owner: b.owner, epoch: 1, state: act.Active, trust: b.trust, bond: &kept}
	if out.Agent, err = l.agent(&tx.View, b.id); err != nil {
		return out, fx, err
	}
	out.Class, out.Version, out.Grant, out.EndsAt = b.class.Name, b.class.Version, b.grant, b.bond.endsAt
	return out, gate.Effects{Out: act.Ref{ID: b.id, Version: 1}, Reason: reason}, nil
}

// onClass reports whether agents of a class or an owner are stopped.
func (h *halts) onClass(class, owner act.ID) bool {
	return h.all != 0 || h.classes[class] != 0 || h.owners[owner] != 0
}

// replayBirth shows an agent that was made, without its token.
func (l *Lifecycle) replayBirth(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (out Instance, err error) {
	if out.Agent, err = l.agent(v, made.ID); err != nil {
		return out, err
	}
	if b := l.bondOf(made.ID); b != nil {
		out.EndsAt = b.endsAt
		if c := l.charters.Load().classes[b.class]; c != nil {
			out.Class, out.Version = c.Name, c.Version
		}
		if b.terms != nil {
			out.Grant = b.terms.grant
		}
	}
	if s := l.agents.look(made.ID); s != nil {
		out.entry = entry{name: out.Agent.Name, owner: out.Agent.Owner, epoch: out.Agent.Epoch, state: out.Agent.Standing, trust: out.Agent.Trust, bond: s.record.bond.Load()}
	}
	return out, nil
}

// narrower is the input of a kept birth with what an approver lets it have of its grant.
func narrower(input []byte, grant string) ([]byte, error) {
	var in NewInstance
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, act.Errorf(act.Internal, "the kept request cannot be read: %w", err)
	}
	wish, err := wishOf(in.Grant)
	if err != nil {
		return nil, err
	}
	bound, err := wishOf(grant)
	if err != nil {
		return nil, err
	}
	text, err := charter.Narrow(wish, bound).Text()
	if err != nil {
		return nil, err
	}
	in.Grant = string(text)
	return json.Marshal(in)
}
