package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
)

// Algorithm is how a key signs.
type Algorithm uint8

// The algorithms of this network's own tokens and of its agents. Each belongs to
// one kind of key, so that no header can choose another for it (RFC 8725 §3.1).
const (
	EdDSA Algorithm = iota + 1 // Ed25519 (RFC 8037)
	ES256                      // ECDSA with P-256 and SHA-256 (RFC 7518 §3.4)
)

// String returns the algorithm's name in a header.
func (a Algorithm) String() string {
	switch a {
	case EdDSA:
		return "EdDSA"
	case ES256:
		return "ES256"
	}
	return "none"
}

// nameEd25519 is the fully specified name of EdDSA with Ed25519 (RFC 9864),
// which newer clients write.
const nameEd25519 = "Ed25519"

// is reports whether a header's name means the algorithm.
func (a Algorithm) is(name string) bool {
	return name == a.String() && a != 0 || a == EdDSA && name == nameEd25519
}

func algorithmOf(name string) Algorithm {
	for _, a := range [...]Algorithm{EdDSA, ES256} {
		if a.is(name) {
			return a
		}
	}
	return 0
}

const (
	coordinate   = 32 // bytes of an Ed25519 key, and of a P-256 coordinate
	thumbprint   = 43 // characters of a SHA-256 in base64url
	signature    = 64 // bytes of a signature by either algorithm
	maxKeyID     = 128
	maxJWK       = 2048
	uncompressed = 4 // first byte of a point with both coordinates (SEC 1 §2.3.3)
)

// Public is a public key that signatures are verified with. The zero value
// verifies nothing. Compare thumbprints, not values.
type Public struct {
	id    string // the holder's name for it (kid), or ""
	thumb string
	ed    ed25519.PublicKey
	ec    *ecdsa.PublicKey
	point [1 + 2*coordinate]byte // of ec, uncompressed
}

// PublicFrom wraps an ed25519.PublicKey or a P-256 *ecdsa.PublicKey.
func PublicFrom(key crypto.PublicKey) (Public, error) {
	switch key := key.(type) {
	case ed25519.PublicKey:
		return newEd25519(key)
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return Public{}, refuse("key.form")
		}
		point, err := key.Bytes()
		if err != nil {
			return Public{}, refuse("key.form")
		}
		return newP256(point)
	}
	return Public{}, refuse("key.form")
}

func newEd25519(key []byte) (Public, error) {
	if len(key) != ed25519.PublicKeySize || smallOrder(key) {
		return Public{}, refuse("key.form")
	}
	p := Public{ed: append(ed25519.PublicKey(nil), key...)}
	p.thumb = p.print()
	return p, nil
}

func newP256(point []byte) (Public, error) {
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point) // refuses what is off the curve
	if err != nil {
		return Public{}, refuse("key.form")
	}
	p := Public{ec: key, point: [1 + 2*coordinate]byte(point)}
	p.thumb = p.print()
	return p, nil
}

// smallOrder reports whether an Ed25519 key is one of the few points for which
// anybody can make signatures. They are told by y, whatever the sign of x: 0, 1,
// -1 and the two of order eight, and 0 and 1 once more as p and p+1. RFC 8032
// does not have verifiers refuse them; a key that binds a token must be somebody's.
func smallOrder(key []byte) bool {
	var y [coordinate]byte
	copy(y[:], key)
	y[coordinate-1] &= 0x7f
	for _, weak := range weakPoints {
		if string(y[:]) == weak {
			return true
		}
	}
	return false
}

const (
	zeros = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	ones  = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
)

// weakPoints are y coordinates, little endian as in a key.
var weakPoints = [...]string{
	"\x00" + zeros,
	"\x01" + zeros,
	"\xec" + ones + "\x7f", // p-1
	"\xed" + ones + "\x7f", // p
	"\xee" + ones + "\x7f", // p+1
	"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
	"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
}

// ParseJWK reads a public key as a JWK (RFC 7517, RFC 8037, RFC 7518 §6.2).
// A JWK that holds any part of a private or symmetric key is refused: whoever
// sent it has given it away.
func ParseJWK(text []byte) (Public, error) {
	var o object
	if len(text) > maxJWK || !o.read(text) {
		return Public{}, refuse("key.form")
	}
	return o.key()
}

// key reads a public key from a JWK.
func (o *object) key() (Public, error) {
	for _, private := range [...]string{"d", "k", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
		if o.has(private) {
			return Public{}, refuse("key.form")
		}
	}
	var (
		p   Public
		err error
		x   [coordinate]byte
	)
	switch {
	case !o.bytes("x", x[:]):
		return Public{}, refuse("key.form")
	case o.is("kty", "OKP") && o.is("crv", "Ed25519"):
		p, err = newEd25519(x[:])
	case o.is("kty", "EC") && o.is("crv", "P-256"):
		var point [1 + 2*coordinate]byte
		point[0] = uncompressed
		copy(point[1:], x[:])
		if !o.bytes("y", point[1+coordinate:]) {
			return Public{}, refuse("key.form")
		}
		p, err = newP256(point[:])
	default:
		return Public{}, refuse("key.form")
	}
	if err != nil {
		return Public{}, err
	}
	if o.has("use") && !o.is("use", "sig") {
		return Public{}, refuse("key.form")
	}
	if o.has("alg") {
		name, _ := o.string("alg", maxWord)
		if !p.Algorithm().is(name) {
			return Public{}, refuse("key.form")
		}
	}
	if o.has("kid") {
		id, ok := o.string("kid", maxKeyID)
		if !ok {
			return Public{}, refuse("key.form")
		}
		p.id = id
	}
	return p, nil
}

