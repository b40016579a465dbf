package servertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// Server is a running server and the means to talk to it.
type Server struct {
	*server.Server
	URL   string
	Token string // the operators'
	stop  func()
}

// Config returns the configuration of a server over an empty database: open
// limits and registration, agents claimed at once, port 0.
func Config(t testing.TB, d store.Dialect) server.Config {
	t.Helper()
	sc := storetest.Config(t, d)
	return server.Config{
		Data: t.TempDir(), Addr: "127.0.0.1:0", DB: sc.URL, Schema: sc.Schema,
		Registration: "open", AutoClaim: "tests", Limits: "open", LogLevel: "warn", ObserverPages: server.PagesOperators,
	}
}

// Each runs fn against a server on SQLite and one on PostgreSQL.
func Each(t *testing.T, fn func(t *testing.T, s *Server)) {
	t.Helper()
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) { fn(t, Start(t, Config(t, d))) })
	}
}

// Start starts a server and stops it after the test, checking the invariants.
func Start(t testing.TB, cfg server.Config) *Server {
	t.Helper()
	s := Open(t, cfg)
	t.Cleanup(func() {
		if !t.Failed() {
			CheckInvariants(t, s.Server)
		}
		s.Stop()
	})
	return s
}

// Open starts a server without checks; the caller may Stop it early.
func Open(t testing.TB, cfg server.Config) *Server {
	t.Helper()
	w := io.Discard
	if testing.Verbose() {
		w = os.Stderr
	}
	ctx, cancel := context.WithCancel(context.Background())
	o := telemetry.Options{Level: slog.LevelWarn}
	if cfg.Out != nil {
		o.Also = cfg.Out.Handler()
	}
	s, err := server.New(ctx, cfg, telemetry.NewLogger(w, o))
	if err != nil {
		cancel()
		t.Fatalf("start a server: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	token, err := os.ReadFile(filepath.Join(cfg.Data, "operator.token"))
	if err != nil {
		t.Fatalf("operator token: %v", err)
	}
	out := &Server{Server: s, URL: s.URL(), Token: strings.TrimSpace(string(token))}
	stopped := false
	out.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
		s.Close()
	}
	t.Cleanup(out.stop)
	return out
}

// Stop stops the server; a second call does nothing.
func (s *Server) Stop() { s.stop() }

// Agent registers an agent through the wire and returns its key and principal.
func (s *Server) Agent(t testing.TB, name string) (key string, p act.Principal) {
	t.Helper()
	out, err := s.Lifecycle.Register.Do(context.Background(), act.Principal{Source: "test"}, lifecycle.NewAgent{Name: name})
	if err != nil {
		t.Fatalf("register %s: %v", name, err)
	}
	p, err = s.Identity.Authenticate(context.Background(), out.Key)
	if err != nil {
		t.Fatalf("authenticate %s: %v", name, err)
	}
	return out.Key, p
}

// Community makes a community in an agent's name.
func (s *Server) Community(t testing.TB, p act.Principal, name string) network.Community {
	t.Helper()
	c, err := s.Network.CreateCommunity.Do(context.Background(), p, network.NewCommunity{Name: name})
	if err != nil {
		t.Fatalf("community %s: %v", name, err)
	}
	return c
}

// Answer is what came back on the wire.
type Answer struct {
	Status int
	Header http.Header
	Raw    []byte
	JSON   map[string]any // nil if the body is not an object
}

// Call sends a request with a bearer token ("" for none) and a JSON body (nil
// for none).
func (s *Server) Call(t testing.TB, method, path, token string, body any) Answer {
	t.Helper()
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, s.URL+path, r)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return s.Send(t, req)
}

// Send sends a request that the test has made.
func (s *Server) Send(t testing.TB, req *http.Request) Answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to the end below
	a := Answer{Status: resp.StatusCode, Header: resp.Header}
	if a.Raw, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal(a.Raw, &a.JSON)
	return a
}

// CheckInvariants fails the test for everything that a network must never leave
// behind: a log that does not verify, an act without its leaf, a counter that
// differs from its rows, a live credential of a dead agent, an edge without ends.
func CheckInvariants(t testing.TB, s *server.Server) {
	t.Helper()
	for _, line := range Violations(t, s) {
		t.Errorf("invariant: %s", line)
	}
}

// Violations lists broken invariants.
func Violations(t testing.TB, s *server.Server) (lines []string) {
	t.Helper()
	ctx := context.Background()
	if err := s.Settle(ctx); err != nil {
		t.Fatalf("settle: %v", err)
	}
	lines, err := network.Check(ctx, s.DB)
	if err != nil {
		t.Fatalf("check the network: %v", err)
	}
	if err := s.Tree.Integrate(ctx); err != nil {
		t.Fatalf("take the leaves into the tree: %v", err)
	}
	report, shown, err := server.VerifyRecord(ctx, s.Config, s.Keys, s.DB, nil, nil)
	if err != nil {
		t.Fatalf("verify the record: %v", err)
	}
	for _, p := range report.Problems {
		lines = append(lines, fmt.Sprintf("audit log: %+v", p))
	}
	more, err := lifecycle.Check(ctx, s.DB)
	if err != nil {
		t.Fatalf("check lifecycle: %v", err)
	}
	lines = append(lines, more...)
	grants, err := identity.Check(ctx, s.DB)
	if err != nil {
		t.Fatalf("check the grants: %v", err)
	}
	lines = append(lines, grants...)
	ends, err := provenance.CheckEnds(ctx, s.DB)
	if err != nil {
		t.Fatalf("check the ends of edges: %v", err)
	}
	return slices.Concat(lines, shown.Problems, ends)
}
