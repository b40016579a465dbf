package bench

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ledger is a record alone, without a network: what its leaves cost is the point.
type ledger struct {
	r     *runner
	db    *store.DB
	dir   string // of SQLite
	codec *act.Codec
	key   audit.Key
	log   *audit.Log
	tree  *audit.Tree
	ids   []act.ID
	has   int // leaves
}

const (
	ledgerBatch = 1000 // leaves in a transaction
	ledgerProof = 1000 // proofs in a repetition
	sideRecord  = "record"
)

// records measures what the tamper-evident record costs: to write leaves, to take them
// into the tree, to verify all and to prove one: `reef bench audit`.
func records(r *runner, ctx context.Context) error {
	for _, db := range r.dbs {
		if err := r.record(ctx, db); err != nil {
			return fmt.Errorf("%s: %w", db, err)
		}
	}
	return nil
}

func (r *runner) record(ctx context.Context, db string) (err error) {
	l := &ledger{r: r, key: audit.Key{Sign: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), Mark: make([]byte, 32)}}
	if err := l.open(ctx, db); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.db.Close()) }()
	var sizes, verifying []float64
	for _, scale := range r.scales {
		f := figure{DB: db, Side: sideRecord, Scale: scale, Data: fmt.Sprintf("%d leaves", r.base*scale)}
		cost, err := l.measure(ctx, f)
		if err != nil {
			return err
		}
		sizes, verifying = append(sizes, float64(l.has)), append(verifying, cost)
	}
	e, ok := exponent(sizes, verifying)
	if !ok {
		return nil
	}
	f := figure{DB: db, Side: sideRecord, Metric: "growth_verify", Data: fmt.Sprintf("leaves %.0f", sizes)}
	return r.press.put(f.with(spread{e, e, e}, "exponent", r.reps, int64(len(sizes))))
}

func (l *ledger) open(ctx context.Context, db string) (err error) {
	if l.dir, err = os.MkdirTemp(l.r.dir, db+"-"); err != nil {
		return err
	}
	c := store.Config{Dir: l.dir, Clock: act.RealClock}
	if db == dbPostgres {
		name := "reef_bench_record"
		if err := l.r.pg.create(ctx, name, ""); err != nil {
			return err
		}
		c = store.Config{URL: l.r.pg.url(name, "synchronous_commit", "off"), Schema: "reef", Clock: act.RealClock}
	}
	if l.codec, err = act.NewCodec(make([]byte, act.CodecKeySize)); err != nil {
		return err
	}
	if l.db, err = store.Open(ctx, c); err != nil {
		return err
	}
	l.log = audit.New(audit.Config{Codec: l.codec})
	l.tree = audit.NewTree(audit.TreeConfig{DB: l.db, Key: l.key, Origin: "bench.reefwarden"})
	for range 100 {
		id, err := l.db.Mint(ctx, act.KindAgent)
		if err != nil {
			return err
		}
		l.ids = append(l.ids, id)
	}
	return nil
}

// entry is an act as most are.
func (l *ledger) entry(i int) gate.Entry {
	agent, on := l.ids[i%len(l.ids)], l.ids[i*7%len(l.ids)]
	return gate.Entry{
		Act: "comment.create", At: act.Micros(time.Now()), Count: 1, In: [32]byte{byte(i), byte(i >> 8)},
		Principal: act.Principal{Kind: act.Agent, ID: agent, Name: "agent-of-the-bench", Epoch: 1, Binding: act.BindingBootstrap},
		Target:    act.Ref{ID: on, Version: 1}, Out: act.Ref{ID: agent, Version: 1}, Decision: gate.Decision{Policy: "write", Bundle: 1},
	}
}

