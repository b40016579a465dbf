package native

import (
	"context"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// newRollout begins a roll-out; what is left out is a tenth, a half, all, for ten minutes
// each.
type newRollout struct {
	Version int64    `json:"version"`       // the newest if 0
	Steps   []string `json:"steps"`         // "3" agents, "25%" of them; the last is "100%"
	Bake    int64    `json:"bake"`          // seconds that a step is looked at
	Window  int64    `json:"window"`        // seconds in which faults count; bake if 0
	Most    int64    `json:"max_unhealthy"` // percent of those bound that may be stopped within the window
	Reason  string   `json:"reason"`
}

type rollout struct {
	Class      string      `json:"class"`
	Version    int64       `json:"version"`
	Base       int64       `json:"base"`  // of which new agents are made until it is done
	State      string      `json:"state"` // running, paused, done or reverted
	Steps      []string    `json:"steps"`
	Step       int         `json:"step"` // the present one, from 1
	Bake       int64       `json:"bake"`
	Window     int64       `json:"window"`
	Most       int64       `json:"max_unhealthy"`
	Wanted     int64       `json:"wanted"`    // agents that have the version when the step is done
	Bound      int64       `json:"bound"`     // agents that it has bound and that have not ended
	Unhealthy  int64       `json:"unhealthy"` // that were stopped within the window
	Rule       string      `json:"rule"`      // by which it was taken back
	Evidence   string      `json:"evidence"`
	Reason     string      `json:"reason"`
	MadeAt     *string     `json:"made_at"`
	StepAt     *string     `json:"step_at"`
	Stragglers []straggler `json:"stragglers"` // who stays what it is, and why
}

type straggler struct {
	AgentID string `json:"agent_id"`
	Agent   string `json:"agent"`
	Version int64  `json:"version"`
	Why     string `json:"why"`
}

func (d *door) rollout(r lifecycle.Rollout) rollout {
	out := rollout{
		Class: r.Name, Version: r.Version, Base: r.Base, State: r.State.String(), Steps: r.Steps, Step: r.Step + 1,
		Bake: int64(r.Bake / time.Second), Window: int64(r.Window / time.Second), Most: r.Most, Wanted: r.Wanted, Bound: r.Bound, Unhealthy: r.Faults,
		Rule: r.Rule, Evidence: r.Evidence, Reason: r.Reason, MadeAt: wireTime(r.MadeAt), StepAt: wireTime(r.StepAt),
		Stragglers: make([]straggler, 0, len(r.Stragglers)),
	}
	for _, s := range r.Stragglers {
		out.Stragglers = append(out.Stragglers, straggler{d.codec.String(s.Agent), s.Name, s.Version, s.Why})
	}
	return out
}

// POST /classes/{class}/rollout
func (d *door) startRollout(ctx context.Context, c *api.Call) error {
	var in newRollout
	if err := c.Decode(&in); err != nil {
		return err
	}
	const most = int64(1 << 32) // seconds; the act says what is too long
	r, err := d.lifecycle.StartRollout.DoOnce(ctx, c.Principal, c.Key, lifecycle.NewRollout{
		Name: c.R.PathValue("class"), Version: in.Version, Steps: in.Steps, Most: in.Most, Reason: in.Reason,
		Bake: time.Duration(min(in.Bake, most)) * time.Second, Window: time.Duration(min(in.Window, most)) * time.Second,
	})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.rollout(r))
}

// GET /classes/{class}/rollout
func (d *door) showRollout(ctx context.Context, c *api.Call) error {
	r, err := d.lifecycle.ShowRollout.Do(ctx, c.Principal, lifecycle.NamedClass{Name: c.R.PathValue("class")})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.rollout(r))
}

// orderRollout answers POST /classes/{class}/rollout/pause and its like.
func (d *door) orderRollout(do *gate.WriteAct[lifecycle.ClassOrder, lifecycle.Rollout]) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		var in newOrder
		if err := c.Decode(&in); err != nil {
			return err
		}
		r, err := do.DoOnce(ctx, c.Principal, c.Key, lifecycle.ClassOrder{Name: c.R.PathValue("class"), Reason: in.Reason})
		if err != nil {
			return err
		}
		return d.send(c, http.StatusOK, d.rollout(r))
	}
}
