package token

import (
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"time"
)

// Prove says what a DPoP proof is for.
type Prove struct {
	Method      string
	URL         string // of the request; query and fragment are left out of the proof
	AccessToken string // that is sent with it, or ""
	Nonce       string // the last one that the server gave, or ""
	Now         time.Time
}

// Prove makes a proof for one request: the holder's half of [ReadProof].
func (k Private) Prove(p Prove) (string, error) {
	header := make([]byte, 0, 256)
	header = append(header, `{"alg":"`...)
	header = append(header, k.public.Algorithm().String()...)
	header = append(header, `","jwk":`...)
	header = append(header, k.public.JWK()...)
	header = append(header, `,"typ":"`+typProof+`"}`...)

	target, ok := normalTarget(p.URL)
	if !ok {
		return "", refuse("dpop.url")
	}
	b := make([]byte, 0, 384)
	b = append(b, `{"jti":"`...)
	b = append(b, newID()...)
	b = append(b, `","htm":`...)
	b = appendString(b, p.Method)
	b = append(b, `,"htu":`...)
	b = appendString(b, target)
	b = append(b, `,"iat":`...)
	b = strconv.AppendInt(b, p.Now.Unix(), 10)
	if p.AccessToken != "" {
		sum := sha256.Sum256([]byte(p.AccessToken))
		b = append(b, `,"ath":"`...)
		b = append(b, encode64(sum[:])...)
		b = append(b, '"')
	}
	if p.Nonce != "" {
		b = append(b, `,"nonce":`...)
		b = appendString(b, p.Nonce)
	}
	b = append(b, '}')
	return k.seal(encode64(header), b)
}

// newID returns a jti that nobody has had: 128 random bits.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return encode64(b[:])
}

const assertionLife = time.Minute

// Assert makes a client assertion for one token request: the holder's half of
// [ReadAssertion]. The audience is the issuer's URL.
func (k Private) Assert(client, audience string, now time.Time) (string, error) {
	header := `{"alg":"` + k.public.Algorithm().String() + `","kid":"` + k.public.thumb + `","typ":"` + typAssertion + `"}`
	b := make([]byte, 0, 384)
	b = append(b, `{"iss":`...)
	b = appendString(b, client)
	b = append(b, `,"sub":`...)
	b = appendString(b, client)
	b = append(b, `,"aud":`...)
	b = appendString(b, audience)
	b = append(b, `,"jti":"`...)
	b = append(b, newID()...)
	b = append(b, `","iat":`...)
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, `,"exp":`...)
	b = strconv.AppendInt(b, now.Add(assertionLife).Unix(), 10)
	return k.seal(encode64([]byte(header)), append(b, '}'))
}
