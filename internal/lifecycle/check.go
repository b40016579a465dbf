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
	qCheckGrants store.Q = `SELECT a.id, g.id FROM agent AS a JOIN token_grant AS g ON g.holder = a.id
WHERE a.state IN ($1, $2) AND g.revoked_at = 0 AND g.expires_at > $3 ORDER BY a.id, g.id LIMIT 10`
	qCheckOwners store.Q = `SELECT a.id, a.owner FROM agent AS a LEFT JOIN owner AS o ON o.id = a.owner
WHERE a.owner <> 0 AND o.id IS NULL ORDER BY a.id LIMIT 10`
	qCheckSeats store.Q = `SELECT s.id, s.taken, CAST((SELECT COUNT(*) FROM agent AS a WHERE a.owner = s.id AND a.state NOT IN ($1, $2)) +
(SELECT COUNT(*) FROM agent AS b WHERE b.source = s.id AND b.state = $3) AS BIGINT) FROM seat AS s WHERE s.id < 1 OR s.id > $4 ORDER BY s.id`
	qCheckUnseated store.Q = `SELECT a.id FROM agent AS a LEFT JOIN seat AS s ON s.id = a.owner
WHERE a.owner <> 0 AND a.state NOT IN ($1, $2) AND s.id IS NULL ORDER BY a.id LIMIT 10`
	qCheckAll     store.Q = `SELECT CAST((SELECT COALESCE(SUM(taken), 0) FROM seat WHERE id >= 1 AND id <= $3) AS BIGINT), (SELECT COUNT(*) FROM agent WHERE state NOT IN ($1, $2))`
	qCheckBeneath store.Q = `SELECT id, state, beneath FROM agent WHERE (state = $1) <> (beneath IN ($2, $3, $4)) OR (state <> $1 AND beneath <> 0) ORDER BY id LIMIT 10`
	qCheckKilled  store.Q = `SELECT a.id, a.state, COALESCE(k.n, 0) FROM agent AS a LEFT JOIN kill AS k ON k.agent = a.id
WHERE (a.state = $1 AND k.n IS NULL) OR (a.state NOT IN ($1, $2) AND k.n IS NOT NULL) ORDER BY a.id LIMIT 10`
	qCheckKills store.Q = `SELECT n, agent, total FROM kill ORDER BY n`
	// What waits is an agent's or an operator's: the kind stands in the id (act.ID).
	qCheckApprovals store.Q = `SELECT a.id, a.state FROM approval AS a LEFT JOIN agent AS g ON g.id = a.agent
WHERE (g.id IS NULL AND (a.agent / 131072) % 32 <> 2)
  OR (a.state < 3 AND (a.ended_at <> 0 OR LENGTH(a.sealed) = 0 OR g.state IN ($1, $2)))
  OR (a.state >= 3 AND (a.ended_at = 0 OR LENGTH(a.sealed) > 0))
  OR (a.state = 3 AND (a.decided_at = 0 OR a.made = 0 AND a.act NOT IN ('manifest.apply', 'audit.release', 'retention.set', 'retention.reset', 'role.bind', 'role.unbind', 'role.define', 'role.drop', 'scope.pause', 'scope.resume', 'scope.quarantine', 'scope.release', 'scope.kill')))
  OR (a.state <> 3 AND a.made <> 0)
  OR (a.state IN (2, 5) AND a.decided_by = 0)
  OR (a.state = 4 AND a.code = '')
ORDER BY a.id LIMIT 10`
)

// Check verifies the package's invariants in one snapshot and returns a line for
// each violation: no ended agent has a live credential, a grant or an act that waits,
// every owner exists, what is beneath a quarantine is a standing, the seats taken are the agents that there are, approvals
// have what their state implies.
func Check(ctx context.Context, db *store.DB) (violations []string, err error) {
	err = db.Snapshot(ctx, func(v *store.View) error {
		if err := v.All(qCheckCredentials, func(r *store.Row) error {
			violations = append(violations, fmt.Sprintf("agent %d has ended and its credential %d is live", r.Int(0), r.Int(1)))
			return nil
		}, int64(act.Killed), int64(act.Expired)); err != nil {
			return err
		}
		if err := v.All(qCheckGrants, func(r *store.Row) error {
			violations = append(violations, fmt.Sprintf("agent %d has ended and its grant %d stands", r.Int(0), r.Int(1)))
			return nil
		}, int64(act.Killed), int64(act.Expired), act.Micros(db.Clock()())); err != nil {
			return err
		}
		if err := checkSeats(v, &violations); err != nil {
			return err
		}
		if err := v.All(qCheckOwners, func(r *store.Row) error {
			violations = append(violations, fmt.Sprintf("agent %d has owner %d, who does not exist", r.Int(0), r.Int(1)))
			return nil
		}); err != nil {
			return err
		}
		if err := v.All(qCheckBeneath, func(r *store.Row) error {
			violations = append(violations, fmt.Sprintf("agent %d is %s, with %s beneath", r.Int(0), act.Standing(r.Int(1)), act.Standing(r.Int(2))))
			return nil
		}, int64(act.Quarantined), int64(act.Active), int64(act.Paused), int64(act.Stale)); err != nil {
			return err
		}
		if err := checkKills(v, &violations); err != nil {
			return err
		}
		return v.All(qCheckApprovals, func(r *store.Row) error {
			violations = append(violations, fmt.Sprintf("approval %d is %s and its row says something else", r.Int(0), ApprovalState(r.Int(1))))
			return nil
		}, int64(act.Killed), int64(act.Expired))
	})
	return violations, err
}

// checkKills looks at the numbers of kills, and that every killed agent has one.
func checkKills(v *store.View, violations *[]string) error {
	bad := func(format string, args ...any) { *violations = append(*violations, fmt.Sprintf(format, args...)) }
	var n, total int64
	if err := v.All(qCheckKills, func(r *store.Row) error {
		if n, total = n+1, total+weigh(r.ID(1)); r.Int(0) != n || r.Int(2) != total {
			bad("kill %d is the %d., with the total %d for %d", r.Int(0), n, r.Int(2), total)
		}
		return nil
	}); err != nil {
		return err
	}
	return v.All(qCheckKilled, func(r *store.Row) error {
		bad("agent %d is %s, and its kill has the number %d", r.Int(0), act.Standing(r.Int(1)), r.Int(2))
		return nil
	}, int64(act.Killed), int64(act.Expired))
}

func checkSeats(v *store.View, violations *[]string) error {
	bad := func(format string, args ...any) { *violations = append(*violations, fmt.Sprintf(format, args...)) }
	if err := v.All(qCheckSeats, func(r *store.Row) error {
		if r.Int(1) != r.Int(2) {
			bad("seat row %d counts %d agents, there are %d", r.Int(0), r.Int(1), r.Int(2))
		}
		return nil
	}, int64(act.Killed), int64(act.Expired), int64(act.Requested), int64(networkSeats)); err != nil {
		return err
	}
	if err := v.All(qCheckUnseated, func(r *store.Row) error { bad("agent %d has no seat with its owner", r.Int(0)); return nil },
		int64(act.Killed), int64(act.Expired)); err != nil {
		return err
	}
	return v.All(qCheckAll, func(r *store.Row) error {
		if r.Int(0) != r.Int(1) {
			bad("the seats count %d agents, there are %d", r.Int(0), r.Int(1))
		}
		return nil
	}, int64(act.Killed), int64(act.Expired), int64(networkSeats))
}
