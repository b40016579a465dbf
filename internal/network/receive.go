package network

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Receive asks for items.
type Receive struct {
	Queue      string
	Max        int           // 1 if 0, at most MaxReceive
	Visibility time.Duration // how long they are the receiver's alone; the queue's if 0
	Wait       time.Duration // for the first item
}

// Item is an event given to a receiver. It is given again unless the receiver
// acknowledges it in time: at least once, and never while an earlier event of the
// same subject is under way.
type Item struct {
	Event    Event
	Receipt  Receipt // of this giving
	Receives int64   // how often it has been given, this time included
	Until    int64   // when it may be given again, Unix microseconds
	DeadAt   int64   // when it was given up, 0 while it is not
}

const (
	qItems   store.Q = `SELECT seq, subject, receives, visible_at FROM queue_item WHERE queue = $1 ORDER BY queue, seq LIMIT 500`
	qItemAdd store.Q = `INSERT INTO queue_item (queue, seq, subject, receives, receipt, visible_at) VALUES ($1, $2, $3, $4, $5, $6)`
	qItemGet store.Q = `UPDATE queue_item SET receives = $3, receipt = $4, visible_at = $5 WHERE queue = $1 AND seq = $2`
	qItemEnd store.Q = `DELETE FROM queue_item WHERE queue = $1 AND seq = $2`
	qDeadAdd store.Q = `INSERT INTO queue_dead (queue, seq, subject, receives, dead_at) VALUES ($1, $2, $3, $4, $5)`
)

// queued is the row of an item that waits or is under way.
type queued struct {
	seq, receives, visible int64
	subject                act.ID
}

func (n *Network) registerReceive(g *gate.Gate) {
	n.receiveItems = gate.RegisterWrite(g, gate.Write[Receive, []Item]{
		// Without a rate of its own: Network.Receive looks first, which counts as a
		// read, and takes only when there is something.
		Info: queueInfo("receive", "Take the next items of one's own queue.", gate.QuotaNone),
		Resolve: func(ctx context.Context, v *store.View, p act.Principal, in Receive) (gate.Resource, error) {
			return n.queueTarget(ctx, v, p, in.Queue)
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Receive) ([]Item, gate.Effects, error) {
			q, err := n.lockQueue(tx, p, in.Queue)
			if err != nil {
				return nil, gate.Effects{}, err
			}
			h := newHandout(n, tx, p, q, in)
			if err := h.again(); err != nil {
				return nil, gate.Effects{}, err
			}
			if err := h.fresh(); err != nil {
				return nil, gate.Effects{}, err
			}
			return h.out, gate.Effects{Out: act.Ref{ID: q.ID}}, nil
		},
	})
}

// receiveTries bounds how often one call takes without getting anything: because
// others were faster, or because much of the sequence is not for the queue.
const receiveTries = 20

// Receive does queue.receive when there is something to take, and waits for that
// if it is asked to. An empty list says that nothing came. Closing ending ends
// the wait.
func (n *Network) Receive(ctx context.Context, p act.Principal, in Receive, ending <-chan struct{}) ([]Item, error) {
	over := time.NewTimer(in.Wait)
	defer over.Stop()
	lapse := time.NewTimer(in.Wait) // set anew before each use
	defer lapse.Stop()
	name := QueueName{Name: in.Queue}
	changed := n.Changed()
	q, err := n.ShowQueue.Do(ctx, p, name)
	for tries := 0; err == nil; {
		if q.Ready && tries < receiveTries {
			tries++
			items, err := n.receiveItems.Do(ctx, p, in)
			if err != nil || len(items) > 0 {
				return items, err
			}
			name.Looked = 0 // the cursor may have passed it
		} else {
			if in.Wait <= 0 {
				return nil, nil
			}
			until := in.Wait
			if q.NextAt > 0 {
				until = act.FromMicros(q.NextAt).Sub(n.gate.Now())
			}
			lapse.Reset(max(until, time.Millisecond))
			select {
			case <-changed:
			case <-lapse.C:
			case <-over.C:
				return nil, nil
			case <-ending:
				return nil, nil
			case <-ctx.Done():
				return nil, nil
			}
			tries = 0
			name.Looked = q.Looked
		}
		changed = n.Changed()
		q, err = n.ShowQueue.Again(ctx, p, name)
	}
	return nil, err
}

