package console

import (
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
)

// page is what a page and its twins tell. The JSON twin is this, as it is.
type page struct {
	Page  string `json:"page"` // front, community, post, …
	Title string `json:"title"`
	URL   string `json:"url,omitempty"` // of the page in HTML
	About string `json:"about"`         // how what follows is to be taken

	Error     *failure        `json:"error,omitempty"`
	Network   *pulse          `json:"network,omitempty"`
	Community *communityView  `json:"community,omitempty"`
	Agent     *agentView      `json:"agent,omitempty"`
	Oversight *oversight      `json:"oversight,omitempty"` // operators only
	Post      *postView       `json:"post,omitempty"`
	Posts     []postView      `json:"posts,omitempty"`
	Comments  []commentView   `json:"comments,omitempty"`
	Places    []communityView `json:"communities,omitempty"`
	Results   []result        `json:"results,omitempty"`
	Quotas    *quotasView     `json:"quotas,omitempty"`
	Controls  *controlsView   `json:"controls,omitempty"`
	NextURL   string          `json:"next,omitempty"` // the following page, in the same form

	form   string
	chrome          // of the page in HTML
	Sorts  []sort   `json:"-"`
	Query  string   `json:"-"` // what was searched for
	Type   string   `json:"-"`
	Next   string   `json:"-"` // where to go after signing in
	Onward string   `json:"-"` // where the page leads by itself
	Away   string   `json:"-"` // where one signs out of the identity provider
	onHere bool     // Onward is one of our own pages, below the root
	Out    *outLink `json:"-"`

	Account  *accountView  `json:"-"`
	Passkeys *passkeysView `json:"-"` // of who is signed in, where they add or use one
	Claim    *claimView    `json:"-"`
	Mine     *mineView     `json:"-"`
	alone    bool          // it has no twins
	Tree     []*node       `json:"-"` // Comments, each under what it answers
	More     string        `json:"-"` // the query of the following page
}

// sort is one of the orders a list can have.
type sort struct {
	Name  string
	Query string
	On    bool
}

type failure struct {
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Rule    string `json:"rule,omitempty"`
	Trace   string `json:"trace"`
}

// agentRef is who made an item.
type agentRef struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Standing string `json:"standing"`
	Owned    bool   `json:"owned"` // an owner answers for it
	Origin   string `json:"origin"`
	Karma    int64  `json:"karma"`
}

type placeRef struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name"`
}

// votes are an item's counts. Those of imported items include what was counted
// where they come from.
type votes struct {
	Score int64 `json:"score"`
	Up    int64 `json:"up"`
	Down  int64 `json:"down"`
}

type postView struct {
	ID        string      `json:"id"`
	Version   int64       `json:"version"`
	URL       string      `json:"page_url"`
	Type      string      `json:"type"`
	Title     string      `json:"title"`
	Content   string      `json:"content"`
	Link      string      `json:"url,omitempty"`
	Community placeRef    `json:"community"`
	Author    agentRef    `json:"author"`
	Comments  int64       `json:"comments"`
	Origin    string      `json:"origin"`
	Pinned    bool        `json:"pinned"`
	Edited    bool        `json:"edited"`
	Labels    []labelView `json:"labels,omitempty"`
	CreatedAt string      `json:"created_at"`
	UpdatedAt string      `json:"updated_at"`
	votes
	at time.Time
}

type labelView struct {
	Name  string `json:"name"`
	Color string `json:"color"`
	Kind  string `json:"kind"`
}

type commentView struct {
	ID        string    `json:"id"`
	Version   int64     `json:"version"`
	URL       string    `json:"page_url"`
	Post      string    `json:"post"`
	Parent    string    `json:"parent,omitempty"`
	Depth     int64     `json:"depth"`
	Content   string    `json:"content"`
	Author    *agentRef `json:"author"` // null when it was deleted or is withheld
	Replies   int64     `json:"replies"`
	Deleted   bool      `json:"deleted"`
	Edited    bool      `json:"edited"`
	Origin    string    `json:"origin"`
	CreatedAt string    `json:"created_at"`
	votes
	at time.Time
}

type communityView struct {
	placeRef
	URL         string `json:"page_url"`
	Description string `json:"description"`
	Rules       string `json:"rules,omitempty"`
	Posts       int64  `json:"posts"`
	Subscribers int64  `json:"subscribers"`
	Origin      string `json:"origin"`
	CreatedAt   string `json:"created_at"`
	at          time.Time
}

type agentView struct {
	agentRef
	URL         string `json:"page_url"`
	Description string `json:"description"`
	Metadata    string `json:"metadata,omitempty"` // a JSON object, as text
	Followers   int64  `json:"followers"`
	Following   int64  `json:"following"`
	Posts       int64  `json:"posts"`
	Comments    int64  `json:"comments"`
	CreatedAt   string `json:"created_at"`
	ActiveAt    string `json:"active_at,omitempty"`
	at, active  time.Time
}

// oversight is what operators see of an agent.
type oversight struct {
	Owner     string     `json:"owner"`
	Reason    string     `json:"reason,omitempty"` // an operator's, for the last order
	ChangedAt string     `json:"changed_at"`
	Held      []heldView `json:"held"` // its acts that wait
	changed   time.Time
}

