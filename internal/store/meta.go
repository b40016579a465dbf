package store

import (
	"bytes"
	"context"
	"fmt"
)

const (
	qMetaRead Q = `SELECT value FROM meta WHERE name = $1`
	qMetaPin  Q = `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`
)

// Pin stores a value under a name the first time and from then on insists that
// it is the same: the check value of a key that may never change.
func (db *DB) Pin(ctx context.Context, name string, value []byte) error {
	return db.Write(ctx, func(tx *Tx) error {
		if err := tx.Batch(qMetaPin, name, value); err != nil {
			return err
		}
		var stored []byte
		if _, err := tx.One(qMetaRead, func(r *Row) error { stored = r.Bytes(0); return nil }, name); err != nil {
			return err
		}
		if !bytes.Equal(stored, value) {
			return fmt.Errorf("%s does not match the one this network was made with", name)
		}
		return nil
	})
}
