package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// cosigner verifies the signatures of a witness (C2SP tlog-cosignature, version 1 with
// Ed25519), which say when it saw a checkpoint. It is a note.Verifier.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

const (
	algCosignature = 0x04
	timeSize       = 8
)

// newCosigner reads a witness's key: NAME+HASH+KEY, as it publishes it.
func newCosigner(vkey string) (*cosigner, error) {
	bad := fmt.Errorf("%q is not the key of a witness: want NAME+HASH+KEY of a cosignature key", vkey)
	name, rest, _ := strings.Cut(vkey, "+")
	hash, text, _ := strings.Cut(rest, "+")
	want, err := strconv.ParseUint(hash, 16, 32)
	if err != nil || len(hash) != 8 || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' }) {
		return nil, bad
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != algCosignature {
		return nil, bad
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	c := &cosigner{name: name, hash: binary.BigEndian.Uint32(sum[:4]), key: raw[1:]}
	if uint64(c.hash) != want {
		return nil, bad
	}
	return c, nil
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

// Verify reports whether the witness has signed the text of a note.
func (c *cosigner) Verify(text, sig []byte) bool {
	if len(sig) != timeSize+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(sig[:timeSize])
	said := fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text)
	return ed25519.Verify(c.key, said, sig[timeSize:])
}

// cosigned returns which of the witnesses have signed a note, by the note's own
// signatures. The note must have a good signature of the log.
func cosigned(signed []byte, log note.Verifier, by []*cosigner) (map[string]bool, error) {
	known := []note.Verifier{log}
	for _, c := range by {
		known = append(known, c)
	}
	n, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return nil, fmt.Errorf("audit: a cosigned checkpoint: %w", err)
	}
	has := make(map[string]bool, len(by))
	for _, s := range n.Sigs {
		has[s.Name] = true
	}
	delete(has, log.Name())
	return has, nil
}
