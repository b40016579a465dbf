package identity

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Seal makes a webhook's secret unreadable to who has only the database. It is
// bound to its webhook: sealed under one, it does not open under another.
func (k *Keys) Seal(plain []byte, webhook act.ID) []byte {
	nonce := make([]byte, k.seal.NonceSize())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return k.seal.Seal(nonce, nonce, plain, bound(webhook))
}

// Open gives back what Seal was given. It fails with act.Internal for bytes that
// this network did not seal for the webhook.
func (k *Keys) Open(sealed []byte, webhook act.ID) ([]byte, error) {
	if n := k.seal.NonceSize(); len(sealed) >= n {
		if plain, err := k.seal.Open(nil, sealed[:n], sealed[n:], bound(webhook)); err == nil {
			return plain, nil
		}
	}
	return nil, act.Errorf(act.Internal, "a sealed secret does not open").WithRule("webhook.secret")
}

func bound(id act.ID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }
