package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// exempt are the routes that call no act. They show nothing of the network; those
// under /v1 are for operators only, but for the one that tells callers of
// themselves, the one that has public keys, for everybody, and the one to which whoever
// likes brings an operator's command: the act is in what is brought.
var exempt = []string{
	"GET /healthz", "GET /readyz", "GET /metrics", "GET /v1/acts", "GET /v1/whoami", "GET /v1/trust-bundle", "POST /v1/commands",
	"GET /about", "GET /about.json", "GET /about.md", "GET /about.atom", "GET /leave", "GET /sign-in", "GET /claim/{token}", "GET /assets/{file}",
	"GET /.well-known/oauth-authorization-server", "GET /.well-known/oauth-protected-resource", "GET /oauth/authorize",
	"GET /v1/manifest/schemas", "GET /v1/manifest/schemas/{kind}",
}

// GET /v1/acts shows the registry as it is.
func TestActsAreTheRegistry(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	c, err := client.New(s.URL, s.Token)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Acts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := s.Gate.Acts()
	if len(got) != len(want) || len(got) == 0 {
		t.Fatalf("%d acts, want %d", len(got), len(want))
	}
	for i, a := range got {
		if a.Name != want[i].Name || a.Doc != want[i].Doc || a.Write != want[i].Write || a.Quota != want[i].Quota ||
			len(a.Kinds) != 1+len(want[i].Also) || a.Kinds[0] != want[i].On.String() {
			t.Errorf("%+v, want %+v", a, want[i])
		}
	}
}

// strangers are the acts that need no credential: they bring a secret of their own
// in the body, or make the first one.
var strangers = []string{"agent.register", "agent.enroll", "claim.mail", "identity.verify", "session.open", "token.issue", "token.inspect", "token.revoke", "device.start"}

// No route stands outside the registry, and no act is without a door.
func TestRoutesNameRegisteredActs(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	registered := make(map[string]bool)
	for _, a := range s.Gate.Acts() {
		registered[a.Name] = false
	}
	writes := make(map[string]bool)
	for _, a := range s.Gate.Acts() {
		writes[a.Name] = a.Write
	}
	routes := 0
	for _, d := range mount(t, s, nil).Doors() {
		for _, r := range d.Routes {
			routes++
			name := d.Pattern(r)
			switch {
			case r.Act == "":
				if !slices.Contains(exempt, name) || r.Exempt == "" {
					t.Errorf("%s calls no act and is not on the list", name)
				}
			case r.Exempt != "":
				t.Errorf("%s has an act and a reason for having none", name)
			default:
				if _, ok := registered[r.Act]; !ok {
					t.Errorf("%s names %q, which is not registered", name, r.Act)
				}
				registered[r.Act] = true
				for _, other := range r.Also {
					if _, ok := registered[other]; !ok {
						t.Errorf("%s names %q, which is not registered", name, other)
					}
					registered[other] = true
				}
				// A proof, a key and a token travel in a body, not in an address that is logged, and
				// so do policies and files, for which an address has no room. Renewing changes only memory
				// and leases, and leaves no leaf.
				asks := []string{"identity.verify", "token.inspect", "policy.check", "policy.diff", "policy.dryrun", "manifest.plan", "process.renew"}
				if read := r.Method == http.MethodGet || slices.Contains(asks, r.Act); read == writes[r.Act] {
					t.Errorf("%s has the wrong method for %s", name, r.Act)
				}
			}
			if r.Anonymous && r.Act != "" && !slices.Contains(strangers, r.Act) {
				t.Errorf("%s needs no credential", name)
			}
		}
	}
	for name, served := range registered {
		// What the server alone does in its own name has no route; what the word of an
		// identity provider does has one where there is such a provider.
		own := name == "session.lapse" || name == "taint.raise" || name == "trace.widen" || name == "scope.finish" || strings.HasPrefix(name, "system.") || strings.HasPrefix(name, "drill.") ||
			slices.Contains([]string{
				"agent.expire", "agent.lapse", "agent.end", "agent.rebind", "health.alert", "health.stop", "quota.alert", "rollout.step", "rollout.revert", "network.restore", "key.activate",
			}, name)
		if !served && !own {
			t.Errorf("no door serves %s", name)
		}
	}
	if routes < 25 {
		t.Errorf("walked %d routes only", routes)
	}
}
