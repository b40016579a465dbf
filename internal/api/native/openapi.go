package native

import (
	"context"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/reefwarden/reefwarden/internal/api"
)

// NewDescription returns the door of /openapi.json: an OpenAPI 3.1 description
// of a native door, made from its routes, their wire types and the registry.
func NewDescription(k *api.Kernel, native *api.Door, url func() string) *api.Door {
	describe := sync.OnceValues(func() ([]byte, error) { return encode(openAPI(k, native, url())) })
	jsonType := []string{"application/json"}
	return &api.Door{Name: native.Name, Fail: native.Fail, Routes: []api.Route{{
		Method: http.MethodGet, Path: "/openapi.json", Anonymous: true, Exempt: "the description is part of the program",
		Handle: func(_ context.Context, c *api.Call) error {
			body, err := describe()
			if err != nil {
				return err
			}
			c.Send(http.StatusOK, jsonType, body)
			return nil
		},
	}}}
}

type object = map[string]any

var pathParameter = regexp.MustCompile(`\{([a-z_]+)(?:\.\.\.)?\}`)

// openAPI makes the description (OpenAPI 3.1.0).
func openAPI(k *api.Kernel, d *api.Door, url string) object {
	docs := make(map[string]string)
	for _, a := range k.Gate.Acts() {
		docs[a.Name] = a.Doc
	}
	s := schemas{defs: object{}, names: make(map[reflect.Type]string)}
	paths, used := object{}, make(map[string]int)
	for _, r := range d.Routes {
		id := r.Act
		if id == "" {
			id = strings.Trim(strings.ReplaceAll(r.Path, "/", "."), ".")
		}
		if used[id]++; used[id] > 1 {
			id += "_" + strconv.Itoa(used[id])
		}
		subject, _, _ := strings.Cut(id, ".")
		op := object{"operationId": id, "tags": []string{subject}, "summary": summary(docs[r.Act], r), "responses": s.responses(r)}
		var parameters []object
		for _, m := range pathParameter.FindAllStringSubmatch(r.Path, -1) {
			parameters = append(parameters, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
		}
		for _, name := range r.Query {
			parameters = append(parameters, object{"name": name, "in": "query", "schema": object{"type": "string"}})
		}
		if r.Method != http.MethodGet {
			parameters = append(parameters, object{
				"name": "Idempotency-Key", "in": "header", "schema": object{"type": "string"},
				"description": "the same key with the same request gives the first answer again",
			}, object{
				"name": "Reef-Context", "in": "header", "schema": object{"type": "string"},
				"description": "ids, with commas between, of what was in your context when you asked for this; only what you were shown",
			})
		}
		if len(parameters) > 0 {
			op["parameters"] = parameters
		}
		if r.Takes != nil {
			s.asked = true
			op["requestBody"] = object{"content": s.content(r.Takes)}
			s.asked = false
		}
		if r.Anonymous {
			op["security"] = []object{}
		}
		path := strings.ReplaceAll(r.Path, "...}", "}")
		item, ok := paths[path].(object)
		if !ok {
			item = object{}
			paths[path] = item
		}
		item[strings.ToLower(r.Method)] = op
	}
	s.of(reflect.TypeFor[problem]())
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Reefwarden", "version": "1", "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"summary": "The native API of a governed network for AI agents",
		},
		"servers":  []object{{"url": url + d.Prefix}},
		"security": []object{{"key": []string{}}},
		"paths":    paths,
		"components": object{
			"schemas":         s.defs,
			"securitySchemes": object{"key": object{"type": "http", "scheme": "bearer", "description": "an agent's key or an operator's token"}},
		},
	}
}

func summary(doc string, r api.Route) string {
	if doc != "" {
		return doc
	}
	return strings.ToUpper(r.Exempt[:1]) + r.Exempt[1:] + "."
}

func (s *schemas) responses(r api.Route) object {
	answer := object{"description": "done"}
	if r.Gives != nil {
		answer["content"] = s.content(r.Gives)
	}
	all := object{
		"2XX": answer,
		"default": object{
			"description": "not done: code and rule say why, hint what to do",
			"content":     object{"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/problem"}}},
		},
	}
	if r.Method != http.MethodGet {
		all["202"] = object{
			"description": "it waits for an approval: nothing is done yet",
			"content":     object{"application/json": object{"schema": s.of(reflect.TypeFor[held]())}},
		}
	}
	return all
}

// schemas makes JSON schemas of wire types. Structs with a name are kept once.
type schemas struct {
	defs  object
	names map[reflect.Type]string
	asked bool // types of bodies that are sent here: the act says what may not be left out
}

// content describes a body: JSON, or bytes, of an image, a backup, a log or an exporter, which have no
// schema (OpenAPI 3.1.0 §4.8.14.3).
func (s *schemas) content(body any) object {
	switch body.(type) {
	case picture:
		return object{"image/*": object{}}
	case archive:
		return object{BackupType: object{}}
	case logFile:
		return object{logText[0]: object{}, logBytes[0]: object{}}
	case otlpBody:
		return object{otlpType: object{}}
	}
	return object{"application/json": object{"schema": s.of(reflect.TypeOf(body))}}
}

func (s *schemas) of(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Pointer: // a pointer that is nil is null on the wire
		return object{"anyOf": []object{s.of(t.Elem()), {"type": "null"}}}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{} // raw JSON
		}
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Struct:
		return s.structure(t)
	}
	return object{}
}

var typeName = regexp.MustCompile(`[^A-Za-z0-9]+`)

func (s *schemas) structure(t reflect.Type) object {
	if t.Name() == "" {
		return s.fields(t)
	}
	name, known := s.names[t]
	if !known {
		// A generic list is named after what it lists.
		parts := strings.FieldsFunc(typeName.ReplaceAllString(lastNames(t.Name()), " "), func(r rune) bool { return r == ' ' })
		name = strings.Join(parts, "_")
		s.names[t] = name
		s.defs[name] = object{} // a type that holds itself ends here
		s.defs[name] = s.fields(t)
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// lastNames drops package paths from a generic type's name.
func lastNames(name string) string {
	open := strings.IndexByte(name, '[')
	if open < 0 {
		return name
	}
	inner := name[open+1 : len(name)-1]
	return name[:open] + "_" + inner[strings.LastIndexByte(inner, '.')+1:]
}

func (s *schemas) fields(t reflect.Type) object {
	properties := object{}
	var required []string
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			inner := s.fields(f.Type)
			for k, v := range inner["properties"].(object) {
				properties[k] = v
			}
			if more, ok := inner["required"].([]string); ok {
				required = append(required, more...)
			}
			continue
		case !f.IsExported() || name == "" || name == "-":
			continue
		}
		properties[name] = s.of(f.Type)
		if !strings.Contains(options, "omitempty") && !s.asked {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	out := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}
