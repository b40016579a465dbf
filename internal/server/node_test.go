package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Nodes reach the bus by TLS and show it their SVIDs, each its own, which the network's
// bundle verifies.
func TestNodesShowTheBusTheirSVIDs(t *testing.T) {
	door := selfSigned(t)
	var mu sync.Mutex
	var shown []*x509.Certificate
	bus, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, TLS: true, TLSTimeout: 10,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{door}, ClientAuth: tls.RequireAnyClientCert,
			VerifyConnection: func(c tls.ConnectionState) error {
				mu.Lock()
				defer mu.Unlock()
				shown = append(shown, c.PeerCertificates[0])
				return nil
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go bus.Start()
	t.Cleanup(func() { bus.Shutdown(); bus.WaitForShutdown() })
	if !bus.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	cfg := servertest.Config(t, store.Postgres)
	cfg.KeyFile, cfg.NATSCA = filepath.Join(t.TempDir(), "network.key"), filepath.Join(t.TempDir(), "ca.pem")
	cfg.NATS = "tls://" + bus.Addr().String()
	if err := os.WriteFile(cfg.NATSCA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: door.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	a := servertest.Start(t, cfg)
	cfg.Data = t.TempDir()
	b := servertest.Open(t, cfg)
	eventually(t, "both are connected", func() bool { return a.Bus.Connected() && b.Bus.Connected() })
	bundle, err := a.Issuer.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	var names []string
	for _, c := range shown {
		id, _, err := x509svid.Verify([]*x509.Certificate{c}, bundle.X509Bundle())
		if err != nil {
			t.Fatalf("the bus is shown %s: %v", c.URIs, err)
		}
		names = append(names, id.String())
	}
	for _, s := range []*servertest.Server{a, b} {
		if want := "spiffe://" + s.Issuer.TrustDomain() + "/node/" + strconv.Itoa(s.DB.Node()); !slices.Contains(names, want) {
			t.Errorf("%s is not among %s", want, names)
		}
	}
}

// A node's certificate is another one when half of its life has passed and when the keys
// have turned, with a key of its own.
func TestNodeCertificateTurns(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	now := time.Now()
	var mu sync.Mutex
	cfg.Clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	s := servertest.Open(t, cfg)
	get := func() tls.Certificate {
		t.Helper()
		c, err := s.Issuer.NodeCertificate()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := get()
	if again := get(); !again.Leaf.Equal(first.Leaf) {
		t.Error("there is another one at once")
	}
	mu.Lock()
	now = now.Add(31 * time.Minute)
	mu.Unlock()
	second := get()
	if second.Leaf.Equal(first.Leaf) || string(second.Leaf.RawSubjectPublicKeyInfo) == string(first.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("it is the same after half of its life")
	}
}
