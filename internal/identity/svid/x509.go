package svid

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// Early is how long before it is made an SVID is good from: the clocks of those who
// verify it may be behind by as much as tokens allow.
const Early = token.Skew

// maxRequest bounds a signing request in bytes.
const maxRequest = 8 << 10

// Request is a signing request whose sender has the key (PKCS #10, RFC 2986).
type Request struct {
	Key token.Public
	raw crypto.PublicKey
}

// ReadRequest reads a signing request (PEM or DER) and checks the signature by its own
// key. One that asks for names or powers is refused: the network gives both, and
// nobody shall think that it got what it asked for.
func ReadRequest(text []byte) (r Request, err error) {
	bad := func(rule, why, hint string) error {
		return act.Errorf(act.Invalid, "the signing request %s", why).WithRule(rule).WithHint(hint)
	}
	const again = "send a PKCS #10 request of an Ed25519 or P-256 key"
	if len(text) > maxRequest {
		return r, bad("svid.request", "is too long", again)
	}
	if block, rest := pem.Decode(text); block != nil {
		if block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) != 0 {
			return r, bad("svid.request", "is in a file with something else", again)
		}
		text = block.Bytes
	}
	csr, err := x509.ParseCertificateRequest(text)
	if err != nil {
		return r, bad("svid.request", "cannot be read", again)
	}
	if csr.CheckSignature() != nil {
		return r, bad("svid.possession", "is not signed by the key that it is for", "sign it with the private half of its key")
	}
	if len(csr.Extensions) > 0 {
		return r, bad("svid.names", "asks for names or powers", "leave the extensions out: the network names you")
	}
	if r.Key, err = token.PublicFrom(csr.PublicKey); err != nil {
		return r, bad("svid.key", "is for a key of another kind", again)
	}
	r.raw = csr.PublicKey
	return r, nil
}

// CA signs X.509-SVIDs of one trust domain.
type CA struct {
	Cert *x509.Certificate
	key  crypto.Signer
}

// NewKey makes a key for a CA or an Issuer, in PKCS #8.
func NewKey() (pkcs8 []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("svid: make a key: %w", err)
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

func parseKey(pkcs8 []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, fmt.Errorf("svid: read a key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("svid: a %T is no key of ours", parsed)
	}
	return key, nil
}

// SelfSign returns the certificate of a CA (DER) for a key from NewKey: it vouches for
// leaves only (X509-SVID §4.2).
func SelfSign(d spiffeid.TrustDomain, pkcs8 []byte, from, to time.Time) ([]byte, error) {
	key, err := parseKey(pkcs8)
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"Reefwarden"}, CommonName: d.Name()}, URIs: []*url.URL{d.ID().URL()},
		NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		SubjectKeyId: keyID(key.Public()),
	}
	return x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
}

// OpenCA puts a certificate and its key together.
func OpenCA(cert, pkcs8 []byte) (*CA, error) {
	c, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("svid: read a CA's certificate: %w", err)
	}
	key, err := parseKey(pkcs8)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(c.PublicKey) {
		return nil, fmt.Errorf("svid: a CA's certificate is for another key")
	}
	return &CA{Cert: c, key: key}, nil
}

// Sign makes an X.509-SVID for the key of a request: a leaf with one name, for
// signatures (X509-SVID §3 and §4). It ends with the CA at the latest.
func (ca *CA) Sign(r Request, id spiffeid.ID, now, to time.Time) (*x509.Certificate, error) {
	if to.After(ca.Cert.NotAfter) {
		to = ca.Cert.NotAfter
	}
	if !to.After(now) {
		return nil, act.Errorf(act.Internal, "an SVID would end before it begins")
	}
	c := &x509.Certificate{
		SerialNumber: serial(), URIs: []*url.URL{id.URL()}, NotBefore: now.Add(-Early), NotAfter: to, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		SubjectKeyId: keyID(r.raw),
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, ca.Cert, r.raw, ca.key)
	if err != nil {
		return nil, fmt.Errorf("svid: sign: %w", err)
	}
	return x509.ParseCertificate(raw)
}

func serial() *big.Int {
	var text [16]byte
	_, _ = rand.Read(text[:]) // never fails (crypto/rand)
	text[0] = text[0]&0x7f | 0x40
	return new(big.Int).SetBytes(text[:])
}

// keyID names a key in certificates (RFC 7093 §2, method 4).
func keyID(key crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil // the kinds of key that get here have a form
	}
	sum := sha256.Sum256(der)
	return sum[:20]
}

// Read verifies a certificate that a connection has shown against a bundle, and returns
// whose it is. It fails with Unauthenticated.
func Read(cert *x509.Certificate, bundle *spiffebundle.Bundle, now time.Time) (spiffeid.ID, error) {
	id, _, err := x509svid.Verify([]*x509.Certificate{cert}, bundle.X509Bundle(), x509svid.WithTime(now))
	if err != nil {
		return id, act.Errorf(act.Unauthenticated, "the client certificate is no good SVID of this network").WithRule("svid.certificate").
			WithHint("show one that has not ended, of the trust domain that the network's bundle is for")
	}
	if cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return id, act.Errorf(act.Unauthenticated, "the client certificate is not for signatures").WithRule("svid.certificate").WithHint("show an SVID as the network made it")
	}
	return id, nil
}

// IsSVID reports whether a certificate says of itself that it is one.
func IsSVID(cert *x509.Certificate) bool {
	for _, u := range cert.URIs {
		if u.Scheme == "spiffe" {
			return true
		}
	}
	return false
}
