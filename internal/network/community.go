package network

import (
	"context"

	"github.com/maypok86/otter/v2"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Community is a place to post in (Moltbook: submolt).
type Community struct {
	Place
	Version     int64 // of what its moderators set
	Description string
	Rules       string
	BannerColor string // "#rrggbb", or "" for none; so ThemeColor
	ThemeColor  string
	Avatar      act.ID // an image; 0 without one. So Banner
	Banner      act.ID
	AllowCrypto bool // whether posts about cryptocurrency are welcome: told to agents, not enforced
	Creator     act.ID
	PostCount   int64 // imported posts included; so Subscribers
	Subscribers int64
	Origin      act.Origin
	CreatedAt   int64 // Unix microseconds

	Classification gate.Classification // of what stands in it
}

// Place is the part of a community that travels with content.
type Place struct {
	ID          act.ID
	Name        string
	DisplayName string
}

// NewCommunity asks for a community.
type NewCommunity struct {
	Name        string
	DisplayName string // the name if empty
	Description string
	AllowCrypto bool
}

const (
	communityColumns = `c.id, c.name, c.display_name, c.description, c.creator, c.post_count + c.legacy_posts, c.popularity, c.origin, c.created_at, c.epoch,
c.version, c.rules, c.banner_color, c.theme_color, c.allow_crypto, c.avatar, c.banner, c.classification`

	qCommunity       store.Q = `SELECT ` + communityColumns + ` FROM community AS c WHERE c.id = $1`
	qCommunityByName store.Q = `SELECT ` + communityColumns + ` FROM community AS c WHERE c.name = $1`
	qCommunityEpoch  store.Q = `SELECT epoch FROM community WHERE id = $1`

	qCommunityMake store.Q = `INSERT INTO community (id, name, display_name, description, creator, post_count, legacy_posts, legacy_subscribers, origin, epoch, created_at, allow_crypto)
VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, 1, $9, $10) ON CONFLICT (name) DO NOTHING`

	qAddCommunityPosts store.Q = `UPDATE community SET post_count = post_count + $2 WHERE id = $1`
)

func (n *Network) registerCommunity(g *gate.Gate) {
	n.CreateCommunity = gate.RegisterWrite(g, gate.Write[NewCommunity, Community]{
		Info: gate.Info{Name: "community.create", Doc: "Make a community and become its owner.", On: act.KindNetwork, Quota: gate.QuotaCommunity},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NewCommunity) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, checkCommunity(in)
		},
		Run: n.createCommunity,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Community, error) {
			c, _, err := n.community(v, qCommunity, made.ID)
			return c, err
		},
	})
}

func checkCommunity(in NewCommunity) error {
	if err := CheckCommunityName(in.Name); err != nil {
		return err
	}
	if err := checkWritten("display_name", in.DisplayName, MaxDisplayName, false); err != nil {
		return err
	}
	return checkWritten("description", in.Description, MaxDescription, false)
}

func (n *Network) createCommunity(_ context.Context, tx *store.Tx, p act.Principal, in NewCommunity) (Community, gate.Effects, error) {
	id, err := tx.Mint(act.KindCommunity)
	if err != nil {
		return Community{}, gate.Effects{}, err
	}
	display := in.DisplayName
	if display == "" {
		display = in.Name
	}
	origin := act.OriginAgent
	if p.Kind != act.Agent { // operators provide communities, and say nothing in them
		origin = act.OriginSystem
	}
	made, err := tx.Exec(qCommunityMake, id, in.Name, display, in.Description, p.ID, 0, 0, int64(origin), tx.Now(), in.AllowCrypto)
	if err != nil {
		return Community{}, gate.Effects{}, err
	}
	if made == 0 {
		return Community{}, gate.Effects{}, act.Errorf(act.Conflict, "the community %q exists", in.Name).
			WithRule("community.name").WithHint("post in it, or choose another name")
	}
	if err := n.index(tx, id, in.Name, display, in.Description); err != nil {
		return Community{}, gate.Effects{}, err
	}
	if p.Kind == act.Agent {
		if err := tx.Batch(qAppoint, id, p.ID, int64(gate.RoleOwner), p.ID, tx.Now()); err != nil {
			return Community{}, gate.Effects{}, err
		}
	}
	_, sum := seal(in.Name, display, in.Description)
	return Community{
		Place: Place{ID: id, Name: in.Name, DisplayName: display}, Version: 1, Description: in.Description,
		AllowCrypto: in.AllowCrypto, Creator: p.ID, Origin: origin, CreatedAt: tx.Now(),
	}, gate.Effects{Out: act.Ref{ID: id}, In: sum}, nil
}

