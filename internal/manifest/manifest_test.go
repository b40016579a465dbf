package manifest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/manifest"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What is applied twice changes nothing the second time; what others change by hand is
// found, counted, and put right; what is taken out of the files ends, and nothing else.
func TestApplyDriftPrune(t *testing.T) {
	ctx := context.Background()
	each(t, func(t *testing.T, d *desk) {
		in := set(everything)
		done := d.apply(in)
		if len(done.Results) != 11 {
			t.Fatalf("%d results", len(done.Results))
		}
		for _, r := range done.Results {
			if once := r.Kind == "Agent" || r.Kind == "Webhook"; once != (r.Once != "") {
				t.Errorf("%s shows %q once", r.Kind, r.Once)
			}
		}
		if p := d.same(in); p.Same != 11 {
			t.Errorf("%d objects are as they are to be", p.Same)
		}
		if _, err := d.Manifests.Apply(ctx, d.p, manifest.Order{Set: in, Digest: "another"}); err == nil {
			t.Error("it is applied under another digest")
		} else {
			wantRule(t, err, "manifest.changed")
		}
		if got := d.get("Agent", "watcher-1"); strings.Join(got.Managers[0].Fields, " ") != "class grant.acts mandate owner" {
			t.Errorf("the agent's fields are %v", got.Managers)
		}

		// By hand.
		if _, err := d.Lifecycle.PutClass.Do(ctx, d.p, lifecycle.NewClass{Name: "watcher", Document: `{"model":"large-1","grant":{"acts":["post.*","feed.read"],"communities":["general"],"budget":{"acts":100},"life":"720h"},"heartbeat":"30s","tolerance":5}`}); err != nil {
			t.Fatal(err)
		}
		hooks, err := d.Network.ListWebhooks.Do(ctx, d.p, network.Nothing{})
		if err != nil || len(hooks) != 1 {
			t.Fatal(hooks, err)
		}
		if _, err := d.Network.DeleteWebhook.Do(ctx, d.p, hooks[0].ID); err != nil {
			t.Fatal(err)
		}
		if err := d.Manifests.Watch(ctx); err != nil || d.Manifests.Drift() != 2 {
			t.Errorf("%d things drift, want 2 (%v)", d.Manifests.Drift(), err)
		}
		if got := d.get("Class", "watcher"); strings.Join(got.Drift, " ") != "model" {
			t.Errorf("the class drifts in %v", got.Drift)
		}
		if got := d.get("Webhook", "alerts"); got.State != manifest.StateMissing {
			t.Errorf("the webhook is %s", got.State)
		}
		d.same(in, "update Class/watcher model (changed by hand: model)", "create Webhook/alerts (asked for before, and not there)")
		d.apply(in)
		d.same(in)
		if err := d.Manifests.Watch(ctx); err != nil || d.Manifests.Drift() != 0 {
			t.Errorf("%d things drift (%v)", d.Manifests.Drift(), err)
		}
		if got := d.get("Class", "watcher"); got.Spec["tolerance"] != int64(5) {
			t.Errorf("what no file says has changed: %v", got.Spec)
		}

		// What no manager says any more goes back to its default; what is in no file ends, children first.
		less := strings.Replace(everything, "heartbeat: 30s", "tolerance: 5", 1)
		d.same(set(less), "update Class/watcher heartbeat")
		none := manifest.Set{Manager: "platform", Prune: true}
		d.same(none, "end PolicyBundle/network", "end RoleBinding/night", "end RoleBinding/oncall", "end Role/night-shift", "end Webhook/alerts", "end Agent/watcher-1", "end Retention/spans", "end Quota/class:watcher.acts", "end Mandate/pricing", "end Class/watcher", "release Community/prices",
			"PolicyBundle/network gains vote.cast agents watcher-1", "RoleBinding/night loses the role night-shift operators", "RoleBinding/oncall loses the role responder operators",
			"Agent/watcher-1 ends  agents watcher-1", "Mandate/pricing stops  agents watcher-1", "Class/watcher stops  agents watcher-1")
		d.apply(none)
		d.same(none)
		if a, err := d.Lifecycle.Show.Do(ctx, d.p, lifecycle.Named{Name: "watcher-1"}); err != nil || a.Standing != act.Killed {
			t.Errorf("the agent is %s (%v)", a.Standing, err)
		}
		if c, err := d.Lifecycle.ShowClass.Do(ctx, d.p, lifecycle.NamedClass{Name: "watcher"}); err != nil || !c.Retired {
			t.Errorf("the class: %+v (%v)", c, err)
		}
		if _, err := d.Network.ShowCommunity.Do(ctx, d.p, "prices"); err != nil {
			t.Errorf("the community: %v", err)
		}
		d.same(set(object("Class", "watcher", "{}")), "Class/watcher over  ")
		d.same(set(object("Class", "watcher", "{}")+object("Mandate", "pricing", "{owner: team, statement: x}")), "Class/watcher over  ", "Mandate/pricing over  ")
	})
}

