package native

import (
	"context"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// newProcess says which agents a runtime holds beside the one that says so.
type newProcess struct {
	Name   string   `json:"name"`
	Lease  int64    `json:"lease"` // seconds; 10 if 0
	Agents []string `json:"agent_ids"`
}

type process struct {
	ID       string  `json:"id"`
	Name     string  `json:"name"`
	KeeperID string  `json:"keeper_id"` // the agent that renews its lease
	Keeper   string  `json:"keeper"`
	Agents   int64   `json:"agents"`
	Lease    int64   `json:"lease"` // seconds
	UntilAt  *string `json:"until_at"`
	OpenedAt *string `json:"opened_at"`
}

func (d *door) process(p lifecycle.Process) process {
	return process{
		ID: d.codec.String(p.ID), Name: p.Name, KeeperID: d.codec.String(p.Keeper), Keeper: d.lifecycle.Name(p.Keeper), Agents: p.Agents,
		Lease: int64(p.Lease / time.Second), UntilAt: wireTime(p.UntilAt), OpenedAt: wireTime(p.OpenedAt),
	}
}

// POST /processes
func (d *door) openProcess(ctx context.Context, c *api.Call) error {
	var in newProcess
	if err := c.Decode(&in); err != nil {
		return err
	}
	ask := lifecycle.NewProcess{Name: in.Name, Lease: time.Duration(min(in.Lease, 1<<32)) * time.Second}
	for _, text := range in.Agents {
		id, err := d.codec.ParseKind(text, act.KindAgent)
		if err != nil {
			return err
		}
		ask.Agents = append(ask.Agents, id)
	}
	p, err := d.lifecycle.OpenProcess.DoOnce(ctx, c.Principal, c.Key, ask)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.process(p))
}

// POST /processes/{process}/renew
func (d *door) renewProcess(ctx context.Context, c *api.Call) error {
	id, err := d.codec.ParseKind(c.R.PathValue("process"), act.KindProcess)
	if err != nil {
		return err
	}
	p, err := d.lifecycle.RenewProcess.Do(ctx, c.Principal, id)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.process(p))
}

// GET /processes
func (d *door) processes(ctx context.Context, c *api.Call) error {
	found, err := d.lifecycle.ListProcesses.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	out := list[process]{Items: make([]process, 0, len(found))}
	for _, p := range found {
		out.Items = append(out.Items, d.process(p))
	}
	return d.send(c, http.StatusOK, out)
}
