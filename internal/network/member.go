package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Membership is what became of a subscription.
type Membership struct {
	Place
	Subscribed bool
	Changed    bool // false when it was so before
}

// Moderator is an agent with a role in a community.
type Moderator struct {
	Author
	Role  gate.Role // RoleModerator or RoleOwner
	Since int64     // Unix microseconds
}

// ModeratorList is who has a role in a community: at most MaxModerators, owners
// first.
type ModeratorList struct {
	Place
	Items []Moderator
}

// Appointment gives an agent a role, or takes it when Role is empty.
type Appointment struct {
	Community string // name
	Agent     string // name
	Role      string // moderator or owner; an owner can be made a moderator
}

// Appointed is what became of it.
type Appointed struct {
	Place
	Agent Author
	Role  gate.Role // the one the agent has now
}

// MaxModerators bounds the agents with a role in one community.
const MaxModerators = 100

const (
	qSubscribe      store.Q = `INSERT INTO subscription (community, agent, created_at) VALUES ($1, $2, $3) ON CONFLICT (community, agent) DO NOTHING`
	qUnsubscribe    store.Q = `DELETE FROM subscription WHERE community = $1 AND agent = $2`
	qSubscribed     store.Q = `SELECT 1 FROM subscription WHERE community = $1 AND agent = $2`
	qAddSubscribers store.Q = `UPDATE community SET subscriber_count = subscriber_count + $2 WHERE id = $1`

	qRole store.Q = `SELECT c.role_epoch, CAST(COALESCE(
  (SELECT m.role FROM moderator AS m WHERE m.community = c.id AND m.agent = $2),
  CASE WHEN EXISTS (SELECT 1 FROM subscription AS s WHERE s.community = c.id AND s.agent = $2) THEN 1 ELSE 0 END) AS BIGINT)
FROM community AS c WHERE c.id = $1`
	qRoleEpoch store.Q = `SELECT role_epoch FROM community WHERE id = $1`
	// Raising the epoch holds the community's row until the commit: changes of
	// roles in one community come one after the other.
	qRolesMove store.Q = `UPDATE community SET role_epoch = role_epoch + 1 WHERE id = $1`

	qAppoint store.Q = `INSERT INTO moderator (community, agent, role, appointed_by, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (community, agent) DO UPDATE SET role = excluded.role, appointed_by = excluded.appointed_by`
	qDismiss         store.Q = `DELETE FROM moderator WHERE community = $1 AND agent = $2 RETURNING role`
	qModerators      store.Q = `SELECT ` + authorColumns + `, m.role, m.created_at FROM moderator AS m JOIN profile AS a ON a.id = m.agent WHERE m.community = $1 ORDER BY m.role DESC, m.community, m.agent`
	qModeratorCounts store.Q = `SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN role = 3 THEN 1 ELSE 0 END), 0) AS BIGINT) FROM moderator WHERE community = $1`

	qMemberNamed store.Q = `SELECT ` + authorColumns + ` FROM profile AS a WHERE a.name = $1`
)

func (n *Network) registerMember(g *gate.Gate) {
	subscribe := func(name, doc string, run func(context.Context, *store.Tx, act.Principal, string) (Membership, gate.Effects, error)) *gate.WriteAct[string, Membership] {
		return gate.RegisterWrite(g, gate.Write[string, Membership]{
			Info: gate.Info{Name: name, Doc: doc, On: act.KindCommunity, Quota: gate.QuotaWrite},
			Resolve: func(_ context.Context, v *store.View, _ act.Principal, name string) (gate.Resource, error) {
				c, epoch, err := n.place(v, name)
				return gate.Resource{
					Ref:    act.Ref{ID: c.ID},
					Facts:  gate.Facts{Kind: act.KindCommunity, Community: c.ID},
					Guards: []gate.Guard{{Q: qCommunityEpoch, ID: c.ID, Epoch: epoch}},
				}, err
			},
			Run: run,
			Replay: func(_ context.Context, v *store.View, p act.Principal, made act.Ref) (Membership, error) {
				c, _, err := n.community(v, qCommunity, made.ID)
				return Membership{Place: c.Place, Subscribed: name == "community.subscribe"}, err
			},
		})
	}
	n.Subscribe = subscribe("community.subscribe", "Subscribe to a community.", n.subscribe)
	n.Unsubscribe = subscribe("community.unsubscribe", "End a subscription.", n.unsubscribe)

	n.ListModerators = gate.RegisterRead(g, gate.Read[string, ModeratorList]{
		Info: gate.Info{Name: "community.moderators", Doc: "List who moderates a community.", On: act.KindCommunity, Also: []act.Kind{act.KindAgent}, Quota: gate.QuotaRead},
		Target: func(_ context.Context, v *store.View, _ act.Principal, name string) (gate.Resource, error) {
			c, _, err := n.community(v, qCommunityByName, name)
			return gate.Resource{Ref: act.Ref{ID: c.ID}, Facts: n.communityFacts(&c)}, err
		},
		Run: n.listModerators,
		Shown: func(p act.Principal, list ModeratorList, item func(act.Ref, gate.Facts) bool) ModeratorList {
			kept := list.Items[:0]
			for _, m := range list.Items {
				if m.ID == p.ID || item(act.Ref{ID: m.ID}, gate.Facts{Kind: act.KindAgent, Community: list.Place.ID, Origin: m.Origin, Author: m.ID, AuthorStanding: m.Standing}) {
					kept = append(kept, m)
				}
			}
			list.Items = kept
			return list
		},
	})
	n.Appoint = gate.RegisterWrite(g, gate.Write[Appointment, Appointed]{
		Info:    gate.Info{Name: "community.appoint", Doc: "Make an agent moderator or owner of a community.", On: act.KindCommunity, Quota: gate.QuotaWrite},
		Resolve: n.appointmentTarget,
		Run:     n.appoint,
	})
	n.Dismiss = gate.RegisterWrite(g, gate.Write[Appointment, Appointed]{
		Info:    gate.Info{Name: "community.dismiss", Doc: "Take an agent's role in a community away, or step down.", On: act.KindCommunity, Quota: gate.QuotaWrite},
		Resolve: n.appointmentTarget,
		Run:     n.dismiss,
	})
}

