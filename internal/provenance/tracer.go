package provenance

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Config tunes a tracer.
type Config struct {
	// Recheck re-reads the standing of agents inside the recording transaction
	// and sets to Denied, or gate.Moved, the verdict on those that may not be
	// shown anything (package lifecycle). An error of its own fails the whole
	// transaction. Required.
	Recheck func(tx *store.Tx, agents []act.Principal, verdicts []error) error

	Labels   *Labels       // what is made carries them; nil for none
	Log      *slog.Logger  // nil discards
	Remember int           // bytes for what is on record of whom; 64 MiB if 0
	Queue    int           // pages that may wait for their transaction; 4,096 if 0
	Every    time.Duration // how often counts are stored; 30 s if 0, a minute at most
}

const (
	defaultRemember = 64 << 20
	defaultQueue    = 4096
	defaultEvery    = 30 * time.Second
	maxEvery        = time.Minute

	maxGroup   = 256 // pages recorded together at the most
	lanesLite  = 1   // transactions under way at once: SQLite has one writer,
	lanesPg    = 4   // PostgreSQL overlaps the waits of several
	writeBound = 10 * time.Second
	retryAfter = time.Second
)

// Tracer records exposures and derivations; it is the gate's Tracer. It is safe
// for concurrent use.
type Tracer struct {
	db      *store.DB
	recheck func(*store.Tx, []act.Principal, []error) error
	labels  *Labels
	log     *slog.Logger
	every   time.Duration
	memory  *memory
	pages   sync.Pool // of *page

	queue   chan *page
	crowded chan struct{} // a signal that counts should be stored early
	stop    chan struct{}
	stopped sync.Once
	lanes   sync.WaitGroup
	gone    chan struct{} // closed when no lane will look at the queue any more
	flushed chan struct{} // closed after the last flush
	final   error         // what became of it; set before flushed is closed
}

// New returns a tracer over a database; Start makes it work.
func New(db *store.DB, c Config) *Tracer {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Remember <= 0 {
		c.Remember = defaultRemember
	}
	if c.Queue <= 0 {
		c.Queue = defaultQueue
	}
	if c.Every <= 0 {
		c.Every = defaultEvery
	}
	t := &Tracer{
		db: db, recheck: c.Recheck, labels: c.Labels, log: c.Log, every: min(c.Every, maxEvery), memory: newMemory(int64(c.Remember)),
		queue: make(chan *page, c.Queue), crowded: make(chan struct{}, 1),
		stop: make(chan struct{}), gone: make(chan struct{}), flushed: make(chan struct{}),
	}
	t.pages.New = func() any { return &page{done: make(chan error, 1)} }
	return t
}

// Start begins to record. ctx gives the background work its values; Close ends
// it, not ctx.
func (t *Tracer) Start(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	n := lanesLite
	if t.db.Dialect() == store.Postgres {
		n = lanesPg
	}
	for range n {
		l := &lane{Tracer: t}
		t.lanes.Go(func() { l.run(ctx) })
	}
	go func() {
		t.lanes.Wait()
		close(t.gone)
	}()
	go t.flushLoop(ctx)
}

// Close records the pages that wait, stores the last counts and stops; pages
// that come later are refused. It fails if the counts could not be stored. A
// second Close gives the same answer. Without Start it would wait for ever.
func (t *Tracer) Close() error {
	t.stopped.Do(func() { close(t.stop) })
	<-t.flushed
	return t.final
}

// page is one Expose on its way through a lane.
type page struct {
	showing   // of a page of more than MaxItems items, which has no sheet, only fresh
	principal act.Principal
	name      string // of the channel
	trace     string
	coded     []byte // fresh as it is stored, in parts that end at ends; unused where the whole sheet is new
	ends      []int

	state atomic.Int32 // pageQueued → pageTaken by a lane, or → pageLeft by the reader
	err   error        // of the recheck; owned by the lane while taken
	done  chan error   // one result a use
}

const (
	pageQueued int32 = iota
	pageTaken
	pageLeft
)

