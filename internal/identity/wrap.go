package identity

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
)

// purpose is what a wrapping key is used for. Each has a key of its own under every
// version, so that what was made for one opens as no other.
type purpose int

const (
	forKeys     purpose = iota // of conversations, and those that sign access tokens and SVIDs
	forTexts                   // what authors deleted, kept for responders
	forWebhooks                // the secrets of webhooks
	purposes
)

// The names under which the keys of version 1 are derived from the master key, and
// those of later versions from theirs. They are permanent.
var (
	infoFirst = [purposes]string{"reefwarden/1/conversation key wrap/1", "reefwarden/1/sealed content", "reefwarden/1/webhook secret"} // read-only
	infoLater = [purposes]string{"reefwarden/2/wrap keys", "reefwarden/2/wrap texts", "reefwarden/2/wrap webhook secrets"}             // read-only
)

const infoMark = "reefwarden/2/wrap mark"

// wrapKey is one version of the wrapping key.
type wrapKey struct {
	aead [purposes]cipher.AEAD
	mark [16]byte // tells it from another of its number, and nothing about it
}

// wraps are the versions that this node knows, and the one that it uses.
type wraps struct {
	known  atomic.Pointer[[]wrapKey] // version n is at n-1; replaced whole
	active atomic.Int64              // the version to wrap under; 1 until the database says more
}

// take replaces what is known by the versions of a ring.
func (w *wraps) take(from ring) error {
	list := make([]wrapKey, 0, len(from.Wrapping)+1)
	one, err := deriveWrap(from.Root, infoFirst)
	list = append(list, one)
	for _, later := range from.Wrapping {
		next, lerr := deriveWrap(later.Key, infoLater)
		err = errors.Join(err, lerr)
		list = append(list, next)
	}
	if err != nil {
		return err
	}
	w.known.Store(&list)
	w.active.CompareAndSwap(0, 1)
	return nil
}

func deriveWrap(key []byte, infos [purposes]string) (w wrapKey, err error) {
	for p, info := range infos {
		raw, err := hkdf.Key(sha256.New, key, nil, info, wrapKeySize)
		if err != nil {
			return w, err
		}
		block, err := aes.NewCipher(raw)
		clear(raw)
		if err != nil {
			return w, err
		}
		if w.aead[p], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return w, err
		}
	}
	mark, err := hkdf.Key(sha256.New, key, nil, infoMark, len(w.mark))
	copy(w.mark[:], mark)
	return w, err
}

// mark returns the mark of a version, and whether it is known here.
func (w *wraps) mark(version int64) (mark [16]byte, known bool) {
	list := *w.known.Load()
	if version < 1 || version > int64(len(list)) {
		return mark, false
	}
	return list[version-1].mark, true
}

// use takes a version into use. It never goes back to an older one.
func (w *wraps) use(version int64, mark []byte) error {
	have, known := w.mark(version)
	if !known {
		return unknownVersion(version)
	}
	if !bytes.Equal(have[:], mark) {
		return act.Errorf(act.Unavailable, "the ring of keys has another version %d of the wrapping key than the network", version).WithRule("key.version").
			WithHint("it was made from an older copy: put the ring back that has the network's own versions")
	}
	for {
		now := w.active.Load()
		if now >= version || w.active.CompareAndSwap(now, version) {
			return nil
		}
	}
}

// Wrapper encrypts what is small and secret under the newest version of the wrapping
// key, for one purpose.
type Wrapper struct {
	wraps *wraps
	use   purpose
}

// Wrapper returns the keys' wrapper for the keys of conversations.
func (k *Keys) Wrapper() Wrapper { return Wrapper{&k.wrap, forKeys} }

// TextWrapper returns the keys' wrapper for what authors deleted.
func (k *Keys) TextWrapper() Wrapper { return Wrapper{&k.wrap, forTexts} }

// WebhookWrapper returns the keys' wrapper for the secrets of webhooks.
func (k *Keys) WebhookWrapper() Wrapper { return Wrapper{&k.wrap, forWebhooks} }

// Version is the version that Wrap uses now.
func (w Wrapper) Version() int64 { return w.wraps.active.Load() }

// Wrap encrypts a secret (AES-256-GCM with a random nonce in front; NIST SP 800-38D).
// bound is what it belongs to: it opens only beside the same bytes. The version says
// which wrapping key was used, and is kept with the result.
func (w Wrapper) Wrap(plain, bound []byte) (version int64, wrapped []byte) {
	version = w.Version()
	return version, (*w.wraps.known.Load())[version-1].aead[w.use].Seal(nil, nil, plain, bound)
}

// Versions returns how many versions of the wrapping key this node has.
func (k *Keys) Versions() int { return len(*k.wrap.known.Load()) }

// wrapUnder is Wrap under a version that is about to be taken into use.
func (w Wrapper) wrapUnder(version int64, plain, bound []byte) ([]byte, error) {
	list := *w.wraps.known.Load()
	if version < 1 || version > int64(len(list)) {
		return nil, unknownVersion(version)
	}
	return list[version-1].aead[w.use].Seal(nil, nil, plain, bound), nil
}

// Unwrap opens what Wrap made. It fails for other bound bytes, and when anything was
// changed; with act.Unavailable for a version that has not come to this node yet.
func (w Wrapper) Unwrap(version int64, wrapped, bound []byte) ([]byte, error) {
	list := *w.wraps.known.Load()
	if version < 1 || version > int64(len(list)) {
		return nil, unknownVersion(version)
	}
	plain, err := list[version-1].aead[w.use].Open(nil, nil, wrapped, bound)
	if err != nil {
		return nil, fmt.Errorf("identity: unwrap: %w", err)
	}
	return plain, nil
}

func unknownVersion(version int64) error {
	return act.Errorf(act.Unavailable, "this node has no version %d of the network's wrapping key", version).WithRule("key.version").WithRetry(retryAfter).
		WithHint("its ring of keys is older than the network's: see whether it reaches the store, or copy the newest file to it")
}
