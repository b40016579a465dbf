package gate

import (
	"context"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

const (
	denialBurst  = 5           // alike denials recorded one by one in a window
	denialWindow = time.Minute // after the burst they are counted, one leaf a window
	denialKinds  = 16384       // different denials a window tells apart; the rest is counted together
	denialQueue  = 8192        // single entries that may wait for storage; the rest is counted
	denialEvery  = 200 * time.Millisecond
	denialBatch  = 256
)

// denials puts refusals and failures on record after they have been given: a
// denial never waits for storage. The first few alike are recorded one by one,
// then they are counted into one entry a window.
type denials struct {
	gate *Gate

	storing sync.Mutex // one round at a time, so that Flush returns after all of them

	mu      sync.Mutex
	waiting []Entry               // guarded by mu: single entries not yet stored
	kinds   map[denialKey]*denial // guarded by mu
	begins  time.Time             // guarded by mu: when the present window began

	stop chan struct{}
	done sync.WaitGroup
}

type denialKey struct {
	kind    act.PrincipalKind
	id      act.ID
	source  string
	act     string
	rule    string
	code    act.Code
	outcome Outcome
}

type denial struct {
	seen    int   // in this window
	counted Entry // stands for those beyond the burst
}

func newDenials(g *Gate) *denials {
	return &denials{gate: g, kinds: make(map[denialKey]*denial), stop: make(chan struct{})}
}

func (d *denials) add(ctx context.Context, p act.Principal, name string, o Outcome, e *act.Error) {
	entry := refusal(ctx, p, name, o, e, d.gate.clock())
	entry.Labels = d.gate.labels(p)
	key := denialKey{p.Kind, p.ID, p.Source, name, e.Rule, e.Code, o}
	burst := denialBurst
	if p.Kind == act.Observer {
		// Nobody is known yet: one counted leaf a window and source.
		key.act, key.rule, key.code, burst = "", "", 0, 0
	}
	if d.gate.bar.refuses(e) {
		burst = 0 // everybody meets it: counted only
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.kinds[key]
	if k == nil {
		if len(d.kinds) >= denialKinds {
			key = denialKey{outcome: o, act: "other"}
			entry.Principal, entry.Act, entry.Rule, burst = act.Principal{}, "other", "", 0
		}
		if k = d.kinds[key]; k == nil {
			k = &denial{}
			d.kinds[key] = k
		}
	}
	k.seen++
	if k.seen <= burst && len(d.waiting) < denialQueue {
		d.waiting = append(d.waiting, entry)
		return
	}
	count := k.counted.Count
	k.counted = entry
	k.counted.Count = count + 1
}

// refusal is the entry of an act that was not done.
func refusal(ctx context.Context, p act.Principal, name string, o Outcome, e *act.Error, at time.Time) Entry {
	return Entry{
		Act: name, At: act.Micros(at), Principal: p, Outcome: o, Code: e.Code, Rule: e.Rule,
		Count: 1, Trace: act.TraceOf(ctx), Caller: telemetry.CallerOf(ctx),
	}
}

func (d *denials) start() {
	d.begins = d.gate.clock()
	d.done.Add(1)
	go func() {
		defer d.done.Done()
		tick := time.NewTicker(denialEvery)
		defer tick.Stop()
		for {
			select {
			case <-d.stop:
				d.store(true)
				return
			case <-tick.C:
				d.store(false)
			}
		}
	}()
}

func (d *denials) close() {
	close(d.stop)
	d.done.Wait()
}

// store records what waits; at the end of a window, or when final, the counted
// ones too. What storage does not take is kept for the next round.
func (d *denials) store(final bool) {
	d.storing.Lock()
	defer d.storing.Unlock()
	d.mu.Lock()
	if final || d.gate.clock().Sub(d.begins) >= denialWindow {
		for _, k := range d.kinds {
			if k.counted.Count > 0 {
				d.waiting = append(d.waiting, k.counted)
			}
		}
		clear(d.kinds)
		d.begins = d.gate.clock()
	}
	batch := d.waiting
	d.waiting = nil
	d.mu.Unlock()
	for len(batch) > 0 {
		n := min(len(batch), denialBatch)
		ctx, cancel := context.WithTimeout(context.Background(), denialWindow) //arch:allow nobody's request
		err := d.gate.db.Write(ctx, func(tx *store.Tx) error {
			for _, e := range batch[:n] {
				if err := d.gate.Recorder.Record(tx, e); err != nil {
					return err
				}
			}
			return nil
		})
		cancel()
		if err != nil {
			d.gate.log.Warn("record denials", "waiting", len(batch), "err", err)
			d.mu.Lock()
			d.waiting = append(batch, d.waiting...)
			d.mu.Unlock()
			return
		}
		batch = batch[n:]
	}
}
