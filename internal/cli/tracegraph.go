package cli

import (
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/export"
)

// Answers about influence as graphs: things, the acts that made them, the agents that did
// them, and the owners for whom those act.

// told adds who and what an answer names.
func told(g *export.Graph, t *client.Traced) {
	for _, p := range t.People {
		more := map[string]string{"standing": p.Standing}
		if p.Mandate != "" {
			more["mandate"], more["purpose"] = p.Mandate, p.Purpose
		}
		g.Nodes = append(g.Nodes, export.Node{ID: p.ID, Role: export.Agent, Kind: "agent", Label: p.Name, More: more})
		if p.Owner != "" {
			owner := "owner-" + p.Owner
			g.Nodes = append(g.Nodes, export.Node{ID: owner, Role: export.Agent, Kind: "owner", Label: p.Owner})
			g.Edges = append(g.Edges, export.Edge{From: p.ID, To: owner, Relation: export.ActedFor})
		}
	}
	for _, x := range t.Things {
		g.Nodes = append(g.Nodes, export.Node{ID: x.ID, Role: export.Entity, Kind: x.Kind, Label: x.Title})
	}
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// ends sees to it that both ends of the last edge are there: some things are only known by
// their ids.
func ends(g *export.Graph, e export.Edge, from, to export.Node) {
	g.Nodes = append(g.Nodes, from, to)
	g.Edges = append(g.Edges, e)
}

func whyGraph(out *client.Reasons) (g export.Graph) {
	told(&g, &out.Traced)
	causeGraph(&g, &out.Why)
	return g
}

// causeGraph adds an act and what is behind it.
func causeGraph(g *export.Graph, c *client.Cause) {
	thing := export.Node{ID: c.Item, Role: export.Entity, Kind: "thing"}
	if c.Act == "" {
		g.Nodes = append(g.Nodes, thing)
		return
	}
	deed := "act-" + strconv.FormatInt(c.Seq, 10)
	node := export.Node{ID: deed, Role: export.Activity, Kind: c.Act, Label: "act " + strconv.FormatInt(c.Seq, 10), At: when(c.At)}
	if c.Policy != "" {
		node.More = map[string]string{"policy": c.Policy}
	}
	if c.Item != "" {
		ends(g, export.Edge{From: c.Item, To: deed, Relation: export.Generated}, thing, node)
	}
	if c.Actor != "" {
		ends(g, export.Edge{From: deed, To: c.Actor, Relation: export.DoneBy}, node, export.Node{ID: c.Actor, Role: export.Agent, Kind: "agent"})
	}
	for i := range c.Of {
		one := &c.Of[i]
		causeGraph(g, one)
		source := export.Node{ID: one.Item, Role: export.Entity, Kind: "thing"}
		more := map[string]string{"how": one.How}
		if s := one.Shown; s != nil {
			more["shown_at"], more["channel"] = when(s.At), s.Channel
		}
		ends(g, export.Edge{From: deed, To: one.Item, Relation: export.Used, Level: one.Level, More: more}, node, source)
		if one.Level > 1 && c.Item != "" && c.Item != one.Item {
			ends(g, export.Edge{From: c.Item, To: one.Item, Relation: export.Derived, Level: one.Level}, thing, source)
		}
	}
}

func blastGraph(out *client.Radius) (g export.Graph) {
	told(&g, &out.Traced)
	for _, side := range []*client.RadiusSide{&out.Likely, &out.Possible} {
		for _, x := range side.Agents {
			agent := export.Node{ID: x.ID, Role: export.Agent, Kind: x.Kind}
			if x.Via == "" {
				g.Nodes = append(g.Nodes, agent)
				continue
			}
			ends(&g, export.Edge{From: x.ID, To: x.Via, Relation: export.Reached, Level: x.Level}, agent, export.Node{ID: x.Via, Role: export.Entity, Kind: "thing"})
		}
		for _, x := range side.Items {
			thing := export.Node{ID: x.ID, Role: export.Entity, Kind: x.Kind, At: when(x.At)}
			if x.Via == "" {
				g.Nodes = append(g.Nodes, thing)
				continue
			}
			ends(&g, export.Edge{From: x.ID, To: x.Via, Relation: export.DoneBy}, thing, export.Node{ID: x.Via, Role: export.Agent, Kind: "agent"})
		}
	}
	return g
}
