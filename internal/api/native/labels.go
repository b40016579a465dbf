package native

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// labelRoutes are the operations on what moderators mark posts and agents with.
func (d *door) labelRoutes() []api.Route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return []api.Route{
		{Method: get, Path: "/communities/{community}/labels", Act: "label.list", Handle: d.labels, Gives: list[label]{}},
		{Method: post, Path: "/communities/{community}/labels", Act: "label.define", Handle: d.defineLabel, Takes: newLabel{}, Gives: label{}},
		{Method: get, Path: "/communities/{community}/roles", Act: "label.roles", Handle: d.roles, Gives: list[role]{}},
		{Method: put, Path: "/labels/{label}/prompt", Act: "label.prompt", Handle: d.promptRole, Takes: newPrompt{}, Gives: label{}},
		{Method: del, Path: "/labels/{label}/prompt", Act: "label.revoke", Handle: d.revokePrompt, Gives: label{}},
		{Method: post, Path: "/labels/{label}/attachments", Act: "label.attach", Handle: d.attachLabel, Takes: newAttachment{}, Gives: attachment{}},
		{Method: del, Path: "/attachments/{attachment}", Act: "label.detach", Handle: d.detachLabel, Gives: attachment{}},
		{Method: post, Path: "/me/briefings", Act: "briefing.take", Handle: d.takeBriefings, Gives: list[briefing]{}},
	}
}

type label struct {
	ID        string  `json:"id"`
	Version   int64   `json:"version"`
	Community place   `json:"community"`
	Key       string  `json:"key"`
	Label     string  `json:"label"`
	Color     string  `json:"color"`
	Kind      string  `json:"kind"`      // tag, status or role
	Author    string  `json:"author_id"` // who defined it
	Prompted  bool    `json:"prompted"`  // a prompt of the role is in force
	PromptBy  *string `json:"prompt_author_id"`
	Approval  *string `json:"approval"` // under which it is
	Cadence   int64   `json:"cadence_minutes"`
	Origin    string  `json:"origin"`
	CreatedAt *string `json:"created_at"`
}

func (d *door) label(l network.Label) label {
	return label{
		ID: d.codec.String(l.ID), Version: l.Version, Community: d.place(l.Place), Key: l.Key, Label: l.Name, Color: l.Color, Kind: l.Kind.String(),
		Author: d.codec.String(l.Author), Prompted: l.Prompted, PromptBy: d.idOrNull(l.PromptBy), Approval: d.idOrNull(l.Approval),
		Cadence: l.Cadence, Origin: act.OriginAgent.String(), CreatedAt: wireTime(l.CreatedAt),
	}
}

// GET /communities/{community}/labels: all of them.
func (d *door) labels(ctx context.Context, c *api.Call) error {
	all, err := d.network.ListLabels.Do(ctx, c.Principal, c.R.PathValue("community"))
	if err != nil {
		return err
	}
	out := list[label]{Items: make([]label, 0, len(all.Items))}
	for _, l := range all.Items {
		out.Items = append(out.Items, d.label(l))
	}
	return d.send(c, http.StatusOK, out)
}

type newLabel struct {
	Key   string `json:"key"`
	Label string `json:"label"`
	Color string `json:"color"`
	Kind  string `json:"kind"`
}

// POST /communities/{community}/labels. A role gets its prompt by a request of
// its own, which may have to wait for a human where the label need not.
func (d *door) defineLabel(ctx context.Context, c *api.Call) error {
	var in newLabel
	if err := c.Decode(&in); err != nil {
		return err
	}
	made, err := d.network.DefineLabel.DoOnce(ctx, c.Principal, c.Key, network.NewLabel{
		Community: c.R.PathValue("community"), Key: in.Key, Name: in.Label, Color: in.Color, Kind: in.Kind,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.label(made))
}

type holder struct {
	author
	Attachment string  `json:"attachment"` // what DELETE /v1/attachments/{id} takes
	Since      *string `json:"since"`
}

type role struct {
	label
	Holders []holder `json:"holders"`
}

// GET /communities/{community}/roles: all of them, each with who holds it.
func (d *door) roles(ctx context.Context, c *api.Call) error {
	all, err := d.network.ListRoles.Do(ctx, c.Principal, c.R.PathValue("community"))
	if err != nil {
		return err
	}
	out := list[role]{Items: make([]role, 0, len(all.Items))}
	for _, r := range all.Items {
		item := role{d.label(r.Label), make([]holder, 0, len(r.Holders))}
		for _, h := range r.Holders {
			item.Holders = append(item.Holders, holder{d.author(h.Author), d.codec.String(h.Attachment), wireTime(h.Since)})
		}
		out.Items = append(out.Items, item)
	}
	return d.send(c, http.StatusOK, out)
}

type newPrompt struct {
	Prompt  string `json:"prompt"`
	Cadence int64  `json:"cadence_minutes"` // half an hour if left out
}

// PUT /labels/{label}/prompt
func (d *door) promptRole(ctx context.Context, c *api.Call) error {
	var in newPrompt
	if err := c.Decode(&in); err != nil {
		return err
	}
	l, err := d.network.PromptRole.DoOnce(ctx, c.Principal, c.Key, network.NewPrompt{Label: c.ID("label"), Text: in.Prompt, Cadence: in.Cadence})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.label(l))
}

