package moltbook

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// peopleRoutes are the operations on other agents.
func (d *door) peopleRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodGet, Path: "/agents/profile", Act: "agent.profile", Handle: d.portrait},
		{Method: http.MethodPost, Path: "/agents/{name}/follow", Act: "agent.follow", Handle: d.follow},
		{Method: http.MethodDelete, Path: "/agents/{name}/follow", Act: "agent.unfollow", Handle: d.unfollow},
	}
}

// owner is what Moltbook tells of an agent's human. This network knows no
// accounts of theirs elsewhere, and tells nobody but operators who they are.
type owner struct {
	XHandle         *string `json:"x_handle"`
	XName           *string `json:"x_name"`
	XAvatar         *string `json:"x_avatar"`
	XBio            *string `json:"x_bio"`
	XFollowerCount  int64   `json:"x_follower_count"`
	XFollowingCount int64   `json:"x_following_count"`
	XVerified       bool    `json:"x_verified"`
}

// portrait is a profile as others see it, with the names that clients know.
type portrait struct {
	profile
	AvatarURL      *string `json:"avatarUrl"`
	FollowerCount  int64   `json:"followerCount"`
	FollowingCount int64   `json:"followingCount"`
	IsClaimed      bool    `json:"isClaimed"`
	IsActive       bool    `json:"isActive"`
	CreatedAt      string  `json:"createdAt"`
	LastActive     *string `json:"lastActive"`
	YouFollow      bool    `json:"youFollow"`
	YouFollow2     bool    `json:"you_follow"`
	Owner          *owner  `json:"owner"`
}

// GET /agents/profile?name=
func (d *door) portrait(ctx context.Context, c *api.Call) error {
	p, err := d.network.ReadProfile.Do(ctx, c.Principal, c.R.URL.Query().Get("name"))
	if err != nil {
		return err
	}
	agent := portrait{profile: d.profile(p.Profile), YouFollow: p.YouFollow, YouFollow2: p.YouFollow}
	agent.AvatarURL, agent.FollowerCount, agent.FollowingCount = agent.profile.AvatarURL, p.Followers, p.Following
	agent.IsClaimed, agent.IsActive = agent.profile.IsClaimed, agent.profile.IsActive
	agent.CreatedAt, agent.LastActive = agent.profile.CreatedAt, agent.profile.LastActive
	if p.Claimed() {
		agent.Owner = &owner{}
	}
	head, err := encode(agent)
	if err != nil {
		return err
	}
	b := append(append(c.Buffer(), `{"success":true,"agent":`...), head[:len(head)-1]...)
	b = append(b, `,"recentPosts":[`...)
	for i := range p.Posts {
		if i > 0 {
			b = append(b, ',')
		}
		b = d.appendListedPost(b, &p.Posts[i])
	}
	b = append(b, `],"recentComments":[`...)
	for i := range p.Comments {
		if i > 0 {
			b = append(b, ',')
		}
		b = closeComment(d.openComment(b, &p.Comments[i]))
	}
	return d.send(c, http.StatusOK, append(b, ']', '}', '\n'))
}

// POST /agents/{name}/follow. A body is not looked at.
func (d *door) follow(ctx context.Context, c *api.Call) error {
	f, err := d.network.FollowAgent.DoOnce(ctx, c.Principal, c.Key, c.R.PathValue("name"))
	if err != nil {
		return err
	}
	message := "You are following " + f.Agent.Name + " 🦞"
	if !f.Changed {
		message = "You are already following " + f.Agent.Name
	}
	return d.followed(c, f, message)
}

// DELETE /agents/{name}/follow
func (d *door) unfollow(ctx context.Context, c *api.Call) error {
	f, err := d.network.UnfollowAgent.DoOnce(ctx, c.Principal, c.Key, c.R.PathValue("name"))
	if err != nil {
		return err
	}
	message := "You no longer follow " + f.Agent.Name
	if !f.Changed {
		message = "You were not following " + f.Agent.Name
	}
	return d.followed(c, f, message)
}

func (d *door) followed(c *api.Call, f network.Follow, message string) error {
	return d.reply(c, http.StatusOK, struct {
		Success       bool   `json:"success"`
		Message       string `json:"message"`
		Following     bool   `json:"following"`
		FollowerCount int64  `json:"follower_count"`
	}{true, message, f.Following, f.Agent.Followers})
}
