package manifest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Set is what is to be: files, and who says it.
type Set struct {
	Files   []File
	Manager string // who keeps these files: a name of its own for each set of files
	Prune   bool   // end what the manager kept and the files do not say any more
	Force   bool   // take over fields that other managers say otherwise
}

// Op is what a change does.
type Op string

// The changes.
const (
	OpCreate  Op = "create"
	OpUpdate  Op = "update"
	OpOwn     Op = "own"     // it is so already; who says it is put down
	OpEnd     Op = "end"     // retire, close, end or delete it, whatever its kind has
	OpRelease Op = "release" // it stays, and is not the manager's any more
)

// Change is what becomes of one object.
type Change struct {
	Op     Op
	Kind   string
	Name   string
	Place  string  // file:line, "" of what is in no file
	Fields []Field // that would be others
	Why    string  // beside what the files say: what was changed by hand, "" else
}

func (c Change) title() string { return title(c.Kind, c.Name) }

// Plan is what applying a set would do.
type Plan struct {
	Digest    string // of the set, what is there and what would become of it
	Changes   []Change
	Effects   []Effect
	Conflicts []Conflict
	Problems  []Problem
	Same      int // objects that are as they are to be

	work []work
	rows bool // what is kept of the objects changes
}

// work is a change as it is done.
type work struct {
	Change
	kind   *kind
	there  thing
	target map[string]any // nil of what ends
}

// scene is a plan in the making.
type scene struct {
	m    *Manifests
	v    *store.View
	p    act.Principal
	plan *Plan

	objects map[string]Object // by title
	targets map[string]map[string]any
	ties    *ties
}

var managerName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

func checkManager(name string) error {
	if !managerName.MatchString(name) {
		return act.Errorf(act.Invalid, "%.80q cannot be the name of a manager", name).WithRule("manifest.manager").
			WithHint("use 1 to 63 small letters, digits, '-', '_' and '.', like platform")
	}
	return nil
}

// plan works out what applying a set would do.
func (m *Manifests) plan(v *store.View, p act.Principal, in Set) (Plan, error) {
	var out Plan
	if err := checkManager(in.Manager); err != nil {
		return out, err
	}
	objects, problems := m.parse(in.Files)
	out.Problems = problems
	s := &scene{m: m, v: v, p: p, plan: &out, objects: make(map[string]Object, len(objects)), targets: make(map[string]map[string]any)}
	for _, o := range objects {
		s.objects[o.title()] = o
	}
	seen := make(map[string]bool)
	for _, k := range m.kinds {
		for _, o := range objects {
			if o.Kind != k.name {
				continue
			}
			if !seen[k.name] {
				if err := s.visible(k); err != nil {
					return out, err
				}
				seen[k.name] = true
			}
			if err := s.object(k, o, in); err != nil {
				return out, fmt.Errorf("%s: %w", o.title(), err)
			}
		}
	}
	if in.Prune && len(problems) == 0 { // what cannot be read may still be said
		if err := s.prune(in.Manager); err != nil {
			return out, err
		}
	}
	if len(out.Problems) == 0 {
		for _, w := range out.work {
			if w.kind.effects == nil {
				continue
			}
			if err := w.kind.effects(s, w); err != nil {
				return out, fmt.Errorf("%s: %w", w.title(), err)
			}
		}
	}
	var err error
	out.Digest, err = out.digest(in)
	return out, err
}

// visible refuses whoever may not see things of a kind.
func (s *scene) visible(k *kind) error {
	return s.m.Gate.May(s.p, k.sees, gate.Facts{Kind: act.KindNetwork})
}

// say puts a problem of an object down.
func (s *scene) say(o Object, err error) {
	one := problemOf(err)
	one.Place, one.Object = o.Place, o.title()
	if len(s.plan.Problems) < maxProblems {
		s.plan.Problems = append(s.plan.Problems, one)
	}
}

// object plans what becomes of one object.
func (s *scene) object(k *kind, o Object, in Set) error {
	kept, err := k.rowOf(s.v, s.p.ID, o.Name)
	if err != nil {
		return err
	}
	there, found, err := k.find(s.v, s.p.ID, o.Name, kept.last())
	if err != nil {
		return err
	}
	switch {
	case there.over != "" && kept.kept(): // what has ended on its own does not hold up the rest
		s.list(Effect{Object: o.title(), What: Over, Why: "it is " + there.over + ", and does not come back: take it out of the files"})
		return nil
	case there.over != "":
		s.say(o, act.Errorf(act.Conflict, "%s is %s", o.title(), there.over).WithHint("choose another name, or take it out of the files"))
		return nil
	}
	next, dropped, conflicts, err := merged(kept, o, in.Manager, in.Force)
	if err != nil {
		return err
	}
	if len(conflicts) > 0 {
		s.plan.Conflicts = append(s.plan.Conflicts, conflicts...)
		return nil
	}
	desired := next.desired
	if found && k.settle != nil {
		if desired, err = k.settle(desired, there.spec); err != nil {
			return err
		}
	}
	w := work{Change: Change{Op: OpUpdate, Kind: k.name, Name: o.Name, Place: o.Place}, kind: k, there: there}
	if !found {
		w.Op, w.there.spec = OpCreate, map[string]any{}
	}
	if w.target, err = k.target(w.there.spec, desired, dropped); err != nil {
		return err
	}
	s.targets[o.title()] = w.target
	w.Fields = changes(w.there.spec, w.target)
	if fixed := k.unchangeable(w); fixed != "" {
		s.say(o, act.Errorf(act.Conflict, "%s of %s cannot be changed", fixed, o.title()).WithHint("make another under a new name, and take this one out of the files (--prune)"))
		return nil
	}
	if !found || len(w.Fields) > 0 { // what is as it is to be was checked when it was made
		switch err := k.check(s, o.Name, w.target); act.CodeOf(err) {
		case act.None:
		case act.Unavailable, act.Internal:
			return err
		default:
			s.say(o, err)
			return nil
		}
	}
	changed := !next.equal(kept)
	s.plan.rows = s.plan.rows || changed
	switch {
	case !found && kept.kept() && kept.leaving == 0:
		w.Why = "asked for before, and not there"
	case found && len(w.Fields) > 0 && kept.kept():
		if drift := drifted(k, kept.desired, there.spec); len(drift) > 0 {
			w.Why = "changed by hand: " + strings.Join(drift, ", ")
		}
	case found && len(w.Fields) == 0 && changed:
		w.Op = OpOwn
	case found && len(w.Fields) == 0:
		s.plan.Same++
		return nil
	}
	s.add(w)
	return nil
}

