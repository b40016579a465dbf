package policy

import (
	"bytes"
	"crypto/ed25519"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	keptColumns = `version, digest, active_at, id, operator, reason, source, defaults, policies, own, bytes`

	qBundleNewest store.Q = `SELECT version, digest FROM policy_bundle ORDER BY version DESC LIMIT 1`
	qBundleSave   store.Q = `INSERT INTO policy_bundle (version, body, digest, active_at, id, operator, reason, source, defaults, policies, own, bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`
	qBundleLoad    store.Q = `SELECT body FROM policy_bundle ORDER BY version DESC LIMIT 1`
	qBundleVersion store.Q = `SELECT body FROM policy_bundle WHERE version = $1`
	qBundleKept    store.Q = `SELECT ` + keptColumns + ` FROM policy_bundle WHERE version = $1`
	qBundleMade    store.Q = `SELECT version FROM policy_bundle WHERE id = $1`
	qBundles       store.Q = `SELECT ` + keptColumns + ` FROM policy_bundle WHERE version < $1 ORDER BY version DESC LIMIT $2`
)

// Sources of bundles, as they are stored.
const (
	SourceRelease  = "release"  // a server brought newer defaults
	SourceOperator = "operator" // policy.activate
	SourceRevert   = "revert"   // policy.revert
)

// Origin says how a bundle came to be in force.
type Origin struct {
	Operator act.ID // 0 for the server
	Reason   string
	Source   string
}

// Kept is a bundle that was put in force at some time, without its texts.
type Kept struct {
	Origin
	ID       act.ID // 0 of before bundles had one
	Version  int64
	Digest   []byte
	ActiveAt int64 // Unix microseconds
	Defaults int64 // version of the defaults in it
	Policies int64 // files
	Own      int64 // files of operators
	Bytes    int64 // of the signed form
}

func scanKept(r *store.Row) Kept {
	k := Kept{
		Version: r.Int(0), Digest: r.Bytes(1), ActiveAt: r.Int(2), ID: r.ID(3), Origin: Origin{Operator: r.ID(4), Reason: r.Text(5), Source: r.Text(6)},
		Defaults: r.Int(7), Policies: r.Int(8), Own: r.Int(9), Bytes: r.Int(10),
	}
	if k.Defaults == 0 {
		k.Defaults = k.Version
	}
	return k
}

// Save keeps a signed bundle, so that it is the one in force after a restart and
// on every node. It fails with Conflict, rule bundle.version, when a newer one
// or another of the same version is kept already; saving the same again does
// nothing. The caller has checked the bundle's policies ([Engine.Activate]).
func Save(tx *store.Tx, b *Bundle, from Origin) (act.ID, error) {
	newest, digest, err := newestKept(&tx.View)
	switch {
	case err != nil:
		return 0, err
	case b.Version == newest && bytes.Equal(digest, b.Digest[:]):
		return 0, nil
	case b.Version <= newest:
		return 0, olderThan(b.Version, newest)
	}
	raw, err := b.wire()
	if err != nil {
		return 0, err
	}
	id, err := tx.Mint(act.KindBundle)
	if err != nil {
		return 0, err
	}
	return id, tx.Batch(qBundleSave, b.Version, raw, b.Digest[:], tx.Now(), id, from.Operator, from.Reason, from.Source,
		b.Defaults, int64(len(b.Files)), int64(len(b.Own)), int64(len(raw)))
}

// newestKept returns version and digest of the newest bundle that is kept; 0 without one.
func newestKept(v *store.View) (version int64, digest []byte, err error) {
	_, err = v.One(qBundleNewest, func(r *store.Row) error {
		version, digest = r.Int(0), r.Bytes(1)
		return nil
	})
	return version, digest, err
}

// Load returns the newest bundle that is kept; found is false when there is
// none. A kept bundle that [Parse] refuses is an error and not passed over: an
// older one in its place would be a way to undo it.
func Load(v *store.View, pub ed25519.PublicKey) (b *Bundle, found bool, err error) {
	return loaded(v, pub, qBundleLoad)
}

// loadVersion returns the bundle of a version; NotFound without one.
func loadVersion(v *store.View, pub ed25519.PublicKey, version int64) (*Bundle, error) {
	b, found, err := loaded(v, pub, qBundleVersion, version)
	if err == nil && !found {
		err = noVersion(version)
	}
	return b, err
}

func loaded(v *store.View, pub ed25519.PublicKey, q store.Q, args ...any) (b *Bundle, found bool, err error) {
	var raw []byte
	found, err = v.One(q, func(r *store.Row) error { raw = r.Bytes(0); return nil }, args...)
	if err != nil || !found {
		return nil, false, err
	}
	b, err = Parse(raw, pub)
	return b, err == nil, err
}

// keptOf returns what is known of the bundle of a version; NotFound without one.
func keptOf(v *store.View, version int64) (k Kept, err error) {
	found, err := v.One(qBundleKept, func(r *store.Row) error { k = scanKept(r); return nil }, version)
	if err == nil && !found {
		err = noVersion(version)
	}
	return k, err
}

func noVersion(version int64) error {
	return act.Errorf(act.NotFound, "there is no bundle of version %d", version).WithRule("bundle.unknown").
		WithHint("reef policy list shows the versions")
}

func olderThan(version, newest int64) error {
	return act.Errorf(act.Conflict, "the bundle is version %d; version %d is in force", version, newest).
		WithRule("bundle.version").
		WithHint("the bundle in force stays; to go back, bring the older one back as a new version: reef policy revert")
}
