package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/server"
)

// Rates come from reef.yaml as a list or in one line, from the environment in
// one line, and from flags; what makes no sense keeps the server from starting.
func TestQuotaSettings(t *testing.T) {
	dir := t.TempDir()
	load := func(yaml string) (server.Config, error) {
		if err := os.WriteFile(filepath.Join(dir, "reef.yaml"), []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := server.Load(map[string]any{"data": dir})
		if err == nil {
			err = c.Check()
		}
		return c, err
	}
	c, err := load("")
	if err != nil || c.Limits != "moltbook" || len(c.Quotas) != 0 || c.NewAgent != 24*time.Hour || c.Heartbeat != 30*time.Minute {
		t.Fatalf("the defaults are %+v (%v)", c, err)
	}
	for _, yaml := range []string{
		"quotas: [\"post=2/10m\", \"vote=5/1s\"]\nnew-agent: 2h\nheartbeat: 4h\n",
		"quotas: post=2/10m, vote=5/1s\nnew-agent: 2h\nheartbeat: 4h\n",
	} {
		c, err := load(yaml)
		if err != nil || strings.Join(c.Quotas, " ") != "post=2/10m vote=5/1s" || c.NewAgent != 2*time.Hour || c.Heartbeat != 4*time.Hour {
			t.Errorf("%q gives %q, %s, %s (%v)", yaml, c.Quotas, c.NewAgent, c.Heartbeat, err)
		}
	}
	for _, yaml := range []string{
		"quotas: post=1", "quotas: [\"psot=1/1m\"]", "limits: strict", "new-agent: -1h", "new-agent: 5ms", "new-agent: often",
		"max-per-owner: -1", "max-agents: many", "unclaimed-for: 1s", "heartbeat: 1s", "heartbeat: 25h",
	} {
		if c, err := load(yaml); err == nil {
			t.Errorf("%q is taken: %+v", yaml, c)
		}
	}
	// Only where registrations are claimed by themselves may hearts beat faster.
	demo := server.Config{Data: "x", Addr: "127.0.0.1:0", Registration: "open", Limits: "open", LogLevel: "info", AutoClaim: "dev", ObserverPages: server.PagesOff, Heartbeat: 20 * time.Millisecond}
	if err := demo.Check(); err != nil {
		t.Errorf("a demonstration's heartbeat: %v", err)
	}
	if demo.AutoClaim = ""; demo.Check() == nil {
		t.Error("a network's heartbeat may be 20ms")
	}
	t.Setenv("REEF_QUOTAS", "post=3/1h comment=1/5s")
	if c, err = load("quotas: post=2/10m\n"); err != nil || strings.Join(c.Quotas, " ") != "post=3/1h comment=1/5s" {
		t.Errorf("the environment gives %q (%v)", c.Quotas, err)
	}
}
