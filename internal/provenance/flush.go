package provenance

import (
	"context"
	"fmt"
	"time"

	"github.com/reefwarden/reefwarden/internal/store"
)

// flushRows bounds the counts of one row.
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

// flush stores all counts. Counts that storage does not take wait for the next
// flush; if it is not known whether it took them they are stored again, so a
// count is never too low.
func (t *Tracer) flush(ctx context.Context, last bool) error {
	rows := t.memory.take(last)
	for len(rows) > 0 {
		n := min(len(rows), flushRows)
		if err := t.flushSome(ctx, rows[:n]); err != nil {
			for _, r := range rows {
				t.memory.count(r.repeat, r.count)
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
	var row group
	for _, r := range rows {
		row.add(entry{reader: r.reader, channel: t.memory.channels.name(r.channel), again: true, count: r.count, items: r.sheet.coded, sheet: r.sheet})
	}
	return t.db.Write(ctx, func(tx *store.Tx) error { return addRow(tx, &row) })
}
