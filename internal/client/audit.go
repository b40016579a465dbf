package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Hold is a legal hold: what must be kept until it is released.
type Hold struct {
	N          int64     `json:"n"`
	ID         string    `json:"id,omitempty"` // of an agent, community, post or comment; "" is everything
	Kind       string    `json:"kind,omitempty"`
	From       time.Time `json:"from,omitzero"`
	To         time.Time `json:"to,omitzero"`
	Since      time.Time `json:"since,omitzero"` // retention drops nothing from this time on
	Reason     string    `json:"reason"`
	By         string    `json:"by"`
	At         time.Time `json:"at"`
	ReleasedAt time.Time `json:"released_at,omitzero"`
	ReleasedBy string    `json:"released_by,omitempty"`
	Released   string    `json:"release_reason,omitempty"`
}

// NewHold asks for a hold. Times are RFC 3339; "" is without a bound.
type NewHold struct {
	ID         string `json:"id"`
	From       string `json:"from"`
	To         string `json:"to"`
	Everything bool   `json:"everything"`
	Reason     string `json:"reason"`
}

// HoldPage is a page of holds.
type HoldPage struct {
	Items []Hold `json:"items"`
	Next  string `json:"next_cursor"`
}

// Holds lists the holds there are and were.
func (c *Client) Holds(ctx context.Context, cursor string) (out HoldPage, err error) {
	q := url.Values{}
	word(q, "cursor", cursor)
	err = c.conn.call(ctx, http.MethodGet, "/v1/holds", q, nil, &out)
	return out, err
}

// PlaceHold places a hold.
func (c *Client) PlaceHold(ctx context.Context, in NewHold) (out Hold, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/holds", nil, in, &out)
	return out, err
}

// ReleaseHold releases a hold.
func (c *Client) ReleaseHold(ctx context.Context, n int64, reason string) (out Hold, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/holds/"+strconv.FormatInt(n, 10)+"/release", nil, because{reason}, &out)
	return out, err
}

// Controls is which control has which evidence, with figures of now.
type Controls struct {
	At         time.Time `json:"at"`
	Frameworks []struct {
		ID    string    `json:"id"`
		Name  string    `json:"name"`
		Ours  bool      `json:"own_reading"`
		Rules []Control `json:"rules"`
	} `json:"frameworks"`
	Figures []Figure `json:"figures"`
}

// Control is a rule with its evidence.
type Control struct {
	Item       string   `json:"item"`
	Evidence   string   `json:"evidence"`
	NotCovered string   `json:"not_covered"`
	Figures    []string `json:"figures"`
	Links      []string `json:"links"`
}

// Figure is a number of the control map.
type Figure struct {
	Name  string    `json:"name"`
	Text  string    `json:"text"`
	Value int64     `json:"value"`
	Note  string    `json:"note,omitempty"`
	At    time.Time `json:"at,omitzero"`
}

// Controls shows which control has which evidence.
func (c *Client) Controls(ctx context.Context) (out Controls, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/audit/controls", nil, nil, &out)
	return out, err
}

// Filter says which acts a question of the record is about.
type Filter struct {
	Acts    []string `json:"acts"`
	Kinds   []string `json:"kinds"`
	Outcome string   `json:"outcome"`
	Rule    string   `json:"rule"`
	Actor   string   `json:"actor"`
	Target  string   `json:"target"`
}

// Question is a saved question of the record.
type Question struct {
	Name    string    `json:"name"`
	Version int64     `json:"version"`
	Title   string    `json:"title"`
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at,omitzero"`
	Filter
}

// Recorded is an act on record.
type Recorded struct {
	Seq        int64     `json:"seq"`
	At         time.Time `json:"at"`
	Act        string    `json:"act"`
	Outcome    string    `json:"outcome"`
	Code       string    `json:"code,omitempty"`
	Rule       string    `json:"rule,omitempty"`
	Policy     string    `json:"policy,omitempty"`
	Kind       string    `json:"actor_kind"`
	Actor      string    `json:"actor,omitempty"`
	Name       string    `json:"actor_name,omitempty"`
	Target     string    `json:"target,omitempty"`
	TargetKind string    `json:"target_kind,omitempty"`
	Made       string    `json:"made,omitempty"`
	MadeKind   string    `json:"made_kind,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Approval   string    `json:"approval,omitempty"`
	Count      int64     `json:"count"`
	Trace      string    `json:"trace,omitempty"`
}

// Answers is a page of what a question has found.
type Answers struct {
	Question Question   `json:"question"`
	Items    []Recorded `json:"items"`
	Next     string     `json:"next_cursor"`
}

// Queries lists the saved questions.
func (c *Client) Queries(ctx context.Context) ([]Question, error) {
	var out struct {
		Items []Question `json:"items"`
	}
	err := c.conn.call(ctx, http.MethodGet, "/v1/audit/queries", nil, nil, &out)
	return out.Items, err
}

// Query asks a saved question, narrowed by what the query string says.
func (c *Client) Query(ctx context.Context, name string, narrowed url.Values) (out Answers, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/audit/queries/"+url.PathEscape(name), narrowed, nil, &out)
	return out, err
}

// DefineQuery saves a question, or another version of it.
func (c *Client) DefineQuery(ctx context.Context, name, title string, f Filter, reason string) (out Question, err error) {
	in := struct {
		Title string `json:"title"`
		Filter
		Reason string `json:"reason"`
	}{title, f, reason}
	err = c.conn.call(ctx, http.MethodPut, "/v1/audit/queries/"+url.PathEscape(name), nil, in, &out)
	return out, err
}

// WithdrawQuery takes a saved question from the list.
func (c *Client) WithdrawQuery(ctx context.Context, name, reason string) (out Question, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/audit/queries/"+url.PathEscape(name)+"/withdraw", nil, because{reason}, &out)
	return out, err
}
