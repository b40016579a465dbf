package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/reefwarden/reefwarden/internal/policy"
)

// File is one text of a set: YAML with several objects, or JSON with one or a list.
type File struct {
	Name string
	Text string
}

// Object is a thing as a file says it is to be.
type Object struct {
	Kind  string
	Name  string
	Spec  map[string]any // in canonical form
	Place string         // file:line
}

// Problem is why files cannot be applied.
type Problem struct {
	Place  string // file:line, "" where no file says it
	Object string // "Class/price-monitor", "" where there is none
	Text   string
	Hint   string
}

// APIVersion is what every object says first.
const APIVersion = "reefwarden/v1"

// The bounds of what is read.
const (
	MaxFiles   = 2_000
	MaxTexts   = 8 << 20 // bytes of all files together
	MaxObjects = 10_000

	maxDepth    = 32 // values within values
	maxProblems = 50 // that are listed
)

var fileBounds = policy.Bounds{Text: 4 << 20, Line: 64 << 10, Depth: maxDepth}

// node is a value of a file, with the line that it is on.
type node struct {
	line   int
	scalar any      // string, int64, float64, bool or nil; unset in lists and maps
	list   []*node  // not nil in a list
	fields *mapping // not nil in a map
}

type mapping struct {
	keys []string
	of   map[string]*node
}

// misread is why a file cannot be read.
type misread struct {
	line int
	text string
}

func (m *misread) Error() string { return m.text }

func badLine(line int, format string, args ...any) error {
	return &misread{line, fmt.Sprintf(format, args...)}
}

// add puts a value under a key that is not there yet.
func (m *mapping) add(key string, line int, value *node) error {
	if m.of[key] != nil {
		return badLine(line, "%.80q stands twice", key)
	}
	m.keys, m.of[key] = append(m.keys, key), value
	return nil
}

// plain is the value without its lines.
func (n *node) plain() any {
	switch {
	case n.fields != nil:
		out := make(map[string]any, len(n.fields.keys))
		for key, value := range n.fields.of {
			out[key] = value.plain()
		}
		return out
	case n.list != nil:
		out := make([]any, 0, len(n.list))
		for _, value := range n.list {
			out = append(out, value.plain())
		}
		return out
	}
	return n.scalar
}

// read reads the documents of a file.
func read(f File) (docs []*node, err error) {
	defer func() {
		if r := recover(); r != nil { // a text that breaks the parser
			docs, err = nil, badLine(1, "the file breaks the parser: %.200v", r)
		}
	}()
	if line, text := fileBounds.Exceeded(f.Text); text != "" {
		return nil, &misread{line, text}
	}
	if strings.HasSuffix(f.Name, ".json") {
		return readJSON(f.Text)
	}
	return readYAML(f.Text)
}

// dashes find lines that nest lists in lists.
var dashes = regexp.MustCompile(`(?m)^[ \t]*(?:[-?:][ \t]+){8,}`)

// position is where goccy/go-yaml begins its errors.
var position = regexp.MustCompile(`^\[(\d+):\d+\] `)

func readYAML(text string) (docs []*node, err error) {
	if at := dashes.FindStringIndex(text); at != nil {
		return nil, badLine(1+strings.Count(text[:at[0]], "\n"), "a line opens too many lists")
	}
	file, err := parser.ParseBytes([]byte(text), 0)
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		line := 1
		if at := position.FindStringSubmatch(first); at != nil {
			line, _ = strconv.Atoi(at[1])
			first = strings.TrimPrefix(first, at[0])
		}
		return nil, badLine(line, "this is no YAML: %.200s", first)
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if _, comment := doc.Body.(*ast.CommentGroupNode); comment {
			continue
		}
		n, err := fromYAML(doc.Body, 0)
		if err != nil {
			return nil, err
		}
		if n.scalar != nil || n.list != nil || n.fields != nil {
			docs = append(docs, n)
		}
	}
	return docs, nil
}

