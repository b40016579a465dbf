package identity

import (
	"context"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A renewal of the wrapping key is asked for by an act. A chore then puts a new version
// into the ring, waits until every node has read the ring again, and has a second act
// take the version into use: a fence tells the nodes. No node is given what it cannot
// open, and no transaction waits for a store.
const (
	qWrappingNext store.Q = `SELECT CAST(COALESCE(MAX(version), 1) + 1 AS BIGINT) FROM wrapping_key`
	qWrappingAdd  store.Q = `INSERT INTO wrapping_key (version, mark, created_at, active_at) VALUES ($1, $2, $3, 0)`
	qWrappingDue  store.Q = `SELECT version FROM wrapping_key WHERE active_at = 0 ORDER BY version LIMIT 1`
	qWrappingUse  store.Q = `UPDATE wrapping_key SET mark = $2, active_at = $3 WHERE version = $1 AND active_at = 0`
	qWrappingLast store.Q = `SELECT version, mark FROM wrapping_key WHERE active_at > 0 ORDER BY version DESC LIMIT 1`

	qSigningOlder store.Q = `SELECT n, id, wrap_version, wrapped FROM issuer_key WHERE wrap_version < $1 AND (until_at = 0 OR until_at > $2) ORDER BY n`
	qSigningWrap  store.Q = `UPDATE issuer_key SET wrap_version = $2, wrapped = $3 WHERE n = $1`

	qAuthorityOlder store.Q = `SELECT n, id, wrap_version, wrapped FROM authority WHERE wrap_version < $1 AND (until_at = 0 OR until_at > $2) ORDER BY n`
	qAuthorityWrap  store.Q = `UPDATE authority SET wrap_version = $2, wrapped = $3 WHERE n = $1`

	keysPart = "keys" // the system's name for these acts
)

// Renewal asks for a new version of the wrapping key.
type Renewal struct{ Reason string }

// Renewed is a new version that was asked for.
type Renewed struct{ Version int64 }

// activation takes a version into use.
type activation struct {
	version int64
	mark    [16]byte
}

func (i *Issuer) registerRenew(g *gate.Gate) {
	network := gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}
	i.RenewWrapping = gate.RegisterWrite(g, gate.Write[Renewal, Renewed]{
		Info: gate.Info{Name: "key.renew", Doc: "Have a new version of the key that wraps conversation keys and other secrets at rest; what older ones wrapped is wrapped anew.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in Renewal) (gate.Resource, error) {
			return network, CheckReason(in.Reason)
		},
		Run: i.addVersion,
	})
	i.activate = gate.RegisterWrite(g, gate.Write[activation, act.ID]{
		Info: gate.Info{Name: "key.activate", Doc: "Take a new version of the wrapping key into use, on all nodes; the server does it when all have it.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(context.Context, *store.View, act.Principal, activation) (gate.Resource, error) {
			return network, nil
		},
		Run: i.takeVersion,
	})
}

func (i *Issuer) addVersion(_ context.Context, tx *store.Tx, _ act.Principal, in Renewal) (out Renewed, fx gate.Effects, err error) {
	waits, err := tx.One(qWrappingDue, func(*store.Row) error { return nil })
	if err == nil && waits {
		err = act.Errorf(act.Conflict, "a renewal is under way").WithRule("key.renewal").WithHint("it takes a minute or two; if it does not end, the log says why")
	}
	if err != nil {
		return out, fx, err
	}
	if _, err := tx.One(qWrappingNext, func(r *store.Row) error { out.Version = r.Int(0); return nil }); err != nil {
		return out, fx, err
	}
	if out.Version > maxVersions {
		return out, fx, act.Errorf(act.Conflict, "there are %d versions of the wrapping key, which is all there can be", maxVersions).WithRule("key.renewal").
			WithHint("nothing has to be done: the newest goes on")
	}
	// version is the row's key: of two renewals at once the database lets one through.
	return out, gate.Effects{Reason: in.Reason}, tx.Batch(qWrappingAdd, out.Version, []byte{}, tx.Now())
}

