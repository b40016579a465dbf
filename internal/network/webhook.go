package network

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Webhook is a URL to which the server posts the events that its owner may see.
type Webhook struct {
	ID        act.ID
	Owner     act.ID
	URL       string
	Filter    EventFilter
	Seq       int64  // all events up to here have been delivered or were not for it
	Failures  int64  // attempts in a row that failed
	NextAt    int64  // of the next attempt after a failure, Unix microseconds
	Disabled  int64  // when it was switched off, 0 while it works
	Reason    string // why it was switched off
	CreatedAt int64
	Secret    string // shown once, by create and rotate: "whsec_…"
	epoch     int64
	operator  bool
	sealed    sealedSecret
}

// sealedSecret is a webhook's secret as it is kept.
type sealedSecret struct {
	version int64
	wrapped []byte
}

// NewWebhook asks for a webhook.
type NewWebhook struct {
	URL    string
	Filter EventFilter
	After  int64 // where it begins; FromNow for what happens from now on
}

// Replay asks that a webhook be served again: from After, or from where it is if
// that is FromNow.
type Replay struct {
	Webhook act.ID
	After   int64
}

// Delivery is one attempt.
type Delivery struct {
	ID      act.ID
	Seq     int64
	Attempt int64
	Status  int64  // of the answer, 0 without one
	Error   string // why it failed, "" if it did not
	At      int64
}

// Limits of webhooks.
const (
	MaxWebhooks  = 10 // of one owner
	secretPrefix = "whsec_"
	secretSize   = 32
)

// Poster reaches receivers (package egress).
type Poster interface {
	Check(ctx context.Context, url string) error
	Post(ctx context.Context, url string, head map[string][]string, body []byte) (status int, err error)
}

const (
	webhookColumns = `id, owner, url, acts, subjects, seq, failures, next_at, disabled_at, reason, created_at, epoch, operator, secret, key_version`

	qWebhook      store.Q = `SELECT ` + webhookColumns + ` FROM webhook WHERE id = $1`
	qWebhooksOf   store.Q = `SELECT ` + webhookColumns + ` FROM webhook WHERE owner = $1 ORDER BY id LIMIT 10`
	qWebhooksLive store.Q = `SELECT ` + webhookColumns + ` FROM webhook WHERE disabled_at = 0 AND id > $1 ORDER BY id LIMIT 100`
	qWebhookMake  store.Q = `INSERT INTO webhook (id, owner, operator, url, secret, acts, subjects, seq, failures, next_at, disabled_at, reason, epoch, created_at, updated_at, key_version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0, '', 1, $9, $9, $10)`
	qWebhookDelete store.Q = `DELETE FROM webhook WHERE id = $1`
	qWebhookRotate store.Q = `UPDATE webhook SET secret = $2, epoch = epoch + 1, updated_at = $3, key_version = $4 WHERE id = $1`
	qWebhookReplay store.Q = `UPDATE webhook SET seq = $2, failures = 0, next_at = 0, disabled_at = 0, reason = '', epoch = epoch + 1, updated_at = $3 WHERE id = $1`

	qDeliveriesOf     store.Q = `SELECT id, seq, attempt, status, error, created_at FROM delivery WHERE webhook = $1 ORDER BY id DESC LIMIT 200`
	qDeliveriesDelete store.Q = `DELETE FROM delivery WHERE webhook = $1`
)

