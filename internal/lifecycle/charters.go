package lifecycle

import (
	"context"
	"sync"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// charters is what memory knows of classes, mandates and teams. It never changes; a fence
// of a class, a mandate or an owner brings another.
type charters struct {
	classes  map[act.ID]*Class
	mandates map[act.ID]int64  // those that end: when, Unix microseconds
	teams    map[act.ID]string // of owners who work in one
}

// team is where an owner works, "" for none. It is asked before the start, too, when
// nothing is known.
func (c *charters) team(owner act.ID) string {
	if c == nil {
		return ""
	}
	return c.teams[owner]
}

// reloadCharters reads every class, every team and every mandate that ends by itself; see
// gate.OnFence. What is halted by a class or a skill follows.
func (l *Lifecycle) reloadCharters(ctx context.Context, ids []act.ID) error {
	c := &charters{classes: make(map[act.ID]*Class), mandates: make(map[act.ID]int64), teams: make(map[act.ID]string)}
	if err := l.db.Snapshot(ctx, func(v *store.View) error {
		if err := v.All(qClasses, func(r *store.Row) error {
			one, err := scanClass(r)
			c.classes[one.ID] = &one
			return err
		}, act.ID(0), int64(maxClasses+1)); err != nil {
			return err
		}
		if err := l.ids.OwnerTeams(v, func(owner act.ID, team string) { c.teams[owner] = team }); err != nil {
			return err
		}
		return v.All(qMandatesEnding, func(r *store.Row) error { c.mandates[r.ID(0)] = r.Int(1); return nil })
	}); err != nil {
		return err
	}
	l.charters.Store(c)
	return l.reloadHalts(ctx, ids)
}

// terms is a grant as the gate asks about it. Agents with equal grants share one.
type terms struct {
	grant charter.Grant
	acts  sync.Map // name of an act to whether it is granted
}

// allows reports whether the grant has an act; it asks the set once for each.
func (t *terms) allows(name string) bool {
	if known, ok := t.acts.Load(name); ok {
		allowed, _ := known.(bool)
		return allowed
	}
	allowed := t.grant.Acts.Has(name)
	t.acts.Store(name, allowed)
	return allowed
}

// interned keeps one terms for each text of a grant.
type interned struct {
	mu     sync.Mutex
	byText map[string]*terms // guarded by mu
}

// of returns the terms of a stored grant, nil for "". What cannot be read grants nothing.
func (i *interned) of(text string) *terms {
	if text == "" {
		return nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if t := i.byText[text]; t != nil {
		return t
	}
	g, err := charter.ParseGrant([]byte(text))
	if err != nil {
		g = charter.Grant{Acts: charter.Of(), Communities: charter.Of(), Clearance: charter.Unclassified}
	}
	t := &terms{grant: g}
	if i.byText == nil {
		i.byText = make(map[string]*terms)
	}
	i.byText[text] = t
	return t
}
