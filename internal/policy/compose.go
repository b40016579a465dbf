package policy

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"time"

	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Draft is what operators bring: their files, and what they leave out. The rest of a
// bundle is the defaults of the release that composes it, so an upgrade composes the
// same draft again with newer ones.
type Draft struct {
	Files   []File   // policies; one named default/… replaces the default file of that name
	Tests   []File   // cases, see case.go
	Without []string // ids of default policies to leave out
}

// MaxDraft bounds what operators bring, in bytes of all texts together.
const MaxDraft = 4 << 20

// DraftOf returns what the operators have brought of a bundle.
func DraftOf(b *Bundle) Draft {
	own := func(files []File) (list []File) {
		for _, f := range files {
			if slices.Contains(b.Own, f.Name) {
				list = append(list, f)
			}
		}
		return list
	}
	return Draft{Files: own(b.Files), Tests: own(b.Tests), Without: b.Without}
}

// DefaultsOf returns the version of the defaults in a bundle.
func DefaultsOf(b *Bundle) int64 {
	if b.Defaults == 0 {
		return b.Version // of before bundles had files of operators
	}
	return b.Defaults
}

// size refuses a draft that is too large, before anything of it is parsed.
func (d Draft) size() error {
	total := 0
	for _, f := range slices.Concat(d.Files, d.Tests) {
		total += len(f.Name) + len(f.Text)
	}
	for _, id := range d.Without {
		total += len(id)
	}
	switch {
	case total > MaxDraft:
		return tooLarge(total)
	case len(d.Files)+len(d.Tests) > MaxFiles/2 || len(d.Without) > MaxFiles:
		return refuse("bundle.size", "there are %d files; %d are allowed", len(d.Files)+len(d.Tests), MaxFiles/2)
	}
	return nil
}

// hash tells drafts apart.
func (d Draft) hash() [sha256.Size]byte {
	raw, _ := json.Marshal(d) // strings always marshal
	return sha256.Sum256(raw)
}

// Compose makes a bundle, unsigned, of the defaults of this release and a draft. A
// default policy gives way to one of the draft with the same @id, and to being left
// out; what is taken away leaves empty lines, so that the others' places stay. It fails
// with Invalid where something is to be left out that is not there.
func Compose(d Draft, version int64, created time.Time) (*Bundle, error) {
	if err := d.size(); err != nil {
		return nil, err
	}
	policies, tests, err := defaults()
	if err != nil {
		return nil, err
	}
	b := &Bundle{Version: version, Schema: Schema, CreatedAt: created, Defaults: DefaultVersion}
	b.Without = slices.Compact(slices.Sorted(slices.Values(d.Without)))
	mine, cases := make(map[string]bool), make(map[string]bool)
	for _, f := range d.Files {
		mine[f.Name] = true
		b.Own = append(b.Own, f.Name)
		for _, p := range policiesOf(f) {
			mine["@"+p.id] = true
		}
	}
	for _, f := range d.Tests {
		mine[f.Name] = true
		b.Own = append(b.Own, f.Name)
		list, _ := readCases(f) // a test that cannot be read is a problem of the check
		for _, c := range list {
			cases[c.Name] = true
		}
	}
	slices.Sort(b.Own)
	left := slices.Clone(b.Without)
	for _, f := range policies {
		if mine[f.Name] {
			b.Replaced = append(b.Replaced, f.Name)
			left = without(left, policiesOf(f))
			continue
		}
		for _, p := range policiesOf(f) {
			i := slices.Index(left, p.id)
			if i < 0 && !mine["@"+p.id] {
				continue
			}
			if i >= 0 {
				left = slices.Delete(left, i, i+1)
			} else {
				b.Replaced = append(b.Replaced, p.id)
			}
			f.Text = blank(f.Text, p.chunk)
		}
		b.Files = append(b.Files, f)
	}
	if len(left) > 0 {
		return nil, refuse("bundle.without", "there is no default policy %.100q to leave out", left[0]).
			WithHint("reef policy show lists the default policies by their id")
	}
	for _, f := range tests {
		if mine[f.Name] {
			b.Replaced = append(b.Replaced, f.Name)
			continue
		}
		f, gone, err := giveWay(f, cases)
		if err != nil {
			return nil, err
		}
		b.Replaced = append(b.Replaced, gone...)
		b.Tests = append(b.Tests, f)
	}
	b.Files = append(b.Files, d.Files...)
	b.Tests = append(b.Tests, d.Tests...)
	slices.Sort(b.Replaced)
	return b, b.form()
}

// without drops from ids what the policies are called.
func without(ids []string, policies []policyText) []string {
	return slices.DeleteFunc(ids, func(id string) bool {
		return slices.ContainsFunc(policies, func(p policyText) bool { return p.id == id })
	})
}

// policyText is a policy of a file, found by its text.
type policyText struct {
	id    string
	place string
	chunk chunk
	ast   *xast.Policy
}

// policiesOf lists the policies of a file that can be read; what cannot is a problem
// that compile finds.
func policiesOf(f File) (list []policyText) {
	defer func() {
		if recover() != nil { // a text that breaks the parser; compile says so
			list = nil
		}
	}()
	chunks, problem := split(f.Name, f.Text)
	if problem != nil {
		return nil
	}
	for _, ch := range chunks {
		ast, line, problem := parseChunk(f.Name, ch)
		if problem != nil {
			continue
		}
		for _, a := range ast.Annotations {
			if a.Key == noteID {
				list = append(list, policyText{string(a.Value), place(f.Name, line), ch, ast})
			}
		}
	}
	return list
}

// blank takes a policy out of a text and leaves its lines empty.
func blank(text string, c chunk) string {
	return strings.Replace(text, c.text, strings.Repeat("\n", strings.Count(c.text, "\n")), 1)
}
