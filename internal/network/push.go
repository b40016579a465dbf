package network

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	pushLease    = "webhooks"
	pushEvery    = 500 * time.Millisecond
	pushWidth    = 128 // webhooks served at once
	pushScan     = 200 // events looked at in one step
	pushFirst    = time.Second
	pushLongest  = time.Hour
	pushAttempts = 12 // in a row, about an hour and a half, then the webhook is switched off
	statusGone   = 410
)

// pusher delivers events to webhooks, on one node at a time. Each webhook gets
// its events one after the other in the order of the sequence, so the order of
// what happens to one thing is kept; its cursor moves when the receiver has
// answered 2xx, in a transaction that checks the lease. What was sent but not
// noted, because a node died in between, is sent again under the same id.
type pusher struct {
	n    *Network
	db   *store.DB
	done chan struct{} // somebody has finished

	mu   sync.Mutex
	busy map[act.ID]*serving // guarded by mu: webhooks being served
	work sync.WaitGroup
}

type serving struct {
	owner    act.ID
	operator bool // and no agent
	stop     context.CancelFunc
}

func newPusher(n *Network, db *store.DB) *pusher {
	return &pusher{n: n, db: db, done: make(chan struct{}, 1), busy: make(map[act.ID]*serving)}
}

func (d *pusher) run(ctx context.Context) {
	defer d.work.Wait()
	tick := time.NewTicker(pushEvery)
	defer tick.Stop()
	var lease store.Lease
	var leads bool
	for {
		changed := d.n.Changed()
		var err error
		if leads, err = d.round(ctx, &lease, leads); err != nil && ctx.Err() == nil {
			d.n.log.WarnContext(ctx, "deliver events", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			if leads {
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), watchLimit)
				_ = d.db.Resign(last, lease) // it ends by itself too
				cancel()
			}
			return
		case <-changed:
		case <-d.done:
		case <-tick.C:
		}
	}
}

// round starts the service of every webhook for which there is something to do.
// While there is no webhook it writes nothing.
func (d *pusher) round(ctx context.Context, lease *store.Lease, leads bool) (bool, error) {
	var live []Webhook
	var last int64
	if err := d.db.View(ctx, func(v *store.View) (err error) {
		live = nil
		if last, err = v.LastSequence(); err != nil {
			return err
		}
		for from := act.ID(0); ; from = live[len(live)-1].ID {
			before := len(live)
			if err := v.All(qWebhooksLive, func(r *store.Row) error { live = append(live, scanWebhook(r)); return nil }, from); err != nil {
				return err
			}
			if len(live)-before < 100 {
				return nil
			}
		}
	}); err != nil || len(live) == 0 {
		return leads, err
	}
	if !leads {
		var err error
		if *lease, leads, err = d.db.Lead(ctx, pushLease); err != nil || !leads {
			return false, err
		}
	} else if err := d.db.Write(ctx, func(tx *store.Tx) error { return tx.Hold(*lease) }); err != nil {
		d.stopAll()
		return false, err
	}
	now := act.Micros(d.n.gate.Now())
	for _, w := range live {
		if w.Seq < last && w.NextAt <= now {
			d.serve(ctx, *lease, w)
		}
	}
	return true, nil
}

// serve begins to serve a webhook unless it is being served.
func (d *pusher) serve(ctx context.Context, lease store.Lease, w Webhook) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy[w.ID] != nil || len(d.busy) >= pushWidth || !d.allowed(w) {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	d.busy[w.ID] = &serving{w.Owner, w.operator, stop}
	d.work.Go(func() {
		defer func() {
			stop()
			d.mu.Lock()
			delete(d.busy, w.ID)
			d.mu.Unlock()
		}()
		for {
			more, err := d.step(ctx, lease, w.ID)
			if err != nil && ctx.Err() == nil {
				d.n.log.WarnContext(ctx, "deliver to a webhook", slog.Any("err", err))
			}
			if err != nil || !more {
				break
			}
		}
		select {
		case d.done <- struct{}{}:
		default:
		}
	})
}

// allowed reports whether a webhook's owner may be told anything now. An operator is
// asked about where there is something to tell.
func (d *pusher) allowed(w Webhook) bool {
	return w.operator || d.n.gate.Fresh() && d.n.gate.Barred() == nil && d.n.standing(w.Owner) == act.Active
}

