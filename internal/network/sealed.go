package network

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// DefaultKeepSealed is how long what an author deleted can still be read by
// those who examine an incident.
const DefaultKeepSealed = 30 * 24 * time.Hour

// vault encrypts what authors delete.
type vault struct{ Sealer }

// passing is a sealer with a key of its own: what it seals can be opened only while
// it lives.
type passing struct{ aead cipher.AEAD }

func newPassing() passing {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(fmt.Sprintf("network: the key that seals: %v", err)) // a programmer's error: keys have one size
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(fmt.Sprintf("network: the key that seals: %v", err))
	}
	return passing{aead}
}

func (passing) Version() int64 { return 1 }

func (p passing) Wrap(plain, bound []byte) (int64, []byte) {
	return 1, p.aead.Seal(nil, nil, plain, bound)
}

func (p passing) Unwrap(_ int64, wrapped, bound []byte) ([]byte, error) {
	return p.aead.Open(nil, nil, wrapped, bound)
}

// sealedText is what is kept of a deleted item.
type sealedText struct {
	Title, Content, URL string
	Salt                []byte
}

func (s vault) seal(item act.ID, text sealedText) (version int64, body []byte, err error) {
	plain, err := json.Marshal(text)
	if err != nil {
		return 0, nil, err
	}
	version, body = s.Wrap(plain, boundTo(item))
	return version, body, nil
}

func (s vault) open(item act.ID, version int64, body []byte) (text sealedText, err error) {
	plain, err := s.Unwrap(version, body, boundTo(item))
	if err != nil {
		return text, fmt.Errorf("open what is sealed: %w", err)
	}
	return text, json.Unmarshal(plain, &text)
}

// boundTo makes a sealed body good for one item only.
func boundTo(item act.ID) []byte { return binary.BigEndian.AppendUint64(nil, uint64(item)) }

const (
	qPostText    store.Q = `SELECT title, content, url, salt FROM post WHERE id = $1`
	qCommentText store.Q = `SELECT '', content, '', salt FROM comment WHERE id = $1`

	qPostForget    store.Q = `UPDATE post SET title = '', content = '', url = '', salt = $2 WHERE id = $1`
	qCommentForget store.Q = `UPDATE comment SET content = '', salt = $2 WHERE id = $1`

	qSealedMake   store.Q = `INSERT INTO sealed (item, body, sealed_at, drop_at, key_version) VALUES ($1, $2, $3, $4, $5)`
	qSealedRead   store.Q = `SELECT body, sealed_at, drop_at, key_version FROM sealed WHERE item = $1`
	qSealedDrop   store.Q = `DELETE FROM sealed WHERE item = $1`
	qSealedDue    store.Q = `SELECT item FROM sealed WHERE drop_at <= $1 ORDER BY drop_at, item LIMIT 1`
	qSealedExpire store.Q = `DELETE FROM sealed WHERE item IN (SELECT item FROM sealed WHERE drop_at <= $1 ORDER BY drop_at, item LIMIT $2)`
)

// sealText keeps the text of an item for responders and takes it from
// everybody else. For how long is settled here: what is said of it later is for what is
// deleted later.
func (n *Network) sealText(tx *store.Tx, item act.ID) error {
	q := qPostText
	if item.Kind() == act.KindComment {
		q = qCommentText
	}
	var text sealedText
	if _, err := tx.One(q, func(r *store.Row) error {
		text = sealedText{Title: r.Text(0), Content: r.Text(1), URL: r.Text(2), Salt: r.Bytes(3)}
		return nil
	}, item); err != nil {
		return err
	}
	version, body, err := n.vault.seal(item, text)
	if err != nil {
		return err
	}
	keep, err := tx.Kept(store.TermDeleted, n.keepSealed)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(qSealedMake, item, body, tx.Now(), tx.Now()+keep.Microseconds(), version); err != nil {
		return err
	}
	return n.forgetText(tx, item)
}

// forgetText removes the text of a post or comment, its salt, and everything
// that was made of them and is kept in the clear. Whoever stores something more
// of an item's text drops it here.
func (n *Network) forgetText(tx *store.Tx, item act.ID) error {
	q := qPostForget
	if item.Kind() == act.KindComment {
		q = qCommentForget
	}
	if err := n.unindex(tx, item); err != nil {
		return err
	}
	_, err := tx.Exec(q, item, []byte{})
	return err
}

// Unsealed is what an author deleted, shown to a responder.
type Unsealed struct {
	Item                act.ID
	Author              act.ID
	Origin              act.Origin
	Title, Content, URL string
	SealedAt, DropAt    int64 // Unix microseconds
}

