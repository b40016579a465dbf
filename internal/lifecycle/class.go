package lifecycle

import (
	"context"
	"regexp"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ClassCursor is the name of the list of classes in its cursors.
const ClassCursor = "class.list"

// Class is one version of a class. Its document never changes.
type Class struct {
	ID        act.ID
	Name      string
	Version   int64 // 1 for the first
	Document  charter.Class
	Retired   bool // nobody is made of it any more, and who was is stopped
	Epoch     int64
	Reason    string // why it was retired; "" else
	MadeBy    act.ID
	MadeAt    int64 // Unix microseconds
	ChangedAt int64 // Unix microseconds
	Agents    int64 // that are made of it and have not ended; only class.show fills it
}

// NewClass is the next version of a class.
type NewClass struct {
	Name     string
	Document string // see charter.Parse
}

// NamedClass names a version of a class.
type NamedClass struct {
	Name    string
	Version int64 // the newest if 0
}

// ClassOrder is an operator's word about every version of a class.
type ClassOrder struct {
	Name   string
	Reason string // 1 to MaxReason characters; goes on record
}

// ClassQuery asks for a page of versions of classes, by id.
type ClassQuery struct {
	Name   string     // only this one's; "" is any
	Cursor act.Cursor // of ClassCursor; zero is the start
	Limit  int        // 1 to MaxList; MaxList if 0
}

// maxClasses bounds the versions of classes of a network: every node has all of them in
// memory.
const maxClasses = 10_000

// classRetired is the state of a class that is not in use, which is 1, any more.
const classRetired = 2

const (
	classColumns = `id, name, version, document, state, epoch, reason, made_by, made_at, changed_at`

	qClass       store.Q = `SELECT ` + classColumns + ` FROM class WHERE name = $1 AND version = $2`
	qClassNewest store.Q = `SELECT ` + classColumns + ` FROM class WHERE name = $1 ORDER BY version DESC, id LIMIT 1`
	qClassEpoch  store.Q = `SELECT epoch FROM class WHERE id = $1`
	qClasses     store.Q = `SELECT ` + classColumns + ` FROM class WHERE id > $1 ORDER BY id LIMIT $2`
	qClassesOf   store.Q = `SELECT ` + classColumns + ` FROM class WHERE id > $1 AND name = $3 ORDER BY id LIMIT $2`
	qClassCount  store.Q = `SELECT COUNT(*) FROM class`
	qClassMake   store.Q = `INSERT INTO class (id, name, version, document, state, epoch, reason, made_by, made_at, changed_at)
VALUES ($1, $2, $3, $4, 1, 1, '', $5, $6, $6)`
	qClassRetire store.Q = `UPDATE class SET state = 2, epoch = epoch + 1, reason = $2, changed_at = $3 WHERE name = $1 AND state = 1`
	qClassAgents store.Q = `SELECT COUNT(*) FROM agent WHERE class = $1 AND class <> 0 AND state <> $2 AND state <> $3`
)

func scanClass(r *store.Row) (c Class, err error) {
	c = Class{
		ID: r.ID(0), Name: r.Text(1), Version: r.Int(2), Retired: r.Int(4) == classRetired, Epoch: r.Int(5), Reason: r.Text(6),
		MadeBy: r.ID(7), MadeAt: r.Int(8), ChangedAt: r.Int(9),
	}
	c.Document, err = charter.Parse([]byte(r.Text(3)))
	return c, err
}

var className = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func checkClassName(name string) error {
	if !className.MatchString(name) {
		return act.Errorf(act.Invalid, "%.80q cannot be the name of a class", name).WithRule("class.name").
			WithHint("use 1 to 63 small letters, digits and '-', like price-monitor")
	}
	return nil
}

func noClass() error {
	return act.Errorf(act.NotFound, "no such class").WithRule("class.unknown").WithHint("use the name, and the version if you give one, as class.list shows them")
}

// parseCharter reads a class's document, and says what is wrong with it.
func parseCharter(text string) (charter.Class, error) {
	c, err := charter.Parse([]byte(text))
	if err != nil {
		return c, act.Errorf(act.Invalid, "the class is not in order: %w", err).WithRule("class.document").
			WithHint("nothing has changed; correct it and send it again (reef manifest schema Class shows its form)")
	}
	return c, nil
}

func (l *Lifecycle) registerClasses(g *gate.Gate) {
	named := func(_ context.Context, v *store.View, _ act.Principal, in NamedClass) (gate.Resource, error) {
		c, err := class(v, in)
		return c.resource(), err
	}
	l.PutClass = gate.RegisterWrite(g, gate.Write[NewClass, Class]{
		Info: gate.Info{Name: "class.put", Doc: "Make the next version of a class of agents, or the first.", On: act.KindClass, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NewClass) (gate.Resource, error) {
			if err := checkClassName(in.Name); err != nil {
				return gate.Resource{}, err
			}
			_, err := parseCharter(in.Document)
			return gate.Resource{Facts: gate.Facts{Kind: act.KindClass}}, err
		},
		Run: l.putClass,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Class, error) {
			return l.classBy(v, made.ID)
		},
	})
	l.RetireClass = gate.RegisterWrite(g, gate.Write[ClassOrder, Class]{
		Info: gate.Info{Name: "class.retire", Doc: "Take a class out of use: nobody is made of it, and who was is paused and then ended.", On: act.KindClass, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in ClassOrder) (gate.Resource, error) {
			if _, err := checkReason(in.Reason); err != nil {
				return gate.Resource{}, err
			}
			c, err := class(v, NamedClass{Name: in.Name})
			return c.resource(), err
		},
		Run: l.retireClass,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Class, error) {
			return l.classBy(v, made.ID)
		},
	})
	l.ShowClass = gate.RegisterRead(g, gate.Read[NamedClass, Class]{
		Info:   gate.Info{Name: "class.show", Doc: "Show one version of a class, and how many agents are made of it.", On: act.KindClass, Quota: gate.QuotaRead},
		Target: named,
		Run: func(_ context.Context, v *store.View, _ act.Principal, in NamedClass) (c Class, err error) {
			if c, err = class(v, in); err != nil {
				return c, err
			}
			_, err = v.One(qClassAgents, func(r *store.Row) error { c.Agents = r.Int(0); return nil }, c.ID, int64(act.Killed), int64(act.Expired))
			return c, err
		},
	})
	l.ListClasses = gate.RegisterRead(g, gate.Read[ClassQuery, act.Page[Class]]{
		Info: gate.Info{Name: "class.list", Doc: "List the versions of classes.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in ClassQuery) (act.Page[Class], error) {
			return listClasses(v, in)
		},
	})
}

