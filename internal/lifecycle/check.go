package lifecycle

import (
	"context"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qCheckCredentials store.Q = `SELECT a.id, c.id FROM agent AS a JOIN credential AS c ON c.subject = a.id
WHERE a.state IN ($1, $2) AND c.revoked_at = 0 ORDER BY a.id, c.id LIMIT 10`
	qCheckOwners store.Q = `SELECT a.id, a.owner FROM agent AS a LEFT JOIN owner AS o ON o.id = a.owner
WHERE a.owner <> 0 AND o.id IS NULL ORDER BY a.id LIMIT 10`
)

// Check verifies the package's invariants in one snapshot and returns a line for
// each violation: no ended agent has a live credential, every owner exists.
func Check(ctx context.Context, db *store.DB) (violations []string, err error) {
	err = db.Snapshot(ctx, func(v *store.View) error {
		if err := v.All(qCheckCredentials, func(r *store.Row) error {
			violations = append(violations, fmt.Sprintf("agent %d has ended and its credential %d is live", r.Int(0), r.Int(1)))
			return nil
		}, int64(act.Killed), int64(act.Expired)); err != nil {
			return err
		}
		return v.All(qCheckOwners, func(r *store.Row) error {
			violations = append(violations, fmt.Sprintf("agent %d has owner %d, who does not exist", r.Int(0), r.Int(1)))
			return nil
		})
	})
	return violations, err
}
