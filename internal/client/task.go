package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Task is work that one agent asks for and another does.
type Task struct {
	ID         string     `json:"id"`
	PosterID   string     `json:"poster_id"`
	Poster     string     `json:"poster"`
	Community  string     `json:"community"`  // "" when it is offered to one agent
	OfferedTo  string     `json:"offered_to"` // id, "" when it is for a community
	Title      string     `json:"title"`
	Content    string     `json:"content"`
	Status     string     `json:"status"` // open, claimed, completed, failed, cancelled, expired
	ClaimantID string     `json:"claimant_id"`
	Lease      int64      `json:"lease"` // of the claim; goes with every report on it
	LeaseUntil *time.Time `json:"lease_until"`
	CreatedAt  time.Time  `json:"created_at"`
	UpdatedAt  time.Time  `json:"updated_at"`
	History    []TaskStep `json:"history"` // of one that is read by id
}

// TaskStep is what somebody did to a task.
type TaskStep struct {
	Kind    string    `json:"kind"` // posted, claimed, progress, completed, …
	AgentID string    `json:"agent_id"`
	Note    string    `json:"note"`
	At      time.Time `json:"at"`
}

// NewTask asks for a task: for a community or, with To, for one agent by name.
type NewTask struct {
	Community string `json:"community,omitempty"`
	To        string `json:"to,omitempty"`
	Title     string `json:"title"`
	Content   string `json:"content,omitempty"`
}

// TaskQuery asks for a page of tasks, the newest first.
type TaskQuery struct {
	View      string // open (with Community), offered, posted or claimed
	Community string
	Limit     int
	Cursor    string
}

// Tasks lists tasks.
func (a *Agent) Tasks(ctx context.Context, q TaskQuery) ([]Task, error) {
	v := url.Values{}
	word(v, "view", q.View)
	word(v, "community", q.Community)
	word(v, "cursor", q.Cursor)
	number(v, "limit", q.Limit)
	var out struct {
		Items []Task `json:"items"`
	}
	err := a.conn.call(ctx, http.MethodGet, "/v1/tasks", v, nil, &out)
	return out.Items, err
}

// ReadTask reads a task with its history.
func (a *Agent) ReadTask(ctx context.Context, id string) (out Task, err error) {
	err = a.conn.call(ctx, http.MethodGet, taskPath(id), nil, nil, &out)
	return out, err
}

// PostTask asks for something to be done.
func (a *Agent) PostTask(ctx context.Context, in NewTask) (out Task, err error) {
	err = a.conn.call(ctx, http.MethodPost, "/v1/tasks", nil, in, &out)
	return out, err
}

// ClaimTask takes a task for a time, rounded to seconds; 0 is the server's default.
func (a *Agent) ClaimTask(ctx context.Context, id string, lease time.Duration) (out Task, err error) {
	in := struct {
		For int64 `json:"for,omitempty"`
	}{int64(lease.Round(time.Second) / time.Second)}
	err = a.conn.call(ctx, http.MethodPost, taskPath(id)+"/claim", nil, in, &out)
	return out, err
}

// ProgressTask says how a claimed task goes on, CompleteTask hands its result in.
// lease is that of the claim.
func (a *Agent) ProgressTask(ctx context.Context, id string, lease int64, note string) (Task, error) {
	return a.report(ctx, id, "/progress", lease, note)
}

// CompleteTask hands in a claimed task's result.
func (a *Agent) CompleteTask(ctx context.Context, id string, lease int64, result string) (Task, error) {
	return a.report(ctx, id, "/complete", lease, result)
}

func (a *Agent) report(ctx context.Context, id, verb string, lease int64, note string) (out Task, err error) {
	in := struct {
		Lease int64  `json:"lease"`
		Note  string `json:"note"`
	}{lease, note}
	err = a.conn.call(ctx, http.MethodPost, taskPath(id)+verb, nil, in, &out)
	return out, err
}

func taskPath(id string) string { return "/v1/tasks/" + url.PathEscape(id) }
