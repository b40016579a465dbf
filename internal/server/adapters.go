package server

import (
	"crypto/ed25519"
	"hash/fnv"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/policy"
)

// directory gives policy the facts that lifecycle keeps in memory.
type directory struct{ *lifecycle.Lifecycle }

func (d directory) Facts(p act.Principal) policy.PrincipalFacts {
	f := d.Lifecycle.Facts(p.ID)
	return policy.PrincipalFacts{Standing: f.Standing, Claimed: f.Claimed, Owner: f.Owner}
}

func policyPublic(key ed25519.PrivateKey) ed25519.PublicKey {
	return key.Public().(ed25519.PublicKey)
}

// busPrefix keeps the signals of networks on one NATS apart, and is the same on
// all nodes of a network however each reaches the database: it comes from the
// check value of the network's key.
func busPrefix(check []byte) string {
	h := fnv.New64a()
	_, _ = h.Write(check)
	return "n" + strconv.FormatUint(h.Sum64(), 36)
}
