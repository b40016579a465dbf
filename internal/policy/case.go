package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// Case is one test of a bundle: who asks for what, and what the answer must be. A file
// of cases is a list in YAML, or in JSON, which is YAML:
//
//   - name: no agent deletes what others wrote
//     principal: {type: Agent, standing: active}
//     act: post.delete
//     resource: {kind: Post, own: false}
//     expect: deny
//     policy: default-deny
//
// What a principal or a resource is not said to have it has not: an attribute is false,
// none, or the first of its words. The network's settings are off unless context names
// them, so a case says the same wherever it runs.
type Case struct {
	Name      string         `yaml:"name"`
	Principal map[string]any `yaml:"principal"` // type, id, name, roles, and attributes
	Act       string         `yaml:"act"`
	Resource  map[string]any `yaml:"resource"` // kind, and attributes
	Context   []string       `yaml:"context"`  // settings that are on
	Expect    string         `yaml:"expect"`   // allow, deny, hold or challenge
	Policy    string         `yaml:"policy"`   // id of the policy that decides; any if empty

	place string // file:line
}

// Limits of files of cases. They are looked at before the parser sees the text: it
// recurses with the nesting.
const (
	maxCases     = 10_000  // of a bundle
	maxCaseText  = 1 << 20 // bytes of a file
	maxCaseLine  = 2000    // bytes, which bounds how deep a line can nest
	maxCaseDepth = 8       // brackets inside brackets
	maxCaseName  = 200     // bytes
)

// Trial is a case that was tried.
type Trial struct {
	Case   string // its name
	Place  string // file:line of the case
	Passed bool
	Want   string // result, and policy if the case names one
	Got    string
	By     string // id of the policy that decided
	At     string // its file:line, "" when none did
	Why    string // what is wrong with the case itself; "" if nothing is
}

// readCases reads a file of cases. What cannot be read is a problem with its place.
func readCases(f File) (list []Case, problem *Problem) {
	defer func() {
		if r := recover(); r != nil {
			list, problem = nil, &Problem{Place: f.Name, Text: fmt.Sprintf("a test breaks the parser: %v", r)}
		}
	}()
	if line, text := caseBounds.Exceeded(f.Text); text != "" {
		return nil, &Problem{place(f.Name, line), text}
	}
	file, err := parser.ParseBytes([]byte(f.Text), 0)
	if err != nil {
		return nil, &Problem{f.Name, "this is no YAML: " + firstLine(err.Error())}
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		seq, ok := doc.Body.(*ast.SequenceNode)
		if !ok {
			return nil, &Problem{place(f.Name, doc.Body.GetToken().Position.Line), "this is not a list of cases, each with a name"}
		}
		for _, node := range seq.Values {
			at := place(f.Name, node.GetToken().Position.Line)
			if ast.Filter(ast.AnchorType, node) != nil || ast.Filter(ast.AliasType, node) != nil || ast.Filter(ast.TagType, node) != nil {
				return nil, &Problem{at, "anchors, aliases and tags are not used in tests"}
			}
			c := Case{place: at}
			if err := yaml.NodeToValue(node, &c, yaml.Strict()); err != nil {
				return nil, &Problem{at, "this is no case: " + firstLine(err.Error())}
			}
			if c.Name == "" || len(c.Name) > maxCaseName {
				return nil, &Problem{at, fmt.Sprintf("a case has a name of 1 to %d bytes", maxCaseName)}
			}
			if list = append(list, c); len(list) > maxCases {
				return nil, &Problem{at, fmt.Sprintf("there are more than %d cases", maxCases)}
			}
		}
	}
	return list, nil
}

// Bounds are what a text in YAML may have, looked at before the parser sees it: that works
// beyond reason on texts that nest deeply.
type Bounds struct {
	Text  int // bytes of the file
	Line  int // bytes
	Depth int // brackets inside brackets
}

var caseBounds = Bounds{Text: maxCaseText, Line: maxCaseLine, Depth: maxCaseDepth}

// Exceeded finds what is beyond the bounds: the line and what is wrong with it, "" if
// nothing is.
func (b Bounds) Exceeded(text string) (line int, problem string) {
	if len(text) > b.Text {
		return 1, fmt.Sprintf("the file has %d bytes; %d are allowed", len(text), b.Text)
	}
	depth := 0
	for row := range strings.Lines(text) {
		if line++; len(row) > b.Line {
			return line, fmt.Sprintf("a line has more than %d bytes", b.Line)
		}
		for _, c := range row {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(0, depth-1)
			}
			if depth > b.Depth {
				return line, fmt.Sprintf("brackets are nested deeper than %d", b.Depth)
			}
		}
	}
	return 0, ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	if len(line) > maxHint {
		line = line[:maxHint]
	}
	return line
}

// giveWay takes the cases out of a file that have the names of others, and leaves their
// lines empty.
func giveWay(f File, names map[string]bool) (_ File, gone []string, err error) {
	list, problem := readCases(f)
	if problem != nil {
		return f, nil, refuse("bundle.test", "%s", problem)
	}
	lines := strings.SplitAfter(f.Text, "\n")
	for i, c := range list {
		if !names[c.Name] {
			continue
		}
		gone = append(gone, c.Name)
		end := len(lines) + 1
		if i+1 < len(list) {
			end = list[i+1].line()
		}
		for n := c.line(); n < end; n++ {
			lines[n-1] = strings.Repeat("\n", strings.Count(lines[n-1], "\n"))
		}
	}
	f.Text = strings.Join(lines, "")
	return f, gone, nil
}

