package network

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Receipt names one giving of an item. The next giving has another, so that who
// was too slow cannot acknowledge what somebody else has now.
type Receipt struct {
	Seq int64
	ID  act.ID
}

// Receipts names givings of items.
type Receipts struct {
	Queue string
	List  []Receipt
	For   time.Duration // of an extension: how long from now; 0 gives the items back
}

// Settled says what became of receipts.
type Settled struct {
	Done    int64
	Refused []Refusal
}

// Refusal says why a receipt is good for nothing any more.
type Refusal struct {
	Receipt Receipt
	Why     *act.Error
}

// DeadQuery asks for the dead items of a queue.
type DeadQuery struct {
	Queue string
	After int64 // the sequence number of the last one that is known
	Limit int   // 50 if 0, at most 200
}

// DeadPage is a part of the dead items; Next is 0 at the end.
type DeadPage struct {
	Items []Item
	Next  int64
}

// Redrive gives dead items another chance: those of Seqs, or the oldest if it is
// empty, as many as the queue holds.
type Redrive struct {
	Queue string
	Seqs  []int64
}

const (
	qItemAck    store.Q = `DELETE FROM queue_item WHERE queue = $1 AND seq = $2 AND receipt = $3`
	qItemExtend store.Q = `UPDATE queue_item SET visible_at = $4 WHERE queue = $1 AND seq = $2 AND receipt = $3`
	qItemReady  store.Q = `SELECT receives FROM queue_item WHERE queue = $1 AND seq = $2`
	qItemCount  store.Q = `SELECT COUNT(*) FROM queue_item WHERE queue = $1`
	qDeadOne    store.Q = `SELECT seq, subject, receives, dead_at FROM queue_dead WHERE queue = $1 AND seq = $2`
	qDeadOf     store.Q = `SELECT seq, subject, receives, dead_at FROM queue_dead WHERE queue = $1 AND seq > $2 ORDER BY queue, seq LIMIT $3`
	qDeadEnd    store.Q = `DELETE FROM queue_dead WHERE queue = $1 AND seq = $2`
	qDeadCount  store.Q = `SELECT COUNT(*) FROM queue_dead WHERE queue = $1`
)

func (n *Network) registerReceipt(g *gate.Gate) {
	settle := func(verb, doc string, one func(tx *store.Tx, q Queue, in Receipts, r Receipt) (int64, error)) *gate.WriteAct[Receipts, Settled] {
		return gate.RegisterWrite(g, gate.Write[Receipts, Settled]{
			Info: queueInfo(verb, doc, gate.QuotaRead),
			Resolve: func(ctx context.Context, v *store.View, p act.Principal, in Receipts) (gate.Resource, error) {
				if len(in.List) == 0 || len(in.List) > MaxReceive || in.For < 0 || in.For > MaxVisible {
					return gate.Resource{}, act.Errorf(act.Invalid, "a call has 1 to %d receipts and extends by up to %d seconds", MaxReceive, int(MaxVisible.Seconds())).
						WithRule("queue.limits").WithHint("send the receipts that receive gave with the items")
				}
				return n.queueTarget(ctx, v, p, in.Queue)
			},
			Run: func(_ context.Context, tx *store.Tx, p act.Principal, in Receipts) (out Settled, fx gate.Effects, err error) {
				q, err := n.lockQueue(tx, p, in.Queue)
				if err != nil {
					return out, fx, err
				}
				for _, r := range in.List {
					done, err := one(tx, q, in, r)
					if err != nil {
						return out, fx, err
					}
					if out.Done += done; done > 0 {
						continue
					}
					why, err := refused(&tx.View, q, r)
					if err != nil {
						return out, fx, err
					}
					out.Refused = append(out.Refused, Refusal{r, why})
				}
				if out.Done == 0 {
					return out, fx, out.Refused[0].Why
				}
				return out, gate.Effects{Out: act.Ref{ID: q.ID}}, nil
			},
		})
	}
	n.AckItems = settle("ack", "Say that items of one's own queue are done.", func(tx *store.Tx, q Queue, _ Receipts, r Receipt) (int64, error) {
		return tx.Exec(qItemAck, q.ID, r.Seq, r.ID)
	})
	n.ExtendItems = settle("extend", "Keep items of one's own queue longer, or give them back.", func(tx *store.Tx, q Queue, in Receipts, r Receipt) (int64, error) {
		return tx.Exec(qItemExtend, q.ID, r.Seq, r.ID, tx.Now()+in.For.Microseconds())
	})
	n.DeadItems = gate.RegisterRead(g, gate.Read[DeadQuery, DeadPage]{
		Info: queueInfo("dead", "List the items of one's own queue that were given too often.", gate.QuotaRead), Run: n.deadItems,
	})
	n.RedriveQueue = gate.RegisterWrite(g, gate.Write[Redrive, int64]{
		Info: queueInfo("redrive", "Give the dead items of one's own queue another chance.", gate.QuotaWrite),
		Resolve: func(ctx context.Context, v *store.View, p act.Principal, in Redrive) (gate.Resource, error) {
			if len(in.Seqs) > MaxReceive {
				return gate.Resource{}, act.Errorf(act.Invalid, "a call redrives up to %d items by number", MaxReceive).WithRule("queue.limits").
					WithHint("leave seqs out for as many as the queue holds")
			}
			return n.queueTarget(ctx, v, p, in.Queue)
		},
		Run: n.redrive,
	})
}