func (n *Network) registerWebhook(g *gate.Gate) {
	info := func(verb, doc, quota string) gate.Info {
		return gate.Info{Name: "webhook." + verb, Doc: doc, On: act.KindWebhook, Quota: quota}
	}
	n.CreateWebhook = gate.RegisterWrite(g, gate.Write[NewWebhook, Webhook]{
		Info: info("create", "Have events posted to a URL.", gate.QuotaHook),
		Resolve: func(ctx context.Context, v *store.View, p act.Principal, in NewWebhook) (gate.Resource, error) {
			if err := in.Filter.check(n.gate); err != nil {
				return gate.Resource{}, err
			}
			list, err := n.webhooksOf(v, p.ID)
			if err == nil && len(list) >= MaxWebhooks {
				err = act.Errorf(act.Conflict, "you have %d webhooks", MaxWebhooks).WithRule("webhook.count").WithHint("delete one first")
			}
			if err != nil {
				return gate.Resource{}, err
			}
			return gate.Resource{Facts: gate.Facts{Kind: act.KindWebhook, Own: true}}, n.push.Poster.Check(ctx, in.URL)
		},
		Run: n.createWebhook,
	})
	n.ListWebhooks = gate.RegisterRead(g, gate.Read[Nothing, []Webhook]{
		Info: info("list", "List one's own webhooks.", gate.QuotaRead),
		Run: func(_ context.Context, v *store.View, p act.Principal, _ Nothing) ([]Webhook, error) {
			return n.webhooksOf(v, p.ID)
		},
	})
	n.DeleteWebhook = gate.RegisterWrite(g, gate.Write[act.ID, act.Ref]{
		Info: info("delete", "Delete one's own webhook.", gate.QuotaWrite), Resolve: n.ownWebhook,
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, id act.ID) (act.Ref, gate.Effects, error) {
			ref := act.Ref{ID: id}
			if err := tx.Batch(qDeliveriesDelete, id); err != nil {
				return ref, gate.Effects{}, err
			}
			tx.Fence(act.KindWebhook, id)
			return ref, gate.Effects{Out: ref}, tx.Batch(qWebhookDelete, id)
		},
	})
	n.RotateWebhook = gate.RegisterWrite(g, gate.Write[act.ID, Webhook]{
		Info: info("rotate", "Give one's own webhook another secret.", gate.QuotaWrite), Resolve: n.ownWebhook,
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, id act.ID) (Webhook, gate.Effects, error) {
			w, _, err := n.webhook(&tx.View, id)
			if err != nil {
				return w, gate.Effects{}, err
			}
			secret, sealed := n.newSecret(id)
			w.Secret = secret
			tx.Fence(act.KindWebhook, id)
			return w, gate.Effects{Out: act.Ref{ID: id}}, tx.Batch(qWebhookRotate, id, sealed.wrapped, tx.Now(), sealed.version)
		},
	})
	n.ReplayWebhook = gate.RegisterWrite(g, gate.Write[Replay, Webhook]{
		Info: info("replay", "Serve one's own webhook again, from a sequence number.", gate.QuotaWrite),
		Resolve: func(ctx context.Context, v *store.View, p act.Principal, in Replay) (gate.Resource, error) {
			return n.ownWebhook(ctx, v, p, in.Webhook)
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in Replay) (Webhook, gate.Effects, error) {
			w, _, err := n.webhook(&tx.View, in.Webhook)
			if err != nil {
				return w, gate.Effects{}, err
			}
			last, err := tx.LastSequence()
			if err != nil {
				return w, gate.Effects{}, err
			}
			if in.After != FromNow {
				w.Seq = min(in.After, last)
			}
			w.Failures, w.NextAt, w.Disabled, w.Reason = 0, 0, 0, ""
			tx.Fence(act.KindWebhook, w.ID)
			return w, gate.Effects{Out: act.Ref{ID: w.ID}}, tx.Batch(qWebhookReplay, w.ID, w.Seq, tx.Now())
		},
	})
	n.ListDeliveries = gate.RegisterRead(g, gate.Read[act.ID, []Delivery]{
		Info: info("deliveries", "Read the last attempts of one's own webhook.", gate.QuotaRead),
		Run: func(ctx context.Context, v *store.View, p act.Principal, id act.ID) (list []Delivery, err error) {
			if _, err := n.ownWebhook(ctx, v, p, id); err != nil {
				return nil, err
			}
			err = v.All(qDeliveriesOf, func(r *store.Row) error {
				list = append(list, Delivery{ID: r.ID(0), Seq: r.Int(1), Attempt: r.Int(2), Status: r.Int(3), Error: r.Text(4), At: r.Int(5)})
				return nil
			}, id)
			return list, err
		},
	})
}

