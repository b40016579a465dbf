package network

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Queue is a durable reader of events for the workers of one agent. It is a
// cursor over the sequence, with a row for each item that is under way or dead:
// a queue in which nothing happens costs nothing.
type Queue struct {
	ID          act.ID
	Owner       act.ID
	Name        string
	Filter      EventFilter
	Seq         int64         // events up to here have been taken from the sequence
	Visibility  time.Duration // how long an item is its receiver's alone
	MaxReceives int64         // after so many an item that nobody acknowledged is dead
	Waiting     int64         // taken from the sequence and not acknowledged; the dead not counted
	InFlight    int64         // of which somebody has so many now
	Dead        int64
	CreatedAt   int64
	UpdatedAt   int64

	Ready  bool  // a receive would bring something, or has much to look at
	NextAt int64 // when the next item that somebody has may be given again; 0 if nobody has one
	Looked int64 // up to here the sequence has nothing more for the queue
}

// NewQueue asks for a queue; zero fields take the defaults.
type NewQueue struct {
	Name        string
	Filter      EventFilter
	After       int64 // where it begins; FromNow for what happens from now on
	Visibility  time.Duration
	MaxReceives int64
}

// QueueChange changes a queue; nil fields stay as they are. A new filter is for
// what has not been taken from the sequence yet.
type QueueChange struct {
	Name        string
	Filter      *EventFilter
	After       *int64 // go on from here: what was taken after it and not acknowledged comes again
	Visibility  *time.Duration
	MaxReceives *int64
}

// QueueName names a queue of the caller's, or of Owner's for operators.
type QueueName struct {
	Owner  act.ID
	Name   string
	Looked int64 // from an earlier answer: the look goes on from there
}

// QueueQuery asks for queues: the caller's, or for operators those of Owner or of
// everybody.
type QueueQuery struct {
	Owner act.ID
	After act.ID // an operator's page goes on after this queue
}

// QueuePage is a part of the list of queues.
type QueuePage struct {
	Items []Queue
	More  bool
}

// Limits of queues.
const (
	MaxQueues    = 20 // of one agent
	MaxReceive   = 50 // items or receipts in one call
	MaxVisible   = 12 * time.Hour
	MaxReceives  = 1000
	MaxDead      = 1000 // of one queue; then it gives nothing until some are redriven
	MaxQueued    = 500  // items of a queue that can wait or be under way
	queueScan    = 500  // events that one look reads
	queuePage    = 100
	queueNameMax = 64

	defaultVisible  = 30 * time.Second
	defaultReceives = 5
)

const (
	queueColumns = `id, owner, name, acts, subjects, seq, visibility, max_receives, dead, created_at, updated_at`

	qqueueNamed store.Q = `SELECT ` + queueColumns + ` FROM queue WHERE owner = $1 AND name = $2`
	qQueueID    store.Q = `SELECT ` + queueColumns + ` FROM queue WHERE id = $1`
	qQueuesOf   store.Q = `SELECT ` + queueColumns + ` FROM queue WHERE owner = $1 ORDER BY owner, name LIMIT 100`
	qQueues     store.Q = `SELECT ` + queueColumns + ` FROM queue WHERE id > $1 ORDER BY id LIMIT 101`
	qQueueMake  store.Q = `INSERT INTO queue (id, owner, name, acts, subjects, seq, visibility, max_receives, dead, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $9) ON CONFLICT (owner, name) DO NOTHING`
	qQueueLock   store.Q = `UPDATE queue SET seq = seq WHERE owner = $1 AND name = $2`
	qQueueChange store.Q = `UPDATE queue SET acts = $2, subjects = $3, seq = $4, visibility = $5, max_receives = $6, dead = $7, updated_at = $8 WHERE id = $1`
	qQueueMove   store.Q = `UPDATE queue SET seq = $2, dead = $3 WHERE id = $1`
	qQueueDelete store.Q = `DELETE FROM queue WHERE id = $1`

	qItemsForget store.Q = `DELETE FROM queue_item WHERE queue = $1 AND seq > $2`
	qDeadForget  store.Q = `DELETE FROM queue_dead WHERE queue = $1 AND seq > $2`
)