// handout is one receive in its transaction, under the lock of the queue's row.
type handout struct {
	n     *Network
	tx    *store.Tx
	p     act.Principal
	q     Queue
	most  int
	until int64

	busy map[act.ID]bool // subjects of which something waits or is under way
	rows int             // items that wait or are under way
	out  []Item
}

func newHandout(n *Network, tx *store.Tx, p act.Principal, q Queue, in Receive) *handout {
	most, visible := in.Max, in.Visibility
	if most <= 0 {
		most = 1
	}
	if visible <= 0 {
		visible = q.Visibility
	}
	return &handout{
		n: n, tx: tx, p: p, q: q, most: min(most, MaxReceive), until: tx.Now() + min(visible, MaxVisible).Microseconds(),
		busy: make(map[act.ID]bool),
	}
}

// again gives what was taken from the sequence before: the oldest item of each
// subject, unless somebody has it.
func (h *handout) again() error {
	list, err := itemsOf(&h.tx.View, h.q.ID)
	if err != nil {
		return err
	}
	h.rows = len(list)
	for _, w := range list {
		switch {
		case len(h.out) == h.most:
			return nil
		case h.busy[w.subject]:
		case w.visible > h.tx.Now():
			h.keep(w.subject)
		case w.receives >= h.q.MaxReceives:
			if err := h.bury(w); err != nil {
				return err
			}
		default:
			if err := h.give(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep has later items of a subject wait. What has no subject waits for nothing.
func (h *handout) keep(subject act.ID) {
	if subject != 0 {
		h.busy[subject] = true
	}
}

// bury gives an item up that was given too often.
func (h *handout) bury(w queued) error {
	if h.q.Dead >= MaxDead {
		return act.Errorf(act.Conflict, "the queue has %d dead items, and another would be lost", MaxDead).WithRule("queue.dead").
			WithHint("read GET /v1/queues/{name}/dead, mend what fails, then POST to /v1/queues/{name}/redrive and acknowledge them")
	}
	h.q.Dead++
	h.rows--
	if err := h.tx.Batch(qDeadAdd, h.q.ID, w.seq, w.subject, w.receives, h.tx.Now()); err != nil {
		return err
	}
	if err := h.tx.Batch(qQueueMove, h.q.ID, h.q.Seq, h.q.Dead); err != nil {
		return err
	}
	return h.tx.Batch(qItemEnd, h.q.ID, w.seq)
}

// give gives an item again. One that the owner may no longer know of is dropped.
func (h *handout) give(w queued) error {
	item, found, err := h.n.item(&h.tx.View, h.p, w)
	if err != nil {
		return err
	}
	if !found {
		h.rows--
		return h.tx.Batch(qItemEnd, h.q.ID, w.seq)
	}
	h.keep(w.subject)
	if err := h.sign(&item, w.receives+1); err != nil {
		return err
	}
	return h.tx.Batch(qItemGet, h.q.ID, w.seq, item.Receives, item.Receipt.ID, h.until)
}

func (h *handout) sign(item *Item, receives int64) error {
	id, err := h.tx.Mint(act.KindDelivery)
	if err != nil {
		return err
	}
	item.Receipt, item.Receives, item.Until = Receipt{Seq: item.Event.Seq, ID: id}, receives, h.until
	h.out = append(h.out, *item)
	return nil
}

// fresh takes on from the sequence, until the receiver has enough. What belongs
// to a subject that is busy is put by for later.
func (h *handout) fresh() error {
	if len(h.out) == h.most || h.rows >= MaxQueued {
		return nil
	}
	rows, err := h.tx.EventsAfter(h.q.Seq, queueScan)
	if err != nil || len(rows) == 0 {
		return err
	}
	for _, row := range rows {
		if len(h.out) == h.most || h.rows >= MaxQueued {
			break
		}
		h.q.Seq = row.Seq
		fits, err := h.n.forQueue(&h.tx.View, h.p, h.q, row)
		if err != nil {
			return err
		}
		if !fits {
			continue
		}
		h.rows++
		subject := subjectOf(row)
		if h.busy[subject] {
			if err := h.tx.Batch(qItemAdd, h.q.ID, row.Seq, subject, 0, 0, 0); err != nil {
				return err
			}
			continue
		}
		e, err := h.n.event(&h.tx.View, h.p, row)
		if err != nil {
			return err
		}
		h.keep(subject)
		item := Item{Event: e}
		if err := h.sign(&item, 1); err != nil {
			return err
		}
		if err := h.tx.Batch(qItemAdd, h.q.ID, row.Seq, subject, 1, item.Receipt.ID, h.until); err != nil {
			return err
		}
	}
	return h.tx.Batch(qQueueMove, h.q.ID, h.q.Seq, h.q.Dead)
}

// subjectOf is the thing under which events are kept in order.
func subjectOf(row store.NumberedEvent) act.ID {
	if row.Ref.ID != 0 {
		return row.Ref.ID
	}
	return row.Target
}

// forQueue reports whether an event goes into a queue.
func (n *Network) forQueue(v *store.View, p act.Principal, q Queue, row store.NumberedEvent) (bool, error) {
	if matches(queueActs, row.Act) || !q.Filter.takes(row.Act, row.Ref.ID, row.Target) {
		return false, nil
	}
	return n.sees(v, p, row)
}

func itemsOf(v *store.View, queue act.ID) (list []queued, err error) {
	err = v.All(qItems, func(r *store.Row) error {
		list = append(list, queued{seq: r.Int(0), subject: r.ID(1), receives: r.Int(2), visible: r.Int(3)})
		return nil
	}, queue)
	return list, err
}

// item reads the event of an item's row again; it is told only to who may still
// know of it.
func (n *Network) item(v *store.View, p act.Principal, w queued) (Item, bool, error) {
	rows, err := v.EventsAfter(w.seq-1, 1)
	if err != nil || len(rows) == 0 || rows[0].Seq != w.seq {
		return Item{}, false, err
	}
	if sees, err := n.sees(v, p, rows[0]); err != nil || !sees {
		return Item{}, false, err
	}
	e, err := n.event(v, p, rows[0])
	return Item{Event: e, Receives: w.receives}, true, err
}

// showQueue counts a queue's items and looks whether a receive would find any.
func (n *Network) showQueue(_ context.Context, v *store.View, p act.Principal, in QueueName) (Queue, error) {
	if in.Owner == 0 || p.Kind != act.Operator {
		in.Owner = p.ID
	}
	q, err := n.queue(v, in.Owner, in.Name)
	if err != nil {
		return q, err
	}
	p = act.Principal{Kind: act.Agent, ID: q.Owner} // an operator sees how it stands for its owner
	list, err := itemsOf(v, q.ID)
	if err != nil {
		return q, err
	}
	now := act.Micros(n.gate.Now())
	busy := make(map[act.ID]bool)
	for _, w := range list {
		q.Waiting++
		switch {
		case w.visible > now:
			q.InFlight++
			if q.NextAt == 0 || w.visible < q.NextAt {
				q.NextAt = w.visible
			}
		case !busy[w.subject]:
			q.Ready = true
		}
		busy[w.subject] = w.subject != 0
	}
	q.Looked = max(q.Seq, in.Looked)
	if q.Ready || len(list) >= MaxQueued {
		return q, nil
	}
	rows, err := v.EventsAfter(q.Looked, queueScan)
	if err != nil {
		return q, err
	}
	held := false
	for _, row := range rows {
		fits, err := n.forQueue(v, p, q, row)
		if err != nil {
			return q, err
		}
		if held = held || fits; !held {
			q.Looked = row.Seq
		}
		if fits && !busy[subjectOf(row)] {
			q.Ready = true
			return q, nil
		}
	}
	q.Ready = len(rows) == queueScan // much to look at, so that the cursor should move
	return q, nil
}