// lost says why an operator's webhook is to be switched off: they may not follow events
// any more. It is "" for others.
func (n *Network) lost(v *store.View, w Webhook) (why string, err error) {
	if !w.operator {
		return "", nil
	}
	p, err := n.push.Operator(v, w.Owner)
	if err != nil || n.gate.May(p, "event.read", gate.Facts{Kind: act.KindNetwork}) == nil {
		return "", err
	}
	return "its operator may not follow events any more; POST to the webhook's replay when they may again", nil
}

// fenced stops what is under way for webhooks and owners that have changed,
// before the change is acknowledged.
func (d *pusher) fenced(_ context.Context, ids []act.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		for hook, s := range d.busy {
			if hook == id || s.owner == id {
				s.stop()
			}
		}
	}
	return nil
}

// halted stops what is under way for owners who may not be told anything any more, when
// many agents have been stopped at once.
func (d *pusher) halted(context.Context, []act.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.busy {
		if !s.operator && d.n.standing(s.owner) != act.Active {
			s.stop()
		}
	}
	return nil
}

func (d *pusher) stopAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.busy {
		s.stop()
	}
}

// step delivers one event, or moves the cursor over events that are not for the
// webhook. It reports whether there may be more to do now.
func (d *pusher) step(ctx context.Context, lease store.Lease, id act.ID) (more bool, err error) {
	var w Webhook
	var found bool
	var next *Event
	var lost string
	looked := int64(0)
	if err := d.db.View(ctx, func(v *store.View) (err error) {
		next, looked = nil, 0
		if w, found, err = d.n.webhook(v, id); err != nil || !found {
			return err
		}
		if lost, err = d.n.lost(v, w); err != nil || lost != "" {
			return err
		}
		next, looked, err = d.n.nextFor(v, w)
		return err
	}); err != nil || !found || w.Disabled != 0 || w.NextAt > act.Micros(d.n.gate.Now()) {
		return false, err
	}
	if lost != "" {
		return false, d.note(ctx, lease, func(tx *store.Tx) (int64, error) {
			return tx.Exec(qPushMoved, w.ID, w.Seq, w.epoch, w.Seq, w.Failures, w.NextAt, tx.Now(), lost)
		})
	}
	if next == nil {
		if looked-w.Seq < pushScan {
			return false, nil // little to look at again
		}
		return true, d.note(ctx, lease, func(tx *store.Tx) (int64, error) {
			return tx.Exec(qPushMoved, w.ID, w.Seq, w.epoch, looked, w.Failures, w.NextAt, w.Disabled, w.Reason)
		})
	}
	if !d.allowed(w) {
		return false, nil // it goes on from here when its owner may act again
	}
	status, sendErr := d.send(ctx, w, *next)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	log := Delivery{Seq: next.Seq, Attempt: w.Failures + 1, Status: int64(status)}
	seq := next.Seq
	if good := sendErr == nil && status >= 200 && status <= 299; good {
		w2 := w
		w2.Failures, w2.NextAt = 0, 0
		return true, d.outcome(ctx, lease, w, w2, seq, log)
	}
	log.Error = failureText(status, sendErr)
	w2 := d.failed(w, log.Error, status)
	return false, d.outcome(ctx, lease, w, w2, w.Seq, log)
}

// failed is a webhook after one more failure.
func (d *pusher) failed(w Webhook, why string, status int) Webhook {
	w.Failures++
	wait := min(pushFirst<<min(w.Failures-1, 20), pushLongest)
	wait += rand.N(wait/2) - wait/4 //nolint:gosec // spreading load is no secret
	now := d.n.gate.Now()
	w.NextAt = act.Micros(now.Add(wait))
	if w.Failures >= pushAttempts || status == statusGone {
		w.Disabled = act.Micros(now)
		w.Reason = why + "; mend the receiver, then POST to the webhook's replay"
	}
	return w
}

func failureText(status int, err error) string {
	switch e := act.AsError(err); {
	case err == nil:
		return fmt.Sprintf("the receiver answered %d", status)
	case e.Code == act.Invalid:
		return "the URL may not be used any more"
	case status != 0:
		return "the receiver's answer broke off"
	}
	return "the receiver does not answer"
}

