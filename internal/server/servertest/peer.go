package servertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// NATS starts a real NATS server on a free loopback port. It is stopped after the test.
func NATS(t testing.TB) *natsserver.Server {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// Program finds a program that a test runs, see storetest.Missing.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		storetest.Missing(t, "%s is not there: run tools/setup.sh", name)
	}
	return path
}

// The folders of scripts that node runs, below test.
const (
	ThirdParty = "thirdparty"
	Browser    = "browser"
)

// Package returns node and a folder of scripts, among whose packages the named one must
// be, see storetest.Missing.
func Package(t testing.TB, folder, name string) (node, dir string) {
	t.Helper()
	node, dir = Program(t, "node"), filepath.Join("..", "..", "test", folder)
	if _, err := os.Stat(filepath.Join(dir, "node_modules", name)); err != nil {
		storetest.Missing(t, "test/%s lacks %s: run tools/setup.sh", folder, name)
	}
	return node, dir
}

// Python returns an interpreter that has the modules of test/thirdparty's scripts, which may be
// the system's own and not the first in PATH, and their folder; see storetest.Missing.
func Python(t testing.TB) (python, dir string) {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), python, "-c", "import networkx, prov.model").Run() == nil {
			return python, filepath.Join("..", "..", "test", ThirdParty)
		}
	}
	storetest.Missing(t, "no python3 has the modules networkx and prov: run tools/setup.sh")
	return "", ""
}

// Compatible starts a server with the settings under which Moltbook's clients find
// what they are used to, as the documents recommend them, and more of the flags of
// reef serve beside them.
func Compatible(t testing.TB, d store.Dialect, more map[string]any) *Server {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "moltbook-compatible.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return configured(t, d, text, more)
}

// Defaults starts a server as reef serve does where nothing was configured.
func Defaults(t testing.TB, d store.Dialect) *Server {
	t.Helper()
	return configured(t, d, nil, nil)
}

func configured(t testing.TB, d store.Dialect, settings []byte, more map[string]any) *Server {
	t.Helper()
	at := Config(t, d)
	if settings != nil {
		if err := os.WriteFile(filepath.Join(at.Data, "reef.yaml"), settings, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := map[string]any{"data": at.Data, "addr": at.Addr, "db": at.DB, "schema": at.Schema}
	for key, value := range more {
		flags[key] = value
	}
	cfg, err := server.Load(flags)
	if err != nil {
		t.Fatal(err)
	}
	return Start(t, cfg)
}

// MoltbookClient drives a client that somebody else has published, unmodified, against
// the server: every tool that it has. It returns the tools that did what they are for,
// and what was refused. env is added to its environment, see test/thirdparty.
func (s *Server) MoltbookClient(t testing.TB, env ...string) (well, refused []string) {
	t.Helper()
	node, dir := Package(t, ThirdParty, "moltbook-http-mcp")
	cmd := exec.Command(node, "moltbook.mjs")
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "REEF_BASE="+s.URL, "REEF_OPERATOR="+s.Token), env...)
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
