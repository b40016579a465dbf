package svid_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/svid"
)

var domain = spiffeid.RequireTrustDomainFromString("reef.example")

type failer interface {
	Helper()
	Fatal(...any)
}

func must[T any](t failer, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func p256(t failer) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return must(t, k, err)
}

// signer is a network's keys for SVIDs.
type signer struct {
	ca     *svid.CA
	issuer *svid.Issuer
	key    []byte // of the issuer
	bundle *spiffebundle.Bundle
}

func newSigner(t failer, d spiffeid.TrustDomain) signer {
	t.Helper()
	now := time.Now()
	k1, err := svid.NewKey()
	must(t, k1, err)
	k2, err := svid.NewKey()
	must(t, k2, err)
	cert, err := svid.SelfSign(d, k1, now.Add(-time.Hour), now.Add(100*time.Hour))
	must(t, cert, err)
	s := signer{key: k2}
	s.ca, err = svid.OpenCA(cert, k1)
	must(t, s.ca, err)
	s.issuer, err = svid.OpenIssuer(k2)
	must(t, s.issuer, err)
	public, err := svid.Public(k2)
	must(t, public, err)
	parsed, err := x509.ParsePKIXPublicKey(public)
	must(t, parsed, err)
	s.bundle = svid.Bundle(d, 1, []*x509.Certificate{s.ca.Cert}, map[string]crypto.PublicKey{s.issuer.KeyID: parsed})
	return s
}

func request(t failer, key crypto.Signer, c *x509.CertificateRequest) []byte {
	t.Helper()
	raw, err := x509.CreateCertificateRequest(rand.Reader, c, key)
	return must(t, raw, err)
}

func TestRequests(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	ec := p256(t)
	text := func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	for name, good := range map[string][]byte{
		"P-256": request(t, ec, &x509.CertificateRequest{}), "Ed25519": request(t, ed, &x509.CertificateRequest{}),
		"PEM": text(request(t, ec, &x509.CertificateRequest{})), "a subject, which nobody reads": request(t, ec, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "root"}}),
	} {
		if _, err := svid.ReadRequest(good); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, weak, err)
	big384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, big384, err)
	other := p256(t)
	swapped := request(t, ec, &x509.CertificateRequest{})
	mine, theirs := &ec.PublicKey, &other.PublicKey
	a, err := mine.Bytes()
	must(t, a, err)
	b, err := theirs.Bytes()
	must(t, b, err)
	swapped = []byte(strings.Replace(string(swapped), string(a), string(b), 1)) // another key than the one that has signed
	for name, c := range map[string]struct {
		text []byte
		rule string
	}{
		"nothing": {nil, "svid.request"}, "garbage": {[]byte("garbage"), "svid.request"}, "too long": {make([]byte, 9<<10), "svid.request"},
		"two":         {append(text(request(t, ec, &x509.CertificateRequest{})), text(request(t, ec, &x509.CertificateRequest{}))...), "svid.request"},
		"a key":       {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), "svid.request"},
		"another key": {swapped, "svid.possession"},
		"RSA":         {request(t, weak, &x509.CertificateRequest{}), "svid.key"},
		"P-384":       {request(t, big384, &x509.CertificateRequest{}), "svid.key"},
		"a name":      {request(t, ec, &x509.CertificateRequest{DNSNames: []string{"example.org"}}), "svid.names"},
		"an address":  {request(t, ec, &x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(1, 2, 3, 4)}}), "svid.names"},
		"an id":       {request(t, ec, &x509.CertificateRequest{URIs: []*url.URL{{Scheme: "spiffe", Host: "reef.example", Path: "/node/1"}}}), "svid.names"},
		"CA:true":     {request(t, ec, &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}}}), "svid.names"},
	} {
		if _, err := svid.ReadRequest(c.text); act.AsError(err).Rule != c.rule || act.CodeOf(err) != act.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(request(f, p256(f), &x509.CertificateRequest{}))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := svid.ReadRequest(text)
		if err == nil && r.Key.Thumbprint() == "" {
			t.Error("a request without a key is taken")
		}
	})
}

func FuzzToken(f *testing.F) {
	s := newSigner(f, domain)
	id, err := svid.Agent(domain, "a", "i")
	must(f, id, err)
	now := time.Now()
	good, err := s.issuer.Sign(svid.Token{ID: id, Audience: []string{"x"}, Expires: now.Add(time.Minute)}, now)
	must(f, good, err)
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := svid.ReadToken(text, s.bundle, "x", now); err == nil && got.ID != id {
			t.Errorf("somebody is %s", got.ID)
		}
	})
}

