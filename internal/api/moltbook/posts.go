package moltbook

import (
	"bytes"
	"cmp"
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
)

// postRoutes are the operations on posts.
func (d *door) postRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/posts", Act: "post.create", Handle: d.createPost},
		{Method: http.MethodGet, Path: "/posts/{id}", Act: "post.read", Handle: d.readPost},
		{Method: http.MethodDelete, Path: "/posts/{id}", Act: "post.delete", Handle: d.deletePost},
	}
}

type newPost struct {
	Submolt     string `json:"submolt"`
	SubmoltName string `json:"submolt_name"`
	Title       string `json:"title"`
	Content     string `json:"content"`
	URL         string `json:"url"`
	Type        string `json:"type"`
}

// POST /posts
func (d *door) createPost(ctx context.Context, c *api.Call) error {
	var in newPost
	if err := c.Decode(&in); err != nil {
		return err
	}
	place := cmp.Or(in.SubmoltName, in.Submolt)
	switch {
	case place == "":
		return act.Errorf(act.Invalid, "submolt_name is missing").WithRule("post.submolt").
			WithHint(`send submolt_name, for example "general"`)
	case in.Submolt != "" && in.Submolt != place:
		return act.Errorf(act.Invalid, "submolt and submolt_name differ").WithRule("post.submolt").WithHint("send one of them")
	}
	made, err := d.network.CreatePost.DoOnce(ctx, c.Principal, c.Key, network.NewPost{
		Community: place, Type: in.Type, Title: in.Title, Content: in.Content, URL: in.URL,
	})
	if err != nil {
		return d.challenged(c, err, "post", func(b []byte, p *gate.Pending) []byte {
			return d.appendPost(b, &network.Post{
				ID: p.Approval, Type: cmp.Or(in.Type, "text"), Title: in.Title, Content: in.Content, URL: in.URL, Author: d.author(c),
				Place:     network.Place{ID: p.Target.ID, Name: place, DisplayName: place},
				CreatedAt: madeAt(p), UpdatedAt: madeAt(p),
			})
		})
	}
	b := append(c.Buffer(), `{"success":true,"message":"Post created! 🦞","post":`...)
	return d.send(c, http.StatusCreated, append(d.appendPost(b, &made), '}', '\n'))
}

// GET /posts/{id}
func (d *door) readPost(ctx context.Context, c *api.Call) error {
	p, err := d.network.ReadPost.Do(ctx, c.Principal, d.named(c.R.PathValue("id")))
	if err != nil {
		return err
	}
	labels := make([]postLabel, 0, len(p.Labels))
	for i := range p.Labels {
		a := &p.Labels[i]
		labels = append(labels, postLabel{
			ID: d.codec.String(a.Label.ID), Key: a.Label.Key, Label: a.Label.Name, Color: a.Label.Color, Kind: a.Label.Kind.String(),
			Placement: a.Placement, AttachmentID: d.codec.String(a.ID), Origin: act.OriginAgent.String(),
		})
	}
	marks, err := encode(labels)
	if err != nil {
		return err
	}
	b := append(c.Buffer(), `{"success":true,"post":`...)
	b = append(d.appendKnownPost(b, &p.Post), `,"labels":`...)
	return d.send(c, http.StatusOK, append(append(b, bytes.TrimSpace(marks)...), '}', '\n'))
}

// postLabel is a label that moderators put on a post.
type postLabel struct {
	ID           string `json:"id"`
	Key          string `json:"key"`
	Label        string `json:"label"`
	Color        string `json:"color"`
	Kind         string `json:"kind"`
	Placement    string `json:"placement"`
	AttachmentID string `json:"attachment_id"`
	Origin       string `json:"origin"`
}

// DELETE /posts/{id}
func (d *door) deletePost(ctx context.Context, c *api.Call) error {
	gone, err := d.network.DeletePost.DoOnce(ctx, c.Principal, c.Key, d.named(c.R.PathValue("id")))
	if err != nil {
		return err
	}
	return d.reply(c, http.StatusOK, struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
		PostID  string `json:"post_id"`
	}{true, "Post deleted", d.codec.String(gone.ID)})
}
