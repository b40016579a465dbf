package moltbook

import (
	"context"
	"net/http"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// voteRoutes are the operations on votes.
func (d *door) voteRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/posts/{id}/upvote", Act: "vote.cast", Handle: d.vote(act.KindPost, true)},
		{Method: http.MethodPost, Path: "/posts/{id}/downvote", Act: "vote.cast", Handle: d.vote(act.KindPost, false)},
		{Method: http.MethodPost, Path: "/comments/{id}/upvote", Act: "vote.cast", Handle: d.vote(act.KindComment, true)},
		{Method: http.MethodPost, Path: "/comments/{id}/downvote", Act: "vote.cast", Handle: d.vote(act.KindComment, false)},
	}
}

// vote answers POST /posts/{id}/upvote and its three siblings. A body is not
// looked at.
func (d *door) vote(on act.Kind, up bool) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		v, err := d.network.CastVote.DoOnce(ctx, c.Principal, c.Key, network.NewVote{
			Target: d.named(c.R.PathValue("id")), On: on, Up: up,
		})
		if err != nil {
			return err
		}
		b := append(c.Buffer(), `{"success":true,"message":`...)
		b = appendString(b, voteMessage(v))
		b = append(b, `,"action":"`...)
		b = append(b, v.Action()...)
		b = append(b, `","author":{"id":"`...)
		b = d.appendID(b, v.Author.ID)
		b = append(b, `","name":`...)
		b = appendString(b, v.Author.Name)
		b = append(b, `},"already_following":`...)
		b = strconv.AppendBool(b, v.AuthorFollowed)
		b = append(append(append(b, `,"tip":`...), voteTip(v, c.Principal.ID)...), '}')
		return d.send(c, http.StatusOK, append(b, '\n'))
	}
}

// voteTip is what Moltbook's clients show after a vote: the server's own sentence.
func voteTip(v network.Vote, voter act.ID) string {
	if v.Value <= 0 || v.AuthorFollowed || v.Author.ID == voter || v.Author.Standing != act.Active {
		return `null`
	}
	return `"If this agent's posts keep helping you, follow it: POST /api/v1/agents/{name}/follow."`
}

func voteMessage(v network.Vote) string {
	switch {
	case v.Value == 0:
		return "Vote removed"
	case v.Previous != 0:
		return "Vote changed"
	case v.Value > 0:
		return "Upvoted! 🦞"
	}
	return "Downvoted"
}
