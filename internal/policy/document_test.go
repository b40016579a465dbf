package policy

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"
)

var update = flag.Bool("update", false, "write the generated part of docs/policy.md instead of comparing it")

// docs/policy.md lists every attribute as the table has it.
func TestVocabularyDocument(t *testing.T) {
	const path, begin, end = "../../docs/policy.md", "<!-- vocabulary: generated, see TestVocabularyDocument -->\n", "<!-- end of vocabulary -->"
	var b strings.Builder
	for _, of := range []types.String{varPrincipal, varResource, varContext} {
		fmt.Fprintf(&b, "| `%s.` | type | what it is |\n|---|---|---|\n", of)
		for _, a := range vocabulary {
			if a.of != of {
				continue
			}
			var notes []string
			if a.who == typeOperator {
				notes = append(notes, "operators")
			}
			if a.fold != freely {
				notes = append(notes, "by name")
			}
			if a.write {
				notes = append(notes, "writes")
			}
			typ := a.typ
			if len(notes) > 0 {
				typ += " (" + strings.Join(notes, ", ") + ")"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", a.name, typ, a.explained())
		}
		b.WriteByte('\n')
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatal("docs/policy.md has no place for the vocabulary")
	}
	want := before + begin + b.String() + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Error("docs/policy.md does not list the vocabulary as it is: run the test with -update")
	}
}