func (n *Network) createWebhook(_ context.Context, tx *store.Tx, p act.Principal, in NewWebhook) (Webhook, gate.Effects, error) {
	id, err := tx.Mint(act.KindWebhook)
	if err != nil {
		return Webhook{}, gate.Effects{}, err
	}
	last, err := tx.LastSequence()
	if err != nil {
		return Webhook{}, gate.Effects{}, err
	}
	w := Webhook{ID: id, Owner: p.ID, URL: in.URL, Filter: in.Filter, Seq: last, CreatedAt: tx.Now()}
	if in.After != FromNow {
		w.Seq = min(in.After, last)
	}
	secret, sealed := n.newSecret(id)
	w.Secret = secret
	acts, subjects := in.Filter.text()
	return w, gate.Effects{Out: act.Ref{ID: id}}, tx.Batch(qWebhookMake, id, p.ID, p.Kind == act.Operator, in.URL, sealed.wrapped, acts, subjects, w.Seq, tx.Now(), sealed.version)
}

func (n *Network) newSecret(id act.ID) (shown string, sealed sealedSecret) {
	key := make([]byte, secretSize)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	sealed.version, sealed.wrapped = n.push.Secrets.Wrap(key, boundIDs(id))
	return secretPrefix + base64.StdEncoding.EncodeToString(key), sealed
}

// ownWebhook resolves a webhook; somebody else's is not there.
func (n *Network) ownWebhook(_ context.Context, v *store.View, p act.Principal, id act.ID) (gate.Resource, error) {
	w, found, err := n.webhook(v, id)
	if err == nil && (!found || w.Owner != p.ID) {
		err = act.Errorf(act.NotFound, "you have no such webhook").WithRule("webhook.id").WithHint("GET /v1/webhooks lists yours")
	}
	return gate.Resource{Ref: act.Ref{ID: id}, Facts: gate.Facts{Kind: act.KindWebhook, Own: true}}, err
}

func (n *Network) webhook(v *store.View, id act.ID) (w Webhook, found bool, err error) {
	found, err = v.One(qWebhook, func(r *store.Row) error { w = scanWebhook(r); return nil }, id)
	return w, found, err
}

func (n *Network) webhooksOf(v *store.View, owner act.ID) (list []Webhook, err error) {
	err = v.All(qWebhooksOf, func(r *store.Row) error { list = append(list, scanWebhook(r)); return nil }, owner)
	return list, err
}

func scanWebhook(r *store.Row) Webhook {
	return Webhook{
		ID: r.ID(0), Owner: r.ID(1), URL: r.Text(2), Filter: readFilter(r.Text(3), r.Text(4)), Seq: r.Int(5), Failures: r.Int(6),
		NextAt: r.Int(7), Disabled: r.Int(8), Reason: r.Text(9), CreatedAt: r.Int(10), epoch: r.Int(11), operator: r.Bool(12), sealed: sealedSecret{r.Int(14), r.Bytes(13)},
	}
}

// text is a filter as it is stored: names and numbers apart by spaces.
func (f EventFilter) text() (acts, subjects string) {
	numbers := make([]string, len(f.Subjects))
	for i, id := range f.Subjects {
		numbers[i] = strconv.FormatInt(int64(id), 10)
	}
	return strings.Join(f.Acts, " "), strings.Join(numbers, " ")
}

func readFilter(acts, subjects string) (f EventFilter) {
	f.Acts = strings.Fields(acts)
	for _, s := range strings.Fields(subjects) {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			f.Subjects = append(f.Subjects, act.ID(n))
		}
	}
	return f
}