// A file says how confidential a place is: it is classified by that, found to be another by
// hand, put right, and left as it is where the file says no more.
func TestCommunityIsClassified(t *testing.T) {
	ctx := context.Background()
	each(t, func(t *testing.T, d *desk) {
		in := set(object("Community", "finance", "{rules: x, classification: confidential}"))
		d.apply(in)
		d.same(in)
		c, err := d.Network.ShowCommunity.Do(ctx, d.p, "finance")
		if err != nil || c.Classification != gate.Confidential || d.Network.Classified(c.ID) != gate.Confidential {
			t.Fatalf("it is %s (%v)", c.Classification, err)
		}
		if _, err := d.Network.ClassifyCommunity.Do(ctx, d.p, network.Classify{Community: "finance", As: gate.Internal, Reason: "by hand"}); err != nil {
			t.Fatal(err)
		}
		if got := d.get("Community", "finance"); strings.Join(got.Drift, " ") != "classification" {
			t.Errorf("it drifts in %v", got.Drift)
		}
		d.same(in, "update Community/finance classification (changed by hand: classification)")
		d.apply(in)
		if !strings.Contains(d.export(), "classification: confidential") {
			t.Error("the export does not say it")
		}
		d.apply(set(object("Community", "finance", "{rules: x}")))
		if n := d.Network.Classified(c.ID); n != gate.Confidential {
			t.Errorf("a file that says nothing makes it %s", n)
		}
		if p, _ := d.plan(set(object("Community", "finance", "{classification: secret}"))); len(p.Problems) != 1 {
			t.Errorf("%+v", p.Problems)
		}
	})
}

// A file gives a role: the plan names who gains it, or loses it, and what has ended by hand is
// made again.
func TestRoleBinding(t *testing.T) {
	ctx := context.Background()
	each(t, func(t *testing.T, d *desk) {
		s, err := d.Lifecycle.OpenSession.Do(ctx, act.Principal{Source: "test"}, lifecycle.NewSession{Person: &identity.Person{
			Issuer: "https://idp.example", Subject: "1", Name: "mara", Roles: gate.OperatorObserver, Groups: []string{"oncall"}, Once: "x", Until: time.Now().Add(time.Minute),
		}})
		if err != nil {
			t.Fatal(err)
		}
		has := func(want gate.OperatorRoles) {
			t.Helper()
			if p, err := d.Identity.Session(ctx, s.Key); err != nil || p.Roles != uint8(want) {
				t.Errorf("she has %v, want %v (%v)", gate.OperatorRoles(p.Roles).Names(), want.Names(), err)
			}
		}
		in := set(object("RoleBinding", "oncall", `{role: responder, issuer: "https://idp.example", group: oncall}`))
		d.same(in, "create RoleBinding/oncall", "RoleBinding/oncall gains the role responder operators mara")
		d.apply(in)
		d.same(in)
		has(gate.OperatorObserver | gate.OperatorResponder)
		if _, err := d.Roles.Unbind.Do(ctx, d.p, identity.UnbindOrder{Name: "oncall", Reason: "by hand"}); err != nil {
			t.Fatal(err)
		}
		has(gate.OperatorObserver)
		d.same(in, "create RoleBinding/oncall (asked for before, and not there)", "RoleBinding/oncall gains the role responder operators mara")
		d.apply(in)
		none := manifest.Set{Manager: "platform", Prune: true}
		d.same(none, "end RoleBinding/oncall", "RoleBinding/oncall loses the role responder operators mara")
		d.apply(none)
		has(gate.OperatorObserver)
		approver := d.as(gate.OperatorApprover)
		p, _ := approver.plan(in)
		done, err := d.Manifests.Apply(ctx, approver.p, manifest.Order{Set: in, Digest: p.Digest})
		if err != nil || done.Results[0].State != manifest.Failed {
			t.Errorf("by a file an approver gives a role: %+v, %v", done.Results, err)
		}
	})
}

