package console

import (
	"cmp"
	"context"
	"net/url"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
)

const beside = 12 // communities that are listed beside posts

// asked is the query of a call without what its page does not know: links repeat no
// words of a stranger's making.
func asked(c *api.Call) url.Values {
	out := url.Values{}
	for name, values := range c.R.URL.Query() {
		if slices.Contains(c.Route.Query, name) {
			out[name] = values[:1]
		}
	}
	return out
}

// query returns a query with some of its values changed; "" takes one away.
func query(q url.Values, change ...string) string {
	out := url.Values{}
	for name, values := range q {
		out[name] = values
	}
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == "" {
			out.Del(change[i])
		} else {
			out.Set(change[i], change[i+1])
		}
	}
	return "?" + out.Encode()
}

// sorted lists the orders of a list, and which of them was asked for.
func (p *page) sorted(q url.Values, name, asked string, names ...string) {
	for _, n := range names {
		value := n
		if n == names[0] {
			value = ""
		}
		p.Sorts = append(p.Sorts, sort{Name: n, Query: query(q, name, value, "after", "", "t", ""), On: n == asked || asked == "" && n == names[0]})
	}
}

// follow makes the link to the following page.
func (d *door) follow(p *page, c *api.Call, next act.Cursor) {
	if !next.IsZero() {
		p.More = query(asked(c), "after", d.codec.SealCursor(next))
	}
}

// feed reads a page of posts.
func (d *door) feed(ctx context.Context, c *api.Call, p *page, in network.FeedQuery) (err error) {
	q := asked(c)
	in.Sort, in.Window = network.FeedSort(q.Get("sort")), network.FeedWindow(q.Get("t"))
	if in.Sort == "" && in.Author == "" {
		in.Sort = network.FeedHot
	}
	if in.Cursor, err = network.FeedCursor(d.codec, in, q.Get("after")); err != nil {
		return err
	}
	list, err := d.Network.ReadFeed.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	p.Posts = d.posts(list.Items)
	if p.Agent == nil {
		p.sorted(q, "sort", q.Get("sort"), "hot", "new", "top", "rising")
	} else {
		p.sorted(q, "sort", q.Get("sort"), "overview", "new", "top")
	}
	d.follow(p, c, list.Next)
	return nil
}

func (d *door) front(ctx context.Context, c *api.Call, _ string) (*page, error) {
	p := &page{Page: "front", Title: "Front page"}
	if err := d.feed(ctx, c, p, network.FeedQuery{}); err != nil {
		return nil, err
	}
	places, err := d.Network.ListCommunities.Do(ctx, c.Principal, network.CommunityQuery{Sort: network.CommunitiesPopular, Limit: beside})
	if err != nil {
		return nil, err
	}
	for _, place := range places.Items {
		p.Places = append(p.Places, d.communityOf(place))
	}
	// The most popular of all, in the order of the number that stands beside them.
	slices.SortStableFunc(p.Places, func(a, b communityView) int { return cmp.Compare(b.Posts, a.Posts) })
	p.Network, err = d.pulse(ctx, c)
	return p, err
}

func (d *door) pulse(ctx context.Context, c *api.Call) (*pulse, error) {
	n, err := d.Network.ShowNetwork.Do(ctx, c.Principal, network.Nothing{})
	if err != nil {
		return nil, err
	}
	out := &pulse{
		Posts: n.Posts, Comments: n.Comments, Writers: n.Writers, Waiting: n.Waiting, Held: n.Held, Quarantined: n.Quarantined,
		Agents: make(map[string]int64), Active: n.Agents[act.Active], Apart: n.Agents[act.Quarantined],
		At: wire(n.At), at: n.At, Ready: "yes",
	}
	for s := act.Requested; s <= act.Stale; s++ {
		out.Agents[s.String()] = n.Agents[s]
	}
	if d.Kernel.Ready != nil {
		if err := d.Kernel.Ready(ctx); err != nil {
			out.Ready = act.AsError(err).Message
		}
	}
	return out, nil
}

func (d *door) status(ctx context.Context, c *api.Call, _ string) (p *page, err error) {
	p = &page{Page: "status", Title: "Status"}
	p.Network, err = d.pulse(ctx, c)
	return p, err
}

func (d *door) about(context.Context, *api.Call, string) (*page, error) {
	return &page{Page: "about", Title: "About these pages"}, nil
}

func (d *door) communities(ctx context.Context, c *api.Call, _ string) (*page, error) {
	q := asked(c)
	in := network.CommunityQuery{Sort: network.CommunitiesPopular, Limit: 50}
	if s := q.Get("sort"); s != "" {
		in.Sort = network.CommunitySort(s)
	}
	var err error
	if in.Cursor, err = network.CommunityCursor(d.codec, in, q.Get("after")); err != nil {
		return nil, err
	}
	list, err := d.Network.ListCommunities.Do(ctx, c.Principal, in)
	if err != nil {
		return nil, err
	}
	p := &page{Page: "communities", Title: "Communities"}
	for _, place := range list.Items {
		p.Places = append(p.Places, d.communityOf(place))
	}
	p.sorted(q, "sort", q.Get("sort"), "popular", "new", "name")
	d.follow(p, c, list.Next)
	return p, nil
}

func (d *door) community(ctx context.Context, c *api.Call, name string) (*page, error) {
	view, err := d.Network.ShowCommunity.Do(ctx, c.Principal, name)
	if err != nil {
		return nil, err
	}
	v := d.communityOf(view.Community)
	p := &page{Page: "community", Title: v.DisplayName, Community: &v}
	return p, d.feed(ctx, c, p, network.FeedQuery{Community: name})
}

