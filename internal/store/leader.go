package store

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Lease is the right to be the only one doing a named piece of background work
// on the network. Its token grows with every change of hands.
type Lease struct {
	Name   string
	holder string
	token  int64
}

const (
	qLeaderMake   Q = `INSERT INTO leader (name, holder, token, lease_until_at) VALUES ($1, '', 0, 0) ON CONFLICT (name) DO NOTHING`
	qLeaderTake   Q = `UPDATE leader SET holder = $2, token = token + 1, lease_until_at = $3 WHERE name = $1 AND (lease_until_at < $4 OR holder = $2)`
	qLeaderToken  Q = `SELECT token FROM leader WHERE name = $1 AND holder = $2`
	qLeaderHold   Q = `UPDATE leader SET lease_until_at = $4 WHERE name = $1 AND holder = $2 AND token = $3`
	qLeaderResign Q = `UPDATE leader SET lease_until_at = 0 WHERE name = $1 AND holder = $2 AND token = $3`
)

// Lead tries to take the named lease. ok is false while another live process
// holds it. The lease lasts as long as the node's own; Hold extends it.
func (db *DB) Lead(ctx context.Context, name string) (l Lease, ok bool, err error) {
	l = Lease{Name: name, holder: db.node.holder}
	err = db.upkeep(ctx, func(tx *Tx) error {
		now, err := tx.databaseTime(db.cfg.Clock)
		if err != nil {
			return err
		}
		if err := tx.Batch(qLeaderMake, name); err != nil {
			return err
		}
		changed, err := tx.Exec(qLeaderTake, name, l.holder, now+nodeLease.Microseconds(), now)
		if err != nil || changed == 0 {
			ok = false
			return err
		}
		ok, err = tx.One(qLeaderToken, func(r *Row) error { l.token = r.Int(0); return nil }, name, l.holder)
		return err
	})
	return l, ok, err
}

// Hold checks the lease inside a leader's transaction and extends it; the row
// stays locked until the commit. A leader that has been replaced gets an error
// and changes nothing.
func (tx *Tx) Hold(l Lease) error {
	until := tx.now + nodeLease.Microseconds()
	if tx.pg != nil {
		now, err := tx.databaseTime(nil)
		if err != nil {
			return err
		}
		until = now + nodeLease.Microseconds()
	}
	changed, err := tx.Exec(qLeaderHold, l.Name, l.holder, l.token, until)
	if err == nil && changed != 1 {
		err = act.Errorf(act.Unavailable, "the lease %q has passed to another process", l.Name)
	}
	return err
}

// Resign gives a lease back so that another process can take it at once.
func (db *DB) Resign(ctx context.Context, l Lease) error {
	return db.upkeep(ctx, func(tx *Tx) error {
		_, err := tx.Exec(qLeaderResign, l.Name, l.holder, l.token)
		return err
	})
}
