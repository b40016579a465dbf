package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Quota bounds what all agents of the network, of a team or of a class use up together.
type Quota struct {
	Scope    string     `json:"scope"` // network, team:NAME or class:NAME
	Kind     string     `json:"kind"`
	Limit    int64      `json:"limit"`
	Period   string     `json:"period"` // hour, day, or "" for good
	Used     int64      `json:"used"`
	Given    int64      `json:"given"` // to nodes for their agents, used or not
	Left     int64      `json:"left"`
	Reported bool       `json:"reported"`
	BeganAt  *time.Time `json:"began_at"`
	RenewsAt *time.Time `json:"renews_at"`
	WarnedAt *time.Time `json:"warned_at"`
	Reason   string     `json:"reason"`
	By       string     `json:"by"`
	SetAt    time.Time  `json:"set_at"`
}

// Quotas lists the quotas, and what is left of each.
func (c *Client) Quotas(ctx context.Context) (out []Quota, err error) {
	var page struct {
		Items []Quota `json:"items"`
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/quotas", nil, nil, &page)
	return page.Items, err
}

func quotaPath(scope, kind string) string {
	return "/v1/quotas/" + url.PathEscape(scope) + "/" + url.PathEscape(kind)
}

// Quota shows one.
func (c *Client) Quota(ctx context.Context, scope, kind string) (out Quota, err error) {
	err = c.conn.call(ctx, http.MethodGet, quotaPath(scope, kind), nil, nil, &out)
	return out, err
}

// SetQuota sets one, in place of what there is of the scope and kind. reason goes on record.
func (c *Client) SetQuota(ctx context.Context, scope, kind string, limit int64, period, reason string) (out Quota, err error) {
	in := struct {
		Limit  int64  `json:"limit"`
		Period string `json:"period,omitempty"`
		because
	}{limit, period, because{reason}}
	err = c.conn.call(ctx, http.MethodPost, quotaPath(scope, kind), nil, in, &out)
	return out, err
}

// DropQuota ends one, and returns what it was. reason goes on record.
func (c *Client) DropQuota(ctx context.Context, scope, kind, reason string) (out Quota, err error) {
	err = c.conn.call(ctx, http.MethodPost, quotaPath(scope, kind)+"/drop", nil, because{reason}, &out)
	return out, err
}