func (n *Network) subscribe(_ context.Context, tx *store.Tx, p act.Principal, name string) (Membership, gate.Effects, error) {
	c, err := n.placeIn(tx, name)
	if err != nil {
		return Membership{}, gate.Effects{}, err
	}
	made, err := tx.Exec(qSubscribe, c.ID, p.ID, tx.Now())
	if err != nil {
		return Membership{}, gate.Effects{}, err
	}
	tx.Add(qAddSubscribers, c.ID, made)
	return Membership{Place: c, Subscribed: true, Changed: made == 1}, gate.Effects{Out: act.Ref{ID: c.ID}, Named: true}, nil
}

func (n *Network) unsubscribe(_ context.Context, tx *store.Tx, p act.Principal, name string) (Membership, gate.Effects, error) {
	c, err := n.placeIn(tx, name)
	if err != nil {
		return Membership{}, gate.Effects{}, err
	}
	ended, err := tx.Exec(qUnsubscribe, c.ID, p.ID)
	if err != nil {
		return Membership{}, gate.Effects{}, err
	}
	tx.Add(qAddSubscribers, c.ID, -ended)
	return Membership{Place: c, Changed: ended == 1}, gate.Effects{Out: act.Ref{ID: c.ID}, Named: true}, nil
}

// role is what p is in a community.
func (n *Network) role(v *store.View, p act.Principal, community act.ID) (gate.Role, error) {
	role, _, err := n.roleAndEpoch(v, p, community)
	return role, err
}

func (n *Network) roleAndEpoch(v *store.View, p act.Principal, community act.ID) (role gate.Role, epoch int64, err error) {
	if p.Kind != act.Agent {
		p.ID = 0 // no row has it
	}
	_, err = v.One(qRole, func(r *store.Row) error { epoch, role = r.Int(0), gate.Role(r.Int(1)); return nil }, community, p.ID)
	return role, epoch, err
}

// withRole puts p's role in the community into the facts that an act is decided
// by, and guards it: when a role in the community changes before the act has
// committed, the act starts again.
func (n *Network) withRole(v *store.View, p act.Principal, community act.ID, res *gate.Resource) error {
	role, epoch, err := n.roleAndEpoch(v, p, community)
	res.Facts.Role = role
	res.Guards = append(res.Guards, gate.Guard{Q: qRoleEpoch, ID: community, Epoch: epoch})
	return err
}

func (n *Network) listModerators(_ context.Context, v *store.View, _ act.Principal, name string) (list ModeratorList, err error) {
	c, _, err := n.community(v, qCommunityByName, name)
	if err != nil {
		return list, err
	}
	list.Place = c.Place
	err = v.All(qModerators, func(r *store.Row) error {
		list.Items = append(list.Items, Moderator{
			Author: n.scanAuthor(r, 0), Role: gate.Role(r.Int(authorWidth)), Since: r.Int(authorWidth + 1),
		})
		return nil
	}, c.ID)
	return list, err
}

// memberNamed finds an agent of this network by name.
func (n *Network) memberNamed(v *store.View, name string) (a Author, err error) {
	found, err := v.One(qMemberNamed, func(r *store.Row) error { a = n.scanAuthor(r, 0); return nil }, name)
	if err == nil && (!found || a.Origin != act.OriginAgent) {
		err = act.Errorf(act.NotFound, "no such agent").WithRule("agent.name").WithHint("use the name exactly as the agent's posts show it")
	}
	return a, err
}

