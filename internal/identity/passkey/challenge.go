package passkey

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The kinds of ceremony. A challenge is good for one of them.
const (
	toAdd   = "add"
	toProve = "prove"
)

// life is how long a human may take from the page to the answer.
const life = 5 * time.Minute

// A challenge is 16 random bytes, when it ends (Unix microseconds), and a proof that this
// network has made both for one operator's session and one kind of ceremony. So nothing
// is stored before there is an answer, and every node knows the challenges of all.
const (
	sizeNonce     = 16
	sizeBody      = sizeNonce + 8
	sizeChallenge = sizeBody + 32
)

// challenge makes one for the session that p is in, in base64url.
func (k *Keeper) challenge(kind string, p act.Principal) string {
	var c [sizeChallenge]byte
	_, _ = rand.Read(c[:sizeNonce]) // never fails (crypto/rand)
	binary.BigEndian.PutUint64(c[sizeNonce:], uint64(act.Micros(k.Clock().Add(life))))
	proof := k.proof(kind, p, c[:sizeBody])
	copy(c[sizeBody:], proof[:])
	return base64.RawURLEncoding.EncodeToString(c[:])
}

func (k *Keeper) proof(kind string, p act.Principal, body []byte) [32]byte {
	who := binary.BigEndian.AppendUint64(nil, uint64(p.ID))
	return k.Identity.Proof("passkey", []byte(kind), who, binary.BigEndian.AppendUint64(nil, uint64(p.Credential)), body)
}

// spent is a challenge that was answered.
type spent struct {
	text  string
	until time.Time
}

// answered checks that a challenge which came back was made for p's session and this
// kind of ceremony, and is not over. now is in Unix microseconds.
func (k *Keeper) answered(kind string, p act.Principal, text string, now int64) (s spent, err error) {
	stale := act.Errorf(act.Denied, "this was asked for in another session, or too long ago").WithRule("passkey.challenge").
		WithHint("load the page again and use the passkey at once")
	c, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(c) != sizeChallenge {
		return s, stale
	}
	proof := k.proof(kind, p, c[:sizeBody])
	until := int64(binary.BigEndian.Uint64(c[sizeNonce:sizeBody]))
	if subtle.ConstantTimeCompare(proof[:], c[sizeBody:]) != 1 || now > until {
		return s, stale
	}
	return spent{text, act.FromMicros(until)}, nil
}

// spend takes an answered challenge out of use, in the transaction that takes the answer.
func (k *Keeper) spend(tx *store.Tx, s spent) error {
	err := k.Identity.Once(tx, "passkey", s.text, s.until)
	if act.CodeOf(err) == act.Unauthenticated {
		err = act.Errorf(act.Denied, "this answer was taken before").WithRule("passkey.replayed").WithHint("load the page again and use the passkey once more")
	}
	return err
}
