package network

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// How long notifications and reports are kept unless configured.
const (
	DefaultKeepRead   = 30 * 24 * time.Hour // after they were read
	DefaultKeepUnread = 90 * 24 * time.Hour // after they were made
	DefaultKeepClosed = 90 * 24 * time.Hour // reports, after what they are about was deleted

	// MaxUnread is how many notifications of an agent that never reads are kept;
	// older ones are dropped.
	MaxUnread = 1000
	// MaxRead is how many that an agent has read are kept, of its newest.
	MaxRead = 500
	// MaxNotices bounds the notifications of an agent after housekeeping.
	MaxNotices = MaxUnread + MaxRead
)

// Keep says how long what is of no more use is kept.
type Keep struct {
	Read   time.Duration // notifications, after they were read; DefaultKeepRead if 0
	Unread time.Duration // and after they were made; DefaultKeepUnread if 0
	Closed time.Duration // reports, after what they are about was deleted; DefaultKeepClosed if 0
}

func (k Keep) orDefault() Keep {
	return Keep{Read: cmp.Or(k.Read, DefaultKeepRead), Unread: cmp.Or(k.Unread, DefaultKeepUnread), Closed: cmp.Or(k.Closed, DefaultKeepClosed)}
}

const (
	tidyRows   = 500    // dropped in one transaction
	tidyAgents = 10_000 // looked at in one transaction

	qTidyRead     store.Q = `SELECT id, read_at FROM notification WHERE read_at > 0 ORDER BY read_at, id LIMIT $1`
	qTidyUnread   store.Q = `SELECT id, created_at FROM notification WHERE id > 0 ORDER BY id LIMIT $1`
	qTidyHoarders store.Q = `SELECT agent, unread FROM inbox WHERE agent > $1 ORDER BY agent LIMIT $2`
	qTidyExcess   store.Q = `SELECT id FROM notification WHERE agent = $1 AND read_at = 0 ORDER BY id LIMIT $2`
	qTidyDrop     store.Q = `DELETE FROM notification WHERE id = $1 RETURNING agent, read_at`

	// The post of a comment is deleted with it, or before.
	qTidyReported store.Q = `SELECT d.target, d.first_at FROM reported AS d JOIN post AS p ON p.id = d.post LEFT JOIN comment AS m ON m.id = d.target
WHERE d.first_at < $3 AND (d.first_at, d.target) > ($1, $2)
  AND (p.deleted_at > 0 AND p.deleted_at < $3 OR COALESCE(m.deleted_at, 0) > 0 AND m.deleted_at < $3) ORDER BY d.first_at, d.target LIMIT $4`
	qTidyReports store.Q = `DELETE FROM report WHERE target = $1 AND agent IN
(SELECT agent FROM report WHERE target = $1 ORDER BY created_at, agent LIMIT $2)`
	qTidyEmpty store.Q = `DELETE FROM reported WHERE target = $1 AND reports = $2`

	// QPastRead counts notifications that were read before a time, as far as a number.
	QPastRead store.Q = `SELECT COUNT(*) FROM (SELECT id FROM notification WHERE read_at > 0 AND read_at < $1 ORDER BY read_at, id LIMIT $2) AS past`
	// QOldestRead asks when the notification was read that has been for longest.
	QOldestRead store.Q = `SELECT read_at FROM notification WHERE read_at > 0 ORDER BY read_at, id LIMIT 1`
	// QPastNotices counts those of the oldest notifications that were made before a time.
	QPastNotices store.Q = `SELECT COUNT(*) FROM (SELECT created_at FROM notification WHERE id > 0 ORDER BY id LIMIT $2) AS past WHERE created_at < $1`
	// QOldestNotice asks when the oldest notification was made.
	QOldestNotice store.Q = `SELECT created_at FROM notification WHERE id > 0 ORDER BY id LIMIT 1`
	// QOldestSealed asks when the first sealed text is to be dropped.
	QOldestSealed store.Q = `SELECT drop_at FROM sealed WHERE drop_at > 0 ORDER BY drop_at, item LIMIT 1`
)

// tidying asks to drop notifications, and the reports about what was deleted, because they
// are of before a time. Those that are too many are dropped whatever their time.
type tidying struct {
	notices, reported []act.ID
	of                expiry
	before            int64 // Unix microseconds
}

// expiry is what makes rows old: a term, with the setting of it. The zero expiry is for rows
// that are dropped for another reason.
type expiry struct {
	term    store.Term
	setting time.Duration
}

// kept reports whether rows of before a time are to be kept after all.
func (in tidying) kept(tx *store.Tx) (bool, error) {
	before, err := tx.Droppable(in.before)
	if err == nil && in.of.term != "" {
		var over int64
		over, err = tx.Expired(in.of.term, in.of.setting)
		before = min(before, over)
	}
	return before != in.before, err
}

func (n *Network) registerTidy(g *gate.Gate) {
	n.tidy = gate.RegisterWrite(g, gate.Write[tidying, int]{
		Info: gate.Info{Name: "system.tidy", Doc: "Drop notifications that are old or too many, and old reports about what was deleted.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(context.Context, *store.View, act.Principal, tidying) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in tidying) (dropped int, fx gate.Effects, err error) {
			kept, err := in.kept(tx)
			if err == nil && kept {
				err = act.Errorf(act.Unavailable, "what was to be dropped is to be kept since")
			}
			if err != nil {
				return 0, fx, err
			}
			for _, id := range in.notices {
				// The row says under its lock whether it is still unread.
				found, err := tx.One(qTidyDrop, func(r *store.Row) error {
					if r.Int(1) == 0 {
						tx.Add(qAddUnread, r.ID(0), -1)
					}
					return nil
				}, id)
				if err != nil {
					return dropped, fx, err
				}
				if found {
					dropped++
				}
			}
			for _, id := range in.reported {
				reports, err := tidyReports(tx, id)
				if err != nil {
					return dropped, fx, err
				}
				dropped += int(reports)
			}
			fx.Reason = fmt.Sprintf("%d rows are old or too many", dropped)
			return dropped, fx, nil
		},
	})
}

