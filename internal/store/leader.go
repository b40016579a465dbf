package store

import (
	"context"
	"slices"
	"sync"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Lease is the right to be the only one doing a named piece of background work
// on the network. Its token grows with every change of hands.
type Lease struct {
	Name   string
	holder string
	token  int64
}

// led is the names of the leases that this process has taken and, as far as it
// knows, not lost.
type led struct {
	mu    sync.Mutex
	names []string // guarded by mu; sorted
}

func (l *led) set(name string, holds bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch i, there := slices.BinarySearch(l.names, name); {
	case holds && !there:
		l.names = slices.Insert(l.names, i, name)
	case !holds && there:
		l.names = slices.Delete(l.names, i, i+1)
	}
}

// Leads lists the leases that this process holds as far as it knows, by name.
func (db *DB) Leads() []string {
	db.led.mu.Lock()
	defer db.led.mu.Unlock()
	return slices.Clone(db.led.names)
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
	if err == nil {
		db.led.set(name, ok)
	}
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
		tx.node.db.led.set(l.Name, false)
		err = act.Errorf(act.Unavailable, "the lease %q has passed to another process", l.Name)
	}
	return err
}

// Resign gives a lease back so that another process can take it at once.
func (db *DB) Resign(ctx context.Context, l Lease) error {
	db.led.set(l.Name, false)
	return db.upkeep(ctx, func(tx *Tx) error {
		_, err := tx.Exec(qLeaderResign, l.Name, l.holder, l.token)
		return err
	})
}
