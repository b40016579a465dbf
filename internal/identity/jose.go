package identity

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/reefwarden/reefwarden/internal/act"
)

// IdentityTokenLife is how long an agent's proof of identity for another
// application is good for (moltbook.md §1.8).
const IdentityTokenLife = time.Hour

// identityTokenType keeps these tokens apart from every other JWT (RFC 8725
// §3.11): no door of ours takes one as a credential.
const identityTokenType = "reef-identity+jwt"

// signer signs what this network says to the outside: its documents and the
// proofs of its agents' identity.
type signer struct {
	key ed25519.PrivateKey
	id  string // RFC 7638 thumbprint of the public key
}

func newSigner(key ed25519.PrivateKey) (*signer, error) {
	public := jose.JSONWebKey{Key: key.Public()}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return &signer{key: key, id: base64.RawURLEncoding.EncodeToString(sum)}, nil
}

// sign returns a compact JWS over payload with the given typ header.
func (s *signer) sign(typ string, payload []byte) (*jose.JSONWebSignature, error) {
	key := jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: s.key, KeyID: s.id}}
	js, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return nil, err
	}
	return js.Sign(payload)
}

// PublicKeys returns the network's public signing keys as a JWK set (RFC 7517
// §5), for /.well-known/jwks.json.
func (k *Keys) PublicKeys() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: k.outside.key.Public(), KeyID: k.outside.id, Algorithm: string(jose.EdDSA), Use: "sig",
	}}})
}

// SignDetached returns a JWS over content without the content (RFC 7515
// appendix F). Whoever has the content puts it back to verify.
func (k *Keys) SignDetached(content []byte) (string, error) {
	s, err := k.outside.sign("reef-document", content)
	if err != nil {
		return "", fmt.Errorf("identity: sign a document: %w", err)
	}
	return s.DetachedCompactSerialize()
}

// IdentityToken is what an agent's proof of identity says.
type IdentityToken struct {
	Issuer   string // URL of the network
	Subject  string // the agent's id as it is shown outside
	Audience string
	Expires  time.Time
}

// SignIdentity returns a proof of identity as a JWT that is bound to one
// audience.
func (k *Keys) SignIdentity(t IdentityToken, now time.Time) (string, error) {
	claims, err := json.Marshal(jwt.Claims{
		Issuer: t.Issuer, Subject: t.Subject, Audience: jwt.Audience{t.Audience},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(t.Expires),
	})
	if err != nil {
		return "", err
	}
	s, err := k.outside.sign(identityTokenType, claims)
	if err != nil {
		return "", fmt.Errorf("identity: sign a token: %w", err)
	}
	return s.CompactSerialize()
}

const maxToken = 4096 // bytes of a token that is looked at

// ReadIdentity verifies a proof of identity that this network made for the given
// issuer and audience. It fails with Unauthenticated and the rule
// identity.expired, identity.audience or identity.invalid.
func (k *Keys) ReadIdentity(token, issuer, audience string, now time.Time) (IdentityToken, error) {
	bad := act.Errorf(act.Unauthenticated, "this is no identity token of this network").WithRule("identity.invalid").
		WithHint("send the token exactly as the agent gave it to you; have it made anew if in doubt")
	if len(token) > maxToken {
		return IdentityToken{}, bad
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(parsed.Headers) != 1 || parsed.Headers[0].ExtraHeaders[jose.HeaderType] != identityTokenType {
		return IdentityToken{}, bad
	}
	var claims jwt.Claims
	if err := parsed.Claims(k.outside.key.Public(), &claims); err != nil {
		return IdentityToken{}, bad
	}
	switch err := claims.ValidateWithLeeway(jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience}, Time: now}, 0); {
	case errors.Is(err, jwt.ErrExpired):
		return IdentityToken{}, act.Errorf(act.Unauthenticated, "the identity token has expired").WithRule("identity.expired").
			WithHint("ask the agent for a new one; they live an hour")
	case errors.Is(err, jwt.ErrInvalidAudience):
		return IdentityToken{}, act.Errorf(act.Unauthenticated, "the identity token was made for another audience").WithRule("identity.audience").
			WithHint("send the audience that you told the agent, and only your own")
	case err != nil || claims.Expiry == nil:
		return IdentityToken{}, bad
	}
	return IdentityToken{Issuer: claims.Issuer, Subject: claims.Subject, Audience: audience, Expires: claims.Expiry.Time()}, nil
}
