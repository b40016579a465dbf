package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
)

// reaperLease makes one node end the agents that nobody has claimed in time.
const (
	reaperLease = "reaper"
	reapLimit   = time.Minute
)

// startReaper begins to end agents whose time to be claimed is over, on one node
// at a time; the function that it returns ends it.
func startReaper(db *store.DB, l *lifecycle.Lifecycle, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		every := time.NewTicker(l.ReapEvery())
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
			}
			reap(ctx, db, l, log)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func reap(ctx context.Context, db *store.DB, l *lifecycle.Lifecycle, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, reapLimit)
	defer cancel()
	_, leads, err := db.Lead(ctx, reaperLease)
	if err == nil && leads {
		var ended int
		if ended, err = l.Reap(ctx); ended > 0 {
			log.InfoContext(ctx, "agents that nobody claimed have expired", slog.Int("agents", ended))
		}
	}
	if err != nil && ctx.Err() == nil {
		log.WarnContext(ctx, "expire unclaimed agents", slog.Any("err", err))
	}
}
