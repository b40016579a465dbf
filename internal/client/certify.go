package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// certifiedFor is how long a holder's certificate says that it is good. Doors look at
// its key, which a connection proves, and at nothing else of it (RFC 8705 §2.2).
const certifiedFor = 10 * 365 * 24 * time.Hour

// certify gives the holder's connections a certificate: of a key that is made here,
// for this holder alone, and never written down. Tokens are bound to it from then on,
// where the network sees it, and requests need no proof of their own.
func (h *Holder) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return act.Errorf(act.Internal, "a key cannot be made: %w", err)
	}
	now := h.clock()
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: agentName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certifiedFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err == nil {
		form, err = x509.ParseCertificate(der)
	}
	if err != nil {
		return act.Errorf(act.Internal, "a certificate cannot be made: %w", err)
	}
	h.thumb = token.CertificateThumbprint(form)
	h.conn.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{ //nolint:forcetypeassert // open made it
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: form}},
	}
	return nil
}

// ruleUnbound is the network's rule for requests in which it sees neither a certificate
// nor a proof to which a token could be bound.
const ruleUnbound = "dpop.missing"

// certified gets a token that the connections' certificate binds. It fails with
// ruleUnbound when the network does not see that.
func (h *Holder) certified(ctx context.Context, f url.Values) (t Token, err error) {
	if err = h.identify(f); err != nil {
		return t, err
	}
	var out issued
	sent := h.clock()
	if _, err = h.post(ctx, pathToken, "", f, &out); err != nil {
		return t, err
	}
	if !h.bound(out.Text) {
		return t, act.Errorf(act.Invalid, "the network binds tokens to another certificate than this one").WithRule(ruleUnbound)
	}
	return out.token(schemeBearer, sent)
}

// bound reports whether a token of the network's is bound to the holder's certificate.
// What ends TLS before the network may have shown it another one, or none.
func (h *Holder) bound(text string) bool {
	_, rest, _ := strings.Cut(text, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Confirm struct {
			X5T string `json:"x5t#S256"` // RFC 8705 §3.1
		} `json:"cnf"`
	}
	return err == nil && json.Unmarshal(raw, &claims) == nil && claims.Confirm.X5T == h.thumb
}