const (
	qPushMoved store.Q = `UPDATE webhook SET seq = $4, failures = $5, next_at = $6, disabled_at = $7, reason = $8
WHERE id = $1 AND seq = $2 AND epoch = $3`
	qPushLog store.Q = `INSERT INTO delivery (id, webhook, seq, attempt, status, error, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	qPushOld store.Q = `DELETE FROM delivery WHERE webhook = $1 AND id IN (SELECT id FROM delivery WHERE webhook = $1 ORDER BY id DESC LIMIT 20 OFFSET 200)`

	// MaxDeliveries bounds the log of one webhook: qPushOld cuts it at each attempt.
	MaxDeliveries = 220
)

// outcome notes an attempt: the webhook's new state and a row of its log.
func (d *pusher) outcome(ctx context.Context, lease store.Lease, was, is Webhook, seq int64, log Delivery) error {
	return d.note(ctx, lease, func(tx *store.Tx) (int64, error) {
		changed, err := tx.Exec(qPushMoved, was.ID, was.Seq, was.epoch, seq, is.Failures, is.NextAt, is.Disabled, is.Reason)
		if err != nil || changed == 0 {
			return changed, err
		}
		id, err := tx.Mint(act.KindDelivery)
		if err != nil {
			return changed, err
		}
		if err := tx.Batch(qPushLog, id, was.ID, log.Seq, log.Attempt, log.Status, log.Error, tx.Now()); err != nil {
			return changed, err
		}
		return changed, tx.Batch(qPushOld, was.ID)
	})
}

// note changes a webhook's row under the lease; one that was changed or deleted
// meanwhile is left as it is.
func (d *pusher) note(ctx context.Context, lease store.Lease, do func(*store.Tx) (int64, error)) error {
	return d.db.Write(ctx, func(tx *store.Tx) error {
		if err := tx.Hold(lease); err != nil {
			return err
		}
		_, err := do(tx)
		return err
	})
}

// nextFor finds the first event after the webhook's cursor that is for it, and
// how far it looked.
func (n *Network) nextFor(v *store.View, w Webhook) (*Event, int64, error) {
	p := act.Principal{Kind: act.Agent, ID: w.Owner}
	if w.operator {
		p.Kind = act.Operator
	}
	rows, err := v.EventsAfter(w.Seq, pushScan)
	if err != nil {
		return nil, 0, err
	}
	looked := w.Seq
	for _, row := range rows {
		looked = row.Seq
		if !w.Filter.takes(row.Act, row.Ref.ID, row.Target) {
			continue
		}
		if sees, err := n.sees(v, p, row); err != nil || !sees {
			if err != nil {
				return nil, 0, err
			}
			continue
		}
		e, err := n.event(v, p, row)
		return &e, looked, err
	}
	return nil, looked, nil
}

// send posts one event, signed as Standard Webhooks 1.0 has it.
func (d *pusher) send(ctx context.Context, w Webhook, e Event) (status int, err error) {
	key, err := d.n.push.Secrets.Unwrap(w.sealed.version, w.sealed.wrapped, boundIDs(w.ID))
	if err != nil {
		return 0, err
	}
	id, body, err := d.n.push.Render(w.ID, e)
	if err != nil {
		return 0, err
	}
	at := strconv.FormatInt(d.n.gate.Now().Unix(), 10)
	head := map[string][]string{
		"Content-Type": {"application/json"}, "User-Agent": {"reefwarden-webhook/1"},
		"Webhook-Id": {id}, "Webhook-Timestamp": {at}, "Webhook-Signature": {sign(key, id, at, body)},
	}
	if d.n.push.Trace != nil {
		parent, err := d.n.push.Trace(ctx, e.Seq)
		if err != nil {
			return 0, err
		}
		if parent != "" {
			head["Traceparent"] = []string{parent}
		}
	}
	return d.n.push.Poster.Post(ctx, w.URL, head, body)
}

// sign returns the signature of a message under a symmetric key.
func sign(key []byte, id, at string, body []byte) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(id + "." + at + "."))
	m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}
