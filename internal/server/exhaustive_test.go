package server_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

var update = flag.Bool("update", false, "write the generated documents instead of comparing them")

// Every act has a policy rule, a quota class, a doc line, a page in docs/acts.md
// and, for each door that exposes it, a golden sample. Its name is the policy
// action, span name, audit kind and metric label, so those cannot be missing.
func TestEveryActIsComplete(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	samples := make(map[string]string)
	for door, dir := range map[string]string{"moltbook": "api/moltbook", "native": "api/native", "oauth": "api/oauth", "console": "console"} {
		files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(dir), "testdata", "*.txtar"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no golden samples of %s (%v)", door, err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			samples[door] += string(raw)
		}
	}
	for _, a := range s.Gate.Acts() {
		if len(s.Policy.Rules(a.Name)) == 0 {
			t.Errorf("%s: no policy names it", a.Name)
		}
		if a.Doc == "" || !strings.HasSuffix(a.Doc, ".") {
			t.Errorf("%s: its doc line is missing or no sentence", a.Name)
		}
	}
	parameter := regexp.MustCompile(`\\\{[a-z_]+\\\}`)
	rest := regexp.MustCompile(`\\\{[a-z_]+\\\.\\\.\\\.\\\}`)
	for _, d := range s.API.Doors() {
		for _, r := range d.Routes {
			if r.Act == "" {
				continue
			}
			pattern := parameter.ReplaceAllString(regexp.QuoteMeta(d.Prefix+strings.TrimSuffix(r.Path, "{$}")), `[^/ ?\n]+`)
			pattern = rest.ReplaceAllString(pattern, `[^ ?\n]+`)
			if !regexp.MustCompile(`(?m)^` + r.Method + " " + pattern + `(\?[^ ]*)?$`).MatchString(samples[d.Name]) {
				t.Errorf("%s: no golden sample of %s in internal/api/%s/testdata", r.Act, d.Pattern(r), d.Name)
			}
		}
	}
	generated(t, "acts.md", actsPage(s))
}

// notNative are the acts that /v1 does not offer, each with the reason.
var notNative = map[string]string{
	"agent.expire":    "housekeeping does it in the server's own name",
	"agent.lapse":     "a chore does it in the server's own name",
	"agent.end":       "a chore does it in the server's own name",
	"agent.rebind":    "a chore does it in the server's own name, by the roll-out that an operator has begun",
	"rollout.step":    "a chore does it in the server's own name, by the roll-out that an operator has begun",
	"rollout.revert":  "a chore does it in the server's own name when too many agents of a roll-out are stopped",
	"taint.raise":     "the gate does it in the server's own name, before an agent is shown what is labelled",
	"trace.widen":     "a chore does it in the server's own name, for what an operator has contained",
	"health.alert":    "a chore does it in the server's own name",
	"quota.alert":     "a chore does it in the server's own name",
	"health.stop":     "a chore does it in the server's own name",
	"system.expire":   "housekeeping does it in the server's own name",
	"system.forget":   "housekeeping does it in the server's own name",
	"system.lapse":    "housekeeping does it in the server's own name",
	"system.settle":   "housekeeping does it in the server's own name",
	"system.tidy":     "housekeeping does it in the server's own name",
	"system.rewrap":   "a chore does it in the server's own name",
	"key.activate":    "a chore does it in the server's own name when all nodes have the version",
	"scope.finish":    "a chore does it in the server's own name when nobody is left in a scope that was killed",
	"drill.begin":     "a chore does it in the server's own name",
	"drill.record":    "a chore does it in the server's own name",
	"network.restore": "the server does it in its own name when it finds itself restored",

	"claim.show": "people look at an agent on a page before they claim it; programs claim it by its token",

	"session.open":  "a session is a cookie of the pages; programs send the operator's token",
	"session.lapse": "the identity provider's word does it, when somebody signs in who has no role any more",
	"session.close": "a session is a cookie of the pages; programs send the operator's token",

	"passkey.add":    inBrowser,
	"passkey.remove": "passkeys are added and removed on one page",
	"passkey.prove":  inBrowser,

	"token.issue":    atOAuth,
	"token.exchange": atOAuth,
	"token.refresh":  atOAuth,
	"token.assert":   atOAuth,
	"token.inspect":  atOAuth,
	"token.revoke":   atOAuth,
	"device.start":   atOAuth,
	"consent.redeem": atOAuth,
	"consent.give":   "a human says yes on a page, where nothing can say it in their place",
	"device.show":    "a human says yes on a page, where nothing can say it in their place",
	"device.approve": "a human says yes on a page, where nothing can say it in their place",
	"device.deny":    "a human says yes on a page, where nothing can say it in their place",
}

const inBrowser = "a browser asks the authenticator, for a page of the network's own"

const atOAuth = "clients do it at the endpoints under /oauth, whose form the RFCs fix"

