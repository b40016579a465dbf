package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// OwnerCursor is the name of the list of owners in its cursors.
const OwnerCursor = "owner.list"

// Owner is an owner as operators see it.
type Owner struct {
	identity.Owner
	Agents int64 // that it answers for and that have not ended
}

// OwnerQuery asks for a page of owners in the order of their ids.
type OwnerQuery struct {
	Cursor act.Cursor // of OwnerCursor; zero is the start
	Limit  int        // 1 to MaxList; MaxList if 0
}

// OwnerLink makes a person answer as an owner that is there, in place of who did.
type OwnerLink struct {
	Owner    string // name of the owner
	Operator string // name of the operator; "" for nobody
	Reason   string // 1 to MaxReason characters; goes on record
}

// OwnerMove says in which team an owner works.
type OwnerMove struct {
	Owner  string // name of the owner
	Team   string // "" for none
	Keep   bool   // its agents come along; else they wait until somebody takes each over
	Reason string // 1 to MaxReason characters; goes on record
}

const qSeats store.Q = `SELECT taken FROM seat WHERE id = $1`

func (l *Lifecycle) registerOwners(g *gate.Gate) {
	l.ListOwners = gate.RegisterRead(g, gate.Read[OwnerQuery, act.Page[Owner]]{
		Info: gate.Info{Name: "owner.list", Doc: "List owners, who answers as each, and how many agents each has.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in OwnerQuery) (act.Page[Owner], error) {
			return l.listOwners(v, in)
		},
	})
	l.LinkOwner = gate.RegisterWrite(g, gate.Write[OwnerLink, Owner]{
		Info: gate.Info{Name: "owner.link", Doc: "Make a person, or nobody, answer as an owner that is there.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in OwnerLink) (gate.Resource, error) {
			_, who, err := l.linking(v, in)
			return gate.Resource{Ref: act.Ref{ID: who}, Facts: gate.Facts{Kind: act.KindNetwork}}, err
		},
		Run:    l.linkOwner,
		Replay: l.ownerMade,
	})
	l.MoveOwner = gate.RegisterWrite(g, gate.Write[OwnerMove, Owner]{
		Info: gate.Info{Name: "owner.move", Doc: "Say in which team an owner works. Its agents wait until they are taken over, or come along.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in OwnerMove) (gate.Resource, error) {
			o, err := l.moving(v, in)
			return gate.Resource{Ref: act.Ref{ID: o.ID}, Facts: gate.Facts{Kind: act.KindNetwork}}, err
		},
		Run:    l.moveOwner,
		Replay: l.ownerMade,
	})
}

// ownerMade is the owner whom an act was about.
func (l *Lifecycle) ownerMade(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (out Owner, err error) {
	name, err := l.ids.OwnerName(v, made.ID)
	if err != nil {
		return out, err
	}
	return l.ownerNamed(v, name)
}

func (l *Lifecycle) ownerNamed(v *store.View, name string) (out Owner, err error) {
	var found bool
	if out.Owner, found, err = l.ids.OwnerNamed(v, name); err == nil && !found {
		err = act.Errorf(act.NotFound, "no such owner").WithRule("owner.name").WithHint("use the name as owner.list shows it")
	}
	if err != nil {
		return out, err
	}
	return out, l.countAgents(v, &out)
}

// moving finds whom a move is about.
func (l *Lifecycle) moving(v *store.View, in OwnerMove) (o Owner, err error) {
	if _, err := checkReason(in.Reason); err != nil {
		return o, err
	}
	if in.Team != "" {
		if err := identity.CheckName("team", in.Team); err != nil {
			return o, err
		}
	}
	return l.ownerNamed(v, in.Owner)
}

func (l *Lifecycle) moveOwner(_ context.Context, tx *store.Tx, _ act.Principal, in OwnerMove) (out Owner, fx gate.Effects, err error) {
	o, err := l.moving(&tx.View, in)
	if err != nil {
		return out, fx, err
	}
	scope := Scope{Kind: ScopeOwner, Target: o.ID, Label: moved}
	var lifted bool
	switch {
	case in.Keep:
		if lifted, err = l.liftHalt(tx, scope); err != nil {
			return out, fx, err
		}
	case o.Team != "" && o.Team != in.Team:
		// Whoever has no team was answered for by nobody's.
		if err := l.putHalt(tx, halt{Scope: scope, does: act.Paused}, 0, ruleTeam); err != nil {
			return out, fx, err
		}
	}
	if o.Team == in.Team && !lifted {
		return out, fx, act.Errorf(act.Conflict, "they work in %s already", teamName(in.Team)).WithRule("owner.team").
			WithHint("with keep their agents go on, where a move has stopped them")
	}
	if o.Team != in.Team {
		changed, err := l.ids.MoveOwner(tx, o.Owner, in.Team)
		if err != nil {
			return out, fx, err
		}
		if !changed {
			return out, fx, gate.Moved()
		}
		tx.Fence(act.KindOwner, o.ID)
	}
	reason, err := checkReason(in.Reason)
	if err != nil {
		return out, fx, err
	}
	out, err = l.ownerNamed(&tx.View, in.Owner)
	return out, gate.Effects{Out: act.Ref{ID: o.ID}, Reason: reason}, err
}

func teamName(team string) string {
	if team == "" {
		return "no team"
	}
	return team
}

// linking finds what a link is about: the owner, and whom the record names with it,
// which is who answers from then on, or who does so no more.
func (l *Lifecycle) linking(v *store.View, in OwnerLink) (o identity.Owner, who act.ID, err error) {
	if _, err := checkReason(in.Reason); err != nil {
		return o, 0, err
	}
	named, err := l.ownerNamed(v, in.Owner)
	o = named.Owner
	switch {
	case err != nil:
		return o, 0, err
	case in.Operator == "":
		return o, o.Operator, nil
	}
	who, found, err := l.ids.OperatorNamed(v, in.Operator)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no such operator").WithRule("owner.operator").
			WithHint("use the name that their pages show; they have to have signed in once")
	}
	return o, who, err
}

