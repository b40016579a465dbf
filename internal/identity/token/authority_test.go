package token_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// The acts of the properties: few enough that scopes meet.
var acts = []string{
	"post.create", "post.read", "post.delete", "comment.create", "comment.list", "dm.send", "dm.read", "agent.kill", "agent.me",
}

func scopes() *rapid.Generator[token.Scope] {
	words := append([]string{"*", "post.*", "comment.*", "dm.*", "agent.*"}, acts...)
	return rapid.Custom(func(t *rapid.T) token.Scope {
		// One scope in eight is everything; elsewhere * would hide the rest.
		from := words[1:]
		if rapid.IntRange(0, 7).Draw(t, "all") == 0 {
			from = words
		}
		s, err := token.ParseScope(strings.Join(rapid.SliceOfN(rapid.SampledFrom(from), 1, 6).Draw(t, "words"), " "))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func authorities() *rapid.Generator[token.Authority] {
	return rapid.Custom(func(t *rapid.T) token.Authority {
		a := token.Ask(scopes().Draw(t, "scope"))
		if rapid.Bool().Draw(t, "some audience") {
			a.Audience = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"https://a.example", "https://b.example", "https://c.example"}), 1, 3, rapid.ID).Draw(t, "audience")
			slices.Sort(a.Audience)
		}
		a.Expires = now.Add(time.Duration(rapid.IntRange(1, 9).Draw(t, "minutes")) * time.Minute)
		a.Budget = rapid.SampledFrom([]int64{0, 1, 50, 1000, token.Unbounded}).Draw(t, "budget")
		a.Clearance = rapid.Uint8().Draw(t, "clearance")
		a.Site = rapid.SampledFrom([]string{token.Everywhere, token.Everywhere, "berlin", "lyon"}).Draw(t, "site")
		a.Depth = rapid.IntRange(0, token.MaxDepth).Draw(t, "depth")
		return a
	})
}

// carries reports, without the code under test, whether a lets its holder do
// anything that b does not.
func carries(a, b token.Authority) bool {
	more := func(name string) bool { return hasWord(a.Scope, name) && !hasWord(b.Scope, name) }
	audience := func(url string) bool {
		in := func(x token.Audience) bool { return slices.Contains(x, url) || slices.Contains(x, "*") }
		return in(a.Audience) && !in(b.Audience)
	}
	return slices.ContainsFunc(acts, more) || slices.ContainsFunc([]string{"https://a.example", "https://b.example", "https://c.example", "*"}, audience) ||
		a.Expires.After(b.Expires) || a.Budget > b.Budget || a.Clearance > b.Clearance || a.Depth > b.Depth ||
		b.Site != "*" && a.Site != b.Site
}

// hasWord says the long way whether a scope has an act.
func hasWord(s token.Scope, name string) bool {
	for _, w := range strings.Split(string(s), " ") {
		if w == "*" || w == name || strings.HasSuffix(w, ".*") && strings.HasPrefix(name, strings.TrimSuffix(w, "*")) {
			return true
		}
	}
	return false
}

// T13: what is granted is held and asked, in every field.
func TestNarrowIsTheMeet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		held, asked := authorities().Draw(t, "held"), authorities().Draw(t, "asked")
		got, err := token.Narrow(held, asked)
		if err != nil {
			if !got.Equal(token.Authority{}) {
				t.Fatalf("refused and granted %+v", got)
			}
			return
		}
		if carries(got, held) || carries(got, asked) || !held.Covers(got) || !asked.Covers(got) {
			t.Fatalf("%+v is more than held %+v or asked %+v", got, held, asked)
		}
		for _, name := range acts {
			if want := hasWord(held.Scope, name) && hasWord(asked.Scope, name); got.Scope.Has(name) != want {
				t.Fatalf("%s: %v of %q and %q in %q", name, !want, held.Scope, asked.Scope, got.Scope)
			}
		}
		// It repeats without effect, on either side.
		for _, again := range []token.Authority{held, asked, got} {
			if twice, err := token.Narrow(got, again); err != nil || !twice.Equal(got) {
				t.Fatalf("narrowed by %+v once more: %+v, %v", again, twice, err)
			}
		}
		if other, err := token.Narrow(asked, held); err != nil || !other.Equal(got) {
			t.Fatalf("the other way round: %+v, %v, want %+v", other, err, got)
		}
	})
}

// More held gives no less, and what two have in common does not depend on the
// order in which they were asked.
func TestNarrowIsMonotoneAndCommutes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		held, x, y := authorities().Draw(t, "held"), authorities().Draw(t, "x"), authorities().Draw(t, "y")
		less, err1 := token.Narrow(held, x)
		part, err2 := token.Narrow(less, y)
		if err1 == nil && err2 == nil {
			whole, err := token.Narrow(held, y)
			if err != nil || carries(part, whole) {
				t.Fatalf("of less came more: %+v, of %+v came %+v, %v", part, held, whole, err)
			}
		}
		other, err3 := token.Narrow(held, y)
		crossed, err4 := token.Narrow(other, x)
		if ok, too := err1 == nil && err2 == nil, err3 == nil && err4 == nil; ok != too || ok && !crossed.Equal(part) {
			t.Fatalf("x then y: %+v (%v, %v); y then x: %+v (%v, %v)", part, err1, err2, crossed, err3, err4)
		}
	})
}