// line is the number in the case's place.
func (c Case) line() (n int) {
	_, _ = fmt.Sscanf(c.place[strings.LastIndexByte(c.place, ':')+1:], "%d", &n)
	return n
}

// trials tries every case of a bundle on its snapshot.
func (e *Engine) trials(s *snapshot, b *Bundle) (list []Trial) {
	taken := make(map[string]string)
	for _, f := range b.Tests {
		cases, problem := readCases(f)
		if problem != nil {
			list = append(list, Trial{Place: problem.Place, Why: problem.Text})
			continue
		}
		for _, c := range cases {
			t := e.try(s, c)
			if at := taken[c.Name]; at != "" {
				t.Passed, t.Why = false, "the case at "+at+" has the same name"
			}
			taken[c.Name] = c.place
			if list = append(list, t); len(list) > maxCases {
				return append(list[:maxCases], Trial{Place: c.place, Why: fmt.Sprintf("there are more than %d cases", maxCases)})
			}
		}
	}
	return list
}

// try asks the one question of a case.
func (e *Engine) try(s *snapshot, c Case) Trial {
	t := Trial{Case: c.Name, Place: c.place, Want: c.Expect}
	if c.Policy != "" {
		t.Want += " by " + c.Policy
	}
	x, on, err := e.question(c)
	if err != nil {
		t.Why = err.Error()
		return t
	}
	d := e.decide(s, x, contextOf(on))
	t.Got, t.By, t.At = resultOf(d), d.Policy, d.Place
	t.Passed = t.Got == c.Expect && (c.Policy == "" || c.Policy == d.Policy)
	return t
}

// question makes the sample of a case.
func (e *Engine) question(c Case) (x sample, on map[string]bool, err error) {
	if !slices.Contains(results, c.Expect) {
		return x, nil, fmt.Errorf("expect is %.50q, want one of %s", c.Expect, strings.Join(results, ", "))
	}
	if x.act = e.acts[c.Act]; x.act == nil {
		return x, nil, fmt.Errorf("there is no act %.50q", c.Act)
	}
	words := make(map[string]any)
	for name, word := range c.Principal {
		text, isText := word.(string)
		known := isText
		switch name {
		case "type":
			x.kind, known = kindNamed(strings.ToLower(text))
		case "id":
			x.who, known = e.idOf(word)
		case "name":
			x.name = text
		case "roles":
			x.roles, known = rolesNamed(word)
		default:
			words[name], known = word, true
		}
		if !known {
			return x, nil, fmt.Errorf("%s of a principal cannot be %s", name, shownWord(word))
		}
	}
	if c.Principal["type"] == nil {
		return x, nil, fmt.Errorf("the principal has no type: Agent, Operator, Observer or System")
	}
	if x.who == 0 && (x.kind == act.Agent || x.kind == act.Operator) {
		x.who = unnamed
	}
	if err := unspell(&x.facts, words, e.idOf); err != nil {
		return x, nil, fmt.Errorf("principal: %w", err)
	}
	if err := unspell(&x.on, c.Resource, e.idOf); err != nil {
		return x, nil, fmt.Errorf("resource: %w", err)
	}
	on = make(map[string]bool)
	for _, name := range c.Context {
		if !slices.ContainsFunc(settings(), func(a types.String) bool { return string(a) == name }) {
			return x, nil, fmt.Errorf("there is no setting %.50q in the context", name)
		}
		on[name] = true
	}
	return x, on, nil
}

func rolesNamed(word any) (roles uint8, ok bool) {
	list, ok := word.([]any)
	for _, one := range list {
		name, _ := one.(string)
		r, err := gate.ParseOperatorRole(name)
		if err != nil {
			return 0, false
		}
		roles |= uint8(r)
	}
	return roles, ok
}

// refuseTrials makes the error of a bundle whose cases do not hold, nil when all do.
func refuseTrials(list []Trial) error {
	var failed []string
	for _, t := range list {
		if !t.Passed {
			failed = append(failed, t.String())
		}
	}
	if len(failed) == 0 {
		return nil
	}
	text := strings.Join(failed[:min(len(failed), shownProblem)], "; ")
	if len(failed) > shownProblem {
		text += fmt.Sprintf("; and %d more", len(failed)-shownProblem)
	}
	return refuse("bundle.test", "%d of %d tests fail: %s", len(failed), len(list), text)
}

// String says what a case that fails wanted, and what it got.
func (t Trial) String() string {
	if t.Why != "" {
		return fmt.Sprintf("%s: %s", t.Place, t.Why)
	}
	by := t.By
	if t.At != "" {
		by += " (" + t.At + ")"
	}
	return fmt.Sprintf("%s: %q wants %s, got %s by %s", t.Place, t.Case, t.Want, t.Got, by)
}