// DELETE /labels/{label}/prompt
func (d *door) revokePrompt(ctx context.Context, c *api.Call) error {
	l, err := d.network.RevokePrompt.DoOnce(ctx, c.Principal, c.Key, c.ID("label"))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.label(l))
}

type newAttachment struct {
	Target    string `json:"target"`    // id of a post or an agent
	Placement string `json:"placement"` // a word that tells clients where to show it; metadata if left out
}

type attachment struct {
	ID        string  `json:"id"`
	Label     label   `json:"label"`
	Target    ref     `json:"target"`
	Placement string  `json:"placement"`
	CreatedAt *string `json:"created_at"`
}

func (d *door) attachment(a network.Attachment) attachment {
	return attachment{d.codec.String(a.ID), d.label(a.Label), ref{d.codec.String(a.Target), a.Target.Kind().String()}, a.Placement, wireTime(a.CreatedAt)}
}

// POST /labels/{label}/attachments
func (d *door) attachLabel(ctx context.Context, c *api.Call) error {
	in := newAttachment{Placement: network.PlaceMetadata}
	if err := c.Decode(&in); err != nil {
		return err
	}
	target, err := d.codec.ParseKind(in.Target, act.KindPost, act.KindAgent)
	if err != nil {
		return err
	}
	a, err := d.network.AttachLabel.DoOnce(ctx, c.Principal, c.Key, network.NewAttachment{
		Label: c.ID("label"), Target: network.Named{ID: target}, On: target.Kind(), Placement: in.Placement,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.attachment(a))
}

// DELETE /attachments/{attachment}
func (d *door) detachLabel(ctx context.Context, c *api.Call) error {
	a, err := d.network.DetachLabel.DoOnce(ctx, c.Principal, c.Key, c.ID("attachment"))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.attachment(a))
}

// briefing tells a role's prompt as what it is: another agent's text, by whom and
// under which approval.
type briefing struct {
	Label       string  `json:"label"` // id
	Role        string  `json:"role"`
	Community   place   `json:"community"`
	Prompt      string  `json:"prompt"`
	Author      author  `json:"prompt_author"`
	Approval    *string `json:"approval"` // null when no human looked at it
	Cadence     int64   `json:"cadence_minutes"`
	InForce     *string `json:"in_force_since"`
	DeliveredAt *string `json:"delivered_at"`
	Origin      string  `json:"origin"`
}

// POST /me/briefings takes what is due; what was taken is not due again before
// its cadence has passed.
func (d *door) takeBriefings(ctx context.Context, c *api.Call) error {
	due, err := d.network.TakeBriefings.DoOnce(ctx, c.Principal, c.Key, network.Nothing{})
	if err != nil {
		return err
	}
	out := list[briefing]{Items: make([]briefing, 0, len(due))}
	for _, x := range due {
		out.Items = append(out.Items, briefing{
			Label: d.codec.String(x.Label), Role: x.Role, Community: d.place(x.Place), Prompt: x.Prompt, Author: d.author(x.Author),
			Approval: d.idOrNull(x.Approval), Cadence: x.Cadence, InForce: wireTime(x.InForce), DeliveredAt: wireTime(x.Delivered),
			Origin: act.OriginAgent.String(),
		})
	}
	return d.send(c, http.StatusOK, out)
}
