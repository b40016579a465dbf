package identity

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/svid"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// How long X.509-SVIDs are good for.
const (
	DefaultSVIDLife = time.Hour
	MinSVIDLife     = 10 * time.Minute
	MaxSVIDLife     = 24 * time.Hour
)

// The uses of the network's keys for SVIDs. The texts are stored.
const (
	useX509 = "x509"
	useJWT  = "jwt"
)

const (
	// Those that have ended count in the bundle's sequence.
	qAuthorities store.Q = `SELECT n, id, use, kid, public, wrap_version, wrapped, active_at, until_at FROM authority ORDER BY n`
	qAuthority   store.Q = `INSERT INTO authority (n, id, use, kid, public, wrap_version, wrapped, created_at, active_at, until_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0)`
	qAuthorityNext  store.Q = `SELECT CAST(COALESCE(MAX(n), 0) + 1 AS BIGINT) FROM authority`
	qAuthorityUntil store.Q = `UPDATE authority SET until_at = $2 WHERE n < $1 AND (until_at = 0 OR until_at > $2)`
)

// authority is a row of authority. One that has ended is not opened.
type authority struct {
	n             int64
	id            act.ID
	use, kid      string
	public        []byte
	active, until int64 // Unix microseconds; until is 0 while it is not known

	ca     *svid.CA
	issuer *svid.Issuer
}

// authorities is what a node knows of the keys that sign SVIDs.
type authorities struct {
	domain  spiffeid.TrustDomain
	keys    atomic.Pointer[[]authority]
	inForce atomic.Pointer[authorityView]
	next    atomic.Int64 // Unix microseconds when the view has to be made anew; 0 never
}

// authorityView is what holds now: who signs, and by what others verify.
type authorityView struct {
	ca     *svid.CA
	issuer *svid.Issuer
	bundle *spiffebundle.Bundle
}

// rotateAuthority is rotate for the keys that sign SVIDs. What the earlier ones sign
// until the new ones take over has ended by the time at which they leave the bundle.
func (i *Issuer) rotateAuthority(tx *store.Tx, in Rotation) (out Rotated, fx gate.Effects, err error) {
	var n int64
	if _, err := tx.One(qAuthorityNext, func(r *store.Row) error { n = r.Int(0); return nil }); err != nil {
		return out, fx, err
	}
	if err := in.late(n); err != nil {
		return out, fx, err
	}
	now := act.FromMicros(tx.Now())
	active, end := now, now
	if !in.Compromised {
		if n > 1 {
			active = active.Add(PublishAhead)
		}
		end = active.Add(MaxSVIDLife + token.Skew + time.Minute)
	}
	out.ActiveAt = act.Micros(active)
	// A certificate lasts for two turns: one turn may come late.
	last := active.Add(2*cmp.Or(i.cfg.RotateEvery, DefaultRotateEvery) + MaxSVIDLife + time.Hour)
	for k, use := range []string{useX509, useJWT} {
		key, err := svid.NewKey()
		if err != nil {
			return out, fx, err
		}
		kid, err := svid.Thumbprint(key)
		if err != nil {
			return out, fx, err
		}
		public, err := svid.Public(key)
		if use == useX509 {
			out.KeyID = kid
			public, err = svid.SelfSign(i.authorities.domain, key, now.Add(-svid.Early), last)
		}
		if err != nil {
			return out, fx, err
		}
		id, err := tx.Mint(act.KindCredential)
		if err != nil {
			return out, fx, err
		}
		version, wrapped := i.ids.keys.Wrapper().Wrap(key, boundAuthority(id))
		clear(key)
		// n is unique: of two rotations at once the database lets one through.
		if _, err := tx.Exec(qAuthority, n+int64(k), id, use, kid, public, version, wrapped, tx.Now(), out.ActiveAt); err != nil {
			return out, fx, err
		}
		tx.Fence(act.KindCredential, id)
		fx.Out.ID = id
	}
	fx.Reason = in.Reason
	return out, fx, tx.Batch(qAuthorityUntil, n, act.Micros(end))
}

