package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/certificate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// checkTransport refuses to speak without TLS to anybody beyond this machine. A proxy
// on it may end TLS; one elsewhere speaks TLS to us too.
func (c Config) checkTransport(host string) error {
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return errors.New("--tls-cert and --tls-key go together")
	case (c.NATSCert == "") != (c.NATSKey == ""):
		return errors.New("--nats-cert and --nats-key go together")
	case c.NATS == "" && (c.NATSCert != "" || c.NATSCA != ""):
		return errors.New("--nats-cert and --nats-ca are for --nats")
	case !loopback(host) && c.TLSCert == "":
		return fmt.Errorf("--addr %s is reachable from outside: give --tls-cert and --tls-key, or listen on loopback behind a proxy on this machine that ends TLS", c.Addr)
	}
	if c.NATS != "" {
		plain, err := bus.Plain(c.NATS)
		if err != nil {
			return fmt.Errorf("--nats: %w", err)
		}
		for _, h := range plain {
			if !loopback(h) {
				return fmt.Errorf("--nats reaches %s without TLS: write tls://%s, and --nats-ca if its certificate is your own", h, h)
			}
		}
	}
	if c.DB != "" {
		plain, err := store.Plain(c.DB)
		if err != nil {
			return fmt.Errorf("--db: %w", err)
		}
		for _, h := range plain {
			if !loopback(h) {
				return fmt.Errorf("--db may reach %s without TLS, or whoever answers in its place: add sslmode=verify-full, and sslrootcert=FILE if its certificate is your own", h)
			}
		}
	}
	return nil
}

// pair names the files of the doors' certificate.
func (c Config) pair(clock act.Clock, log *slog.Logger) certificate.Config {
	return certificate.Config{Cert: c.TLSCert, Key: c.TLSKey, Clock: clock, Log: log}
}

// busTLS says how NATS is spoken to. Files are read at each connection, so that a new one
// is made with what stands in them then; without a file the node shows its SVID, as soon
// as issuing says that there can be one.
func (s *Server) busTLS(issuing <-chan struct{}) (t bus.TLS) {
	c := s.Config
	t.Cert = func() (tls.Certificate, error) {
		if c.NATSCert != "" {
			return certificate.Read(c.NATSCert, c.NATSKey)
		}
		select {
		case <-issuing:
			return s.Issuer.NodeCertificate()
		default:
			return tls.Certificate{}, errors.New("this node has no certificate yet")
		}
	}
	if c.NATSCA != "" {
		t.Roots = func() (*x509.CertPool, error) { return certificate.Roots(c.NATSCA) }
	}
	return t
}