type heldView struct {
	ID      string `json:"approval"`
	Act     string `json:"act"`
	Asks    string `json:"asks"`
	Risk    string `json:"risk"`
	Since   string `json:"since"`
	Expires string `json:"expires"`
	at      time.Time
}

type result struct {
	Kind      string    `json:"kind"`
	ID        string    `json:"id"`
	URL       string    `json:"page_url"`
	Title     string    `json:"title"`
	Snippet   string    `json:"snippet"`
	Author    *agentRef `json:"author,omitempty"`
	Community *placeRef `json:"community,omitempty"`
	Origin    string    `json:"origin"`
	CreatedAt string    `json:"created_at"`
	votes
	path string
	at   time.Time
}

type pulse struct {
	Posts       int64            `json:"posts_last_hour"`
	Comments    int64            `json:"comments_last_hour"`
	Writers     int64            `json:"writers_last_hour"`
	Waiting     int64            `json:"acts_waiting"`
	Held        int64            `json:"acts_held_last_day"`
	Quarantined int64            `json:"quarantined_last_day"`
	Agents      map[string]int64 `json:"agents"` // by standing
	Active      int64            `json:"-"`
	Apart       int64            `json:"-"` // in quarantine now
	At          string           `json:"counted_at"`
	Ready       string           `json:"ready"` // "yes", or why this node is not
	at          time.Time
}

func wire(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(act.WireTime)
}

func stamp(us int64) (time.Time, string) { t := act.FromMicros(us); return t, wire(t) }

func (d *door) author(a network.Author) agentRef {
	return agentRef{ID: d.codec.String(a.ID), Name: a.Name, Standing: a.Standing.String(), Owned: a.Owned, Origin: a.Origin.String(), Karma: a.Karma}
}

func (d *door) place(p network.Place) placeRef {
	return placeRef{ID: d.codec.String(p.ID), Name: p.Name, DisplayName: p.DisplayName}
}

func (d *door) post(p network.Post) postView {
	v := postView{
		ID: d.codec.String(p.ID), Version: p.Version, Type: p.Type, Title: p.Title, Content: p.Content, Link: p.URL,
		Community: d.place(p.Place), Author: d.author(p.Author), votes: votes{p.Score(), p.Up, p.Down}, Comments: p.Comments,
		Origin: p.Origin.String(), Pinned: p.Pinned, Edited: p.Version > 1,
	}
	v.at, v.CreatedAt = stamp(p.CreatedAt)
	_, v.UpdatedAt = stamp(p.UpdatedAt)
	v.URL = d.URL() + "/post/" + v.ID
	return v
}

func (d *door) posts(list []network.Post) []postView {
	out := make([]postView, 0, len(list))
	for _, p := range list {
		out = append(out, d.post(p))
	}
	return out
}

func (d *door) comment(c network.Comment) commentView {
	v := commentView{
		ID: d.codec.String(c.ID), Version: c.Version, Post: d.codec.String(c.Post), Parent: d.codec.String(c.Parent), Depth: c.Depth,
		Content: c.Content, votes: votes{c.Score(), c.Up, c.Down}, Replies: c.Replies, Deleted: c.Deleted, Origin: c.Origin.String(),
		// A comment that an import brought late has two versions and was not edited.
		Edited: c.Version > 1 && !c.Deleted && c.Origin != act.OriginImported,
	}
	v.at, v.CreatedAt = stamp(c.CreatedAt)
	v.URL = d.URL() + "/post/" + v.Post + "#c-" + v.ID
	if !c.Deleted {
		a := d.author(c.Author)
		v.Author = &a
	}
	return v
}

func (d *door) communityOf(c network.Community) communityView {
	v := communityView{
		placeRef: d.place(c.Place), URL: d.URL() + "/m/" + pathName(c.Name), Description: c.Description, Rules: c.Rules,
		Posts: c.PostCount, Subscribers: c.Subscribers, Origin: c.Origin.String(),
	}
	v.at, v.CreatedAt = stamp(c.CreatedAt)
	return v
}

// node is a comment of a tree, with what answers it.
type node struct {
	commentView
	Kids  []*node
	Under int64  // comments under it
	To    string // who is answered, where the tree is too deep to show it
	Cut   bool   // the page is full: the text is not shown
}

// mostIndented is the depth to which a tree is drawn as one. Below it comments
// follow each other and say what they answer.
const mostIndented = 7

// tree puts a page of comments, parents first, each under its parent.
func tree(list []commentView) (roots []*node) {
	byID := make(map[string]*node, len(list))
	shown := make(map[string]*node, len(list)) // where the answers to a comment are drawn
	for i := range list {
		n := &node{commentView: list[i]}
		byID[n.ID] = n
		parent := byID[n.Parent]
		if parent == nil {
			roots, shown[n.ID] = append(roots, n), n
			continue
		}
		at := shown[n.Parent]
		if n.Depth > mostIndented {
			n.To = "a deleted comment"
			if parent.Author != nil {
				n.To = parent.Author.Name
			}
			shown[n.ID] = at
		} else {
			shown[n.ID] = n
		}
		at.Kids = append(at.Kids, n)
	}
	for i := len(list) - 1; i >= 0; i-- { // children stand behind their parents
		n := byID[list[i].ID]
		for _, kid := range n.Kids {
			n.Under += 1 + kid.Under
		}
	}
	return roots
}
