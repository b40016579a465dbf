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

	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/certificate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Nodes reach the bus by TLS and show it their SVIDs, each its own, which the network's
// bundle verifies.
func TestNodesShowTheBusTheirSVIDs(t *testing.T) {
	door := selfSigned(t)
	var mu sync.Mutex
	var shown []*x509.Certificate
	nats := natsServer(t, &natsserver.Options{
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
	cfg := servertest.Config(t, store.Postgres)
	cfg.KeyFile, cfg.NATSCA = filepath.Join(t.TempDir(), "network.key"), filepath.Join(t.TempDir(), "ca.pem")
	cfg.NATS = "tls://" + nats.Addr().String()
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

// Who verifies certificates by the bundle lets in agents too, whose SVIDs are of the same
// authority; the bus is to name the nodes, as docs/transport.md says.
func TestOnlyNodesReachABusThatNamesThem(t *testing.T) {
	cfg := servertest.Config(t, store.Postgres)
	cfg.KeyFile = filepath.Join(t.TempDir(), "network.key")
	first := servertest.Open(t, cfg)
	_, ada := first.Agent(t, "ada")
	key, request := signingRequest(t)
	svid, err := first.Issuer.Certify.Do(t.Context(), ada, identity.NewSVID{Request: []byte(request)})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := first.Issuer.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	first.Stop()
	door, nodes := selfSigned(t), x509.NewCertPool()
	ca, _ := pemFiles(t, door)
	for _, c := range bundle.X509Authorities() {
		nodes.AddCert(c)
	}
	for _, named := range []bool{false, true} {
		t.Run(strconv.FormatBool(named), func(t *testing.T) {
			o := &natsserver.Options{
				Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, TLS: true, TLSVerify: true, TLSMap: named, TLSTimeout: 10,
				TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{door}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: nodes},
			}
			if named {
				for n := range 16 { // whichever numbers the nodes get
					o.Users = append(o.Users, &natsserver.User{Username: "spiffe://" + bundle.TrustDomain().Name() + "/node/" + strconv.Itoa(n)})
				}
			}
			server := natsServer(t, o)
			at := cfg
			at.Data, at.NATS, at.NATSCA = t.TempDir(), "tls://"+server.Addr().String(), ca
			node := servertest.Open(t, at)
			defer node.Stop()
			agent, err := bus.Open(t.Context(), bus.Config{URL: at.NATS, Prefix: "any", TLS: bus.TLS{
				Cert: func() (tls.Certificate, error) {
					return tls.Certificate{Certificate: [][]byte{svid.Cert.Raw}, PrivateKey: key}, nil
				},
				Roots: func() (*x509.CertPool, error) { return certificate.Roots(ca) },
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer agent.Close()
			eventually(t, "the node is connected", node.Bus.Connected)
			if !named {
				eventually(t, "the agent is connected", agent.Connected)
				return
			}
			for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if agent.Connected() {
					t.Fatal("an agent is on the bus")
				}
			}
		})
	}
}

// natsServer starts a NATS server, which ends with the test.
func natsServer(t *testing.T, o *natsserver.Options) *natsserver.Server {
	t.Helper()
	s, err := natsserver.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	return s
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
