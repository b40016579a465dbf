package trust

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
)

// The table of docs/workloads.md, part by part. A request that asks for all that there is,
// by whom everything speaks against, is of MaxScore.
func TestRiskIsTheSumOfItsParts(t *testing.T) {
	bound := func(n int64) *int64 { return &n }
	least := charter.Grant{
		Acts: charter.Of("post.*"), Egress: charter.Of(), Life: charter.Duration(time.Hour),
		Budget: charter.Budget{Acts: bound(1), Tokens: bound(1), Money: bound(1), CPU: bound(1)},
	}
	with := func(change func(*charter.Grant)) charter.Grant {
		g := least
		change(&g)
		return g
	}
	for _, c := range []struct {
		name string
		g    charter.Grant
		by   Asker
		want []Part // without why
	}{
		{"nothing", least, Asker{}, nil},
		{"any act", with(func(g *charter.Grant) { g.Acts = charter.Set{} }), Asker{}, []Part{{Name: "acts", Points: 15}}},
		{"two of weight", with(func(g *charter.Grant) { g.Acts = charter.Of("agent.*", "dm.request", "post.*") }), Asker{}, []Part{{Name: "acts", Points: 6}}},
		{"internal", with(func(g *charter.Grant) { g.Clearance = charter.Internal }), Asker{}, []Part{{Name: "clearance", Points: 5}}},
		{"one destination", with(func(g *charter.Grant) { g.Egress = charter.Of("https://a.example/*") }), Asker{}, []Part{{Name: "egress", Points: 2}}},
		{"many destinations", with(func(g *charter.Grant) { g.Egress = charter.Of("a", "b", "c", "d", "e") }), Asker{}, []Part{{Name: "egress", Points: 6}}},
		{"money without bound", with(func(g *charter.Grant) { g.Budget.Money = nil }), Asker{}, []Part{{Name: "budget", Points: 4}}},
		{"a long life", with(func(g *charter.Grant) { g.Life = charter.Duration(31 * Day) }), Asker{}, []Part{{Name: "life", Points: 4}}},
		{"children", with(func(g *charter.Grant) { g.Spawn = charter.Spawn{Depth: 2, FanOut: 3} }), Asker{}, []Part{{Name: "spawn", Points: 8}}},
		{"an agent nobody knows", least, Asker{Agent: true}, []Part{{Name: "trust", Points: 6}}},
		{"an agent of normal trust", least, Asker{Agent: true, Trust: Normal}, []Part{{Name: "trust", Points: 2}}},
		{"an agent of high trust", least, Asker{Agent: true, Trust: High}, nil},
		{"denied before", least, Asker{Denied: 2}, []Part{{Name: "denied", Points: 4}}},
		{"a few held acts", least, Asker{Asked: manyAsked - 1}, nil},
		{
			"everything", charter.Grant{Clearance: charter.Confidential, Spawn: charter.Spawn{Depth: charter.MaxDepth, FanOut: charter.MaxFanOut}},
			Asker{Agent: true, Trust: Low, Denied: 99, Deaths: 99, Asked: 99},
			[]Part{
				{Name: "acts", Points: 15}, {Name: "clearance", Points: 10}, {Name: "egress", Points: 12}, {Name: "budget", Points: 13}, {Name: "life", Points: 8},
				{Name: "spawn", Points: 12}, {Name: "trust", Points: 12}, {Name: "denied", Points: 6}, {Name: "deaths", Points: 8}, {Name: "pressing", Points: 4},
			},
		},
	} {
		got, sum := Risk(c.g, c.by), 0
		for i := range got.Parts {
			if got.Parts[i].Why == "" {
				t.Errorf("%s: %s does not say why", c.name, got.Parts[i].Name)
			}
			sum += got.Parts[i].Points
			got.Parts[i].Why = ""
		}
		if !slices.Equal(got.Parts, c.want) || got.Points != sum {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if c.name == "everything" && got.Points != MaxScore {
			t.Errorf("everything is %d of %d", got.Points, MaxScore)
		}
	}
}

// One is not said like many.
func TestRiskCountsInWords(t *testing.T) {
	for n, want := range map[int]string{
		1: "1 destination; 1 generation of 1 child each; 1 such request was denied within 30 days; 1 of its children has lost its lease within an hour",
		2: "2 destinations; 2 generations of 2 children each; 2 such requests were denied within 30 days; 2 of its children have lost their leases within an hour",
	} {
		var why []string
		g := charter.Grant{Egress: charter.Of([]string{"a", "b"}[:n]...), Spawn: charter.Spawn{Depth: n, FanOut: n}}
		for _, p := range Risk(g, Asker{Denied: int64(n), Deaths: int64(n)}).Parts {
			if slices.Contains([]string{"egress", "spawn", "denied", "deaths"}, p.Name) {
				why = append(why, p.Why)
			}
		}
		if got := strings.Join(why, "; "); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
