package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Who says which field is found out by structured-merge-diff, with what is to be, not with
// what is there: a field that was changed by hand is still its manager's, and that it was
// changed is drift. Lists are said as a whole, fields one by one.

// Conflict is a field that somebody else's files say otherwise.
type Conflict struct {
	Object  string // "Class/price-monitor"
	Place   string // file:line
	Field   string
	Manager string // whose it is
	Theirs  any
	Mine    any
}

// form is the version of all sets of fields: there is one.
const form fieldpath.APIVersion = "v1"

// unconverted takes objects as they are, because there is one form of them.
type unconverted struct{}

func (unconverted) Convert(o *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) {
	return o, nil
}

func (unconverted) IsMissingVersionError(error) bool { return false }

func typedOf(spec map[string]any) (*typed.TypedValue, error) {
	return typed.DeducedParseableType.FromUnstructured(spec)
}

func untyped(v *typed.TypedValue) map[string]any {
	out, _ := v.AsValue().Unstructured().(map[string]any)
	if out == nil {
		out = map[string]any{}
	}
	return out
}

// merged is a row after a manager has said of it what its files say. dropped are the
// fields that nobody says any more. With conflicts, which force does away with, the row is
// as it was.
func merged(x row, o Object, manager string, force bool) (next row, dropped *fieldpath.Set, conflicts []Conflict, err error) {
	next, dropped = x, fieldpath.NewSet()
	base, err := typedOf(x.desired)
	if err != nil {
		return next, dropped, nil, err
	}
	said, err := typedOf(o.Spec)
	if err != nil {
		return next, dropped, nil, err
	}
	managers := make(fieldpath.ManagedFields, len(x.managers))
	for name, set := range x.managers {
		managers[name] = fieldpath.NewVersionedSet(set, form, true)
	}
	updater := (&merge.UpdaterBuilder{Converter: unconverted{}, ReturnInputOnNoop: true}).BuildUpdater()
	after, managers, err := updater.Apply(base, said, form, managers, manager, force)
	if found, ok := errors.AsType[merge.Conflicts](err); ok {
		theirs, mine := fields(x.desired), fields(o.Spec)
		for _, c := range found {
			field := pathText(c.Path)
			conflicts = append(conflicts, Conflict{o.title(), o.Place, field, c.Manager, theirs[field], mine[field]})
		}
		slices.SortFunc(conflicts, func(a, b Conflict) int {
			return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Manager, b.Manager))
		})
		return next, dropped, conflicts, nil
	}
	if err != nil {
		return next, dropped, nil, fmt.Errorf("manifest: merge %s: %w", o.title(), err)
	}
	next.desired, next.leaving, next.managers = untyped(after), 0, make(map[string]*fieldpath.Set, len(managers))
	for name, set := range managers {
		next.managers[name] = set.Set()
	}
	if next.managers[manager] == nil { // an object of which it says nothing but that it is
		next.managers[manager] = fieldpath.NewSet()
	}
	return next, union(x.managers).Difference(union(next.managers)), nil, nil
}

func union(managers map[string]*fieldpath.Set) *fieldpath.Set {
	all := fieldpath.NewSet()
	for _, set := range managers {
		all = all.Union(set)
	}
	return all
}

// without is a row without a manager, and with what the others say.
func (x row) without(manager string) (row, error) {
	next := x
	next.managers = maps.Clone(x.managers)
	delete(next.managers, manager)
	had, err := typedOf(x.desired)
	if err != nil {
		return next, err
	}
	next.desired = untyped(had.RemoveItems(union(x.managers).Difference(union(next.managers))))
	return next, nil
}

// target is a thing as it is to be: what is there, without what nobody says any more, and
// with what the files say. What no file says stays as it is.
func (k *kind) target(there, desired map[string]any, dropped *fieldpath.Set) (map[string]any, error) {
	base, err := typedOf(there)
	if err != nil {
		return nil, err
	}
	over, err := typedOf(desired)
	if err != nil {
		return nil, err
	}
	out, err := base.RemoveItems(dropped).Merge(over)
	if err != nil {
		return nil, err
	}
	return k.canonical(untyped(out))
}

// conflictError is why files with conflicts are not applied.
func conflictError(list []Conflict) error {
	c := list[0]
	more := ""
	if len(list) > 1 {
		more = fmt.Sprintf("; and %d more", len(list)-1)
	}
	return act.Errorf(act.Conflict, "%s: the field %s of %s is kept by %q, who says otherwise%s", c.Place, c.Field, c.Object, c.Manager, more).
		WithRule("manifest.conflict").WithHint("agree with whoever keeps it, leave the field out, or take it over (--force)")
}
