package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Retention is for how long something is kept that goes for its age.
type Retention struct {
	Term    string            `json:"term"`
	What    string            `json:"what"`
	Days    int64             `json:"days"`    // in force
	Source  string            `json:"source"`  // "setting" or "act"
	Setting int64             `json:"setting"` // days that the node's settings say
	Said    *int64            `json:"said"`    // days that were said last; nil where the settings count
	From    *time.Time        `json:"from"`    // when what was said last comes into force, if it has not
	Least   int64             `json:"least"`
	Most    int64             `json:"most"`
	Why     string            `json:"why"`
	Changes []RetentionChange `json:"changes"` // the newest first
}

// RetentionChange is an act that said for how long.
type RetentionChange struct {
	Days   *int64    `json:"days"` // nil: as the settings say
	Was    int64     `json:"was"`
	From   time.Time `json:"from"`
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// Retentions lists for how long things are kept.
func (c *Client) Retentions(ctx context.Context) ([]Retention, error) {
	var out struct {
		Items []Retention `json:"items"`
	}
	err := c.conn.call(ctx, http.MethodGet, "/v1/retention", nil, nil, &out)
	return out.Items, err
}

// SetRetention says for how many days something is kept. reason goes on record.
func (c *Client) SetRetention(ctx context.Context, term string, days int64, reason string) (out Retention, err error) {
	in := struct {
		Days int64 `json:"days"`
		because
	}{days, because{reason}}
	err = c.conn.call(ctx, http.MethodPost, "/v1/retention/"+url.PathEscape(term), nil, in, &out)
	return out, err
}

// ResetRetention keeps it for as long as the settings say again. reason goes on record.
func (c *Client) ResetRetention(ctx context.Context, term, reason string) (out Retention, err error) {
	err = c.conn.call(ctx, http.MethodPost, "/v1/retention/"+url.PathEscape(term)+"/reset", nil, because{reason}, &out)
	return out, err
}