// Two managers keep parts of one thing. A field that both say differently is a conflict
// that names it and whose it is, until one takes it over.
func TestConflictNamesOwnerAndField(t *testing.T) {
	ctx := context.Background()
	each(t, func(t *testing.T, d *desk) {
		d.apply(set(object("Class", "c", "{model: a, grant: {acts: [post.create]}}")))
		other := set(object("Class", "c", "{model: a, heartbeat: 60s}"))
		other.Manager = "security"
		d.apply(other)
		if got := d.get("Class", "c"); len(got.Managers) != 2 || len(got.Spec) != 3 {
			t.Fatalf("%+v", got)
		}
		other.Files[0].Text = object("Class", "c", "{model: b, heartbeat: 60s, grant: {acts: [vote.cast]}}")
		p, _ := d.plan(other)
		if len(p.Conflicts) != 2 || p.Conflicts[0].Field != "grant.acts" || p.Conflicts[1].Field != "model" || p.Conflicts[1].Manager != "platform" ||
			p.Conflicts[1].Theirs != "a" || p.Conflicts[1].Mine != "b" || p.Conflicts[1].Place != "set.yaml:2" {
			t.Fatalf("%+v", p.Conflicts)
		}
		_, err := d.Manifests.Apply(ctx, d.p, manifest.Order{Set: other, Digest: p.Digest})
		wantRule(t, err, "manifest.conflict")
		other.Force = true
		d.apply(other)
		if got := d.get("Class", "c"); got.Spec["model"] != "b" || len(got.Managers[0].Fields) != 0 {
			t.Fatalf("%+v", got)
		}
		other.Force = false
		d.same(other)
		// Its own files are in conflict now, and it lets go of what others keep.
		if p, _ := d.plan(set(object("Class", "c", "{model: a}"))); len(p.Conflicts) != 1 || p.Conflicts[0].Manager != "security" {
			t.Fatalf("%+v", p.Conflicts)
		}
		d.same(manifest.Set{Manager: "platform", Prune: true}, "release Class/c")
		d.apply(manifest.Set{Manager: "platform", Prune: true})
		if got := d.get("Class", "c"); len(got.Managers) != 1 || got.Spec["model"] != "b" {
			t.Fatalf("%+v", got)
		}
	})
}

// A plan says who may do less, or more, and who stops.
func TestEffects(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		d.apply(set(everything))
		d.same(set(strings.NewReplacer(
			`"post.*", feed.read`, `post.create, feed.read, vote.cast`,
			"Watch what others charge.", "Follow the new strategy.", "limit: 500", "limit: 0",
			`action == Action::"vote.cast"`, `action == Action::"post.create"`,
		).Replace(everything)),
			"update Class/watcher grant.acts", "update Mandate/pricing statement", "update Quota/class:watcher.acts limit", "update PolicyBundle/network files.quiet.cedar",
			"Class/watcher gains vote.cast agents of the class that are made from now on watcher-1",
			"Class/watcher loses post.delete,post.pin,post.read,post.unpin agents of the class that are made from now on watcher-1",
			"Mandate/pricing stops  agents watcher-1", "Quota/class:watcher.acts stops  agents watcher-1",
			"PolicyBundle/network loses post.create agents watcher-1",
			"PolicyBundle/network gains vote.cast agents watcher-1",
		)
	})
}