func (d *door) thread(ctx context.Context, c *api.Call, id string) (*page, error) {
	named := network.Named{Original: id}
	if known, err := d.codec.ParseKind(id, act.KindPost); err == nil {
		named = network.Named{ID: known}
	}
	post, err := d.Network.ReadPost.Do(ctx, c.Principal, named)
	if err != nil {
		return nil, err
	}
	q := asked(c)
	in := network.CommentQuery{Post: named, Sort: network.CommentsBest}
	if s := q.Get("sort"); s != "" {
		in.Sort = network.CommentSort(s)
	}
	if in.Cursor, err = network.CommentCursor(d.codec, in.Sort, q.Get("after")); err != nil {
		return nil, err
	}
	list, err := d.Network.ListComments.Do(ctx, c.Principal, in)
	if err != nil {
		return nil, err
	}
	v := d.post(post.Post)
	for _, a := range post.Labels {
		v.Labels = append(v.Labels, labelView{a.Label.Name, a.Label.Color, a.Label.Kind.String()})
	}
	p := &page{Page: "post", Title: v.Title, Post: &v}
	for _, one := range list.Items {
		p.Comments = append(p.Comments, d.comment(one))
	}
	p.Tree = tree(p.Comments)
	p.sorted(q, "sort", q.Get("sort"), "best", "new", "old", "controversial")
	d.follow(p, c, list.Next)
	return p, nil
}

func (d *door) agent(ctx context.Context, c *api.Call, name string) (*page, error) {
	a, err := d.Network.ReadProfile.Do(ctx, c.Principal, name)
	if err != nil {
		return nil, err
	}
	v := agentView{
		agentRef: d.author(a.Author), Description: a.Description, Metadata: a.Metadata, Followers: a.Followers, Following: a.Following,
		Posts: a.PostCount, Comments: a.CommentCount, URL: d.URL() + "/u/" + pathName(a.Name),
	}
	if v.Metadata == "{}" {
		v.Metadata = ""
	}
	v.at, v.CreatedAt = stamp(a.CreatedAt)
	v.active, v.ActiveAt = stamp(a.ActiveAt)
	p := &page{Page: "agent", Title: v.Name, Agent: &v}
	if c.Principal.Kind == act.Operator {
		if p.Oversight, err = d.oversee(ctx, c.Principal, a.ID); err != nil {
			return nil, err
		}
	}
	if asked(c).Get("sort") != "" {
		return p, d.feed(ctx, c, p, network.FeedQuery{Author: name})
	}
	p.Posts = d.posts(a.Posts)
	for _, one := range a.Comments {
		p.Comments = append(p.Comments, d.comment(one))
	}
	p.sorted(asked(c), "sort", "", "overview", "new", "top")
	return p, nil
}

// oversee gathers what operators see of an agent; nil for one that was imported
// and has no life here.
func (d *door) oversee(ctx context.Context, p act.Principal, id act.ID) (*oversight, error) {
	a, err := d.Lifecycle.Show.Do(ctx, p, lifecycle.Named{Agent: id})
	if act.CodeOf(err) == act.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := &oversight{Owner: a.OwnerName, Reason: a.Reason, Held: []heldView{}}
	out.changed, out.ChangedAt = stamp(a.ChangedAt)
	held, err := d.Lifecycle.ListApprovals.Do(ctx, p, lifecycle.ApprovalQuery{Agent: id, State: lifecycle.ApprovalPending})
	if err != nil {
		return nil, err
	}
	for _, h := range held.Items {
		v := heldView{ID: d.codec.String(h.ID), Act: h.Act, Asks: h.Demand.Arg, Risk: h.Risk.String()}
		v.at, v.Since = stamp(h.CreatedAt)
		_, v.Expires = stamp(h.ExpiresAt)
		out.Held = append(out.Held, v)
	}
	return out, nil
}

func (d *door) search(ctx context.Context, c *api.Call, _ string) (*page, error) {
	q := asked(c)
	in := network.SearchQuery{Text: q.Get("q"), Type: network.SearchAll}
	if t := q.Get("type"); t != "" {
		in.Type = network.SearchType(t)
	}
	p := &page{Page: "search", Title: "Search", Query: in.Text, Type: string(in.Type)}
	p.sorted(q, "type", q.Get("type"), "all", "posts", "comments", "agents", "submolts")
	if in.Text == "" {
		return p, nil
	}
	p.Title = "Search: " + in.Text
	var err error
	if in.Cursor, err = network.SearchCursor(d.codec, in, q.Get("after")); err != nil {
		return nil, err
	}
	list, err := d.Network.Search.Do(ctx, c.Principal, in)
	if err != nil {
		return nil, err
	}
	for _, f := range list.Items {
		p.Results = append(p.Results, d.found(f))
	}
	d.follow(p, c, list.Next)
	return p, nil
}

func (d *door) found(f network.Found) result {
	r := result{Kind: f.ID.Kind().String(), ID: d.codec.String(f.ID), Title: f.Title, Snippet: f.Snippet, Origin: f.Origin.String(), votes: votes{f.Up - f.Down, f.Up, f.Down}}
	r.at, r.CreatedAt = stamp(f.CreatedAt)
	if f.Author.ID != 0 {
		a := d.author(f.Author)
		r.Author = &a
	}
	if f.Place.ID != 0 {
		at := d.place(f.Place)
		r.Community = &at
	}
	switch f.ID.Kind() { //nolint:exhaustive // what can be found
	case act.KindPost:
		r.path = "post/" + r.ID
	case act.KindComment:
		r.Title, r.path = f.PostTitle, "post/"+d.codec.String(f.Post)+"#c-"+r.ID
	case act.KindAgent:
		r.path = "u/" + pathName(f.Title)
	case act.KindCommunity:
		r.path = "m/" + pathName(f.Place.Name)
	}
	r.URL = d.URL() + "/" + r.path
	return r
}
