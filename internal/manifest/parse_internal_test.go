package manifest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// forms is the part of Manifests that reads and writes files: it needs no network.
func forms() *Manifests {
	m := &Manifests{}
	m.kinds = m.kindsOf()
	for _, k := range m.kinds {
		k.whole = whole(k.name, k.doc, k.spec)
	}
	return m
}

const head = "apiVersion: reefwarden/v1\nkind: Class\nmetadata: {name: a}\n"

// What is wrong is said with its file and line, and with what to do.
func TestWhatIsWrongHasItsPlace(t *testing.T) {
	m := forms()
	for _, c := range []struct{ name, text, place, want string }{
		{"a.yaml", "kind: Class\n", "a.yaml:1", "apiVersion"},
		{"a.yaml", "\n- a\n- b\n", "a.yaml:2", "no object"},
		{"a.yaml", "apiVersion: reefwarden/v1\nkind: ApprovalRule\n", "a.yaml:2", `no kind "ApprovalRule"`},
		{"a.yaml", "apiVersion: reefwarden/v1\nkind: Class\nmetadata: {}\nspec: {}\n", "a.yaml:3", "metadata.name is missing"},
		{"a.yaml", head, "a.yaml:1", "spec is missing"},
		{"a.yaml", head + "spec:\n  modle: x\n", "a.yaml:5", "no field spec.modle"},
		{"a.yaml", head + "spec:\n  model: x\n  tolerance: many\n", "a.yaml:6", "spec.tolerance is a text; wanted is a whole number"},
		{"a.yaml", head + "spec:\n  tolerance: 1.5\n", "a.yaml:5", "spec.tolerance is a number"},
		{"a.yaml", head + "spec:\n  heartbeat: soon\n", "a.yaml:5", `spec.heartbeat is "soon"`},
		{"a.yaml", head + "spec:\n  grant:\n    clearance: secret\n", "a.yaml:6", "wanted is one of unclassified"},
		{"a.yaml", head + "spec:\n  grant:\n    acts: [post.*, 7]\n", "a.yaml:6", "spec.grant.acts is a whole number"},
		{"a.yaml", head + "spec:\n  model:\n", "a.yaml:5", "spec.model is nothing"},
		{"a.yaml", head + "spec:\n  model: a\n  model: b\n", "a.yaml:6", "model"},
		{"a.yaml", head + "spec: {}\nlabels: {}\n", "a.yaml:5", "no field labels"},
		{"a.yaml", "a: &x [1, 2]\nb: *x\n", "a.yaml:1", "anchors"},
		{"a.yaml", "a: &a [x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n", "a.yaml:1", "anchors"},
		{"a.yaml", head + "spec:\n  <<: {model: x}\n", "a.yaml:5", ""},
		{"a.yaml", head + "spec:\n  model: !!binary aGk=\n", "a.yaml:5", "tags"},
		{"a.yaml", head + "spec:\n  1: x\n", "a.yaml:5", "no name of a field"},
		{"a.yaml", "a: [\n", "a.yaml:", "no YAML"},
		{"a.yaml", strings.Repeat("[", 100), "a.yaml:1", "nested deeper"},
		{"a.yaml", strings.Repeat("- ", 5000), "a.yaml:1", "too many lists"},
		{"a.yaml", strings.Repeat("x", fileBounds.Line+1), "a.yaml:1", "bytes"},
		{"a.yaml", strings.Repeat("#\n", fileBounds.Text/2+1), "a.yaml:1", "bytes"},
		{"a.yaml", head + "spec: {}\n---\n" + head + "spec: {}\n", "a.yaml:6", "stands at a.yaml:1, too"},
		{"a.yaml", strings.Replace(head, "name: a", "name: A b", 1) + "spec: {}\n", "a.yaml:3", "cannot be the name"},
		{"a.json", "{\n \"apiVersion\": \"reefwarden/v1\",\n \"kind\": \"Class\",\n \"metadata\": {\"name\": \"a\"},\n \"spec\": {\n  \"modle\": 1}}", "a.json:6", "spec.modle"},
		{"a.json", "{\"a\": 1,\n \"a\": 2}", "a.json:2", "stands twice"},
		{"a.json", "{\"a\": ", "a.json:1", "no JSON"},
		{"a.json", strings.Repeat("[", 100), "a.json:1", "nested deeper"},
	} {
		objects, problems := m.parse([]File{{c.name, c.text}})
		if len(problems) == 0 {
			t.Errorf("%.60q: nothing is wrong, %d objects", c.text, len(objects))
			continue
		}
		p := problems[0]
		if !strings.HasPrefix(p.Place, c.place) || !strings.Contains(p.Text, c.want) || p.Hint == "" {
			t.Errorf("%.60q: %+v, want %s: %s", c.text, p, c.place, c.want)
		}
	}
	if _, problems := m.parse([]File{{"a.yaml", "# nothing\n---\n"}, {"b.json", "[]"}}); len(problems) > 0 {
		t.Errorf("files that say nothing: %v", problems)
	}
}

