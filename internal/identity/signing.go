package identity

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// How long the keys that sign access tokens live.
const (
	// DefaultRotateEvery is how long a key signs unless configured.
	DefaultRotateEvery = 30 * 24 * time.Hour
	// PublishAhead is how long a key is published before it signs, so that whoever
	// keeps the key set for a while has it in time.
	PublishAhead = 15 * time.Minute

	unending = 100 // years
)

const (
	qSigningKeys store.Q = `SELECT n, id, algorithm, kid, wrap_version, wrapped, created_at, active_at, until_at FROM issuer_key
WHERE until_at = 0 OR until_at > $1 ORDER BY n`
	qSigningAdd store.Q = `INSERT INTO issuer_key (n, id, algorithm, kid, wrap_version, wrapped, created_at, active_at, until_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)`
	qSigningNext  store.Q = `SELECT CAST(COALESCE(MAX(n), 0) + 1 AS BIGINT) FROM issuer_key`
	qSigningUntil store.Q = `UPDATE issuer_key SET until_at = $2 WHERE n < $1 AND (until_at = 0 OR until_at > $2)`
)

// signingKey is a row of issuer_key, opened.
type signingKey struct {
	n               int64
	id              act.ID
	key             token.Private
	created, active int64 // Unix microseconds
	until           int64 // what it signed is taken until then; 0 is not known yet
}

// signing is what a node knows of the keys: the set in force, and the next one with
// the time at which it takes over.
type signing struct {
	set  atomic.Pointer[token.Set]
	keys atomic.Pointer[[]signingKey]
	next atomic.Int64 // Unix microseconds when the set has to be made anew; 0 never
}

// Rotation asks for a new key that signs access tokens, or new ones that sign SVIDs.
type Rotation struct {
	// Compromised ends the earlier keys at once, and with them every token that they
	// signed, instead of letting both run out.
	Compromised bool
	Reason      string // an operator's, goes on record
	SVIDs       bool   // of the keys that sign SVIDs instead

	first bool  // only where there is none yet
	after int64 // only while this is the number of the newest; 0 whichever that is
}

// late fails where a rotation was done already that is to be done once. n is the number
// that the new key would have.
func (r Rotation) late(n int64) error {
	if r.first && n > 1 || r.after != 0 && n != r.after+1 {
		return act.Errorf(act.Conflict, "another node was faster").WithRule("key.first").WithHint("nothing has to be done")
	}
	return nil
}

// Rotated is a new signing key.
type Rotated struct {
	KeyID    string
	ActiveAt int64 // Unix microseconds when it begins to sign
}