func (n *Network) registerQueue(g *gate.Gate) {
	n.CreateQueue = gate.RegisterWrite(g, gate.Write[NewQueue, Queue]{
		Info: queueInfo("create", "Make a durable queue of events.", gate.QuotaWrite), Resolve: n.newQueueTarget, Run: n.createQueue,
		Replay: n.queueAgain,
	})
	n.UpdateQueue = gate.RegisterWrite(g, gate.Write[QueueChange, Queue]{
		Info: queueInfo("update", "Change one's own queue, or have it go on from another sequence number.", gate.QuotaWrite),
		Resolve: func(ctx context.Context, v *store.View, p act.Principal, in QueueChange) (gate.Resource, error) {
			return n.queueTarget(ctx, v, p, in.Name)
		},
		Run: n.updateQueue, Replay: n.queueAgain,
	})
	n.DeleteQueue = gate.RegisterWrite(g, gate.Write[string, act.Ref]{
		Info: queueInfo("delete", "Delete one's own queue with all that waits in it.", gate.QuotaWrite), Resolve: n.queueTarget,
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, name string) (act.Ref, gate.Effects, error) {
			q, err := n.lockQueue(tx, p, name)
			if err != nil {
				return act.Ref{}, gate.Effects{}, err
			}
			if err := forgetItems(tx, q.ID, 0); err != nil {
				return act.Ref{}, gate.Effects{}, err
			}
			ref := act.Ref{ID: q.ID}
			return ref, gate.Effects{Out: ref}, tx.Batch(qQueueDelete, q.ID)
		},
		Replay: func(_ context.Context, _ *store.View, _ act.Principal, made act.Ref) (act.Ref, error) {
			return made, nil
		},
	})
	n.ListQueues = gate.RegisterRead(g, gate.Read[QueueQuery, QueuePage]{
		Info: queueInfo("list", "List one's own queues; operators list everybody's.", gate.QuotaRead), Run: n.listQueues,
	})
	n.ShowQueue = gate.RegisterRead(g, gate.Read[QueueName, Queue]{
		Info: queueInfo("show", "See how a queue of one's own stands; operators see everybody's.", gate.QuotaRead), Run: n.showQueue,
	})
	n.registerReceive(g)
	n.registerReceipt(g)
}

func queueInfo(verb, doc, quota string) gate.Info {
	return gate.Info{Name: "queue." + verb, Doc: doc, On: act.KindQueue, Quota: quota}
}

// queueActs are told by no queue, or the work on one would never end.
const queueActs = "queue.*"

func checkQueue(g *gate.Gate, f EventFilter, visibility time.Duration, receives int64) error {
	if err := f.check(g); err != nil {
		return err
	}
	if slices.ContainsFunc(f.Acts, func(name string) bool { return name == queueActs || matches(queueActs, name) }) {
		return act.Errorf(act.Invalid, "queues do not tell of what is done with queues").WithRule("event.filter").
			WithHint("leave the acts queue.* out; GET /v1/queues/{name} shows how a queue stands")
	}
	if visibility < 0 || visibility > MaxVisible || receives < 0 || receives > MaxReceives {
		return act.Errorf(act.Invalid, "an item is its receiver's for up to %d seconds, and is given up to %d times", int(MaxVisible.Seconds()), MaxReceives).
			WithRule("queue.limits").WithHint("leave visibility and max_receives out for 30 seconds and 5 times")
	}
	return nil
}

func (n *Network) newQueueTarget(_ context.Context, v *store.View, p act.Principal, in NewQueue) (gate.Resource, error) {
	res := gate.Resource{Facts: gate.Facts{Kind: act.KindQueue, Own: true}}
	if !queueNamed(in.Name) {
		return res, act.Errorf(act.Invalid, "the name of a queue has 1 to %d characters of a-z, 0-9, - and _", queueNameMax).WithRule("queue.name").
			WithHint("choose another name")
	}
	if err := checkQueue(n.gate, in.Filter, in.Visibility, in.MaxReceives); err != nil {
		return res, err
	}
	list, err := queuesOf(v, p.ID)
	if err == nil && len(list) >= MaxQueues && !slices.ContainsFunc(list, func(q Queue) bool { return q.Name == in.Name }) {
		err = act.Errorf(act.Conflict, "you have %d queues", MaxQueues).WithRule("queue.count").WithHint("delete one first")
	}
	return res, err
}

