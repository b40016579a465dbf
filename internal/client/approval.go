package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Thing is what an act is aimed at or has made.
type Thing struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
}

// Approval is an act that waits, or waited, for somebody's word.
type Approval struct {
	ID        string         `json:"id"`
	Act       string         `json:"act"`
	AgentID   string         `json:"agent_id"`
	Agent     string         `json:"agent"`
	Target    *Thing         `json:"target"`
	Demand    string         `json:"demand"` // hold or challenge
	Asks      string         `json:"asks"`   // whom the policy asks, "owner" say
	Policy    string         `json:"policy"`
	Risk      string         `json:"risk"`  // normal or high
	State     string         `json:"state"` // pending, approved, executed, failed, denied, expired, withdrawn
	Owner     string         `json:"owner"` // for whom the operator acted
	Reason    string         `json:"reason"`
	Made      *Thing         `json:"made"`
	Code      string         `json:"code"`
	Rule      string         `json:"rule"`
	CreatedAt time.Time      `json:"created_at"`
	ExpiresAt time.Time      `json:"expires_at"`
	DecidedAt *time.Time     `json:"decided_at"`
	EndedAt   *time.Time     `json:"ended_at"`
	Input     map[string]any `json:"input,omitempty"` // of one that is shown and open
	Alike     int64          `json:"alike"`           // open ones of the same agent, act and policy
	Past      struct {
		Approved int64 `json:"approved"`
		Denied   int64 `json:"denied"`
		Expired  int64 `json:"expired"`
	} `json:"past"` // of the same act of the same agent, in 30 days
	Score *RiskScore `json:"risk_score,omitempty"` // of a request for an agent that is shown and open
}

// RiskScore is how much a request for an agent risks: 0 to 100, the sum of its parts.
type RiskScore struct {
	Points int `json:"points"`
	Parts  []struct {
		Name   string `json:"name"`
		Points int    `json:"points"`
		Why    string `json:"why"`
	} `json:"parts"`
}

// ApprovalQuery asks for a page of approvals; zero fields do not filter.
type ApprovalQuery struct {
	State  string
	Limit  int
	Cursor string
}

// ApprovalPage is a page of approvals, newest first; Next is "" at the end.
type ApprovalPage struct {
	Items []Approval `json:"items"`
	Next  string     `json:"next_cursor"`
}

// Approvals lists held acts.
func (c *Client) Approvals(ctx context.Context, q ApprovalQuery) (out ApprovalPage, err error) {
	v := url.Values{}
	word(v, "state", q.State)
	word(v, "cursor", q.Cursor)
	number(v, "limit", q.Limit)
	err = c.conn.call(ctx, http.MethodGet, "/v1/approvals", v, nil, &out)
	return out, err
}

// Approval shows one held act with its content. That it was shown is on record.
func (c *Client) Approval(ctx context.Context, id string) (out Approval, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/approvals/"+url.PathEscape(id), nil, nil, &out)
	return out, err
}

// Approve lets a held act be done, once. owner names for whom the caller acts, ""
// for nobody.
func (c *Client) Approve(ctx context.Context, id, owner, reason string) (Approval, error) {
	return c.verdict(ctx, id, "approve", owner, reason)
}

// Deny ends a held act.
func (c *Client) Deny(ctx context.Context, id, owner, reason string) (Approval, error) {
	return c.verdict(ctx, id, "deny", owner, reason)
}

func (c *Client) verdict(ctx context.Context, id, verb, owner, reason string) (out Approval, err error) {
	in := struct {
		Reason string `json:"reason"`
		Owner  string `json:"owner,omitempty"`
	}{reason, owner}
	err = c.conn.call(ctx, http.MethodPost, "/v1/approvals/"+url.PathEscape(id)+"/"+verb, nil, in, &out)
	return out, err
}
