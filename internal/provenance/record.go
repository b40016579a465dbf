package provenance

import (
	"context"
	"errors"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qExposureAdd store.Q = `INSERT INTO exposure (pos, after_seq, agent, at, channel, again, count, items, trace, pages)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1)`

	qExposureAddGroup store.Q = `INSERT INTO exposure (pos, after_seq, agent, at, channel, again, count, items, trace, pages)
VALUES ($1, $2, 0, $3, '', 0, 0, $4, '', $5)`
)

// lane takes pages off the queue and records them, one transaction at a time.
// While one is being committed the next group queues up by itself, so there is
// no timer. Everything in it belongs to its goroutine.
type lane struct {
	*Tracer
	group    []*page
	agents   []act.Principal // whose standing is read again
	verdicts []error         // and what came of it
	row      group
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

// write stores a row of the pages whose agents may still act. The function may
// run more than once; it changes only the transaction, page.err and what the lane
// keeps for one run.
func (l *lane) write(ctx context.Context, group []*page) error {
	ctx, cancel := context.WithTimeout(ctx, writeBound)
	defer cancel()
	l.agents = l.agents[:0]
	for _, pg := range group {
		if pg.principal.Kind == act.Agent {
			l.agents = append(l.agents, pg.principal)
		}
	}
	return l.db.Write(ctx, func(tx *store.Tx) error {
		clear(l.verdicts)
		l.verdicts = slices.Grow(l.verdicts[:0], len(l.agents))[:len(l.agents)]
		if len(l.agents) > 0 {
			if err := l.recheck(tx, l.agents, l.verdicts); err != nil {
				return err
			}
		}
		l.row.reset()
		next := 0
		for _, pg := range group {
			if pg.err = nil; pg.principal.Kind == act.Agent {
				pg.err = l.verdicts[next]
				next++
			}
			if pg.err == nil {
				pg.enter(&l.row)
			}
		}
		return addRow(tx, &l.row)
	})
}

// enter adds the page's new items to a row.
func (pg *page) enter(row *group) {
	e := entry{reader: pg.reader, channel: pg.name, count: 1, trace: pg.trace}
	if pg.sheet != nil && pg.whole() {
		e.sheet, e.items = pg.sheet, pg.sheet.coded
		row.add(e)
		return
	}
	from := 0
	for _, end := range pg.ends {
		e.items = pg.coded[from:end]
		row.add(e)
		from = end
	}
}

// addRow adds one row to the log, if it has a page. It must stay as it is until
// the commit.
func addRow(tx *store.Tx, row *group) error {
	if row.n == 0 {
		return nil
	}
	pos, after, err := tx.Position()
	if err != nil {
		return err
	}
	if e := &row.one; row.n == 1 {
		return tx.Batch(qExposureAdd, pos, after, e.reader, tx.Now(), e.channel, e.again, e.count, e.items, e.trace)
	}
	return tx.Batch(qExposureAddGroup, pos, after, tx.Now(), row.coded, row.n)
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
			l.memory.countPart(pg.reader, pg.channel, pg.again)
		}
		pg.done <- own(failed) // from here on the page is its reader's
	}
	l.hurry()
}

// own gives a reader an error of its own where several share one.
func own(err error) error {
	if e, ok := errors.AsType[*act.Error](err); ok {
		mine := *e
		return &mine
	}
	return err
}
