package token

import (
	"slices"
	"time"
)

// MaxDepth is how many actors a chain may have: how often an authority can be
// handed on.
const MaxDepth = 5

const (
	// Unbounded is a budget without a limit. It fits a JSON number that any
	// language can read.
	Unbounded int64 = 1<<53 - 1

	// MaxClearance is the highest clearance there can be.
	MaxClearance = 255

	// Everywhere is the site of an authority that is bound to none.
	Everywhere = "*"
)

// Audience is who may take a credential: absolute URLs, in order. The zero value
// is nobody.
type Audience []string

// anyAudience stands in what is asked, for "whatever is held".
const anyAudience = "*"

// AnyAudience is the audience of a request that names none. No token has it.
func AnyAudience() Audience { return Audience{anyAudience} }

// Has reports whether the audience has the URL.
func (a Audience) Has(url string) bool { return slices.Contains(a, url) }

func (a Audience) any() bool { return len(a) == 1 && a[0] == anyAudience }

// Intersect returns who is in both, in order.
func (a Audience) Intersect(b Audience) Audience {
	switch {
	case a.any():
		a, b = b, a
		fallthrough
	case b.any():
		out := slices.Clone(a)
		slices.Sort(out)
		return slices.Compact(out)
	}
	var out Audience
	for _, url := range a {
		if b.Has(url) {
			out = append(out, url)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Covers reports whether everybody in b is in a.
func (a Audience) Covers(b Audience) bool {
	return a.any() || !slices.ContainsFunc(b, func(url string) bool { return !a.Has(url) })
}

// Authority is what a credential lets its holder do. Every field is a limit and
// its zero value is the narrowest, so that what is left out is not granted.
type Authority struct {
	Scope     Scope
	Audience  Audience
	Expires   time.Time
	Budget    int64  // units that may be spent; Unbounded for no limit
	Clearance uint8  // the highest confidentiality that may be shown
	Site      string // the one site at which it is good, Everywhere, or "" for none
	Depth     int    // how often it can be handed on from here
}

// Ask returns the request for a scope and for as much of everything else as
// there is. The caller sets what was asked for besides.
func Ask(scope Scope) Authority {
	return Authority{
		Scope: scope, Audience: AnyAudience(), Expires: time.Unix(lastDate, 0).UTC(),
		Budget: Unbounded, Clearance: MaxClearance, Site: Everywhere, Depth: MaxDepth,
	}
}

// Narrow returns what is both held and asked: the meet of the two, field by
// field. Whoever narrows on gets the same in whatever order, and never more than
// any authority on the way. It fails, rather than ask for the caller, when no
// scope was asked (scope.missing), and when nothing is left of the scope
// (scope.beyond), the audience (target.beyond), the site (exchange.site) or the
// time (exchange.expired, for an authority without an end).
func Narrow(held, asked Authority) (Authority, error) {
	if asked.Scope == "" {
		return Authority{}, refuse("scope.missing")
	}
	a := Authority{
		Scope:     held.Scope.Intersect(asked.Scope),
		Audience:  held.Audience.Intersect(asked.Audience),
		Expires:   held.Expires,
		Budget:    max(0, min(held.Budget, asked.Budget)),
		Clearance: min(held.Clearance, asked.Clearance),
		Depth:     max(0, min(held.Depth, asked.Depth, MaxDepth)),
	}
	if asked.Expires.Before(a.Expires) {
		a.Expires = asked.Expires
	}
	switch {
	case held.Site == Everywhere:
		a.Site = asked.Site
	case asked.Site == Everywhere, asked.Site == held.Site:
		a.Site = held.Site
	}
	switch {
	case a.Scope == "":
		return Authority{}, refuse("scope.beyond")
	case len(a.Scope) > maxScopeHeld:
		return Authority{}, refuse("scope.malformed")
	case len(a.Audience) == 0:
		return Authority{}, refuse("target.beyond")
	case a.Site == "":
		return Authority{}, refuse("exchange.site")
	case a.Expires.IsZero():
		return Authority{}, refuse("exchange.expired")
	}
	return a, nil
}

// Delegate is Narrow for another holder: it takes one from the depth, and fails
// with exchange.depth when there is none left.
func Delegate(held, asked Authority) (Authority, error) {
	if held.Depth <= 0 {
		return Authority{}, refuse("exchange.depth")
	}
	held.Depth--
	return Narrow(held, asked)
}

// Covers reports whether b carries no more than a in any respect.
func (a Authority) Covers(b Authority) bool {
	return a.Scope.Covers(b.Scope) && a.Audience.Covers(b.Audience) && !b.Expires.After(a.Expires) &&
		b.Budget <= a.Budget && b.Clearance <= a.Clearance && b.Depth <= a.Depth &&
		(a.Site == Everywhere || a.Site == b.Site || b.Site == "")
}

// Equal reports whether two authorities are the same.
func (a Authority) Equal(b Authority) bool {
	return a.Scope == b.Scope && slices.Equal(a.Audience, b.Audience) && a.Expires.Equal(b.Expires) &&
		a.Budget == b.Budget && a.Clearance == b.Clearance && a.Site == b.Site && a.Depth == b.Depth
}
