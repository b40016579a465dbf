package audit

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Key is what the tree is kept with. It comes from the network's ring, and the database
// has none of it: who can change every row can sign nothing.
type Key struct {
	Sign ed25519.PrivateKey // checkpoints
	Mark []byte             // the places of leaves
}

// Public returns the key under which checkpoints verify, in the form of C2SP
// signed-note: what auditors pin.
func (k Key) Public(origin string) (string, error) {
	pub, _ := k.Sign.Public().(ed25519.PublicKey)
	text, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		return "", fmt.Errorf("audit: the key of the log %q: %w", origin, err)
	}
	return text, nil
}

// signer signs checkpoints of an origin.
type signer struct {
	note.Verifier
	key ed25519.PrivateKey
}

func (s signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

func (k Key) signer(origin string) (signer, error) {
	text, err := k.Public(origin)
	if err != nil {
		return signer{}, err
	}
	v, err := note.NewVerifier(text)
	return signer{v, k.Sign}, err
}

// markSize is the length of a mark: enough that nobody hits one by trying, who has to
// change the database for each try and ask whether it verifies.
const markSize = 8

// marker makes the marks of leaves: a keyed hash over the place and the hash of a leaf.
// A root says that something was changed; marks say which leaf was, also to somebody
// before whom all hashes were made anew. A marker is for one goroutine.
type marker struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

func newMarker(k Key) *marker { return &marker{mac: hmac.New(sha256.New, k.Mark)} }

// mark returns the mark of the leaf with a sequence number; it is valid until the next.
func (m *marker) mark(seq int64, h tlog.Hash) []byte {
	var place [8]byte
	binary.BigEndian.PutUint64(place[:], uint64(seq))
	m.mac.Reset()
	m.mac.Write(place[:])
	m.mac.Write(h[:])
	return m.mac.Sum(m.sum[:0])[:markSize]
}