// Examination asks for a deleted item, or for its end.
type Examination struct {
	Item   Named
	On     act.Kind // KindPost or KindComment
	Reason string
}

// MaxReason bounds an operator's stated reason, in characters.
const MaxReason = 500

func (n *Network) registerSealed(g *gate.Gate) {
	// A write although nothing changes: its leaf, with the reason, is committed
	// before a byte of the content leaves.
	n.Unseal = gate.RegisterWrite(g, gate.Write[Examination, Unsealed]{
		Info:    gate.Info{Name: "content.unseal", Doc: "Show what an author deleted, while it is kept, for a stated reason.", On: act.KindPost, Also: []act.Kind{act.KindComment}, Quota: gate.QuotaNone},
		Resolve: n.examined,
		Run:     n.unseal,
	})
	n.expireSealed = gate.RegisterWrite(g, gate.Write[Nothing, int64]{
		Info: gate.Info{Name: "system.expire", Doc: "Drop what authors deleted when its time is over; done by housekeeping.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(context.Context, *store.View, act.Principal, Nothing) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, _ Nothing) (int64, gate.Effects, error) {
			before, err := tx.Droppable(tx.Now())
			if err != nil {
				return 0, gate.Effects{}, err
			}
			dropped, err := tx.Exec(qSealedExpire, before, int64(expireBatch))
			return dropped, gate.Effects{Reason: fmt.Sprintf("%d sealed items are past their time", dropped)}, err
		},
	})
}

// examined resolves an item that may be deleted.
func (n *Network) examined(_ context.Context, v *store.View, p act.Principal, in Examination) (gate.Resource, error) {
	if err := checkText("reason", in.Reason, MaxReason, true); err != nil {
		return gate.Resource{}, err
	}
	id, err := n.itemID(v, in.Item, in.On)
	if err != nil {
		return gate.Resource{}, err
	}
	q, epoch := qPostTarget, qPostEpoch
	if in.On == act.KindComment {
		q, epoch = qCommentTarget, qCommentEpoch
	}
	res, err := n.target(v, p, q, epoch, id)
	if act.CodeOf(err) == act.Gone {
		err = nil
	}
	return res, err
}

func (n *Network) unseal(_ context.Context, tx *store.Tx, _ act.Principal, in Examination) (out Unsealed, fx gate.Effects, err error) {
	if out.Item, err = n.itemID(&tx.View, in.Item, in.On); err != nil {
		return out, fx, err
	}
	q := qPostTarget
	if in.On == act.KindComment {
		q = qCommentTarget
	}
	if _, err := tx.One(q, func(r *store.Row) error {
		out.Author, out.Origin = r.ID(1), act.Origin(r.Int(2))
		return nil
	}, out.Item); err != nil {
		return out, fx, err
	}
	var body []byte
	var version int64
	found, err := tx.One(qSealedRead, func(r *store.Row) error {
		body, out.SealedAt, out.DropAt, version = r.Bytes(0), r.Int(1), r.Int(2), r.Int(3)
		return nil
	}, out.Item)
	switch {
	case err != nil:
		return out, fx, err
	case !found || out.DropAt <= tx.Now():
		return out, fx, act.Errorf(act.NotFound, "nothing is sealed for this %s", in.On).WithRule("content.sealed").
			WithHint("it is not deleted, or its time is over, or it was erased")
	}
	text, err := n.vault.open(out.Item, version, body)
	out.Title, out.Content, out.URL = text.Title, text.Content, text.URL
	return out, gate.Effects{Out: act.Ref{ID: out.Item}, Reason: in.Reason}, err
}

const expireBatch = 500

// Housekeep drops what was sealed and is past its time, and notifications and
// reports that nobody needs. The server calls it now and then; on several nodes
// whoever comes first does it.
func (n *Network) Housekeep(ctx context.Context) error {
	if err := n.tidyNotices(ctx); err != nil {
		return err
	}
	if err := n.tidyReported(ctx); err != nil {
		return err
	}
	return n.expireTexts(ctx)
}

func (n *Network) expireTexts(ctx context.Context) error {
	for {
		var due bool
		if err := n.db.View(ctx, func(v *store.View) error {
			before, err := n.db.Droppable(v, act.Micros(n.gate.Now()))
			if err == nil {
				due, err = v.One(qSealedDue, func(*store.Row) error { return nil }, before)
			}
			return err
		}); err != nil || !due {
			return err
		}
		dropped, err := n.expireSealed.Do(ctx, act.SystemPrincipal("housekeeping"), Nothing{})
		if err != nil {
			return err
		}
		if dropped == 0 {
			return nil
		}
		if err := n.db.Scrub(ctx); err != nil {
			return err
		}
	}
}
