package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A room is one package of the house: where it stands and how big it may get.
type room struct {
	rank   int
	budget int      // lines of product code (without tests); going over fails
	peers  []string // packages of the same rank it may import
	only   []string // if not nil, the only project packages it may import
	tests  bool     // it exists for tests; product code may not import it
}

// house is the rank table of the architecture. Names are relative to internal/,
// except the commands.
var house = map[string]room{
	"act": {rank: 0, budget: 800},

	"store":     {rank: 1, budget: 5000}, // ADR 11: dumps and restores
	"bus":       {rank: 1, budget: 1000},
	"telemetry": {rank: 1, budget: 1200}, // ADR 39: what callers' traces are, how exports stand; ADR 45: quotas
	"picture":   {rank: 1, budget: 1000},
	"legible":   {rank: 1, budget: 500},
	"skill":     {rank: 1, budget: 1500},
	"client":    {rank: 1, budget: 4900, peers: []string{"identity/token"}}, // ADR 23, 28, 45, 46, 47: it holds keys and makes proofs

	"telemetry/otlp": {rank: 1, budget: 1400}, // ADR 39: hides the OpenTelemetry SDK and what products want of it

	"certificate": {rank: 1, budget: 500},

	"identity/svid": {rank: 1, budget: 1000, peers: []string{"identity/token"}}, // ADR 24: what agents read, too

	"lifecycle/charter": {rank: 1, budget: 800}, // ADR 28: the arithmetic of authority; lifecycle and manifest read its documents

	"lifecycle/trust": {rank: 1, budget: 600, peers: []string{"lifecycle/charter"}}, // ADR 46: hides how trust and risk are weighed; lifecycle and policy know its words

	"lifecycle/conduct": {rank: 1, budget: 800, peers: []string{"lifecycle/charter"}}, // ADR 33: how conduct is counted

	"identity/token": {rank: 1, budget: 3500}, // below the gate, which looks at scopes, and below clients, which make proofs

	"gate":   {rank: 2, budget: 4100}, // ADR 28, 40: what an agent's grant bounds, what clings to it
	"egress": {rank: 2, budget: 3000},
	"backup": {rank: 2, budget: 1000},

	"identity": {rank: 3, budget: 8300}, // ADR 48: roles of a network's own
	"policy":   {rank: 3, budget: 6500}, // ADR 30: operators' bundles

	"identity/idp": {rank: 3, budget: 1000, peers: []string{"identity"}}, // hides OpenID Connect and its libraries

	"identity/passkey": {rank: 3, budget: 1000, peers: []string{"identity"}}, // ADR 26: hides WebAuthn and its library

	"span":       {rank: 3, budget: 1000}, // ADR 39: what agents report of their own work
	"audit":      {rank: 3, budget: 4300}, // ADR 36: the tree, witnesses, what is checked elsewhere; ADR 43: holds, questions
	"provenance": {rank: 3, budget: 5000},

	"network/canary":  {rank: 1, budget: 500}, // ADR 44: hides the form of marks, and where a link ends
	"provenance/gain": {rank: 1, budget: 500}, // ADR 41: hides how likenesses are weighed

	"provenance/graph": {rank: 3, budget: 3400, peers: []string{"provenance"}}, // ADR 38: hides the columns in memory
	"network":          {rank: 3, budget: 13000},                               // ADR 22: it wraps anew what it has wrapped; ADR 31: what is under way; ADR 38: what traces say of it; ADR 40: classification; ADR 48: how long it is kept
	"lifecycle":        {rank: 3, budget: 13200, peers: []string{"identity"}},  // ADR 28, 31, 33: classes, mandates, lines, halts, scopes and their log, health; ADR 45: quotas; ADR 46: trust
	"secret":           {rank: 3, budget: 3000, peers: []string{"identity"}},

	"detect":   {rank: 4, budget: 6000},
	"site":     {rank: 4, budget: 3000},
	"manifest": {rank: 4, budget: 3600}, // ADR 45: quotas; ADR 47, 48: roles, who has which, how long things are kept
	"export":   {rank: 4, budget: 2500}, // ADR 39: spans, OCSF and its sinks

	"api":          {rank: 5, budget: 2500},
	"api/native":   {rank: 5, budget: 8500, peers: []string{"api"}}, // ADR 28, 38, 43, 45, 46, 47
	"api/moltbook": {rank: 5, budget: 4000, peers: []string{"api"}},
	"api/mcp":      {rank: 5, budget: 2000, peers: []string{"api"}},
	"api/a2a":      {rank: 5, budget: 2000, peers: []string{"api"}},
	"api/oauth":    {rank: 5, budget: 2000, peers: []string{"api"}},
	"console":      {rank: 5, budget: 3000, peers: []string{"api"}}, // ADR 25, 26: what owners decide, passkeys; ADR 45: quotas and controls
	"agent":        {rank: 5, budget: 8000, only: []string{"act", "telemetry", "skill", "client", "egress"}},

	"server": {rank: 6, budget: 3750}, // ADR 22, 24, 28, 48: where keys are kept and how they are opened; how machines speak to each other

	"cli":   {rank: 7, budget: 8700}, // ADR 23, 28, 38, 43, 45, 46, 47
	"bench": {rank: 7, budget: 10200, peers: []string{"world"}},
	"world": {rank: 7, budget: 2500},

	"cmd/reef": {rank: 8, budget: 100},

	// For tests only.
	"secret/secrettest":       {rank: 3, budget: 1000, tests: true}, // the doubles of stores: for secret's conformance test and the server's rotation under load
	"telemetry/otlp/otlptest": {rank: 1, budget: 500, tests: true},  // a double of OTLP intakes: for otlp's tests and the server's
	"store/storetest":         {rank: 1, budget: 1000, peers: []string{"store"}, tests: true},
	"server/servertest":       {rank: 6, budget: 1000, peers: []string{"server"}, tests: true},
	"arch":                    {rank: 8, budget: 100, tests: true},
}

