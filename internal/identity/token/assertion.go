package token

import (
	"strings"
	"time"
)

var assertions = family{name: "assertion", most: maxAssertion}

const (
	// MaxAssertionLife is how far ahead a client assertion may end, so that what
	// has to be remembered is bounded.
	MaxAssertionLife = 10 * time.Minute

	typAssertion   = "client-authentication+jwt" // rfc7523bis
	maxClientKeys  = 16                          // that are tried when no kid is given
	applicationTyp = "application/"
)

// AssertionExpect is what a reader of client assertions knows.
type AssertionExpect struct {
	Audience string // the issuer's URL
	Now      time.Time

	// Keys returns the client's keys. Its error goes to the caller as it is: an
	// unknown client is assertion.key, storage that is down Unavailable.
	Keys func(client string) ([]Public, error)
}

// Assertion is a client assertion (private_key_jwt, RFC 7523 §2.2) that has been
// verified. Whether it was shown before is [Replay]'s to say.
type Assertion struct {
	Client  string
	ID      string // jti
	Key     Public // that it is signed with
	Expires time.Time
	Until   time.Time // from then on it is too old for anybody: remember it so long
}

// ReadAssertion verifies a client assertion. The audience is the issuer as one
// text; lists and endpoints are refused (rfc7523bis), so that an assertion that
// was made for one server cannot be used at another. What costs nothing is looked
// at before the client's keys are asked for.
func ReadAssertion(text string, x AssertionExpect) (Assertion, error) {
	var e envelope
	if err := e.open(assertions, text); err != nil {
		return Assertion{}, err
	}
	if e.header.has("jwk") {
		return Assertion{}, refuse("assertion.critical")
	}
	if e.header.has("typ") && !e.header.media("typ", "JWT", typAssertion) {
		return Assertion{}, refuse("assertion.type")
	}
	if algorithmOf(e.alg) == 0 {
		return Assertion{}, refuse("assertion.algorithm")
	}
	kid := ""
	if e.header.has("kid") {
		var ok bool
		if kid, ok = e.header.string("kid", maxKeyID); !ok {
			return Assertion{}, refuse("assertion.key")
		}
	}
	var a Assertion
	if err := a.read(e.payload, x); err != nil {
		return Assertion{}, err
	}
	keys, err := x.Keys(a.Client)
	if err != nil {
		return Assertion{}, err
	}
	if a.Key, err = e.signer(kid, keys); err != nil {
		return Assertion{}, err
	}
	return a, nil
}

// media reports whether a header member is one of some media types, in any case
// and with or without "application/" (RFC 7515 §4.1.9).
func (o *object) media(name string, types ...string) bool {
	typ, _ := o.string(name, maxWord)
	if len(typ) > len(applicationTyp) && strings.EqualFold(typ[:len(applicationTyp)], applicationTyp) {
		typ = typ[len(applicationTyp):]
	}
	for _, t := range types {
		if strings.EqualFold(typ, t) {
			return true
		}
	}
	return false
}

// signer returns the key among keys that made the signature: the one that kid
// names or, without kid, any of the header's algorithm.
func (e *envelope) signer(kid string, keys []Public) (Public, error) {
	refusal := "assertion.key"
	tried := 0
	for _, key := range keys {
		if kid != "" && !key.named(kid) {
			continue
		}
		if !key.Algorithm().is(e.alg) {
			if kid != "" {
				refusal = "assertion.algorithm"
			}
			continue
		}
		if tried++; tried > maxClientKeys {
			break
		}
		if key.verify(e.input, e.sig) {
			return key, nil
		}
		refusal = "assertion.signature"
	}
	return Public{}, refuse(refusal)
}

// read takes the claims, which are not verified yet.
func (a *Assertion) read(payload []byte, x AssertionExpect) error {
	var o object
	if !o.read(payload) {
		return refuse("assertion.claims")
	}
	var ok1, ok2 bool
	a.Client, ok1 = o.string("sub", maxName)
	a.ID, ok2 = o.string("jti", maxName)
	expires, ok := o.date("exp")
	if !ok || !ok1 || !ok2 {
		return refuse("assertion.claims")
	}
	if !o.is("iss", a.Client) {
		return refuse("assertion.client")
	}
	if !o.is("aud", x.Audience) {
		return refuse("assertion.audience")
	}
	a.Expires = time.Unix(expires, 0).UTC()
	a.Until = a.Expires.Add(Skew)
	switch {
	case !x.Now.Before(a.Until):
		return refuse("assertion.expired")
	case a.Expires.After(x.Now.Add(MaxAssertionLife + Skew)):
		return refuse("assertion.life")
	}
	for _, name := range [...]string{"iat", "nbf"} {
		if !o.has(name) {
			continue
		}
		switch at, ok := o.date(name); {
		case !ok:
			return refuse("assertion.claims")
		case x.Now.Add(Skew).Before(time.Unix(at, 0)):
			return refuse("assertion.early")
		}
	}
	return nil
}
