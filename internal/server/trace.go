package server

import (
	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/provenance/graph"
	"github.com/reefwarden/reefwarden/internal/store"
)

// traces opens the influence graph, and gives it what the domains know.
func (s *Server) traces() *graph.Acts {
	return graph.Open(graph.Config{
		Gate: s.Gate, DB: s.DB, Graph: graph.New(int64(s.Config.TraceMemory) << 20),
		People: s.people, Decided: audit.Decided,
		Things: func(v *store.View, items []act.ID) (map[act.ID]graph.Thing, error) {
			known, err := s.Network.Traced(v, items)
			out := make(map[act.ID]graph.Thing, len(known))
			for id, t := range known {
				out[id] = graph.Thing{Ref: t.Ref, Facts: t.Facts, Title: t.Title, Author: t.Facts.Author}
			}
			return out, err
		},
		Texts: s.texts,
		Answers: func(v *store.View, p act.Principal, agent act.ID) (bool, error) {
			guards, err := s.Identity.Answers(v, p, s.Lifecycle.Facts(agent).Owner)
			return len(guards) > 0, err
		},
		Members: func(v *store.View, kind, name string) ([]act.ID, error) {
			return s.Lifecycle.Members(v, lifecycle.ScopeName{Kind: kind, Name: name})
		},
		Pages: func(v *store.View, agent act.ID, fn func(graph.Page) error) error {
			return provenance.Exposures(v, agent, func(x provenance.Exposure) error {
				return fn(graph.Page{After: x.AfterSeq, At: x.At, Channel: x.Channel, Again: x.Again, Count: x.Count, Items: x.Items, Trace: x.Trace})
			})
		},
		Voted: func(v *store.View, agent, item act.ID) (int64, error) { return s.Network.Voted(v, agent, item) },
		Stop:  s.Lifecycle.QuarantineIn, Free: s.Lifecycle.ReleaseIn,
		Tell: func(tx *store.Tx, agent, item act.ID) error { return s.Network.TellWithdrawn(tx, agent, item) },
	})
}

// texts gives what things say that can still be read.
func (s *Server) texts(v *store.View, items []act.ID) (map[act.ID]string, error) {
	known, err := s.Network.Traced(v, items)
	out := make(map[act.ID]string, len(known))
	for id, t := range known {
		if t.Text != "" {
			out[id] = t.Text
		}
	}
	return out, err
}

// canaryKey is the key of the marks in what agents are shown, nil where there are none.
func (c *Config) canaryKey(k *identity.Keys) []byte {
	if !c.Canaries {
		return nil
	}
	return k.CanaryKey()
}

// people describes agents by what they are for, and who answers for them.
func (s *Server) people(v *store.View, agents []act.ID) (map[act.ID]graph.Person, error) {
	out := make(map[act.ID]graph.Person, len(agents))
	mandates := make(map[act.ID]lifecycle.Mandate)
	for _, id := range agents {
		f := s.Lifecycle.Facts(id)
		if f.Standing == act.StandingUnknown {
			continue // imported, or gone
		}
		owner, err := s.Identity.OwnerName(v, f.Owner)
		if err != nil {
			return nil, err
		}
		p := graph.Person{Name: s.Lifecycle.Name(id), Owner: owner, Standing: f.Standing}
		if f.Mandate != 0 {
			m, known := mandates[f.Mandate]
			if !known {
				if m, err = s.Lifecycle.MandateBy(v, f.Mandate); err != nil {
					return nil, err
				}
				mandates[f.Mandate] = m
			}
			p.Mandate, p.Purpose = m.Name, m.Statement
		}
		out[id] = p
	}
	return out, nil
}
