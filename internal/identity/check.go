package identity

import (
	"context"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	qCheckGrants store.Q = `SELECT ` + grantColumns + ` FROM token_grant WHERE id > $1 ORDER BY id LIMIT 1000`
	// A credential that ended took its grants with it.
	qCheckGrantCredential store.Q = `SELECT g.id, c.id FROM token_grant AS g JOIN credential AS c ON c.id = g.credential
WHERE g.revoked_at = 0 AND c.revoked_at <> 0 AND g.expires_at > $1 ORDER BY g.id LIMIT 10`
	// An SVID ends with the credential that it was got with.
	qCheckSVIDs store.Q = `SELECT c.id, p.id FROM credential AS c JOIN credential AS p ON p.id = c.parent
WHERE c.kind = 'x509-svid' AND c.revoked_at = 0 AND c.expires_at > $1 AND (p.revoked_at <> 0 OR p.expires_at <> 0 AND p.expires_at < c.expires_at) ORDER BY c.id LIMIT 10`
	qCheckRefresh store.Q = `SELECT r.holds, r.hash FROM refresh_token AS r JOIN refresh_token AS s ON s.holds = r.holds AND s.hash > r.hash
WHERE r.used_at = 0 AND s.used_at = 0 ORDER BY r.hash LIMIT 10`
)

// Check verifies in one snapshot that no grant carries or lasts more than the one it
// was carved out of, none stands whose parent or credential was revoked, and none
// has two refresh tokens that are good; and that SVIDs end with their credentials. It returns a line for each violation. That
// agents which ended hold none is lifecycle's to check, whose they are.
func Check(ctx context.Context, db *store.DB) (violations []string, err error) {
	bad := func(format string, args ...any) { violations = append(violations, fmt.Sprintf(format, args...)) }
	now := act.Micros(db.Clock()())
	err = db.Snapshot(ctx, func(v *store.View) error {
		var last act.ID
		for {
			var page []Grant
			if err := v.All(qCheckGrants, func(r *store.Row) error { page = append(page, scanGrant(r)); return nil }, last); err != nil {
				return err
			}
			for _, g := range page {
				last = g.ID
				if g.Parent == 0 {
					continue
				}
				up, found, err := grant(v, g.Parent)
				if err != nil {
					return err
				}
				switch {
				case !found:
					if act.Micros(g.Authority.Expires) > now {
						bad("grant %d stands and its parent %d is gone", g.ID, g.Parent)
					}
				case !up.Authority.Covers(g.Authority):
					bad("grant %d is wider or longer than its parent %d", g.ID, g.Parent)
				case up.Holder != g.Holder && up.Delegate != g.Holder:
					bad("grant %d was carved out of %d, which does not name its holder", g.ID, g.Parent)
				case up.Holder != g.Holder && g.Authority.Depth >= up.Authority.Depth:
					bad("grant %d can be handed on as often as its parent %d", g.ID, g.Parent)
				case up.RevokedAt != 0 && g.live(now):
					bad("grant %d stands and its parent %d was revoked", g.ID, g.Parent)
				}
			}
			if len(page) == 0 {
				break
			}
		}
		if err := v.All(qCheckGrantCredential, func(r *store.Row) error {
			bad("grant %d stands and its credential %d was revoked", r.Int(0), r.Int(1))
			return nil
		}, now); err != nil {
			return err
		}
		if err := v.All(qCheckSVIDs, func(r *store.Row) error {
			bad("SVID %d stands and its credential %d does not, or not as long", r.Int(0), r.Int(1))
			return nil
		}, now); err != nil {
			return err
		}
		return v.All(qCheckRefresh, func(r *store.Row) error {
			bad("grant %d has two refresh tokens that are good", r.Int(0))
			return nil
		})
	})
	return violations, err
}