// measure grows the record to a scale and prints what it costs there. It returns the
// seconds that verifying all of it takes.
func (l *ledger) measure(ctx context.Context, f figure) (float64, error) {
	want := l.r.base * f.Scale
	var written, integrated time.Duration
	added := want - l.has
	for l.has < want {
		n := min(ledgerBatch, want-l.has)
		start := time.Now()
		if err := l.db.Write(ctx, func(tx *store.Tx) error {
			for i := range n {
				if err := l.log.Record(tx, l.entry(l.has+i)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return 0, err
		}
		written += time.Since(start)
		l.has += n
	}
	if err := l.number(ctx); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := l.tree.Integrate(ctx); err != nil {
		return 0, err
	}
	integrated = time.Since(start)
	var rendered, alone, verified, proved []float64
	var body []byte
	for range l.r.reps {
		start := time.Now()
		for i := range ledgerBatch {
			e := l.entry(i)
			body = audit.AppendLeaf(body[:0], l.codec, &e)
		}
		rendered = append(rendered, float64(time.Since(start))/ledgerBatch/1e3)
		cost, err := l.leafAlone(ctx)
		if err != nil {
			return 0, err
		}
		alone = append(alone, cost)
		start = time.Now()
		report, err := audit.Verify(ctx, l.db, audit.Verifying{Codec: l.codec, Key: l.key})
		if err != nil {
			return 0, err
		}
		if !report.OK() || report.Tree != int64(l.has) {
			return 0, act.Errorf(act.Internal, "the record does not verify: %+v", report.First())
		}
		verified = append(verified, float64(l.has)/time.Since(start).Seconds())
		start = time.Now()
		if err := l.db.View(ctx, func(v *store.View) error {
			for range ledgerProof {
				if _, err := l.tree.Prove(v, l.codec, audit.Wanted{Seq: 1 + rand.Int64N(int64(l.has))}); err != nil { //nolint:gosec // a bench
					return err
				}
			}
			return nil
		}); err != nil {
			return 0, err
		}
		proved = append(proved, float64(time.Since(start))/ledgerProof/1e6)
	}
	once := func(v float64) spread { return spread{v, v, v} }
	for _, m := range []struct {
		metric, unit string
		s            spread
		n            int
		reps         int
	}{
		{"leaf_render_us", "µs", spreadOf(rendered), ledgerBatch, l.r.reps},
		{"leaf_us", "µs", spreadOf(alone), ledgerBatch, l.r.reps},
		{"event_and_leaf_us", "µs", once(float64(written) / float64(added) / 1e3), added, 1},
		{"integrate_per_s", "leaves/s", once(float64(added) / integrated.Seconds()), added, 1},
		{"verify_per_s", "leaves/s", spreadOf(verified), l.has, l.r.reps},
		{"prove_ms", "ms", spreadOf(proved), ledgerProof, l.r.reps},
		{"bytes_per_leaf", "B", once(float64(l.bytes()) / float64(l.has)), l.has, 1},
	} {
		if m.s.med == 0 {
			continue
		}
		f.Metric = m.metric
		if err := l.r.press.put(f.with(m.s, m.unit, m.reps, int64(m.n))); err != nil {
			return 0, err
		}
	}
	return float64(l.has) / spreadOf(verified).med, nil
}

var errUndone = errors.New("undone")

// leafAlone returns what a leaf adds to its event's row, in microseconds: transactions of
// both against such of events alone, none of which are kept.
func (l *ledger) leafAlone(ctx context.Context) (float64, error) {
	timed := func(add func(*store.Tx, gate.Entry) error) (took time.Duration, err error) {
		err = l.db.Write(ctx, func(tx *store.Tx) error {
			start := time.Now()
			for i := range ledgerBatch {
				if err := add(tx, l.entry(i)); err != nil {
					return err
				}
			}
			took = time.Since(start)
			return errUndone
		})
		if errors.Is(err, errUndone) {
			err = nil
		}
		return took, err
	}
	both, err := timed(l.log.Record)
	if err != nil {
		return 0, err
	}
	event, err := timed(func(tx *store.Tx, e gate.Entry) error {
		_, err := tx.Event(store.Event{Act: e.Act, Ref: e.Out, Target: e.Target.ID, Actor: e.Principal.ID, At: e.At})
		return err
	})
	return float64(both-event) / ledgerBatch / 1e3, err
}

// number gives the leaves their numbers, which on SQLite they have.
func (l *ledger) number(ctx context.Context) error {
	lease, leads, err := l.db.Lead(ctx, store.SequencerLease)
	for n := store.SequenceBatch; err == nil && leads && n > 0; {
		n, err = l.db.SequencePass(ctx, lease)
	}
	return err
}

// bytes is how much the record takes on the disk, with its events and indexes; 0 where
// that is the database's own affair.
func (l *ledger) bytes() (sum int64) {
	if l.db.Dialect() != store.SQLite {
		return 0
	}
	files, _ := filepath.Glob(filepath.Join(l.dir, "reef.db*"))
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			sum += info.Size()
		}
	}
	return sum
}
