package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// modern is a server as the documents recommend it for Moltbook's clients, at whose
// doors bootstrap keys are worth nothing.
func modern(t *testing.T, d store.Dialect) *servertest.Server {
	t.Helper()
	at := servertest.Config(t, d)
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "moltbook-compatible.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at.Data, "reef.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := server.Load(map[string]any{"data": at.Data, "addr": at.Addr, "db": at.DB, "schema": at.Schema, "legacy-keys": "off"})
	if err != nil {
		t.Fatal(err)
	}
	return servertest.Start(t, cfg)
}

// reef runs the command and returns what it printed.
func reef(t *testing.T, in string, args ...string) string {
	t.Helper()
	cmd := exec.Command("reef", args...)
	cmd.Stdin = strings.NewReader(in)
	var diag strings.Builder
	cmd.Stderr = &diag
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("reef %s: %v\n%s", strings.Join(args, " "), err, diag.String())
	}
	return strings.TrimSpace(string(out))
}

// behind enrols an agent and runs its proxy until the test ends. It returns where the
// proxy listens.
func behind(t *testing.T, s *servertest.Server, keys, name string) string {
	t.Helper()
	operator := filepath.Join(t.TempDir(), "operator.token")
	if err := os.WriteFile(operator, []byte(s.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	token := reef(t, "", "enrollment", "create", "--owner", "tests", "-o", "name", "--url", s.URL, "--token-file", operator)
	reef(t, token, "agent", "enroll", name, "--url", s.URL, "--keys", keys)
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "reef", "proxy", "--agent", name, "--keys", keys, "--listen", "127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it runs, or Wait says what became of it
		if err := cmd.Wait(); err != nil {
			t.Errorf("the proxy of %s: %v", name, err)
		}
		stop()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	at, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ok {
		t.Fatalf("the proxy said %q, %v", line, err)
	}
	return at
}

// drive runs the published client and returns what went well and what was refused.
func drive(t *testing.T, s *servertest.Server, more ...string) (well, refused []string) {
	t.Helper()
	dir := filepath.Join("..", "..", "test", "thirdparty")
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "node_modules", "moltbook-http-mcp"))
	}
	if err != nil {
		if os.Getenv("REEF_REQUIRE_ALL") == "1" {
			t.Fatalf("node or the npm packages in test/thirdparty are not installed: %v", err)
		}
		t.Skip("npm ci in test/thirdparty first")
	}
	cmd := exec.Command(node, "moltbook.mjs")
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "REEF_BASE="+s.URL, "REEF_OPERATOR="+s.Token), more...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if what, ok := strings.CutPrefix(line, "refused - "); ok {
			refused = append(refused, what)
		} else if what, ok := strings.CutPrefix(line, "ok - "); ok && strings.HasPrefix(what, "moltbook_") && !strings.HasSuffix(what, " was called") {
			well = append(well, what)
		}
	}
	return well, refused
}

// A client that somebody else wrote and published, unmodified, works through
// `reef proxy` on a network that takes no bootstrap keys: all its tools answer, and it
// holds no credential of the network. T01, T11
func TestThirdPartyMoltbookClientBehindProxy(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			s, keys := modern(t, d), t.TempDir()
			proxies := map[string]string{}
			for _, name := range []string{"thirdparty", "friend", "stranger"} {
				proxies[name] = behind(t, s, keys, name)
			}
			list, err := json.Marshal(proxies)
			if err != nil {
				t.Fatal(err)
			}
			well, refused := drive(t, s, "REEF_PROXIES="+string(list))
			if len(refused) > 0 || len(well) < 41 {
				t.Errorf("%d calls went well, refused was %q", len(well), refused)
			}
			op, err := client.New(s.URL, s.Token)
			if err != nil {
				t.Fatal(err)
			}
			all, err := op.Inventory(t.Context(), client.CredentialQuery{})
			if err != nil {
				t.Fatal(err)
			}
			used := 0
			for _, c := range all.Items {
				if _, ours := proxies[c.Name]; ours {
					used++
					if c.Kind != "public-key" || c.Binding != "key" {
						t.Errorf("%s has a %s", c.Name, c.Kind)
					}
				}
			}
			if used != len(proxies) {
				t.Errorf("%d keys of %d agents", used, len(proxies))
			}
		})
	}
}

// The same client straight to the same network gets nothing done but to register: the
// key that it is given is refused wherever it shows it.
func TestThirdPartyMoltbookClientWithoutProxy(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			well, refused := drive(t, modern(t, d))
			if len(well) != 1 || well[0] != "moltbook_agent_register" {
				t.Errorf("it could %q", well)
			}
			said := 0
			for _, what := range refused {
				if strings.Contains(what, "bootstrap keys open no door") {
					said++
				}
			}
			if said < 35 {
				t.Errorf("%d of %d refusals say why: %q", said, len(refused), refused)
			}
		})
	}
}
