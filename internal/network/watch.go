package network

import (
	"context"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	watchEvery = 500 * time.Millisecond // looks at the database when no signal comes
	watchLimit = 5 * time.Second
	watchPause = 10 * time.Millisecond // turns many signals into one
)

// watch tells those who wait that the sequence of events may have grown, or that
// an agent's standing has changed. The bus is a signal that may be lost, so it
// also looks at the database by itself.
type watch struct {
	db     *store.DB
	bus    *bus.Bus
	wake   chan struct{}
	cancel func()

	mu      sync.Mutex
	changed chan struct{} // guarded by mu: closed and replaced at every change
}

func newWatch(db *store.DB, b *bus.Bus) *watch {
	return &watch{db: db, bus: b, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

// next returns the channel that is closed at the next change. Ask for it before
// you look, so that no change falls between.
func (w *watch) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

func (w *watch) raise() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// run raises until ctx ends.
func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	pause := time.NewTimer(watchPause)
	defer pause.Stop()
	last := int64(-1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			w.raise()
		case <-tick.C:
			look, cancel := context.WithTimeout(ctx, watchLimit)
			seq := last
			err := w.db.View(look, func(v *store.View) (err error) { seq, err = v.LastSequence(); return err })
			cancel()
			if err == nil && seq != last {
				last = seq
				w.raise()
			}
		}
		pause.Reset(watchPause)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

func (w *watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// subscribe begins to hear signals.
func (w *watch) subscribe() (err error) {
	subject := gate.PulseSubject
	if w.db.Dialect() == store.Postgres {
		subject = gate.NumberedSubject
	}
	w.cancel, err = w.bus.Subscribe(subject, func([]byte) { w.poke() })
	return err
}

// Changed returns a channel that is closed when events may have come, or when
// somebody's standing has changed. Take it before reading, then wait on it.
func (n *Network) Changed() <-chan struct{} { return n.watch.next() }

// standingsMoved wakes everybody who waits: one of them may have to stop.
func (n *Network) standingsMoved(context.Context, []act.ID) error {
	n.watch.raise()
	return nil
}

// Push is what the delivery of events needs.
type Push struct {
	Bus     *bus.Bus // carries the signal that events have come
	Poster  Poster   // reaches the receivers of webhooks
	Secrets Sealer   // keeps their secrets
	// Render gives the message that tells a webhook of an event, and the message's
	// id, which is the same at every attempt.
	Render func(webhook act.ID, e Event) (id string, body []byte, err error)
	// Operator returns an operator with the roles of now; without any if nothing lets
	// them in any more.
	Operator func(v *store.View, operator act.ID) (act.Principal, error)
	// Trace returns the traceparent header that names the span of the act behind an event,
	// "" for work that has none. Nil sends none.
	Trace func(ctx context.Context, seq int64) (string, error)
}

// delivery holds the acts that tell of what happens, and what does the telling.
type delivery struct {
	ReadEvents     *gate.ReadAct[EventQuery, EventPage]
	CreateWebhook  *gate.WriteAct[NewWebhook, Webhook]
	ListWebhooks   *gate.ReadAct[Nothing, []Webhook]
	DeleteWebhook  *gate.WriteAct[act.ID, act.Ref]
	RotateWebhook  *gate.WriteAct[act.ID, Webhook]
	ReplayWebhook  *gate.WriteAct[Replay, Webhook]
	ListDeliveries *gate.ReadAct[act.ID, []Delivery]

	CreateQueue  *gate.WriteAct[NewQueue, Queue]
	UpdateQueue  *gate.WriteAct[QueueChange, Queue]
	DeleteQueue  *gate.WriteAct[string, act.Ref]
	ListQueues   *gate.ReadAct[QueueQuery, QueuePage]
	ShowQueue    *gate.ReadAct[QueueName, Queue]
	AckItems     *gate.WriteAct[Receipts, Settled]
	ExtendItems  *gate.WriteAct[Receipts, Settled]
	DeadItems    *gate.ReadAct[DeadQuery, DeadPage]
	RedriveQueue *gate.WriteAct[Redrive, int64]
	receiveItems *gate.WriteAct[Receive, []Item] // by Receive

	push  Push
	watch *watch
	hooks *pusher
	stop  context.CancelFunc // ends the background work; nil before Run
	work  sync.WaitGroup
}

func (n *Network) registerDelivery(g *gate.Gate, db *store.DB, c Push) {
	n.push, n.watch, n.hooks = c, newWatch(db, c.Bus), newPusher(n, db)
	n.registerEvent(g)
	n.registerWebhook(g)
	n.registerQueue(g)
	g.OnFence(act.KindWebhook, n.hooks.fenced)
	g.OnFence(act.KindAgent, n.hooks.fenced)
	g.OnFence(act.KindOperator, n.hooks.fenced)
	g.OnFence(act.KindAgent, n.standingsMoved)  // after lifecycle's own
	g.OnFence(act.KindSystem, n.standingsMoved) // any number of agents may have to stop
	g.OnFence(act.KindSystem, n.hooks.halted)
}

// Run does the network's background work until Close.
func (n *Network) Run(ctx context.Context) error {
	if err := n.watch.subscribe(); err != nil {
		return err
	}
	ctx, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	n.work.Go(func() { n.watch.run(ctx) })
	n.work.Go(func() { n.hooks.run(ctx) })
	if n.db.Dialect() == store.Postgres {
		n.work.Go(func() { n.heed(ctx, n.heard) })
	}
	return nil
}

// Close ends the background work. It may be called without Run.
func (n *Network) Close() {
	if n.stop == nil {
		return
	}
	n.watch.cancel()
	n.stop()
	n.work.Wait()
}