// queueNamed reports whether a queue can have the name.
func queueNamed(s string) bool {
	return s != "" && len(s) <= queueNameMax && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

func (n *Network) createQueue(_ context.Context, tx *store.Tx, p act.Principal, in NewQueue) (Queue, gate.Effects, error) {
	id, err := tx.Mint(act.KindQueue)
	if err != nil {
		return Queue{}, gate.Effects{}, err
	}
	last, err := tx.LastSequence()
	if err != nil {
		return Queue{}, gate.Effects{}, err
	}
	q := Queue{
		ID: id, Owner: p.ID, Name: in.Name, Filter: in.Filter, Seq: last,
		Visibility: cmp.Or(in.Visibility, defaultVisible), MaxReceives: cmp.Or(in.MaxReceives, defaultReceives), CreatedAt: tx.Now(), UpdatedAt: tx.Now(),
	}
	if in.After != FromNow {
		q.Seq = min(in.After, last)
	}
	acts, subjects := q.Filter.text()
	made, err := tx.Exec(qQueueMake, id, p.ID, q.Name, acts, subjects, q.Seq, q.Visibility.Microseconds(), q.MaxReceives, tx.Now())
	if err == nil && made == 0 {
		err = act.Errorf(act.Conflict, "you have a queue of that name").WithRule("queue.name").WithHint("use it, change it with PATCH, or choose another name")
	}
	return q, gate.Effects{Out: act.Ref{ID: id}}, err
}

func (n *Network) updateQueue(_ context.Context, tx *store.Tx, p act.Principal, in QueueChange) (Queue, gate.Effects, error) {
	q, err := n.lockQueue(tx, p, in.Name)
	if err != nil {
		return q, gate.Effects{}, err
	}
	if in.Filter != nil {
		q.Filter = *in.Filter
	}
	if in.Visibility != nil {
		q.Visibility = cmp.Or(*in.Visibility, defaultVisible)
	}
	if in.MaxReceives != nil {
		q.MaxReceives = cmp.Or(*in.MaxReceives, defaultReceives)
	}
	if err := checkQueue(n.gate, q.Filter, q.Visibility, q.MaxReceives); err != nil {
		return q, gate.Effects{}, err
	}
	if in.After != nil {
		last, err := tx.LastSequence()
		if err != nil {
			return q, gate.Effects{}, err
		}
		q.Seq = last
		if *in.After != FromNow {
			q.Seq = min(*in.After, last)
		}
		if err := forgetItems(tx, q.ID, q.Seq); err != nil {
			return q, gate.Effects{}, err
		}
		if _, err := tx.One(qDeadCount, func(r *store.Row) error { q.Dead = r.Int(0); return nil }, q.ID); err != nil {
			return q, gate.Effects{}, err
		}
	}
	q.UpdatedAt = tx.Now()
	acts, subjects := q.Filter.text()
	return q, gate.Effects{Out: act.Ref{ID: q.ID}},
		tx.Batch(qQueueChange, q.ID, acts, subjects, q.Seq, q.Visibility.Microseconds(), q.MaxReceives, q.Dead, tx.Now())
}

// forgetItems drops the items after a sequence number, the dead among them.
func forgetItems(tx *store.Tx, queue act.ID, after int64) error {
	if err := tx.Batch(qItemsForget, queue, after); err != nil {
		return err
	}
	return tx.Batch(qDeadForget, queue, after)
}

func scanQueue(r *store.Row) Queue {
	return Queue{
		ID: r.ID(0), Owner: r.ID(1), Name: r.Text(2), Filter: readFilter(r.Text(3), r.Text(4)), Seq: r.Int(5),
		Visibility: time.Duration(r.Int(6)) * time.Microsecond, MaxReceives: r.Int(7), Dead: r.Int(8), CreatedAt: r.Int(9), UpdatedAt: r.Int(10),
	}
}

func queuesOf(v *store.View, owner act.ID) (list []Queue, err error) {
	err = v.All(qQueuesOf, func(r *store.Row) error { list = append(list, scanQueue(r)); return nil }, owner)
	return list, err
}

func (n *Network) listQueues(_ context.Context, v *store.View, p act.Principal, in QueueQuery) (page QueuePage, err error) {
	if p.Kind == act.Operator && in.Owner == 0 {
		err = v.All(qQueues, func(r *store.Row) error { page.Items = append(page.Items, scanQueue(r)); return nil }, in.After)
		if page.More = len(page.Items) > queuePage; page.More {
			page.Items = page.Items[:queuePage]
		}
		return page, err
	}
	owner := p.ID
	if p.Kind == act.Operator {
		owner = in.Owner
	}
	page.Items, err = queuesOf(v, owner)
	return page, err
}

// queue finds an agent's queue.
func (n *Network) queue(v *store.View, owner act.ID, name string) (q Queue, err error) {
	found, err := v.One(qqueueNamed, func(r *store.Row) error { q = scanQueue(r); return nil }, owner, name)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "you have no queue of that name").WithRule("queue.name").WithHint("GET /v1/queues lists yours; POST /v1/queues makes one")
	}
	return q, err
}

// queueAgain renders what an earlier call made.
func (n *Network) queueAgain(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (q Queue, err error) {
	found, err := v.One(qQueueID, func(r *store.Row) error { q = scanQueue(r); return nil }, made.ID)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "the queue has been deleted since").WithRule("queue.name").WithHint("make it again with another idempotency key")
	}
	return q, err
}

// queueTarget resolves a queue of the caller's own; somebody else's is not there.
func (n *Network) queueTarget(_ context.Context, v *store.View, p act.Principal, name string) (gate.Resource, error) {
	q, err := n.queue(v, p.ID, name)
	return gate.Resource{Ref: act.Ref{ID: q.ID}, Facts: gate.Facts{Kind: act.KindQueue, Own: true}}, err
}

// lockQueue makes the acts on a queue wait for each other: its row is written to
// before it is read.
func (n *Network) lockQueue(tx *store.Tx, p act.Principal, name string) (Queue, error) {
	if _, err := tx.Exec(qQueueLock, p.ID, name); err != nil {
		return Queue{}, err
	}
	return n.queue(&tx.View, p.ID, name)
}
