package export

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	eventBatch   = 500
	cursorPrefix = "ocsf "
)

// OCSFConfig is what OCSF is made of. All fields but Log are required.
type OCSFConfig struct {
	DB      *store.DB
	Sinks   []Sink
	Network string // public URL of the network: the provider, and the chain, of events
	Version string // of the program
	Log     *slog.Logger
}

// OCSF follows the record and gives each of its leaves to every sink, as an event. A sink
// that takes nothing holds up no other.
type OCSF struct {
	OCSFConfig
	form  form
	ends  []*end
	close sync.Once
}

// end is a sink and how far it is.
type end struct {
	sink   Sink
	cursor string
	behind atomic.Int64
	ill    bool // it took nothing the last time, which was said; of the goroutine of the pass
}

// NewOCSF returns an exporter that works when Pass is called.
func NewOCSF(c OCSFConfig) *OCSF {
	o := &OCSF{OCSFConfig: c, form: form{network: c.Network, version: c.Version}}
	for _, s := range c.Sinks {
		o.ends = append(o.ends, &end{sink: s, cursor: cursorPrefix + s.Name()})
	}
	return o
}

// Close gives the sinks back. No pass may be under way.
func (o *OCSF) Close() {
	o.close.Do(func() {
		for _, e := range o.ends {
			if err := e.sink.Close(); err != nil {
				o.Log.Warn("close a sink", "sink", e.sink.Name(), "err", err)
			}
		}
	})
}

// Behind tells how many leaves the sink that is furthest behind has not taken.
func (o *OCSF) Behind() (n int64) {
	for _, e := range o.ends {
		n = max(n, e.behind.Load())
	}
	return n
}

// Pass gives every sink what it has not taken yet. It is a chore: one node at a time, one
// pass at a time. What a sink does not take now, it is given in the next pass.
func (o *OCSF) Pass(ctx context.Context) error {
	var work sync.WaitGroup
	for _, e := range o.ends {
		work.Go(func() {
			err := o.bring(ctx, e)
			if err != nil && !e.ill && ctx.Err() == nil {
				o.Log.WarnContext(ctx, "events wait for a sink that does not take them", "sink", e.sink.Name(), "err", err)
			}
			if err == nil && e.ill {
				o.Log.InfoContext(ctx, "a sink takes events again", "sink", e.sink.Name())
			}
			e.ill = err != nil
		})
	}
	work.Wait()
	return nil
}

// bring gives a sink what it has not taken, batch by batch. The cursor moves when a batch
// has been taken; what dies between the two is given again, under the same uids.
func (o *OCSF) bring(ctx context.Context, e *end) error {
	for {
		var events []Event
		var last int64
		if err := o.DB.View(ctx, func(v *store.View) error {
			events = nil
			after, err := v.Cursor(e.cursor)
			if err != nil {
				return err
			}
			if last, err = v.LastSequence(); err != nil {
				return err
			}
			e.behind.Store(last - after)
			return audit.Follow(v, after, eventBatch, func(f audit.Followed) error {
				line, class, err := o.form.event(&f)
				events = append(events, Event{Seq: f.Seq, At: f.Leaf.At, Class: class, Line: line})
				return err
			})
		}); err != nil || len(events) == 0 {
			return err
		}
		if err := e.sink.Take(ctx, events); err != nil {
			return err
		}
		taken := events[len(events)-1].Seq
		if err := o.DB.Write(ctx, func(tx *store.Tx) error { return tx.SaveCursor(e.cursor, taken) }); err != nil {
			return err
		}
		e.behind.Store(max(0, last-taken))
		if len(events) < eventBatch {
			return nil
		}
	}
}