func TestIDs(t *testing.T) {
	for _, bad := range []string{"", "Reef.example", "reef example", "spiffe://reef.example", "reef.example/x", "reef:1", strings.Repeat("x", 256)} {
		if _, err := svid.Domain(bad); err == nil {
			t.Errorf("%q is a trust domain", bad)
		}
	}
	id, err := svid.Agent(domain, "a1", "i2")
	if err != nil || id.String() != "spiffe://reef.example/agent/a1/inst/i2" {
		t.Errorf("%s, %v", id, err)
	}
	node, err := svid.Node(domain, "7")
	must(t, node, err)
	site, err := svid.Site(domain, "berlin")
	must(t, site, err)
	if node.String() != "spiffe://reef.example/node/7" || site.String() != "spiffe://reef.example/site/berlin" {
		t.Errorf("%s, %s", node, site)
	}
	if agent, instance, ok := svid.AgentOf(id); !ok || agent != "a1" || instance != "i2" {
		t.Errorf("%s, %s, %v", agent, instance, ok)
	}
	for _, other := range []spiffeid.ID{node, site, domain.ID(), spiffeid.RequireFromString("spiffe://reef.example/agent/a1"), spiffeid.RequireFromString("spiffe://reef.example/agent/a1/inst/i2/more")} {
		if _, _, ok := svid.AgentOf(other); ok {
			t.Errorf("%s is an agent", other)
		}
	}
	if _, err := svid.Agent(domain, "a/b", "i"); err == nil {
		t.Error("an id can hold a path")
	}
}

// What is made is what others' verifiers take, and is no more than a leaf with one name.
func TestSVIDsVerifyElsewhere(t *testing.T) {
	s := newSigner(t, domain)
	key := p256(t)
	r, err := svid.ReadRequest(request(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "root"}}))
	must(t, r, err)
	word := rapid.StringMatching(`[a-z0-9-]{1,20}`)
	rapid.Check(t, func(t *rapid.T) {
		id, err := svid.Agent(domain, word.Draw(t, "agent"), word.Draw(t, "instance"))
		must(t, id, err)
		now := time.Now()
		life := time.Duration(rapid.Int64Range(1, int64(200*time.Hour)).Draw(t, "life"))
		c, err := s.ca.Sign(r, id, now, now.Add(life).Add(time.Second))
		must(t, c, err)
		got, chains, err := x509svid.Verify([]*x509.Certificate{c}, s.bundle.X509Bundle(), x509svid.WithTime(now))
		if err != nil || got != id || len(chains) == 0 {
			t.Fatalf("%s is read as %s: %v", id, got, err)
		}
		if mine, err := svid.Read(c, s.bundle, now); err != nil || mine != id {
			t.Fatalf("we read %s: %v", mine, err)
		}
		switch {
		case c.IsCA, c.KeyUsage != x509.KeyUsageDigitalSignature, len(c.URIs) != 1, len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses) != 0,
			c.Subject.String() != "", c.NotAfter.After(s.ca.Cert.NotAfter), c.NotAfter.After(now.Add(life).Add(time.Second)), !key.PublicKey.Equal(c.PublicKey):
			t.Fatalf("%+v", c)
		}
		if _, err := svid.Read(c, s.bundle, c.NotAfter.Add(time.Second)); err == nil {
			t.Fatal("one that has ended is taken")
		}
	})
}

func TestForgedSVIDs(t *testing.T) {
	s, foreign, elsewhere := newSigner(t, domain), newSigner(t, domain), newSigner(t, spiffeid.RequireTrustDomainFromString("other.example"))
	key, now := p256(t), time.Now()
	r, err := svid.ReadRequest(request(t, key, &x509.CertificateRequest{}))
	must(t, r, err)
	id, err := svid.Agent(domain, "a", "i")
	must(t, id, err)
	signed := func(s signer, id spiffeid.ID, now time.Time) *x509.Certificate {
		c, err := s.ca.Sign(r, id, now, now.Add(time.Hour))
		return must(t, c, err)
	}
	forged := func(change func(*x509.Certificate)) *x509.Certificate {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour), URIs: []*url.URL{id.URL()},
			KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		}
		change(c)
		raw, err := x509.CreateCertificate(rand.Reader, c, s.ca.Cert, key.Public(), s.ca.Key())
		must(t, raw, err)
		out, err := x509.ParseCertificate(raw)
		return must(t, out, err)
	}
	if _, err := svid.Read(forged(func(*x509.Certificate) {}), s.bundle, now); err != nil {
		t.Fatalf("the forger does not know its craft: %v", err)
	}
	for name, c := range map[string]*x509.Certificate{
		"another CA":           signed(foreign, id, now),
		"another trust domain": signed(elsewhere, spiffeid.RequireFromString("spiffe://other.example/agent/a/inst/i"), now),
		"our name, their CA":   signed(elsewhere, id, now),
		"their name, our CA":   signed(s, spiffeid.RequireFromString("spiffe://other.example/agent/a/inst/i"), now),
		"expired":              signed(s, id, now.Add(-2*time.Hour)),
		"not yet":              signed(s, id, now.Add(time.Hour)),
		"two names": forged(func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: "reef.example", Path: "/node/1"})
		}),
		"no name":              forged(func(c *x509.Certificate) { c.URIs = nil }),
		"another sort of name": forged(func(c *x509.Certificate) { c.URIs[0] = &url.URL{Scheme: "https", Host: "reef.example", Path: "/agent"} }),
		"a CA": forged(func(c *x509.Certificate) {
			c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
		}),
		"a leaf that may sign": forged(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }),
		"not for signatures":   forged(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }),
		"the CA itself":        s.ca.Cert,
	} {
		if _, err := svid.Read(c, s.bundle, now); act.CodeOf(err) != act.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	other, err := svid.NewKey()
	must(t, other, err)
	if _, err := svid.OpenCA(s.ca.Cert.Raw, other); err == nil {
		t.Error("a CA has another's key")
	}
}