// YAML and JSON say the same, and several objects stand in one file.
func TestFormsOfFiles(t *testing.T) {
	m := forms()
	yaml := "# who watches\n" + head + "spec:\n  heartbeat: 30s\n  grant: {acts: ['post.*'], budget: {acts: 10}}\n---\napiVersion: reefwarden/v1\nkind: Mandate\nmetadata:\n  name: b\nspec:\n  owner: team\n  statement: |\n    Watch.\n  expires_at: 2030-01-01T00:00:00+01:00\n"
	json := `[{"apiVersion":"reefwarden/v1","kind":"Class","metadata":{"name":"a"},"spec":{"heartbeat":"0.5m","grant":{"acts":["post.*"],"budget":{"acts":10}}}},
{"apiVersion":"reefwarden/v1","kind":"Mandate","metadata":{"name":"b"},"spec":{"owner":"team","statement":"Watch.\n","expires_at":"2029-12-31T23:00:00Z"},"status":{"state":"there"}}]`
	a, wrongA := m.parse([]File{{"a.yaml", yaml}})
	b, wrongB := m.parse([]File{{"a.json", json}})
	if len(wrongA)+len(wrongB) > 0 || len(a) != 2 || len(b) != 2 {
		t.Fatalf("%v %v", wrongA, wrongB)
	}
	for i := range a {
		if !reflect.DeepEqual(a[i].Spec, b[i].Spec) || a[i].title() != b[i].title() {
			t.Errorf("%v, and %v", a[i], b[i])
		}
	}
	if a[0].Place != "a.yaml:2" || b[1].Place != "a.json:2" {
		t.Errorf("places %s and %s", a[0].Place, b[1].Place)
	}
}

// Whatever text stands in a thing comes back from its export as it was.
func TestWrittenTextsComeBack(t *testing.T) {
	m := forms()
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`([ -~\t\n]|#|- |: |\|){0,40}`), rapid.SampledFrom([]string{"", "yes", "~", "0x1", "1e3", "a\n\nb\n", " a\n", "a \n", "a\n b\n", "\n", "a\r\nb\n", "---\na\n", "'", "{}", "null", "\u2028", "# a\n", "2030-01-01"}))
	rapid.Check(t, func(t *rapid.T) {
		clean := func(s string) string { return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "") }
		spec := map[string]any{"statement": clean(text.Draw(t, "statement")), "success": clean(text.Draw(t, "success")), "owner": "team"}
		spec, err := m.kind("Mandate").canonical(spec)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]any{}
		for i := range rapid.IntRange(0, 3).Draw(t, "files") {
			files[fmt.Sprintf("%s%d.cedar", rapid.SampledFrom([]string{"own", "a b", "x.y", "1"}).Draw(t, "name"), i)] = clean(text.Draw(t, "file"))
		}
		bundle, err := m.kind("PolicyBundle").canonical(map[string]any{"files": files})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		write(&b, State{Kind: "Mandate", Name: "x", Spec: spec})
		write(&b, State{Kind: "PolicyBundle", Name: "network", Spec: bundle})
		objects, problems := m.parse([]File{{"a.yaml", b.String()}})
		if len(problems) > 0 || len(objects) != 2 {
			t.Fatalf("%v\n%s", problems, b.String())
		}
		if !reflect.DeepEqual(objects[0].Spec, spec) || !reflect.DeepEqual(objects[1].Spec, bundle) {
			t.Fatalf("%#v\n%#v\nof\n%s\n%#v\n%#v", objects[0].Spec, objects[1].Spec, b.String(), spec, bundle)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("a.yaml", head+"spec: {model: x}\n---\nkind: 1\n")
	f.Add("a.json", `{"apiVersion":"reefwarden/v1","kind":"Mandate","metadata":{"name":"b"},"spec":{"owner":"x"}}`)
	m := forms()
	f.Fuzz(func(t *testing.T, name, text string) {
		objects, problems := m.parse([]File{{name, text}})
		for _, p := range problems {
			if p.Text == "" || p.Hint == "" {
				t.Fatalf("%+v", p)
			}
		}
		for _, o := range objects {
			var b strings.Builder
			write(&b, State{Kind: o.Kind, Name: o.Name, Spec: o.Spec})
			again, problems := m.parse([]File{{"a.yaml", b.String()}})
			if len(problems) > 0 || len(again) != 1 || !reflect.DeepEqual(again[0].Spec, o.Spec) {
				t.Fatalf("%v of %v comes back as %v: %v\n%s", o.Spec, text, again, problems, b.String())
			}
		}
	})
}
