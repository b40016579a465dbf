package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

func TestProblems(t *testing.T) {
	e := newEngine(t, &people{}, nil)
	codec := testCodec(t)
	agent := codec.String(testID(act.KindAgent, 5))
	when := func(cond string) string {
		return "\n@id(\"x\")\npermit (principal is Agent, action == Action::\"post.delete\", resource)\nwhen { " + cond + " };"
	}
	for _, c := range []struct{ text, place, want string }{
		{`permit (principal, action, resource);`, "test.cedar:1", "no @id"},
		{"@id(\"a\") permit (principal, action, resource);\n\n// more\n@id(\"a\") permit (principal, action, resource);", "test.cedar:4", "taken by the policy at test.cedar:1"},
		{`@id("default-deny") permit (principal, action, resource);`, "test.cedar:1", "cannot be used"},
		{`@id("Not So") permit (principal, action, resource);`, "test.cedar:1", "cannot be used"},
		{`@id("a") @hnt("x") permit (principal, action, resource);`, "test.cedar:1", "unknown annotation @hnt"},
		{`@id("a") @risk("high") permit (principal, action, resource);`, "test.cedar:1", "@risk is"},
		{`@id("a") @hold("owner") @risk("some") permit (principal, action, resource);`, "test.cedar:1", "@risk is"},
		{`@id("a") @hold("owner") @risk permit (principal, action, resource);`, "test.cedar:1", "@risk is"},
		{`@id("a") @hold("owner") @risk("high") forbid (principal, action, resource);`, "test.cedar:1", "@risk is"},
		{when(`resource.risk == "higher"`), "test.cedar:2", `never "higher"`},
		{when(`principal.passkey`), "test.cedar:2", ""},
		{`@id("a") permit (principal is Operator, action, resource) when { principal.passkey == "yes" };`, "test.cedar:1", ""},
		{`@id("a") permit (principal is Agent, action, resource) when { resource.risk == "high" };`, "test.cedar:1", "cannot be used for reads"},
		{`@id("a") @hint permit (principal, action, resource);`, "test.cedar:1", "@hint"},
		{"// one\n@id(\"a\")\npermit (principal, action == Action::\"post.creat\", resource);", "test.cedar:2", "unknown action"},
		{`@id("a") permit (principal, action in [Action::"post.create", Action::"post.x"], resource);`, "test.cedar:1", "unknown action"},
		{`@id("a") permit (principal is Robot, action, resource);`, "test.cedar:1", "unknown entity type Robot"},
		{`@id("a") permit (principal, action, resource is Tweet);`, "test.cedar:1", "unknown entity type Tweet"},
		{`@id("a") permit (principal in Community::"none", action, resource);`, "test.cedar:1", "nothing to do with"},
		{`@id("a") permit (principal, action, resource in Owner::"none");`, "test.cedar:1", "nothing to do with"},
		{`@id("a") permit (principal, action, resource == Post::"1");`, "test.cedar:1", "never a single thing"},
		{`@id("a") permit (principal == Agent::"somebody", action, resource);`, "test.cedar:1", "not the id of one of this network's agents"},
		{`@id("a") permit (principal == Agent::"` + strings.ToUpper(agent) + `", action, resource);`, "test.cedar:1", "as the network shows it"},
		{`@id("a") permit (principal in Owner::"` + agent + `", action, resource);`, "test.cedar:1", "this network's owners"},
		{`@id("a") permit (principal == System::"X Y", action, resource);`, "test.cedar:1", "names like import"},
		{`@id("a") permit (principal == Observer::"me", action, resource);`, "test.cedar:1", "observers are"},
		{`@id("a") permit (principal == Agent::"none", action, resource);`, "test.cedar:1", "not the id"},
		{`@id("a") permit (principal is Agent, action == Action::"post.create", resource is Comment);`, "test.cedar:1", "applicable action"},
		{when(`principal.colour == "red"`), "test.cedar:2", "unknown attribute principal.colour"},
		{when(`principal.own`), "test.cedar:2", "unknown attribute principal.own"},
		{when(`resource.standing == "active"`), "test.cedar:2", "unknown attribute resource.standing"},
		{when(`context.time == 3`), "test.cedar:2", "unknown attribute context.time"},
		{when(`resource.community.locked`), "test.cedar:2", "unknown attribute locked"},
		{when(`principal.standing == "actve"`), "test.cedar:2", `never "actve"`},
		{when(`["active", "actve"].contains(principal.standing)`), "test.cedar:2", `never "actve"`},
		{when(`principal.standing == 3`), "test.cedar:2", ""},
		{when(`principal.claimed == "yes"`), "test.cedar:2", ""},
		{when(`principal.standing`), "test.cedar:2", "Bool"},
		{when(`resource == resource`), "test.cedar:2", "cannot stand alone"},
		{when(`resource == Agent::"` + agent + `"`), "test.cedar:2", "cannot stand alone"},
		{when(`principal == resource`), "test.cedar:2", "cannot stand alone"},
		{when(`[principal].contains(principal)`), "test.cedar:2", "cannot stand alone"},
		{when(`{a: context}.a.anonymous_api`), "test.cedar:2", "unknown attribute"},
		{when(`(if true then principal else principal).claimed`), "test.cedar:2", "unknown attribute"},
		{when(`principal.owner in [principal.owner]`), "test.cedar:2", "asked what they are in"},
		{when(`principal in [principal.owner]`), "test.cedar:2", "written out"},
		{when(`ip("10.0.0.1").isLoopback()`), "test.cedar:2", "nothing to work on"},
		{when(`principal.hasTag("x")`), "test.cedar:2", ""},
		{when(`principal == Agent::"x"`), "test.cedar:2", "not the id"},
		{when(`principal.class == "a\u{1}"`), "test.cedar:2", "name of a class"},
		{when(`principal in Class::"a\0"`), "test.cedar:2", "name of a class"},
		{when(`action == Action::"post.x"`), "test.cedar:2", "unknown action"},
		{when(`principal is Robot`), "test.cedar:2", "unknown entity type Robot"},
		{when(strings.Repeat("(", maxNesting) + "true" + strings.Repeat(")", maxNesting)), "test.cedar:4", "nested deeper"},
		{when(strings.Repeat("(", 5000) + "true" + strings.Repeat(")", 5000)), "test.cedar:4", "nested deeper"},
		{when(strings.Repeat("!", maxDepth) + "true"), "test.cedar:2", "nested deeper"},
		{when("true" + strings.Repeat(" || true", maxPolicyText/8)), "test.cedar:1", "bytes"},
		{"@id(\"a\") permit (principal is Agent, action, resource)\nwhen { resource.own };", "test.cedar:1", "resource.own cannot be used for reads"},
		{`@id("a") permit (principal is Agent, action in [Action::"post.delete", Action::"post.read"], resource) when { resource.own };`, "test.cedar:1", "such as post.read"},
		{`@id("a") permit (principal, action, resource)`, "test.cedar:1", "semicolon"},
		{when(`principal.tean == "x"`), "test.cedar:2", "did you mean team?"},
		{when(`resource.autor_class == "x"`), "test.cedar:2", "did you mean author_class?"},
		{when(`principal.clearance == "confidental"`), "test.cedar:2", "did you mean confidential?"},
		{`@id("a") permit (principal, action == Action::"post.craete", resource);`, "test.cedar:1", "did you mean post.create?"},
		{`@id("a") permit (principal is Agnet, action, resource);`, "test.cedar:1", "did you mean Agent?"},
		{`@id("a") @nofity("operators") permit (principal, action, resource);`, "test.cedar:1", "did you mean notify?"},
		{when(`principal.owner == resource.author_owner`), "test.cedar:2", "use resource.same_owner"},
		{when(`principal.team == resource.author_team`), "test.cedar:2", "use resource.same_team"},
		{when(`principal.team like "a*"`), "test.cedar:2", "written out"},
		{when(`resource.author_class like "a*"`), "test.cedar:2", "written out"},
		{when(`principal.mandate == Mandate::"` + agent + `"`), "test.cedar:2", "this network's mandates"},
		{when(`principal in Lineage::"none"`), "test.cedar:2", "this network's agents"},
		{when(`principal.depth == "1"`), "test.cedar:2", ""},
		{when(`resource.lineage == "sibling"`), "test.cedar:2", `never "sibling"`},
		{`@id("a") @hold("owner") permit (principal is Agent, action, resource);`, "test.cedar:1", "reads cannot wait"},
		{`@id("a") @hold("owner") permit (principal is Agent, action in [Action::"post.create", Action::"post.read"], resource);`, "test.cedar:1", "by post.read: reads cannot wait"},
		{`@id("a") @challenge permit (principal is Agent, action == Action::"feed.read", resource);`, "test.cedar:1", "reads cannot wait"},
		{`@id("a") @redact("content") permit (principal is Agent, action == Action::"post.create", resource);`, "test.cedar:1", "cannot be honoured by post.create"},
		{`@id("a") @redact("title") permit (principal is Agent, action == Action::"post.read", resource);`, "test.cedar:1", `its argument is "content"`},
		{`@id("a") @attenuate("ttl=60s") permit (principal is Agent, action == Action::"post.create", resource);`, "test.cedar:1", "cannot be honoured by post.create"},
		{`@id("a") @attenuate("ttl=never") permit (principal is Agent, action == Action::"token.issue", resource);`, "test.cedar:1", "as in ttl=60s"},
		{`@id("a") @attenuate("60s") permit (principal is Agent, action == Action::"token.issue", resource);`, "test.cedar:1", "as in ttl=60s"},
		{`@id("a") @notify("operators") permit (principal is Agent, action == Action::"post.read", resource);`, "test.cedar:1", "no transaction"},
		{`@id("a") @notify("everybody") permit (principal is Agent, action == Action::"post.create", resource);`, "test.cedar:1", `its argument is "operators"`},
		{`@id("a") @notify("operators") forbid (principal is Agent, action == Action::"post.create", resource);`, "test.cedar:1", "stands on a forbid"},
		{`@id("a") permit (principal, action, resource);;`, "test.cedar:1", "does not parse"},
		{"@id(\"b\") permit (principal, action, resource);\n\n@id(\"a\")\n allow (principal, action, resource);", "test.cedar:4", "does not parse: "},
		{"@id(\"a\") permit (principal, action, resource) when { \"x };", "test.cedar:1", "no end"},
		{"@id(\"a\") permit (principal, action, resource);\n/* ", "test.cedar:2", "no end"},
		{"// nothing\n", "test.cedar", "no policies"},
		{"", "test.cedar", "no policies"},
	} {
		err := e.Activate(bundle(t, 1, c.text))
		if ruleOf(err) != "bundle.policy" || !strings.Contains(err.Error(), c.place+": ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.200s\n gives %v (%s)\n want %s: … %s", c.text, err, ruleOf(err), c.place, c.want)
		}
	}
	if e.Ready() == nil {
		t.Error("a bundle with problems is in force")
	}
}

