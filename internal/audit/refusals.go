package audit

import (
	"fmt"

	"github.com/reefwarden/reefwarden/internal/store"
)

const qRefusals store.Q = `SELECT e.seq, l.body FROM event e JOIN leaf l ON l.pos = e.pos WHERE e.seq > $1 AND e.seq <= $2 AND e.outcome <> 0 ORDER BY e.seq`

// Refusals calls each with every refusal and failure among the numbers above after, up to
// and with upTo: its rule, and how many alike it stands for.
func Refusals(v *store.View, after, upTo int64, each func(seq int64, rule string, count int64)) error {
	return v.All(qRefusals, func(r *store.Row) error {
		leaf, err := Parse(r.Bytes(1))
		if err != nil {
			return fmt.Errorf("audit: leaf %d: %w", r.Int(0), err)
		}
		each(r.Int(0), leaf.Rule, max(1, leaf.Count))
		return nil
	}, after, upTo)
}
