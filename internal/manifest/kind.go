package manifest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// kind is one kind of objects, and how a domain has it. What it does it does by acts.
type kind struct {
	name  string
	doc   string
	spec  reflect.Type // what specs are decoded into
	sees  string       // the act that lists such things: who may not do it sees none here
	own   bool         // names are of one operator's own, as are the things
	fixed []string     // fields that nothing changes once it is there; "*" is all
	whole *Schema      // set by New

	// named reports what is wrong with a name.
	named func(name string) error
	// find looks for a thing. last is what it was to be when it was applied, nil where no
	// file has it: things that have no name of their own are found by it.
	find func(v *store.View, who act.ID, name string, last map[string]any) (thing, bool, error)
	// each calls do with everything that there is, by the name that an export gives it.
	each func(v *store.View, who act.ID, do func(name string, t thing) error) error
	// check reports what is wrong with a thing as it is to be, beside its form.
	check func(s *scene, name string, spec map[string]any) error
	// settle makes of what is to be what is there, where that is all that can come of it.
	// Optional.
	settle func(desired, there map[string]any) (map[string]any, error)
	// put makes a thing, or changes it. once is shown once.
	put func(ctx context.Context, p act.Principal, w work, reason string) (once string, err error)
	// end ends a thing. nil where nothing ends it.
	end func(ctx context.Context, p act.Principal, w work, reason string) error
	// effects says what comes of a change for agents. Optional.
	effects func(s *scene, w work) error
}

// thing is what is there.
type thing struct {
	id      act.ID
	version int64
	spec    map[string]any // in canonical form
	status  map[string]any // what the network says of it
	over    string         // why it is not what files can speak of any more: "retired"; "" else
}

// kindsOf lists the kinds in the order in which they are applied: what others name comes
// first, and policies last, so that they find what they name.
func (m *Manifests) kindsOf() []*kind {
	return []*kind{m.communities(), m.classes(), m.mandates(), m.quotas(), m.retentions(), m.agents(), m.webhooks(), m.roles(), m.bindings(), m.bundles()}
}

func (m *Manifests) kind(name string) *kind {
	for _, k := range m.kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

// elsewhere says where what other kinds would say is said.
var elsewhere = map[string]string{
	"PolicyTest":   "tests stand in the spec.tests of a PolicyBundle",
	"ApprovalRule": "who approves instances stands in the spec.approval of a Class, and what else is held in policies (@hold)",
}

// unknownKind is what whoever names a kind that nothing obeys is told.
func (m *Manifests) unknownKind(name string) string {
	hint := "there are " + strings.Join(m.Kinds(), ", ")
	if where := elsewhere[name]; where != "" {
		hint = where + "; " + hint
	}
	return hint
}

// Kinds lists the names of the kinds.
func (m *Manifests) Kinds() (names []string) {
	for _, k := range m.kinds {
		names = append(names, k.name)
	}
	return names
}

// SchemaOf returns the JSON Schema of a kind's objects, or with "" that of all kinds'.
func (m *Manifests) SchemaOf(name string) (*Schema, error) {
	if name == "" {
		all := &Schema{Draft: schemaDraft, Title: APIVersion}
		for _, k := range m.kinds {
			all.OneOf = append(all.OneOf, k.whole)
		}
		return all, nil
	}
	k := m.kind(name)
	if k == nil {
		return nil, m.noKind(name)
	}
	return k.whole, nil
}

func (m *Manifests) noKind(name string) error {
	return act.Errorf(act.NotFound, "there is no kind %.40q", name).WithRule("manifest.kind").WithHint(m.unknownKind(name))
}

// canonical is a spec as it comes back from its type, so that specs that say the same are
// equal. What is at its default is not said.
func (k *kind) canonical(spec map[string]any) (map[string]any, error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	typed := reflect.New(k.spec).Interface()
	if err := json.Unmarshal(raw, typed); err != nil {
		return nil, fmt.Errorf("the spec cannot be read: %w", err)
	}
	return said(typed)
}

// said is a typed spec as fields.
func said(typed any) (map[string]any, error) {
	raw, err := json.Marshal(typed)
	if err != nil {
		return nil, err
	}
	out := make(map[string]any)
	if err := tree(raw, &out); err != nil {
		return nil, err
	}
	whole, _ := numbers(out).(map[string]any)
	return whole, nil
}

// numbers has whole numbers as int64, which is what comparisons know.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = numbers(value)
		}
	case []any:
		for i, value := range v {
			v[i] = numbers(value)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		n, _ := v.Float64()
		return n
	}
	return v
}

// as is a spec in canonical form as its type.
func as[S any](spec map[string]any) (typed S, err error) {
	raw, err := json.Marshal(spec)
	if err == nil {
		err = json.Unmarshal(raw, &typed)
	}
	return typed, err
}

// fields lists what a spec says, as paths with their values. A list is one value.
func fields(spec map[string]any) map[string]any {
	out := make(map[string]any)
	var walk func(path string, v any)
	walk = func(path string, v any) {
		of, nested := v.(map[string]any)
		if !nested || len(of) == 0 && path != "" {
			out[path] = v
			return
		}
		for key, value := range of {
			walk(strings.TrimPrefix(path+"."+key, "."), value)
		}
	}
	walk("", spec)
	return out
}

// Field is a field that is, or would be, another.
type Field struct {
	Path string // "grant.acts"
	Was  any    // nil where it was not said
	Now  any    // nil where it is not said any more
}

// changes lists the fields in which two specs differ, by path.
func changes(was, now map[string]any) (list []Field) {
	before, after := fields(was), fields(now)
	paths := make(map[string]bool)
	for path := range before {
		paths[path] = true
	}
	for path := range after {
		paths[path] = true
	}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if !reflect.DeepEqual(before[path], after[path]) {
			list = append(list, Field{path, before[path], after[path]})
		}
	}
	return list
}

// moment is a time in Unix microseconds, which documents write as RFC 3339; 0 is none.
type moment int64

// MarshalText writes it as the wire has it.
func (t moment) MarshalText() ([]byte, error) {
	return []byte(act.FromMicros(int64(t)).Format(act.WireTime)), nil
}

// UnmarshalText reads it.
func (t *moment) UnmarshalText(text []byte) error {
	at, err := time.Parse(time.RFC3339Nano, string(text))
	if err == nil {
		*t = moment(act.Micros(at.Truncate(time.Millisecond)))
	}
	return err
}

// problemOf makes a problem of an act's error.
func problemOf(err error) Problem {
	e := act.AsError(err)
	return Problem{Text: e.Message, Hint: e.Hint}
}
