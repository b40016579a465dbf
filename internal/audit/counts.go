package audit

import "github.com/reefwarden/reefwarden/internal/store"

// The indexes that these count on have only such events.
const (
	qCountRefused store.Q = `SELECT COUNT(*) FROM event WHERE outcome <> 0 AND at >= $1`
	qCountErased  store.Q = `SELECT COUNT(*) FROM event WHERE act = 'content.erase' AND outcome = 0 AND at >= $1`
)

// Counts are numbers of the record for auditors.
type Counts struct {
	Refused int64 // leaves of refusals and failures
	Erased  int64 // acts of content.erase that were done
	Holds   int64 // in force now
}

// CountsSince counts what was recorded at or after a time.
func CountsSince(v *store.View, at int64) (c Counts, err error) {
	for _, one := range []struct {
		q    store.Q
		into *int64
		args []any
	}{{qCountRefused, &c.Refused, []any{at}}, {qCountErased, &c.Erased, []any{at}}, {qHoldCount, &c.Holds, nil}} {
		if _, err := v.One(one.q, func(r *store.Row) error { *one.into = r.Int(0); return nil }, one.args...); err != nil {
			return c, err
		}
	}
	return c, nil
}