// bytes fills into from a member that is its base64url in canonical form.
func (o *object) bytes(name string, into []byte) bool {
	m := o.find(name)
	if m == nil || m.kind != jsonString {
		return false
	}
	return decodeInto(into, o.text[m.value:m.valueEnd])
}

// decodeInto decodes base64url that fills into exactly.
func decodeInto(into, text []byte) bool {
	if base64.RawURLEncoding.EncodedLen(len(into)) != len(text) || !plain64(text) {
		return false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(into, text)
	return err == nil && n == len(into)
}

// plain64 reports whether text has no line breaks, which Go's decoder skips.
func plain64(text []byte) bool {
	for _, c := range text {
		if c < ' ' {
			return false
		}
	}
	return true
}

// Algorithm returns how the key signs, 0 for no key.
func (p Public) Algorithm() Algorithm {
	switch {
	case p.ed != nil:
		return EdDSA
	case p.ec != nil:
		return ES256
	}
	return 0
}

// Key returns the key as the standard library has it, nil for none.
func (p Public) Key() crypto.PublicKey {
	switch {
	case p.ed != nil:
		return p.ed
	case p.ec != nil:
		return p.ec
	}
	return nil
}

// Thumbprint returns the key's name: the SHA-256 of its least JWK, in base64url
// (RFC 7638). It is the jkt of a binding, and the kid of our own keys.
func (p Public) Thumbprint() string { return p.thumb }

// ID returns the kid that stood in the key's JWK, or "".
func (p Public) ID() string { return p.id }

// named reports whether a kid means the key.
func (p Public) named(kid string) bool { return kid == p.thumb || kid == p.id && kid != "" }

// JWK returns the key as a JWK with nothing but what is needed, which is what
// its thumbprint is the hash of.
func (p Public) JWK() []byte {
	b := make([]byte, 0, 160)
	switch {
	case p.ed != nil:
		b = append(b, `{"crv":"Ed25519","kty":"OKP","x":"`...)
		b = base64.RawURLEncoding.AppendEncode(b, p.ed)
	case p.ec != nil:
		b = append(b, `{"crv":"P-256","kty":"EC","x":"`...)
		b = base64.RawURLEncoding.AppendEncode(b, p.point[1:1+coordinate])
		b = append(b, `","y":"`...)
		b = base64.RawURLEncoding.AppendEncode(b, p.point[1+coordinate:])
	default:
		return nil
	}
	return append(b, `"}`...)
}

func (p Public) print() string {
	sum := sha256.Sum256(p.JWK())
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// verify reports whether sig is the key's signature of input.
func (p Public) verify(input, sig []byte) bool {
	switch {
	case len(sig) != signature:
		return false
	case p.ed != nil:
		return ed25519.Verify(p.ed, input, sig)
	case p.ec != nil:
		sum := sha256.Sum256(input)
		var r, s big.Int
		return ecdsa.Verify(p.ec, sum[:], r.SetBytes(sig[:signature/2]), s.SetBytes(sig[signature/2:]))
	}
	return false
}

// Private is a key pair that signs.
type Private struct {
	signer crypto.Signer
	public Public
}

// NewKey makes a key pair.
func NewKey(a Algorithm) (Private, error) {
	switch a {
	case EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return Private{}, fmt.Errorf("token: make a key: %w", err)
		}
		return PrivateFrom(key)
	case ES256:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return Private{}, fmt.Errorf("token: make a key: %w", err)
		}
		return PrivateFrom(key)
	}
	return Private{}, fmt.Errorf("token: make a key: no algorithm %d", a)
}

// PrivateFrom wraps an ed25519.PrivateKey or a P-256 *ecdsa.PrivateKey.
func PrivateFrom(key crypto.Signer) (Private, error) {
	switch key.(type) {
	case ed25519.PrivateKey, *ecdsa.PrivateKey:
	default:
		return Private{}, fmt.Errorf("token: no key pair of a kind that signs here: %T", key)
	}
	public, err := PublicFrom(key.Public())
	if err != nil {
		return Private{}, err
	}
	return Private{signer: key, public: public}, nil
}

// ParsePKCS8 is the inverse of [Private.PKCS8].
func ParsePKCS8(der []byte) (Private, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return Private{}, fmt.Errorf("token: read a key pair: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return Private{}, fmt.Errorf("token: no key pair of a kind that signs here: %T", key)
	}
	return PrivateFrom(signer)
}

// PKCS8 returns the key pair in the clear, to be wrapped and stored (RFC 5958).
func (k Private) PKCS8() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return nil, fmt.Errorf("token: write a key pair: %w", err)
	}
	return der, nil
}

// Public returns the half that may be shown.
func (k Private) Public() Public { return k.public }

// String says which key it is and nothing of it.
func (k Private) String() string { return "key pair " + k.public.thumb }

// GoString says which key it is and nothing of it.
func (k Private) GoString() string { return k.String() }

// sign appends the signature of input to b.
func (k Private) sign(b, input []byte) ([]byte, error) {
	switch key := k.signer.(type) {
	case ed25519.PrivateKey:
		return append(b, ed25519.Sign(key, input)...), nil
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256(input)
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			return nil, fmt.Errorf("token: sign: %w", err)
		}
		var sig [signature]byte
		r.FillBytes(sig[:signature/2])
		s.FillBytes(sig[signature/2:])
		return append(b, sig[:]...), nil
	}
	return nil, fmt.Errorf("token: sign: no key")
}
