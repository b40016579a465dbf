package token

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

// NonceWindow is how long a node gives out one nonce. It is good in the next
// window too, so that a client has at least this long to use it.
const NonceWindow = 2 * time.Minute

const (
	nonceBody  = 10 // node (2), start of the process (4), window (4)
	nonceTag   = 14
	nonceBytes = nonceBody + nonceTag
	nonceChars = nonceBytes * 4 / 3
)

// Nonces makes and checks the nonces that DPoP proofs carry (RFC 9449 §8). A
// nonce checks itself by a tag under a key that all nodes have, and names the
// node that made it, which is where the proofs that carry it are remembered. It
// names that node's start as well: a node that starts again has forgotten what
// it saw and takes no nonce from before.
type Nonces struct {
	key  []byte
	node uint16
	boot [4]byte
}

// NewNonces returns the nonces of a node that starts. The key has 16 bytes or
// more and is the same on every node.
func NewNonces(key []byte, node int) (*Nonces, error) {
	if len(key) < 16 || node < 0 || node > 1<<16-1 {
		return nil, fmt.Errorf("token: nonces: a key of %d bytes for node %d", len(key), node)
	}
	n := &Nonces{key: append([]byte(nil), key...), node: uint16(node)}
	_, _ = rand.Read(n.boot[:]) // never fails (crypto/rand)
	return n, nil
}

// Make returns the nonce to give out now.
func (n *Nonces) Make(now time.Time) string {
	var b [nonceBytes]byte
	binary.BigEndian.PutUint16(b[:], n.node)
	copy(b[2:], n.boot[:])
	binary.BigEndian.PutUint32(b[6:], uint32(window(now)))
	n.tag(&b)
	return encode64(b[:])
}

func window(now time.Time) int64 { return now.Unix() / int64(NonceWindow/time.Second) }

// tag fills in the tag over the rest.
func (n *Nonces) tag(b *[nonceBytes]byte) {
	mac := hmac.New(sha256.New, n.key)
	mac.Write([]byte("dpop nonce"))
	mac.Write(b[:nonceBody])
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	copy(b[nonceBody:], sum[:])
}

// Check returns the node that made the nonce, at which a proof with it has to be
// looked for. It fails with dpop.nonce when no node of this network made it, or
// when its time is over, or when this node made it before it was started again.
// A node that is asked about a proof checks the nonce itself.
func (n *Nonces) Check(nonce string, now time.Time) (node int, err error) {
	var b, want [nonceBytes]byte
	if len(nonce) != nonceChars {
		return 0, refuse("dpop.nonce")
	}
	var text [nonceChars]byte
	copy(text[:], nonce)
	if !plain64(text[:]) {
		return 0, refuse("dpop.nonce")
	}
	if _, err := base64.RawURLEncoding.Decode(b[:], text[:]); err != nil {
		return 0, refuse("dpop.nonce")
	}
	want = b
	n.tag(&want)
	if !hmac.Equal(b[:], want[:]) {
		return 0, refuse("dpop.nonce")
	}
	begin := time.Unix(int64(binary.BigEndian.Uint32(b[6:]))*int64(NonceWindow/time.Second), 0)
	if now.Add(Skew).Before(begin) || !now.Before(begin.Add(2*NonceWindow)) {
		return 0, refuse("dpop.nonce")
	}
	from := binary.BigEndian.Uint16(b[:])
	if from == n.node && [4]byte(b[2:6]) != n.boot {
		return 0, refuse("dpop.nonce")
	}
	return int(from), nil
}
