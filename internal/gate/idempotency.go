package gate

import (
	"bytes"
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// MaxKey bounds the length of an idempotency key in bytes.
	MaxKey = 128

	qKeyUsed   store.Q = `SELECT act, hash, ref, version FROM idempotency WHERE principal = $1 AND name = $2`
	qKeySave   store.Q = `INSERT INTO idempotency (principal, name, act, hash, ref, version, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	qKeyForget store.Q = `DELETE FROM idempotency WHERE (principal, name) IN
(SELECT principal, name FROM idempotency WHERE created_at < $1 ORDER BY created_at, principal, name LIMIT $2)`

	// QOldestKey asks when the oldest idempotency key was made.
	QOldestKey store.Q = `SELECT created_at FROM idempotency WHERE created_at > 0 ORDER BY created_at, principal, name LIMIT 1`
)

// usedKey looks whether the principal used the key before. A row holds the hash
// of the request and what it made, never an answer: that is rendered anew.
func usedKey(tx *store.Tx, p act.Principal, name string, k Key) (made act.Ref, used bool, err error) {
	var same bool
	used, err = tx.One(qKeyUsed, func(r *store.Row) error {
		same = r.Text(0) == name && bytes.Equal(r.Bytes(1), k.Hash[:])
		made = act.Ref{ID: r.ID(2), Version: r.Int(3)}
		return nil
	}, p.ID, k.Name)
	if err == nil && used && !same {
		err = act.Errorf(act.Mismatch, "this idempotency key was used for another request").
			WithRule("idempotency").WithHint("use a new key for a new request; repeat the same request to get its answer")
	}
	return made, used, err
}

// saveKey stores the key in the act's transaction. Two requests with one key at
// the same time meet at the primary key: the later one starts again and finds
// the earlier one's row.
func saveKey(tx *store.Tx, p act.Principal, name string, k Key, made act.Ref) error {
	_, err := tx.Exec(qKeySave, p.ID, k.Name, name, k.Hash[:], made.ID, made.Version, tx.Now())
	if act.CodeOf(err) == act.Conflict {
		return errMoved
	}
	return err
}

// forgetBatch is how many keys one transaction drops.
const forgetBatch = 1000

// ForgetKeys drops idempotency rows made before the given time (Unix
// microseconds).
func (g *Gate) ForgetKeys(ctx context.Context, before int64) error {
	for {
		var dropped int64
		if err := g.db.Write(ctx, func(tx *store.Tx) error {
			before, err := tx.Droppable(before)
			if err == nil {
				dropped, err = tx.Exec(qKeyForget, before, int64(forgetBatch))
			}
			return err
		}); err != nil || dropped < forgetBatch {
			return err
		}
	}
}
