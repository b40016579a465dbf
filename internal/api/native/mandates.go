package native

import (
	"context"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// mandateRoutes are the purposes that agents act under, and what came of them.
func (d *door) mandateRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: post, Path: "/mandates", Act: "mandate.open", Handle: d.openMandate, Takes: newMandate{}, Gives: mandate{}},
		{Method: get, Path: "/mandates", Act: "mandate.list", Handle: d.mandates, Gives: list[mandate]{}, Query: []string{"limit", "cursor"}},
		{Method: get, Path: "/mandates/{mandate}", Act: "mandate.show", Handle: d.showMandate, Gives: mandate{}},
		{Method: post, Path: "/mandates/{mandate}/revise", Act: "mandate.revise", Handle: d.reviseMandate, Takes: newRevision{}, Gives: mandate{}},
		{Method: post, Path: "/mandates/{mandate}/close", Act: "mandate.close", Handle: d.closeMandate, Takes: newOrder{}, Gives: mandate{}},
		{Method: post, Path: "/mandates/{mandate}/attest", Act: "mandate.attest", Handle: d.attest, Takes: newAttestation{}, Gives: attested{}},
		{Method: get, Path: "/mandates/{mandate}/outcomes", Act: "outcome.list", Handle: d.outcomes, Gives: list[outcome]{}, Query: []string{"limit", "cursor"}},
		{Method: post, Path: "/outcomes", Act: "outcome.record", Handle: d.recordOutcome, Takes: newOutcome{}, Gives: outcome{}},
	}
}

type mandate struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	Owner     string  `json:"owner"`
	Revision  int64   `json:"revision"`
	Statement string  `json:"statement"`
	Success   string  `json:"success"`
	Stop      string  `json:"stop"`
	ExpiresAt *string `json:"expires_at"`
	Grace     int64   `json:"grace"` // seconds from when agents are stale to their end
	State     string  `json:"state"` // open or closed
	Outcomes  int64   `json:"outcomes"`
	Reason    string  `json:"reason"` // of the last change
	MadeAt    *string `json:"made_at"`
	ChangedAt *string `json:"changed_at"`
	Agents    int64   `json:"agents"` // bound to it; not in lists
	Stale     int64   `json:"stale"`  // of them, by an older revision
}

func (d *door) mandate(m lifecycle.Mandate) mandate {
	state := "open"
	if m.Closed {
		state = "closed"
	}
	return mandate{
		ID: d.codec.String(m.ID), Name: m.Name, Owner: m.OwnerName, Revision: m.Revision, Statement: m.Statement, Success: m.Success, Stop: m.Stop,
		ExpiresAt: wireTime(m.ExpiresAt), Grace: int64(m.Grace / time.Second), State: state, Outcomes: m.Outcomes, Reason: m.Reason,
		MadeAt: wireTime(m.MadeAt), ChangedAt: wireTime(m.ChangedAt), Agents: m.Agents, Stale: m.Stale,
	}
}

type purpose struct {
	Statement string `json:"statement"`
	Success   string `json:"success"`    // how it is known that it is done
	Stop      string `json:"stop"`       // when it has to end whatever is done
	ExpiresAt string `json:"expires_at"` // RFC 3339; never if ""
}

func (p purpose) domain() (out lifecycle.Purpose, err error) {
	out = lifecycle.Purpose{Statement: p.Statement, Success: p.Success, Stop: p.Stop}
	if p.ExpiresAt == "" {
		return out, nil
	}
	at, err := time.Parse(time.RFC3339, p.ExpiresAt)
	if err != nil {
		return out, act.Errorf(act.Invalid, "expires_at is no time").WithRule("mandate.expires").WithHint("write it like 2027-01-31T12:00:00Z")
	}
	out.ExpiresAt = act.Micros(at)
	return out, nil
}

type newMandate struct {
	Name  string `json:"name"`
	Owner string `json:"owner"`
	purpose
	Grace int64 `json:"grace"` // seconds; a day if 0
}

type newRevision struct {
	purpose
	Reason string `json:"reason"`
}

// POST /mandates
func (d *door) openMandate(ctx context.Context, c *api.Call) error {
	var in newMandate
	if err := c.Decode(&in); err != nil {
		return err
	}
	said, err := in.domain()
	if err != nil {
		return err
	}
	made, err := d.lifecycle.OpenMandate.DoOnce(ctx, c.Principal, c.Key, lifecycle.NewMandate{
		Name: in.Name, Owner: in.Owner, Purpose: said, Grace: time.Duration(in.Grace) * time.Second,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.mandate(made))
}

// mandateID reads the id of the path.
func (d *door) mandateID(c *api.Call) (act.ID, error) {
	id, err := d.codec.ParseKind(c.R.PathValue("mandate"), act.KindMandate)
	if err != nil {
		return 0, act.Errorf(act.NotFound, "no such mandate").WithHint("this takes the mandate's id; GET /v1/mandates/{name} shows it")
	}
	return id, nil
}

// mandateIn reads the id of a body.
func (d *door) mandateIn(text string) (act.ID, error) {
	id, err := d.codec.ParseKind(text, act.KindMandate)
	if err != nil {
		return 0, act.Errorf(act.Invalid, "mandate_id is no mandate's id").WithRule("mandate.unknown").WithHint("GET /v1/mandates/{name} shows the id")
	}
	return id, nil
}

// GET /mandates?limit&cursor
func (d *door) mandates(ctx context.Context, c *api.Call) (err error) {
	var in lifecycle.MandateQuery
	if in.Limit, in.Cursor, err = d.paging(c, lifecycle.MandateCursor, lifecycle.MaxList); err != nil {
		return err
	}
	page, err := d.lifecycle.ListMandates.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.mandate))
}

