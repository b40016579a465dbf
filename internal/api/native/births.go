package native

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
)

// birthRoutes are how agents of classes come to be, and what holds them.
func (d *door) birthRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: post, Path: "/agent-requests", Act: "agent.request", Handle: d.bear(d.lifecycle.Request), Takes: newInstance{}, Gives: instance{}},
		{Method: post, Path: "/children", Act: "agent.spawn", Handle: d.bear(d.lifecycle.Spawn), Takes: newInstance{}, Gives: instance{}},
		{Method: get, Path: "/agents/{agent}/children", Act: "agent.line", Handle: d.line, Gives: list[agent]{}, Query: []string{"limit", "cursor"}},
		{Method: get, Path: "/agents/{agent}/budget", Act: "budget.show", Handle: d.showBudget, Gives: list[budget]{}},
		{Method: post, Path: "/budget", Act: "budget.report", Handle: d.report, Takes: usage{}, Gives: list[budget]{}},
		{Method: get, Path: "/orphans", Act: "agent.orphans", Handle: d.orphans, Gives: list[orphan]{}, Query: []string{"limit"}},
		{Method: post, Path: "/processes", Act: "process.open", Handle: d.openProcess, Takes: newProcess{}, Gives: process{}},
		{Method: post, Path: "/processes/{process}/renew", Act: "process.renew", Handle: d.renewProcess, Gives: process{}},
		{Method: get, Path: "/processes", Act: "process.list", Handle: d.processes, Gives: list[process]{}},
		{Method: get, Path: "/notices", Act: "notice.list", Handle: d.notices, Gives: list[notice]{}, Query: []string{"limit"}},
		{Method: post, Path: "/agents/{agent}/appeal", Act: "agent.appeal", Handle: d.order(d.lifecycle.Appeal), Takes: newOrder{}, Gives: agent{}},
		{Method: post, Path: "/agents/{agent}/adopt", Act: "agent.adopt", Handle: d.adopt, Takes: newAdoption{}, Gives: agent{}},
	}
}

type newInstance struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Class       string          `json:"class"`
	Version     int64           `json:"class_version"` // the one in use if 0
	MandateID   string          `json:"mandate_id"`    // a child's is its parent's
	Owner       string          `json:"owner"`         // a child's is its parent's
	Grant       json.RawMessage `json:"grant,omitempty"`
	Reason      string          `json:"reason"`
}

type instance struct {
	Agent           agent         `json:"agent"`
	Class           string        `json:"class"`
	Version         int64         `json:"class_version"`
	Grant           charter.Grant `json:"grant"`
	EnrollmentToken string        `json:"enrollment_token"` // shown once; "" when the act was held or is repeated
	ExpiresAt       *string       `json:"expires_at"`       // of the token
}

// bear answers POST /agent-requests and POST /children.
func (d *door) bear(do *gate.WriteAct[lifecycle.NewInstance, lifecycle.Instance]) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in newInstance
		if err := c.Decode(&in); err != nil {
			return err
		}
		wish := lifecycle.NewInstance{
			Name: in.Name, Description: in.Description, Class: in.Class, Version: in.Version, Owner: in.Owner, Grant: document(in.Grant), Reason: in.Reason,
		}
		if in.MandateID != "" {
			var err error
			if wish.Mandate, err = d.mandateIn(in.MandateID); err != nil {
				return err
			}
		}
		out, err := do.DoOnce(ctx, c.Principal, c.Key, wish)
		if err != nil {
			return err
		}
		return d.send(c, http.StatusCreated, instance{d.agent(out.Agent), out.Class, out.Version, out.Grant, out.Token, wireTime(out.ExpiresAt)})
	}
}

// GET /agents/{agent}/children?limit&cursor
func (d *door) line(ctx context.Context, c *api.Call) error {
	id, err := d.agentID(c)
	if err != nil {
		return err
	}
	in := lifecycle.LineQuery{Parent: id}
	if in.Limit, in.Cursor, err = d.paging(c, lifecycle.LineCursor, lifecycle.MaxList); err != nil {
		return err
	}
	page, err := d.lifecycle.ListLine.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.agent))
}

type budget struct {
	Kind     string `json:"kind"`
	Granted  int64  `json:"granted"`
	Used     int64  `json:"used"`
	Carved   int64  `json:"carved"` // given to children
	Left     int64  `json:"left"`
	Reported bool   `json:"reported"` // the agent's own word

	Scope    string  `json:"scope"`     // of a quota above it, whose rest is for others, too; "" for what is its own
	RenewsAt *string `json:"renews_at"` // of a quota
}

