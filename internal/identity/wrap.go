package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
)

// infoWrap derives the key that wraps the keys of conversations. It is neither
// the id key nor any other, so that it can be replaced alone: a later version
// has another name, new keys are wrapped under the newest, and what was wrapped
// under an earlier one still opens.
const infoWrap = "reefwarden/1/conversation key wrap/1"

// wrapVersion is the version of the wrapping key that Wrap uses.
const wrapVersion = 1

func newWrap(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Wrap encrypts a key under the network's newest wrapping key (AES-256-GCM with
// a random nonce in front; NIST SP 800-38D). bound is what the wrapped key
// belongs to: it opens only beside the same bytes. The version says which
// wrapping key was used, and is kept with the result.
func (k *Keys) Wrap(key, bound []byte) (version int64, wrapped []byte) {
	return wrapVersion, k.wrap.Seal(nil, nil, key, bound)
}

// Unwrap opens what Wrap made. It fails for an unknown version, for other bound
// bytes, and when anything was changed.
func (k *Keys) Unwrap(version int64, wrapped, bound []byte) ([]byte, error) {
	if version != wrapVersion {
		return nil, fmt.Errorf("identity: no wrapping key of version %d", version)
	}
	key, err := k.wrap.Open(nil, nil, wrapped, bound)
	if err != nil {
		return nil, fmt.Errorf("identity: unwrap a key: %w", err)
	}
	return key, nil
}