// Whatever agents and operators may do they can do under /v1. What is not offered
// there stands on the list above.
func TestEveryActHasANativeRoute(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	offered := make(map[string]bool)
	for _, d := range s.API.Doors() {
		for _, r := range d.Routes {
			if d.Prefix != "/v1" {
				continue
			}
			for _, name := range append([]string{r.Act}, r.Also...) {
				offered[name] = true
			}
		}
	}
	registered := make(map[string]bool)
	for _, a := range s.Gate.Acts() {
		registered[a.Name] = true
		switch reason := notNative[a.Name]; {
		case !offered[a.Name] && reason == "":
			t.Errorf("%s has no route under /v1: give it one, or put it on the list with the reason", a.Name)
		case offered[a.Name] && reason != "":
			t.Errorf("%s has a route under /v1 and stands on the list of those that have none", a.Name)
		}
	}
	for name := range notNative {
		if !registered[name] {
			t.Errorf("%s stands on the list and is no act", name)
		}
	}
}

// The reference pages are made from the code, and a change of the code that is
// not in the pages fails here. Write them with:
//
//	go test ./internal/server -run 'TestEveryActIsComplete|TestReferencePages' -update
func TestReferencePages(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Errors\n\nGenerated from internal/act/codes.go. Every error names one of these codes.\n\n| code | meaning |\n|---|---|\n")
	for _, c := range act.Codes() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", c, c.Doc())
	}
	generated(t, "errors.md", b.String())

	b.Reset()
	b.WriteString("# Settings\n\nGenerated from internal/server/config.go. A setting is a flag of `reef serve`, an\nenvironment variable, or a line in `DATA/reef.yaml`; flags win over the environment,\nwhich wins over the file.\n\n| flag and file key | environment | default | what it is |\n|---|---|---|---|\n")
	for _, s := range server.Settings() {
		fmt.Fprintf(&b, "| `%s` | `%s%s` | %s | %s |\n", s.Key, server.EnvPrefix,
			strings.ToUpper(strings.ReplaceAll(s.Key, "-", "_")), code(s.Default), s.Help)
	}
	generated(t, "settings.md", b.String())

	cfg, err := server.Load(map[string]any{"data": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	b.WriteString("# Retention\n\nGenerated from internal/server/retention.go, with the settings' defaults. Nothing grows\nwithout a bound but content and the record. Housekeeping runs at start and every ten\nminutes, in batches; what it drops that was somebody's doing, it drops by acts of the\nprincipal `housekeeping`, which are on record. `reef doctor` counts the rows of each\ntable and says where something is larger or older than this page allows. What a\n[legal hold](audit.md#legal-holds) keeps is dropped when that is released.\n\n| table | package | a row comes with | what bounds it |\n|---|---|---|---|\n")
	for _, k := range server.Retention(cfg) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Table, k.Owner, k.Grows, k.Bound())
	}
	b.WriteString("\n## Said by an act\n\nWhat a setting keeps for a time is kept for another one, on all nodes, when operators with\nthe role admin say so: `reef retention set TERM DAYS --reason …`, `reef retention reset TERM`,\nor the kind `Retention` in [files](as-code.md). A longer time holds at once. A shorter one\nholds seven days after the act: until then somebody can say otherwise, or place a legal\nhold, and nothing is lost. With `two-person` each act waits for a second person. `reef\nretention list` shows what is in force, who said it and why; the record has each act. The\nrecord is no term: nothing drops it.\n\n| term | setting | what it keeps | days | least | most | why these bounds |\n|---|---|---|---|---|---|---|\n")
	for _, term := range server.Terms(cfg) {
		fmt.Fprintf(&b, "| `%s` | `keep-%s` | %s | %d | %d | %d | %s |\n", term.Name, term.Name, term.What, term.Setting/(24*time.Hour), term.Least, term.Most, term.Why)
	}
	generated(t, "retention.md", b.String())
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func actsPage(s *servertest.Server) string {
	routes := make(map[string][]string)
	for _, d := range s.API.Doors() {
		for _, r := range d.Routes {
			for _, name := range append([]string{r.Act}, r.Also...) {
				routes[name] = append(routes[name], "`"+d.Pattern(r)+"`")
			}
		}
	}
	var b strings.Builder
	b.WriteString("# Acts\n\nGenerated from the gate's registry. An act's name is also its policy action, its\naudit kind, its span name and its metric label.\n\n| act | what it does | kind | quota | policies | doors |\n|---|---|---|---|---|---|\n")
	for _, a := range s.Gate.Acts() {
		kind := "read"
		if a.Write {
			kind = "write"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", a.Name, a.Doc, kind, code(a.Quota),
			strings.Join(s.Policy.Rules(a.Name), ", "), strings.Join(routes[a.Name], "<br>"))
	}
	return b.String()
}

// generated compares a page with docs/NAME, or writes it with -update.
func generated(t *testing.T, name, want string) {
	t.Helper()
	path := filepath.Join("..", "..", "docs", name)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("docs/%s is not what the code says (%v): run the test with -update", name, err)
	}
}