func TestFine(t *testing.T) {
	codec := testCodec(t)
	agent, owner, community := codec.String(testID(act.KindAgent, 5)), codec.String(testID(act.KindOwner, 5)), codec.String(testID(act.KindCommunity, 5))
	version := int64(0)
	e := newEngine(t, &people{}, nil)
	for _, text := range []string{
		`@id("a") permit (principal, action, resource);`,
		`/* a; b */ @id("a") @notify("operators") // c;` + "\n" + `permit (principal, action == Action::"post.create", resource) when { principal is Agent && "a;b" != "" };`,
		`@id("a") @hint("say \"please\"; then wait") permit (principal, action, resource);`,
		`@id("a") permit (principal == Agent::"` + agent + `", action, resource);`,
		`@id("a") permit (principal is Agent in Owner::"` + owner + `", action, resource in Community::"` + community + `");`,
		`@id("a") permit (principal in Class::"researcher", action, resource is Post in Community::"` + community + `");`,
		`@id("a") permit (principal is Agent, action, resource) when { [Agent::"` + agent + `"].contains(principal) && principal.class like "research*" };`,
		`@id("a") permit (principal, action, resource) when { principal is Agent && principal is Agent in Class::"x" && principal.claimed };`,
		`@id("a") permit (principal is Agent, action, resource) when { ["a", "b"].contains(principal.class) || principal.owner == Owner::"none" };`,
		`@id("a") permit (principal, action, resource) unless { [Action::"post.create"].contains(action) || action in [Action::"post.delete"] };`,
		`@id("a") permit (principal, action, resource) unless { principal == Agent::"` + agent + `" || principal != System::"import" };`,
		`@id("a") permit (principal is Agent, action, resource) when { principal.owner != Owner::"` + owner + `" && principal has owner && resource has locked };`,
		`@id("a") @redact("content") permit (principal is Agent, action == Action::"post.read", resource) when { principal.trust == "low" };`,
		`@id("a") @attenuate("ttl=1m30s") permit (principal in Team::"night", action == Action::"token.issue", resource);`,
		`@id("a") permit (principal is Agent, action, resource) when { principal.depth < 3 && principal.age != "new" && resource.lineage == "child" };`,
		`@id("a") permit (principal in Lineage::"` + agent + `", action, resource) unless { resource.same_team || principal.mandate == Mandate::"none" };`,
		`@id("a") permit (principal, action, resource) when { if context.anonymous_api then resource.locked else resource is Post };`,
	} {
		version++
		if err := e.Activate(bundle(t, version, text)); err != nil {
			t.Errorf("%s\n gives %v", text, err)
		}
	}
}

