package policy

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
)

// T33, the part that is policy's: what a child is to its parent gives it nothing. With
// the default policies an agent that has a parent, a team, a mandate, any depth and any
// trust may do no more than one that has none of these, whoever made the thing; and less
// clearance never gives more.
func TestT33_NothingAboutALineageWidens(t *testing.T) {
	d := &people{by: map[act.ID]PrincipalFacts{}}
	e := newEngine(t, d, nil)
	activateDefault(t, e)
	acts := registry()
	secrets := []gate.Classification{gate.Unclassified, gate.Internal, gate.Confidential}
	rapid.Check(t, func(t *rapid.T) {
		plain, child, author := testID(act.KindAgent, 1), testID(act.KindAgent, 2), testID(act.KindAgent, 3)
		base := PrincipalFacts{
			Standing: pick(t, "standing", act.Requested, act.Active, act.Paused), Claimed: rapid.Bool().Draw(t, "claimed"),
			Owner: testID(act.KindOwner, 1), Clearance: pick(t, "clearance", secrets...),
		}
		more := base
		more.Parent, more.Root, more.Depth = author, author, uint8(rapid.IntRange(1, 15).Draw(t, "depth"))
		more.Team, more.Class, more.Mandate = "blue", "worker", testID(act.KindMandate, 1)
		more.Trust = pick(t, "trust", trust.Low, trust.Normal, trust.High)
		more.Clearance = secrets[rapid.IntRange(0, int(base.Clearance)).Draw(t, "carved")] // a child's is no more than its parent's
		d.set(plain, base)
		d.set(child, more)
		d.set(author, PrincipalFacts{Standing: act.Active, Owner: testID(act.KindOwner, 1), Team: "blue", Class: "worker", Mandate: testID(act.KindMandate, 1)})
		r := gate.Facts{
			Kind: pick(t, "kind", act.KindPost, act.KindComment, act.KindAgent, act.KindCommunity, act.KindNetwork), Author: author, AuthorStanding: act.Active,
			Classification: pick(t, "classification", secrets...), Own: rapid.Bool().Draw(t, "own"), Locked: rapid.Bool().Draw(t, "locked"),
			Visibility: pick(t, "visibility", gate.Public, gate.Restricted),
		}
		for _, i := range acts {
			q := gate.Question{Act: i.Name, Resource: r}
			parent, its := e.Decide(act.Principal{Kind: act.Agent, ID: plain}, q), e.Decide(act.Principal{Kind: act.Agent, ID: child}, q)
			if its.Allow && !parent.Allow {
				t.Fatalf("%s on %+v: the child may (%s), one without a lineage may not (%s)", i.Name, r, its.Policy, parent.Policy)
			}
			if its.Allow && r.Classification > more.Clearance {
				t.Fatalf("%s: clearance %d is let to what is classified %d by %s", i.Name, more.Clearance, r.Classification, its.Policy)
			}
		}
	})
}
