package manifest_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/manifest"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// desk is an operator at a network.
type desk struct {
	t *testing.T
	*servertest.Server
	p act.Principal
}

func config(t testing.TB, d store.Dialect) server.Config {
	cfg := servertest.Config(t, d)
	cfg.WebhookAllow = []string{"127.0.0.1"}
	return cfg
}

func open(t *testing.T, cfg server.Config) *desk {
	t.Helper()
	d := &desk{t: t, Server: servertest.Start(t, cfg)}
	var err error
	if d.p, err = d.Identity.Authenticate(context.Background(), d.Token); err != nil {
		t.Fatal(err)
	}
	return d
}

func each(t *testing.T, do func(t *testing.T, d *desk)) {
	for _, dialect := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(dialect.String(), func(t *testing.T) { do(t, open(t, config(t, dialect))) })
	}
}

// as is the desk with other roles.
func (d *desk) as(roles gate.OperatorRoles) *desk {
	other := *d
	other.p.Roles = uint8(roles)
	return &other
}

func set(text string) manifest.Set {
	return manifest.Set{Manager: "platform", Files: []manifest.File{{Name: "set.yaml", Text: text}}}
}

// plan returns what applying would do, and lines that say it.
func (d *desk) plan(in manifest.Set) (manifest.Plan, []string) {
	d.t.Helper()
	p, err := d.Manifests.Plan.Do(context.Background(), d.p, in)
	if err != nil {
		d.t.Fatalf("plan: %v", err)
	}
	var lines []string
	for _, c := range p.Changes {
		line := string(c.Op) + " " + c.Kind + "/" + c.Name
		for _, f := range c.Fields {
			if c.Op == manifest.OpUpdate {
				line += " " + f.Path
			}
		}
		if c.Why != "" {
			line += " (" + c.Why + ")"
		}
		lines = append(lines, line)
	}
	for _, e := range p.Effects {
		lines = append(lines, strings.Join(append([]string{e.Object, e.What, strings.Join(e.Acts, ","), e.Who}, e.Names...), " "))
	}
	for _, x := range p.Problems {
		lines = append(lines, "wrong "+x.Place+" "+x.Text)
	}
	return p, lines
}

// apply applies what a plan of now says, and fails unless everything is done.
func (d *desk) apply(in manifest.Set) manifest.Applied {
	d.t.Helper()
	p, lines := d.plan(in)
	done, err := d.Manifests.Apply(context.Background(), d.p, manifest.Order{Set: in, Digest: p.Digest})
	if err != nil {
		d.t.Fatalf("apply: %v\n%s", err, strings.Join(lines, "\n"))
	}
	for _, r := range done.Results {
		if r.State != manifest.Done {
			d.t.Fatalf("%s %s/%s is %s: %v", r.Op, r.Kind, r.Name, r.State, r.Error)
		}
	}
	return done
}

// same fails unless a plan says what is wanted.
func (d *desk) same(in manifest.Set, want ...string) manifest.Plan {
	d.t.Helper()
	p, lines := d.plan(in)
	if !slices.Equal(lines, want) {
		d.t.Fatalf("the plan is\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	return p
}

func (d *desk) get(kind, name string) manifest.State {
	d.t.Helper()
	s, err := d.Manifests.Get.Do(context.Background(), d.p, manifest.Query{Kind: kind, Name: name})
	if err != nil {
		d.t.Fatalf("get %s/%s: %v", kind, name, err)
	}
	return s
}

func (d *desk) export() string {
	d.t.Helper()
	f, err := d.Manifests.Export.Do(context.Background(), d.p, manifest.Query{})
	if err != nil {
		d.t.Fatal(err)
	}
	return f.Text
}

func wantRule(t *testing.T, err error, rule string) {
	t.Helper()
	if got := act.AsError(err); err == nil || got.Rule != rule || got.Hint == "" {
		t.Fatalf("%v (rule %q, hint %q), want the rule %s", err, got.Rule, got.Hint, rule)
	}
}

// object is an object of a file.
func object(kind, name, spec string) string {
	return "---\napiVersion: reefwarden/v1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

// everything is a set of all kinds.
var everything = object("Class", "watcher", `{model: small-1, grant: {acts: ["post.*", feed.read], communities: [general], budget: {acts: 100}, life: 720h}, heartbeat: 30s}`) +
	object("Quota", "class:watcher.acts", `{limit: 500, period: day}`) +
	object("Mandate", "pricing", `{owner: team, statement: Watch what others charge., success: a report a week}`) +
	object("Agent", "watcher-1", `{class: watcher, owner: team, mandate: pricing, grant: {acts: ["post.*", "vote.cast"]}}`) +
	object("Community", "prices", `{description: What things cost., rules: Say where you have it from., theme_color: "#AbC"}`) +
	object("Webhook", "alerts", `{url: "http://127.0.0.1:9/hook", acts: [agent.kill]}`) +
	object("Role", "night-shift", `{roles: [auditor, responder], note: who looks after it at night}`) +
	object("RoleBinding", "night", `{role: night-shift, service: night}`) +
	object("RoleBinding", "oncall", `{role: responder, issuer: "https://idp.example", group: oncall}`) +
	object("Retention", "spans", `{days: 30}`) +
	object("PolicyBundle", "network", `{files: {quiet.cedar: '@id("quiet") forbid (principal is Agent, action == Action::"vote.cast", resource);'}, without: [challenge]}`)
