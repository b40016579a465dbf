package server_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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

// A client that somebody else wrote and published, unmodified, speaks Moltbook's
// wire with us: all its tools answer, under a configuration that lets agents
// approve their own conversations as Moltbook does.
func TestThirdPartyMoltbookClient(t *testing.T) {
	node, dir := npm(t, "moltbook-http-mcp")
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.OwnKeyApproval = true
			s := servertest.Start(t, cfg)
			key, _ := s.Agent(t, "thirdparty")
			cmd := exec.Command(node, "moltbook.mjs")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "REEF_BASE="+s.URL, "MOLTBOOK_API_KEY="+key)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}