func boundAuthority(id act.ID) []byte { return append([]byte("authority key "), rowBytes(id)...) }

// loadAuthorities reads the keys that sign SVIDs and puts them in force.
func (i *Issuer) loadAuthorities(ctx context.Context) error {
	var keys []authority
	now := act.Micros(i.ids.clock())
	if err := i.ids.db.View(ctx, func(v *store.View) error {
		keys = keys[:0]
		return v.All(qAuthorities, func(r *store.Row) (err error) {
			k := authority{n: r.Int(0), id: r.ID(1), use: r.Text(2), kid: r.Text(3), public: r.Bytes(4), active: r.Int(7), until: r.Int(8)}
			if k.until == 0 || k.until > now {
				if err := i.openAuthority(&k, r.Int(5), r.Bytes(6)); err != nil {
					return fmt.Errorf("identity: the key of SVIDs %d: %w", k.n, err)
				}
			}
			keys = append(keys, k)
			return nil
		})
	}); err != nil {
		return err
	}
	i.authorities.keys.Store(&keys)
	return i.arrangeAuthorities(keys)
}

func (i *Issuer) openAuthority(k *authority, version int64, wrapped []byte) error {
	der, err := i.ids.keys.Wrapper().Unwrap(version, wrapped, boundAuthority(k.id))
	if err != nil {
		return err
	}
	defer clear(der)
	if k.use == useX509 {
		k.ca, err = svid.OpenCA(k.public, der)
	} else {
		k.issuer, err = svid.OpenIssuer(der)
	}
	return err
}

// arrangeAuthorities makes the view for now: the newest that have begun sign, and all
// that have not ended verify, the coming ones among them.
func (i *Issuer) arrangeAuthorities(keys []authority) error {
	now := act.Micros(i.ids.clock())
	var view authorityView
	var cas []*x509.Certificate
	issuers := make(map[string]crypto.PublicKey)
	next, sequence := int64(0), uint64(len(keys))
	turns := func(at int64) {
		if at > now && (next == 0 || at < next) {
			next = at
		}
	}
	for _, k := range keys {
		if k.until != 0 && k.until <= now {
			sequence++
			continue
		}
		turns(k.active)
		turns(k.until)
		if k.use == useX509 {
			cas = append(cas, k.ca.Cert)
			if k.active <= now {
				view.ca = k.ca
			}
			continue
		}
		public, err := x509.ParsePKIXPublicKey(k.public)
		if err != nil {
			return fmt.Errorf("identity: the key of SVIDs %d: %w", k.n, err)
		}
		issuers[k.kid] = public
		if k.active <= now {
			view.issuer = k.issuer
		}
	}
	if view.ca == nil || view.issuer == nil {
		i.authorities.inForce.Store(nil)
		return nil
	}
	view.bundle = svid.Bundle(i.authorities.domain, sequence, cas, issuers)
	i.authorities.inForce.Store(&view)
	i.authorities.next.Store(next)
	return nil
}

// authority returns what holds now. It fails with Unavailable where there is no key yet.
func (i *Issuer) authority() (*authorityView, error) {
	if next := i.authorities.next.Load(); next != 0 && act.Micros(i.ids.clock()) >= next && i.authorities.next.CompareAndSwap(next, 0) {
		if err := i.arrangeAuthorities(*i.authorities.keys.Load()); err != nil {
			return nil, err
		}
	}
	if v := i.authorities.inForce.Load(); v != nil {
		return v, nil
	}
	return nil, act.Errorf(act.Unavailable, "this node has no keys for SVIDs yet").WithRule("svid.keys").WithRetry(retryAfter).WithHint("try again in a moment")
}

// Bundle returns what verifies the network's SVIDs, as the endpoint of the bundle shows
// it (SPIFFE Trust Domain and Bundle §4).
func (i *Issuer) Bundle() (*spiffebundle.Bundle, error) {
	v, err := i.authority()
	if err != nil {
		return nil, err
	}
	return v.bundle, nil
}

// TrustDomain is the network's own.
func (i *Issuer) TrustDomain() string { return i.authorities.domain.Name() }
