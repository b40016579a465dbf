package identity

import (
	"cmp"
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/svid"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// TokenLife is how long an access token is good for.
	TokenLife = 5 * time.Minute
	// DelegationLife is how long a grant is good for that its holder has given
	// another agent leave to carve its own out of; the tokens of both live TokenLife.
	DelegationLife = time.Hour

	// issuerPart is the name under which the issuer acts by itself.
	issuerPart = "issuer"
)

// IssuerConfig tunes an issuer. Codec, URL, Agents and Domain are required.
type IssuerConfig struct {
	Codec  *act.Codec
	URL    func() string // the network's public URL: issuer and audience of its tokens
	Agents Agents
	Bus    *bus.Bus // by which nodes ask each other about proofs; nil for one node

	Algorithm   token.Algorithm // of the signing keys; EdDSA if 0
	RotateEvery time.Duration   // how long one signs; DefaultRotateEvery if 0
	KeyLife     time.Duration   // of enrolled keys; DefaultKeyLife if 0
	NoLegacy    bool            // bootstrap keys open no door; they can still enrol a key
	Trusted     []Trusted       // issuers whose assertions are taken
	Fetch       Fetch           // of their key sets; nil takes files only
	Proofs      int             // proofs remembered at a time; DefaultProofs if 0
	Nonces      []byte          // key of the DPoP nonces; the network's own if nil

	Domain   string        // the network's trust domain
	SVIDLife time.Duration // of X.509-SVIDs, MinSVIDLife to MaxSVIDLife; DefaultSVIDLife if 0
}

// Issuer is the network's authorization server: grants, the keys that sign tokens,
// and the enrolment of agents' keys. Its acts are the only way to change any of it.
// It is safe for concurrent use.
type Issuer struct {
	Rotate  *gate.WriteAct[Rotation, Rotated]
	Invite  *gate.WriteAct[NewEnrollment, Enrolling]
	Renew   *gate.WriteAct[NewKey, Credential]
	Recover *gate.WriteAct[Recovery, Recovered]
	End     *gate.WriteAct[CredentialEnd, act.Ref]

	Issue    *gate.WriteAct[NewGrant, Issued]
	Exchange *gate.WriteAct[NewExchange, Issued]
	Refresh  *gate.WriteAct[NewRefresh, Issued]
	Assert   *gate.WriteAct[NewAssertion, Issued]
	Revoke   *gate.WriteAct[Revocation, act.Ref]
	Inspect  *gate.ReadAct[Inspected, Inspection]

	Certify *gate.WriteAct[NewSVID, SVID]
	Vouch   *gate.WriteAct[NewTokenSVID, TokenSVID]

	Inventory *gate.ReadAct[InventoryQuery, act.Page[Item]]

	Commander *gate.WriteAct[NewCommandKey, Credential]

	RenewWrapping *gate.WriteAct[Renewal, Renewed]

	gate        *gate.Gate
	ids         *Service
	cfg         IssuerConfig
	signing     signing
	authorities authorities
	node        nodeCertificate
	renewing    renewing // of the chore's goroutine
	activate    *gate.WriteAct[activation, act.ID]
	proofs      *proofs
	trusted     []*trustedIssuer
}

// NewIssuer registers the issuer's acts on g and itself with ids. Start makes it
// ready; before that no token is issued or taken.
func NewIssuer(g *gate.Gate, ids *Service, c IssuerConfig) (*Issuer, error) {
	c.Algorithm = cmp.Or(c.Algorithm, token.EdDSA)
	i := &Issuer{gate: g, ids: ids, cfg: c}
	var err error
	if i.authorities.domain, err = svid.Domain(c.Domain); err != nil {
		return nil, err
	}
	if i.proofs, err = newProofs(ids, c); err != nil {
		return nil, err
	}
	if i.trusted, err = newTrusted(c.Trusted, c.Fetch, ids.clock); err != nil {
		return nil, err
	}
	ids.issuer, ids.agents = i, c.Agents
	i.registerRotate(g)
	i.registerRenew(g)
	i.registerCredentials(g)
	i.registerTokens(g)
	i.registerAssert(g)
	i.registerRevoke(g)
	i.registerSVIDs(g)
	i.registerInventory(g)
	i.registerCommands(g)
	// Agents are fenced by lifecycle; who else holds grants is fenced here.
	g.OnFence(act.KindOperator, func(_ context.Context, operators []act.ID) error {
		ids.Forget(operators)
		return nil
	})
	return i, nil
}

