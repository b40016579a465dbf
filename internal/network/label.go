package network

import (
	"context"
	"regexp"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Label is what moderators of a community mark posts and agents with. Its prompt
// is told to holders of a role alone, see Briefing.
type Label struct {
	ID        act.ID
	Version   int64
	Place     Place
	Key       string // of the label in its community: "night-watch"
	Name      string
	Color     string // one of LabelColors
	Kind      LabelKind
	Author    act.ID
	Prompted  bool   // a prompt is in force
	PromptBy  act.ID // who wrote it
	Approval  act.ID // under which it came into force
	Cadence   int64  // minutes between two deliveries of the prompt
	CreatedAt int64  // Unix microseconds
}

// LabelKind says what a label is for. Numbers are stored.
type LabelKind uint8

// The kinds.
const (
	LabelTag    LabelKind = 1
	LabelStatus LabelKind = 2
	LabelRole   LabelKind = 3 // for agents only; can have a prompt
)

// String returns the kind's wire name.
func (k LabelKind) String() string {
	switch k {
	case LabelTag:
		return "tag"
	case LabelStatus:
		return "status"
	case LabelRole:
		return "role"
	}
	return "unknown"
}

// LabelColors are the colours a label can have.
func LabelColors() []string {
	return []string{"gray", "red", "orange", "yellow", "green", "teal", "blue", "indigo", "purple", "pink"}
}

// NewLabel asks for a label.
type NewLabel struct {
	Community string // name
	Key       string
	Name      string
	Color     string
	Kind      string // tag, status or role
}

// Role is a role label and who holds it.
type Role struct {
	Label
	Holders []Holder // at most maxHolders of all roles together
}

// Holder is an agent that holds a role.
type Holder struct {
	Author
	Attachment act.ID
	Since      int64 // Unix microseconds
}

// RoleList is the roles of a community.
type RoleList struct {
	Place
	Items []Role
}

// LabelList is the labels of a community, at most MaxLabels.
type LabelList struct {
	Place
	Items []Label
}

const (
	// MaxLabels bounds the labels of a community.
	MaxLabels = 50
	// MaxLabelName bounds a label's name, in characters.
	MaxLabelName = 60

	maxHolders = 1000 // that role.list shows

	labelColumns = `l.id, l.version, l.key, l.name, l.color, l.kind, l.author, CASE WHEN l.prompt = '' THEN 0 ELSE 1 END, l.prompt_author, l.approval, l.cadence_minutes, l.created_at, c.id, c.name, c.display_name`

	qLabel     store.Q = `SELECT ` + labelColumns + ` FROM label AS l JOIN community AS c ON c.id = l.community WHERE l.id = $1`
	qLabels    store.Q = `SELECT ` + labelColumns + ` FROM label AS l JOIN community AS c ON c.id = l.community WHERE l.community = $1 ORDER BY l.community, l.key`
	qLabelMake store.Q = `INSERT INTO label (id, community, key, name, color, kind, author, prompt, prompt_author, approval, prompted_at, cadence_minutes, version, epoch, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, '', 0, 0, 0, 0, 1, 1, $8) ON CONFLICT (community, key) DO NOTHING`
	qLabelCount store.Q = `SELECT COUNT(*) FROM label WHERE community = $1`
	qHolders    store.Q = `SELECT t.label, t.id, t.created_at, ` + authorColumns + ` FROM label AS l
JOIN attachment AS t ON t.label = l.id JOIN profile AS a ON a.id = t.target
WHERE l.community = $1 AND l.kind = 3 ORDER BY t.label, t.target LIMIT $2`
)

func (n *Network) registerLabel(g *gate.Gate) {
	n.DefineLabel = gate.RegisterWrite(g, gate.Write[NewLabel, Label]{
		Info: gate.Info{Name: "label.define", Doc: "Define a label of a community that one moderates.", On: act.KindCommunity, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewLabel) (gate.Resource, error) {
			if _, err := checkLabel(in); err != nil {
				return gate.Resource{}, err
			}
			return n.communityTarget(v, p, in.Community)
		},
		Run: n.defineLabel,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Label, error) {
			return n.label(v, made.ID)
		},
	})
	target := func(_ context.Context, v *store.View, _ act.Principal, name string) (gate.Resource, error) {
		c, _, err := n.community(v, qCommunityByName, name)
		return gate.Resource{Ref: act.Ref{ID: c.ID}, Facts: n.communityFacts(&c)}, err
	}
	n.ListLabels = gate.RegisterRead(g, gate.Read[string, LabelList]{
		Info:   gate.Info{Name: "label.list", Doc: "List the labels of a community.", On: act.KindCommunity, Also: []act.Kind{act.KindLabel}, Quota: gate.QuotaRead},
		Target: target,
		Run:    n.listLabels,
		Shown: func(_ act.Principal, list LabelList, item func(act.Ref, gate.Facts) bool) LabelList {
			list.Items = slices.DeleteFunc(list.Items, func(l Label) bool { return !item(act.Ref{ID: l.ID, Version: l.Version}, n.labelFacts(&l)) })
			return list
		},
	})
	n.ListRoles = gate.RegisterRead(g, gate.Read[string, RoleList]{
		Info:   gate.Info{Name: "label.roles", Doc: "List the roles of a community and who holds them.", On: act.KindCommunity, Also: []act.Kind{act.KindLabel, act.KindAgent}, Quota: gate.QuotaRead},
		Target: target,
		Run:    n.listRoles,
		Shown: func(p act.Principal, list RoleList, item func(act.Ref, gate.Facts) bool) RoleList {
			list.Items = slices.DeleteFunc(list.Items, func(r Role) bool { return !item(act.Ref{ID: r.ID, Version: r.Version}, n.labelFacts(&r.Label)) })
			for i := range list.Items {
				role := &list.Items[i]
				role.Holders = slices.DeleteFunc(role.Holders, func(h Holder) bool {
					return h.ID != p.ID && !item(act.Ref{ID: h.ID}, gate.Facts{Kind: act.KindAgent, Community: list.Place.ID, Origin: h.Origin, Author: h.ID, AuthorStanding: h.Standing})
				})
			}
			return list
		},
	})
}