// refused says why a receipt fits no item that is under way.
func refused(v *store.View, q Queue, r Receipt) (*act.Error, error) {
	given, err := v.One(qItemReady, func(*store.Row) error { return nil }, q.ID, r.Seq)
	if err != nil {
		return nil, err
	}
	if given {
		return act.Errorf(act.Conflict, "the item has been given again since").WithRule("queue.receipt.late").
			WithHint("its time was over, and whoever received it then acknowledges it; ask for a longer visibility, or extend in time"), nil
	}
	dead, err := v.One(qDeadOne, func(*store.Row) error { return nil }, q.ID, r.Seq)
	if err != nil {
		return nil, err
	}
	if dead {
		return act.Errorf(act.Conflict, "the item is dead: it was given %d times", q.MaxReceives).WithRule("queue.receipt.dead").
			WithHint("POST to /v1/queues/{name}/redrive gives it another chance"), nil
	}
	return act.Errorf(act.Gone, "no such item is under way").WithRule("queue.receipt.gone").
		WithHint("it was acknowledged before, or is of another queue; there is nothing to do"), nil
}

func scanDead(r *store.Row) (w queued, at int64) {
	return queued{seq: r.Int(0), subject: r.ID(1), receives: r.Int(2)}, r.Int(3)
}

func (n *Network) deadItems(_ context.Context, v *store.View, p act.Principal, in DeadQuery) (page DeadPage, err error) {
	q, err := n.queue(v, p.ID, in.Queue)
	if err != nil {
		return page, err
	}
	if in.Limit <= 0 {
		in.Limit = 50
	}
	in.Limit = min(in.Limit, 200)
	type dead struct {
		queued
		at int64
	}
	var list []dead
	if err := v.All(qDeadOf, func(r *store.Row) error {
		w, at := scanDead(r)
		list = append(list, dead{w, at})
		return nil
	}, q.ID, in.After, int64(in.Limit)+1); err != nil {
		return page, err
	}
	if len(list) > in.Limit {
		list = list[:in.Limit]
		page.Next = list[in.Limit-1].seq
	}
	for _, d := range list {
		item, found, err := n.item(v, p, d.queued)
		if err != nil {
			return page, err
		}
		if found { // not what its owner may no longer know of
			item.DeadAt = d.at
			page.Items = append(page.Items, item)
		}
	}
	return page, nil
}

func (n *Network) redrive(_ context.Context, tx *store.Tx, p act.Principal, in Redrive) (done int64, fx gate.Effects, err error) {
	q, err := n.lockQueue(tx, p, in.Queue)
	if err != nil {
		return 0, fx, err
	}
	fx.Out = act.Ref{ID: q.ID}
	room := int64(MaxQueued)
	if _, err := tx.One(qItemCount, func(r *store.Row) error { room -= r.Int(0); return nil }, q.ID); err != nil {
		return 0, fx, err
	}
	var list []queued
	take := func(r *store.Row) error {
		w, _ := scanDead(r)
		list = append(list, w)
		return nil
	}
	if len(in.Seqs) == 0 {
		if err := tx.All(qDeadOf, take, q.ID, int64(0), room); err != nil {
			return 0, fx, err
		}
	}
	for _, seq := range in.Seqs {
		if int64(len(list)) >= room {
			break
		}
		if _, err := tx.One(qDeadOne, take, q.ID, seq); err != nil {
			return 0, fx, err
		}
	}
	for _, w := range list {
		// Exec, because a number that is sent twice moves once.
		gone, err := tx.Exec(qDeadEnd, q.ID, w.seq)
		if err != nil {
			return 0, fx, err
		}
		if gone == 0 {
			continue
		}
		if err := tx.Batch(qItemAdd, q.ID, w.seq, w.subject, 0, 0, 0); err != nil {
			return 0, fx, err
		}
		done++
	}
	return done, fx, tx.Batch(qQueueMove, q.ID, q.Seq, q.Dead-done)
}
