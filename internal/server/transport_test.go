package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Nothing is spoken in the clear to anybody beyond this machine. // T56
func TestPlaintextStaysOnTheMachine(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	t.Setenv("PGHOST", "")
	root, _ := pemFiles(t, selfSigned(t))
	good := server.Config{Data: "x", Addr: "127.0.0.1:0", Registration: "invite", Claim: true, Limits: string(gate.LimitsMoltbook), LogLevel: "info", ObserverPages: server.PagesOff, KeyUnlock: "plain"}
	several := func(c *server.Config) {
		c.DB, c.KeyFile, c.NATS = "postgres://reef@127.0.0.1/reef", "key", "nats://127.0.0.1:4222"
	}
	for name, change := range map[string]func(*server.Config){
		"loopback":      func(*server.Config) {},
		"IPv6 loopback": func(c *server.Config) { c.Addr = "[::1]:0" },
		"TLS":           func(c *server.Config) { c.Addr, c.TLSCert, c.TLSKey = "0.0.0.0:443", "cert", "key" },
		"TLS behind a proxy": func(c *server.Config) {
			c.Addr, c.TLSCert, c.TLSKey, c.TrustedProxy = ":443", "cert", "key", []string{"10.0.0.1"}
		},
		"a proxy on this machine": func(c *server.Config) { c.TrustedProxy = []string{"127.0.0.1"} },
		"nodes on one machine":    several,
		"a database's socket":     func(c *server.Config) { c.DB = "postgres:///reef?host=/run/postgresql" },
		"a verified database":     func(c *server.Config) { c.DB = "postgres://reef@db/reef?sslmode=verify-full" },
		"a database of an own CA": func(c *server.Config) {
			c.DB = "postgres://reef@db/reef?sslmode=verify-ca&sslrootcert=" + url.QueryEscape(root)
		},
		"public by TLS":            func(c *server.Config) { c.PublicURL = "https://reef.example" },
		"public on this machine":   func(c *server.Config) { c.PublicURL = "http://localhost:7333" },
		"NATS by TLS":              func(c *server.Config) { several(c); c.NATS = "tls://bus:4222,wss://bus2:443" },
		"NATS by TLS, own CA":      func(c *server.Config) { several(c); c.NATS, c.NATSCA = "tls://bus:4222", "ca" },
		"NATS by TLS, certificate": func(c *server.Config) { several(c); c.NATS, c.NATSCert, c.NATSKey = "tls://bus:4222", "cert", "key" },
	} {
		c := good
		if change(&c); c.Check() != nil {
			t.Errorf("%s: %v", name, c.Check())
		}
	}
	for name, change := range map[string]func(*server.Config){
		"--addr":                     func(c *server.Config) { c.Addr = "0.0.0.0:80" },
		"--addr everywhere":          func(c *server.Config) { c.Addr = ":80" },
		"--addr behind a proxy":      func(c *server.Config) { c.Addr, c.TrustedProxy = "10.0.0.2:80", []string{"10.0.0.1"} },
		"--addr by name":             func(c *server.Config) { c.Addr = "localhost.example:80" },
		"--tls-cert and --tls-key":   func(c *server.Config) { c.TLSCert = "cert" },
		"--nats reaches bus":         func(c *server.Config) { several(c); c.NATS = "nats://bus:4222" },
		"--nats reaches bus2":        func(c *server.Config) { several(c); c.NATS = "tls://bus:4222,bus2" },
		"--nats reaches ws":          func(c *server.Config) { several(c); c.NATS = "ws://ws:80" },
		"--nats-cert and --nats-key": func(c *server.Config) { several(c); c.NATSKey = "key" },
		"--nats-ca":                  func(c *server.Config) { c.NATSCA = "ca" },
		"--db may reach db":          func(c *server.Config) { c.DB = "postgres://reef@db/reef" },
		"--db may reach db prefer":   func(c *server.Config) { c.DB = "postgres://reef@db/reef?sslmode=prefer" },
		"--db may reach db allow":    func(c *server.Config) { c.DB = "postgres://reef@db/reef?sslmode=allow" },
		"--db may reach db require":  func(c *server.Config) { c.DB = "postgres://reef@db/reef?sslmode=require" },
		"--public-url":               func(c *server.Config) { c.PublicURL = "http://reef.example" },
		"--db may reach db disable":  func(c *server.Config) { c.DB = "postgres://reef@db/reef?sslmode=disable" },
		"--trust-domain":             func(c *server.Config) { c.TrustDomain = "Reef Example" },
		"--svid-life":                func(c *server.Config) { c.SVIDLife = time.Minute },
		"--db may reach second":      func(c *server.Config) { c.DB = "postgres://reef@127.0.0.1,second/reef" },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), strings.Split(name, " ")[0]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := good
	c.DB = "postgres://reef@127.0.0.1/reef"
	t.Setenv("PGHOST", "db")
	if c.DB = "postgres:///reef"; c.Check() == nil {
		t.Error("the environment's host is reached without TLS")
	}
}

func metricsOf(t *testing.T, s *servertest.Server) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.Metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// A door takes a new certificate without a restart: new connections see it, one that
// stands goes on, and with it the token that is bound to it.
func TestDoorTakesNewCertificate(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	first, second := selfSigned(t), selfSigned(t)
	cfg.TLSCert, cfg.TLSKey = pemFiles(t, first)
	s := servertest.Start(t, cfg)
	if !strings.HasPrefix(s.URL, "https://") {
		t.Fatalf("the network is at %s", s.URL)
	}
	seen := func(c *http.Client) *x509.Certificate {
		t.Helper()
		a, err := c.Get(s.URL + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		_, _ = io.Copy(io.Discard, a.Body)
		return a.TLS.PeerCertificates[0]
	}
	client := func() *http.Client {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // which one is shown is what is tried
		t.Cleanup(c.CloseIdleConnections)
		return c
	}
	standing := client()
	is := func(c *x509.Certificate, want tls.Certificate) bool {
		return string(c.Raw) == string(want.Certificate[0])
	}
	if !is(seen(standing), first) {
		t.Fatal("the door does not show its certificate")
	}
	putPEM(t, cfg.TLSCert, cfg.TLSKey, tls.Certificate{Certificate: second.Certificate, PrivateKey: first.PrivateKey})
	eventually(t, "a certificate without its key is noticed", func() bool {
		return strings.Contains(metricsOf(t, s), "reef_certificate_current 0")
	})
	if !is(seen(client()), first) {
		t.Error("the door does not keep what is good")
	}
	putPEM(t, cfg.TLSCert, cfg.TLSKey, second)
	eventually(t, "new connections see the new certificate", func() bool { return is(seen(client()), second) })
	if !is(seen(standing), first) {
		t.Error("the connection that stood was cut")
	}
	if !strings.Contains(metricsOf(t, s), "reef_certificate_current 1") {
		t.Error("the change is not in the metrics")
	}
	bad := cfg
	bad.Data, bad.TLSCert = t.TempDir(), filepath.Join(t.TempDir(), "none.pem")
	if started, err := server.New(t.Context(), bad, slog.New(slog.DiscardHandler)); err == nil {
		started.Close()
		t.Error("a server starts without the certificate it was given")
	}
}