func TestTokensVerifyElsewhere(t *testing.T) {
	s, foreign := newSigner(t, domain), newSigner(t, domain)
	now := time.Now()
	id, err := svid.Agent(domain, "a", "i")
	must(t, id, err)
	good := svid.Token{ID: id, Audience: []string{"https://reef.example"}, Credential: "c", Expires: now.Add(svid.TokenLife)}
	text, err := s.issuer.Sign(good, now)
	must(t, text, err)
	theirs, err := jwtsvid.ParseAndValidate(text, s.bundle.JWTBundle(), []string{"https://reef.example"})
	if err != nil || theirs.ID != id {
		t.Fatalf("go-spiffe reads %v: %v", theirs, err)
	}
	ours, err := svid.ReadToken(text, s.bundle, "https://reef.example", now)
	if err != nil || ours.ID != id || ours.Credential != "c" || ours.Serial == "" {
		t.Fatalf("%+v, %v", ours, err)
	}
	for _, list := range [][]string{nil, {""}, {strings.Repeat("x", 257)}, make([]string, 9)} {
		with := good
		with.Audience = list
		if _, err := s.issuer.Sign(with, now); act.AsError(err).Rule != "svid.audience" {
			t.Errorf("%q: %v", list, err)
		}
	}
	signed := func(s signer, change func(*svid.Token), now time.Time) string {
		with := good
		change(&with)
		text, err := s.issuer.Sign(with, now)
		return must(t, text, err)
	}
	by := func(alg jose.SignatureAlgorithm, key any, typ, payload string) string {
		js, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", s.issuer.KeyID))
		must(t, js, err)
		x, err := js.Sign([]byte(payload))
		must(t, x, err)
		text, err := x.CompactSerialize()
		return must(t, text, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(s.key)
	must(t, parsed, err)
	public, err := svid.Public(s.key)
	must(t, public, err)
	claims := func(change func(map[string]any)) string {
		c := map[string]any{"sub": id.String(), "aud": []string{"https://reef.example"}, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": "1", "credential": "c"}
		change(c)
		raw, err := json.Marshal(c)
		return string(must(t, raw, err))
	}
	if _, err := svid.ReadToken(by(jose.ES256, parsed, "JWT", claims(func(map[string]any) {})), s.bundle, "https://reef.example", now); err != nil {
		t.Fatalf("the forger does not know its craft: %v", err)
	}
	none := strings.Split(text, ".")
	for name, text := range map[string]string{
		"nothing": "", "garbage": "a.b.c", "too long": text + strings.Repeat("A", 9<<10),
		"another key":              signed(foreign, func(*svid.Token) {}, now),
		"another audience":         signed(s, func(t *svid.Token) { t.Audience = []string{"https://other.example"} }, now),
		"two audiences":            signed(s, func(t *svid.Token) { t.Audience = append(t.Audience, "https://other.example") }, now),
		"another trust domain":     signed(s, func(t *svid.Token) { t.ID = spiffeid.RequireFromString("spiffe://other.example/agent/a/inst/i") }, now),
		"expired":                  signed(s, func(t *svid.Token) { t.Expires = now.Add(-time.Minute) }, now.Add(-time.Hour)),
		"of the future":            signed(s, func(t *svid.Token) { t.Expires = now.Add(2 * time.Hour) }, now.Add(time.Hour)),
		"alg none":                 "eyJhbGciOiJub25lIn0." + none[1] + ".",
		"HMAC with the public key": by(jose.HS256, public, "JWT", claims(func(map[string]any) {})),
		"another typ":              by(jose.ES256, parsed, "at+jwt", claims(func(map[string]any) {})),
		"no audience":              by(jose.ES256, parsed, "JWT", claims(func(c map[string]any) { delete(c, "aud") })),
		"no end":                   by(jose.ES256, parsed, "JWT", claims(func(c map[string]any) { delete(c, "exp") })),
		"no serial":                by(jose.ES256, parsed, "JWT", claims(func(c map[string]any) { delete(c, "jti") })),
		"no subject":               by(jose.ES256, parsed, "JWT", claims(func(c map[string]any) { delete(c, "sub") })),
		"no SPIFFE id":             by(jose.ES256, parsed, "JWT", claims(func(c map[string]any) { c["sub"] = "root" })),
		"changed":                  none[0] + "." + none[1] + "." + strings.Repeat("A", len(none[2])),
	} {
		if _, err := svid.ReadToken(text, s.bundle, "https://reef.example", now); act.CodeOf(err) != act.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
}