func (i *Issuer) takeVersion(_ context.Context, tx *store.Tx, _ act.Principal, in activation) (id act.ID, fx gate.Effects, err error) {
	changed, err := tx.Exec(qWrappingUse, in.version, in.mark[:], tx.Now())
	if err == nil && changed == 0 {
		err = act.Errorf(act.Conflict, "another node was faster").WithRule("key.renewal").WithHint("nothing has to be done")
	}
	if err != nil {
		return 0, fx, err
	}
	if err := i.rewrap(tx, in.version, qSigningOlder, qSigningWrap, boundKey); err != nil {
		return 0, fx, err
	}
	if err := i.rewrap(tx, in.version, qAuthorityOlder, qAuthorityWrap, boundAuthority); err != nil {
		return 0, fx, err
	}
	if id, err = tx.Mint(act.KindCredential); err != nil {
		return 0, fx, err
	}
	tx.Fence(act.KindCredential, id)
	return id, gate.Effects{Out: act.Ref{ID: id}}, nil
}

// rewrap wraps keys that sign, tokens or SVIDs, under a version. They are few.
func (i *Issuer) rewrap(tx *store.Tx, version int64, older, wrap store.Q, bound func(act.ID) []byte) error {
	type row struct {
		n, version int64
		id         act.ID
		wrapped    []byte
	}
	var rows []row
	if err := tx.All(older, func(r *store.Row) error {
		rows = append(rows, row{r.Int(0), r.Int(2), r.ID(1), r.Bytes(3)})
		return nil
	}, version, tx.Now()); err != nil {
		return err
	}
	w := i.ids.keys.Wrapper()
	for _, r := range rows {
		der, err := w.Unwrap(r.version, r.wrapped, bound(r.id))
		if err != nil {
			return err
		}
		fresh, err := w.wrapUnder(version, der, bound(r.id))
		clear(der)
		if err != nil {
			return err
		}
		if err := tx.Batch(wrap, r.n, version, fresh); err != nil {
			return err
		}
	}
	return nil
}

// loadWrapping takes the version into use that the database names. A ring that lacks
// it, or has another key under its number, is not this network's newest.
func (i *Issuer) loadWrapping(ctx context.Context) error {
	var version int64
	var mark []byte
	var found bool
	if err := i.ids.db.View(ctx, func(v *store.View) (err error) {
		found, err = v.One(qWrappingLast, func(r *store.Row) error { version, mark = r.Int(0), r.Bytes(1); return nil })
		return err
	}); err != nil || !found {
		return err
	}
	keys := i.ids.keys
	if _, known := keys.wrap.mark(version); !known {
		if err := keys.Refresh(ctx, i.ids.clock()); err != nil {
			return err
		}
	}
	return keys.wrap.use(version, mark)
}

// RenewDue does what is left of a renewal that was asked for. The server calls it on
// one node at a time; spread is how long it takes until every node has read the ring.
func (i *Issuer) RenewDue(ctx context.Context, spread time.Duration) error {
	var version int64
	var waits bool
	if err := i.ids.db.View(ctx, func(v *store.View) (err error) {
		waits, err = v.One(qWrappingDue, func(r *store.Row) error { version = r.Int(0); return nil })
		return err
	}); err != nil || !waits {
		return err
	}
	mark, err := i.ids.keys.extend(ctx, version)
	if err != nil {
		return err
	}
	now := i.ids.clock()
	if i.renewing.version != version {
		i.renewing.version, i.renewing.since = version, now
	}
	if now.Sub(i.renewing.since) < spread {
		return nil
	}
	_, err = i.activate.Do(ctx, act.SystemPrincipal(keysPart), activation{version, mark})
	if act.CodeOf(err) == act.Conflict {
		err = nil
	}
	return err
}

// renewing is the renewal that this node has under way; its chore is one goroutine.
type renewing struct {
	version int64
	since   time.Time // when this node saw the version in the ring
}
