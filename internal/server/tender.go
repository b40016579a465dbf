package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	tendEvery = 5 * time.Second // half of a lease's life
	tendLimit = time.Minute
	tendLease = "approvals"
)

// tender ends approvals whose time is over and does approved acts that a node
// left undone: at start, and then every tendEvery. On PostgreSQL one node at a
// time does it, under a lease.
type tender struct {
	db   *store.DB
	tend func(context.Context) error
	log  *slog.Logger
	stop context.CancelFunc
	done sync.WaitGroup
}

func startTender(db *store.DB, tend func(context.Context) error, log *slog.Logger) *tender {
	t := &tender{db: db, tend: tend, log: log}
	ctx, stop := context.WithCancel(context.Background()) //arch:allow the loop is nobody's request
	t.stop = stop
	t.done.Go(func() { t.run(ctx) })
	return t
}

func (t *tender) close() {
	t.stop()
	t.done.Wait()
}

func (t *tender) run(ctx context.Context) {
	every := time.NewTicker(tendEvery)
	defer every.Stop()
	for {
		if err := t.pass(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("tend approvals", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

func (t *tender) pass(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tendLimit)
	defer cancel()
	if t.db.Dialect() == store.Postgres {
		if _, leads, err := t.db.Lead(ctx, tendLease); err != nil || !leads {
			return err
		}
	}
	return t.tend(ctx)
}
