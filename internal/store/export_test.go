package store

import (
	"context"
	"sync"
)

// ErrAlone is what a convoy says of acts that must be done in transactions of
// their own.
var ErrAlone = errAlone

// Travel does the acts in one convoy on PostgreSQL, whatever else goes on.
func Travel(ctx context.Context, db *DB, fns ...func(*Tx) error) []error {
	c := newConvoy(db.pg, db.node)
	group, errs := make([]*rider, len(fns)), make([]error, len(fns))
	var done sync.WaitGroup
	for i, fn := range fns {
		group[i] = newRider(ctx)
		done.Go(func() { errs[i] = c.along(group[i], <-group[i].board, fn) })
	}
	c.travel(group)
	done.Wait()
	return errs
}