// T60: policies that cannot be told apart by owner, class or community would
// all be evaluated for one decision; there is a bound.
func TestT60_WorkOfOneDecisionIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 6000 {
		fmt.Fprintf(&b, "@id(\"p%d\") permit (principal is Agent, action == Action::\"post.create\", resource) when { resource.locked || principal.claimed };\n", i)
	}
	e := newEngine(t, &people{}, nil)
	if err := e.Activate(bundle(t, 1, b.String())); ruleOf(err) != "bundle.policy" || !strings.Contains(err.Error(), "narrow them by owner") {
		t.Errorf("6,000 policies for one request are taken: %v", err)
	}
	b.Reset()
	for i := range MaxPolicies + 1 {
		fmt.Fprintf(&b, "@id(\"p%d\") permit (principal in Class::\"c%d\", action, resource);\n", i, i)
	}
	if err := e.Activate(bundle(t, 1, b.String())); ruleOf(err) != "bundle.policy" || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%d policies are taken: %v", MaxPolicies+1, err)
	}
}

// Whatever the text, compiling ends without a panic, and what compiles decides.
// (Fuzz it with -fuzzminimizetime=20x: the cache's own goroutines make coverage
// look new, and the fuzzer would spend its time on making such inputs smaller.)
func FuzzPolicyText(f *testing.F) {
	b, err := Default(created)
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range b.Files {
		f.Add(file.Text)
	}
	f.Add(`@id("a") permit (principal, action, resource) when { ((((((true)))))) };`)
	f.Add(`@id("a") permit (principal is Agent, action, resource) when { principal.owner == Owner::"none" && 1 + 1 == 2 } unless { [1, "a", {b: 2}].contains(principal.class) };`)
	f.Add(`/* ; */ // ;` + "\n" + `@id("\u{61};") permit (principal in Class::"x\"", action, resource);`)
	f.Fuzz(func(t *testing.T, text string) {
		in := &Bundle{Version: 1, Schema: Schema, CreatedAt: created, Files: []File{{"x.cedar", text}}}
		if _, err := Sign(in, testKey(1)); err != nil {
			return
		}
		e := newEngine(t, &people{}, func(c *Config) { c.CacheSize = 64 })
		if err := e.Activate(in); err != nil {
			if strings.Contains(err.Error(), "breaks the parser") {
				t.Error(err)
			}
			return
		}
		for _, i := range registry() {
			for kind := act.Observer; kind <= act.System; kind++ {
				if d := decide(e, act.Principal{Kind: kind, ID: 1}, i.Name); d.Policy == panicked {
					t.Errorf("%s by %v panicked", i.Name, kind)
				}
			}
		}
	})
}
