package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	sequenceEvery = 100 * time.Millisecond
	sequenceLeast = 10 * time.Millisecond // between two passes: one pass numbers all that has come
	sequenceTries = time.Second           // how often a follower tries to become the leader
	sequenceLimit = 10 * time.Second
)

// sequencer numbers committed events on PostgreSQL, on one node at a time. It
// looks when the bus says that something was committed, but not more often than
// sequenceLeast, and ten times a second anyway. On SQLite the writer numbers events and there is nothing to run.
type sequencer struct {
	db     *store.DB
	bus    *bus.Bus
	log    *slog.Logger
	wake   chan struct{}
	stop   chan struct{}
	cancel func()
	done   sync.WaitGroup
}

func startSequencer(db *store.DB, b *bus.Bus, log *slog.Logger) (*sequencer, error) {
	if db.Dialect() == store.SQLite {
		return nil, nil
	}
	s := &sequencer{db: db, bus: b, log: log, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	var err error
	if s.cancel, err = b.Subscribe(gate.PulseSubject, func([]byte) {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}); err != nil {
		return nil, err
	}
	s.done.Add(1)
	go s.run()
	return s, nil
}

func (s *sequencer) close() {
	s.cancel()
	close(s.stop)
	s.done.Wait()
}

func (s *sequencer) run() {
	defer s.done.Done()
	every := time.NewTicker(sequenceEvery)
	defer every.Stop()
	var lease store.Lease
	var leads bool
	var tried time.Time
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-s.stop:
		case <-pause.C:
		}
		pause.Reset(sequenceLeast)
		select {
		case <-s.stop:
			if leads {
				s.step(func(ctx context.Context) error { return s.db.Resign(ctx, lease) })
			}
			return
		case <-every.C:
		case <-s.wake:
		}
		if now := s.db.Clock()(); !leads && now.Sub(tried) >= sequenceTries {
			tried = now
			s.step(func(ctx context.Context) (err error) {
				lease, leads, err = s.db.Lead(ctx, store.SequencerLease)
				return err
			})
		}
		if !leads {
			continue
		}
		leads = s.step(func(ctx context.Context) error {
			for {
				n, err := s.db.SequencePass(ctx, lease)
				if n > 0 && err == nil {
					_ = s.bus.Publish(gate.NumberedSubject, nil) // readers of the sequence have a clock of their own too
				}
				if err != nil || n < store.SequenceBatch {
					return err
				}
			}
		})
	}
}

func (s *sequencer) step(do func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(context.Background(), sequenceLimit)
	defer cancel()
	if err := do(ctx); err != nil {
		s.log.Warn("number events", "err", err)
		return false
	}
	return true
}