// Load reads the version of the wrapping key that is in use, and then the keys that sign
// tokens and SVIDs, for gate.Start.
func (i *Issuer) Load(ctx context.Context) error {
	if err := i.loadWrapping(ctx); err != nil {
		return err
	}
	if err := i.loadKeys(ctx); err != nil {
		return err
	}
	return i.loadAuthorities(ctx)
}

// Start makes the first signing keys if there are none, and begins to answer other
// nodes. The gate must have started.
func (i *Issuer) Start(ctx context.Context) error {
	if err := i.ensureKey(ctx); err != nil {
		return err
	}
	if err := i.ensureAuthority(ctx); err != nil {
		return err
	}
	if err := i.ensureServices(ctx); err != nil {
		return err
	}
	return i.proofs.start()
}

// Close ends the answers to other nodes.
func (i *Issuer) Close() { i.proofs.close() }

// URL is the issuer's name and the audience of its tokens.
func (i *Issuer) URL() string { return i.cfg.URL() }

func (i *Issuer) keyLife() time.Duration { return cmp.Or(i.cfg.KeyLife, DefaultKeyLife) }

// Nonce returns a nonce of this node for the DPoP-Nonce header.
func (i *Issuer) Nonce() string { return i.proofs.nonces.Make(i.ids.clock()) }

const (
	qRefreshOver store.Q = `DELETE FROM refresh_token WHERE hash IN (SELECT hash FROM refresh_token WHERE expires_at < $1 ORDER BY expires_at, hash LIMIT $2)`
	qGrantOver   store.Q = `DELETE FROM token_grant WHERE id IN (SELECT id FROM token_grant WHERE expires_at < $1 ORDER BY expires_at, id LIMIT $2)`
	qEnrollOver  store.Q = `DELETE FROM enrollment WHERE id IN (SELECT id FROM enrollment WHERE expires_at < $1 ORDER BY expires_at, id LIMIT $2)`

	// When what has been over for longest was so, for doctor.
	QOldestEnrollment store.Q = `SELECT expires_at FROM enrollment ORDER BY expires_at, id LIMIT 1`
	QOldestGrant      store.Q = `SELECT expires_at FROM token_grant ORDER BY expires_at, id LIMIT 1`
	QOldestRefresh    store.Q = `SELECT expires_at FROM refresh_token ORDER BY expires_at, hash LIMIT 1`
	QOldestAssertion  store.Q = `SELECT expires_at FROM assertion ORDER BY expires_at, hash LIMIT 1`

	sweepOnce = 1000

	// KeepOver is how long what is over stays for the inventory.
	KeepOver = 24 * time.Hour
)

// Housekeep drops what has been over for a day: grants, refresh tokens, enrolment
// tokens, SVIDs; consents sooner, and at once the assertions that nobody can show again. The record keeps
// what was done with them. The server calls it now and then.
func (i *Issuer) Housekeep(ctx context.Context) error {
	now := i.ids.clock()
	for _, sweep := range []struct {
		q      store.Q
		before time.Time
	}{{qTakenOver, now}, {qRefreshOver, now.Add(-KeepOver)}, {qGrantOver, now.Add(-KeepOver)}, {qEnrollOver, now.Add(-KeepOver)}, {qSVIDsOver, now.Add(-KeepOver)}, {qConsentOver, now.Add(-KeepConsent)}} {
		for {
			var n int64
			if err := i.ids.db.Write(ctx, func(tx *store.Tx) error {
				before, err := tx.Droppable(act.Micros(sweep.before))
				if err == nil {
					n, err = tx.Exec(sweep.q, before, int64(sweepOnce))
				}
				return err
			}); err != nil {
				return err
			}
			if n < sweepOnce {
				break
			}
		}
	}
	return nil
}
