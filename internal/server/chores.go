package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/store"
)

// chore is work that falls due as time passes, and that one node at a time does:
// at start, and then every so often. On PostgreSQL the lease of its name says
// which node; a SQLite database has only one.
type chore struct {
	name  string // of the lease and in the log
	every time.Duration
	limit time.Duration // of one pass
	do    func(context.Context) error
}

// chores are the chores of this node.
type chores struct {
	db   *store.DB
	log  *slog.Logger
	stop context.CancelFunc
	done sync.WaitGroup
}

func startChores(db *store.DB, log *slog.Logger, list ...chore) *chores {
	ctx, stop := context.WithCancel(context.Background()) //arch:allow the loops are nobody's request
	c := &chores{db: db, log: log, stop: stop}
	for _, one := range list {
		c.done.Go(func() { c.run(ctx, one) })
	}
	return c
}

// close ends the chores after the passes under way.
func (c *chores) close() {
	c.stop()
	c.done.Wait()
}

func (c *chores) run(ctx context.Context, one chore) {
	every := time.NewTicker(one.every)
	defer every.Stop()
	for {
		if err := c.pass(ctx, one); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "a chore is not done", slog.String("chore", one.name), slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

func (c *chores) pass(ctx context.Context, one chore) error {
	ctx, cancel := context.WithTimeout(ctx, one.limit)
	defer cancel()
	if c.db.Dialect() == store.Postgres {
		if _, leads, err := c.db.Lead(ctx, one.name); err != nil || !leads {
			return err
		}
	}
	return one.do(ctx)
}

// loop is work of every node, done again and again and once more at the end.
type loop struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

func startEvery(every time.Duration, log *slog.Logger, name string, do func(context.Context) error) *loop {
	ctx, stop := context.WithCancel(context.Background()) //arch:allow the loop is nobody's request
	l := &loop{stop: stop}
	l.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for over := false; !over; {
			select {
			case <-ctx.Done():
				over = true
			case <-tick.C:
			}
			once, cancel := context.WithTimeout(context.WithoutCancel(ctx), loopLimit)
			if err := do(once); err != nil {
				log.WarnContext(ctx, name, slog.Any("err", err))
			}
			cancel()
		}
	})
	return l
}

const loopLimit = 10 * time.Second

// close ends the loop after a last pass.
func (l *loop) close() {
	l.stop()
	l.done.Wait()
}
