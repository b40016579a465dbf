package graph

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// actor is the agent that a question is about: the one that it names, or who did or made
// what it names.
func (a *Acts) actor(v *store.View, q Question) (act.ID, error) {
	if q.Subject.ID.Kind() == act.KindAgent {
		return q.Subject.ID, nil
	}
	if err := a.Graph.Refresh(v); err != nil {
		return 0, err
	}
	return a.Graph.actorOf(q.Subject.ID, q.Subject.Seq), nil
}

// actorOf is who did the act with a number, or made a thing; 0 if nobody did.
func (g *Graph) actorOf(id act.ID, seq int64) act.ID {
	g.mu.RLock()
	defer g.mu.RUnlock()
	place, found := g.log.placeOf(seq)
	if item, known := g.items.number[id]; seq == 0 && known {
		place, found = g.log.maker(item, 1<<63-1)
	}
	if !found {
		return 0
	}
	return g.agents.ids[g.log.actor[place]]
}

// owned refuses a question about an agent that is not the asker's.
func (a *Acts) owned(v *store.View, p act.Principal, q Question, about func(*store.View, Question) (act.ID, error)) error {
	agent, err := about(v, q)
	if err != nil {
		return err
	}
	theirs, err := a.Answers(v, p, agent)
	if err == nil && !theirs {
		err = act.Errorf(act.Denied, "that is not of an agent that you answer for").WithRule("trace.own").
			WithHint("owners ask about what their own agents did; the rest is for operators with the role responder, auditor or admin")
	}
	return err
}

// discreet leaves out who answers for the agents of others, and what these are for.
func (a *Acts) discreet(v *store.View, p act.Principal, t *Told) error {
	for id, person := range t.People {
		theirs, err := a.Answers(v, p, id)
		if err != nil {
			return err
		}
		if !theirs {
			t.People[id] = Person{Name: person.Name, Standing: person.Standing}
		}
	}
	return nil
}