// fromYAML takes over what JSON could say, too; the rest of YAML is refused.
func fromYAML(from ast.Node, depth int) (*node, error) {
	n := &node{line: 1}
	if t := from.GetToken(); t != nil && t.Position != nil {
		n.line = t.Position.Line
	}
	if depth > maxDepth {
		return nil, badLine(n.line, "values are nested deeper than %d", maxDepth)
	}
	pair := func(v *ast.MappingValueNode) error {
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			return badLine(v.Key.GetToken().Position.Line, "%.80q is no name of a field: write it in quotes", v.Key.String())
		}
		value, err := fromYAML(v.Value, depth+1)
		if err != nil {
			return err
		}
		return n.fields.add(key.Value, key.GetToken().Position.Line, value)
	}
	switch from := from.(type) {
	case *ast.MappingNode:
		n.fields = &mapping{of: make(map[string]*node)}
		for _, v := range from.Values {
			n.line = min(n.line, v.Key.GetToken().Position.Line)
			if err := pair(v); err != nil {
				return nil, err
			}
		}
	case *ast.MappingValueNode:
		n.fields, n.line = &mapping{of: make(map[string]*node)}, from.Key.GetToken().Position.Line
		return n, pair(from)
	case *ast.SequenceNode:
		n.list = make([]*node, 0, len(from.Values))
		for _, v := range from.Values {
			one, err := fromYAML(v, depth+1)
			if err != nil {
				return nil, err
			}
			n.list = append(n.list, one)
		}
	case *ast.StringNode:
		n.scalar = from.Value
	case *ast.LiteralNode:
		n.scalar = from.Value.Value
	case *ast.BoolNode:
		n.scalar = from.Value
	case *ast.IntegerNode:
		switch value := from.Value.(type) {
		case int64:
			n.scalar = value
		case uint64:
			if value > math.MaxInt64 {
				return nil, badLine(n.line, "%d is too large", value)
			}
			n.scalar = int64(value)
		}
	case *ast.FloatNode:
		n.scalar = from.Value
	case *ast.NullNode:
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return nil, badLine(n.line, "anchors and aliases are not used here: write it out")
	case *ast.TagNode:
		return nil, badLine(n.line, "tags are not used here: write the value alone, a text in quotes")
	default:
		return nil, badLine(n.line, "a value like this is not used here: write a text, a number, true, false, a list or fields")
	}
	return n, nil
}

func readJSON(text string) (docs []*node, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	r := &jsonReader{text: text, d: d}
	for {
		n, err := r.next(0)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		if n.list != nil {
			docs = append(docs, n.list...)
			continue
		}
		docs = append(docs, n)
	}
}

type jsonReader struct {
	text string
	d    *json.Decoder
	line int // of offset
	at   int64
}

// here is the line that the decoder has come to.
func (r *jsonReader) here() int {
	to := min(r.d.InputOffset(), int64(len(r.text)))
	r.line += strings.Count(r.text[r.at:to], "\n")
	r.at = to
	return r.line + 1
}

func (r *jsonReader) token() (json.Token, error) {
	t, err := r.d.Token()
	if err != nil && !errors.Is(err, io.EOF) {
		err = badLine(r.here(), "this is no JSON: %.200s", err)
	}
	return t, err
}

// inside is token where the text must not end yet.
func (r *jsonReader) inside() (json.Token, error) {
	t, err := r.token()
	if errors.Is(err, io.EOF) {
		err = badLine(r.here(), "this is no JSON: it ends too early")
	}
	return t, err
}

func (r *jsonReader) next(depth int) (*node, error) {
	read := r.inside
	if depth == 0 {
		read = r.token
	}
	t, err := read()
	if err != nil {
		return nil, err
	}
	return r.value(t, depth)
}

func (r *jsonReader) value(t json.Token, depth int) (*node, error) {
	n := &node{line: r.here()}
	if depth > maxDepth {
		return nil, badLine(n.line, "values are nested deeper than %d", maxDepth)
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			n.fields = &mapping{of: make(map[string]*node)}
		} else {
			n.list = []*node{}
		}
		for r.d.More() {
			if t == '{' {
				key, err := r.inside()
				if err != nil {
					return nil, err
				}
				line := r.here()
				value, err := r.next(depth + 1)
				if err != nil {
					return nil, err
				}
				if err := n.fields.add(fmt.Sprint(key), line, value); err != nil {
					return nil, err
				}
				continue
			}
			value, err := r.next(depth + 1)
			if err != nil {
				return nil, err
			}
			n.list = append(n.list, value)
		}
		_, err := r.inside()
		return n, err
	case json.Number:
		if whole, err := t.Int64(); err == nil {
			n.scalar = whole
			return n, nil
		}
		number, err := t.Float64()
		if err != nil {
			return nil, badLine(n.line, "%.40s is too large", t)
		}
		n.scalar = number
	case string, bool:
		n.scalar = t
	}
	return n, nil
}

