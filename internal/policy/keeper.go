package policy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Sizes of what is kept of decisions. A decision that waits to be written takes some 300
// bytes, one whose name of the hour is known 16.
const (
	keeperShards = 32
	// MaxWaiting is how many different decisions may wait to be written. At that mark
	// callers are sent away with 503 until there is room (Full); those under way are
	// still noted, so nothing is dropped.
	MaxWaiting = 1 << 16
	// MaxNamed is how many different decisions of an hour a node keeps with who asked.
	// From there on the count goes on without the principal: the numbers stay exact,
	// and rows are as many as there are kinds of agents and things.
	MaxNamed = 1_000_000
	// MaxFlips is the same for the flips of a bundle in shadow.
	MaxFlips = 100_000
	// MaxRows bounds the rows of one shadow: those with who asked, of up to seven
	// nodes, and those without.
	MaxRows = 8 * MaxFlips

	flushEvery = 15 * time.Second
	flushTime  = time.Minute
	flushBatch = 100 // in a transaction, which stops wait for
	hourMicros = int64(time.Hour / time.Microsecond)
)

// Keeper counts what is decided, by hour and by everything it was made of, and writes it
// down behind the callers' backs. A crash loses at most what was decided in the last
// seconds (flushEvery); a full buffer slows callers and drops nothing.
type Keeper struct {
	db     *store.DB
	log    *slog.Logger
	shards [keeperShards]keeperShard
	count  atomic.Int64 // entries in the shards, and in rounds that are being written
	wake   chan struct{}
	stop   chan struct{}
	done   sync.WaitGroup

	writing sync.Mutex          // one round at a time
	hour    int64               // guarded by writing: of named
	named   map[uint64]struct{} // guarded by writing: decisions of the hour that are kept with who asked
	flips   map[uint64]struct{} // guarded by writing: the same of the flips of one shadow
	flipsOf act.ID              // guarded by writing
}

type keeperShard struct {
	mu sync.Mutex
	n  map[tally]*counter // guarded by mu
}

// tally is one distinct decision of an hour. was is shared by all that are alike; flip is
// what the bundle in shadow would have decided, nil where the caller would meet the same.
type tally struct {
	hour int64
	sample
	was    *gate.Decision
	flip   *gate.Decision
	shadow *shadow
}

// NewKeeper returns a keeper that writes nothing before Start.
func NewKeeper(db *store.DB, log *slog.Logger) *Keeper {
	k := &Keeper{
		db: db, log: log, wake: make(chan struct{}, 1), stop: make(chan struct{}),
		named: make(map[uint64]struct{}), flips: make(map[uint64]struct{}),
	}
	for i := range k.shards {
		k.shards[i].n = make(map[tally]*counter)
	}
	return k
}

// note counts a decision, and returns the counter of those that are like it until they
// are written down. It never waits for storage.
func (k *Keeper) note(e *Engine, m *met, x *sample) *counter {
	t := tally{hour: m.hour, sample: *x, was: m.answer}
	if m.beside != nil {
		if now := e.besides(m.beside, x); resultOf(now) != resultOf(m.answer) {
			t.flip, t.shadow = now, m.beside
		}
	}
	return k.add(t, 1)
}

func (k *Keeper) add(t tally, n int64) *counter {
	shard := &k.shards[uint64(t.who)*0x9E3779B97F4A7C15>>59] // the five highest bits
	for {
		shard.mu.Lock()
		c, there := shard.n[t]
		if !there {
			c = new(counter)
			shard.n[t] = c
		}
		shard.mu.Unlock()
		if !there && k.count.Add(1) == MaxWaiting/2 {
			k.poke()
		}
		if c.add(n) {
			return c
		}
		// It was taken between the two: the next one is in a list of its own.
	}
}