// A file says for how long something is kept: what a shorter time will drop is told, and
// what the files say no more is as the settings say again.
func TestRetention(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		if err := d.DB.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`INSERT INTO invite (id, hash, owner, created_by, created_at, expires_at, used_at, used_by) VALUES (7000003, $1, 1, 1, $2, $2, 0, 0)`,
				[]byte("x"), act.Micros(time.Now().Add(-50*24*time.Hour)))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		in := set(object("Retention", "closed", "{days: 40}"))
		d.same(in, "create Retention/closed", "Retention/closed drops rows of invite ")
		d.apply(in)
		d.same(in)
		if got := d.get("Retention", "closed"); got.Spec["days"] != int64(40) || got.Status["days"] != int64(90) || got.Status["from"] == nil {
			t.Errorf("%+v", got)
		}
		// By hand, and back.
		if _, err := d.Audit.SetRetention.Do(t.Context(), d.p, audit.TermOrder{Term: "closed", Days: 365, Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
		d.same(in, "update Retention/closed days (changed by hand: days)", "Retention/closed drops rows of invite ")
		none := manifest.Set{Manager: "platform", Prune: true}
		d.same(none, "end Retention/closed")
		d.apply(none)
		d.same(none)
		if text := d.export(); strings.Contains(text, "kind: Retention") {
			t.Errorf("what the settings say is exported: %s", text)
		}
	})
}

// T41, T65: nobody does by a file what they may not do by hand, and what waits for somebody
// else's word by hand waits for it here.
func TestT41_FilesGiveNoRight(t *testing.T) {
	ctx := context.Background()
	cfg := config(t, store.SQLite)
	cfg.TwoPerson = true
	d := open(t, cfg)
	approver := d.as(gate.OperatorApprover)
	in := set(object("Community", "aa", "{rules: x}") + object("Mandate", "m", "{owner: team, statement: x}"))
	p, _ := approver.plan(in)
	done, err := d.Manifests.Apply(ctx, approver.p, manifest.Order{Set: in, Digest: p.Digest})
	if err != nil || done.Results[0].State != manifest.Failed || done.Results[0].Error.Rule != "default-deny" || done.Results[1].State != manifest.Left {
		t.Fatalf("%+v %v", done, err)
	}
	if got := d.get("Community", "aa"); got.State != manifest.StateMissing {
		t.Errorf("the community is %s", got.State)
	}
	auditor := d.as(gate.OperatorAuditor)
	p, _ = auditor.plan(in)
	if _, err := d.Manifests.Apply(ctx, auditor.p, manifest.Order{Set: manifest.Set{Manager: "auditor", Files: in.Files}, Digest: p.Digest}); err == nil {
		t.Error("an auditor applies files")
	}
	if _, err := d.Manifests.Plan.Do(ctx, d.as(gate.OperatorObserver).p, in); act.CodeOf(err) != act.Denied {
		t.Errorf("an observer plans: %v", err)
	}
	d.apply(in)

	bundle := set(object("PolicyBundle", "network", `{without: [challenge]}`) + object("Class", "c", "{model: x}"))
	p, _ = d.plan(bundle)
	done, err = d.Manifests.Apply(ctx, d.p, manifest.Order{Set: bundle, Digest: p.Digest})
	if err != nil || len(done.Results) != 2 || done.Results[0].State != manifest.Done || done.Results[1].State != manifest.Waits {
		t.Fatalf("%+v %v", done, err)
	}
	if version := d.Policy.Version(); version == 0 || d.get("PolicyBundle", "network").State != manifest.StateMissing {
		t.Error("the policies are in force")
	}
	d.same(bundle, "create PolicyBundle/network (asked for before, and not there)")
}

// A policy can hold what is put down. When it is approved it is on record, and the next apply
// does what comes of it without asking again.
func TestHeldApply(t *testing.T) {
	ctx := context.Background()
	d := open(t, config(t, store.SQLite))
	d.apply(set(object("PolicyBundle", "network", `{files: {own.cedar: '@id("held") @hold("operator") permit (principal is Operator, action == Action::"manifest.apply", resource);'}}`)))
	in := set(object("Class", "c", "{model: x}"))
	in.Manager = "other"
	p, _ := d.plan(in)
	order := manifest.Order{Set: in, Digest: p.Digest}
	_, err := d.Manifests.Apply(ctx, d.p, order)
	if act.CodeOf(err) != act.Held {
		t.Fatalf("%v, want it held", err)
	}
	list, err := d.Lifecycle.ListApprovals.Do(ctx, d.p, lifecycle.ApprovalQuery{})
	if err != nil || len(list.Items) != 1 {
		t.Fatal(list, err)
	}
	if _, err := d.Lifecycle.Approve(ctx, d.p, gate.Key{}, lifecycle.Verdict{Approval: list.Items[0].ID, Reason: "as agreed"}); err != nil {
		t.Fatal(err)
	}
	if got := d.get("Class", "c"); got.State != manifest.StateMissing || len(got.Managers) != 1 {
		t.Fatalf("%+v", got)
	}
	d.apply(in)
	d.same(in)
}

