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

// legacyOff makes bootstrap keys worth nothing at the doors.
var legacyOff = map[string]any{"legacy-keys": server.LegacyOff}

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

// A client that somebody else wrote and published, unmodified, works through
// `reef proxy` on a network that takes no bootstrap keys: all its tools answer, and it
// holds no credential of the network. T01, T11
func TestThirdPartyMoltbookClientBehindProxy(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			s, keys := servertest.Compatible(t, d, legacyOff), t.TempDir()
			proxies := map[string]string{}
			for _, name := range []string{"thirdparty", "friend", "stranger"} {
				proxies[name] = behind(t, s, keys, name)
			}
			list, err := json.Marshal(proxies)
			if err != nil {
				t.Fatal(err)
			}
			well, refused := s.MoltbookClient(t, "REEF_PROXIES="+string(list))
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
			well, refused := servertest.Compatible(t, d, legacyOff).MoltbookClient(t)
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
