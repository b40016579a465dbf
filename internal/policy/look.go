package policy

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// BundleCursor is the name of the list of bundles in its cursors.
const BundleCursor = "policy.list"

// MaxBundles is the longest page of bundles.
const MaxBundles = 100

// BundleQuery asks for a page of the bundles that were put in force, newest first.
type BundleQuery struct {
	Cursor act.Cursor // of BundleCursor; zero is the newest
	Limit  int        // 1 to MaxBundles; MaxBundles if 0
}

// Pick names policies: a version, or a draft composed with the defaults. The zero value
// is what is in force.
type Pick struct {
	Version int64
	Draft   *Draft
}

// Shown is a bundle with all that is in it.
type Shown struct {
	Kept
	Bundle *Bundle
	Behind string // why the defaults of this release are not in force; "" when they are
	Beside act.ID // the shadow that decides beside it; 0 for none
}

// Report is what a check of a draft found.
type Report struct {
	Version  int64 // of what is in force, to be the Base of a proposal
	Problems []Problem
	Trials   []Trial
	Policies int      // that it has
	Replaced []string // see Bundle
	Without  []string
	Refused  string // why it would not be put in force; "" if it would
	Rule     string
}

// DiffQuery asks what two bundles decide otherwise.
type DiffQuery struct {
	From, To Pick
}

// DryRunQuery asks what a candidate would have decided otherwise, in whole hours.
type DryRunQuery struct {
	Candidate Pick
	From, To  int64 // Unix microseconds
}

// FlipQuery asks for a page of the flips of the shadow that lasts, or that ended last.
type FlipQuery struct {
	After string // FlipPage.Next; "" is the start
	Limit int    // 1 to MaxFlipPage; MaxFlipPage if 0
}

// FlipPage is a page of flips.
type FlipPage struct {
	Shadow Shadow
	Flips  []Flip
	Next   string // "" at the end
}

func (o *Office) registerLooks(g *gate.Gate) {
	info := func(name, doc string) gate.Info {
		return gate.Info{Name: name, Doc: doc, On: act.KindNetwork, Quota: gate.QuotaNone}
	}
	o.List = gate.RegisterRead(g, gate.Read[BundleQuery, act.Page[Kept]]{
		Info: info("policy.list", "List the policies that were put in force, newest first."),
		Run: func(_ context.Context, v *store.View, _ act.Principal, in BundleQuery) (act.Page[Kept], error) {
			return bundles(v, in)
		},
	})
	o.Show = gate.RegisterRead(g, gate.Read[Pick, Shown]{
		Info: info("policy.show", "Show policies with their texts, their tests, and what of the defaults is replaced or left out."),
		Run: func(_ context.Context, v *store.View, _ act.Principal, in Pick) (Shown, error) {
			return o.show(v, in.Version)
		},
	})
	o.Check = gate.RegisterRead(g, gate.Read[Draft, Report]{
		Info: info("policy.check", "Check policies and run their tests; nothing changes."),
		Run: func(_ context.Context, v *store.View, _ act.Principal, in Draft) (r Report, err error) {
			newest, _, err := newestKept(v)
			if err != nil {
				return r, err
			}
			r = o.check(in)
			r.Version = newest
			return r, nil
		},
	})
	o.Diff = gate.RegisterRead(g, gate.Read[DiffQuery, Difference]{
		Info: info("policy.diff", "Say who gains and who loses what between two sets of policies, over all who live."),
		Run: func(_ context.Context, v *store.View, _ act.Principal, in DiffQuery) (Difference, error) {
			return o.compare(v, in.From, in.To)
		},
	})
	o.DryRun = gate.RegisterRead(g, gate.Read[DryRunQuery, DryRun]{
		Info: info("policy.dryrun", "Ask policies what was decided in a window, and say which decisions would flip."),
		Run: func(ctx context.Context, v *store.View, _ act.Principal, in DryRunQuery) (out DryRun, err error) {
			if in.From <= 0 || in.To < in.From || (in.To-in.From)/hourMicros > MaxWindow {
				return out, act.Errorf(act.Invalid, "a window has 1 to %d hours", MaxWindow).WithRule("policy.window").
					WithHint("give a window like 24h")
			}
			// What waits is part of the window, and is written before anything is read.
			if err := o.Keeper.Flush(ctx); err != nil {
				return out, err
			}
			_, now, err := o.candidate(v, in.Candidate)
			if err != nil {
				return out, err
			}
			return o.engine.dryRun(ctx, v, now, in.From, in.To)
		},
	})
	o.Flips = gate.RegisterRead(g, gate.Read[FlipQuery, FlipPage]{
		Info: info("policy.flips", "List what the policies beside those in force decide otherwise."),
		Run: func(ctx context.Context, v *store.View, _ act.Principal, in FlipQuery) (FlipPage, error) {
			return o.flips(ctx, v, in)
		},
	})
}

