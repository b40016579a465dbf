package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
)

const sealKeySize = 32 // AES-256

// newSeal returns AES-256-GCM (NIST SP 800-38D) under a derived key.
func newSeal(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// SealHeld encrypts what is kept of a waiting act, bound to the row that keeps
// it: a fresh nonce, then the ciphertext. Under one key there is room for some
// four billion (2^32) of them before random nonces become a risk.
func (s *Service) SealHeld(row act.ID, clear []byte) []byte {
	nonce := make([]byte, s.keys.held.NonceSize(), s.keys.held.NonceSize()+len(clear)+s.keys.held.Overhead())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return s.keys.held.Seal(nonce, nonce, clear, rowBytes(row))
}

// OpenHeld is the inverse of SealHeld. It fails when one bit of the sealed bytes
// has changed or when they are another row's.
func (s *Service) OpenHeld(row act.ID, sealed []byte) ([]byte, error) {
	n := s.keys.held.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("identity: sealed content is cut short")
	}
	clear, err := s.keys.held.Open(nil, sealed[:n], sealed[n:], rowBytes(row))
	if err != nil {
		return nil, fmt.Errorf("identity: sealed content does not open: %w", err)
	}
	return clear, nil
}

// Proof returns a keyed hash of parts in their order. Without the network's key
// nobody can test a guess of what was hashed. use keeps hashes for different
// purposes apart.
func (s *Service) Proof(use string, parts ...[]byte) [32]byte {
	text := binary.AppendUvarint(nil, uint64(len(use)))
	text = append(text, use...)
	for _, p := range parts {
		text = binary.AppendUvarint(text, uint64(len(p)))
		text = append(text, p...)
	}
	return s.keys.proof.sum(string(text))
}

func rowBytes(row act.ID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(row)) }
