package token

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Skew is how far two clocks may be apart (T16). A token is taken until this
// long after its end, and from this long before its beginning.
const Skew = 30 * time.Second

var accessTokens = family{name: "token", most: maxToken}

const typAccess = "at+jwt" // RFC 9068 §2.1

// Verifier is a key whose signatures are good until a time.
type Verifier struct {
	Key   Public
	Until time.Time
}

// Set is the keys of one issuer: one signs, and others verify what they signed,
// or will sign, until their time is over. It does not change; after a rotation
// there is another one.
type Set struct {
	active Private
	header string // of tokens, encoded
	keys   map[string]Verifier
	order  []string
}

// maxSetKeys bounds what a key set document has to list.
const maxSetKeys = 64

// NewSet returns the set of a key that signs and of others that verify.
func NewSet(active Private, others ...Verifier) (*Set, error) {
	if active.signer == nil || len(others) >= maxSetKeys {
		return nil, fmt.Errorf("token: a set has a key that signs and at most %d keys in all", maxSetKeys)
	}
	s := &Set{active: active, keys: make(map[string]Verifier, 1+len(others))}
	s.header = encode64([]byte(`{"alg":"` + active.public.Algorithm().String() + `","kid":"` + active.public.thumb + `","typ":"` + typAccess + `"}`))
	add := func(v Verifier) error {
		if v.Key.Algorithm() == 0 {
			return fmt.Errorf("token: a key of the set is none")
		}
		if _, twice := s.keys[v.Key.thumb]; twice {
			return fmt.Errorf("token: the set has key %s twice", v.Key.thumb)
		}
		s.keys[v.Key.thumb] = v
		s.order = append(s.order, v.Key.thumb)
		return nil
	}
	if err := add(Verifier{Key: active.public, Until: time.Unix(lastDate, 0)}); err != nil {
		return nil, err
	}
	for _, v := range others {
		if err := add(v); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// KeyID returns the kid of the key that signs.
func (s *Set) KeyID() string { return s.active.public.thumb }

// Sign returns the claims as an access token. Claims that Read would refuse are
// a defect of the caller and no token.
func (s *Set) Sign(c Claims) (string, error) {
	if !c.ok() {
		return "", fmt.Errorf("token: claims that make no token")
	}
	text, err := s.active.seal(s.header, c.append(make([]byte, 0, 640)))
	if err != nil {
		return "", err
	}
	if len(text) > maxToken {
		return "", fmt.Errorf("token: a token of %d bytes, %d at the most", len(text), maxToken)
	}
	return text, nil
}

// Expect is what a reader of a token knows.
type Expect struct {
	Issuer   string // this network's public URL
	Audience string // who is reading
	Now      time.Time
}

// Read verifies an access token: that this issuer signed it, for this audience,
// and that its time is now. It does not know whether the sender holds the key
// (see Confirm), nor whether the grant still stands.
func (s *Set) Read(text string, x Expect) (Claims, error) {
	var (
		e envelope
		c Claims
	)
	if err := e.open(accessTokens, text); err != nil {
		return Claims{}, err
	}
	h := &e.header
	switch a := algorithmOf(e.alg); {
	case a == 0 || e.alg == nameEd25519: // we never write it so
		return Claims{}, refuse("token.algorithm")
	case !h.is("typ", typAccess):
		return Claims{}, refuse("token.type")
	case h.count != 3: // alg, kid and typ
		return Claims{}, refuse("token.critical")
	}
	id, _ := h.string("kid", thumbprint)
	key, ok := s.keys[id]
	if !ok || !x.Now.Before(key.Until) {
		return Claims{}, refuse("token.key")
	}
	if !key.Key.Algorithm().is(e.alg) {
		return Claims{}, refuse("token.algorithm")
	}
	if !key.Key.verify(e.input, e.sig) {
		return Claims{}, refuse("token.signature")
	}
	if err := c.read(e.payload, x.Now); err != nil {
		return Claims{}, err
	}
	switch {
	case c.Issuer != x.Issuer:
		return Claims{}, refuse("token.issuer")
	case !c.Audience.Has(x.Audience):
		return Claims{}, refuse("token.audience")
	case !x.Now.Before(c.Expires.Add(Skew)):
		return Claims{}, refuse("token.expired")
	}
	return c, nil
}

// JWKS returns the public keys that verify now, the one that signs first, as a
// JWK set (RFC 7517 §5).
func (s *Set) JWKS(now time.Time) ([]byte, error) {
	var doc jose.JSONWebKeySet
	for _, id := range s.order {
		if v := s.keys[id]; now.Before(v.Until) {
			doc.Keys = append(doc.Keys, jose.JSONWebKey{
				Key: v.Key.Key(), KeyID: id, Algorithm: v.Key.Algorithm().String(), Use: "sig",
			})
		}
	}
	return json.Marshal(doc)
}