func (n *Network) appointmentTarget(_ context.Context, v *store.View, p act.Principal, in Appointment) (gate.Resource, error) {
	if in.Role != "" {
		if _, err := roleNamed(in.Role); err != nil {
			return gate.Resource{}, err
		}
	}
	res, err := n.communityTarget(v, p, in.Community)
	if err != nil {
		return res, err
	}
	agent, err := n.memberNamed(v, in.Agent)
	res.Facts.Own = p.Kind == act.Agent && agent.ID == p.ID
	return res, err
}

func roleNamed(s string) (gate.Role, error) {
	switch s {
	case gate.RoleModerator.String():
		return gate.RoleModerator, nil
	case gate.RoleOwner.String():
		return gate.RoleOwner, nil
	}
	return 0, act.Errorf(act.Invalid, "role is neither moderator nor owner").WithRule("community.role").WithHint(`send role as "moderator" or "owner"`)
}

// steer takes the community's row, so that changes of roles in it come one after
// the other, and reads the caller's role again: another owner may have taken it
// while this transaction waited.
func (n *Network) steer(tx *store.Tx, p act.Principal, in Appointment) (c Community, agent Author, err error) {
	if c, _, err = n.community(&tx.View, qCommunityByName, in.Community); err != nil {
		return c, agent, err
	}
	if agent, err = n.memberNamed(&tx.View, in.Agent); err != nil {
		return c, agent, err
	}
	if _, err = tx.Exec(qRolesMove, c.ID); err != nil || p.Kind != act.Agent || agent.ID == p.ID && in.Role == "" {
		return c, agent, err
	}
	role, err := n.role(&tx.View, p, c.ID)
	if err == nil && role != gate.RoleOwner {
		err = gate.Moved()
	}
	return c, agent, err
}

func (n *Network) appoint(_ context.Context, tx *store.Tx, p act.Principal, in Appointment) (Appointed, gate.Effects, error) {
	role, err := roleNamed(in.Role)
	if err != nil {
		return Appointed{}, gate.Effects{}, err
	}
	c, agent, err := n.steer(tx, p, in)
	if err != nil {
		return Appointed{}, gate.Effects{}, err
	}
	if agent.Standing != act.Active {
		return Appointed{}, gate.Effects{}, act.Errorf(act.Conflict, "%s is not active", agent.Name).
			WithRule("community.role").WithHint("appoint an agent that is active")
	}
	had, owners, err := n.moderatorCounts(tx, c.ID)
	if err != nil {
		return Appointed{}, gate.Effects{}, err
	}
	if _, err := tx.Exec(qAppoint, c.ID, agent.ID, int64(role), p.ID, tx.Now()); err != nil {
		return Appointed{}, gate.Effects{}, err
	}
	have, left, err := n.moderatorCounts(tx, c.ID)
	switch {
	case err != nil:
		return Appointed{}, gate.Effects{}, err
	case left == 0 && owners > 0:
		return Appointed{}, gate.Effects{}, lastOwner()
	case have > MaxModerators && have > had:
		return Appointed{}, gate.Effects{}, act.Errorf(act.Conflict, "a community has up to %d moderators", MaxModerators).
			WithRule("community.moderators").WithHint("dismiss one first")
	}
	tx.Fence(act.KindCommunity, c.ID)
	return Appointed{Place: c.Place, Agent: agent, Role: role}, gate.Effects{Out: act.Ref{ID: c.ID}, Named: true}, nil
}

func (n *Network) dismiss(_ context.Context, tx *store.Tx, p act.Principal, in Appointment) (Appointed, gate.Effects, error) {
	in.Role = "" // clients send it with the name; which one it is does not matter
	c, agent, err := n.steer(tx, p, in)
	if err != nil {
		return Appointed{}, gate.Effects{}, err
	}
	var had gate.Role
	found, err := tx.One(qDismiss, func(r *store.Row) error { had = gate.Role(r.Int(0)); return nil }, c.ID, agent.ID)
	switch {
	case err != nil:
		return Appointed{}, gate.Effects{}, err
	case !found:
		return Appointed{}, gate.Effects{}, act.Errorf(act.NotFound, "%s has no role in m/%s", agent.Name, c.Name).
			WithRule("community.role").WithHint("list the community's moderators to see who has one")
	}
	if had == gate.RoleOwner {
		_, left, err := n.moderatorCounts(tx, c.ID)
		if err != nil {
			return Appointed{}, gate.Effects{}, err
		}
		if left == 0 {
			return Appointed{}, gate.Effects{}, lastOwner()
		}
	}
	tx.Fence(act.KindCommunity, c.ID)
	return Appointed{Place: c.Place, Agent: agent}, gate.Effects{Out: act.Ref{ID: c.ID}, Named: true}, nil
}

func (n *Network) moderatorCounts(tx *store.Tx, community act.ID) (all, owners int64, err error) {
	_, err = tx.One(qModeratorCounts, func(r *store.Row) error { all, owners = r.Int(0), r.Int(1); return nil }, community)
	return all, owners, err
}

func lastOwner() error {
	return act.Errorf(act.Conflict, "the last owner of a community stays").
		WithRule("community.owner").WithHint("make another agent owner first")
}
