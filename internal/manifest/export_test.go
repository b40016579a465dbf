package manifest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/manifest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Texts that an act takes: no control characters, and not empty.
var someText = rapid.OneOf(rapid.StringMatching(`[A-Za-z][A-Za-z0-9 .,:#'"{}-]{0,60}[a-z.]`), rapid.StringMatching(`(([a-zäß]{1,9} ?){1,5}\n){1,4}`), rapid.SampledFrom([]string{"yes", "1e3", "~", "null", "- a", "a: b"}))

func jsonObject(kind, name string, spec any) string {
	raw, err := json.Marshal(spec)
	if err != nil {
		panic(err)
	}
	return object(kind, name, string(raw))
}

// objects draws a set with things of every kind.
func objects(t *rapid.T) string {
	var b strings.Builder
	maybe := func(spec map[string]any, field string, value func() any) {
		if rapid.Bool().Draw(t, field) {
			spec[field] = value()
		}
	}
	words := func(name string, from ...string) func() any {
		return func() any { return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, 3, rapid.ID).Draw(t, name) }
	}
	number := func(name string, most int64) func() any {
		return func() any { return rapid.Int64Range(0, most).Draw(t, name) }
	}
	text := func(name string) func() any { return func() any { return someText.Draw(t, name) } }
	span := func(name string) func() any {
		return func() any { return rapid.SampledFrom([]string{"90s", "1h30m", "720h", "10m0s"}).Draw(t, name) }
	}
	grant := func(class bool) map[string]any {
		g := map[string]any{}
		maybe(g, "acts", words("acts", "post.*", "post.create", "vote.cast", "comment.*", "feed.read"))
		maybe(g, "communities", words("communities", "general", "prices", "x*"))
		maybe(g, "egress", words("egress", "https://a.example/*", "https://b.example/v1"))
		maybe(g, "life", span("life"))
		maybe(g, "clearance", func() any {
			return rapid.SampledFrom([]string{"unclassified", "internal", "confidential"}).Draw(t, "clearance")
		})
		if class {
			maybe(g, "budget", func() any {
				budget := map[string]any{}
				maybe(budget, "acts", number("budget acts", 1000))
				maybe(budget, "money_micros", number("money", 1<<53+1))
				return budget
			})
			maybe(g, "spawn", func() any {
				return map[string]any{"classes": []string{"class-0"}, "depth": 2, "fan_out": 3, "rate": 5, "window": "10m"}
			})
		}
		return g
	}
	n := rapid.IntRange(1, 4).Draw(t, "of each")
	for i := range n {
		class := map[string]any{}
		maybe(class, "model", text("model"))
		maybe(class, "heartbeat", span("heartbeat"))
		maybe(class, "tolerance", number("tolerance", 9))
		maybe(class, "grant", func() any { return grant(true) })
		b.WriteString(jsonObject("Class", fmt.Sprintf("class-%d", i), class))

		mandate := map[string]any{"owner": "team", "statement": someText.Draw(t, "statement")}
		maybe(mandate, "success", text("success"))
		maybe(mandate, "stop", text("stop"))
		maybe(mandate, "expires_at", func() any { return "2096-02-03T04:05:06.789Z" })
		maybe(mandate, "grace", span("grace"))
		b.WriteString(jsonObject("Mandate", fmt.Sprintf("mandate-%d", i), mandate))

		quota := map[string]any{"limit": rapid.Int64Range(0, 1_000_000).Draw(t, "limit")}
		maybe(quota, "period", func() any { return rapid.SampledFrom([]string{"hour", "day"}).Draw(t, "period") })
		b.WriteString(jsonObject("Quota", fmt.Sprintf("team:T. %d's.tokens", i), quota))

		agent := map[string]any{"owner": "team", "class": fmt.Sprintf("class-%d", rapid.IntRange(0, i).Draw(t, "class"))}
		maybe(agent, "mandate", func() any { return fmt.Sprintf("mandate-%d", i) })
		maybe(agent, "grant", func() any { return grant(false) })
		b.WriteString(jsonObject("Agent", fmt.Sprintf("worker-%d", i), agent))

		community := map[string]any{}
		maybe(community, "display_name", func() any { return rapid.StringMatching(`[A-Z][a-z ]{1,20}[a-z]`).Draw(t, "display name") })
		maybe(community, "description", text("description"))
		maybe(community, "rules", text("rules"))
		maybe(community, "theme_color", func() any { return rapid.SampledFrom([]string{"#abc", "#A0b1C2", ""}).Draw(t, "color") })
		maybe(community, "allow_crypto", func() any { return rapid.Bool().Draw(t, "crypto") })
		maybe(community, "classification", func() any {
			return rapid.SampledFrom([]string{"unclassified", "internal", "confidential"}).Draw(t, "classification")
		})
		b.WriteString(jsonObject("Community", fmt.Sprintf("place-%d", i), community))

		hook := map[string]any{"url": fmt.Sprintf("http://127.0.0.1:9/%d", i)}
		maybe(hook, "acts", words("events", "post.create", "vote.*", "agent.kill"))
		b.WriteString(jsonObject("Webhook", fmt.Sprintf("hook-%d", i), hook))

		own := fmt.Sprintf("role-%d", i)
		role := map[string]any{"roles": rapid.SliceOfNDistinct(rapid.SampledFrom(gate.OperatorRoleNames()[:5]), 1, 5, rapid.ID).Draw(t, "roles")}
		maybe(role, "note", func() any { return rapid.StringMatching(`[a-z:#"]{1,30}[a-z]`).Draw(t, "note") })
		b.WriteString(jsonObject("Role", own, role))
		binding := map[string]any{"role": rapid.SampledFrom(append(gate.OperatorRoleNames()[:5:5], own)).Draw(t, "role")}
		if whom := rapid.SampledFrom([]string{"group", "person", "service"}).Draw(t, "whom"); whom == "service" {
			binding[whom] = fmt.Sprintf("deploy-%d", i)
		} else {
			binding["issuer"], binding[whom] = "https://idp.example", fmt.Sprintf("cn=%d, \"x\": #y", i)
		}
		b.WriteString(jsonObject("RoleBinding", fmt.Sprintf("binding-%d", i), binding))
	}
	for _, term := range []string{"closed", "deleted", "spans"} {
		if rapid.Bool().Draw(t, term) {
			b.WriteString(jsonObject("Retention", term, map[string]any{"days": rapid.Int64Range(30, 365).Draw(t, "days")}))
		}
	}
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("own-%d.cedar", i)] = fmt.Sprintf("// %s\n@id(\"own-%d\")\nforbid (principal is Agent, action == Action::\"vote.cast\", resource);\n", rapid.StringMatching(`[a-z "#:]{0,30}[a-z]`).Draw(t, "comment"), i)
	}
	b.WriteString(jsonObject("PolicyBundle", "network", map[string]any{"files": files, "without": []string{"challenge"}}))
	return b.String()
}