func bundles(v *store.View, in BundleQuery) (page act.Page[Kept], err error) {
	if in.Limit == 0 {
		in.Limit = MaxBundles
	}
	if in.Limit < 1 || in.Limit > MaxBundles {
		return page, act.Errorf(act.Invalid, "a page has 1 to %d bundles", MaxBundles).WithRule("limit").
			WithHint("ask for less and follow next_cursor")
	}
	before := int64(maxVersion)
	if !in.Cursor.IsZero() {
		if in.Cursor.List != BundleCursor || len(in.Cursor.Keys) != 1 {
			return page, act.Errorf(act.Invalid, "the cursor is not one of this list").WithRule("cursor").
				WithHint("use next_cursor exactly as returned")
		}
		before = in.Cursor.Keys[0]
	}
	if err := v.All(qBundles, func(r *store.Row) error {
		page.Items = append(page.Items, scanKept(r))
		return nil
	}, before, in.Limit+1); err != nil {
		return page, err
	}
	if len(page.Items) > in.Limit {
		page.Items = page.Items[:in.Limit]
		page.Next = act.Cursor{List: BundleCursor, Keys: []int64{page.Items[in.Limit-1].Version}}
	}
	return page, nil
}

func (o *Office) show(v *store.View, version int64) (s Shown, err error) {
	if version == 0 {
		version = o.engine.Version()
		s.Behind = o.Behind()
		if now := o.engine.beside.Load(); now != nil {
			s.Beside = now.id
		}
	}
	if s.Kept, err = keptOf(v, version); err != nil {
		return s, err
	}
	s.Bundle, err = loadVersion(v, o.pub(), version)
	return s, err
}

func (o *Office) check(d Draft) Report {
	p := o.prepare(d)
	r := Report{Problems: p.problems, Trials: p.trials}
	if p.err != nil {
		e := act.AsError(p.err)
		r.Refused, r.Rule = e.Message, e.Rule
	}
	if p.bundle != nil {
		r.Replaced, r.Without = p.bundle.Replaced, p.bundle.Without
	}
	if p.snap != nil {
		r.Policies = len(p.snap.rules)
	}
	return r
}

// candidate returns the policies that a pick names, ready to be asked.
func (o *Office) candidate(v *store.View, in Pick) (*Bundle, *snapshot, error) {
	if in.Draft != nil {
		p := o.prepare(*in.Draft)
		if p.snap == nil {
			return nil, nil, p.err
		}
		return p.bundle, p.snap, nil
	}
	if in.Version == 0 {
		in.Version = o.engine.Version()
	}
	b, err := loadVersion(v, o.pub(), in.Version)
	if err != nil {
		return nil, nil, err
	}
	s, problems := o.engine.compile(b)
	if len(problems) > 0 {
		return nil, nil, refuseProblems(problems)
	}
	return b, s, nil
}

func (o *Office) flips(ctx context.Context, v *store.View, in FlipQuery) (page FlipPage, err error) {
	if in.Limit == 0 {
		in.Limit = MaxFlipPage
	}
	after, err := hex.DecodeString(in.After)
	if err != nil || in.Limit < 1 || in.Limit > MaxFlipPage {
		return page, act.Errorf(act.Invalid, "a page has 1 to %d flips, and begins behind another", MaxFlipPage).WithRule("limit").
			WithHint("use next_cursor exactly as returned")
	}
	if err := o.Keeper.Flush(ctx); err != nil {
		return page, err
	}
	var found bool
	if page.Shadow, found, err = shadowLast(v, o.pub()); err != nil {
		return page, err
	}
	if !found {
		return page, noShadow()
	}
	var last []byte
	if page.Flips, last, err = o.engine.flips(v, page.Shadow.ID, after, in.Limit); err != nil {
		return page, err
	}
	if len(page.Flips) == in.Limit {
		page.Next = fmt.Sprintf("%x", last)
	}
	return page, nil
}
