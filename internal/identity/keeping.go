package identity

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// keeping is how a node stands with the store of its ring.
type keeping struct {
	store KeyStore
	mu    sync.Mutex   // held while the store is asked, so that nobody goes back to an older ring
	until atomic.Int64 // Unix microseconds until which the node goes on with what it has; 0 is for ever
	lease time.Duration
}

// Bound has the node go on without its store for so long after the last time that it
// was let in, counted from now. It is called before the keys are used.
func (k *Keys) Bound(lease time.Duration, now time.Time) {
	k.kept.lease = lease
	k.kept.until.Store(act.Micros(now.Add(lease)))
}

// Lapsed says that this node has been without its store for too long, nil while it has
// not: the store may have taken the keys from it.
func (k *Keys) Lapsed(clock act.Clock) error {
	until := k.kept.until.Load()
	if until == 0 || act.Micros(clock()) < until {
		return nil
	}
	return act.Errorf(act.Unavailable, "this node has not reached the store of the network's key for too long").WithRule("key.lease").WithRetry(retryAfter).
		WithHint("it serves again once it does; retry, your credential is fine")
}

// Refresh reads the ring again, takes the versions that are new, and counts the lease
// from now. What the node has is left when the store does not answer, when the ring is
// another network's, and when versions are missing from it.
func (k *Keys) Refresh(ctx context.Context, now time.Time) error {
	if k.kept.store == nil {
		return nil
	}
	k.kept.mu.Lock()
	defer k.kept.mu.Unlock()
	kept, err := k.kept.store.Read(ctx)
	if err != nil {
		return fmt.Errorf("identity: the network's key: %w", err)
	}
	_, err = k.adopt(kept.Ring)
	clear(kept.Ring)
	if err != nil {
		return fmt.Errorf("identity: the network's key: %w", err)
	}
	if k.kept.until.Load() != 0 {
		k.kept.until.Store(act.Micros(now.Add(k.kept.lease)))
	}
	return nil
}

// adopt takes a ring that the store has into use. The caller holds kept.mu.
func (k *Keys) adopt(text []byte) (ring, error) {
	r, err := parseRing(text)
	if err != nil {
		return r, err
	}
	fresh, err := deriveKeys(r)
	if err != nil {
		return r, err
	}
	if !bytes.Equal(fresh.check, k.check) {
		return r, errors.New("another network's key is kept there now; this node goes on with its own")
	}
	have, got := *k.wrap.known.Load(), *fresh.wrap.known.Load()
	if len(got) < len(have) {
		return r, fmt.Errorf("an older ring is kept there now, with %d versions of the wrapping key and not %d; put the newest one back", len(got), len(have))
	}
	for n := range have {
		if have[n].mark != got[n].mark {
			return r, fmt.Errorf("another version %d of the wrapping key is kept there now", n+1)
		}
	}
	if len(got) > len(have) {
		k.wrap.known.Store(&got)
	}
	return r, nil
}

// extend sees to it that the ring has a version, and returns its mark: it is made
// unless it is there.
func (k *Keys) extend(ctx context.Context, version int64) (mark [16]byte, err error) {
	if k.kept.store == nil {
		return mark, act.Errorf(act.Unavailable, "these keys are in no store").WithRule("key.store")
	}
	k.kept.mu.Lock()
	defer k.kept.mu.Unlock()
	for range 3 { // another node may be at it
		kept, err := k.kept.store.Read(ctx)
		if err != nil {
			return mark, err
		}
		r, err := k.adopt(kept.Ring)
		clear(kept.Ring)
		if err != nil {
			return mark, err
		}
		if r.newest() >= version {
			mark, _ = k.wrap.mark(version)
			return mark, nil
		}
		if r.newest() != version-1 || version > maxVersions {
			return mark, act.Errorf(act.Unavailable, "version %d of the wrapping key cannot follow %d", version, r.newest()).WithRule("key.version").
				WithHint("the ring that is kept is older than the network's, or has all the versions it may have")
		}
		fresh := make([]byte, wrapKeySize)
		_, _ = rand.Read(fresh) // never fails (crypto/rand)
		r.Wrapping = append(r.Wrapping, ringWrap{Version: version, Key: fresh})
		text, err := r.encode()
		if err != nil {
			return mark, err
		}
		err = k.kept.store.Write(ctx, text, kept.Revision)
		clear(text)
		if err != nil && act.CodeOf(err) != act.Conflict {
			return mark, err
		}
		// Read again in either case: what counts is what the store has.
	}
	return mark, act.Errorf(act.Unavailable, "the ring of keys changes all the time").WithRule("key.conflict").WithRetry(retryAfter)
}

// Close ends what the store holds for this node.
func (k *Keys) Close(ctx context.Context) error {
	if c, ok := k.kept.store.(interface{ Close(context.Context) error }); ok {
		return c.Close(ctx)
	}
	return nil
}
