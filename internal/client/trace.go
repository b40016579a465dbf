package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// TracePerson is what traces say of an agent.
type TracePerson struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Owner    string `json:"owner"`
	Mandate  string `json:"mandate"`
	Purpose  string `json:"purpose"`
	Standing string `json:"standing"`
}

// TraceThing is what traces say of something that was made.
type TraceThing struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Title  string `json:"title"` // how it begins; "" where it cannot be read any more
	Author string `json:"author_id"`
}

// Traced is who and what an answer names, the oldest first, and what it rests on.
type Traced struct {
	People []TracePerson `json:"people"`
	Things []TraceThing  `json:"things"`
	Basis  struct {
		Through  int64 `json:"through"` // number of the last act that was looked at
		Pages    int64 `json:"pages"`
		Showings int64 `json:"showings"`
		Cold     int   `json:"segments_read"`
		Waiting  int64 `json:"waiting"`

		Wrong float64 `json:"likely_wrong"` // the share of edges of level L2 that is wrong, at most
	} `json:"basis"`
}

// Cause is an act, and what its actor had before it.
type Cause struct {
	Item   string    `json:"item_id"`
	Act    string    `json:"act"`
	Actor  string    `json:"actor_id"`
	Seq    int64     `json:"seq"`
	At     time.Time `json:"at"`
	Policy string    `json:"policy"`
	Level  int       `json:"level"`
	How    string    `json:"how"`
	Shown  *struct {
		After   int64     `json:"after"`
		At      time.Time `json:"at"`
		First   time.Time `json:"first_at"`
		Channel string    `json:"channel"`
		Place   int       `json:"place"`
		Pages   int       `json:"pages"`
	} `json:"shown"`
	Of    []Cause `json:"of"`
	Cut   int     `json:"cut"`
	Again bool    `json:"again"`
}

// Reasons is why something was done.
type Reasons struct {
	Traced
	Nodes int   `json:"nodes"`
	Why   Cause `json:"why"`
}

// TraceStep is how somebody or something was reached first.
type TraceStep struct {
	ID     string    `json:"id"`
	Kind   string    `json:"kind"`
	Via    string    `json:"via_id"`
	Seq    int64     `json:"seq"`
	At     time.Time `json:"at"`
	Gen    int       `json:"generation"`
	Level  int       `json:"level"`
	Public bool      `json:"public"`
}

// RadiusSide is what was reached by one kind of evidence.
type RadiusSide struct {
	AgentCount  int              `json:"agent_count"`
	ItemCount   int              `json:"item_count"`
	ShownCount  int              `json:"shown_count"`
	Acts        map[string]int64 `json:"acts"`
	Generations []int            `json:"generations"`
	Digest      string           `json:"digest"`
	Agents      []TraceStep      `json:"agents"`
	Items       []TraceStep      `json:"items"`
	Shown       []TraceStep      `json:"shown"`
}

// Radius is how far something has spread.
type Radius struct {
	Traced
	Possible RadiusSide `json:"possible"`
	Likely   RadiusSide `json:"likely"`
}

// Copies is how a text went round.
type Copies struct {
	Traced
	Total       int       `json:"total"`
	Compared    int       `json:"compared"`
	Unread      int       `json:"unread"`
	Generations []int     `json:"generations"`
	R           []float64 `json:"r"`
	Items       []struct {
		TraceStep
		From  string  `json:"from_id"`
		Like  float64 `json:"like"`
		Exact bool    `json:"exact"`
	} `json:"items"`
}

// Barrier is what would have stopped something from spreading on.
type Barrier struct {
	Traced
	Hold     []string `json:"hold"`
	Behind   int      `json:"behind"`
	Least    int      `json:"least"`
	Smallest bool     `json:"smallest"`
}

// Flow is how reputation came to somebody, and went on.
type Flow struct {
	Traced
	From     int       `json:"from_count"`
	To       int       `json:"to_count"`
	Accounts int       `json:"accounts"`
	Sources  int       `json:"sources"`
	Received []Current `json:"received"`
	Given    []Current `json:"given"`
}

// Current is what went between two agents.
type Current struct {
	Agent   string    `json:"agent_id"`
	Votes   int       `json:"votes"`
	Value   int64     `json:"value"`
	Follows bool      `json:"follows"`
	Last    time.Time `json:"last_at"`
}

// Replay is what an agent was shown.
type Replay struct {
	Traced
	Pages []struct {
		After   int64     `json:"after"`
		At      time.Time `json:"at"`
		Channel string    `json:"channel"`
		Again   bool      `json:"again"`
		Count   int64     `json:"count"`
		Items   []struct {
			ID      string `json:"id"`
			Kind    string `json:"kind"`
			Version int64  `json:"version"`
		} `json:"items"`
	} `json:"pages"`
	More bool `json:"more"`
}

// Recall is a containment of what something had spread to.
type Recall struct {
	N        int64         `json:"n"`
	Subject  string        `json:"subject_id"`
	Level    string        `json:"level"`
	Reason   string        `json:"reason"`
	By       string        `json:"by"`
	At       time.Time     `json:"at"`
	Until    time.Time     `json:"until"`
	UndoneAt time.Time     `json:"undone_at"`
	Agents   []string      `json:"agents"`
	Items    []string      `json:"items"`
	Shown    []string      `json:"shown"`
	Late     []LateRecall  `json:"late"`
	Watched  time.Time     `json:"watched_until"`
	People   []TracePerson `json:"people"`
}

// LateRecall is what was under way when a containment was ordered, and was added to it.
type LateRecall struct {
	At     time.Time `json:"at"`
	Agents []string  `json:"agents"`
	Items  []string  `json:"items"`
	Shown  []string  `json:"shown"`
}

// NewRecall asks for one.
type NewRecall struct {
	Subject string `json:"subject"`
	Since   string `json:"since,omitempty"`
	Level   string `json:"level"`
	Agents  bool   `json:"agents"`
	Content bool   `json:"content"`
	Digest  string `json:"digest,omitempty"`
	Reason  string `json:"reason"`
}

// Trace asks a question ("why", "blast", "spread", "cut", "flow", "replay") about a
// subject: an id, the number of an act, "sha256:DIGEST", "class:NAME" or "skill:DIGEST".
// out is a pointer to the answer's form.
func (c *Client) Trace(ctx context.Context, question, subject string, query url.Values, out any) error {
	return c.conn.call(ctx, http.MethodGet, "/v1/trace/"+question+"/"+url.PathEscape(subject), query, nil, out)
}

// ContainTrace contains what something has spread to.
func (c *Client) ContainTrace(ctx context.Context, in NewRecall) (out Recall, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/trace/contain", nil, in, &out)
	return out, err
}

// Recalls lists the containments.
func (c *Client) Recalls(ctx context.Context) (list []Recall, err error) {
	var page struct {
		Items []Recall `json:"items"`
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/trace/recalls", nil, nil, &page)
	return page.Items, err
}

// RestoreRecall undoes a containment.
func (c *Client) RestoreRecall(ctx context.Context, n int64, reason string) (out Recall, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/trace/recalls/"+strconv.FormatInt(n, 10)+"/restore", nil, map[string]string{"reason": reason}, &out)
	return out, err
}
