package gate

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// FreshBound is how long a node may serve agents without having confirmed
	// with the database that it knows every fence.
	FreshBound = 2 * time.Second

	pollEvery   = 250 * time.Millisecond
	pollTimeout = time.Second
	settleEvery = 5 * time.Millisecond
	settleExtra = 500 * time.Millisecond // beyond FreshBound, for a poll that was just under way

	fenceSubject = "fence"
	recentFences = 4096
)

// fences keeps this node's memory in step with what has been withdrawn: kills,
// pauses, deletions. The database numbers fences in commit order. Every node
// asks for new ones four times a second, and at once when the bus says so; the
// time before it asked is the time up to which it is sure. A node that is not
// sure for FreshBound serves no agents, so whoever makes a fence has to wait for
// a silent node no longer than that.
type fences struct {
	db       *store.DB
	bus      *bus.Bus
	log      *slog.Logger
	solo     bool                                                         // SQLite: no other node can make a fence
	handlers map[act.Kind][]func(ctx context.Context, ids []act.ID) error // written only before start
	epoch    time.Time                                                    // zero of the monotonic times below

	applied   atomic.Int64 // number of the last fence applied here
	confirmed atomic.Int64 // nanoseconds since epoch: when the last successful poll began
	failed    atomic.Bool  // solo: a fence was committed but could not be applied

	polling sync.Mutex // one poll at a time
	mu      sync.Mutex
	recent  []fenced // guarded by mu: a ring of the last fences, by number

	wake   chan struct{}
	stop   chan struct{}
	done   sync.WaitGroup
	cancel func()
}

type fenced struct {
	n  int64
	id act.ID
}

func newFences(db *store.DB, b *bus.Bus, log *slog.Logger) *fences {
	return &fences{
		db: db, bus: b, log: log, solo: db.Dialect() == store.SQLite,
		handlers: make(map[act.Kind][]func(context.Context, []act.ID) error),
		epoch:    time.Now(), //arch:allow monotonic reference; wall time is never read from it
		recent:   make([]fenced, 0, recentFences),
		wake:     make(chan struct{}, 1), stop: make(chan struct{}), cancel: func() {},
	}
}

// start notes the newest fence, has memory built from what is stored now, and
// begins to apply what comes after.
func (f *fences) start(ctx context.Context, loads []func(context.Context) error) error {
	n, err := f.db.LastFence(ctx)
	if err != nil {
		return err
	}
	f.applied.Store(n)
	for _, load := range loads {
		if err := load(ctx); err != nil {
			return err
		}
	}
	if err := f.poll(ctx); err != nil {
		return err
	}
	cancel, err := f.bus.Subscribe(fenceSubject, func([]byte) { f.poke() })
	if err != nil {
		return err
	}
	f.cancel = cancel
	f.done.Add(1)
	go f.loop()
	return nil
}

func (f *fences) close() {
	f.cancel()
	close(f.stop)
	f.done.Wait()
}

func (f *fences) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *fences) loop() {
	defer f.done.Done()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-tick.C:
			if f.solo && !f.failed.Load() {
				continue // nobody else makes fences, and this node applies its own
			}
		case <-f.wake:
		}
		ctx, cancel := context.WithTimeout(context.Background(), pollTimeout) //arch:allow the loop is nobody's request
		if err := f.poll(ctx); err != nil {
			f.log.Warn("ask for fences", "err", err)
		}
		cancel()
	}
}

// poll asks the database for fences after the last one applied, applies them,
// and notes that this node was in step when it asked.
func (f *fences) poll(ctx context.Context) error {
	f.polling.Lock()
	defer f.polling.Unlock()
	return f.ask(ctx)
}

// catchUp is poll, unless a fence after number n was applied meanwhile. It reports whether
// this node was behind: who has met what is not applied would meet it again without.
func (f *fences) catchUp(ctx context.Context, n int64) (behind bool) {
	// A caller that leaves must not leave this node in doubt of its fences.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pollTimeout)
	defer cancel()
	f.polling.Lock()
	defer f.polling.Unlock()
	if f.number() == n {
		if err := f.ask(ctx); err != nil {
			f.log.Warn("ask for fences", "err", err)
		}
	}
	return f.number() != n
}

// ask is poll for who holds polling.
func (f *fences) ask(ctx context.Context) error {
	asked := time.Since(f.epoch)
	before := f.applied.Load()
	changed := make(map[act.Kind][]act.ID)
	var list []fenced
	last, err := f.db.Fences(ctx, before, func(kind act.Kind, id act.ID) {
		changed[kind] = append(changed[kind], id)
		list = append(list, fenced{id: id})
	})
	if err != nil {
		f.failed.Store(true)
		return err
	}
	for kind, ids := range changed {
		for _, apply := range f.handlers[kind] {
			if err := apply(ctx, ids); err != nil {
				f.failed.Store(true)
				return err
			}
		}
	}
	if last != before {
		f.remember(last, list)
		f.applied.Store(last)
		if !f.solo {
			if err := f.db.MarkFenced(ctx, last); err != nil {
				return err
			}
		}
	}
	f.failed.Store(false)
	f.confirmed.Store(int64(asked))
	return nil
}

func (f *fences) remember(last int64, list []fenced) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, x := range list {
		x.n = last - int64(len(list)-1-i)
		if len(f.recent) == recentFences {
			copy(f.recent, f.recent[recentFences/2:])
			f.recent = f.recent[:recentFences/2]
		}
		f.recent = append(f.recent, x)
	}
}

// fresh reports whether this node may serve agents.
func (f *fences) fresh() bool {
	if f.solo {
		return !f.failed.Load()
	}
	return f.age() < FreshBound
}

// age is the time since this node was last sure of its fences.
func (f *fences) age() time.Duration {
	if f.solo {
		return 0
	}
	return time.Since(f.epoch) - time.Duration(f.confirmed.Load())
}

// number is the last fence applied here.
func (f *fences) number() int64 { return f.applied.Load() }

// movedSince reports whether a fence after number n touches the reader or
// anything on its page. One without an id may touch everybody.
func (f *fences) movedSince(n int64, reader act.ID, page []act.Ref) bool {
	if f.applied.Load() == n {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.recent) == 0 || f.recent[0].n > n+1 {
		return true // more has happened than is remembered
	}
	for i := len(f.recent) - 1; i >= 0 && f.recent[i].n > n; i-- {
		id := f.recent[i].id
		if id == 0 || id == reader {
			return true
		}
		for _, ref := range page {
			if ref.ID == id {
				return true
			}
		}
	}
	return false
}

// settle returns when fence n, already committed, is in force on every live
// node: applied here, waited out by every write that began before it, and
// confirmed by the other nodes or outlasted by their FreshBound.
func (f *fences) settle(ctx context.Context, n int64) error {
	committed := time.Since(f.epoch)
	ctx = context.WithoutCancel(ctx) // the act is committed; its effect must not depend on the caller's patience
	if err := f.poll(ctx); err != nil {
		return err
	}
	if f.solo {
		return nil
	}
	if err := f.bus.Publish(fenceSubject, nil); err != nil {
		f.log.Warn("signal a fence", "err", err)
	}
	if err := f.db.Barrier(ctx); err != nil {
		return err
	}
	for {
		lagging, err := f.db.LaggingNodes(ctx, n)
		if err == nil && len(lagging) == 0 {
			return nil
		}
		if time.Since(f.epoch)-committed > FreshBound+settleExtra {
			return nil // a node that is silent for so long serves nobody
		}
		pause := time.NewTimer(settleEvery)
		<-pause.C
	}
}
