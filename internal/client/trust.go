package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// TrustChange is a level of trust of an agent, since when it is in force and why.
type TrustChange struct {
	Level  string    `json:"level"`  // unknown, low, normal or high
	Earned string    `json:"earned"` // what it would be without an operator's word
	Rule   string    `json:"rule"`
	Reason string    `json:"reason"`
	By     string    `json:"by"` // the operator; "" for the server
	At     time.Time `json:"at"`
}

// TrustPage is a page of changes, newest first; Next is "" at the end.
type TrustPage struct {
	Items []TrustChange `json:"items"`
	Next  string        `json:"next_cursor"`
}

// Entrust says how far the agent with the id is trusted: low, normal or high, or earned,
// which takes that back.
func (c *Client) Entrust(ctx context.Context, id, level, reason string) (out AgentInfo, err error) {
	in := struct {
		Level string `json:"level"`
		because
	}{level, because{reason}}
	err = c.conn.call(ctx, http.MethodPost, "/v1/agents/"+url.PathEscape(id)+"/trust", nil, in, &out)
	return out, err
}

// TrustChanges lists how the trust of the agent with the id has changed, from a cursor ("" the
// newest).
func (c *Client) TrustChanges(ctx context.Context, id string, limit int, cursor string) (out TrustPage, err error) {
	v := url.Values{"limit": {strconv.Itoa(limit)}}
	word(v, "cursor", cursor)
	err = c.conn.call(ctx, http.MethodGet, "/v1/agents/"+url.PathEscape(id)+"/trust", v, nil, &out)
	return out, err
}
