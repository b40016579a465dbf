package identity

import (
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// GrantKind says how a grant came about. The texts are stored.
type GrantKind string

// The kinds.
const (
	GrantClient   GrantKind = "client"    // an agent showed its own key
	GrantExchange GrantKind = "exchange"  // carved out of another grant (RFC 8693)
	GrantAsserted GrantKind = "assertion" // another issuer's word (RFC 7523)
	GrantCode     GrantKind = "code"      // a human's consent in a browser
	GrantDevice   GrantKind = "device"    // a human's consent for a terminal
)

// Grant is what stands behind access tokens: who may act with them, with how much
// authority, and on whose it rests. It is the unit of revocation: with a grant end
// all that were carved out of it, and every token of any of them.
type Grant struct {
	ID         act.ID
	Kind       GrantKind
	Holder     act.ID // who acts: an agent, or an operator
	Parent     act.ID // of which it was carved out; 0 for none
	Delegate   act.ID // the agent that may carve its own out of it; 0 for none
	Credential act.ID // that was shown for it
	Confirm    token.Confirm
	Authority  token.Authority // its Expires is the grant's end
	CreatedAt  int64           // Unix microseconds
	RevokedAt  int64           // Unix microseconds; 0 while it stands
	UsedAt     int64           // Unix microseconds, to the minute; 0 never
	AuthAt     int64           // of a human's: when they had last proved who they are, Unix microseconds
	PasskeyAt  int64           // of a human's: when they had last done so by a passkey, Unix microseconds; 0 never
	Roles      uint8           // of a human's: those that they had when they consented
}

// human reports whether a human's consent is behind the grant.
func (g *Grant) human() bool { return g.Kind == GrantCode || g.Kind == GrantDevice }

// within takes from an operator who acts with the grant what it does not hold: a program
// never has more roles than its human had when they let it in.
func (g *Grant) within(p *act.Principal) {
	if g.human() {
		p.Roles &= g.Roles
	}
}

// maxLine bounds how many grants may stand above one another. Hand-overs are
// bounded by the authority's depth; this bounds an agent that narrows its own.
const maxLine = 16

const (
	grantColumns = `id, kind, holder, parent, delegate, credential, confirmation, scope, audience, budget, clearance, site, depth, created_at, expires_at, revoked_at, used_at, auth_at, roles, passkey_at`

	qGrant    store.Q = `SELECT ` + grantColumns + ` FROM token_grant WHERE id = $1`
	qGrantAdd store.Q = `INSERT INTO token_grant (` + grantColumns + `)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, 0, $16, $17, $18)`

	// Who carves out of a grant, or refreshes it, holds its row: a revocation waits
	// for that and finds what came of it, or is found.
	qGrantTouch store.Q = `UPDATE token_grant SET used_at = CASE WHEN used_at < $2 THEN $2 ELSE used_at END
WHERE id = $1 AND revoked_at = 0 AND expires_at > $2`
	qCredentialTouch store.Q = `UPDATE credential SET used_at = CASE WHEN used_at < $2 THEN $2 ELSE used_at END
WHERE id = $1 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2)`

	// The ids of grants, credentials and agents are of different kinds, so one
	// parameter can be any of them.
	qGrantsEnd store.Q = `UPDATE token_grant SET revoked_at = $2 WHERE revoked_at = 0 AND id IN (
WITH RECURSIVE line (id) AS (
SELECT id FROM token_grant WHERE id = $1
UNION SELECT id FROM token_grant WHERE holder = $1
UNION SELECT id FROM token_grant WHERE credential = $1
UNION SELECT g.id FROM token_grant AS g JOIN credential AS c ON c.id = g.credential WHERE c.parent = $1 AND c.kind = 'x509-svid'
UNION SELECT g.id FROM token_grant AS g JOIN line ON g.parent = line.id AND g.parent <> 0) SELECT id FROM line)`
	qGrantHolders store.Q = `SELECT DISTINCT holder FROM token_grant WHERE revoked_at = $2 AND expires_at > $2 AND id IN (
WITH RECURSIVE line (id) AS (
SELECT id FROM token_grant WHERE id = $1
UNION SELECT id FROM token_grant WHERE holder = $1
UNION SELECT id FROM token_grant WHERE credential = $1
UNION SELECT g.id FROM token_grant AS g JOIN credential AS c ON c.id = g.credential WHERE c.parent = $1 AND c.kind = 'x509-svid'
UNION SELECT g.id FROM token_grant AS g JOIN line ON g.parent = line.id AND g.parent <> 0) SELECT id FROM line)`
)

func scanGrant(r *store.Row) (g Grant) {
	return Grant{
		ID: r.ID(0), Kind: GrantKind(r.Text(1)), Holder: r.ID(2), Parent: r.ID(3), Delegate: r.ID(4), Credential: r.ID(5),
		Confirm: confirmOf(r.Text(6)),
		Authority: token.Authority{
			Scope: token.Scope(r.Text(7)), Audience: strings.Fields(r.Text(8)), Budget: r.Int(9), Clearance: uint8(r.Int(10)),
			Site: r.Text(11), Depth: int(r.Int(12)), Expires: act.FromMicros(r.Int(14)),
		},
		CreatedAt: r.Int(13), RevokedAt: r.Int(15), UsedAt: r.Int(16), AuthAt: r.Int(17), Roles: rolesOf(r.Int(18)), PasskeyAt: r.Int(19),
	}
}

const (
	confirmKey  = "jkt:" // the form in which a binding is stored
	confirmCert = "x5t:"
)

func confirmOf(text string) token.Confirm {
	if rest, ok := strings.CutPrefix(text, confirmKey); ok {
		return token.Confirm{JKT: rest}
	}
	rest, _ := strings.CutPrefix(text, confirmCert)
	return token.Confirm{X5T: rest}
}

func confirmText(c token.Confirm) string {
	if c.JKT != "" {
		return confirmKey + c.JKT
	}
	return confirmCert + c.X5T
}

func (g *Grant) live(now int64) bool {
	return g.RevokedAt == 0 && act.Micros(g.Authority.Expires) > now
}

// grant reads a grant; found is false without one.
func grant(v *store.View, id act.ID) (g Grant, found bool, err error) {
	found, err = v.One(qGrant, func(r *store.Row) error { g = scanGrant(r); return nil }, id)
	return g, found, err
}

// line returns who stands behind a grant: the holders of the grants above it,
// outermost first, without its own holder, and each once where a holder has
// narrowed its own. height is how many grants stand above it.
func line(v *store.View, g Grant) (chain []act.ID, height int, err error) {
	holder := g.Holder
	for at := g; at.Parent != 0; height++ {
		if height > maxLine {
			return nil, 0, act.Errorf(act.Internal, "the grant %d has no beginning", g.ID)
		}
		up, found, err := grant(v, at.Parent)
		if err != nil {
			return nil, 0, err
		}
		if !found {
			break // the parent's time was over, so the child's is
		}
		if up.Holder != holder {
			chain, holder = append(chain, up.Holder), up.Holder
		}
		at = up
	}
	slices.Reverse(chain)
	return chain, height, nil
}

// addGrant stores a grant. Its id and time are filled in.
func addGrant(tx *store.Tx, g *Grant) (err error) {
	if g.ID, err = tx.Mint(act.KindGrant); err != nil {
		return err
	}
	g.CreatedAt = tx.Now()
	a := &g.Authority
	return tx.Batch(qGrantAdd, g.ID, string(g.Kind), g.Holder, g.Parent, g.Delegate, g.Credential, confirmText(g.Confirm), string(a.Scope),
		strings.Join(a.Audience, " "), a.Budget, int64(a.Clearance), a.Site, int64(a.Depth), g.CreatedAt, act.Micros(a.Expires), g.AuthAt, int64(g.Roles), g.PasskeyAt)
}

// revokeGrants ends the grants that are, are held by, or were given for the id, and
// every grant that was carved out of one of them; who loses one is raised and
// fenced, except the one that the caller sees to. On PostgreSQL somebody may carve
// out another one meanwhile: it holds its parent's row, so the statement waits for
// it and the next one finds what it made.
func (s *Service) revokeGrants(tx *store.Tx, of, except act.ID) error {
	total := int64(0)
	for {
		n, err := tx.Exec(qGrantsEnd, of, tx.Now())
		if err != nil {
			return err
		}
		if total += n; n == 0 {
			break
		}
	}
	if total == 0 {
		return nil
	}
	var agents []act.ID
	if err := tx.All(qGrantHolders, func(r *store.Row) error {
		switch id := r.ID(0); {
		case id == except:
		case id.Kind() == act.KindAgent:
			agents = append(agents, id)
		default:
			tx.Fence(id.Kind(), id)
		}
		return nil
	}, of, tx.Now()); err != nil {
		return err
	}
	if s.agents == nil {
		return nil
	}
	slices.Sort(agents) // in order, so that two of these do not wait for each other in a ring
	return s.agents.Raise(tx, agents)
}

// holdGrant takes the row of a grant that is about to be used in tx, so that it
// cannot be revoked before tx is over. It fails when the grant does not stand.
func holdGrant(tx *store.Tx, id act.ID) (g Grant, err error) {
	n, err := tx.Exec(qGrantTouch, id, tx.Now())
	if err != nil {
		return g, err
	}
	if n == 0 {
		return g, grantOver()
	}
	g, _, err = grant(&tx.View, id)
	return g, err
}

// holdCredential is holdGrant for a credential.
func holdCredential(tx *store.Tx, id act.ID) error {
	n, err := tx.Exec(qCredentialTouch, id, tx.Now())
	if err == nil && n == 0 {
		err = refused("key.revoked", "this credential was revoked or has expired", "it does not come back; your owner or an operator can say why")
	}
	return err
}

func grantOver() error {
	return refused("grant.over", "the grant behind this token was revoked or is over", "ask for a new one with your own key; who gave it to you can say why it ended")
}
