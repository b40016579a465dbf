package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// The default bundle with more policies, n in all, of the sorts that grow with
// a network: by owner, class and community, over all acts.
func grown(b *testing.B, n int) string {
	codec := testCodec(b)
	base, err := Default(created)
	if err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	have := 0
	for _, f := range base.Files {
		text.WriteString(f.Text)
		have += strings.Count(f.Text, "@id(")
	}
	acts := registry()
	for i := range max(0, n-have) {
		name := acts[i%len(acts)].Name
		switch i % 3 {
		case 0:
			fmt.Fprintf(&text, "@id(\"g%d\") permit (principal in Owner::%q, action == Action::%q, resource);\n", i, codec.String(testID(act.KindOwner, i+1)), name)
		case 1:
			fmt.Fprintf(&text, "@id(\"g%d\") forbid (principal is Agent, action == Action::%q, resource) when { principal.class == \"class-%d\" };\n", i, name, i)
		case 2:
			fmt.Fprintf(&text, "@id(\"g%d\") permit (principal is Agent, action == Action::%q, resource in Community::%q) when { principal.standing == \"active\" };\n", i, name, codec.String(testID(act.KindCommunity, i+1)))
		}
	}
	return text.String()
}

// owners has n policies for one act, each for another owner.
func owners(b *testing.B, n int) string {
	codec := testCodec(b)
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "@id(\"o%d\") permit (principal is Agent, action == Action::\"post.create\", resource) when { principal.owner == Owner::%q && principal.standing == \"active\" };\n",
			i, codec.String(testID(act.KindOwner, i+1)))
	}
	return text.String()
}

func benchEngine(b *testing.B, text string) *Engine {
	e := newEngine(b, fixed{Standing: act.Active, Claimed: true, Owner: testID(act.KindOwner, 1), Class: "researcher"}, nil)
	activate(b, e, 1, text)
	return e
}

var benchQuestion = gate.Question{Act: "post.create", Resource: gate.Facts{Kind: act.KindCommunity, Community: testID(act.KindCommunity, 1)}}

func BenchmarkDecideCached(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e := benchEngine(b, grown(b, n))
			p := act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, 1), Name: "one", Epoch: 3}
			e.Decide(p, benchQuestion)
			b.ReportAllocs()
			for b.Loop() {
				if !e.Decide(p, benchQuestion).Allow {
					b.Fatal("denied")
				}
			}
		})
	}
}

// crowd is a directory of n agents with as many owners.
type crowd int

func (n crowd) Facts(agent act.ID) PrincipalFacts {
	return PrincipalFacts{Standing: act.Active, Claimed: true, Owner: testID(act.KindOwner, int(agent>>22)%int(n)+1), Class: "researcher"}
}

// What Decide does when the cache does not know the key; each question comes
// from an agent of another owner.
func uncached(b *testing.B, n int, text string) {
	e := newEngine(b, crowd(n), nil)
	activate(b, e, 1, text)
	s, t := e.current.Load(), e.acts["post.create"]
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i += 7919
		p := act.Principal{Kind: act.Agent, ID: testID(act.KindAgent, i%n)}
		k, ok := e.keyOf(p, benchQuestion)
		if !ok {
			b.Fatal("no key")
		}
		d := e.evaluate(s, t, k)
		if e.cache.Set(k, d); !d.Allow {
			b.Fatal("denied")
		}
	}
}

func BenchmarkDecideUncached(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { uncached(b, n, grown(b, n)) })
	}
}

func BenchmarkDecideUncachedOwners(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { uncached(b, n, owners(b, n)) })
	}
}

func BenchmarkActivate(b *testing.B) {
	in := bundle(b, 1, grown(b, 10000))
	for b.Loop() {
		e := newEngine(b, fixed{}, nil)
		if err := e.Activate(in); err != nil {
			b.Fatal(err)
		}
	}
}
