package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/reefwarden/reefwarden/internal/act"
)

// SchemaForms is the schema that policies are checked against, for editors and for
// Cedar's own tools, in both of its forms.
type SchemaForms struct {
	Cedar string // the form that humans read
	JSON  []byte
}

// PublishedSchema returns the schema of the registered acts. It fails when the acts
// make none, and then no bundle can be activated either.
func (e *Engine) PublishedSchema() (SchemaForms, error) { return publish(e.tables) }

// SchemaOf is PublishedSchema without an engine, for a list of acts.
func SchemaOf(acts []ActInfo) (SchemaForms, error) { return publish(tablesOf(acts)) }

func publish(tables []*table) (out SchemaForms, err error) {
	out.Cedar = schemaText(tables)
	s, err := parseSchema(out.Cedar)
	if err == nil {
		out.JSON, err = s.MarshalJSON()
	}
	if err != nil {
		return out, act.Errorf(act.Internal, "the schema cannot be written: %w", err)
	}
	return out, nil
}

// schemaOf builds the Cedar schema that policies are type-checked against.
func schemaOf(tables []*table) (*resolved.Schema, error) {
	s, err := parseSchema(schemaText(tables))
	if err != nil {
		return nil, err
	}
	out, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("schema of the registered acts: %w", err)
	}
	return out, nil
}

func parseSchema(text string) (*schema.Schema, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(text)); err != nil {
		return nil, fmt.Errorf("schema of the registered acts: %w", err)
	}
	return &s, nil
}

// schemaText writes the schema. An entity type that is both a principal and a resource
// has both sets of attributes there; check.go keeps them apart by variable.
func schemaText(tables []*table) string {
	kinds := make(map[types.EntityType]bool)
	for _, t := range tables {
		for _, k := range t.kindTypes() {
			kinds[k] = true
		}
	}
	var bare, plain []string // that are nothing but names; that are nothing but things
	for _, t := range []types.EntityType{typeClass, typeLineage, typeMandate, typeOwner, typeRole, typeTeam, typeObserver, typeSystem} {
		if !kinds[t] {
			bare = append(bare, string(t))
		}
	}
	for k := range kinds {
		if k != typeAgent && k != typeOperator {
			plain = append(plain, string(k))
		}
	}
	if !kinds[typeCommunity] {
		bare = append(bare, string(typeCommunity))
	}
	slices.Sort(bare)
	slices.Sort(plain)
	var b strings.Builder
	fmt.Fprintf(&b, "entity %s;\n\n", strings.Join(bare, ", "))
	if len(plain) > 0 {
		declare(&b, plain, []string{string(typeCommunity)}, true, "")
	}
	for _, who := range []struct {
		name types.EntityType
		in   []string
	}{
		{typeAgent, []string{string(typeOwner), string(typeClass), string(typeTeam), string(typeMandate), string(typeLineage)}},
		{typeOperator, []string{string(typeRole)}},
	} {
		if kinds[who.name] {
			who.in = append(who.in, string(typeCommunity))
		}
		declare(&b, []string{string(who.name)}, who.in, kinds[who.name], who.name)
	}
	b.WriteString("type Network = {\n")
	fields(&b, varContext, "")
	b.WriteString("};\n\n")
	for _, t := range tables {
		var on []string
		for _, k := range t.kindTypes() {
			on = append(on, string(k))
		}
		if t.doc != "" {
			fmt.Fprintf(&b, "@doc(%s)\n", quoted(t.doc))
		}
		fmt.Fprintf(&b, "action %s appliesTo {\n  principal: [Agent, Operator, Observer, System],\n  resource: [%s],\n  context: Network\n};\n\n",
			quoted(t.name), strings.Join(on, ", "))
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// declare writes entity types of one form.
func declare(b *strings.Builder, names, in []string, thing bool, who types.EntityType) {
	fmt.Fprintf(b, "entity %s in [%s] {\n", strings.Join(names, ", "), strings.Join(in, ", "))
	if who != "" {
		fields(b, varPrincipal, who)
	}
	if thing {
		fields(b, varResource, "")
	}
	b.WriteString("};\n\n")
}

// fields writes the attributes of a variable, of principals those of one sort.
func fields(b *strings.Builder, of types.String, who types.EntityType) {
	for i := range vocabulary {
		a := &vocabulary[i]
		if a.of != of || a.who != who {
			continue
		}
		fmt.Fprintf(b, "  @doc(%s)\n  %s: %s,\n", quoted(a.explained()), a.name, a.typ)
	}
}

// explained is what an attribute is, and what it can be.
func (a *attribute) explained() string {
	if a.words == nil {
		return a.doc
	}
	return a.doc + "; one of " + wordList(a.words)
}

// quoted writes a string as Cedar has them; what is documented holds no control
// characters.
func quoted(s string) string { return strconv.Quote(s) }