// Whatever there is comes back: what a network exports makes another network export the
// same, and is as it is to be there and here.
func TestExportComesBack(t *testing.T) {
	rounds := 2
	if os.Getenv("REEF_SOAK") != "" {
		rounds = 20
	}
	for _, dialect := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(dialect.String(), func(t *testing.T) {
			for seed := range rounds {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					text := rapid.Custom(objects).Example(seed)
					a, b := open(t, config(t, dialect)), open(t, config(t, dialect))
					a.apply(set(text))
					a.same(set(text))
					first := a.export()
					b.apply(set(first))
					if second := b.export(); first != second {
						t.Fatalf("%s\ncomes back as\n%s", first, second)
					}
					b.same(set(first))
					other := set(first)
					other.Manager = "export"
					p, _ := a.plan(other)
					for _, c := range p.Changes {
						if c.Op != manifest.OpOwn {
							t.Errorf("its own export would %s %s/%s: %v", c.Op, c.Kind, c.Name, c.Fields)
						}
					}
				})
			}
		})
	}
}

// A plan costs what its objects cost, however many there are.
func TestPlanCostsWhatItsObjectsCost(t *testing.T) {
	d := open(t, config(t, store.SQLite))
	many := func(n int) manifest.Set {
		var b strings.Builder
		for i := range n {
			b.WriteString(object("Class", fmt.Sprintf("c-%d", i), fmt.Sprintf("{model: m-%d, grant: {acts: [post.create, vote.cast], budget: {acts: %d}}}", i, i)))
		}
		return set(b.String())
	}
	d.apply(many(500))
	cost := func(n int) float64 {
		in := many(n)
		return testing.AllocsPerRun(3, func() { d.plan(in) })
	}
	few, most := cost(50), cost(500)
	if most > 11*few {
		t.Errorf("500 objects cost %.0f allocations, 50 cost %.0f", most, few)
	}
}
