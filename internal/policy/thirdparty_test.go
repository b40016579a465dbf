package policy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// rust is Cedar's own engine, in a process that answers line by line.
type rust struct {
	in  io.Writer
	out *bufio.Reader
}

func startRust(t *testing.T) *rust {
	t.Helper()
	dir := filepath.Join("..", "..", "test", "thirdparty")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@cedar-policy", "cedar-wasm")); err != nil {
		storetest.Missing(t, "test/thirdparty lacks @cedar-policy/cedar-wasm: run tools/setup.sh")
	}
	cmd := exec.CommandContext(t.Context(), "node", "cedar.mjs")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("the other engine: %v", err)
		}
	})
	return &rust{in: in, out: bufio.NewReaderSize(out, 1<<20)}
}

func (r *rust) ask(question, answer any) error {
	raw, err := json.Marshal(question)
	if err != nil {
		return err
	}
	if _, err := r.in.Write(append(raw, '\n')); err != nil {
		return err
	}
	line, err := r.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, answer)
}

// textsOf is a text as the other engine wants it: one policy an id.
func textsOf(set *cedar.PolicySet) map[string]string {
	list := make(map[string]string)
	for id, p := range set.All() {
		list[string(id)] = string(p.MarshalCedar())
	}
	return list
}

// What the engine decides, by which policy and with which that fail, is what Cedar's
// engine in Rust decides about all policies.
func TestThirdPartyCedarDecisions(t *testing.T) {
	codec, other := testCodec(t), startRust(t)
	decided := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		w, e, d, set := draw(t, codec, 12)
		var asked []*question
		var requests []map[string]any
		for range 12 {
			q := ask(t, d)
			subject, thing := w.entities(q)
			requests = append(requests, map[string]any{
				"principal": uidOf(subject.UID), "action": uidOf(types.NewEntityUID("Action", types.String(q.name))), "resource": uidOf(thing.UID),
				"context": worldContext, "entities": types.EntityMap{subject.UID: subject, thing.UID: thing},
			})
			asked = append(asked, q)
			// Facts are of the moment: this one is asked now, and compared below.
			w.agree(t, e, q, set, w.reference(t, set, q))
		}
		var answers []struct {
			Allow           bool
			Reasons, Errors []string
			Failure         string
		}
		if err := other.ask(map[string]any{"policies": textsOf(set), "requests": requests}, &answers); err != nil || len(answers) != len(asked) {
			t.Fatalf("%d answers to %d questions: %v", len(answers), len(asked), err)
		}
		for i, a := range answers {
			got := verdict{allow: a.Allow}
			for _, id := range a.Reasons {
				got.hit = append(got.hit, placeOf(t, id))
			}
			for _, id := range a.Errors {
				got.failed = append(got.failed, placeOf(t, id))
			}
			slices.Sort(got.hit)
			slices.Sort(got.failed)
			want := w.reference(t, set, asked[i])
			if a.Failure != "" || got.allow != want.allow || !slices.Equal(got.hit, want.hit) || !slices.Equal(got.failed, want.failed) {
				t.Fatalf("%+v:\n Rust says %+v %s\n Go says %+v\n%s", asked[i], got, a.Failure, want, w.text)
			}
			decided[got.allow]++
		}
	})
	t.Logf("%d allowed, %d denied", decided[true], decided[false])
	if decided[true] == 0 || decided[false] == 0 {
		t.Error("all questions had one answer")
	}
}

func uidOf(uid types.EntityUID) map[string]string {
	return map[string]string{"type": string(uid.Type), "id": string(uid.ID)}
}

// The published schema is a schema to Cedar's own tools, in both forms, and the default
// policies are valid against it there too.
func TestThirdPartyCedarSchema(t *testing.T) {
	other := startRust(t)
	s, err := SchemaOf(registry())
	if err != nil {
		t.Fatal(err)
	}
	b, err := Default(created)
	if err != nil {
		t.Fatal(err)
	}
	policies := map[string]string{}
	for _, f := range b.Files {
		list, err := cedar.NewPolicyListFromBytes(f.Name, []byte(f.Text))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range list {
			policies[fmt.Sprintf("%s#%d", f.Name, i)] = string(p.MarshalCedar())
		}
	}
	check := func(text string) (out struct {
		Failure  string
		Problems []string
	}) {
		if err := other.ask(map[string]any{"schema": text, "json": json.RawMessage(s.JSON), "policies": policies}, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := check(s.Cedar); out.Failure != "" || len(out.Problems) > 0 {
		t.Errorf("%s %q", out.Failure, out.Problems)
	}
	policies["wrong"] = `permit (principal is Agent, action == Action::"post.create", resource) when { principal.tean == "x" };`
	if out := check(s.Cedar); len(out.Problems) != 1 {
		t.Errorf("a misspelled attribute gives %q", out.Problems)
	}
}
