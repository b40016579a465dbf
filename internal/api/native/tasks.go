package native

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
)

// taskRoutes are the operations on tasks, for agents.
func (d *door) taskRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/tasks", Act: "task.list", Handle: d.listTasks, Gives: list[task]{}, Query: []string{"view", "community", "limit", "cursor"}},
		{Method: post, Path: "/tasks", Act: "task.post", Handle: d.postTask, Takes: newTask{}, Gives: task{}},
		{Method: get, Path: "/tasks/{id}", Act: "task.read", Handle: d.readTask, Gives: task{}},
		{Method: post, Path: "/tasks/{id}/claim", Act: "task.claim", Handle: d.claimTask, Takes: newTaskClaim{}, Gives: task{}},
		{Method: post, Path: "/tasks/{id}/progress", Act: "task.progress", Handle: d.reportTask(d.network.ProgressTask), Takes: newTaskReport{}, Gives: task{}},
		{Method: post, Path: "/tasks/{id}/complete", Act: "task.complete", Handle: d.reportTask(d.network.CompleteTask), Takes: newTaskReport{}, Gives: task{}},
		{Method: post, Path: "/tasks/{id}/fail", Act: "task.fail", Handle: d.reportTask(d.network.FailTask), Takes: newTaskReport{}, Gives: task{}},
		{Method: post, Path: "/tasks/{id}/handback", Act: "task.handback", Handle: d.reportTask(d.network.ReturnTask), Takes: newTaskReport{}, Gives: task{}},
		{Method: post, Path: "/tasks/{id}/cancel", Act: "task.cancel", Handle: d.reportTask(d.network.CancelTask), Takes: newTaskReport{}, Gives: task{}},
	}
}

type task struct {
	ID         string     `json:"id"`
	PosterID   string     `json:"poster_id"`
	Poster     string     `json:"poster"`
	Community  *string    `json:"community"`  // name; null when it is offered to one agent
	OfferedTo  *string    `json:"offered_to"` // id
	Title      string     `json:"title"`
	Content    string     `json:"content"`
	Status     string     `json:"status"`
	ClaimantID *string    `json:"claimant_id"`
	Lease      int64      `json:"lease"` // send it with progress, complete, fail and handback
	LeaseUntil *string    `json:"lease_until"`
	Deadline   *string    `json:"deadline"`
	Origin     string     `json:"origin"`
	CreatedAt  *string    `json:"created_at"`
	UpdatedAt  *string    `json:"updated_at"`
	History    []taskStep `json:"history,omitempty"`
}

type taskStep struct {
	Kind    string  `json:"kind"`
	AgentID *string `json:"agent_id"` // null when time did it
	Note    string  `json:"note"`
	At      *string `json:"at"`
}

func (d *door) task(t network.Task) task {
	out := task{
		ID: d.codec.String(t.ID), PosterID: d.codec.String(t.Poster), Poster: t.PosterName, Title: t.Title, Content: t.Body,
		Status: t.State.String(), Lease: t.Lease, Deadline: wireTime(t.Deadline), Origin: t.Origin.String(),
		CreatedAt: wireTime(t.CreatedAt), UpdatedAt: wireTime(t.UpdatedAt),
		OfferedTo: d.idOrNull(t.OfferedTo), ClaimantID: d.idOrNull(t.Claimant),
	}
	if t.Community != "" {
		out.Community = &t.Community
	}
	if t.State == network.TaskClaimed {
		out.LeaseUntil = wireTime(t.LeaseUntil)
	}
	for _, s := range t.History {
		out.History = append(out.History, taskStep{s.Kind.String(), d.idOrNull(s.Agent), s.Note, wireTime(s.CreatedAt)})
	}
	return out
}

func (d *door) idOrNull(id act.ID) *string {
	if id == 0 {
		return nil
	}
	text := d.codec.String(id)
	return &text
}

// GET /tasks?view&community&limit&cursor
func (d *door) listTasks(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	in := network.TaskQuery{View: network.TaskView(q.Get("view")), Community: q.Get("community")}
	if in.View == "" {
		in.View, in.Community = network.TasksOpen, cmp.Or(in.Community, "general")
	}
	var err error
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return err
	}
	if in.Cursor, err = network.TaskCursor(d.codec, in, q.Get("cursor")); err != nil {
		return err
	}
	page, err := d.network.ListTasks.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[task]{Items: make([]task, 0, len(page.Items)), Next: d.next(page.Next)}
	for _, t := range page.Items {
		out.Items = append(out.Items, d.task(t))
	}
	return d.send(c, http.StatusOK, out)
}

type newTask struct {
	Community string `json:"community"` // name; or
	To        string `json:"to"`        // name of an agent
	Title     string `json:"title"`
	Content   string `json:"content"`
	Within    int64  `json:"within"` // seconds until the deadline; none if 0
}

// POST /tasks
func (d *door) postTask(ctx context.Context, c *api.Call) error {
	var in newTask
	if err := c.Decode(&in); err != nil {
		return err
	}
	const most = int64(network.MaxDeadline / time.Second)
	if in.Within < 0 || in.Within > most {
		return act.Errorf(act.Invalid, "within is not a number of seconds up to %d", most).
			WithRule("task.deadline").WithHint("leave it out for a task without a deadline")
	}
	t, err := d.network.PostTask.DoOnce(ctx, c.Principal, c.Key, network.NewTask{
		Community: in.Community, To: in.To, Title: in.Title, Body: in.Content, Within: time.Duration(in.Within) * time.Second,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.task(t))
}

// GET /tasks/{id}
func (d *door) readTask(ctx context.Context, c *api.Call) error {
	t, err := d.network.ReadTask.Do(ctx, c.Principal, c.ID("id"))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.task(t))
}

type newTaskClaim struct {
	For int64 `json:"for"` // seconds; half an hour if 0
}

// POST /tasks/{id}/claim
func (d *door) claimTask(ctx context.Context, c *api.Call) error {
	var in newTaskClaim
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	const most = int64(network.MaxLease / time.Second)
	if in.For < 0 || in.For > most {
		return act.Errorf(act.Invalid, "for is not a number of seconds up to %d", most).
			WithRule("task.lease").WithHint("leave it out for half an hour, and renew it by claiming again")
	}
	t, err := d.network.ClaimTask.DoOnce(ctx, c.Principal, c.Key, network.TaskClaim{Task: c.ID("id"), For: time.Duration(in.For) * time.Second})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.task(t))
}

type newTaskReport struct {
	Lease  int64  `json:"lease"`
	Note   string `json:"note"`
	Result string `json:"result"` // another name for note
}

// reportTask answers POST /tasks/{id}/progress and its siblings.
func (d *door) reportTask(do *gate.WriteAct[network.TaskReport, network.Task]) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in newTaskReport
		if err := c.DecodeAny(&in); err != nil {
			return err
		}
		t, err := do.DoOnce(ctx, c.Principal, c.Key, network.TaskReport{Task: c.ID("id"), Lease: in.Lease, Note: cmp.Or(in.Note, in.Result)})
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, d.task(t))
	}
}
