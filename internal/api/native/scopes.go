package native

import (
	"context"
	"net/http"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// scopeRoutes are how operators stop many agents at once. A scope is one part of the
// path: "owner:NAME", "class:NAME", "skill:sha256:…", "lineage:AGENT-ID", "community:NAME", "all".
func (d *door) scopeRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	order := func(verb string, do *gate.WriteAct[lifecycle.ScopeOrder, lifecycle.Contained]) api.Route {
		return api.Route{Method: post, Path: "/scopes/{scope}/" + verb, Act: "scope." + verb, Handle: d.orderScope(do), Takes: newOrder{}, Gives: contained{}}
	}
	return []api.Route{
		{Method: get, Path: "/scopes", Act: "scope.list", Handle: d.scopes, Gives: list[containment]{}},
		{Method: get, Path: "/scopes/{scope}", Act: "scope.show", Handle: d.scope, Gives: preview{}},
		order("pause", d.lifecycle.PauseScope), order("resume", d.lifecycle.ResumeScope), order("quarantine", d.lifecycle.QuarantineScope),
		order("release", d.lifecycle.ReleaseScope), order("kill", d.lifecycle.KillScope),
	}
}

// containment is one order about a scope that is in force.
type containment struct {
	Scope     string  `json:"scope"` // as it is named in the path
	Name      string  `json:"name"`  // of its owner, agent or community; "" for all
	Does      string  `json:"does"`  // paused, quarantined or killed
	Reason    string  `json:"reason"`
	By        string  `json:"by"` // operator
	CreatedAt *string `json:"created_at"`
	Left      int64   `json:"left"`    // agents that a kill has not ended yet
	Ended     int64   `json:"ended"`   // agents that it has ended, when it is done
	DoneAt    *string `json:"done_at"` // when nobody was left; null before, and for a pause or quarantine
}

// contained is what a scope comes to.
type contained struct {
	Scope    string        `json:"scope"`
	Name     string        `json:"name"`
	Standing string        `json:"standing"` // what it leaves an active agent; active where it is not stopped
	Orders   []containment `json:"orders"`
}

// preview is who is in a scope, and what they have under way.
type preview struct {
	contained
	Agents   map[string]int64 `json:"agents"`   // by what their standing comes to now
	Examples []example        `json:"examples"` // a few who may act now
	Flying   flying           `json:"in_flight"`
}

type example struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type flying struct {
	Streams    int64 `json:"streams"`    // open on this node
	Webhooks   int64 `json:"webhooks"`   // that are not switched off
	Leases     int64 `json:"leases"`     // of tasks
	Deliveries int64 `json:"deliveries"` // from queues, not acknowledged
	Held       int64 `json:"held"`       // acts that wait for somebody's word
}

func (d *door) scopeText(s lifecycle.Scope, name string) string {
	switch s.Kind {
	case lifecycle.ScopeAll:
		return s.Kind.String()
	case lifecycle.ScopeLineage:
		name = d.codec.String(s.Target)
	case lifecycle.ScopeOwner, lifecycle.ScopeCommunity, lifecycle.ScopeClass, lifecycle.ScopeSkill, lifecycle.ScopeMandate, lifecycle.ScopeSite:
	}
	return s.Kind.String() + ":" + name
}

func (d *door) containment(c lifecycle.Containment) containment {
	return containment{
		Scope: d.scopeText(c.Scope, c.Name), Name: c.Name, Does: c.Does.String(), Reason: c.Reason, By: d.codec.String(c.By),
		CreatedAt: wireTime(c.At), Left: c.Left, Ended: c.Ended, DoneAt: wireTime(c.DoneAt),
	}
}

func (d *door) contained(c lifecycle.Contained) contained {
	out := contained{Scope: d.scopeText(c.Scope, c.Name), Name: c.Name, Standing: c.Standing.String(), Orders: []containment{}}
	for _, one := range c.Orders {
		out.Orders = append(out.Orders, d.containment(one))
	}
	return out
}

// scopeName reads the scope of the path. A line goes by the id of its agent, since a name
// may look like another one.
func (d *door) scopeName(c *api.Call) (lifecycle.ScopeName, error) {
	kind, name, _ := strings.Cut(c.R.PathValue("scope"), ":")
	in := lifecycle.ScopeName{Kind: kind, Name: name}
	if kind == lifecycle.ScopeLineage.String() {
		id, err := d.codec.ParseKind(name, act.KindAgent)
		if err != nil {
			return in, act.Errorf(act.NotFound, "no such agent").WithHint("a line takes the id of its agent; GET /v1/agents/{name} shows it")
		}
		in.Agent, in.Name = id, ""
	}
	return in, nil
}

// GET /scopes
func (d *door) scopes(ctx context.Context, c *api.Call) error {
	all, err := d.lifecycle.ListScopes.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	out := list[containment]{Items: make([]containment, 0, len(all))}
	for _, one := range all {
		out.Items = append(out.Items, d.containment(one))
	}
	return d.send(c, http.StatusOK, out)
}

// GET /scopes/{scope}
func (d *door) scope(ctx context.Context, c *api.Call) error {
	in, err := d.scopeName(c)
	if err != nil {
		return err
	}
	p, err := d.lifecycle.ShowScope.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := preview{
		contained: d.contained(p.Contained), Agents: make(map[string]int64), Examples: []example{},
		Flying: flying{p.Flying.Streams, p.Flying.Webhooks, p.Flying.Leases, p.Flying.Deliveries, p.Held},
	}
	for s, n := range p.Agents {
		if n > 0 {
			out.Agents[act.Standing(s).String()] = n
		}
	}
	for _, id := range p.Examples {
		out.Examples = append(out.Examples, example{d.codec.String(id), d.lifecycle.Name(id)})
	}
	return d.send(c, http.StatusOK, out)
}

// orderScope answers POST /scopes/{scope}/pause and its siblings.
func (d *door) orderScope(do *gate.WriteAct[lifecycle.ScopeOrder, lifecycle.Contained]) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in newOrder
		if err := c.Decode(&in); err != nil {
			return err
		}
		on, err := d.scopeName(c)
		if err != nil {
			return err
		}
		out, err := do.DoOnce(ctx, c.Principal, c.Key, lifecycle.ScopeOrder{On: on, Reason: in.Reason})
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, d.contained(out))
	}
}
