package policy

import (
	"bytes"
	"crypto/ed25519"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qBundleNewest store.Q = `SELECT version, digest FROM policy_bundle ORDER BY version DESC LIMIT 1`
	qBundleSave   store.Q = `INSERT INTO policy_bundle (version, body, digest, active_at) VALUES ($1, $2, $3, $4)`
	qBundleLoad   store.Q = `SELECT body FROM policy_bundle ORDER BY version DESC LIMIT 1`
)

// Save keeps a signed bundle, so that it is the one in force after a restart and
// on every node. It fails with Conflict, rule bundle.version, when a newer one
// or another of the same version is kept already; saving the same again does
// nothing. The caller has checked the bundle's policies ([Engine.Activate]).
func Save(tx *store.Tx, b *Bundle) error {
	var newest int64
	var digest []byte
	if _, err := tx.One(qBundleNewest, func(r *store.Row) error {
		newest, digest = r.Int(0), r.Bytes(1)
		return nil
	}); err != nil {
		return err
	}
	switch {
	case b.Version == newest && bytes.Equal(digest, b.Digest[:]):
		return nil
	case b.Version <= newest:
		return olderThan(b.Version, newest)
	}
	raw, err := b.wire()
	if err != nil {
		return err
	}
	return tx.Batch(qBundleSave, b.Version, raw, b.Digest[:], tx.Now())
}

// Load returns the newest bundle that is kept; found is false when there is
// none. A kept bundle that [Parse] refuses is an error and not passed over: an
// older one in its place would be a way to undo it.
func Load(v *store.View, pub ed25519.PublicKey) (b *Bundle, found bool, err error) {
	var raw []byte
	found, err = v.One(qBundleLoad, func(r *store.Row) error { raw = r.Bytes(0); return nil })
	if err != nil || !found {
		return nil, false, err
	}
	b, err = Parse(raw, pub)
	return b, err == nil, err
}

func olderThan(version, newest int64) error {
	return act.Errorf(act.Conflict, "the bundle is version %d; version %d is in force", version, newest).
		WithRule("bundle.version").
		WithHint("the bundle in force stays; to go back, sign the older policies again with a higher version")
}
