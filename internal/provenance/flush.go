package provenance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// flushRows bounds the rows of one transaction, so that readers who wait for
// the writer do not wait long.
const flushRows = 200

// flushLoop stores the counts at regular times, earlier when there are many,
// and for the last time when the lanes have come to rest.
func (t *Tracer) flushLoop(ctx context.Context) {
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	for {
		select {
		case <-t.gone:
			t.final = t.flush(ctx, true)
			close(t.flushed)
			return
		case <-tick.C:
		case <-t.crowded:
		}
		if err := t.flush(ctx, false); err != nil {
			t.log.WarnContext(ctx, "store counts of repeated showings", "err", err)
		}
	}
}

// countRow is a row to be: items that were shown to a reader through a channel
// count times each.
type countRow struct {
	reader  act.ID
	channel string
	count   int64
	items   []act.Ref
	coded   []byte
}

// flush stores all counts. Counts that storage does not take wait for the next
// flush; if it is not known whether it took them they are stored again, so a
// count is never too low.
func (t *Tracer) flush(ctx context.Context, last bool) error {
	rows := countRows(t.memory.take(last))
	for len(rows) > 0 {
		n := min(len(rows), flushRows)
		if err := t.flushSome(ctx, rows[:n]); err != nil {
			for _, r := range rows {
				t.memory.count(r.reader, r.channel, r.items, r.count)
			}
			return fmt.Errorf("%d rows of counts are not stored: %w", len(rows), err)
		}
		rows = rows[n:]
	}
	return nil
}

func (t *Tracer) flushSome(ctx context.Context, rows []countRow) error {
	ctx, cancel := context.WithTimeout(ctx, writeBound)
	defer cancel()
	return t.db.Write(ctx, func(tx *store.Tx) error {
		for _, r := range rows {
			if err := addRow(tx, r.reader, r.channel, 1, r.count, r.coded, ""); err != nil {
				return err
			}
		}
		return nil
	})
}

// countRows gathers counts into rows: items of one reader and channel that were
// shown equally often share one.
func countRows(counts map[repeat]int64) (rows []countRow) {
	type counted struct {
		repeat
		n int64
	}
	all := make([]counted, 0, len(counts))
	for r, n := range counts {
		all = append(all, counted{r, n})
	}
	slices.SortFunc(all, func(a, b counted) int {
		return cmp.Or(cmp.Compare(a.reader, b.reader), cmp.Compare(a.channel, b.channel), cmp.Compare(a.n, b.n),
			cmp.Compare(a.item, b.item), cmp.Compare(a.version, b.version))
	})
	for _, c := range all {
		last := len(rows) - 1
		if last < 0 || rows[last].reader != c.reader || rows[last].channel != c.channel || rows[last].count != c.n ||
			len(rows[last].items) == MaxItems {
			rows = append(rows, countRow{reader: c.reader, channel: c.channel, count: c.n})
			last++
		}
		rows[last].items = append(rows[last].items, act.Ref{ID: c.item, Version: c.version})
	}
	for i := range rows {
		rows[i].coded = AppendItems(nil, rows[i].items)
	}
	return rows
}
