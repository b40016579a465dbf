package policy

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// compose makes a signed bundle of a draft.
func compose(t testing.TB, d Draft, version int64) *Bundle {
	t.Helper()
	b, err := Compose(d, version, created)
	if err != nil {
		t.Fatal(err)
	}
	raw := signedRaw(t, b, testKey(1))
	if b, err = Parse(raw, testPub(1)); err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	ownWrite = `@id("write")
permit (principal is Agent, action == Action::"vote.cast", resource);`
	ownMore = `@id("more") permit (principal is Agent, action == Action::"post.pin", resource) when { principal.class == "editor" };`
)

// lines are where the policies of a bundle stand.
func lines(t *testing.T, b *Bundle) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, f := range b.Files {
		for _, p := range policiesOf(f) {
			if out[p.id] != "" {
				t.Errorf("%s is there twice: %s, %s", p.id, out[p.id], p.place)
			}
			out[p.id] = p.place
		}
	}
	return out
}

func TestComposeKeepsOperatorsFiles(t *testing.T) {
	plain := compose(t, Draft{}, 1)
	d := Draft{
		Files:   []File{{"own/a.cedar", ownWrite}, {"own/b.cedar", ownMore}},
		Tests:   []File{{"own/t.yaml", "- {name: nobody without a credential writes, principal: {type: Observer}, act: post.create, expect: deny}\n"}},
		Without: []string{"challenge"},
	}
	b := compose(t, d, 2)
	was, is := lines(t, plain), lines(t, b)
	for id, place := range was {
		switch want := place; {
		case id == "challenge" && is[id] != "":
			t.Errorf("%s is left out, and stands at %s", id, is[id])
		case id == "write" && is[id] != "own/a.cedar:1":
			t.Errorf("%s is the operators', and stands at %s", id, is[id])
		case id != "challenge" && id != "write" && is[id] != want:
			t.Errorf("%s stood at %s and stands at %s", id, want, is[id])
		}
	}
	if is["more"] != "own/b.cedar:1" || was["write"] == "" {
		t.Errorf("more stands at %q, write stood at %q", is["more"], was["write"])
	}
	if want := []string{"nobody without a credential writes", "write"}; !slices.Equal(b.Replaced, want) || !slices.Equal(b.Without, d.Without) {
		t.Errorf("replaced %q, without %q", b.Replaced, b.Without)
	}
	// An upgrade composes the same draft again.
	if got := DraftOf(b); !reflect.DeepEqual(got, d) {
		t.Errorf("the draft came back as %+v", got)
	}
	again := compose(t, DraftOf(b), 3)
	if !reflect.DeepEqual(again.Files, b.Files) || !reflect.DeepEqual(again.Tests, b.Tests) {
		t.Error("composed again it is another bundle")
	}
	e := newEngine(t, &people{}, nil)
	if err := e.Activate(b); err != nil {
		t.Fatal(err)
	}
	whole := compose(t, Draft{Files: []File{{"default/content.cedar", ownMore}}}, 4)
	if err := e.Activate(whole); err != nil || !slices.Contains(whole.Replaced, "default/content.cedar") || lines(t, whole)["write"] != "" {
		t.Errorf("a file in the place of a default one: %v, replaced %q", err, whole.Replaced)
	}
	for name, bad := range map[string]Draft{
		"bundle.without": {Without: []string{"no-such"}},
		"bundle.form":    {Files: []File{{"../a.cedar", ownMore}}},
		"bundle.size":    {Files: []File{{"a.cedar", strings.Repeat(" ", MaxDraft)}}},
	} {
		if _, err := Compose(bad, 1, created); ruleOf(err) != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// T61: a bundle whose tests do not hold is not put in force, and the answer names the
// case, its line, and the policy that decided otherwise.
func TestT61_TestsHoldBeforeActivation(t *testing.T) {
	e := newEngine(t, &people{}, nil)
	if err := e.Activate(compose(t, Draft{}, 1)); err != nil {
		t.Fatal(err)
	}
	const loose = `@id("loose") permit (principal is Agent, action == Action::"agent.kill", resource);`
	tests := func(text string) Draft { return Draft{Tests: []File{{"own.yaml", text}}} }
	for name, c := range map[string]struct {
		draft Draft
		want  []string
	}{
		"breaks a case of the defaults": {
			Draft{Files: []File{{"loose.cedar", loose}}}, []string{`"an agent cannot stop another" wants deny, got allow by loose (loose.cedar:1)`, "default/tests.yaml:"},
		},
		"breaks its own case": {
			tests("# a comment\n\n- name: agents pin\n  principal: {type: Agent, standing: active}\n  act: post.pin\n  resource: {kind: Post}\n  expect: allow\n"),
			[]string{`own.yaml:3: "agents pin" wants allow, got deny by default-deny`},
		},
		"by another policy":       {tests("- {name: x, principal: {type: Agent, standing: active}, act: vote.cast, resource: {kind: Post}, expect: allow, policy: other}"), []string{"wants allow by other, got allow by"}},
		"no such act":             {tests("- {name: x, principal: {type: Agent}, act: no.such, expect: deny}"), []string{`own.yaml:1: there is no act "no.such"`}},
		"no such attribute":       {tests("- {name: x, principal: {type: Agent, mood: good}, act: vote.cast, expect: deny}"), []string{`there is no attribute "mood"`}},
		"no such word":            {tests("- {name: x, principal: {type: Agent, standing: merry}, act: vote.cast, expect: deny}"), []string{`standing cannot be "merry"`}},
		"no such result":          {tests("- {name: x, principal: {type: Agent}, act: vote.cast, expect: perhaps}"), []string{`expect is "perhaps"`}},
		"no such setting":         {tests("- {name: x, principal: {type: Agent}, act: vote.cast, context: [party], expect: deny}"), []string{`no setting "party"`}},
		"no such field":           {tests("- {name: x, principal: {type: Agent}, act: vote.cast, expects: deny}"), []string{"own.yaml:1: this is no case"}},
		"no list":                 {tests("name: x"), []string{"not a list of cases"}},
		"an alias":                {tests("- &a {name: x, principal: {type: Agent}, act: vote.cast, expect: deny}\n- *a"), []string{"anchors"}},
		"nested without an end":   {tests("- " + strings.Repeat("[", 1000)), []string{"nested deeper"}},
		"two cases with one name": {tests("- {name: x, principal: {type: Agent}, act: agent.kill, expect: deny}\n- {name: x, principal: {type: Agent}, act: agent.kill, expect: deny}"), []string{"own.yaml:2: the case at own.yaml:1 has the same name"}},
	} {
		err := e.Activate(compose(t, c.draft, 2))
		for _, want := range c.want {
			if ruleOf(err) != "bundle.test" || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
		}
		if e.Version() != 1 {
			t.Fatalf("%s: version %d is in force", name, e.Version())
		}
	}
}

// Every attribute is spelled, and read again as it was.
func TestSpelling(t *testing.T) {
	codec := testCodec(t)
	e := newEngine(t, &people{}, nil)
	full := func(v reflect.Value) {
		for f, field := range v.Fields() {
			switch id, isID := field.Interface().(act.ID); {
			case isID:
				_ = id
				field.SetInt(int64(testID(act.KindOwner, 7)))
			case field.Kind() == reflect.Bool:
				field.SetBool(true)
			case field.Kind() == reflect.String:
				field.SetString("a word")
			case field.CanUint():
				field.SetUint(1)
			case field.CanInt():
				field.SetInt(1)
			default:
				t.Fatalf("%s is of a kind that nobody spells", f.Name)
			}
		}
	}
	var p PrincipalFacts
	var on gate.Facts
	full(reflect.ValueOf(&p).Elem())
	full(reflect.ValueOf(&on).Elem())
	for name, how := range map[string]struct {
		write func(act.ID) any
		read  func(any) (act.ID, bool)
	}{"rows": {rowName, rowID}, "shown": {e.nameOf, e.idOf}} {
		var p2 PrincipalFacts
		var on2 gate.Facts
		words := spell(p, how.write)
		if len(words) != reflect.TypeFor[PrincipalFacts]().NumField() {
			t.Errorf("%s: %v leaves something out", name, words)
		}
		if err := unspell(&p2, words, how.read); err != nil || p2 != p {
			t.Errorf("%s: %v is read as %+v (%v), want %+v", name, words, p2, err, p)
		}
		if err := unspell(&on2, spell(on, how.write), how.read); err != nil || on2 != on {
			t.Errorf("%s: %v is read as %+v (%v), want %+v", name, spell(on, how.write), on2, err, on)
		}
	}
	if got := e.nameOf(testID(act.KindOwner, 7)); got != codec.String(testID(act.KindOwner, 7)) {
		t.Errorf("an id is shown as %v", got)
	}
	if words := spell(gate.Facts{Visibility: gate.Restricted, Origin: act.OriginImported}, rowName); words["visibility"] != "restricted" || words["origin"] != "imported" {
		t.Errorf("words: %v", words)
	}
}

// Whatever is sent as a draft is refused or can be put in force; nothing breaks.
func FuzzDraft(f *testing.F) {
	f.Add(ownMore, "- {name: x, principal: {type: Agent}, act: vote.cast, expect: deny}", "challenge")
	f.Add("", "- &a [*a]", "")
	f.Add(`@id("a") permit (principal, action, resource) when { [[[[`, "- name: x\n  principal: {type: Agent, owner: other}\n", "x")
	f.Add("/*", "{{{{", "write")
	f.Fuzz(func(t *testing.T, policies, cases, without string) {
		d := Draft{Files: []File{{"own.cedar", policies}}, Tests: []File{{"own.yaml", cases}}}
		if without != "" {
			d.Without = []string{without}
		}
		b, err := Compose(d, 2, time.Unix(0, 0))
		if err != nil {
			if act.CodeOf(err) != act.Invalid && act.CodeOf(err) != act.TooLarge {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		e := newEngine(t, &people{}, nil)
		s, problems := e.compile(b)
		if len(problems) > 0 {
			return
		}
		_ = refuseTrials(e.trials(s, b))
		if got := DraftOf(b); len(got.Files) != 1 || got.Files[0].Text != policies || got.Tests[0].Text != cases {
			t.Fatalf("the draft came back as %+v", got)
		}
	})
}