// T13: no chain of narrowings and delegations carries more than any ancestor,
// and none is longer than the limit. 10,000 sequences.
func TestNoChainCarriesMoreThanAnAncestor(t *testing.T) {
	t.Parallel()
	sequences, longest, steps := 0, 0, 0
	sequence := func(t *rapid.T) {
		held := authorities().Draw(t, "root")
		held.Depth = max(held.Depth, rapid.IntRange(0, token.MaxDepth).Draw(t, "deeper"))
		ancestors, delegated := []token.Authority{held}, 0
		for range rapid.IntRange(1, 12).Draw(t, "length") {
			asked := authorities().Draw(t, "asked")
			if rapid.IntRange(0, 2).Draw(t, "ask for all but one thing") > 0 { // or long chains would be rare
				all := token.Ask(token.ScopeAll)
				switch rapid.IntRange(0, 5).Draw(t, "thing") {
				case 0:
					all.Scope = asked.Scope
				case 1:
					all.Audience = asked.Audience
				case 2:
					all.Expires = asked.Expires
				case 3:
					all.Budget = asked.Budget
				case 4:
					all.Clearance = asked.Clearance
				case 5:
					all.Site = asked.Site
				}
				asked = all
			}
			hand := token.Narrow
			onward := rapid.IntRange(0, 3).Draw(t, "hand on") > 0
			if onward {
				hand = token.Delegate
			}
			next, err := hand(held, asked)
			if err != nil {
				if rule := ruleOf(err); onward && held.Depth == 0 && rule != "exchange.depth" {
					t.Fatalf("handed on from depth 0: %v", err)
				}
				continue
			}
			if onward {
				delegated++
			}
			steps++
			for i, a := range ancestors {
				if carries(next, a) {
					t.Fatalf("step %d carries more than %d: %+v, %+v", len(ancestors), i, next, a)
				}
			}
			ancestors, held = append(ancestors, next), next
		}
		if longest = max(longest, delegated); delegated > token.MaxDepth {
			t.Fatalf("handed on %d times", delegated)
		}
		sequences++
	}
	for sequences < 10_000 { // rapid does a hundred a check unless a flag says otherwise
		rapid.Check(t, sequence)
	}
	if longest < token.MaxDepth || steps < sequences {
		t.Errorf("%d sequences took %d steps, the longest chain %d: too few to say anything", sequences, steps, longest)
	}
}

// What is left out is not granted, and what is not asked for is not widened.
func TestNarrowFailsClosed(t *testing.T) {
	t.Parallel()
	held := token.Authority{
		Scope: "post.*", Audience: token.Audience{issuer}, Expires: now.Add(time.Hour), Budget: 10, Clearance: 3, Site: "berlin", Depth: 1,
	}
	if got, err := token.Narrow(held, token.Ask("*")); err != nil || !got.Equal(held) {
		t.Errorf("all that is held: %+v, %v", got, err)
	}
	change := func(f func(a *token.Authority)) token.Authority {
		a := token.Ask("post.create")
		f(&a)
		return a
	}
	for _, c := range []struct {
		name        string
		held, asked token.Authority
		rule        string
	}{
		{"no scope asked", held, token.Ask(""), "scope.missing"},
		{"nothing asked", held, token.Authority{}, "scope.missing"},
		{"another scope", held, token.Ask("dm.send"), "scope.beyond"},
		{"nothing held", token.Authority{}, token.Ask("*"), "scope.beyond"},
		{"no audience asked", held, change(func(a *token.Authority) { a.Audience = nil }), "target.beyond"},
		{"another audience", held, change(func(a *token.Authority) { a.Audience = token.Audience{"https://b.example"} }), "target.beyond"},
		{"no site asked", held, change(func(a *token.Authority) { a.Site = "" }), "exchange.site"},
		{"another site", held, change(func(a *token.Authority) { a.Site = "lyon" }), "exchange.site"},
		{"no time asked", held, change(func(a *token.Authority) { a.Expires = time.Time{} }), "exchange.expired"},
	} {
		for _, narrow := range []func(held, asked token.Authority) (token.Authority, error){token.Narrow, func(held, asked token.Authority) (token.Authority, error) {
			held.Depth = 5
			return token.Delegate(held, asked)
		}} {
			if got, err := narrow(c.held, c.asked); ruleOf(err) != c.rule || !got.Equal(token.Authority{}) {
				t.Errorf("%s: %+v, rule %q, want %q", c.name, got, ruleOf(err), c.rule)
			}
		}
	}
	once, err := token.Delegate(held, token.Ask("*"))
	if err != nil || once.Depth != 0 {
		t.Errorf("handed on once: %+v, %v", once, err)
	}
	if _, err := token.Delegate(once, token.Ask("*")); ruleOf(err) != "exchange.depth" {
		t.Errorf("handed on twice: %v", err)
	}
	if got, err := token.Narrow(held, change(func(a *token.Authority) { a.Budget, a.Depth = -5, -1 })); err != nil || got.Budget != 0 || got.Depth != 0 {
		t.Errorf("below nothing: %+v, %v", got, err)
	}
}