// tidyReports drops the reports about one thing, tidyRows at most; the next time
// goes on.
func tidyReports(tx *store.Tx, target act.ID) (dropped int64, err error) {
	if dropped, err = tx.Exec(qTidyReports, target, int64(tidyRows)); err != nil {
		return 0, err
	}
	gone, err := tx.Exec(qTidyEmpty, target, dropped)
	if err == nil && gone == 0 {
		tx.Add(qAddReports, target, -dropped)
	}
	return dropped, err
}

// tidyNotices drops notifications that were read, or made, longer ago than such
// are kept, and the oldest unread of agents that let more than MaxUnread wait. On
// several nodes each may do it, and they drop what the others left.
func (n *Network) tidyNotices(ctx context.Context) error {
	now := n.gate.Now()
	if err := n.tidyOld(ctx, qTidyRead, expiry{store.TermRead, n.keep.Read}); err != nil {
		return err
	}
	if err := n.tidyOld(ctx, qTidyUnread, expiry{store.TermUnread, n.keep.Unread}); err != nil {
		return err
	}
	if kept, err := n.keptFrom(ctx, act.Micros(now)); err != nil || kept < act.Micros(now) {
		return err // while something is to be kept nothing is too much
	}
	for after := act.ID(0); ; {
		type hoard struct {
			agent act.ID
			over  int64
		}
		var hoards []hoard
		seen := 0
		if err := n.db.View(ctx, func(v *store.View) error {
			hoards, seen = hoards[:0], 0
			return v.All(qTidyHoarders, func(r *store.Row) error {
				seen++
				after = r.ID(0)
				if over := r.Int(1) - MaxUnread; over > 0 {
					hoards = append(hoards, hoard{after, over})
				}
				return nil
			}, after, int64(tidyAgents))
		}); err != nil {
			return err
		}
		for _, h := range hoards {
			for left := h.over; left > 0; left -= tidyRows {
				excess, err := n.noticesBy(ctx, qTidyExcess, h.agent, min(left, tidyRows))
				if err != nil {
					return err
				}
				if err := n.tidyUp(ctx, tidying{notices: excess, before: act.Micros(now)}); err != nil {
					return err
				}
			}
		}
		if seen < tidyAgents {
			return nil
		}
	}
}

// tidyOld drops the notifications that a query lists first, as long as their time
// says that they are old.
func (n *Network) tidyOld(ctx context.Context, q store.Q, of expiry) error {
	before, err := n.expired(ctx, of)
	if err != nil {
		return err
	}
	for {
		var old []act.ID
		if err := n.db.View(ctx, func(v *store.View) error {
			old = old[:0]
			return v.All(q, func(r *store.Row) error {
				if r.Int(1) < before {
					old = append(old, r.ID(0))
				}
				return nil
			}, int64(tidyRows))
		}); err != nil || len(old) == 0 {
			return err
		}
		if err := n.tidyUp(ctx, tidying{notices: old, of: of, before: before}); err != nil {
			return err
		}
	}
}

// keptFrom is store.DB.Droppable in a view of its own.
func (n *Network) keptFrom(ctx context.Context, before int64) (at int64, err error) {
	err = n.db.View(ctx, func(v *store.View) (err error) { at, err = n.db.Droppable(v, before); return err })
	return at, err
}

// expired is store.DB.Expired in a view of its own.
func (n *Network) expired(ctx context.Context, of expiry) (at int64, err error) {
	err = n.db.View(ctx, func(v *store.View) (err error) { at, err = n.db.Expired(v, of.term, of.setting); return err })
	return at, err
}

func (n *Network) noticesBy(ctx context.Context, q store.Q, args ...any) (ids []act.ID, err error) {
	err = n.db.View(ctx, func(v *store.View) error {
		ids = ids[:0]
		return v.All(q, func(r *store.Row) error { ids = append(ids, r.ID(0)); return nil }, args...)
	})
	return ids, err
}

func (n *Network) tidyUp(ctx context.Context, what tidying) error {
	_, err := n.tidy.Do(ctx, act.SystemPrincipal("housekeeping"), what)
	return err
}

const tidyTargets = 20 // whose reports one transaction drops

// tidyReported drops the reports about what was deleted long ago: nobody can do
// anything about it any more.
func (n *Network) tidyReported(ctx context.Context) error {
	of := expiry{store.TermClosed, n.keep.Closed}
	before, err := n.expired(ctx, of)
	if err != nil {
		return err
	}
	for from := [2]int64{}; ; {
		var targets []act.ID
		var last [2]int64
		if err := n.db.View(ctx, func(v *store.View) error {
			targets = targets[:0]
			return v.All(qTidyReported, func(r *store.Row) error {
				targets = append(targets, r.ID(0))
				last = [2]int64{r.Int(1), r.Int(0)}
				return nil
			}, from[0], from[1], before, int64(tidyTargets))
		}); err != nil || len(targets) == 0 {
			return err
		}
		for left := targets; len(left) > 0; {
			dropped, err := n.tidy.Do(ctx, act.SystemPrincipal("housekeeping"), tidying{reported: left, of: of, before: before})
			if err != nil {
				return err
			}
			if dropped < tidyRows {
				break // none had more than that
			}
		}
		from = last
	}
}
