package manifest

import (
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Effect is what a change comes to for somebody.
type Effect struct {
	Object string   // "Class/price-monitor"
	What   string   // Gains, Loses, Stops, Ends, Begins, Over or Unknown
	Who    string   // "agents", "operators with the role auditor", …
	Acts   []string // that are gained or lost
	Agents int64    // how many agents, operators or rows it reaches
	Names  []string // of some of them
	Why    string
}

// What effects there are.
const (
	Gains   = "gains"
	Loses   = "loses"
	Stops   = "stops"
	Ends    = "ends"
	Begins  = "begins"
	Drops   = "drops" // rows, of a table
	Over    = "over"  // the files still say what has ended
	Unknown = "unknown"
)

// maxNames bounds the agents that an effect names; the rest is counted.
const maxNames = 20

// effect puts an effect on agents down. Agents that are counted already are not counted
// again.
func (s *scene) effect(e Effect, agents []act.ID) {
	e.Agents = max(e.Agents, int64(len(agents)))
	for _, id := range agents[:min(len(agents), maxNames)] {
		e.Names = append(e.Names, s.m.Lifecycle.Name(id))
	}
	slices.Sort(e.Names)
	s.list(e)
}

func (s *scene) list(e Effect) { s.plan.Effects = append(s.plan.Effects, e) }

// stops puts down that agents stop, if there are any.
func (s *scene) stops(w work, agents []act.ID, why string) {
	if len(agents) > 0 {
		s.effect(Effect{Object: w.title(), What: Stops, Who: "agents", Why: why}, agents)
	}
}

// ties are the agents that hang on classes and mandates, by id.
type ties struct {
	classes  map[string][]act.ID // by name
	mandates map[act.ID][]act.ID
}

// bound looks through the agents that memory knows, once for a plan.
func (s *scene) bound() *ties {
	if s.ties != nil {
		return s.ties
	}
	s.ties = &ties{classes: make(map[string][]act.ID), mandates: make(map[act.ID][]act.ID)}
	s.m.Lifecycle.Each(func(id act.ID) bool {
		f := s.m.Lifecycle.Facts(id)
		if f.Standing.Final() {
			return true
		}
		if f.Class != "" {
			s.ties.classes[f.Class] = append(s.ties.classes[f.Class], id)
		}
		if f.Mandate != 0 {
			s.ties.mandates[f.Mandate] = append(s.ties.mandates[f.Mandate], id)
		}
		return true
	})
	for _, list := range s.ties.classes {
		slices.Sort(list)
	}
	for _, list := range s.ties.mandates {
		slices.Sort(list)
	}
	return s.ties
}