// drifted lists the fields that are not as they were to be.
func drifted(k *kind, desired, there map[string]any) (paths []string) {
	if k.settle != nil {
		if settled, err := k.settle(desired, there); err == nil {
			desired = settled
		}
	}
	want, have := fields(desired), fields(there)
	for _, f := range changes(want, have) {
		if _, said := want[f.Path]; said {
			paths = append(paths, f.Path)
		}
	}
	return paths
}

func (s *scene) add(w work) {
	s.plan.work = append(s.plan.work, w)
	s.plan.Changes = append(s.plan.Changes, w.Change)
}

// unchangeable is a field that would change and cannot, "" if there is none.
func (k *kind) unchangeable(w work) string {
	if w.Op == OpCreate {
		return ""
	}
	for _, f := range w.Fields {
		for _, fixed := range k.fixed {
			if fixed == "*" || f.Path == fixed || strings.HasPrefix(f.Path, fixed+".") {
				return f.Path
			}
		}
	}
	return ""
}

// prune plans the end of what a manager kept and its files do not say any more: what others
// keep, too, stays, and so does what nothing ends. What depends on others ends first.
func (s *scene) prune(manager string) error {
	for _, k := range slices.Backward(s.m.kinds) {
		rows, err := k.rowsOf(s.v, s.p.ID)
		if err != nil {
			return err
		}
		for _, x := range rows {
			if _, listed := s.objects[title(x.kind, x.name)]; listed || x.managers[manager] == nil {
				continue
			}
			if err := s.visible(k); err != nil {
				return err
			}
			there, found, err := k.find(s.v, s.p.ID, x.name, x.last())
			if err != nil {
				return err
			}
			w := work{Change: Change{Op: OpEnd, Kind: k.name, Name: x.name}, kind: k, there: there}
			switch {
			case (!found || there.over != "") && x.leaving != 0:
				continue // it has ended; the row goes with the next that is applied
			case len(x.managers) > 1 || k.end == nil || !found || there.over != "":
				w.Op = OpRelease
			default:
				w.Fields = changes(there.spec, nil)
			}
			s.plan.rows = s.plan.rows || x.leaving == 0
			s.add(w)
		}
	}
	return nil
}

// spec is an object as it is to be, or else as it is; found is false where it is neither.
func (s *scene) spec(kindName, name string) (map[string]any, bool, error) {
	if target, ok := s.targets[title(kindName, name)]; ok {
		return target, true, nil
	}
	k := s.m.kind(kindName)
	t, found, err := k.find(s.v, s.p.ID, name, nil)
	if err == nil && found && t.over == "" {
		s.targets[title(kindName, name)] = t.spec
		return t.spec, true, nil
	}
	return nil, false, err
}

func (s *scene) has(kindName, name string) (bool, error) {
	_, found, err := s.spec(kindName, name)
	return found, err
}

// digest is a hash of everything that a plan comes of and comes to. How many agents an
// effect reaches is left out: they come and go while somebody looks at the plan.
func (p Plan) digest(in Set) (string, error) {
	type effect struct {
		Object, What, Who, Why string
		Acts                   []string
	}
	var effects []effect
	for _, e := range p.Effects {
		effects = append(effects, effect{e.Object, e.What, e.Who, e.Why, e.Acts})
	}
	slices.SortFunc(effects, func(a, b effect) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.What, b.What), cmp.Compare(a.Who, b.Who), cmp.Compare(a.Why, b.Why), slices.Compare(a.Acts, b.Acts))
	})
	raw, err := json.Marshal(struct {
		Set       Set
		Changes   []Change
		Conflicts []Conflict
		Problems  []Problem
		Effects   []effect
	}{in, p.Changes, p.Conflicts, p.Problems, effects})
	if err != nil {
		return "", fmt.Errorf("manifest: digest: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), nil
}

// applicable is why a plan cannot be applied, nil if it can.
func (p Plan) applicable() error {
	if len(p.Problems) > 0 {
		one, more := p.Problems[0], ""
		if len(p.Problems) > 1 {
			more = fmt.Sprintf("; and %d more", len(p.Problems)-1)
		}
		return act.Errorf(act.Invalid, "%s%s", strings.TrimPrefix(one.Place+": "+one.Text, ": "), more).WithRule("manifest.problem").WithHint(one.Hint)
	}
	if len(p.Conflicts) > 0 {
		return conflictError(p.Conflicts)
	}
	return nil
}

func (m *Manifests) registerPlan(g *gate.Gate) {
	m.Plan = gate.RegisterRead(g, gate.Read[Set, Plan]{
		Info: gate.Info{Name: "manifest.plan", Doc: "Say what applying files would change, and which agents gain, lose or stop by it; nothing changes.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, p act.Principal, in Set) (Plan, error) {
			return m.plan(v, p, in)
		},
	})
}
