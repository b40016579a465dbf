package bus_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/reefwarden/reefwarden/internal/bus"
)

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	n    atomic.Int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, key: k}
	a.cert = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, k, nil)
	return a
}

func (a *authority) sign(c *x509.Certificate, key *ecdsa.PrivateKey, parent *x509.Certificate) *x509.Certificate {
	a.t.Helper()
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(a.n.Add(1)), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent = c
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

func (a *authority) leaf() tls.Certificate {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := a.sign(&x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, k, a.cert)
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: k, Leaf: c}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Nodes and NATS show each other certificates. A new one is shown from the next
// connection on and drops none; a server or a node of another authority is refused.
func TestNATSByTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	var shown atomic.Pointer[x509.Certificate]
	var hellos atomic.Int64
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, TLS: true, TLSVerify: true,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ours.leaf()}, ClientCAs: ours.pool(), ClientAuth: tls.RequireAndVerifyClientCert,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { hellos.Add(1); return nil, nil },
			VerifyConnection:   func(c tls.ConnectionState) error { shown.Store(c.PeerCertificates[0]); return nil },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	var mine atomic.Pointer[tls.Certificate]
	mine.Store(new(ours.leaf()))
	cert := func() (tls.Certificate, error) { return *mine.Load(), nil }
	roots := func() (*x509.CertPool, error) { return ours.pool(), nil }
	url := "tls://" + s.Addr().String()
	a := open(t, bus.Config{URL: url, TLS: bus.TLS{Cert: cert, Roots: roots}})
	b := open(t, bus.Config{URL: url, TLS: bus.TLS{Cert: cert, Roots: roots}})
	heard := listen(t, b, "s")
	connected(t, a, b)
	publish(t, a, "s", "by TLS")
	expect(t, heard, "by TLS")
	first := shown.Load()

	mine.Store(new(ours.leaf()))
	publish(t, a, "s", "still")
	expect(t, heard, "still")
	c := open(t, bus.Config{URL: url, TLS: bus.TLS{Cert: cert, Roots: roots}})
	connected(t, c)
	if now := shown.Load(); slices.Equal(now.Raw, first.Raw) || !slices.Equal(now.Raw, mine.Load().Certificate[0]) {
		t.Error("a new connection shows an old certificate")
	}
	if !a.Connected() || !b.Connected() {
		t.Error("a new certificate cut a connection")
	}

	foreign := theirs.leaf()
	for name, x := range map[string]bus.TLS{
		"a node of another authority":   {Cert: func() (tls.Certificate, error) { return foreign, nil }, Roots: roots},
		"a node without a certificate":  {Roots: roots},
		"a server of another authority": {Cert: cert, Roots: func() (*x509.CertPool, error) { return theirs.pool(), nil }},
		"the system's authorities":      {Cert: cert},
	} {
		before := hellos.Load()
		d := open(t, bus.Config{URL: url, TLS: x})
		publish(t, d, "s", "never")
		eventually(t, name+" is refused and tries again", func() bool { return hellos.Load() >= before+2 || d.Connected() })
		if d.Connected() {
			t.Errorf("%s is connected", name)
		}
		d.Close()
	}
	publish(t, a, "s", "last")
	expect(t, heard, "last")
}

func TestPlain(t *testing.T) {
	hosts, err := bus.Plain("nats://u:p@one:4222, two ,tls://three,ws://four,wss://five,nats://[::1]:4")
	if err != nil || !slices.Equal(hosts, []string{"one", "two", "four", "::1"}) {
		t.Errorf("%q, %v", hosts, err)
	}
	if _, err := bus.Plain("http://x"); err == nil {
		t.Error("what is no list has hosts")
	}
}
