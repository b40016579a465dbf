package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/store"
)

// sweeperLease makes one node write down which tasks' time is over.
const (
	sweeperLease = "tasks"
	sweepEvery   = 15 * time.Second
	sweepLimit   = 10 * time.Second
)

// startSweeper begins to write down which leases and deadlines of tasks have
// passed, on one node at a time; the function that it returns ends it.
func startSweeper(db *store.DB, n *network.Network, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		every := time.NewTicker(sweepEvery)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
			}
			sweep(ctx, db, n, log)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func sweep(ctx context.Context, db *store.DB, n *network.Network, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, sweepLimit)
	defer cancel()
	_, leads, err := db.Lead(ctx, sweeperLease)
	if err == nil && leads {
		err = n.SweepTasks(ctx, db)
	}
	if err != nil && ctx.Err() == nil {
		log.WarnContext(ctx, "write down which tasks' time is over", slog.Any("err", err))
	}
}