// Expose returns nil when it is on record that the items were shown to the
// principal. New items are committed first, together with other readers' pages;
// a page with nothing new is counted in memory and does not wait. It fails with
// Denied when the agent may no longer act, and with Unavailable when storage
// fails, too many pages wait, or ctx ends before the page's turn.
func (t *Tracer) Expose(ctx context.Context, x gate.Exposure) error {
	reader, is, err := readerOf(x.Principal)
	if err != nil || !is || len(x.Items) == 0 {
		return err
	}
	pg := t.pages.Get().(*page)
	pg.reader, pg.name, pg.sheet = reader, x.Channel, nil
	if len(x.Items) > MaxItems {
		pg.fresh, pg.again = append(pg.fresh[:0], x.Items...), pg.again[:0]
	} else {
		pg.sheet, pg.channel = t.memory.pool.get(x.Items), t.memory.channels.number(x.Channel)
		if known, ok := t.memory.look(&pg.showing); known {
			t.pages.Put(pg)
			t.hurry()
			if !ok {
				return stopping()
			}
			return nil
		}
	}
	pg.principal, pg.trace = x.Principal, validTrace(x.Trace)
	pg.code()
	return t.await(ctx, pg)
}

// await hands the page to a lane and waits for what becomes of it.
func (t *Tracer) await(ctx context.Context, pg *page) error {
	pg.state.Store(pageQueued)
	select {
	case <-t.stop:
		return stopping()
	default:
	}
	select {
	case t.queue <- pg:
	default:
		t.pages.Put(pg)
		return act.Errorf(act.Unavailable, "too many pages wait to be put on record").
			WithRule("record.full").WithRetry(retryAfter).
			WithHint("nothing is shown before the showing is on record; your credential is fine, retry after the given time")
	}
	var err error
	select {
	case err = <-pg.done:
	case <-ctx.Done():
		if pg.state.CompareAndSwap(pageQueued, pageLeft) {
			return act.Errorf(act.Unavailable, "the request ended before the showing was on record: %w", ctx.Err()).
				WithRetry(retryAfter) // the lane drops the page
		}
		err = <-pg.done
	case <-t.gone:
		if pg.state.CompareAndSwap(pageQueued, pageLeft) {
			return stopping()
		}
		err = <-pg.done
	}
	if err == nil && pg.sheet != nil {
		t.memory.remember(pg.reader, pg.sheet) // committed; only now
	}
	t.pages.Put(pg)
	return err
}

// hurry has the counts stored early if there are many.
func (t *Tracer) hurry() {
	if t.memory.crowded() {
		select {
		case t.crowded <- struct{}{}:
		default:
		}
	}
}

// code brings the new items into the form they are stored in. Where the whole
// page is new, its sheet has it.
func (pg *page) code() {
	pg.coded, pg.ends = pg.coded[:0], pg.ends[:0]
	if pg.sheet != nil && pg.whole() {
		return
	}
	for rest := pg.fresh; len(rest) > 0; {
		n := min(len(rest), MaxItems)
		pg.coded = AppendItems(pg.coded, rest[:n])
		pg.ends = append(pg.ends, len(pg.coded))
		rest = rest[n:]
	}
}

func stopping() error {
	return act.Errorf(act.Unavailable, "the network is stopping").WithRetry(retryAfter)
}

// readerOf returns under which number a principal's reading is recorded, and
// whether it is at all.
func readerOf(p act.Principal) (reader act.ID, is bool, err error) {
	switch p.Kind {
	case act.Observer:
		return 0, true, nil
	case act.System:
		return p.ID, p.ID != 0, nil
	case act.Agent, act.Operator:
		if p.ID != 0 {
			return p.ID, true, nil
		}
	}
	// Number 0 would take it for an observer.
	return 0, false, act.Errorf(act.Internal, "a reader of kind %s has no id", p.Kind)
}

// validTrace returns a W3C trace id, and "" for anything else: a text that the
// database refuses would fail the pages of others in the same transaction.
func validTrace(s string) string {
	if len(s) != 32 {
		return ""
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return s
}
