package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"
)

var foreigners = family{name: "grant", most: maxToken}

const (
	// MaxForeignLife is how far ahead another issuer's assertion may end.
	MaxForeignLife = 24 * time.Hour

	maxKeySet  = 1 << 18 // bytes of a JWK set
	minRSA     = 2048    // bits
	maxRSA     = 8192    // more costs more than it is worth
	typGrant   = "oauth-id-jag+jwt"
	maxClaim   = 1024
	maxSetSize = 100
)

// foreignAlgorithms are what other issuers sign with, by kind of key.
func foreignAlgorithms(key any) []jose.SignatureAlgorithm {
	switch key := key.(type) {
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			return []jose.SignatureAlgorithm{jose.ES384}
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits >= minRSA && bits <= maxRSA {
			return []jose.SignatureAlgorithm{jose.RS256, jose.PS256}
		}
	}
	return nil
}

// KeySet is the public keys of another issuer.
type KeySet struct{ keys []foreignKey }

type foreignKey struct {
	name string // kid, or the thumbprint of a key without one
	key  jose.JSONWebKey
}

// ParseKeySet reads a JWK set (RFC 7517 §5). Keys that are of no use here are
// passed over, as are private and symmetric ones, which nobody can trust who sees
// them; a set without a key that is left is refused.
func ParseKeySet(text []byte) (*KeySet, error) {
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if len(text) > maxKeySet || json.Unmarshal(text, &doc) != nil || len(doc.Keys) > maxSetSize {
		return nil, refuse("key.set")
	}
	s := &KeySet{}
	for _, raw := range doc.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" || foreignAlgorithms(key.Key) == nil {
			continue
		}
		name := key.KeyID
		if name == "" {
			sum, err := key.Thumbprint(crypto.SHA256)
			if err != nil {
				continue
			}
			name = encode64(sum)
		}
		s.keys = append(s.keys, foreignKey{name: name, key: key})
	}
	if len(s.keys) == 0 {
		return nil, refuse("key.set")
	}
	return s, nil
}

// Names returns the keys' names: what kid says or, without one, the thumbprint.
func (s *KeySet) Names() []string {
	names := make([]string, len(s.keys))
	for i, k := range s.keys {
		names[i] = k.name
	}
	return names
}

// ForeignExpect is what is configured of another issuer.
type ForeignExpect struct {
	Issuer   string
	Audience string // what the issuer calls this network
	Keys     *KeySet
	Now      time.Time
}

// Foreign is what another issuer said of a workload or a person (RFC 7523 §2.1;
// identity assertion grants and workload identity tokens).
type Foreign struct {
	Subject string
	ID      string // jti, or the hash of the assertion if it has none
	Expires time.Time
	Until   time.Time // from then on it is too old for anybody
	object  object
}

// Claim returns one of the other claims, if it is a text.
func (f *Foreign) Claim(name string) (string, bool) { return f.object.string(name, maxClaim) }

// ReadForeign verifies another issuer's assertion with its keys. It is made for
// this network alone: a list of audiences has one member. The rules begin with
// "grant.".
func ReadForeign(text string, x ForeignExpect) (Foreign, error) {
	var e envelope
	if err := e.open(foreigners, text); err != nil {
		return Foreign{}, err
	}
	if e.header.has("jwk") {
		return Foreign{}, refuse("grant.critical")
	}
	if e.header.has("typ") && !e.header.media("typ", "JWT", typGrant) {
		return Foreign{}, refuse("grant.type")
	}
	kid := ""
	if e.header.has("kid") {
		var ok bool
		if kid, ok = e.header.string("kid", maxKeyID); !ok {
			return Foreign{}, refuse("grant.key")
		}
	}
	if err := x.Keys.verify(text, kid, &e); err != nil {
		return Foreign{}, err
	}
	f := Foreign{}
	if err := f.read(e.payload, x); err != nil {
		return Foreign{}, err
	}
	if f.ID == "" {
		sum := sha256.Sum256([]byte(text))
		f.ID = "sha256:" + encode64(sum[:])
	}
	return f, nil
}

// verify wants the signature of one of the keys: of the one that kid names or,
// without kid, of any that has the header's algorithm.
func (s *KeySet) verify(text, kid string, e *envelope) error {
	if s == nil {
		return refuse("grant.key")
	}
	refusal := "grant.key"
	tried := 0
	for _, k := range s.keys {
		if kid != "" && k.name != kid {
			continue
		}
		if !k.signs(e.alg) {
			refusal = "grant.algorithm"
			continue
		}
		if tried++; tried > maxClientKeys {
			break
		}
		if k.verifies(text, e) {
			return nil
		}
		refusal = "grant.signature"
	}
	return refuse(refusal)
}

// signs reports whether the key is one for the algorithm.
func (k foreignKey) signs(alg string) bool {
	if k.key.Algorithm != "" && k.key.Algorithm != alg {
		return false
	}
	for _, a := range foreignAlgorithms(k.key.Key) {
		if string(a) == alg || a == jose.EdDSA && alg == nameEd25519 {
			return true
		}
	}
	return false
}

func (k foreignKey) verifies(text string, e *envelope) bool {
	if key, ok := k.key.Key.(ed25519.PublicKey); ok { // the other library does not know the new name
		public, err := PublicFrom(key)
		return err == nil && public.verify(e.input, e.sig)
	}
	parsed, err := jose.ParseSignedCompact(text, foreignAlgorithms(k.key.Key))
	if err != nil {
		return false
	}
	_, err = parsed.Verify(k.key.Key)
	return err == nil
}

// read takes the claims, whose signature has been verified.
func (f *Foreign) read(payload []byte, x ForeignExpect) error {
	o := &f.object
	if !o.read(payload) {
		return refuse("grant.claims")
	}
	var ok bool
	if f.Subject, ok = o.string("sub", maxClaim); !ok {
		return refuse("grant.claims")
	}
	if o.has("jti") {
		if f.ID, ok = o.string("jti", maxName); !ok {
			return refuse("grant.claims")
		}
	}
	expires, ok := o.date("exp")
	if !ok {
		return refuse("grant.claims")
	}
	f.Expires = time.Unix(expires, 0).UTC()
	f.Until = f.Expires.Add(Skew)
	audience, _, ok := o.strings("aud", maxURL, 1)
	switch {
	case !o.is("iss", x.Issuer):
		return refuse("grant.issuer")
	case !ok || audience[0] != x.Audience:
		return refuse("grant.audience")
	case !x.Now.Before(f.Until):
		return refuse("grant.expired")
	case f.Expires.After(x.Now.Add(MaxForeignLife)):
		return refuse("grant.life")
	}
	for _, name := range [...]string{"iat", "nbf"} {
		if !o.has(name) {
			continue
		}
		switch at, ok := o.date(name); {
		case !ok:
			return refuse("grant.claims")
		case x.Now.Add(Skew).Before(time.Unix(at, 0)):
			return refuse("grant.early")
		}
	}
	return nil
}
