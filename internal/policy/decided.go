package policy

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qDecisionAdd store.Q = `INSERT INTO policy_decision (hour, digest, principal, act, body, bundle, result, rule, n)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (hour, digest) DO UPDATE SET n = policy_decision.n + excluded.n`
	qDecisions store.Q = `SELECT hour, digest, principal, act, body, bundle, result, rule, n FROM policy_decision
WHERE hour = $1 AND digest > $2 ORDER BY hour, digest LIMIT $3`
	qDecisionOver store.Q = `DELETE FROM policy_decision WHERE (hour, digest) IN
(SELECT hour, digest FROM policy_decision WHERE hour < $1 ORDER BY hour, digest LIMIT $2)`

	// QPastDecisions counts decisions of hours that began before a time, as far as a number.
	QPastDecisions store.Q = `SELECT COUNT(*) FROM (SELECT digest FROM policy_decision WHERE hour < CAST($1 AS BIGINT) / 3600000000 ORDER BY hour, digest LIMIT $2) AS past`
	// QOldestDecision is the end of the oldest hour of which decisions are kept.
	QOldestDecision store.Q = `SELECT (hour + 1) * 3600000000 FROM policy_decision ORDER BY hour, digest LIMIT 1`

	// DefaultKeep is for how long decisions are kept when nothing else is said.
	DefaultKeep = 48 * time.Hour

	decisionPage = 2000
	forgetBatch  = 1000
)

func saveDecisions(tx *store.Tx, rows, flips []row) error {
	for i := range rows {
		r := &rows[i]
		if err := tx.Batch(qDecisionAdd, r.hour, r.digest[:], r.who, r.act, r.body, r.bundle, r.result, r.rule, r.n); err != nil {
			return err
		}
	}
	for i := range flips {
		r := &flips[i]
		if err := tx.Batch(qFlipAdd, r.shadow, r.flip[:], r.flipWho, r.act, r.body, r.result, r.rule, r.now, r.by, r.at, r.n); err != nil {
			return err
		}
	}
	return nil
}

// decisions calls each with every decision that is kept of an hour.
func decisions(v *store.View, hour int64, each func(row) error) error {
	last := []byte{}
	for {
		n := 0
		if err := v.All(qDecisions, func(r *store.Row) error {
			n++
			last = r.Bytes(1)
			return each(row{
				hour: r.Int(0), who: r.ID(2), act: r.Text(3), body: r.Bytes(4), bundle: r.Int(5), result: r.Text(6), rule: r.Text(7), n: r.Int(8),
			})
		}, hour, last, decisionPage); err != nil || n < decisionPage {
			return err
		}
	}
}

// Housekeep drops decisions of hours that ended longer ago than such are kept, by a setting
// or as operators say, and what is kept of shadows that ended before that.
func Housekeep(ctx context.Context, db *store.DB, keep time.Duration) error {
	for _, over := range []struct {
		q    store.Q
		unit int64 // of its times, in microseconds
	}{{qDecisionOver, hourMicros}, {qFlipOver, 1}, {qShadowOver, 1}} {
		for {
			var dropped int64
			if err := db.Write(ctx, func(tx *store.Tx) error {
				before, err := tx.Expired(store.TermDecisions, keep)
				if err == nil {
					dropped, err = tx.Exec(over.q, before/over.unit, int64(forgetBatch))
				}
				return err
			}); err != nil {
				return err
			}
			if dropped < forgetBatch {
				break
			}
		}
	}
	return nil
}

// Flip is a change of a result, with how often it was met.
type Flip struct {
	Kind  act.PrincipalKind
	Who   act.ID // 0 where only the number is kept, and for those who have no id
	Name  string // of a part of the server or of observers; "" for others
	Act   string
	Was   string // result, and the policy that decided
	Rule  string
	Now   string // result, the policy that decides, and its file:line
	By    string
	At    string
	Count int64
}
