package provenance

import (
	"context"
	"errors"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const qExposureAdd store.Q = `INSERT INTO exposure (pos, after_seq, agent, at, channel, again, count, items, trace)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

// lane takes pages off the queue and records them, one transaction at a time.
// While one is being committed the next group queues up by itself, so there is
// no timer. Everything in it belongs to its goroutine.
type lane struct {
	*Tracer
	group   []*page
	checked map[checkKey]error // rechecks of the present transaction
}

// checkKey tells apart what Recheck may answer differently.
type checkKey struct {
	agent      act.ID
	epoch      int64
	credential act.ID
}

func (l *lane) run(ctx context.Context) {
	for {
		select {
		case pg := <-l.queue:
			l.take(pg)
		case <-l.stop:
			// What has been queued until now is still recorded.
			for len(l.queue) > 0 {
				l.fill()
				l.record(ctx)
			}
			return
		}
		l.fill()
		l.record(ctx)
	}
}

// take adds a page to the group unless its reader has gone.
func (l *lane) take(pg *page) {
	if pg.state.CompareAndSwap(pageQueued, pageTaken) {
		l.group = append(l.group, pg)
	}
}

func (l *lane) fill() {
	for len(l.group) < maxGroup {
		select {
		case pg := <-l.queue:
			l.take(pg)
		default:
			return
		}
	}
}

// record commits the group's pages and answers their readers.
func (l *lane) record(ctx context.Context) {
	defer func() {
		clear(l.group)
		l.group = l.group[:0]
	}()
	if len(l.group) == 0 {
		return
	}
	err := l.write(ctx, l.group)
	if err == nil || len(l.group) == 1 || act.CodeOf(err) == act.Unavailable {
		l.answer(l.group, err)
		return
	}
	// Storage is fine and yet it failed: a defect that one page brought in. It
	// must not fail the others.
	l.log.ErrorContext(ctx, "record exposures together", "pages", len(l.group), "err", err)
	for i := range l.group {
		one := l.group[i : i+1]
		l.answer(one, l.write(ctx, one))
	}
}

// write stores rows for the pages whose agents may still act. The function may
// run more than once; it changes only the transaction, page.err and checked.
func (l *lane) write(ctx context.Context, group []*page) error {
	ctx, cancel := context.WithTimeout(ctx, writeBound)
	defer cancel()
	return l.db.Write(ctx, func(tx *store.Tx) error {
		clear(l.checked)
		for _, pg := range group {
			if pg.err = nil; pg.principal.Kind != act.Agent {
				continue
			}
			key := checkKey{pg.reader, pg.principal.Epoch, pg.principal.Credential}
			err, done := l.checked[key]
			if !done || len(pg.principal.Chain) > 0 { // a chain may make a difference
				if err = l.recheck(tx, pg.principal); err != nil && act.CodeOf(err) == act.Unavailable {
					return err
				}
				l.checked[key] = err
			}
			pg.err = err
		}
		for _, pg := range group {
			if pg.err != nil {
				continue
			}
			from := 0
			for _, end := range pg.ends {
				if err := addRow(tx, pg.reader, pg.channel, 0, 1, pg.items[from:end], pg.trace); err != nil {
					return err
				}
				from = end
			}
		}
		return nil
	})
}

// addRow adds one exposure row. items must stay as it is until the commit.
func addRow(tx *store.Tx, reader act.ID, channel string, again, count int64, items []byte, trace string) error {
	pos, after, err := tx.Position()
	if err != nil {
		return err
	}
	return tx.Batch(qExposureAdd, pos, after, reader, tx.Now(), channel, again, count, items, trace)
}

// answer wakes the readers. What their pages repeat is counted here, so that
// all counts are in when the lanes have ended.
func (l *lane) answer(group []*page, err error) {
	for _, pg := range group {
		failed := err
		if failed == nil {
			failed = pg.err
		}
		if failed == nil {
			l.countAgain(pg)
		}
		pg.done <- own(failed) // from here on the page is its reader's
	}
}

// own gives a reader an error of its own where several share one.
func own(err error) error {
	if e, ok := errors.AsType[*act.Error](err); ok {
		mine := *e
		return &mine
	}
	return err
}