func (k *Keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Full says why nobody can be served now, nil while there is room.
func (k *Keeper) Full() error {
	if k.count.Load() < MaxWaiting {
		return nil
	}
	k.poke()
	return act.Errorf(act.Unavailable, "too many decisions wait to be written down").WithRule("policy.kept").
		WithRetry(time.Second).WithHint("retry; your credential is fine")
}

// Start begins to write now and then.
func (k *Keeper) Start() {
	k.done.Add(1)
	go func() {
		defer k.done.Done()
		tick := time.NewTicker(flushEvery)
		defer tick.Stop()
		for {
			last := false
			select {
			case <-k.stop:
				last = true
			case <-tick.C:
			case <-k.wake:
			}
			ctx, cancel := context.WithTimeout(context.Background(), flushTime) //arch:allow the loop is nobody's request
			if err := k.Flush(ctx); err != nil {
				k.log.Warn("write down what was decided", "waiting", k.count.Load(), "err", err)
			}
			cancel()
			if last {
				return
			}
		}
	}()
}

// Close writes what waits and ends the work.
func (k *Keeper) Close() {
	close(k.stop)
	k.done.Wait()
}

// Flush writes down everything that was decided before the call. What storage does not
// take waits for the next time.
func (k *Keeper) Flush(ctx context.Context) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	round := make(map[tally]int64)
	entries := int64(0)
	for i := range k.shards {
		shard := &k.shards[i]
		shard.mu.Lock()
		list := shard.n
		if len(list) > 0 {
			shard.n = make(map[tally]*counter)
		}
		shard.mu.Unlock()
		entries += int64(len(list))
		for t, c := range list {
			if n := c.take(); n > 0 {
				round[t] += n
			}
		}
	}
	var batch []tally
	for t := range round {
		if batch = append(batch, t); len(batch) == flushBatch {
			if err := k.write(ctx, batch, round); err != nil {
				k.back(round, entries)
				return err
			}
			batch = batch[:0]
		}
	}
	if len(batch) > 0 {
		if err := k.write(ctx, batch, round); err != nil {
			k.back(round, entries)
			return err
		}
	}
	k.count.Add(-entries)
	return nil
}

// back gives back what a round could not write.
func (k *Keeper) back(round map[tally]int64, entries int64) {
	k.count.Add(-entries)
	for t, n := range round {
		k.add(t, n)
	}
}

// row is a decision as it is written.
type row struct {
	hour   int64
	digest [16]byte
	who    act.ID
	act    string
	body   []byte
	bundle int64
	result string
	rule   string
	n      int64

	shadow      act.ID // of a flip, with what would have been decided
	flip        [16]byte
	flipWho     act.ID
	now, by, at string
}

// write stores a batch, and takes what was stored out of the round. Rows are locked in one
// order, those of flips last: nodes count the same decisions at the same time, and would wait
// for each other until the database has noticed, with all stops behind them.
func (k *Keeper) write(ctx context.Context, batch []tally, round map[tally]int64) error {
	rows := make([]row, 0, len(batch))
	for _, t := range batch {
		r, err := k.row(t, round[t])
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), bytes.Compare(a.digest[:], b.digest[:]))
	})
	flips := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.shadow == 0 })
	slices.SortFunc(flips, func(a, b row) int { return bytes.Compare(a.flip[:], b.flip[:]) })
	if err := k.db.Write(ctx, func(tx *store.Tx) error { return saveDecisions(tx, rows, flips) }); err != nil {
		return err
	}
	for _, t := range batch {
		delete(round, t)
	}
	return nil
}

// row makes the row of a tally, without who asked where too many are kept already.
func (k *Keeper) row(t tally, n int64) (r row, err error) {
	r = row{hour: t.hour, act: t.act.name, bundle: t.was.Bundle, result: resultOf(t.was), rule: t.was.Policy, n: n, who: t.who}
	if r.body, err = t.body(); err != nil {
		return r, err
	}
	if t.hour > k.hour {
		k.hour = t.hour
		clear(k.named)
	}
	r.digest = r.sum()
	if !keeps(k.named, r.digest, MaxNamed) {
		r.who = 0
		r.digest = r.sum()
	}
	if t.shadow == nil {
		return r, nil
	}
	if k.flipsOf != t.shadow.id {
		k.flipsOf = t.shadow.id
		clear(k.flips)
	}
	r.shadow, r.now, r.by, r.at = t.shadow.id, resultOf(t.flip), t.flip.Policy, t.flip.Place
	r.flipWho = r.who
	if r.flip = r.flipSum(); !keeps(k.flips, r.flip, MaxFlips) {
		r.flipWho = 0
		r.flip = r.flipSum()
	}
	return r, nil
}

// keeps reports whether something may be kept with who asked: it is there already, or
// there is room.
func keeps(known map[uint64]struct{}, digest [16]byte, most int) bool {
	h := uint64(0)
	for _, b := range digest[:8] {
		h = h<<8 | uint64(b)
	}
	if _, there := known[h]; !there && len(known) >= most {
		return false
	}
	known[h] = struct{}{}
	return true
}

// sum tells decisions of an hour apart.
func (r *row) sum() [16]byte {
	return digestOf(r.who, r.bundle, r.act, string(r.body), r.result, r.rule)
}

// flipSum tells the flips of a shadow apart.
func (r *row) flipSum() [16]byte {
	return digestOf(r.flipWho, 0, r.act, r.result, r.rule, r.now, r.by)
}

func digestOf(who act.ID, bundle int64, parts ...string) (out [16]byte) {
	h := sha256.New()
	for i := range 8 {
		h.Write([]byte{byte(who >> (8 * i)), byte(bundle >> (8 * i))})
	}
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	copy(out[:], h.Sum(nil))
	return out
}