// GET /mandates/{mandate}: by id, or by name.
func (d *door) showMandate(ctx context.Context, c *api.Call) error {
	in := lifecycle.NamedMandate{Name: c.R.PathValue("mandate")}
	if id, err := d.codec.ParseKind(in.Name, act.KindMandate); err == nil {
		in = lifecycle.NamedMandate{Mandate: id}
	}
	m, err := d.lifecycle.ShowMandate.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.mandate(m))
}

// POST /mandates/{mandate}/revise
func (d *door) reviseMandate(ctx context.Context, c *api.Call) error {
	var in newRevision
	if err := c.Decode(&in); err != nil {
		return err
	}
	id, err := d.mandateID(c)
	if err != nil {
		return err
	}
	said, err := in.domain()
	if err != nil {
		return err
	}
	m, err := d.lifecycle.ReviseMandate.DoOnce(ctx, c.Principal, c.Key, lifecycle.Revision{Mandate: id, Purpose: said, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.mandate(m))
}

// POST /mandates/{mandate}/close
func (d *door) closeMandate(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	id, err := d.mandateID(c)
	if err != nil {
		return err
	}
	m, err := d.lifecycle.CloseMandate.DoOnce(ctx, c.Principal, c.Key, lifecycle.MandateOrder{Mandate: id, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.mandate(m))
}

type newAttestation struct {
	Agent  string `json:"agent"` // id; all that are stale if ""
	Reason string `json:"reason"`
}

type attested struct {
	Mandate mandate `json:"mandate"`
	Bound   int64   `json:"bound"` // agents that are not stale any more
	Left    bool    `json:"left"`  // there are more: send it again
}

// POST /mandates/{mandate}/attest
func (d *door) attest(ctx context.Context, c *api.Call) error {
	var in newAttestation
	if err := c.Decode(&in); err != nil {
		return err
	}
	id, err := d.mandateID(c)
	if err != nil {
		return err
	}
	a := lifecycle.Attestation{Mandate: id, Reason: in.Reason}
	if in.Agent != "" {
		if a.Agent, err = d.codec.ParseKind(in.Agent, act.KindAgent); err != nil {
			return act.Errorf(act.Invalid, "agent is no agent's id").WithRule("mandate.agent").WithHint("GET /v1/agents/{name} shows the id")
		}
	}
	out, err := d.lifecycle.Attest.DoOnce(ctx, c.Principal, c.Key, a)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, attested{d.mandate(out.Mandate), out.Bound, out.Left})
}

type newOutcome struct {
	Metric string `json:"metric"`
	Value  int64  `json:"value"`
	TaskID string `json:"task_id"` // that it came of
}

type outcome struct {
	MandateID string  `json:"mandate_id"`
	N         int64   `json:"n"`
	AgentID   string  `json:"agent_id"`
	Agent     string  `json:"agent"`
	Revision  int64   `json:"revision"` // of the mandate that the agent was bound to
	Metric    string  `json:"metric"`
	Value     int64   `json:"value"`
	TaskID    *string `json:"task_id"`
	MadeAt    *string `json:"made_at"`
}

func (d *door) outcome(o lifecycle.Outcome) outcome {
	return outcome{
		MandateID: d.codec.String(o.Mandate), N: o.N, AgentID: d.codec.String(o.Agent), Agent: o.Name, Revision: o.Revision, Metric: o.Metric,
		Value: o.Value, TaskID: d.id(o.Task), MadeAt: wireTime(o.MadeAt),
	}
}

// POST /outcomes
func (d *door) recordOutcome(ctx context.Context, c *api.Call) error {
	var in newOutcome
	if err := c.Decode(&in); err != nil {
		return err
	}
	o := lifecycle.NewOutcome{Metric: in.Metric, Value: in.Value}
	if in.TaskID != "" {
		var err error
		if o.Task, err = d.codec.ParseKind(in.TaskID, act.KindTask); err != nil {
			return act.Errorf(act.Invalid, "task_id is no task's id").WithRule("outcome.task").WithHint("use the id as task.read shows it, or leave it out")
		}
	}
	out, err := d.lifecycle.RecordOutcome.DoOnce(ctx, c.Principal, c.Key, o)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.outcome(out))
}

// GET /mandates/{mandate}/outcomes?limit&cursor
func (d *door) outcomes(ctx context.Context, c *api.Call) error {
	id, err := d.mandateID(c)
	if err != nil {
		return err
	}
	in := lifecycle.OutcomeQuery{Mandate: id}
	if in.Limit, in.Cursor, err = d.paging(c, lifecycle.OutcomeCursor, lifecycle.MaxList); err != nil {
		return err
	}
	page, err := d.lifecycle.ListOutcomes.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.outcome))
}