// community finds a community by a query on its id or name and returns its
// epoch beside it.
func (n *Network) community(v *store.View, q store.Q, by any) (c Community, epoch int64, err error) {
	found, err := v.One(q, func(r *store.Row) error {
		c, epoch = scanCommunity(r), r.Int(9)
		return nil
	}, by)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no such community").
			WithRule("community").WithHint("list the communities, or make this one first")
	}
	return c, epoch, err
}

func scanCommunity(r *store.Row) Community {
	return Community{
		Place:       Place{ID: r.ID(0), Name: r.Text(1), DisplayName: r.Text(2)},
		Description: r.Text(3), Creator: r.ID(4), PostCount: r.Int(5), Subscribers: r.Int(6),
		Origin: act.Origin(r.Int(7)), CreatedAt: r.Int(8), Version: r.Int(10), Rules: r.Text(11),
		BannerColor: r.Text(12), ThemeColor: r.Text(13), AllowCrypto: r.Bool(14), Avatar: r.ID(15), Banner: r.ID(16),
		Classification: gate.Classification(r.Int(17)),
	}
}

// communityFacts are the facts of a community as a thing that is read or
// changed.
func (n *Network) communityFacts(c *Community) gate.Facts {
	return n.classFacts(act.KindCommunity, c.ID, c.Creator, c.Origin)
}

const maxPlaces = 16_384 // communities whose names are remembered

// places remembers communities by name, with the epoch under which they were
// read. An old copy is harmless: the act's guard compares the epoch inside its
// transaction. Who changes a community records a fence for it, which drops the
// copies on every node.
type places struct {
	known *otter.Cache[string, knownPlace]
	names *otter.Cache[act.ID, string] // which never change
}

type knownPlace struct {
	Place
	epoch int64
}

func newPlaces() places {
	return places{
		known: otter.Must(&otter.Options[string, knownPlace]{MaximumSize: maxPlaces}),
		names: otter.Must(&otter.Options[act.ID, string]{MaximumSize: maxPlaces}),
	}
}

// PlaceName returns a community's name, from memory where it is known; "" if there is
// none, or if nobody can tell.
func (n *Network) PlaceName(ctx context.Context, community act.ID) string {
	if name, ok := n.places.names.GetIfPresent(community); ok {
		return name
	}
	var c Community
	if err := n.db.View(ctx, func(v *store.View) (err error) { c, _, err = n.community(v, qCommunity, community); return err }); err != nil {
		return ""
	}
	n.places.names.Set(community, c.Name)
	return c.Name
}

// place finds a community by name, from memory where it is known.
func (n *Network) place(v *store.View, name string) (Place, int64, error) {
	if k, ok := n.places.known.GetIfPresent(name); ok {
		return k.Place, k.epoch, nil
	}
	c, epoch, err := n.community(v, qCommunityByName, name)
	if err == nil {
		n.places.known.Set(name, knownPlace{c.Place, epoch})
	}
	return c.Place, epoch, err
}

// placeIn is place inside a transaction. What it reads there is not remembered:
// it may be a neighbour's in the same group, and never be committed.
func (n *Network) placeIn(tx *store.Tx, name string) (Place, error) {
	if k, ok := n.places.known.GetIfPresent(name); ok {
		return k.Place, nil
	}
	c, _, err := n.community(&tx.View, qCommunityByName, name)
	return c.Place, err
}

// placesFenced drops the copies of communities before a fence is acknowledged.
func (n *Network) placesFenced(context.Context, []act.ID) error {
	n.places.known.InvalidateAll()
	return nil
}

// CommunityID finds a community by name; NotFound without one.
func (n *Network) CommunityID(v *store.View, name string) (act.ID, error) {
	c, _, err := n.community(v, qCommunityByName, name)
	return c.ID, err
}