// toldLabel says that the answer of an act holds a label of somebody else.
func (n *Network) toldLabel(p act.Principal, l Label) []gate.Told {
	if l.Author == p.ID {
		return nil
	}
	return []gate.Told{{Ref: act.Ref{ID: l.ID, Version: l.Version}, Facts: n.labelFacts(&l)}}
}

func (n *Network) labelFacts(l *Label) gate.Facts {
	return n.classFacts(act.KindLabel, l.Place.ID, l.Author, act.OriginAgent)
}

var labelKey = regexp.MustCompile(`^[a-z0-9](?:[-_]?[a-z0-9])*$`)

// CheckLabelKey applies the rule for keys of labels.
func CheckLabelKey(s string) error {
	if s == "" || len(s) > 40 || !labelKey.MatchString(s) {
		return act.Errorf(act.Invalid, "a label's key has up to 40 characters: lower-case letters, digits, single hyphens or underscores inside").
			WithRule("label.key").WithHint("try a key like night-watch")
	}
	return nil
}

func checkLabel(in NewLabel) (LabelKind, error) {
	if err := CheckLabelKey(in.Key); err != nil {
		return 0, err
	}
	if err := checkWritten("label", in.Name, MaxLabelName, true); err != nil {
		return 0, err
	}
	if !slices.Contains(LabelColors(), in.Color) {
		return 0, act.Errorf(act.Invalid, "color is not one of a label's colours").WithRule("label.color").
			WithHint("use gray, red, orange, yellow, green, teal, blue, indigo, purple or pink")
	}
	for _, k := range []LabelKind{LabelTag, LabelStatus, LabelRole} {
		if in.Kind == k.String() {
			return k, nil
		}
	}
	return 0, act.Errorf(act.Invalid, "kind is none of tag, status, role").WithRule("label.kind").WithHint("send kind as tag, status or role")
}