// drawers are names that say nothing about what is inside.
var drawers = []string{
	"util", "utils", "common", "helper", "helpers", "base", "types", "model",
	"models", "manager", "impl", "misc", "shared", "lib", "core",
}

// isDoor reports whether pkg turns requests of some protocol into acts.
func isDoor(pkg string) bool {
	return pkg == "api" || strings.HasPrefix(pkg, "api/") || pkg == "console"
}

// edge returns why from may not import to, or "". Both are project packages.
func edge(from, to string, kind kind) string {
	a, known := house[from]
	if !known {
		return ""
	}
	b, known := house[to]
	switch {
	case !known:
		return "" // reported once, where the package is
	case b.tests && !a.tests && kind == product:
		return fmt.Sprintf("%s exists for tests; product code may not carry it into the binary", to)
	case b.tests, kind == outside:
		// An outside test (package x_test) may use the whole house: it is how
		// a domain is tried through a real server. Cycles cannot arise.
		return ""
	case from == "act":
		return "act is the shared vocabulary and imports the standard library only, so that everything else can import it"
	case isDoor(from) && to == "store":
		return "a door may not import store: the gate alone opens transactions, so no door can pass it by; call an act"
	case from == "egress" && to == "store":
		return "egress runs beside agents, away from the database; it talks to the server through client"
	case a.only != nil && !slices.Contains(a.only, to) && from == "agent":
		return "the agent runtime reaches the network over the wire like any stranger's agent; use client"
	case a.only != nil && !slices.Contains(a.only, to):
		return fmt.Sprintf("%s may import %s and nothing else", from, strings.Join(a.only, ", "))
	case b.rank < a.rank:
		return ""
	case b.rank == a.rank && (kind == inside || slices.Contains(a.peers, to)):
		return ""
	case b.rank == a.rank && isDoor(from) && isDoor(to):
		return "doors do not know each other: each speaks one protocol and has its own wire types; what they share is in api"
	case b.rank == a.rank:
		return fmt.Sprintf("both have rank %d and the table lists no such edge: declare a one-method port in %s and let server plug it", a.rank, from)
	case from == "gate":
		return "the gate imports no domain, so that every domain's acts can pass it; declare a port in gate and let server plug it"
	case to == "server":
		return "server knows every package and only cli, bench and commands know server"
	default:
		return fmt.Sprintf("imports go down the ranks (%d to %d): declare a port in %s and let server plug it, or announce an event", a.rank, b.rank, from)
	}
}

