package manifest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
)

// Schema is a JSON Schema (2020-12), as far as it is used here. It is made of the types
// that the specs are decoded into, is what editors check files by, and is what files are
// checked by here.
type Schema struct {
	Draft       string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        string             `json:"type,omitempty"` // "" is anything
	Properties  map[string]*Schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Additional  any                `json:"additionalProperties,omitempty"` // false, or the *Schema of every other
	Items       *Schema            `json:"items,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Const       string             `json:"const,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Format      string             `json:"format,omitempty"`
	OneOf       []*Schema          `json:"oneOf,omitempty"`

	pattern *regexp.Regexp // of Pattern
}

// words are the types whose JSON is a text, and what the text is like.
var words = map[reflect.Type]Schema{
	reflect.TypeFor[charter.Duration]():  {Description: `a time like "90s" or "24h"`, Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`},
	reflect.TypeFor[charter.Clearance](): {Enum: []string{"unclassified", "internal", "confidential"}},
	reflect.TypeFor[moment]():            {Description: "a time like 2027-01-31T12:00:00Z", Format: "date-time"},
}

const schemaDraft = "https://json-schema.org/draft/2020-12/schema"

// whole is the schema of a kind's objects, status included: what `reef get` shows can be
// applied.
func whole(kind, doc string, spec reflect.Type) *Schema {
	text := &Schema{Type: "string"}
	s := &Schema{
		Draft: schemaDraft, Title: kind, Description: doc, Type: "object", Additional: false,
		Required: []string{"apiVersion", "kind", "metadata", "spec"},
		Properties: map[string]*Schema{
			"apiVersion": {Type: "string", Const: APIVersion},
			"kind":       {Type: "string", Const: kind},
			"metadata":   {Type: "object", Properties: map[string]*Schema{"name": text}, Required: []string{"name"}, Additional: false},
			"spec":       schemaOf(spec),
			"status":     {Type: "object", Description: "what the network says of it; not read"},
		},
	}
	return s
}

func schemaOf(t reflect.Type) *Schema {
	if word, ok := words[t]; ok {
		word.Type = "string"
		if word.Pattern != "" {
			word.pattern = regexp.MustCompile(word.Pattern)
		}
		return &word
	}
	if t == reflect.TypeFor[charter.Set]() {
		return &Schema{Type: "array", Items: &Schema{Type: "string"}, Description: "names; a * at the end stands for the rest"}
	}
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || t.Implements(reflect.TypeFor[json.Marshaler]()) {
		panic("manifest: " + t.String() + " writes itself, and nothing says what it writes") // a defect of words
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Slice:
		return &Schema{Type: "array", Items: schemaOf(t.Elem())}
	case reflect.Map:
		return &Schema{Type: "object", Additional: schemaOf(t.Elem())}
	case reflect.String:
		return &Schema{Type: "string"}
	case reflect.Bool:
		return &Schema{Type: "boolean"}
	case reflect.Int, reflect.Int64:
		return &Schema{Type: "integer"}
	case reflect.Struct:
		s := &Schema{Type: "object", Properties: make(map[string]*Schema), Additional: false}
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			one := schemaOf(f.Type)
			if doc := f.Tag.Get("doc"); doc != "" {
				one.Description = doc
			}
			s.Properties[name] = one
		}
		return s
	}
	panic("manifest: a spec cannot have " + t.String()) // a defect of the kind
}

// wrong is where a document is not as its schema says.
type wrong struct {
	line int
	text string
}

// validate lists where a value under a path is not as the schema says.
func (s *Schema) validate(n *node, path string) (list []wrong) {
	at := func(key string) string { return strings.TrimPrefix(path+"."+key, ".") }
	bad := func(line int, format string, args ...any) {
		list = append(list, wrong{line, fmt.Sprintf(format, args...)})
	}
	if have := n.typeName(); s.Type != "" && have != s.Type && !(s.Type == "number" && have == "integer") {
		bad(n.line, "%s is %s; wanted is %s", path, article(have), article(s.Type))
		return list
	}
	switch s.Type {
	case "object":
		if s.Properties == nil && s.Additional == nil {
			return nil
		}
		for _, key := range n.fields.keys {
			value := n.fields.of[key]
			one, known := s.Properties[key]
			if !known {
				var others bool
				if one, others = s.Additional.(*Schema); !others {
					bad(value.line, "there is no field %.80s; there are %s", at(key), strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", "))
					continue
				}
			}
			list = append(list, one.validate(value, at(key))...)
		}
		for _, key := range s.Required {
			if n.fields.of[key] == nil {
				bad(n.line, "%s is missing", at(key))
			}
		}
	case "array":
		for _, value := range n.list {
			list = append(list, s.Items.validate(value, path)...)
		}
	case "string":
		text, _ := n.scalar.(string)
		switch {
		case len(s.Enum) > 0 && !slices.Contains(s.Enum, text):
			bad(n.line, "%s is %.80q; wanted is one of %s", path, text, strings.Join(s.Enum, ", "))
		case s.pattern != nil && !s.pattern.MatchString(text):
			bad(n.line, "%s is %.80q; wanted is %s", path, text, s.Description)
		}
	}
	return list
}

// typeName is the type of a value as schemas name it.
func (n *node) typeName() string {
	switch {
	case n.fields != nil:
		return "object"
	case n.list != nil:
		return "array"
	}
	switch n.scalar.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case int64:
		return "integer"
	case float64:
		return "number"
	}
	return "null"
}

func article(typ string) string {
	return map[string]string{
		"object": "fields", "array": "a list", "string": "a text", "boolean": "true or false", "integer": "a whole number", "number": "a number", "null": "nothing",
	}[typ]
}