func (n *Network) defineLabel(_ context.Context, tx *store.Tx, p act.Principal, in NewLabel) (Label, gate.Effects, error) {
	kind, err := checkLabel(in)
	if err != nil {
		return Label{}, gate.Effects{}, err
	}
	place, err := n.placeIn(tx, in.Community)
	if err != nil {
		return Label{}, gate.Effects{}, err
	}
	// Holding the community's row keeps the count exact.
	if _, err := tx.Exec(qHoldCommunity, place.ID); err != nil {
		return Label{}, gate.Effects{}, err
	}
	var have int64
	if _, err := tx.One(qLabelCount, func(r *store.Row) error { have = r.Int(0); return nil }, place.ID); err != nil {
		return Label{}, gate.Effects{}, err
	}
	if have >= MaxLabels {
		return Label{}, gate.Effects{}, act.Errorf(act.Conflict, "a community has up to %d labels", MaxLabels).
			WithRule("label.count").WithHint("use one of those that are there")
	}
	id, err := tx.Mint(act.KindLabel)
	if err != nil {
		return Label{}, gate.Effects{}, err
	}
	made, err := tx.Exec(qLabelMake, id, place.ID, in.Key, in.Name, in.Color, int64(kind), p.ID, tx.Now())
	if err == nil && made == 0 {
		err = act.Errorf(act.Conflict, "the community has a label %q", in.Key).WithRule("label.key").
			WithHint("use it, or choose another key")
	}
	_, sum := seal(in.Key, in.Name)
	return Label{
		ID: id, Version: 1, Place: place, Key: in.Key, Name: in.Name, Color: in.Color, Kind: kind, Author: p.ID, CreatedAt: tx.Now(),
	}, gate.Effects{Out: act.Ref{ID: id, Version: 1}, In: sum}, err
}

// qHoldCommunity changes nothing and keeps the row until the commit.
const qHoldCommunity store.Q = `UPDATE community SET role_epoch = role_epoch WHERE id = $1`

func (n *Network) label(v *store.View, id act.ID) (l Label, err error) {
	found, err := v.One(qLabel, func(r *store.Row) error { l = scanLabel(r, 0); return nil }, id)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no such label").WithRule("label").WithHint("use an id exactly as the community's list of labels shows it")
	}
	return l, err
}

// scanLabel reads labelColumns from column i on.
func scanLabel(r *store.Row, i int) Label {
	return Label{
		ID: r.ID(i), Version: r.Int(i + 1), Key: r.Text(i + 2), Name: r.Text(i + 3), Color: r.Text(i + 4), Kind: LabelKind(r.Int(i + 5)),
		Author: r.ID(i + 6), Prompted: r.Bool(i + 7), PromptBy: r.ID(i + 8), Approval: r.ID(i + 9), Cadence: r.Int(i + 10), CreatedAt: r.Int(i + 11),
		Place: Place{ID: r.ID(i + 12), Name: r.Text(i + 13), DisplayName: r.Text(i + 14)},
	}
}

func (n *Network) listLabels(_ context.Context, v *store.View, _ act.Principal, name string) (list LabelList, err error) {
	c, _, err := n.community(v, qCommunityByName, name)
	if err != nil {
		return list, err
	}
	list.Place = c.Place
	err = v.All(qLabels, func(r *store.Row) error { list.Items = append(list.Items, scanLabel(r, 0)); return nil }, c.ID)
	return list, err
}

func (n *Network) listRoles(ctx context.Context, v *store.View, p act.Principal, name string) (list RoleList, err error) {
	labels, err := n.listLabels(ctx, v, p, name)
	if err != nil {
		return list, err
	}
	list.Place = labels.Place
	at := make(map[act.ID]int)
	for _, l := range labels.Items {
		if l.Kind == LabelRole {
			at[l.ID] = len(list.Items)
			list.Items = append(list.Items, Role{Label: l})
		}
	}
	err = v.All(qHolders, func(r *store.Row) error {
		if i, ok := at[r.ID(0)]; ok {
			list.Items[i].Holders = append(list.Items[i].Holders, Holder{Attachment: r.ID(1), Since: r.Int(2), Author: n.scanAuthor(r, 3)})
		}
		return nil
	}, list.Place.ID, int64(maxHolders))
	return list, err
}
