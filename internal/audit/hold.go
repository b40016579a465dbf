package audit

import (
	"context"
	"fmt"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A legal hold says what must be kept until it is released. Two things follow from those
// in force: retention drops no row whose time is not before the earliest of them, whoever
// it is of, and nothing that one of them covers is erased. The first is wider than what was
// asked for: rows of which nobody can say whom they concern are kept as well.

// HoldOrder places a hold: on a thing or on all, as far as it was made in a time.
type HoldOrder struct {
	Thing    act.ID // an agent, community, post or comment, and what belongs to it; 0 is everything
	From, To int64  // Unix microseconds; 0 is without a bound
	Whole    bool   // everything of all times is meant, and not forgotten to be said
	Reason   string // goes on record
}

// ReleaseOrder ends a hold.
type ReleaseOrder struct {
	N      int64
	Reason string // goes on record
}

// Hold is a legal hold.
type Hold struct {
	N        int64
	Thing    act.ID
	From, To int64
	Since    int64 // retention drops nothing from this time on while it is in force
	Reason   string
	By       act.ID
	At       int64

	ReleasedAt int64 // 0 while it is in force
	ReleasedBy act.ID
	Released   string // why
}

// HoldQuery asks for a page of the holds there ever were, by number.
type HoldQuery struct {
	Cursor act.Cursor // of HoldCursor; zero is the first page
	Limit  int        // 1 to MaxHoldPage; MaxHoldPage if 0
}

const (
	// HoldCursor is the name of the list of holds in its cursors.
	HoldCursor = "hold.list"
	// MaxHoldPage bounds a page of audit.holds.
	MaxHoldPage = 200
	// MaxHolds bounds the holds in force.
	MaxHolds = 1000

	ruleHeld = "legal-hold"

	holdColumns = `n, thing, from_at, to_at, since_at, reason, made_by, made_at, released_at, released_by, release_reason`

	qHoldAdd     store.Q = `INSERT INTO legal_hold (` + holdColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, '')`
	qHoldLast    store.Q = `SELECT n FROM legal_hold WHERE n > 0 ORDER BY n DESC LIMIT 1`
	qHold        store.Q = `SELECT ` + holdColumns + ` FROM legal_hold WHERE n = $1`
	qHolds       store.Q = `SELECT ` + holdColumns + ` FROM legal_hold WHERE n > $1 ORDER BY n LIMIT $2`
	qHoldsActive store.Q = `SELECT ` + holdColumns + ` FROM legal_hold WHERE released_at = 0 ORDER BY since_at, n`
	qHoldSince   store.Q = `SELECT since_at FROM legal_hold WHERE released_at = 0 ORDER BY since_at, n LIMIT 1`
	qHoldCount   store.Q = `SELECT COUNT(*) FROM legal_hold WHERE released_at = 0`
	qHoldRelease store.Q = `UPDATE legal_hold SET released_at = $2, released_by = $3, release_reason = $4 WHERE n = $1 AND released_at = 0`
)

// Holds are the acts on legal holds.
type Holds struct {
	PlaceHold   *gate.WriteAct[HoldOrder, Hold]
	ReleaseHold *gate.WriteAct[ReleaseOrder, Hold]
	ListHolds   *gate.ReadAct[HoldQuery, act.Page[Hold]]
}

func newHolds(c ActsConfig) (h Holds) {
	aimed := func(thing act.ID) gate.Resource {
		return gate.Resource{Ref: act.Ref{ID: thing}, Facts: gate.Facts{Kind: act.KindNetwork}}
	}
	again := func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Hold, error) {
		return holdAt(v, made.Version)
	}
	h.PlaceHold = gate.RegisterWrite(c.Gate, gate.Write[HoldOrder, Hold]{
		Info: gate.Info{Name: "audit.hold", Doc: "Place a legal hold: what it covers is neither dropped by retention nor erased until it is released.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in HoldOrder) (gate.Resource, error) {
			err := c.Reason(in.Reason)
			if err == nil {
				err = in.check()
			}
			return aimed(in.Thing), err
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in HoldOrder) (Hold, gate.Effects, error) {
			return place(tx, p, in)
		},
		Replay: again,
	})
	h.ReleaseHold = gate.RegisterWrite(c.Gate, gate.Write[ReleaseOrder, Hold]{
		Info: gate.Info{Name: "audit.release", Doc: "Release a legal hold: retention and erasure take their course again.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in ReleaseOrder) (gate.Resource, error) {
			if err := c.Reason(in.Reason); err != nil {
				return gate.Resource{}, err
			}
			one, err := inForce(v, in.N)
			return aimed(one.Thing), err
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in ReleaseOrder) (Hold, gate.Effects, error) {
			return release(tx, p, in)
		},
		Replay: again,
	})
	h.ListHolds = gate.RegisterRead(c.Gate, gate.Read[HoldQuery, act.Page[Hold]]{
		Info: gate.Info{Name: "audit.holds", Doc: "List the legal holds there are and were, with who placed and released them, and why.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in HoldQuery) (act.Page[Hold], error) {
			return listHolds(v, in)
		},
	})
	return h
}

func (in HoldOrder) check() error {
	switch in.Thing.Kind() {
	case act.KindNone, act.KindAgent, act.KindCommunity, act.KindPost, act.KindComment:
	default:
		return act.Errorf(act.Invalid, "a %s cannot be held by itself", in.Thing.Kind()).WithRule("hold.kind").
			WithHint("hold an agent, a community, a post, a comment, a range of time or everything")
	}
	bounded := in.Thing != 0 || in.From != 0 || in.To != 0
	switch {
	case in.From < 0 || in.To < 0 || in.To != 0 && in.To <= in.From:
		return act.Errorf(act.Invalid, "the range has no time in it").WithRule("hold.range").WithHint("to is later than from")
	case bounded == in.Whole:
		return act.Errorf(act.Invalid, "it is not clear what is to be held").WithRule("hold.what").
			WithHint("name a thing, a range of time or both, or else say that everything is meant")
	}
	return nil
}

func place(tx *store.Tx, p act.Principal, in HoldOrder) (h Hold, fx gate.Effects, err error) {
	if err := tx.LockRetention(); err != nil {
		return h, fx, err
	}
	var active int64
	if _, err := tx.One(qHoldCount, func(r *store.Row) error { active = r.Int(0); return nil }); err != nil {
		return h, fx, err
	}
	if active >= MaxHolds {
		return h, fx, act.Errorf(act.Conflict, "%d holds are in force", active).WithRule("hold.most").WithHint("place one that is wider, and release those that it covers")
	}
	h = Hold{Thing: in.Thing, From: in.From, To: in.To, Since: in.From, Reason: strings.TrimSpace(in.Reason), By: p.ID, At: tx.Now()}
	if h.Thing != 0 {
		h.Since = max(h.Since, act.Micros(h.Thing.Time())) // nothing of it is older
	}
	if _, err := tx.One(qHoldLast, func(r *store.Row) error { h.N = r.Int(0); return nil }); err != nil {
		return h, fx, err
	}
	h.N++
	return h, h.effects(h.Reason), tx.Batch(qHoldAdd, h.N, h.Thing, h.From, h.To, h.Since, h.Reason, h.By, h.At)
}

func release(tx *store.Tx, p act.Principal, in ReleaseOrder) (h Hold, fx gate.Effects, err error) {
	if err := tx.LockRetention(); err != nil {
		return h, fx, err
	}
	if h, err = inForce(&tx.View, in.N); err != nil {
		return h, fx, err
	}
	h.ReleasedAt, h.ReleasedBy, h.Released = tx.Now(), p.ID, strings.TrimSpace(in.Reason)
	return h, h.effects(h.Released), tx.Batch(qHoldRelease, h.N, h.ReleasedAt, h.ReleasedBy, h.Released)
}

// effects put a hold on record, with its number and bounds before the reason.
func (h Hold) effects(reason string) gate.Effects {
	return gate.Effects{Out: act.Ref{ID: h.Thing, Version: h.N}, Reason: gate.OnRecord(fmt.Sprintf("hold %d%s", h.N, span(h.From, h.To)), reason)}
}

func span(from, to int64) (text string) {
	if from != 0 {
		text += " from " + act.FromMicros(from).Format(act.WireTime)
	}
	if to != 0 {
		text += " to " + act.FromMicros(to).Format(act.WireTime)
	}
	return text
}

func holdAt(v *store.View, n int64) (h Hold, err error) {
	found, err := v.One(qHold, func(r *store.Row) error { h = scanHold(r); return nil }, n)
	if err == nil && !found {
		err = act.Errorf(act.NotFound, "there is no hold %d", n).WithRule("hold.none").WithHint("GET /v1/holds lists them")
	}
	return h, err
}

func inForce(v *store.View, n int64) (h Hold, err error) {
	h, err = holdAt(v, n)
	if err == nil && h.ReleasedAt != 0 {
		err = act.Errorf(act.Conflict, "hold %d was released at %s", n, act.FromMicros(h.ReleasedAt).Format(act.WireTime)).
			WithRule("hold.released").WithHint("place another one if it is to be kept again")
	}
	return h, err
}

func listHolds(v *store.View, in HoldQuery) (page act.Page[Hold], err error) {
	n := in.Limit
	if n == 0 {
		n = MaxHoldPage
	}
	if n < 1 || n > MaxHoldPage {
		return page, act.Errorf(act.Invalid, "a page has 1 to %d holds", MaxHoldPage).WithRule("limit").WithHint("ask for less and follow next_cursor")
	}
	var after int64
	if !in.Cursor.IsZero() {
		after = in.Cursor.Keys[0]
	}
	err = v.All(qHolds, func(r *store.Row) error { page.Items = append(page.Items, scanHold(r)); return nil }, after, int64(n+1))
	if len(page.Items) > n {
		page.Items = page.Items[:n]
		page.Next = act.Cursor{List: HoldCursor, Keys: []int64{page.Items[n-1].N}}
	}
	return page, err
}

func scanHold(r *store.Row) Hold {
	return Hold{
		N: r.Int(0), Thing: r.ID(1), From: r.Int(2), To: r.Int(3), Since: r.Int(4), Reason: r.Text(5), By: r.ID(6), At: r.Int(7),
		ReleasedAt: r.Int(8), ReleasedBy: r.ID(9), Released: r.Text(10),
	}
}

// KeptSince returns the time from which on retention drops nothing; held is false without a
// hold in force.
func KeptSince(v *store.View) (at int64, held bool, err error) {
	held, err = v.One(qHoldSince, func(r *store.Row) error { at = r.Int(0); return nil })
	return at, held, err
}

// Content is a post or comment that is to be erased.
type Content struct {
	Item, Author, Community act.ID
	Post                    act.ID // that it is, or stands under
	At                      int64  // made
}

// Covered fails with Denied if a hold in force covers the content.
func Covered(v *store.View, c Content) (err error) {
	var by Hold
	if err := v.All(qHoldsActive, func(r *store.Row) error {
		if h := scanHold(r); by.N == 0 && h.covers(c) {
			by = h
		}
		return nil
	}); err != nil || by.N == 0 {
		return err
	}
	return act.Errorf(act.Denied, "the legal hold %d keeps it", by.N).WithRule(ruleHeld).
		WithHint(fmt.Sprintf("it can be erased when that is released (POST /v1/holds/%d/release, by an auditor or an admin); until then it can be withdrawn from readers", by.N))
}

func (h Hold) covers(c Content) bool {
	switch h.Thing {
	case 0, c.Item, c.Author, c.Community, c.Post:
		return c.At >= h.From && (h.To == 0 || c.At < h.To)
	}
	return false
}