// resource is a class as the target of an act.
func (c Class) resource() gate.Resource {
	return gate.Resource{
		Ref: act.Ref{ID: c.ID, Version: c.Epoch}, Facts: gate.Facts{Kind: act.KindClass},
		Guards: []gate.Guard{{Q: qClassEpoch, ID: c.ID, Epoch: c.Epoch}},
	}
}

// used refuses a class that is in use no more.
func (c Class) used() error {
	if c.Retired {
		return act.Errorf(act.Conflict, "the class %q is retired", c.Name).WithRule("class.retired").WithHint("class.list shows what is in use")
	}
	return nil
}

// class reads a version of a class; NotFound without one.
func class(v *store.View, in NamedClass) (c Class, err error) {
	q, args := qClassNewest, []any{in.Name}
	if in.Version != 0 {
		q, args = qClass, append(args, in.Version)
	}
	found, err := v.One(q, func(r *store.Row) (err error) { c, err = scanClass(r); return err }, args...)
	if err == nil && !found {
		err = noClass()
	}
	return c, err
}

// classBy reads a version by its id, which memory knows the name of.
func (l *Lifecycle) classBy(v *store.View, id act.ID) (Class, error) {
	known := l.charters.Load().classes[id]
	if known == nil {
		return Class{}, noClass()
	}
	return class(v, NamedClass{Name: known.Name, Version: known.Version})
}