func (i *Issuer) registerRotate(g *gate.Gate) {
	i.Rotate = gate.RegisterWrite(g, gate.Write[Rotation, Rotated]{
		Info: gate.Info{Name: "key.rotate", Doc: "Publish a new key that signs access tokens, or new ones that sign SVIDs; the earlier ones verify until the last that they signed has ended.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in Rotation) (gate.Resource, error) {
			if p.Kind == act.Operator {
				if err := CheckReason(in.Reason); err != nil {
					return gate.Resource{}, err
				}
			}
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run: i.rotate,
	})
	// Fences of credentials are made by nobody else: keys of agents are fenced by
	// their agents.
	g.OnFence(act.KindCredential, func(ctx context.Context, _ []act.ID) error { return i.Load(ctx) })
}

func (i *Issuer) rotate(_ context.Context, tx *store.Tx, _ act.Principal, in Rotation) (out Rotated, fx gate.Effects, err error) {
	if in.SVIDs {
		return i.rotateAuthority(tx, in)
	}
	var n int64
	if _, err := tx.One(qSigningNext, func(r *store.Row) error { n = r.Int(0); return nil }); err != nil {
		return out, fx, err
	}
	if err := in.late(n); err != nil {
		return out, fx, err
	}
	key, err := token.NewKey(i.cfg.Algorithm)
	if err != nil {
		return out, fx, err
	}
	id, err := tx.Mint(act.KindCredential)
	if err != nil {
		return out, fx, err
	}
	out.KeyID, out.ActiveAt = key.Public().Thumbprint(), tx.Now()
	// What the earlier keys sign until this one takes over, and then no more, has
	// ended by then.
	end := tx.Now()
	if !in.Compromised {
		if n > 1 {
			out.ActiveAt += PublishAhead.Microseconds()
		}
		end = out.ActiveAt + (TokenLife + token.Skew + time.Minute).Microseconds()
	}
	der, err := key.PKCS8()
	if err != nil {
		return out, fx, err
	}
	version, wrapped := i.ids.keys.Wrapper().Wrap(der, boundKey(id))
	clear(der)
	// n is unique: of two rotations at once the database lets one through.
	if _, err := tx.Exec(qSigningAdd, n, id, key.Public().Algorithm().String(), out.KeyID, version, wrapped, tx.Now(), out.ActiveAt); err != nil {
		return out, fx, err
	}
	if err := tx.Batch(qSigningUntil, n, end); err != nil {
		return out, fx, err
	}
	tx.Fence(act.KindCredential, id)
	if in.first { // a network begins with both
		if _, _, err := i.rotateAuthority(tx, in); err != nil && act.CodeOf(err) != act.Conflict {
			return out, fx, err
		}
	}
	return out, gate.Effects{Out: act.Ref{ID: id}, Reason: in.Reason}, nil
}

func boundKey(id act.ID) []byte { return append([]byte("issuer key "), rowBytes(id)...) }

// loadKeys reads the signing keys and puts them in force.
func (i *Issuer) loadKeys(ctx context.Context) error {
	var keys []signingKey
	if err := i.ids.db.View(ctx, func(v *store.View) error {
		keys = keys[:0]
		return v.All(qSigningKeys, func(r *store.Row) error {
			k := signingKey{n: r.Int(0), id: r.ID(1), created: r.Int(6), active: r.Int(7), until: r.Int(8)}
			der, err := i.ids.keys.Wrapper().Unwrap(r.Int(4), r.Bytes(5), boundKey(k.id))
			if err != nil {
				return fmt.Errorf("identity: signing key %d: %w", k.n, err)
			}
			k.key, err = token.ParsePKCS8(der)
			clear(der)
			keys = append(keys, k)
			return err
		}, act.Micros(i.ids.clock()))
	}); err != nil {
		return err
	}
	i.signing.keys.Store(&keys)
	return i.arrange(keys)
}

// arrange makes the set of the keys for now: the newest that has begun signs.
func (i *Issuer) arrange(keys []signingKey) error {
	now := act.Micros(i.ids.clock())
	var active *signingKey
	var others []token.Verifier
	next := int64(0)
	for n := range keys {
		k := &keys[n]
		if k.active <= now && (k.until == 0 || k.until > now) {
			active = k
		} else if k.active > now && (next == 0 || k.active < next) {
			next = k.active
		}
	}
	if active == nil {
		i.signing.set.Store(nil)
		return nil
	}
	for _, k := range keys {
		if k.n != active.n {
			end := act.FromMicros(k.until)
			if k.until == 0 { // its time has not come, so its end is not known
				end = act.FromMicros(k.active).AddDate(unending, 0, 0)
			}
			others = append(others, token.Verifier{Key: k.key.Public(), Until: end})
		}
	}
	set, err := token.NewSet(active.key, others...)
	if err != nil {
		return err
	}
	i.signing.set.Store(set)
	i.signing.next.Store(next)
	return nil
}

// keySet returns the set in force, nil where there is none yet.
func (i *Issuer) keySet() *token.Set {
	if next := i.signing.next.Load(); next != 0 && act.Micros(i.ids.clock()) >= next && i.signing.next.CompareAndSwap(next, 0) {
		if err := i.arrange(*i.signing.keys.Load()); err != nil {
			i.ids.log.Error("take a signing key into use", "err", err)
		}
	}
	return i.signing.set.Load()
}

// ensureKey makes the first key.
func (i *Issuer) ensureKey(ctx context.Context) error {
	if err := i.loadKeys(ctx); err != nil || i.signing.set.Load() != nil {
		return err
	}
	if _, err := i.Rotate.Do(ctx, act.SystemPrincipal(issuerPart), Rotation{first: true}); err != nil && act.CodeOf(err) != act.Conflict {
		return fmt.Errorf("identity: the first signing key: %w", err)
	}
	return i.loadKeys(ctx)
}

// ensureAuthority makes the first keys that sign SVIDs, of a network that is older than
// they are.
func (i *Issuer) ensureAuthority(ctx context.Context) error {
	if err := i.loadAuthorities(ctx); err != nil || i.authorities.inForce.Load() != nil {
		return err
	}
	if _, err := i.Rotate.Do(ctx, act.SystemPrincipal(issuerPart), Rotation{first: true, SVIDs: true}); err != nil && act.CodeOf(err) != act.Conflict {
		return fmt.Errorf("identity: the first keys for SVIDs: %w", err)
	}
	return i.loadAuthorities(ctx)
}

// RotateDue makes new keys when the newest have signed for as long as they should.
// The server calls it on one node at a time.
func (i *Issuer) RotateDue(ctx context.Context) error {
	due := func(n, active int64, svids bool) error {
		every := cmp.Or(i.cfg.RotateEvery, DefaultRotateEvery)
		if act.Micros(i.ids.clock()) < active+(every-PublishAhead).Microseconds() {
			return nil
		}
		_, err := i.Rotate.Do(ctx, act.SystemPrincipal(issuerPart), Rotation{SVIDs: svids, after: n})
		if act.CodeOf(err) == act.Conflict {
			return nil
		}
		return err
	}
	if keys := i.signing.keys.Load(); keys != nil && len(*keys) > 0 {
		newest := (*keys)[len(*keys)-1]
		if err := due(newest.n, newest.active, false); err != nil {
			return err
		}
	}
	if keys := i.authorities.keys.Load(); keys != nil && len(*keys) > 0 {
		newest := (*keys)[len(*keys)-1]
		return due(newest.n, newest.active, true)
	}
	return nil
}

// PublicKeys returns the network's public keys as a JWK set (RFC 7517 §5): the one
// that signs documents and proofs of identity, and those that sign access tokens,
// the coming one among them.
func (i *Issuer) PublicKeys() ([]byte, error) {
	outside, err := i.ids.keys.PublicKeys()
	if err != nil {
		return nil, err
	}
	set := i.keySet()
	if set == nil {
		return outside, nil
	}
	inside, err := set.JWKS(i.ids.clock())
	if err != nil {
		return nil, err
	}
	var all, more struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(outside, &all); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(inside, &more); err != nil {
		return nil, err
	}
	all.Keys = append(all.Keys, more.Keys...)
	return json.Marshal(all)
}

// SignDetached signs a document with the network's outside key; see Keys.
func (i *Issuer) SignDetached(content []byte) (string, error) {
	return i.ids.keys.SignDetached(content)
}
