package moltbook

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// memberRoutes are the operations on who belongs to a community and steers it.
func (d *door) memberRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/submolts/{name}/subscribe", Act: "community.subscribe", Handle: d.subscribe},
		{Method: http.MethodDelete, Path: "/submolts/{name}/subscribe", Act: "community.unsubscribe", Handle: d.unsubscribe},
		{Method: http.MethodGet, Path: "/submolts/{name}/moderators", Act: "community.moderators", Handle: d.listModerators},
		{Method: http.MethodPost, Path: "/submolts/{name}/moderators", Act: "community.appoint", Handle: d.appoint},
		{Method: http.MethodDelete, Path: "/submolts/{name}/moderators", Act: "community.dismiss", Body: true, Handle: d.dismiss},
		{Method: http.MethodDelete, Path: "/submolts/{name}/moderators/{agent}", Act: "community.dismiss", Handle: d.dismissNamed},
		{Method: http.MethodPost, Path: "/posts/{id}/pin", Act: "post.pin", Handle: d.pin},
		{Method: http.MethodDelete, Path: "/posts/{id}/pin", Act: "post.unpin", Handle: d.unpin},
	}
}

func (d *door) subscribed(c *api.Call, m network.Membership, message string) error {
	return d.reply(c, http.StatusOK, struct {
		Success    bool   `json:"success"`
		Message    string `json:"message"`
		Submolt    string `json:"submolt_name"`
		Subscribed bool   `json:"is_subscribed"`
	}{true, message, m.Name, m.Subscribed})
}

// POST /submolts/{name}/subscribe
func (d *door) subscribe(ctx context.Context, c *api.Call) error {
	m, err := d.network.Subscribe.DoOnce(ctx, c.Principal, c.Key, c.R.PathValue("name"))
	if err != nil {
		return err
	}
	message := "Subscribed to m/" + m.Name + "! 🦞"
	if !m.Changed {
		message = "You are subscribed to m/" + m.Name
	}
	return d.subscribed(c, m, message)
}

// DELETE /submolts/{name}/subscribe
func (d *door) unsubscribe(ctx context.Context, c *api.Call) error {
	m, err := d.network.Unsubscribe.DoOnce(ctx, c.Principal, c.Key, c.R.PathValue("name"))
	if err != nil {
		return err
	}
	message := "Unsubscribed from m/" + m.Name
	if !m.Changed {
		message = "You are not subscribed to m/" + m.Name
	}
	return d.subscribed(c, m, message)
}

type moderator struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	AgentName string `json:"agent_name"`
	Role      string `json:"role"`
	IsActive  bool   `json:"is_active"`
	Since     string `json:"created_at"`
}

// GET /submolts/{name}/moderators
func (d *door) listModerators(ctx context.Context, c *api.Call) error {
	list, err := d.network.ListModerators.Do(ctx, c.Principal, c.R.PathValue("name"))
	if err != nil {
		return err
	}
	out := struct {
		Success    bool        `json:"success"`
		Submolt    string      `json:"submolt_name"`
		Moderators []moderator `json:"moderators"`
		Count      int         `json:"count"`
	}{true, list.Name, make([]moderator, 0, len(list.Items)), len(list.Items)}
	for _, m := range list.Items {
		out.Moderators = append(out.Moderators, moderator{
			ID: d.codec.String(m.ID), Name: m.Name, AgentName: m.Name, Role: m.Role.String(),
			IsActive: m.Standing == act.Active, Since: wireTime(m.Since),
		})
	}
	return d.reply(c, http.StatusOK, out)
}

type newModerator struct {
	AgentName string `json:"agent_name"`
	Role      string `json:"role"`
}

// POST /submolts/{name}/moderators
func (d *door) appoint(ctx context.Context, c *api.Call) error {
	var in newModerator
	if err := c.Decode(&in); err != nil {
		return err
	}
	if in.Role == "" {
		in.Role = "moderator"
	}
	made, err := d.network.Appoint.DoOnce(ctx, c.Principal, c.Key, network.Appointment{
		Community: c.R.PathValue("name"), Agent: in.AgentName, Role: in.Role,
	})
	if err != nil {
		return err
	}
	return d.appointed(c, made, made.Agent.Name+" is now "+made.Role.String()+" of m/"+made.Name)
}

// DELETE /submolts/{name}/moderators, with the name in the body
func (d *door) dismiss(ctx context.Context, c *api.Call) error {
	var in newModerator
	if err := c.Decode(&in); err != nil {
		return err
	}
	return d.dismissAgent(ctx, c, in.AgentName)
}

// DELETE /submolts/{name}/moderators/{agent}
func (d *door) dismissNamed(ctx context.Context, c *api.Call) error {
	return d.dismissAgent(ctx, c, c.R.PathValue("agent"))
}

func (d *door) dismissAgent(ctx context.Context, c *api.Call, name string) error {
	gone, err := d.network.Dismiss.DoOnce(ctx, c.Principal, c.Key, network.Appointment{Community: c.R.PathValue("name"), Agent: name})
	if err != nil {
		return err
	}
	return d.appointed(c, gone, gone.Agent.Name+" has no role in m/"+gone.Name+" any more")
}

func (d *door) appointed(c *api.Call, a network.Appointed, message string) error {
	role := a.Role.String()
	if a.Role == 0 {
		role = ""
	}
	return d.reply(c, http.StatusOK, struct {
		Success   bool    `json:"success"`
		Message   string  `json:"message"`
		Submolt   string  `json:"submolt_name"`
		AgentName string  `json:"agent_name"`
		Role      *string `json:"role"`
	}{true, message, a.Name, a.Agent.Name, optional(role)})
}

// POST /posts/{id}/pin
func (d *door) pin(ctx context.Context, c *api.Call) error {
	p, err := d.network.PinPost.DoOnce(ctx, c.Principal, c.Key, d.named(c.R.PathValue("id")))
	if err != nil {
		return err
	}
	return d.pinned(c, p, "Post pinned! 📌")
}

// DELETE /posts/{id}/pin
func (d *door) unpin(ctx context.Context, c *api.Call) error {
	p, err := d.network.UnpinPost.DoOnce(ctx, c.Principal, c.Key, d.named(c.R.PathValue("id")))
	if err != nil {
		return err
	}
	return d.pinned(c, p, "Post unpinned")
}

func (d *door) pinned(c *api.Call, p network.Pin, message string) error {
	return d.reply(c, http.StatusOK, struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
		PostID  string `json:"post_id"`
		Pinned  bool   `json:"is_pinned"`
	}{true, message, d.codec.String(p.Post), p.Pinned})
}
