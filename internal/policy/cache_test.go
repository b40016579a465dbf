package policy

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

const ownersOnly = `
@id("owned") permit (principal is Agent, action == Action::"post.create", resource)
when { principal.standing == "active" && principal.claimed };`

// The budget: a cached decision allocates nothing.
func TestCachedDecisionAllocatesNothing(t *testing.T) {
	// A directory of one fact, so that what is measured is the engine.
	e := newEngine(t, fixed{Standing: act.Active, Claimed: true, Owner: testID(act.KindOwner, 3), Class: "researcher"}, nil)
	activateDefault(t, e)
	p := act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, 8), Name: "eight"}
	for _, q := range []gate.Question{
		{Act: "post.create", Resource: gate.Facts{Kind: act.KindCommunity, Community: testID(act.KindCommunity, 1)}},
		{Act: "agent.kill"},
	} {
		e.Decide(p, q)
		if n := testing.AllocsPerRun(1000, func() { e.Decide(p, q) }); n != 0 {
			t.Errorf("%s: %v allocations a cached decision", q.Act, n)
		}
	}
}

type fixed PrincipalFacts

func (f fixed) Facts(act.ID) PrincipalFacts { return PrincipalFacts(f) }

// A change of the principal's facts is in force with the next question, whether
// or not the caller's epoch says so.
func TestChangeOfFacts(t *testing.T) {
	d := &people{by: map[act.ID]PrincipalFacts{}}
	e := newEngine(t, d, nil)
	activate(t, e, 1, ownersOnly)
	p := act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, 1)}
	for epoch := range int64(20) {
		claimed, standing := epoch%2 == 0, act.Active
		if epoch%3 == 0 {
			standing = act.Paused
		}
		d.set(p.ID, PrincipalFacts{Standing: standing, Claimed: claimed})
		p.Epoch = epoch / 2 // lags behind
		if got, want := decide(e, p, "post.create").Allow, claimed && standing == act.Active; got != want {
			t.Errorf("epoch %d: allowed is %v, want %v", epoch, got, want)
		}
	}
}

// Agents that no policy tells apart share one cache entry; those that one does,
// do not.
func TestStandIns(t *testing.T) {
	codec := testCodec(t)
	e := newEngine(t, fixed{Standing: act.Active, Class: "x"}, nil)
	named := testID(act.KindAgent, 3)
	activate(t, e, 1, `@id("a") permit (principal is Agent, action, resource);
		@id("b") forbid (principal == Agent::"`+codec.String(named)+`", action, resource);`)
	for n := range 1000 {
		p := act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, n+1)}
		if got := decide(e, p, "post.create"); got.Allow != (p.ID != named) {
			t.Fatalf("agent %d: %+v", n+1, got)
		}
	}
	e.cache.CleanUp()
	if n := e.cache.EstimatedSize(); n != 2 {
		t.Errorf("%d cache entries for two sorts of agent", n)
	}
}

// The cache stays within its bound when policies do tell a million agents apart.
func TestCacheIsBounded(t *testing.T) {
	d := fixed{Standing: act.Active}
	e := newEngine(t, d, func(c *Config) { c.CacheSize = 100 })
	text := `@id("like") permit (principal is Agent, action, resource) when { principal.class like "c*" };`
	activate(t, e, 1, text)
	for n := range 5000 {
		e.directory = fixed{Standing: act.Active, Class: fmt.Sprint("c", n)}
		if !decide(e, act.Principal{Kind: act.Agent, ID: 1}, "post.create").Allow {
			t.Fatal("denied")
		}
	}
	e.cache.CleanUp()
	if n := e.cache.EstimatedSize(); n > 100 {
		t.Errorf("%d entries in a cache of 100", n)
	}
}

// Once Activate has returned, no question is answered by the bundle before, and
// every answer is all of one bundle. Run with -race.
func TestActivationIsAtomic(t *testing.T) {
	// Bundles with an even version permit post.create and forbid vote.cast, odd
	// ones the other way round; every policy carries its version.
	text := func(v int64) string {
		a, b := "permit", "forbid"
		if v%2 == 1 {
			a, b = b, a
		}
		one := func(name, effect, action string) string {
			held := ""
			if effect == "permit" {
				held = fmt.Sprintf("@hold(\"%d\") ", v)
			}
			return fmt.Sprintf("@id(\"%s-%d\") %s%s (principal, action == Action::%q, resource);\n", name, v, held, effect, action)
		}
		return one("create", a, "post.create") + one("vote", b, "vote.cast")
	}
	e := newEngine(t, fixed{Standing: act.Active}, nil)
	activate(t, e, 1, text(1))
	var floor atomic.Int64 // the version in force at least
	floor.Store(1)
	var stop atomic.Bool
	var wg sync.WaitGroup
	decided := make([]int, 4)
	for w := range decided {
		wg.Go(func() {
			last := int64(0)
			for !stop.Load() {
				for _, name := range []string{"create", "vote"} {
					full := map[string]string{"create": "post.create", "vote": "vote.cast"}[name]
					atLeast := floor.Load()
					d := e.Decide(act.Principal{Kind: act.Agent, ID: 1}, gate.Question{Act: full, Resource: gate.Facts{Kind: act.KindPost}})
					if full == "post.create" {
						d = e.Decide(act.Principal{Kind: act.Agent, ID: 1}, gate.Question{Act: full})
					}
					decided[w]++
					v := d.Bundle
					allow := (v%2 == 0) == (name == "create")
					if v < atLeast || v < last || d.Policy != fmt.Sprintf("%s-%d", name, v) || d.Allow != allow ||
						len(d.Obligations) > 0 != allow || allow && d.Obligations[0].Arg != fmt.Sprint(v) {
						t.Errorf("at version %d or more: %+v", atLeast, d)
						stop.Store(true)
						return
					}
					last = v
				}
			}
		})
	}
	for v := int64(2); v <= 200 && !stop.Load(); v++ {
		activate(t, e, v, text(v))
		floor.Store(v)
	}
	stop.Store(true)
	wg.Wait()
	for w, n := range decided {
		if n == 0 {
			t.Errorf("worker %d decided nothing", w)
		}
	}
}
