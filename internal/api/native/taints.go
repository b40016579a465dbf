package native

import (
	"context"
	"net/http"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/provenance"
)

// taintRoutes are how agents and things are labelled by what went into them.
func (d *door) taintRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/taints", Act: "taint.list", Handle: d.taints, Gives: list[taint]{}, Query: []string{"limit", "cursor"}},
		{Method: get, Path: "/own-labels", Act: "taint.own", Handle: d.ownTaint, Gives: labelled{}},
		{Method: get, Path: "/taints/{id}", Act: "taint.show", Handle: d.taint, Gives: labelled{}, Query: []string{"origin"}},
		{Method: post, Path: "/taints/{id}/flag", Act: "taint.flag", Handle: d.orderTaint(d.provenance.Flag), Takes: newOrder{}, Gives: taint{}},
		{Method: post, Path: "/taints/{id}/clear", Act: "taint.clear", Handle: d.orderTaint(d.provenance.Clear), Takes: newOrder{}, Gives: taint{}},
		{Method: http.MethodPut, Path: "/communities/{community}/classification", Act: "community.classify", Handle: d.classify, Takes: newClassification{}, Gives: community{}},
	}
}

// taint is how something is labelled beyond what comes with who and where it is.
type taint struct {
	ID              string   `json:"id"`
	Kind            string   `json:"kind"`
	Integrity       string   `json:"integrity"`       // trusted, organisation, public or flagged
	Confidentiality string   `json:"confidentiality"` // unclassified, internal or confidential
	Path            []string `json:"path"`            // what it comes from, the nearest first
	Origins         []string `json:"origins"`         // agents and communities that what is flagged or confidential comes from; none where they are too many to list
	OriginsWrong    float64  `json:"origins_wrong"`   // the share of those who are not among them of whom among says yes; above 0 where they are too many to list
	By              *string  `json:"by"`              // id of the operator who said so; null where it was carried over
	At              *string  `json:"at"`
}

// labelled is what is in force for an agent, or known of a thing.
type labelled struct {
	ID              string   `json:"id"`
	Kind            string   `json:"kind"`
	Integrity       string   `json:"integrity"`
	Confidentiality string   `json:"confidentiality"`
	Labels          []string `json:"labels"` // as policies see them
	Among           *bool    `json:"among"`  // whether what was asked for as origin can be among the origins; null where nothing was
	Taint           *taint   `json:"taint"`  // null where nothing has come to it
}

func (d *door) wireTaint(t provenance.Taint) taint {
	out := taint{
		ID: d.codec.String(t.Subject), Kind: t.Subject.Kind().String(), Integrity: t.Integrity.String(), Confidentiality: t.Secrecy.String(),
		Path: make([]string, 0, len(t.Path)), Origins: []string{}, OriginsWrong: t.Origins.Error(), By: d.idOrNull(t.By), At: wireTime(t.At),
	}
	few, _ := t.Origins.Few()
	for _, id := range few {
		out.Origins = append(out.Origins, d.codec.String(id))
	}
	for _, ref := range t.Path {
		out.Path = append(out.Path, d.codec.String(ref.ID))
	}
	return out
}

func (d *door) sendLabelled(c *api.Call, s provenance.Standing) error {
	out := labelled{
		ID: d.codec.String(s.Subject), Kind: s.Subject.Kind().String(), Integrity: s.Integrity.String(), Confidentiality: s.Secrecy.String(),
		Labels: slices.AppendSeq([]string{}, s.Words),
	}
	if s.Asked != 0 {
		out.Among = &s.Among
	}
	if s.Raised {
		t := d.wireTaint(s.Taint)
		out.Taint = &t
	}
	return d.send(c, http.StatusOK, out)
}

// GET /taints
func (d *door) taints(ctx context.Context, c *api.Call) (err error) {
	var in provenance.TaintQuery
	if in.Limit, in.Cursor, err = d.paging(c, provenance.TaintCursor, provenance.MaxTaints); err != nil {
		return err
	}
	page, err := d.provenance.List.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.wireTaint))
}

// GET /own-labels
func (d *door) ownTaint(ctx context.Context, c *api.Call) error {
	s, err := d.provenance.Own.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	return d.sendLabelled(c, s)
}

// GET /taints/{id}?origin
func (d *door) taint(ctx context.Context, c *api.Call) (err error) {
	var in provenance.TaintQuestion
	if in.Subject, err = d.labelledID(c); err != nil {
		return err
	}
	if origin := c.R.URL.Query().Get("origin"); origin != "" {
		if in.Origin, err = d.codec.Parse(origin); err != nil {
			return err
		}
	}
	s, err := d.provenance.Show.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.sendLabelled(c, s)
}

func (d *door) labelledID(c *api.Call) (act.ID, error) { return d.codec.Parse(c.R.PathValue("id")) }

// orderTaint answers POST /taints/{id}/flag and its like.
func (d *door) orderTaint(do *gate.WriteAct[provenance.TaintOrder, provenance.Taint]) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in newOrder
		if err := c.Decode(&in); err != nil {
			return err
		}
		id, err := d.labelledID(c)
		if err != nil {
			return err
		}
		t, err := do.DoOnce(ctx, c.Principal, c.Key, provenance.TaintOrder{Subject: id, Reason: in.Reason})
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, d.wireTaint(t))
	}
}

type newClassification struct {
	Classification string `json:"classification"` // unclassified, internal or confidential
	Reason         string `json:"reason"`
}

// PUT /communities/{community}/classification
func (d *door) classify(ctx context.Context, c *api.Call) error {
	var in newClassification
	if err := c.Decode(&in); err != nil {
		return err
	}
	as, err := gate.ParseClassification(in.Classification)
	if err != nil {
		return err
	}
	x, err := d.network.ClassifyCommunity.DoOnce(ctx, c.Principal, c.Key, network.Classify{Community: c.R.PathValue("community"), As: as, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.community(x))
}