func (l *Lifecycle) putClass(_ context.Context, tx *store.Tx, p act.Principal, in NewClass) (c Class, fx gate.Effects, err error) {
	document, err := parseCharter(in.Document)
	if err != nil {
		return c, fx, err
	}
	text, err := document.Text()
	if err != nil {
		return c, fx, err
	}
	last, err := class(&tx.View, NamedClass{Name: in.Name})
	if err != nil && act.CodeOf(err) != act.NotFound {
		return c, fx, err
	}
	if last.Retired {
		return c, fx, act.Errorf(act.Conflict, "the class %q is retired", in.Name).WithRule("class.retired").WithHint("choose another name")
	}
	if last.ID != 0 {
		same, err := last.Document.Text()
		if err != nil || string(same) == string(text) { // said before: a retry, or a file that is applied again
			tx.Fence(act.KindClass, last.ID)
			return last, gate.Effects{Out: act.Ref{ID: last.ID, Version: last.Epoch}}, err
		}
	}
	var n int64
	if _, err := tx.One(qClassCount, func(r *store.Row) error { n = r.Int(0); return nil }); err != nil {
		return c, fx, err
	}
	if n >= maxClasses {
		return c, fx, act.Errorf(act.Denied, "the network has %d versions of classes, which is as many as there can be", n).WithRule("quota.class").
			WithHint("a version is for ever; make fewer of them")
	}
	if c.ID, err = tx.Mint(act.KindClass); err != nil {
		return c, fx, err
	}
	if _, err = tx.Exec(qClassMake, c.ID, in.Name, last.Version+1, string(text), p.ID, tx.Now()); err != nil {
		if act.CodeOf(err) == act.Conflict { // somebody else has made it meanwhile
			err = gate.Moved()
		}
		return c, fx, err
	}
	tx.Fence(act.KindClass, c.ID)
	c, err = class(&tx.View, NamedClass{Name: in.Name, Version: last.Version + 1})
	return c, gate.Effects{Out: act.Ref{ID: c.ID, Version: c.Epoch}}, err
}

// retireClass halts the class in the same transaction; the reaper ends who was made of
// it when their time of grace is over (see endings).
func (l *Lifecycle) retireClass(_ context.Context, tx *store.Tx, p act.Principal, in ClassOrder) (c Class, fx gate.Effects, err error) {
	reason, err := checkReason(in.Reason)
	if err != nil {
		return c, fx, err
	}
	if _, err := tx.Exec(qClassRetire, in.Name, reason, tx.Now()); err != nil {
		return c, fx, err
	}
	if c, err = class(&tx.View, NamedClass{Name: in.Name}); err != nil {
		return c, fx, err
	}
	tx.Fence(act.KindClass, c.ID)
	err = l.putHalt(tx, halt{Scope: Scope{Kind: ScopeClass, Label: in.Name}, does: act.Paused}, p.ID, reason)
	return c, gate.Effects{Out: act.Ref{ID: c.ID, Version: c.Epoch}, Reason: reason}, err
}

func listClasses(v *store.View, in ClassQuery) (page act.Page[Class], err error) {
	n, after, err := listed(ClassCursor, "classes", in.Limit, in.Cursor, 0)
	if err != nil {
		return page, err
	}
	q, args := qClasses, []any{after, int64(n + 1)}
	if in.Name != "" {
		q, args = qClassesOf, append(args, in.Name)
	}
	var items []Class
	err = v.All(q, func(r *store.Row) error {
		c, err := scanClass(r)
		items = append(items, c)
		return err
	}, args...)
	return paged(ClassCursor, items, n, func(c Class) int64 { return int64(c.ID) }), err
}
