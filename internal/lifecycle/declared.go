package lifecycle

import (
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What package manifest asks of what files declare: classes, mandates and agents by their
// names, within the view that it plans in. It changes nothing here: that is done by the
// acts.

// CheckClass reports what is wrong with the name of a class.
func CheckClass(name string) error { return checkClassName(name) }

// CheckMandate reports what is wrong with a mandate that is to be opened, or to be said anew.
func (l *Lifecycle) CheckMandate(in NewMandate) error { return l.checkMandate(in) }

// found tells what is not there from what cannot be read.
func found[T any](one T, err error) (T, bool, error) {
	if act.CodeOf(err) == act.NotFound {
		return one, false, nil
	}
	return one, err == nil, err
}

// ClassNamed reads the newest version of a class.
func (l *Lifecycle) ClassNamed(v *store.View, name string) (Class, bool, error) {
	return found(class(v, NamedClass{Name: name}))
}

// MandateNamed reads a mandate.
func (l *Lifecycle) MandateNamed(v *store.View, name string) (Mandate, bool, error) {
	return found(l.mandate(v, NamedMandate{Name: name}))
}

// MandateBy reads the mandate that an agent is bound to.
func (l *Lifecycle) MandateBy(v *store.View, id act.ID) (Mandate, error) {
	return l.mandate(v, NamedMandate{Mandate: id})
}

// AgentNamed reads an agent by its name, or by any that looks like it.
func (l *Lifecycle) AgentNamed(v *store.View, name string) (Agent, bool, error) {
	return found(l.named(v, Named{Name: name}))
}

// Granted is what an agent may do at most, from memory; bounded is false for one that was
// granted nothing in particular.
func (l *Lifecycle) Granted(agent act.ID) (g charter.Grant, bounded bool) {
	if b := l.bondOf(agent); b != nil && b.terms != nil {
		return b.terms.grant, true
	}
	return g, false
}

// EachClass calls do with the newest version of every class that is in use.
func (l *Lifecycle) EachClass(v *store.View, do func(Class) error) error {
	newest := make(map[string]Class)
	var names []string
	if err := v.All(qClasses, func(r *store.Row) error {
		c, err := scanClass(r)
		if _, known := newest[c.Name]; !known {
			names = append(names, c.Name)
		}
		if c.Version > newest[c.Name].Version {
			newest[c.Name] = c
		}
		return err
	}, act.ID(0), int64(maxClasses+1)); err != nil {
		return err
	}
	for _, name := range names {
		if c := newest[name]; !c.Retired {
			if err := do(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// EachMandate calls do with every mandate that is open.
func (l *Lifecycle) EachMandate(v *store.View, do func(Mandate) error) error {
	for in := (MandateQuery{Limit: MaxList}); ; {
		page, err := l.listMandates(v, act.Principal{}, in)
		if err != nil {
			return err
		}
		for _, m := range page.Items {
			if m.Closed {
				continue
			}
			if err := do(m); err != nil {
				return err
			}
		}
		if in.Cursor = page.Next; in.Cursor.IsZero() {
			return nil
		}
	}
}

// EachInstance calls do with every agent of a class that was asked for by an operator and
// has not ended, at most as many as are wanted, the oldest first. Who they are is known
// to memory, so agents that registered by themselves are not read.
func (l *Lifecycle) EachInstance(v *store.View, most int, do func(Agent) error) error {
	var ids []act.ID
	l.agents.each(func(id act.ID, r *record, state act.Standing) bool {
		if b := r.bond.Load(); b != nil && b.class != 0 && b.parent == 0 && !state.Final() {
			ids = append(ids, id)
		}
		return true
	})
	slices.Sort(ids)
	for _, id := range ids[:min(most, len(ids))] {
		a, err := l.agent(v, id)
		if err != nil {
			return err
		}
		if err := do(a); err != nil {
			return err
		}
	}
	return nil
}
