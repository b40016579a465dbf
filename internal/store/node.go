package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	nodeLease   = 10 * time.Second // after this without renewal another process may take the number
	nodeRenew   = time.Second
	idWindow    = 60 * time.Second // how far ahead ids are reserved
	idRenewLeft = 30 * time.Second // reserve more when less than this is left
)

// node is this process's leased node number and the ids it may mint.
type node struct {
	db     *DB
	n      int
	holder string // random; tells two holders of one number apart
	minter *act.Minter
	until  atomic.Int64 // ceiling of the present reservation, in the ids' milliseconds
	wanted atomic.Int64 // what somebody will need it to be: see DB.Reserve

	stop chan struct{}
	once sync.Once
	done sync.WaitGroup
}

const (
	qNodeFree Q = `SELECT n, ids_until FROM node WHERE lease_until_at < $1 ORDER BY n LIMIT 1`
	qNodeTake Q = `UPDATE node SET holder = $2, lease_until_at = $3, ids_until = $4,
fence = (SELECT COALESCE(MAX(fence.n), 0) FROM fence) WHERE n = $1 AND lease_until_at < $5`
	qNodeRenew Q = `UPDATE node SET lease_until_at = $3, ids_until = CASE WHEN ids_until > $4 THEN ids_until ELSE $4 END
WHERE n = $1 AND holder = $2`
	qReserveIDs  Q = `UPDATE node SET ids_until = $3 WHERE n = $1 AND holder = $2`
	qNodeRelease Q = `UPDATE node SET lease_until_at = 0 WHERE n = $1 AND holder = $2`

	qDatabaseTimePostgres Q = `SELECT CAST(floor(extract(epoch FROM clock_timestamp()) * 1000000) AS BIGINT)`
)

// databaseTime returns the time that leases are judged by: the database's own
// on PostgreSQL, where nodes' clocks may differ, and the process's on SQLite.
func (v *View) databaseTime(clock act.Clock) (int64, error) {
	if v.pg == nil {
		return act.Micros(clock()), nil
	}
	var now int64
	_, err := v.One(qDatabaseTimePostgres, func(r *Row) error { now = r.Int(0); return nil })
	return now, err
}

// leaseNode takes the lowest free node number for db. The new holder mints only
// above what any earlier holder of the number may have used.
func leaseNode(ctx context.Context, db *DB) error {
	var random [8]byte
	_, _ = rand.Read(random[:])
	n := &node{db: db, holder: hex.EncodeToString(random[:]), stop: make(chan struct{})}
	if db.lite != nil {
		db.node = n
		return n.takeLite()
	}
	_, err := db.pg.write(ctx, n, nil, func(tx *Tx) error {
		// Processes that start together would all choose the same number.
		tx.pg.later(qLockPostgres, []any{db.pg.nodeKey})
		now, err := tx.databaseTime(db.cfg.Clock)
		if err != nil {
			return err
		}
		return n.take(&tx.View, tx.Exec, now, now+nodeLease.Microseconds())
	})
	if err != nil {
		return err
	}
	db.node = n
	n.done.Add(1)
	go n.renewLoop()
	return nil
}

// takeLite takes node 0 on the writer's connection before the writer starts:
// the lock on the directory is the lease.
func (n *node) takeLite() error {
	w := n.db.lite.writer
	exec := func(q Q, args ...any) (int64, error) { return w.run(q, args) }
	return n.take(&View{lite: w}, exec, foreverMicros, foreverMicros-1)
}

const foreverMicros = 1<<62 - 1

func (n *node) take(v *View, exec func(Q, ...any) (int64, error), now, until int64) error {
	var floor int64
	found, err := v.One(qNodeFree, func(r *Row) error { n.n, floor = int(r.Int(0)), r.Int(1); return nil }, now)
	if err != nil {
		return err
	}
	if !found {
		return act.Errorf(act.Unavailable, "all %d node numbers are leased", act.MaxNode+1)
	}
	ceiling := max(floor, act.IDMillis(n.db.cfg.Clock())) + idWindow.Milliseconds()
	changed, err := exec(qNodeTake, int64(n.n), n.holder, until, ceiling, now)
	if err != nil {
		return err
	}
	if changed != 1 {
		return act.Errorf(act.Unavailable, "another process took node %d", n.n)
	}
	n.minter = act.NewMinter(n.db.cfg.Clock, n.n, floor, ceiling)
	n.until.Store(ceiling)
	return nil
}

// due says whether more ids should be reserved, and up to where.
func (n *node) due() (ceiling int64, due bool) {
	now := max(act.IDMillis(n.db.cfg.Clock()), n.wanted.Load())
	until := n.until.Load()
	if until-now > idRenewLeft.Milliseconds() {
		return 0, false
	}
	return max(until, now) + idWindow.Milliseconds(), true
}

// reserved tells the minter of a reservation that is durable. Two renewals may
// end in either order; a reservation never shrinks, here or in the database.
func (n *node) reserved(ceiling int64) {
	for {
		until := n.until.Load()
		if ceiling <= until || n.until.CompareAndSwap(until, ceiling) {
			break
		}
	}
	n.minter.Raise(ceiling)
}

// renew extends the lease and the id reservation.
func (n *node) renew(ctx context.Context) error {
	if n.db.lite != nil {
		return n.db.Write(ctx, func(*Tx) error { return nil }) // the writer reserves before each group
	}
	ceiling := max(n.until.Load(), max(act.IDMillis(n.db.cfg.Clock()), n.wanted.Load())+idWindow.Milliseconds())
	err := n.db.upkeep(ctx, func(tx *Tx) error {
		now, err := tx.databaseTime(n.db.cfg.Clock)
		if err != nil {
			return err
		}
		changed, err := tx.Exec(qNodeRenew, int64(n.n), n.holder, now+nodeLease.Microseconds(), ceiling)
		if err == nil && changed != 1 {
			err = act.Errorf(act.Unavailable, "node %d was taken by another process", n.n)
		}
		return err
	})
	if err == nil {
		n.reserved(ceiling)
	}
	return err
}

func (n *node) renewLoop() {
	defer n.done.Done()
	tick := time.NewTicker(nodeRenew)
	defer tick.Stop()
	for {
		select {
		case <-n.stop:
			return
		case <-tick.C:
			ctx, cancel := context.WithTimeout(context.Background(), nodeLease/2) //arch:allow the loop is nobody's request
			if err := n.renew(ctx); err != nil {
				n.db.log.Warn("renew the node lease", "node", n.n, "err", err)
			}
			cancel()
		}
	}
}

// release gives the number back. A process that cannot is taken for dead when
// its lease ends.
func (n *node) release() {
	n.once.Do(func() {
		close(n.stop)
		n.done.Wait()
		if n.db.lite != nil {
			return // the directory's lock is the lease; see takeLite
		}
		ctx, cancel := context.WithTimeout(context.Background(), nodeRenew) //arch:allow the process ends
		defer cancel()
		err := n.db.upkeep(ctx, func(tx *Tx) error {
			_, err := tx.Exec(qNodeRelease, int64(n.n), n.holder)
			return err
		})
		if err != nil {
			n.db.log.Warn("give the node number back", "node", n.n, "err", err)
		}
	})
}
