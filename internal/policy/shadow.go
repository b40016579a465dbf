package policy

import (
	"crypto/ed25519"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qShadowAdd  store.Q = `INSERT INTO policy_shadow (id, body, operator, reason, began_at, ended_at) VALUES ($1, $2, $3, $4, $5, 0)`
	qShadowNow  store.Q = `SELECT id, body, operator, reason, began_at FROM policy_shadow WHERE ended_at = 0 ORDER BY id DESC LIMIT 1`
	qShadowEnd  store.Q = `UPDATE policy_shadow SET ended_at = $1 WHERE ended_at = 0`
	qShadowLast store.Q = `SELECT id, body, operator, reason, began_at, ended_at FROM policy_shadow ORDER BY id DESC LIMIT 1`
	qShadowOver store.Q = `DELETE FROM policy_shadow WHERE id IN (SELECT id FROM policy_shadow WHERE ended_at > 0 AND ended_at < $1 ORDER BY ended_at, id LIMIT $2)`
	qFlipAdd    store.Q = `INSERT INTO policy_flip (shadow, digest, principal, act, body, was, rule, now, by_policy, place, n)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (shadow, digest) DO UPDATE SET n = policy_flip.n + excluded.n`
	qFlips    store.Q = `SELECT digest, principal, act, body, was, rule, now, by_policy, place, n FROM policy_flip WHERE shadow = $1 AND digest > $2 ORDER BY shadow, digest LIMIT $3`
	qFlipOver store.Q = `DELETE FROM policy_flip WHERE (shadow, digest) IN (SELECT f.shadow, f.digest FROM policy_shadow AS s JOIN policy_flip AS f ON f.shadow = s.id
WHERE s.ended_at > 0 AND s.ended_at < $1 ORDER BY f.shadow, f.digest LIMIT $2)`

	// QPastShadows counts shadows that ended before a time, as far as a number.
	QPastShadows store.Q = `SELECT COUNT(*) FROM (SELECT id FROM policy_shadow WHERE ended_at > 0 AND ended_at < $1 ORDER BY ended_at, id LIMIT $2) AS past`
	// QOldestShadow is when the oldest shadow that is kept ended.
	QOldestShadow store.Q = `SELECT ended_at FROM policy_shadow WHERE ended_at > 0 ORDER BY ended_at, id LIMIT 1`
)

// shadow is a bundle that decides beside the one in force. Nobody meets what it decides.
type shadow struct {
	id   act.ID
	snap *snapshot // its version is -id, so that its decisions are cached apart
}

// looks is what its policies for an act look at; nothing without a shadow.
func (s *shadow) looks(t *table) looks {
	if s == nil {
		return 0
	}
	return s.snap.looks[t.index]
}

// Shadow says what decides, or decided last, beside the bundle in force.
type Shadow struct {
	ID       act.ID
	Bundle   *Bundle
	Operator act.ID
	Reason   string
	BeganAt  int64 // Unix microseconds
	EndedAt  int64 // Unix microseconds; 0 while it lasts
}

// besides is what a shadow would have decided. A defect in its evaluator is a denial of
// the shadow's alone.
func (e *Engine) besides(s *shadow, x *sample) (d *gate.Decision) {
	defer func() {
		if recover() != nil {
			d = &gate.Decision{Policy: panicked}
		}
	}()
	k, ok := e.keyNow(s.snap, x)
	if !ok {
		return &gate.Decision{Policy: DefaultDeny}
	}
	return e.cached(s.snap, x.act, k)
}

// Beside puts a bundle beside the one in force, nil for none. It is checked as if it
// were to be activated, but that it need not be newer.
func (e *Engine) Beside(id act.ID, b *Bundle) error {
	if b == nil {
		e.beside.Store(nil)
		return nil
	}
	if now := e.beside.Load(); now != nil && now.id == id {
		return nil
	}
	if err := b.verify(e.key); err != nil {
		return err
	}
	s, problems := e.compile(&Bundle{Version: -int64(id), Digest: b.Digest, Files: b.Files})
	if len(problems) > 0 {
		return refuseProblems(problems)
	}
	e.beside.Store(&shadow{id: id, snap: s})
	return nil
}

func scanShadow(r *store.Row, key ed25519.PublicKey) (s Shadow, err error) {
	s = Shadow{ID: r.ID(0), Operator: r.ID(2), Reason: r.Text(3), BeganAt: r.Int(4)}
	s.Bundle, err = Parse(r.Bytes(1), key)
	return s, err
}

// shadowNow returns the shadow that lasts.
func shadowNow(v *store.View, key ed25519.PublicKey) (s Shadow, found bool, err error) {
	found, err = v.One(qShadowNow, func(r *store.Row) (err error) { s, err = scanShadow(r, key); return err })
	return s, found, err
}

// shadowLast returns the shadow that lasts, or the one that ended last.
func shadowLast(v *store.View, key ed25519.PublicKey) (s Shadow, found bool, err error) {
	found, err = v.One(qShadowLast, func(r *store.Row) (err error) {
		s, err = scanShadow(r, key)
		s.EndedAt = r.Int(5)
		return err
	})
	return s, found, err
}

// MaxFlipPage is the longest page of flips.
const MaxFlipPage = 1000

// flips returns a page of the flips of a shadow behind a digest.
func (e *Engine) flips(v *store.View, of act.ID, after []byte, limit int) (list []Flip, last []byte, err error) {
	err = v.All(qFlips, func(r *store.Row) error {
		f := Flip{Who: r.ID(1), Act: r.Text(2), Was: r.Text(4), Rule: r.Text(5), Now: r.Text(6), By: r.Text(7), At: r.Text(8), Count: r.Int(9)}
		if x, ok, err := e.readSample(f.Who, f.Act, r.Bytes(3)); err != nil {
			return err
		} else if ok {
			f.Kind, f.Name = x.kind, x.name
		}
		list, last = append(list, f), r.Bytes(0)
		return nil
	}, of, after, limit)
	return list, last, err
}