func (l *Lifecycle) linkOwner(_ context.Context, tx *store.Tx, _ act.Principal, in OwnerLink) (out Owner, fx gate.Effects, err error) {
	o, who, err := l.linking(&tx.View, in)
	if err != nil {
		return out, fx, err
	}
	if in.Operator == "" {
		who = 0
	} else if had, found, err := l.ids.OwnerBy(&tx.View, who); err != nil || found && had.ID != o.ID {
		if err == nil {
			err = act.Errorf(act.Conflict, "they answer as %q already", had.Name).WithRule("owner.taken").
				WithHint("a person answers as one owner: unlink that one first (owner.link without an operator)")
		}
		return out, fx, err
	}
	changed, err := l.ids.LinkOwner(tx, o, who)
	if err != nil {
		return out, fx, err
	}
	if !changed {
		return out, fx, gate.Moved()
	}
	if who != 0 {
		if _, err := l.liftHalt(tx, Scope{Kind: ScopeOwner, Target: o.ID, Label: gone}); err != nil {
			return out, fx, err
		}
	}
	reason, err := checkReason(in.Reason)
	if err != nil {
		return out, fx, err
	}
	out, err = l.ownerNamed(&tx.View, in.Owner)
	return out, gate.Effects{Out: act.Ref{ID: o.ID}, Reason: reason}, err
}

func (l *Lifecycle) countAgents(v *store.View, o *Owner) error {
	_, err := v.One(qSeats, func(r *store.Row) error { o.Agents = r.Int(0); return nil }, o.ID)
	return err
}

func (l *Lifecycle) listOwners(v *store.View, in OwnerQuery) (page act.Page[Owner], err error) {
	n, after, err := listed(OwnerCursor, "owners", in.Limit, in.Cursor, 0)
	if err != nil {
		return page, err
	}
	list, err := l.ids.Owners(v, act.ID(after), n+1)
	if err != nil {
		return page, err
	}
	items := make([]Owner, len(list))
	for i := range list {
		items[i].Owner = list[i]
	}
	page = paged(OwnerCursor, items, n, func(o Owner) int64 { return int64(o.ID) })
	for i := range page.Items {
		if err := l.countAgents(v, &page.Items[i]); err != nil {
			return page, err
		}
	}
	return page, nil
}

// answered is an agent as the target of an act of p, who may be the person who answers
// for it.
func (l *Lifecycle) answered(v *store.View, p act.Principal, a Agent) (gate.Resource, error) {
	r := a.resource()
	guards, err := l.ids.Answers(v, p, a.Owner)
	r.Facts.Answered = len(guards) > 0
	r.Guards = append(r.Guards, guards...)
	return r, err
}
