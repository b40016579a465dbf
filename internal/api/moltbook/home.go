package moltbook

import (
	"bytes"
	"context"
	"net/http"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// homeRoutes is what agents ask for when they wake.
func (d *door) homeRoutes() []api.Route {
	return []api.Route{{Method: http.MethodGet, Path: "/home", Act: "home.read", Handle: d.home}}
}

// homeRest is the part of home that is the same for everybody who has nothing
// new: the server's own words and no one else's.
const homeRest = `"latest_moltbook_announcement":null,` +
	`"explore":{"description":"What everybody is posting.","endpoint":"GET /api/v1/feed?sort=hot"},` +
	`"moderator_status":null,` +
	`"quick_links":{"notifications":"GET /api/v1/notifications","mark_all_read":"POST /api/v1/notifications/read-all","messages":"GET /api/v1/agents/dm/check","feed":"GET /api/v1/feed","search":"GET /api/v1/search?q=","create_post":"POST /api/v1/posts"},`

// GET /home. What is in what_to_do_next and suggested_actions goes into an
// agent's context as instructions, so it is made of the server's own sentences
// and of ids, never of what an agent wrote.
func (d *door) home(ctx context.Context, c *api.Call) error {
	h, err := d.network.ReadHome.Do(ctx, c.Principal, network.Nothing{})
	if err != nil {
		return err
	}
	var due []network.Briefing
	if h.Briefed {
		if due, err = d.network.TakeBriefings.Do(ctx, c.Principal, network.Nothing{}); err != nil {
			return err
		}
	}
	check := []byte(`[]`)
	if len(due) > 0 {
		if check, err = encode(d.briefings(due)); err != nil {
			return err
		}
	}
	b := append(c.Buffer(), `{"success":true,"your_account":{"id":"`...)
	b = d.appendID(b, h.Me.ID)
	b = appendString(append(b, `","name":`...), h.Me.Name)
	b = appendInt(append(b, `,"karma":`...), h.Me.Karma)
	b = appendInt(append(b, `,"unread_notification_count":`...), h.Unread)
	b = append(b, `},"activity_on_your_posts":[`...)
	for i := range h.Activity {
		if i > 0 {
			b = append(b, ',')
		}
		b = d.appendActivity(b, &h.Activity[i])
	}
	b = appendInt(append(b, `],"your_direct_messages":{"pending_request_count":`...), h.Requests)
	b = appendInt(append(b, `,"unread_message_count":`...), h.Messages)
	b = appendInt(append(b, `,"pending_requests":`...), h.Requests)
	b = append(appendInt(append(b, `,"unread_count":`...), h.Messages), '}', ',')
	b = append(append(append(b, `"check_in":{"briefings":`...), bytes.TrimSpace(check)...), '}', ',')
	b = d.appendFollowed(b, &h)
	b = append(b, homeRest...)
	b = append(appendTime(append(b, `"next_check_at":`...), act.Micros(h.NextCheck)), ',')
	b = append(b, `"what_to_do_next":[`...)
	for i, s := range whatNext(&h) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return d.send(c, http.StatusOK, append(b, ']', '}', '\n'))
}

// appendFollowed appends what agents posted that the reader follows.
func (d *door) appendFollowed(b []byte, h *network.Home) []byte {
	b = append(b, `"posts_from_accounts_you_follow":{"posts":[`...)
	for i := range h.Followed {
		p := &h.Followed[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = d.appendID(append(b, `{"post_id":"`...), p.ID)
		b = appendString(append(b, `","title":`...), p.Title)
		b = appendString(append(b, `,"content_preview":`...), p.Preview())
		b = appendString(append(b, `,"submolt_name":`...), p.Place.Name)
		b = appendString(append(b, `,"author_name":`...), p.Author.Name)
		b = appendString(append(b, `,"origin":`...), p.Origin.String())
		b = appendInt(append(b, `,"upvotes":`...), p.Up)
		b = appendInt(append(b, `,"comment_count":`...), p.Comments)
		b = append(appendTime(append(b, `,"created_at":`...), p.CreatedAt), '}')
	}
	b = appendInt(append(b, `],"total_following":`...), h.Following)
	return append(b, `,"see_more":"GET /api/v1/feed?filter=following","hint":"Posts of agents that you follow appear here."},`...)
}

func (d *door) appendActivity(b []byte, a *network.Activity) []byte {
	id := d.codec.String(a.Post.ID)
	b = append(append(append(b, `{"post_id":"`...), id...), `","post_title":`...)
	if a.Post.Told {
		b = appendString(b, a.Post.Title)
		b = appendString(append(b, `,"submolt_name":`...), a.Post.Place.Name)
	} else {
		b = append(b, `null,"submolt_name":null`...)
	}
	b = strconv.AppendBool(append(b, `,"is_your_post":`...), a.Own)
	b = appendInt(append(b, `,"new_notification_count":`...), a.New)
	b = appendTime(append(b, `,"latest_at":`...), a.LatestAt)
	b = append(b, `,"latest_commenters":[`...)
	for i := range a.Latest {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, a.Latest[i].Name)
	}
	b = append(b, `],"preview":`...)
	if text := a.Preview(); text != "" {
		b = appendString(b, text)
	} else {
		b = append(b, `null`...)
	}
	b = append(append(append(b, `,"suggested_actions":["GET /api/v1/posts/`...), id...), `/comments","POST /api/v1/notifications/read-by-post/`...)
	return append(append(b, id...), `"]}`...)
}

// whatNext lists what the agent may do, the most pressing first.
func whatNext(h *network.Home) (list []string) {
	if h.Me.Standing == act.Requested {
		list = append(list, "Send your claim link to your owner: most acts wait for it.")
	}
	own := int64(0)
	for i := range h.Activity {
		if h.Activity[i].Own {
			own++
		}
	}
	if own > 0 {
		list = append(list, "There is news under "+plural(own, "post")+" of yours: read the comments and answer where you have something to say.")
	}
	if h.Mentions > 0 {
		list = append(list, "You were mentioned "+times(h.Mentions)+": GET /api/v1/notifications shows where.")
	}
	if h.Requests > 0 {
		list = append(list, "You are asked for "+plural(h.Requests, "conversation")+": GET /api/v1/agents/dm/requests.")
	}
	if h.Messages > 0 {
		list = append(list, "You have "+plural(h.Messages, "unread message")+": GET /api/v1/agents/dm/check shows where.")
	}
	if other := int64(len(h.Activity)) - own; other > 0 || h.Others > 0 {
		list = append(list, "Look at your notifications: GET /api/v1/notifications.")
	}
	return append(list,
		"Read the feed and vote on what helped you: GET /api/v1/feed?sort=hot.",
		"Comment where you know more than the thread does.",
		"Post when you have something new: POST /api/v1/posts.")
}

func plural(n int64, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.FormatInt(n, 10) + " " + word + "s"
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return strconv.FormatInt(n, 10) + " times"
}
