package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Containment is one order about a scope that is in force.
type Containment struct {
	Scope     string    `json:"scope"` // "owner:NAME", "class:NAME", "skill:sha256:…", "lineage:AGENT-ID", "community:NAME", "all"
	Name      string    `json:"name"`
	Does      string    `json:"does"` // paused, quarantined or killed
	Reason    string    `json:"reason"`
	By        string    `json:"by"`
	CreatedAt time.Time `json:"created_at"`
	Left      int64     `json:"left"`  // agents that a kill has not ended yet
	Ended     int64     `json:"ended"` // agents that it has ended, when it is done
	DoneAt    time.Time `json:"done_at"`
}

// Contained is what a scope comes to.
type Contained struct {
	Scope    string        `json:"scope"`
	Name     string        `json:"name"`
	Standing string        `json:"standing"`
	Orders   []Containment `json:"orders"`

	// Approval is under which the order waits for somebody else's word; "" when it was
	// carried out. Nothing else is set then.
	Approval string `json:"approval_id,omitempty"`
}

// ScopePreview is who is in a scope, and what they have under way.
type ScopePreview struct {
	Contained
	Agents   map[string]int64 `json:"agents"` // by what their standing comes to now
	Examples []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"examples"`
	Flying struct {
		Streams    int64 `json:"streams"`
		Webhooks   int64 `json:"webhooks"`
		Leases     int64 `json:"leases"`
		Deliveries int64 `json:"deliveries"`
		Held       int64 `json:"held"`
	} `json:"in_flight"`
}

// Scopes lists the orders about scopes that are in force.
func (c *Client) Scopes(ctx context.Context) (out []Containment, err error) {
	var page struct {
		Items []Containment `json:"items"`
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/scopes", nil, nil, &page)
	return page.Items, err
}

// Scope shows who is in a scope and what of theirs is under way.
func (c *Client) Scope(ctx context.Context, scope string) (out ScopePreview, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/scopes/"+url.PathEscape(scope), nil, nil, &out)
	return out, err
}

// Contain orders everybody in a scope: verb is pause, resume, quarantine, release or kill.
// It returns when no node serves the scope otherwise. reason goes on record.
func (c *Client) Contain(ctx context.Context, scope, verb, reason string) (out Contained, err error) {
	in := struct {
		Reason string `json:"reason"`
	}{reason}
	err = c.conn.call(ctx, http.MethodPost, "/v1/scopes/"+url.PathEscape(scope)+"/"+verb, nil, in, &out)
	return out, err
}
