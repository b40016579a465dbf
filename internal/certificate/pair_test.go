package certificate_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/certificate"
)

// files writes a certificate that signs itself, and its key.
func files(t testing.TB, dir string, serial int64, from, to time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: from, NotAfter: to, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "door.pem"), filepath.Join(dir, "door.key")
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return cert, key
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func serial(p *certificate.Pair) int64 { return p.Current().Leaf.SerialNumber.Int64() }

// What cannot be used changes nothing, is said once and told as long as it lasts.
func TestPairKeepsWhatIsGood(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	cert, key := files(t, dir, 1, now.Add(-time.Hour), now.Add(time.Hour))
	var log bytes.Buffer
	clock := func() time.Time { return now }
	p, err := certificate.Open(t.Context(), certificate.Config{Cert: cert, Key: key, Clock: clock, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if serial(p) != 1 || p.State().Failed != nil || p.Look(t.Context()) != nil || log.Len() != 0 {
		t.Fatalf("at first: %d, %v, %s", serial(p), p.State(), &log)
	}
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	bad := []struct {
		name string
		do   func()
	}{
		{"garbage", func() { write(t, cert, []byte("garbage")) }},
		{"half of the change", func() {
			other := t.TempDir()
			c, _ := files(t, other, 2, now.Add(-time.Hour), now.Add(time.Hour))
			text, _ := os.ReadFile(c)
			write(t, cert, text)
		}},
		{"gone", func() { _ = os.Remove(cert) }},
		{"over", func() { files(t, dir, 3, now.Add(-2*time.Hour), now.Add(-time.Minute)) }},
		{"open to others", func() {
			files(t, dir, 4, now.Add(-time.Hour), now.Add(time.Hour))
			if err := os.Chmod(key, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, c := range bad {
		c.do()
		log.Reset()
		for range 3 {
			if err := p.Look(t.Context()); err == nil || p.State().Failed == nil || serial(p) != 1 {
				t.Fatalf("%s: %v, %v, %d in force", c.name, err, p.State(), serial(p))
			}
		}
		if n := strings.Count(log.String(), "stays in force"); n != 1 || strings.Contains(log.String(), string(secret[40:80])) {
			t.Errorf("%s is said %d times:\n%s", c.name, n, &log)
		}
		if _, err := certificate.Open(t.Context(), certificate.Config{Cert: cert, Key: key, Clock: clock}); err == nil {
			t.Errorf("%s: a program starts with it", c.name)
		}
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	if err := p.Look(t.Context()); err != nil || serial(p) != 4 || p.State().Failed != nil || !strings.Contains(log.String(), "new certificate") {
		t.Fatalf("when it is good again: %v, %d, %v, %s", err, serial(p), p.State(), &log)
	}
	// One whose time has not come is taken when it has, without another change.
	files(t, dir, 5, now.Add(time.Minute), now.Add(time.Hour))
	if err := p.Look(t.Context()); err == nil || serial(p) != 4 {
		t.Fatalf("before its time: %v, %d", err, serial(p))
	}
	now = now.Add(2 * time.Minute)
	if err := p.Look(t.Context()); err != nil || serial(p) != 5 {
		t.Fatalf("at its time: %v, %d", err, serial(p))
	}
}

// While certificates change, no handshake fails and no connection that stands is cut.
func TestPairChangesUnderLoad(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	cert, key := files(t, dir, 1, now.Add(-time.Hour), now.Add(time.Hour))
	p, err := certificate.Open(t.Context(), certificate.Config{Cert: cert, Key: key, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", certificate.Door(p))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	dial := func() (*tls.Conn, error) {
		return tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // which one is shown is what is tried
	}
	echo := func(c *tls.Conn) error {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	standing, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer standing.Close()
	stop := make(chan struct{})
	var callers sync.WaitGroup
	var calls, newest atomic.Int64
	for range 2 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := dial()
				if err == nil {
					err = echo(c)
					newest.Store(c.ConnectionState().PeerCertificates[0].SerialNumber.Int64())
					_ = c.Close()
				}
				if err != nil {
					t.Error(err)
					return
				}
				calls.Add(1)
			}
		})
	}
	const changes = 20
	for n := int64(2); n < 2+changes; n++ {
		before := calls.Load()
		files(t, dir, n, now.Add(-time.Hour), now.Add(time.Hour))
		if err := p.Look(context.Background()); err != nil {
			t.Error(err)
		}
		if err := echo(standing); err != nil {
			t.Fatalf("the connection that stands: %v", err)
		}
		for calls.Load() < before+2 && !t.Failed() {
			if err := echo(standing); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := calls.Load()
	for calls.Load() < last+4 && !t.Failed() {
		if err := echo(standing); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	callers.Wait()
	if newest.Load() != 1+changes || standing.ConnectionState().PeerCertificates[0].SerialNumber.Int64() != 1 {
		t.Errorf("new connections see %d", newest.Load())
	}
}

// A door speaks TLS 1.3 and nothing older.
func TestDoorRefusesOldTLS(t *testing.T) {
	now := time.Now()
	cert, key := files(t, t.TempDir(), 1, now.Add(-time.Hour), now.Add(time.Hour))
	p, err := certificate.Open(t.Context(), certificate.Config{Cert: cert, Key: key, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	go func() { _ = tls.Server(there, certificate.Door(p)).Handshake(); _ = there.Close() }()
	err = tls.Client(here, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake() //nolint:gosec // the old version is what is tried
	if err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("TLS 1.2 is answered with %v", err)
	}
}

func TestRoots(t *testing.T) {
	now := time.Now()
	cert, key := files(t, t.TempDir(), 1, now.Add(-time.Hour), now.Add(time.Hour))
	if _, err := certificate.Roots(cert); err != nil {
		t.Error(err)
	}
	for _, path := range []string{key, filepath.Join(t.TempDir(), "none")} {
		if _, err := certificate.Roots(path); err == nil {
			t.Errorf("%s is taken", filepath.Base(path))
		}
	}
}
