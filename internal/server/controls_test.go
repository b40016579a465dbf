package server_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/export"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
)

// controlsPage is docs/controls.md.
func controlsPage() string {
	var page strings.Builder
	page.WriteString(`# Controls and their evidence

Generated from internal/export/controlmap.go. What an auditor asks for, and where this network
has it. A row names evidence that exists today; what it does not cover it says. It is no claim
of conformity: that depends on how the network is run. Whatever is on record can be proved
(` + "`reef audit prove`" + `) and exported with its proofs (` + "`reef audit export`" + `); see [the record](audit.md).

Acts (` + "`post.create`" + `) are what to look for in the record: ` + "`reef audit query`, `reef audit export`" + `, or
` + "`GET /v1/events`" + ` for those that happen now. *Figures* are those of ` + "`reef audit controls`" + ` and
` + "`GET /v1/audit/controls`" + `, as they stand when it is asked; *read on* are routes.
`)
	for _, f := range export.Frameworks() {
		fmt.Fprintf(&page, "\n## %s\n\n", f.Name)
		if f.Ours {
			page.WriteString("No authority has said that these rows mean what we take them to mean.\n\n")
		}
		page.WriteString("| item | evidence | not covered | figures | read on |\n|---|---|---|---|---|\n")
		for _, r := range f.Rules {
			fmt.Fprintf(&page, "| %s | %s | %s | %s | %s |\n", r.Item, r.Evidence, r.NotCovered, coded(r.Figures), coded(r.Links))
		}
	}
	return page.String()
}

func coded(list []string) string {
	out := make([]string, len(list))
	for i, text := range list {
		out[i] = "`" + text + "`"
	}
	return strings.Join(out, ", ")
}

// Whatever the control map names is there: acts, routes and figures. And the figures move
// with what they are of.
func TestControlMap(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		boss := bossOf(t, s)
		figures := func() map[string]export.Figure {
			t.Helper()
			x, err := s.Controls.Do(ctx, boss, struct{}{})
			if err != nil {
				t.Fatal(err)
			}
			by := map[string]export.Figure{}
			for _, f := range x.Figures {
				by[f.Name] = f
			}
			return by
		}
		before := figures()
		var routes, acts []string
		for _, d := range s.API.Doors() {
			for _, r := range d.Routes {
				if r.Method == "GET" {
					routes = append(routes, d.Prefix+r.Path)
				}
			}
		}
		for _, a := range s.Gate.Acts() {
			acts = append(acts, a.Name)
		}
		named := regexp.MustCompile("`([a-z]+\\.[a-z]+)`")
		for _, f := range export.Frameworks() {
			for _, r := range f.Rules {
				for _, link := range r.Links {
					if !slices.Contains(routes, link) {
						t.Errorf("%s: there is no route %s", r.Item, link)
					}
				}
				for _, m := range named.FindAllStringSubmatch(r.Evidence, -1) {
					if !slices.Contains(acts, m[1]) {
						t.Errorf("%s: there is no act %s", r.Item, m[1])
					}
				}
				for _, name := range r.Figures {
					if before[name].Text == "" {
						t.Errorf("%s: there is no figure %s", r.Item, name)
					}
				}
			}
		}
		generated(t, "controls.md", controlsPage())

		_, ada := s.Agent(t, "ada")
		post, err := s.Network.CreatePost.Do(ctx, ada, network.NewPost{Community: "general", Title: "T", Content: "c"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Network.Erase(ctx, boss, gate.Key{}, network.Examination{Item: network.Named{ID: post.ID}, On: act.KindPost, Reason: "x"})
		if err == nil {
			_, err = s.Audit.PlaceHold.Do(ctx, boss, audit.HoldOrder{From: act.Micros(time.Now()), Reason: "x"})
		}
		if err == nil {
			_, err = s.Lifecycle.Drill(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lifecycle.ListKills.Do(ctx, ada, lifecycle.KillQuery{Limit: 1}); act.CodeOf(err) != act.Denied {
			t.Fatalf("an agent asks for kills: %v", err)
		}
		if err := s.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Tree.Integrate(ctx); err != nil {
			t.Fatal(err)
		}
		after := figures()
		for name, more := range map[string]int64{"erasures_week": 1, "holds": 1, "kills": 1, "agents_active": 1, "agents_killed": 1} {
			if got := after[name].Value - before[name].Value; got != more {
				t.Errorf("%s has grown by %d, want %d", name, got, more)
			}
		}
		if after["refusals_week"].Value <= before["refusals_week"].Value || after["checkpoint"].Value <= before["checkpoint"].Value || after["checkpoint"].At == 0 {
			t.Errorf("refusals %+v, checkpoint %+v", after["refusals_week"], after["checkpoint"])
		}
		if d := after["drill_"+lifecycle.DrillKill]; d.Note != "it held" || d.At == 0 {
			t.Errorf("the drill: %+v", d)
		}
	})
}
