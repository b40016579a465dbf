package manifest

import (
	"context"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Query names what is asked for.
type Query struct {
	Kind string // "" is all, where that can be asked
	Name string // of manifest.get
}

// State is an object as it is.
type State struct {
	Kind     string
	Name     string
	Spec     map[string]any
	Status   map[string]any
	Managers []Holding
	Drift    []string // fields that are not as the files say
	State    string   // StateThere, StateMissing, StateLeaving, or what it has become: "retired"
}

// What objects are.
const (
	StateThere   = "there"
	StateMissing = "missing" // the files say it, and there is none
	StateLeaving = "leaving" // it was taken out of the files, and has not ended yet
)

// Drifted reports whether it is not as its files say.
func (s State) Drifted() bool {
	return len(s.Managers) > 0 && s.State != StateLeaving && (s.State != StateThere || len(s.Drift) > 0)
}

// state is what an object of a row comes to, and the thing that it is.
func (k *kind) state(v *store.View, who act.ID, x row) (s State, t thing, err error) {
	t, found, err := k.find(v, who, x.name, x.last())
	s = State{Kind: k.name, Name: x.name, Spec: t.spec, Status: t.status, State: StateThere, Managers: x.holdings()}
	switch {
	case err != nil:
	case !found:
		s.State = StateMissing
	case t.over != "":
		s.State = t.over
	case x.leaving != 0:
		s.State = StateLeaving
	case x.kept():
		s.Drift = drifted(k, x.desired, t.spec)
	}
	return s, t, err
}

// gone reports whether an object was taken out of the files and has ended.
func (x row) gone(s State) bool { return x.leaving != 0 && s.State != StateLeaving }

// all lists what there is of a kind, and what files say there is, by name.
func (k *kind) all(v *store.View, who act.ID) (list []State, err error) {
	rows, err := k.rowsOf(v, who)
	if err != nil {
		return nil, err
	}
	known := make(map[act.ID]bool, len(rows))
	for _, x := range rows {
		s, t, err := k.state(v, who, x)
		if err != nil {
			return nil, err
		}
		known[t.id] = true
		if !x.gone(s) {
			list = append(list, s)
		}
	}
	err = k.each(v, who, func(name string, t thing) error {
		if !known[t.id] {
			list = append(list, State{Kind: k.name, Name: name, Spec: t.spec, Status: t.status, State: StateThere})
		}
		if len(list) > MaxObjects {
			return act.Errorf(act.TooLarge, "there are more than %d things of the kind %s", MaxObjects, k.name).WithRule("manifest.many").
				WithHint("their own lists have pages: reef agent list, say")
		}
		return nil
	})
	slices.SortFunc(list, func(a, b State) int { return strings.Compare(a.Name, b.Name) })
	return list, err
}

// chosen lists the kinds that are asked for and may be seen.
func (m *Manifests) chosen(p act.Principal, name string) ([]*kind, error) {
	list := m.kinds
	if name != "" {
		k := m.kind(name)
		if k == nil {
			return nil, m.noKind(name)
		}
		list = []*kind{k}
	}
	for _, k := range list {
		if err := (&scene{m: m, p: p}).visible(k); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (m *Manifests) registerLooks(g *gate.Gate) {
	info := func(verb, doc string) gate.Info {
		return gate.Info{Name: "manifest." + verb, Doc: doc, On: act.KindNetwork, Quota: gate.QuotaNone}
	}
	states := func(v *store.View, p act.Principal, in Query) (list []State, err error) {
		kinds, err := m.chosen(p, in.Kind)
		if err != nil {
			return nil, err
		}
		for _, k := range kinds {
			some, err := k.all(v, p.ID)
			if err != nil {
				return nil, err
			}
			list = append(list, some...)
		}
		return list, nil
	}
	m.List = gate.RegisterRead(g, gate.Read[Query, []State]{
		Info: info("list", "List what can be kept as code: who keeps it, and what is not as the files say."),
		Run: func(_ context.Context, v *store.View, p act.Principal, in Query) ([]State, error) {
			return states(v, p, in)
		},
	})
	m.Get = gate.RegisterRead(g, gate.Read[Query, State]{
		Info: info("get", "Show one thing that can be kept as code, with who keeps which field of it."),
		Run: func(_ context.Context, v *store.View, p act.Principal, in Query) (s State, err error) {
			kinds, err := m.chosen(p, in.Kind)
			if err != nil {
				return s, err
			}
			k := kinds[0]
			x, err := k.rowOf(v, p.ID, in.Name)
			if err != nil {
				return s, err
			}
			if s, _, err = k.state(v, p.ID, x); err != nil {
				return s, err
			}
			if x.gone(s) || !x.kept() && s.State == StateMissing {
				err = act.Errorf(act.NotFound, "there is no %s", title(k.name, in.Name)).WithRule("manifest.unknown").WithHint("reef get " + k.name + " lists what there is")
			}
			return s, err
		},
	})
	m.Export = gate.RegisterRead(g, gate.Read[Query, File]{
		Info: info("export", "Write what there is as files that say so."),
		Run: func(_ context.Context, v *store.View, p act.Principal, in Query) (File, error) {
			list, err := states(v, p, in)
			var b strings.Builder
			for _, s := range list {
				if s.State == StateThere || s.State == StateLeaving {
					write(&b, s)
				}
			}
			return File{Name: "export.yaml", Text: b.String()}, err
		},
	})
}
