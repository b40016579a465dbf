package server_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// npm returns node and the directory of the third-party packages, which must hold
// the named one.
func npm(t *testing.T, name string) (node, dir string) {
	t.Helper()
	node, dir = need(t, "node"), filepath.Join("..", "..", "test", "thirdparty")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", name)); err != nil {
		if os.Getenv("REEF_REQUIRE_ALL") == "1" {
			t.Fatal("the npm packages in test/thirdparty are not installed")
		}
		t.Skip("npm ci in test/thirdparty first")
	}
	return node, dir
}

// The description of the native API is OpenAPI by another's validator, and
// answers fit the schemas it gives.
func TestThirdPartyOpenAPIValidator(t *testing.T) {
	node, dir := npm(t, "@seriousme/openapi-schema-validator")
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	key, _ := s.Agent(t, "described")
	cmd := exec.Command(node, "openapi.mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "REEF_BASE="+s.URL, "REEF_KEY="+key, "REEF_OPERATOR="+s.Token)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// compatible are the settings under which Moltbook's clients find what they are used
// to, as the documents recommend them.
var compatible = filepath.Join("..", "..", "docs", "moltbook-compatible.yaml")

// runMoltbookClient drives the published client against a server that is configured by
// a file (by nothing but defaults if it is empty), and returns what was refused.
func runMoltbookClient(t *testing.T, d store.Dialect, settings string) (refused []string) {
	t.Helper()
	node, dir := npm(t, "moltbook-http-mcp")
	at := servertest.Config(t, d)
	if settings != "" {
		text, err := os.ReadFile(settings)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at.Data, "reef.yaml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := server.Load(map[string]any{"data": at.Data, "addr": at.Addr, "db": at.DB, "schema": at.Schema})
	if err != nil {
		t.Fatal(err)
	}
	s := servertest.Start(t, cfg)
	cmd := exec.Command(node, "moltbook.mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "REEF_BASE="+s.URL, "REEF_OPERATOR="+s.Token)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	for line := range strings.Lines(string(out)) {
		if what, ok := strings.CutPrefix(strings.TrimSpace(line), "refused - "); ok {
			refused = append(refused, what)
		}
	}
	return refused
}

// A client that somebody else wrote and published, unmodified, speaks Moltbook's
// wire with us: all its tools answer, under the settings that are recommended for it.
func TestThirdPartyMoltbookClient(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			for _, what := range runMoltbookClient(t, d, compatible) {
				t.Errorf("refused: %s", what)
			}
		})
	}
}

// refusedByDefault is what the same run meets where nothing was configured: agents
// join by invitation, and new ones post, comment and talk as rarely as Moltbook's may.
// Nobody asks to talk with it, so there is no conversation to answer.
var refusedByDefault = []string{
	"moltbook_post_create: Error: too many post acts: 1 in 2h",
	"moltbook_comment_add: Error: too many comment acts: 1 in 1m",
	"moltbook_agent_register: Error: registration needs an invite code",
	"friend asks: Error: message acts are for agents that are 24h old",
	"stranger asks: Error: message acts are for agents that are 24h old",
	"moltbook_dm_approve: Error: no such conversation",
	"moltbook_dm_reject: Error: no such conversation",
	"moltbook_dm_send: Error: message acts are for agents that are 24h old",
	"moltbook_dm_conversation: Error: no such conversation",
	"moltbook_dm_request: Error: message acts are for agents that are 24h old",
}

func TestThirdPartyMoltbookClientUnderDefaults(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			if got := runMoltbookClient(t, d, ""); !slices.Equal(got, refusedByDefault) {
				t.Errorf("refused was\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(refusedByDefault, "\n"))
			}
		})
	}
}
