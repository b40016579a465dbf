package server_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The walk of an ordinary client, with curl and jq, under the defaults of serve
// but for the rates.
func TestShellWalk(t *testing.T) {
	servertest.Program(t, "curl")
	servertest.Program(t, "jq")
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.Registration, cfg.Claim, cfg.AutoClaim = "invite", true, ""
			s := servertest.Start(t, cfg)
			cmd := exec.Command(servertest.Program(t, "bash"), filepath.Join("..", "..", "test", "walk", "walk.sh"))
			cmd.Env = append(os.Environ(), "BASE="+s.URL, "TOKEN="+cfg.TokenFile())
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}
