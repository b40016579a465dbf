package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
)

// A fence is the durable word that something must stop counting: an agent was
// paused or killed, an item deleted. Fences are numbered in commit order. A
// node that has applied fence n has applied every fence up to n, because no
// lower number can be committed later.

const (
	qFencesAfter    Q = `SELECT n, kind, id FROM fence WHERE n > $1 ORDER BY n`
	qFenceLast      Q = `SELECT COALESCE(MAX(n), 0) FROM fence`
	qNodeFenced     Q = `UPDATE node SET fence = $2 WHERE n = $1 AND holder = $3`
	qNodesLagging   Q = `SELECT n FROM node WHERE lease_until_at >= $1 AND fence < $2 ORDER BY n`
	qFenceForgotten Q = `DELETE FROM fence WHERE n IN (SELECT n FROM fence
WHERE at < $1 AND n < (SELECT MIN(fence) FROM node WHERE lease_until_at >= $2) ORDER BY n LIMIT $3)`

	// QOldestFence asks when the oldest fence was made.
	QOldestFence Q = `SELECT at FROM fence WHERE n > 0 ORDER BY n LIMIT 1`

	forgetBatch = 1000 // fences dropped in one transaction
)

// Fences calls fn with every fence after the given number, in order, and
// returns the number of the last one (after if there is none).
func (db *DB) Fences(ctx context.Context, after int64, fn func(kind act.Kind, id act.ID)) (last int64, err error) {
	last = after
	err = db.View(ctx, func(v *View) error {
		return v.All(qFencesAfter, func(r *Row) error {
			last = r.Int(0)
			fn(act.Kind(r.Int(1)), r.ID(2))
			return nil
		}, after)
	})
	return last, err
}

// LastFence returns the number of the newest fence.
func (db *DB) LastFence(ctx context.Context) (n int64, err error) {
	err = db.View(ctx, func(v *View) error {
		_, err := v.One(qFenceLast, func(r *Row) error { n = r.Int(0); return nil })
		return err
	})
	return n, err
}

// MarkFenced tells the other nodes that this one has applied every fence up to n.
func (db *DB) MarkFenced(ctx context.Context, n int64) error {
	return db.upkeep(ctx, func(tx *Tx) error {
		_, err := tx.Exec(qNodeFenced, int64(db.node.n), n, db.node.holder)
		return err
	})
}

// LaggingNodes returns the numbers of the live nodes that have not said that
// they applied fence n. A node is live while its lease in the database runs.
func (db *DB) LaggingNodes(ctx context.Context, n int64) (nodes []int, err error) {
	err = db.View(ctx, func(v *View) error {
		now, err := v.databaseTime(db.cfg.Clock)
		if err != nil {
			return err
		}
		return v.All(qNodesLagging, func(r *Row) error { nodes = append(nodes, int(r.Int(0))); return nil }, now, n)
	})
	return nodes, err
}

// ForgetFences drops fences made before the given time (Unix microseconds) that
// every live node has applied.
func (db *DB) ForgetFences(ctx context.Context, before int64) error {
	for {
		var dropped int64
		if err := db.upkeep(ctx, func(tx *Tx) error {
			before, err := tx.Droppable(before)
			if err != nil {
				return err
			}
			now, err := tx.databaseTime(db.cfg.Clock)
			if err != nil {
				return err
			}
			dropped, err = tx.Exec(qFenceForgotten, before, now, int64(forgetBatch))
			return err
		}); err != nil || dropped < forgetBatch {
			return err
		}
	}
}

// Barrier returns when every write that began before the call has ended. With
// SQLite's single writer that holds as soon as the caller's own write is done.
func (db *DB) Barrier(ctx context.Context) error {
	if db.pg == nil {
		return nil
	}
	return db.pg.barrier(ctx)
}

// sortAdditions puts counter changes in the one order in which every transaction
// locks counter rows: by id, and by statement where tables share an id.
func sortAdditions(adds []addition) {
	slices.SortFunc(adds, func(a, b addition) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.q, b.q))
	})
}

// Serialize makes transactions that name the same thing wait for each other until
// their commit, for counts without gaps. It comes before the transaction's first
// change. SQLite's writer runs one act at a time anyway.
func (tx *Tx) Serialize(what string) error {
	if tx.pg == nil {
		return nil
	}
	tx.pg.later(qLockPostgres, []any{lockKey(tx.pg.driver.cfg.Schema, what)})
	return tx.pg.flush()
}
