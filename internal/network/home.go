package network

import (
	"context"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Home is what an agent looks at when it wakes: what happened and what it may do
// next.
type Home struct {
	Me       Author // id, name, karma and standing
	Unread   int64
	Requests int64      // for conversations, that wait
	Messages int64      // unread
	Briefed  bool       // prompts of the reader's roles are due: see Network.TakeBriefings
	Activity []Activity // posts with unread notifications, the newest first
	Mentions int64      // of the unread notifications looked at
	Others   int64      // of the unread notifications looked at, those about no post

	Following int64     // agents that the reader follows
	Followed  []Post    // what they posted last, the newest first, at most homeFollowed
	NextCheck time.Time // when to look in again, spread over all agents
}

// Activity is what is new under one post.
type Activity struct {
	Post     NoticedPost
	Own      bool // the reader wrote the post
	New      int64
	LatestAt int64    // Unix microseconds
	Latest   []Author // who commented last, the newest first, each once
	Newest   Notification
}

// Preview is the start of the newest comment, shortened, if there is one and the
// reader may see it.
func (a *Activity) Preview() string { return firstRunes(a.Newest.Comment.Content, previewRunes) }

const (
	homeNotices  = 100 // unread notifications that are looked at
	homePosts    = 10  // posts that are listed
	homeAuthors  = 5   // authors that are listed of one post
	homeFollowed = 5   // posts of agents that the reader follows
	previewRunes = 160

	qHome store.Q = `SELECT a.name, a.karma + a.legacy_karma, b.unread, a.following,
CASE WHEN EXISTS (SELECT 1 FROM attachment AS t JOIN label AS l ON l.id = t.label WHERE ` + promptDue + `) THEN 1 ELSE 0 END,
CASE WHEN EXISTS (SELECT 1 FROM attachment AS t WHERE t.target = $1) THEN 1 ELSE 0 END
FROM profile AS a JOIN inbox AS b ON b.agent = a.id WHERE a.id = $1`
)

func (n *Network) registerHome(g *gate.Gate) {
	n.ReadHome = gate.RegisterRead(g, gate.Read[Nothing, Home]{
		Info: gate.Info{
			Name: "home.read", Doc: "Show what happened to the caller and what it may do next.",
			On: act.KindNotification, Also: []act.Kind{act.KindPost, act.KindComment}, Quota: gate.QuotaRead,
		},
		Target: func(context.Context, *store.View, act.Principal, Nothing) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNotification}}, nil
		},
		Run:   n.readHome,
		Shown: n.shownHome,
	})
}

// readHome asks the database nothing when nothing has happened since it last did:
// heartbeats ask for this most.
func (n *Network) readHome(_ context.Context, v *store.View, p act.Principal, _ Nothing) (h Home, err error) {
	h, known, err := n.quiet(v, p)
	if err == nil && !known {
		h, err = n.askHome(v, p)
	}
	h.NextCheck = n.gate.NextCheck(p.ID)
	return h, err
}

// askHome makes two small queries when nothing is new.
func (n *Network) askHome(v *store.View, p act.Principal) (h Home, err error) {
	var since stamp
	var news uint64
	keep := n.readers != nil
	if keep {
		since = n.readers.stamp(p.ID)
		list, short, err := n.followList(v, p.ID)
		if err != nil {
			return h, err
		}
		keep, news = short, n.readers.news(list)
	}
	found, err := v.One(qHome, func(r *store.Row) error {
		h.Me = Author{ID: p.ID, Name: r.Text(0), Karma: r.Int(1), Standing: n.standing(p.ID)}
		h.Unread, h.Following, h.Briefed = r.Int(2), r.Int(3), r.Bool(4)
		keep = keep && h.Unread == 0 && !r.Bool(5) // prompts fall due by themselves
		return nil
	}, p.ID, act.Micros(n.gate.Now()))
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "no such agent")
	}
	if err != nil {
		return h, err
	}
	if h.Following > 0 {
		page, _, err := n.personalFeed(v, p.ID, FeedQuery{Personal: PersonalFollowing, Sort: FeedNew, Limit: homeFollowed}, feedScope{}, start{})
		if err != nil {
			return h, err
		}
		h.Followed = page.Items
	}
	if h.Requests, h.Messages, err = n.messageCounts(v, p.ID); err != nil || h.Unread == 0 {
		if err == nil && keep {
			n.keepQuiet(p.ID, h, since, news)
		}
		return h, err
	}
	var list []Notification
	if err := v.All(qNoticesUnread, func(r *store.Row) error { list = append(list, n.scanNotice(r)); return nil },
		p.ID, int64(homeNotices)); err != nil {
		return h, err
	}
	h.gather(p, list)
	return h, nil
}

// gather sorts unread notifications, newest first, under the posts they are about.
func (h *Home) gather(p act.Principal, list []Notification) {
	at := make(map[act.ID]int)
	for i := range list {
		x := &list[i]
		if x.Kind == NoticeMention {
			h.Mentions++
		}
		if !x.Post.Told {
			h.Others++
			continue
		}
		j, known := at[x.Post.ID]
		if !known {
			if len(h.Activity) == homePosts {
				continue
			}
			j = len(h.Activity)
			at[x.Post.ID] = j
			h.Activity = append(h.Activity, Activity{Post: x.Post, Own: x.Post.author == p.ID, LatestAt: x.CreatedAt})
		}
		a := &h.Activity[j]
		a.New++
		if !x.Comment.Told {
			continue
		}
		if !a.Newest.Comment.Told {
			a.Newest = *x
		}
		if x.Actor.ID != 0 && len(a.Latest) < homeAuthors && !slices.Contains(a.Latest, x.Actor) {
			a.Latest = append(a.Latest, x.Actor)
		}
	}
}

// shownHome lists the foreign posts and comments that home tells of and takes out
// what the reader may not see.
func (n *Network) shownHome(p act.Principal, h Home, item func(act.Ref, gate.Facts) bool) Home {
	for i := range h.Activity {
		a := &h.Activity[i]
		one := []Notification{{Post: a.Post, Comment: a.Newest.Comment}}
		n.shownNotices(p, one, item)
		a.Post, a.Newest.Comment = one[0].Post, one[0].Comment
	}
	h.Followed = n.shownPosts(p, act.Page[Post]{Items: h.Followed}, item).Items
	return h
}
