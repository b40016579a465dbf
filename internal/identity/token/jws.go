package token

import (
	"bytes"
	"encoding/base64"
)

// Bounds of what is read, in bytes of the compact form.
const (
	maxToken     = 8192
	maxProof     = 4096
	maxAssertion = 4096
	maxHeader    = 2048 // of a header, in base64url
	maxWord      = 64   // of typ and alg
)

// A family is one kind of JWT: its bound, and the first part of its rules.
type family struct {
	name string
	most int
}

func (f family) refuse(what string) error { return refuse(f.name + "." + what) }

// envelope is a compact JWS (RFC 7515 §7.1) taken apart. Nothing in it is to be
// believed before the signature is verified.
type envelope struct {
	input   []byte // what was signed
	payload []byte
	sig     []byte
	alg     string
	header  object
}

// open takes a compact JWS apart and refuses what no JWT of ours may have,
// whoever signed it: other serialisations and encryption (RFC 7516), the
// algorithm "none", extensions that must be understood (crit, b64, zip), and
// places to fetch a key from (jku, x5u).
func (e *envelope) open(f family, text string) error {
	if len(text) > f.most {
		return f.refuse("size")
	}
	// One buffer holds the text and, behind it, what its parts decode to.
	buf := make([]byte, len(text), 2*len(text))
	copy(buf, text)
	first := bytes.IndexByte(buf, '.')
	last := bytes.LastIndexByte(buf, '.')
	if first <= 0 || last <= first+1 || bytes.IndexByte(buf[first+1:last], '.') >= 0 || first > maxHeader {
		return f.refuse("malformed")
	}
	e.input = buf[:last]
	header, ok1 := decodePart(&buf, 0, first)
	payload, ok2 := decodePart(&buf, first+1, last)
	sig, ok3 := decodePart(&buf, last+1, len(text))
	if !ok1 || !ok2 || !ok3 || !e.header.read(header) {
		return f.refuse("malformed")
	}
	e.payload, e.sig = payload, sig
	for _, extension := range [...]string{"crit", "b64", "zip", "enc", "jku", "x5u"} {
		if e.header.has(extension) {
			return f.refuse("critical")
		}
	}
	var ok bool
	if e.alg, ok = e.header.string("alg", maxWord); !ok {
		return f.refuse("algorithm")
	}
	return nil
}

// decodePart decodes a part of the text in canonical base64url without padding
// (RFC 7515 §2) to the end of the buffer, which has room for it.
func decodePart(buf *[]byte, begin, end int) (part []byte, ok bool) {
	b := *buf
	if !plain64(b[begin:end]) {
		return nil, false
	}
	n := len(b)
	b, err := base64.RawURLEncoding.Strict().AppendDecode(b, b[begin:end])
	*buf = b
	return b[n:len(b):len(b)], err == nil
}

// seal signs a header and a payload and returns them in compact form.
func (k Private) seal(header string, payload []byte) (string, error) {
	size := base64.RawURLEncoding.EncodedLen(len(payload))
	b := make([]byte, 0, len(header)+size+2+base64.RawURLEncoding.EncodedLen(signature))
	b = append(b, header...)
	b = append(b, '.')
	b = base64.RawURLEncoding.AppendEncode(b, payload)
	var sig [signature]byte
	s, err := k.sign(sig[:0], b)
	if err != nil {
		return "", err
	}
	b = append(b, '.')
	return string(base64.RawURLEncoding.AppendEncode(b, s)), nil
}

// encode64 returns base64url without padding.
func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