func budgetsOf(l []lifecycle.Budget) list[budget] {
	out := list[budget]{Items: make([]budget, 0, len(l))}
	for _, b := range l {
		out.Items = append(out.Items, budget{b.Kind, b.Granted, b.Used, b.Carved, b.Left(), b.Reported, b.Scope, wireTime(b.RenewsAt)})
	}
	return out
}

// GET /agents/{agent}/budget: by id, or by name.
func (d *door) showBudget(ctx context.Context, c *api.Call) error {
	in := lifecycle.Named{Name: c.R.PathValue("agent")}
	if id, err := d.codec.ParseKind(in.Name, act.KindAgent); err == nil {
		in = lifecycle.Named{Agent: id}
	}
	out, err := d.lifecycle.ShowBudget.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, budgetsOf(out))
}

// usage is what an agent reserves, or gives back by a negative number.
type usage struct {
	Tokens int64 `json:"tokens"`
	Money  int64 `json:"money_micros"`
	CPU    int64 `json:"cpu_ms"`
}

// POST /budget
func (d *door) report(ctx context.Context, c *api.Call) error {
	var in usage
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.lifecycle.Report.DoOnce(ctx, c.Principal, c.Key, lifecycle.Usage{Tokens: in.Tokens, Money: in.Money, CPU: in.CPU})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, budgetsOf(out))
}

type orphan struct {
	AgentID  string  `json:"agent_id"`
	Agent    string  `json:"agent"`
	Rule     string  `json:"rule"`
	Evidence string  `json:"evidence"`
	Since    *string `json:"since"`
	EndsAt   *string `json:"ends_at"` // when it is ended unless somebody does something
}

// GET /orphans?limit
func (d *door) orphans(ctx context.Context, c *api.Call) error {
	limit, err := api.Number("limit", c.R.URL.Query().Get("limit"), 1, lifecycle.MaxCauses)
	if err != nil {
		return err
	}
	causes, err := d.lifecycle.ListCauses.Do(ctx, c.Principal, lifecycle.CauseQuery{Limit: limit})
	if err != nil {
		return err
	}
	out := list[orphan]{Items: make([]orphan, 0, len(causes))}
	for _, one := range causes {
		out.Items = append(out.Items, orphan{d.codec.String(one.Agent), d.lifecycle.Name(one.Agent), one.Rule, one.Evidence, wireTime(one.Since), wireTime(one.EndsAt)})
	}
	return d.send(c, http.StatusOK, out)
}

// notice is what a rule of an agent's class has found about it.
type notice struct {
	AgentID  string  `json:"agent_id"`
	Agent    string  `json:"agent"`
	Rule     string  `json:"rule"`
	Does     string  `json:"does"` // alert, pause, quarantine or terminate
	Evidence string  `json:"evidence"`
	At       *string `json:"at"`
	EndsAt   *string `json:"ends_at"` // when it is ended unless somebody lets it go on; null never
}

// GET /notices?limit
func (d *door) notices(ctx context.Context, c *api.Call) error {
	limit, err := api.Number("limit", c.R.URL.Query().Get("limit"), 1, lifecycle.MaxNotices)
	if err != nil {
		return err
	}
	found, err := d.lifecycle.ListNotices.Do(ctx, c.Principal, lifecycle.NoticeQuery{Limit: limit})
	if err != nil {
		return err
	}
	out := list[notice]{Items: make([]notice, 0, len(found))}
	for _, n := range found {
		out.Items = append(out.Items, notice{d.codec.String(n.Agent), d.lifecycle.Name(n.Agent), n.Rule, string(n.Does), n.Evidence, wireTime(n.At), wireTime(n.EndsAt)})
	}
	return d.send(c, http.StatusOK, out)
}

type newAdoption struct {
	Owner     string `json:"owner"`      // as it is if ""
	MandateID string `json:"mandate_id"` // as it is if ""
	Reason    string `json:"reason"`
}

// POST /agents/{agent}/adopt
func (d *door) adopt(ctx context.Context, c *api.Call) error {
	var in newAdoption
	if err := c.Decode(&in); err != nil {
		return err
	}
	id, err := d.agentID(c)
	if err != nil {
		return err
	}
	to := lifecycle.Adoption{Agent: id, Owner: in.Owner, Reason: in.Reason}
	if in.MandateID != "" {
		if to.Mandate, err = d.mandateIn(in.MandateID); err != nil {
			return err
		}
	}
	a, err := d.lifecycle.Adopt.DoOnce(ctx, c.Principal, c.Key, to)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.agent(a))
}
