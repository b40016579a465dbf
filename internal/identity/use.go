package identity

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	useEvery = 60_000_000 // microseconds between two notes of one credential's use
	usesMost = 1 << 16    // uses that wait to be stored; more are not noted
	usesOnce = 500        // stored in one transaction

	qCredentialUsed store.Q = `UPDATE credential SET used_at = CASE WHEN used_at < $2 THEN $2 ELSE used_at END WHERE id = $1`
	qGrantUsed      store.Q = `UPDATE token_grant SET used_at = CASE WHEN used_at < $2 THEN $2 ELSE used_at END WHERE id = $1`
)

// uses collects when credentials and grants were last used, to the minute, until
// StoreUses writes them down. Losing some in a crash costs the inventory a minute.
type uses struct {
	mu   sync.Mutex
	last map[act.ID]int64 // guarded by mu
}

// touch notes a use of what is not remembered in memory, when the stored one is old.
func (u *uses) touch(id act.ID, stored, now int64) {
	if now-stored < useEvery {
		return
	}
	u.mu.Lock()
	if len(u.last) < usesMost {
		u.last[id] = now
	}
	u.mu.Unlock()
}

// at returns the last use that waits to be stored, 0 when none does.
func (u *uses) at(id act.ID) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last[id]
}

func newUses() *uses { return &uses{last: make(map[act.ID]int64)} }

// note notes a use at a time in Unix microseconds. noted is kept with what is
// remembered of the credential, so that most uses cost one load.
func (u *uses) note(id act.ID, noted *atomic.Int64, now int64) {
	before := noted.Load()
	if now-before < useEvery || !noted.CompareAndSwap(before, now) {
		return
	}
	u.mu.Lock()
	if len(u.last) < usesMost {
		u.last[id] = now
	}
	u.mu.Unlock()
}

// StoreUses writes down which credentials and grants were used since the last time.
// The server calls it every minute and before it closes.
func (s *Service) StoreUses(ctx context.Context) error {
	s.uses.mu.Lock()
	last := s.uses.last
	s.uses.last = make(map[act.ID]int64)
	s.uses.mu.Unlock()
	ids := slices.Sorted(maps.Keys(last)) // in order, so that nodes do not wait for each other in a ring
	for some := range slices.Chunk(ids, usesOnce) {
		if err := s.db.Write(ctx, func(tx *store.Tx) error {
			for _, id := range some {
				q := qCredentialUsed
				if id.Kind() == act.KindGrant {
					q = qGrantUsed
				}
				if err := tx.Batch(q, id, last[id]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