// checkEdges applies edge to every import between project packages.
func checkEdges(tr *tree) (found []finding) {
	seen := map[string]bool{}
	for _, f := range tr.files {
		if _, ok := house[f.pkg]; !ok && !seen[f.pkg] {
			seen[f.pkg] = true
			found = append(found, tr.at(f, f.file.Package, "package %s has no row in the rank table (house in internal/arch/ranks_test.go); a new folder needs a decision record that names two importers or the secret it hides", f.pkg))
		}
		for _, spec := range f.file.Imports {
			to, ours := projectPackage(importPath(spec))
			if !ours || to == f.pkg {
				continue
			}
			if why := edge(f.pkg, to, f.kind); why != "" {
				found = append(found, tr.at(f, spec.Pos(), "%s imports %s: %s", f.pkg, to, why))
			}
		}
	}
	return found
}

// checkNames fails packages with a name that says nothing.
func checkNames(tr *tree) (found []finding) {
	seen := map[string]bool{}
	for _, f := range tr.files {
		last := f.pkg[strings.LastIndexByte(f.pkg, '/')+1:]
		if seen[f.pkg] {
			continue
		}
		seen[f.pkg] = true
		if slices.Contains(drawers, last) || strings.ContainsAny(last, "_-") || strings.ToLower(last) != last {
			found = append(found, tr.at(f, f.file.Package, "package name %s: use one lower-case noun that says what is inside; put shared code beside its only user", last))
		}
	}
	return found
}

func TestRanks(t *testing.T) {
	tr := repository(t)
	report(t, checkEdges(tr))
	report(t, checkNames(tr))
}

func TestRanksSelf(t *testing.T) {
	const p = "github.com/reefwarden/reefwarden/internal/"
	for _, c := range []struct{ file, imports, want string }{
		{"internal/gate/a.go", p + "store", ""},
		{"internal/lifecycle/a.go", p + "identity", ""},
		{"internal/api/native/a.go", p + "network", ""},
		{"internal/network/a_test.go", p + "store/storetest", ""},
		{"internal/network/a_test.go", p + "policy", ""},
		{"internal/act/a.go", p + "store", "standard library only"},
		{"internal/gate/a.go", p + "network", "imports no domain"},
		{"internal/gate/a.go", p + "egress", "lists no such edge"},
		{"internal/network/a.go", p + "policy", "lists no such edge"},
		{"internal/identity/a.go", p + "lifecycle", "lists no such edge"},
		{"internal/store/a.go", p + "gate", "go down the ranks"},
		{"internal/network/a_test.go", p + "server", "only cli, bench"},
		{"internal/api/moltbook/a.go", p + "store", "a door may not import store"},
		{"internal/console/a_test.go", p + "store", "a door may not import store"},
		{"internal/api/native/a.go", p + "api/moltbook", "doors do not know each other"},
		{"internal/egress/a.go", p + "store", "away from the database"},
		{"internal/agent/a.go", p + "gate", "over the wire"},
		{"internal/network/a.go", p + "store/storetest", "exists for tests"},
		{"internal/bench/a.go", p + "server/servertest", "exists for tests"},
		{"internal/cellar/a.go", "fmt", "no row in the rank table"},
	} {
		find(t, checkEdges, sources{c.file: "package x\nimport _ \"" + c.imports + "\"\n"}, c.want)
	}
	find(t, checkEdges, sources{"internal/network/a_test.go": "package network_test\nimport _ \"" + p + "server\"\n"}, "")
	find(t, checkNames, sources{"internal/network/a.go": "package network\n"}, "")
	find(t, checkNames, sources{"internal/store/util/a.go": "package util\n"}, "package name util")
	find(t, checkNames, sources{"internal/two_words/a.go": "package two_words\n"}, "package name two_words")
}

// The table itself must make sense: an edge it lists joins packages that are
// there and of the same rank.
func TestRankTable(t *testing.T) {
	for name, r := range house {
		for _, peer := range r.peers {
			if p, ok := house[peer]; !ok || p.rank != r.rank {
				t.Errorf("%s lists peer %s, which is not of its rank", name, peer)
			}
		}
		for _, to := range r.only {
			if p, ok := house[to]; !ok || p.rank > r.rank {
				t.Errorf("%s may import only %s, which is above it or missing", name, to)
			}
		}
		if r.budget == 0 {
			t.Errorf("%s has no line budget", name)
		}
	}
}
