package svid

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// TokenLife is how long a JWT-SVID is good for: it can be shown by whoever has it.
const TokenLife = 5 * time.Minute

const (
	maxToken    = 8 << 10 // bytes of a JWT-SVID that is looked at
	maxAudience = 8       // audiences of one, and
	maxName     = 256     // bytes of each
)

// Token is what a JWT-SVID says.
type Token struct {
	ID         spiffeid.ID
	Audience   []string
	Credential string // outside id of the credential that it was got by: it ends with that
	Scope      string // what it is good for at the network's own token endpoint
	Serial     string // jti
	Expires    time.Time
}

type claims struct {
	jwt.Claims
	Credential string `json:"credential"`
	Scope      string `json:"scope"`
}

// Issuer signs JWT-SVIDs.
type Issuer struct {
	KeyID  string
	signer jose.Signer
}

// OpenIssuer takes a key from NewKey.
func OpenIssuer(pkcs8 []byte) (*Issuer, error) {
	key, err := parseKey(pkcs8)
	if err != nil {
		return nil, err
	}
	id, err := Thumbprint(pkcs8)
	if err != nil {
		return nil, err
	}
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("svid: a signing key: %w", err)
	}
	return &Issuer{KeyID: id, signer: js}, nil
}

// Public returns the public half of a key from NewKey (SubjectPublicKeyInfo).
func Public(pkcs8 []byte) ([]byte, error) {
	key, err := parseKey(pkcs8)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(key.Public())
}

// Thumbprint names a key from NewKey.
func Thumbprint(pkcs8 []byte) (string, error) {
	der, err := Public(pkcs8)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// CheckAudience checks whom a JWT-SVID is asked for: somebody (JWT-SVID §3.2).
func CheckAudience(list []string) error {
	ok := len(list) > 0 && len(list) <= maxAudience
	for _, a := range list {
		ok = ok && a != "" && len(a) <= maxName
	}
	if !ok {
		return act.Errorf(act.Invalid, "a JWT-SVID is for one to %d named audiences", maxAudience).WithRule("svid.audience").
			WithHint("say to whom you will show it, by the name that it goes by itself")
	}
	return nil
}

// Sign makes a JWT-SVID. Its serial is drawn here.
func (i *Issuer) Sign(t Token, now time.Time) (string, error) {
	if err := CheckAudience(t.Audience); err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims{
		Claims: jwt.Claims{
			Subject: t.ID.String(), Audience: t.Audience, IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(t.Expires), ID: rand.Text(),
		},
		Credential: t.Credential, Scope: t.Scope,
	})
	if err != nil {
		return "", err
	}
	s, err := i.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("svid: sign a token: %w", err)
	}
	return s.CompactSerialize()
}

// ReadToken verifies a JWT-SVID against a bundle: of its trust domain, for the
// audience and for nobody else. It fails with Unauthenticated.
func ReadToken(text string, bundle *spiffebundle.Bundle, audience string, now time.Time) (t Token, err error) {
	bad := act.Errorf(act.Unauthenticated, "this is no good JWT-SVID of this network").WithRule("svid.token").
		WithHint("get one whose audience is this network's URL, and show it once and at once")
	if len(text) > maxToken {
		return t, bad
	}
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(parsed.Headers) != 1 {
		return t, bad
	}
	if typ, ok := parsed.Headers[0].ExtraHeaders[jose.HeaderType]; ok && typ != "JWT" && typ != "JOSE" {
		return t, bad
	}
	key, ok := bundle.FindJWTAuthority(parsed.Headers[0].KeyID)
	if !ok {
		return t, bad
	}
	var c claims
	if parsed.Claims(key, &c) != nil {
		return t, bad
	}
	if t.ID, err = spiffeid.FromString(c.Subject); err != nil || !t.ID.MemberOf(bundle.TrustDomain()) {
		return t, bad
	}
	if len(c.Audience) != 1 || c.Audience[0] != audience || c.Expiry == nil || c.ID == "" || c.IssuedAt == nil {
		return t, bad
	}
	if now.After(c.Expiry.Time().Add(token.Skew)) || now.Add(token.Skew).Before(c.IssuedAt.Time()) {
		return t, bad
	}
	return Token{ID: t.ID, Audience: c.Audience, Credential: c.Credential, Scope: c.Scope, Serial: c.ID, Expires: c.Expiry.Time()}, nil
}