// parse reads the files of a set. What is wrong with them it lists with its place.
func (m *Manifests) parse(files []File) (objects []Object, problems []Problem) {
	say := func(p Problem) {
		if len(problems) < maxProblems {
			problems = append(problems, p)
		}
	}
	total := 0
	for _, f := range files {
		total += len(f.Name) + len(f.Text)
	}
	if len(files) > MaxFiles || total > MaxTexts {
		return nil, []Problem{{Text: fmt.Sprintf("there are %d files with %d bytes; %d and %d are allowed", len(files), total, MaxFiles, MaxTexts), Hint: "apply them in parts, each by a manager of its own"}}
	}
	first := make(map[string]string)
	for _, f := range files {
		docs, err := read(f)
		if err != nil {
			p := Problem{Place: f.Name, Text: err.Error(), Hint: "nothing has changed; correct the file"}
			if bad, ok := errors.AsType[*misread](err); ok {
				p.Place = place(f.Name, bad.line)
			}
			say(p)
			continue
		}
		for _, doc := range docs {
			o, wrong := m.object(f.Name, doc)
			for _, p := range wrong {
				say(p)
			}
			if len(wrong) > 0 {
				continue
			}
			if at := first[o.title()]; at != "" {
				say(Problem{o.Place, o.title(), "it stands at " + at + ", too", "say each object once"})
				continue
			}
			first[o.title()] = o.Place
			if objects = append(objects, o); len(objects) > MaxObjects {
				return nil, []Problem{{Place: o.Place, Text: fmt.Sprintf("there are more than %d objects", MaxObjects), Hint: "apply them in parts, each by a manager of its own"}}
			}
		}
	}
	slices.SortStableFunc(objects, func(a, b Object) int { return strings.Compare(a.title(), b.title()) })
	return objects, problems
}

func place(file string, line int) string { return file + ":" + strconv.Itoa(line) }

func title(kind, name string) string { return kind + "/" + name }

func (o Object) title() string { return title(o.Kind, o.Name) }

// object reads a document as an object, with its spec in canonical form.
func (m *Manifests) object(file string, doc *node) (o Object, problems []Problem) {
	bad := func(line int, text, hint string) (Object, []Problem) {
		return o, []Problem{{place(file, line), o.Kind, text, hint}}
	}
	if doc.fields == nil {
		return bad(doc.line, "this is no object", "write apiVersion, kind, metadata and spec")
	}
	text := func(in *mapping, key string) (string, int) {
		if n := in.of[key]; n != nil {
			s, _ := n.scalar.(string)
			return s, n.line
		}
		return "", doc.line
	}
	if version, line := text(doc.fields, "apiVersion"); version != APIVersion {
		return bad(line, fmt.Sprintf("apiVersion is %.40q", version), "this server reads "+APIVersion)
	}
	name, line := text(doc.fields, "kind")
	k := m.kind(name)
	if k == nil {
		return bad(line, fmt.Sprintf("there is no kind %.40q", name), m.unknownKind(name))
	}
	o.Kind, o.Place = k.name, place(file, doc.line)
	if wrong := k.whole.validate(doc, ""); len(wrong) > 0 {
		for _, w := range wrong {
			problems = append(problems, Problem{place(file, w.line), k.name, w.text, "reef manifest schema " + k.name + " shows the form"})
		}
		return o, problems
	}
	o.Name, line = text(doc.fields.of["metadata"].fields, "name")
	spec := doc.fields.of["spec"]
	given, _ := spec.plain().(map[string]any)
	var err error
	if o.Spec, err = k.canonical(given); err != nil {
		return bad(spec.line, err.Error(), "reef manifest schema "+k.name+" shows the form")
	}
	if err := k.named(o.Name); err != nil {
		p := problemOf(err)
		p.Place, p.Object = place(file, line), o.title()
		return o, []Problem{p}
	}
	return o, nil
}

// tree is a value as encoding/json has it, but with whole numbers as int64.
func tree(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(into)
}
