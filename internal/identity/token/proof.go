package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"time"
)

var proofs = family{name: "dpop", most: maxProof}

const (
	typProof  = "dpop+jwt" // RFC 9449 §4.2
	maxTarget = 2048       // bytes of htu
	maxNonce  = 128
	maxMethod = 32
)

// Request is what a proof has to be for.
type Request struct {
	Method      string
	URL         string // as the client writes it: under the configured public URL, never from Host
	AccessToken string // that is sent with it; "" at the token endpoint
	Now         time.Time
}

// Proof is a DPoP proof that has been verified: who sent the request holds Key.
// Whether its nonce is good is [Nonces]' to say, and whether it was shown before
// [Replay]'s.
type Proof struct {
	Key      Public
	JKT      string // thumbprint of Key
	JTI      string
	Nonce    string // "" if it has none
	IssuedAt time.Time
	Until    time.Time // from then on it is too old for anybody: remember it so long
}

// ReadProof verifies the one DPoP header of a request (RFC 9449 §4.3, all but
// nonce and replay).
func ReadProof(header string, r Request) (Proof, error) {
	var e envelope
	if err := e.open(proofs, header); err != nil {
		return Proof{}, err
	}
	if !e.header.is("typ", typProof) {
		return Proof{}, refuse("dpop.type")
	}
	if algorithmOf(e.alg) == 0 {
		return Proof{}, refuse("dpop.algorithm")
	}
	var jwk object
	if !e.header.inner("jwk", &jwk) {
		return Proof{}, refuse("dpop.key")
	}
	key, err := jwk.key()
	if err != nil {
		return Proof{}, refuse("dpop.key")
	}
	if !key.Algorithm().is(e.alg) {
		return Proof{}, refuse("dpop.algorithm")
	}
	if !key.verify(e.input, e.sig) {
		return Proof{}, refuse("dpop.signature")
	}
	p := Proof{Key: key, JKT: key.thumb}
	if err := p.read(e.payload, r); err != nil {
		return Proof{}, err
	}
	return p, nil
}

// read takes the claims of a proof whose signature has been verified.
func (p *Proof) read(payload []byte, r Request) error {
	var o object
	if !o.read(payload) {
		return refuse("dpop.claims")
	}
	var ok1, ok2, ok3 bool
	var method, target string
	p.JTI, ok1 = o.string("jti", maxName)
	method, ok2 = o.string("htm", maxMethod)
	target, ok3 = o.string("htu", maxTarget)
	issued, ok := o.date("iat")
	if !ok || !ok1 || !ok2 || !ok3 {
		return refuse("dpop.claims")
	}
	if o.has("nonce") {
		if p.Nonce, ok = o.string("nonce", maxNonce); !ok {
			return refuse("dpop.nonce")
		}
	}
	p.IssuedAt = time.Unix(issued, 0).UTC()
	p.Until = p.IssuedAt.Add(Skew)
	switch {
	case method != r.Method:
		return refuse("dpop.method")
	case !sameTarget(target, r.URL):
		return refuse("dpop.url")
	case !r.Now.Before(p.Until):
		return refuse("dpop.expired")
	case r.Now.Add(Skew).Before(p.IssuedAt):
		return refuse("dpop.early")
	}
	return o.checkToken(r.AccessToken)
}

// checkToken wants the hash of the access token that comes with the proof, and
// none where there is no token.
func (o *object) checkToken(access string) error {
	if access == "" {
		if o.has("ath") {
			return refuse("dpop.token")
		}
		return nil
	}
	sum := sha256.Sum256([]byte(access))
	var want [thumbprint]byte
	base64.RawURLEncoding.Encode(want[:], sum[:])
	m := o.find("ath")
	if m == nil {
		return refuse("dpop.claims")
	}
	if m.kind != jsonString || subtle.ConstantTimeCompare(o.text[m.value:m.valueEnd], want[:]) != 1 {
		return refuse("dpop.token")
	}
	return nil
}