// What cannot be changed is said before, as is what names what is not there.
func TestProblems(t *testing.T) {
	d := open(t, config(t, store.SQLite))
	d.apply(set(everything))
	_, ada := d.Agent(t, "ada")
	d.Community(t, ada, "adas")
	d.same(set(object("Mandate", "pricing", "{owner: others, statement: x}")), "wrong set.yaml:2 owner of Mandate/pricing cannot be changed")
	d.same(set(object("Webhook", "alerts", `{url: "http://127.0.0.1:9/other"}`)), "wrong set.yaml:2 acts of Webhook/alerts cannot be changed")
	d.same(set(object("Agent", "watcher-1", "{class: watcher, owner: team, mandate: pricing, grant: {acts: [post.create]}}")), "wrong set.yaml:2 grant.acts of Agent/watcher-1 cannot be changed")
	d.same(set(object("Quota", "owner:team.acts", "{limit: 1}")), `wrong set.yaml:4 "owner:team.acts" cannot be the name of a quota`)
	d.same(set(object("Quota", "network.acts", "{period: day}")), "wrong set.yaml:2 it has no limit")
	d.same(set(object("Agent", "w2", "{class: none, owner: team}")), `wrong set.yaml:2 there is no Class "none"`)
	d.same(set(object("Agent", "w2", "{class: watcher, owner: others, mandate: pricing}")), "wrong set.yaml:2 its mandate pricing is answered for by team, not by others")
	d.same(set(object("Agent", "ada", "{class: watcher, owner: tests}")), "wrong set.yaml:2 Agent/ada is an agent that registered by itself")
	d.same(set(object("Community", "adas", "{rules: x}")), "wrong set.yaml:2 Community/adas is made by an agent")
	d.same(set(object("RoleBinding", "oncall", `{role: admin, issuer: "https://idp.example", group: oncall}`)), "wrong set.yaml:2 role of RoleBinding/oncall cannot be changed")
	d.same(set(object("RoleBinding", "ci", "{role: day-shift, service: ci}")), `wrong set.yaml:2 there is no Role "day-shift"`)
	d.same(set(object("Role", "day-shift", "{roles: [owner]}")+object("RoleBinding", "ci", "{role: day-shift, service: ci}")), "create Role/day-shift", "wrong set.yaml:7 a service account is nobody who could answer for agents")
	d.same(set(object("Role", "observer", "{roles: [owner]}")), `wrong set.yaml:4 "observer" cannot be the name of a role of your own`)
	d.same(set(object("Role", "day-shift", "{note: empty}")), "wrong set.yaml:2 it is made of no role")
	d.same(set(object("RoleBinding", "ci", "{role: owner, service: ci}")), "wrong set.yaml:2 a service account is nobody who could answer for agents")
	d.same(set(object("Retention", "posts", "{days: 30}")), "wrong set.yaml:4 nothing is kept under the name \"posts\"")
	d.same(set(object("Retention", "deleted", "{days: 6}")), "wrong set.yaml:2 what its author deletes is kept for 7 to 365 days, not for 6")
	d.same(set(object("PolicyBundle", "mine", "{}")), `wrong set.yaml:4 a network has one set of policies, and its name is "network"`)
	if p, _ := d.plan(set(object("PolicyBundle", "network", `{files: {a.cedar: 'permit (principal, action == Action::"post.creat", resource);'}}`))); len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Text, "a.cedar:1") {
		t.Errorf("%+v", p.Problems)
	}
	in := manifest.Set{Manager: "No Name"}
	_, err := d.Manifests.Plan.Do(context.Background(), d.p, in)
	wantRule(t, err, "manifest.manager")
	_, err = d.Manifests.List.Do(context.Background(), d.p, manifest.Query{Kind: "ApprovalRule"})
	wantRule(t, err, "manifest.kind")
}
