package manifest

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/store"
)

// bundleSpec is what files say of the policies. Each file of them is a field of its own, so
// that several managers can keep their parts.
type bundleSpec struct {
	Files   map[string]string `json:"files,omitempty" doc:"policies in Cedar, by the name of their file"`
	Tests   map[string]string `json:"tests,omitempty" doc:"cases that must hold, in YAML, by the name of their file"`
	Without []string          `json:"without,omitempty" doc:"ids of default policies to leave out"`
}

// bundleName is the name of the one set of policies that a network has.
const bundleName = "network"

// bundleID tells it from other things in lists; it has no id of its own that stays.
const bundleID act.ID = 1

func draftOf(spec map[string]any) (policy.Draft, error) {
	s, err := as[bundleSpec](spec)
	list := func(of map[string]string) (files []policy.File) {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			files = append(files, policy.File{Name: name, Text: of[name]})
		}
		return files
	}
	return policy.Draft{Files: list(s.Files), Tests: list(s.Tests), Without: s.Without}, err
}

// bundles are kept by policy.activate.
func (m *Manifests) bundles() *kind {
	find := func(v *store.View) (t thing, found bool, err error) {
		d, version, err := m.Policies.Brought(v)
		if err != nil {
			return t, false, err
		}
		texts := func(files []policy.File) map[string]string {
			out := make(map[string]string, len(files))
			for _, f := range files {
				out[f.Name] = f.Text
			}
			return out
		}
		t = thing{id: bundleID, version: version, status: map[string]any{"version": version}}
		t.spec, err = said(bundleSpec{Files: texts(d.Files), Tests: texts(d.Tests), Without: d.Without})
		return t, len(t.spec) > 0, err
	}
	return &kind{
		name: "PolicyBundle", doc: "What operators bring of the policies (docs/policy-bundles.md).", spec: reflect.TypeFor[bundleSpec](), sees: "policy.show",
		named: func(name string) error {
			if name != bundleName {
				return act.Errorf(act.Invalid, "a network has one set of policies, and its name is %q", bundleName).WithHint("put all files into it; several managers can, each their own")
			}
			return nil
		},
		find: func(v *store.View, _ act.ID, _ string, _ map[string]any) (thing, bool, error) { return find(v) },
		each: func(v *store.View, _ act.ID, do func(string, thing) error) error {
			t, found, err := find(v)
			if err != nil || !found {
				return err
			}
			return do(bundleName, t)
		},
		check: func(s *scene, _ string, spec map[string]any) error {
			d, err := draftOf(spec)
			if err != nil {
				return err
			}
			r := m.Policies.Examine(d)
			if r.Refused == "" {
				return nil
			}
			return act.Errorf(act.Invalid, "%s", r.Refused).WithRule(r.Rule).WithHint("what is in force stays; reef policy check says more")
		},
		put: func(ctx context.Context, p act.Principal, w work, reason string) (string, error) {
			d, err := draftOf(w.target)
			if err != nil {
				return "", err
			}
			_, err = m.Policies.Activate.Do(ctx, p, policy.Proposal{Draft: d, Base: w.there.version, Reason: reason})
			return "", err
		},
		end: func(ctx context.Context, p act.Principal, w work, reason string) error {
			_, err := m.Policies.Activate.Do(ctx, p, policy.Proposal{Base: w.there.version, Reason: reason})
			return err
		},
		effects: m.bundleEffects,
	}
}

// bundleEffects asks the policies of now and of then about everybody who lives.
func (m *Manifests) bundleEffects(s *scene, w work) error {
	if w.Op == OpOwn || w.Op == OpRelease {
		return nil
	}
	d, err := draftOf(w.target)
	if err != nil {
		return err
	}
	x, err := m.Policies.Compare(s.v, d)
	if err != nil {
		return err
	}
	for _, c := range x.Changes {
		what := Loses
		if c.Gains {
			what = Gains
		}
		who := c.Who + "s"
		if roles, _ := c.Facts["roles"].(string); roles != "" {
			who += " with the role " + roles
		}
		rule, at := c.Rule, c.From
		if c.By != "default-deny" {
			rule, at = c.By, c.At
		}
		s.effect(Effect{Object: w.title(), What: what, Who: who, Acts: []string{c.Act}, Agents: c.Count, Why: fmt.Sprintf("%s instead of %s, by %s (%s)", c.Now, c.Was, rule, at)}, c.Examples)
	}
	for _, left := range x.Partial {
		s.list(Effect{Object: w.title(), What: Unknown, Why: "not every case was asked about: " + left})
	}
	return nil
}
