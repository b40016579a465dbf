package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// NewRollout begins a roll-out of a version of a class; what is zero is the server's to choose.
type NewRollout struct {
	Version int64    `json:"version,omitempty"`
	Steps   []string `json:"steps,omitempty"` // "3" agents, "25%" of them; the last is "100%"
	Bake    int64    `json:"bake,omitempty"`  // seconds
	Window  int64    `json:"window,omitempty"`
	Most    int64    `json:"max_unhealthy"` // percent
	Reason  string   `json:"reason"`
}

// Rollout is the last roll-out of a class.
type Rollout struct {
	Class      string      `json:"class"`
	Version    int64       `json:"version"`
	Base       int64       `json:"base"`
	State      string      `json:"state"` // running, paused, done or reverted
	Steps      []string    `json:"steps"`
	Step       int         `json:"step"` // from 1
	Bake       int64       `json:"bake"` // seconds
	Window     int64       `json:"window"`
	Most       int64       `json:"max_unhealthy"`
	Wanted     int64       `json:"wanted"`
	Bound      int64       `json:"bound"`
	Unhealthy  int64       `json:"unhealthy"`
	Rule       string      `json:"rule"`
	Evidence   string      `json:"evidence"`
	Reason     string      `json:"reason"`
	MadeAt     time.Time   `json:"made_at"`
	StepAt     time.Time   `json:"step_at"`
	Stragglers []Straggler `json:"stragglers"`
}

// Straggler is an agent that stays what it is.
type Straggler struct {
	AgentID string `json:"agent_id"`
	Agent   string `json:"agent"`
	Version int64  `json:"version"`
	Why     string `json:"why"`
}

func rolloutPath(class string) string { return "/v1/classes/" + url.PathEscape(class) + "/rollout" }

// StartRollout begins a roll-out of a class.
func (c *Client) StartRollout(ctx context.Context, class string, in NewRollout) (out Rollout, err error) {
	err = c.conn.call(ctx, http.MethodPost, rolloutPath(class), nil, in, &out)
	return out, err
}

// Rollout shows the last roll-out of a class.
func (c *Client) Rollout(ctx context.Context, class string) (out Rollout, err error) {
	err = c.conn.call(ctx, http.MethodGet, rolloutPath(class), nil, nil, &out)
	return out, err
}

// PauseRollout has a roll-out bind nobody for now.
func (c *Client) PauseRollout(ctx context.Context, class, reason string) (out Rollout, err error) {
	err = c.conn.call(ctx, http.MethodPost, rolloutPath(class)+"/pause", nil, because{reason}, &out)
	return out, err
}

// ResumeRollout has a roll-out go on.
func (c *Client) ResumeRollout(ctx context.Context, class, reason string) (out Rollout, err error) {
	err = c.conn.call(ctx, http.MethodPost, rolloutPath(class)+"/resume", nil, because{reason}, &out)
	return out, err
}

// AbortRollout takes a roll-out back.
func (c *Client) AbortRollout(ctx context.Context, class, reason string) (out Rollout, err error) {
	err = c.conn.call(ctx, http.MethodPost, rolloutPath(class)+"/abort", nil, because{reason}, &out)
	return out, err
}
