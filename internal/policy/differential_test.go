package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
)

// world is a random bundle with everything a reference needs to decide by it.
type world struct {
	codec *act.Codec
	text  string
	acts  []string
	human bool // the policy being drawn can be about operators
}

var worldActs = []string{"post.create", "post.delete", "vote.cast", "post.read", "agent.show"}

func worldRegistry() []ActInfo {
	var list []ActInfo
	for _, name := range worldActs {
		list = append(list, ActInfo{Name: name, Read: name == "post.read" || name == "agent.show"})
	}
	return list
}

// Ids that requests use; policies name only the first two of each kind, so that
// there are always some that no policy names.
const (
	worldIDs   = 4
	worldNamed = 2
)

var (
	worldClasses = []string{"", "alpha", "alpha-2", "beta", "gamma"}
	worldTeams   = []string{"", "alpha", "blue", "red"} // policies name the first three
)

func pick[T any](t *rapid.T, label string, from ...T) T {
	return rapid.SampledFrom(from).Draw(t, label)
}

// literal draws an entity for a policy.
func (w *world) literal(t *rapid.T, typ string, kind act.Kind) string {
	n := rapid.IntRange(1, worldNamed).Draw(t, "named")
	id := w.codec.String(testID(kind, n))
	if kind == act.KindAgent {
		id = w.codec.String(worldAgent(n))
	}
	if (typ == "Owner" || typ == "Community" || typ == "Mandate") && rapid.IntRange(0, 5).Draw(t, "none") == 0 {
		id = "none"
	}
	return fmt.Sprintf("%s::%q", typ, id)
}

// policy draws one policy. The mix is made so that many apply to a request,
// some fail, and constraints stand before and behind what can fail.
func (w *world) policy(t *rapid.T, n int) string {
	effect := pick(t, "effect", "permit", "permit", "permit", "forbid")
	agent := true
	who := ""
	w.human = false
	switch pick(t, "who", "all", "agent", "agent", "agent", "one", "operator", "operators", "role", "role of operators", "owner", "class", "team", "mandate", "lineage", "system", "observer", "pages", "isin") {
	case "all":
		who, agent, w.human = "principal", false, true
	case "agent":
		who = "principal is Agent"
	case "one":
		who = "principal == " + w.literal(t, "Agent", act.KindAgent)
	case "operator":
		who, agent, w.human = "principal == "+w.literal(t, "Operator", act.KindOperator), false, true
	case "operators":
		who, agent, w.human = "principal is Operator", false, true
	case "role":
		who, agent = "principal in "+role(t), false
	case "role of operators":
		who, agent, w.human = "principal is Operator in "+role(t), false, true
	case "owner":
		who = "principal in " + w.literal(t, "Owner", act.KindOwner)
	case "class":
		who = fmt.Sprintf("principal in Class::%q", pick(t, "class", worldClasses...))
	case "team":
		who = fmt.Sprintf("principal in Team::%q", pick(t, "team", worldTeams[:3]...))
	case "mandate":
		who = "principal is Agent in " + w.literal(t, "Mandate", act.KindMandate)
	case "lineage":
		who = "principal in " + w.literal(t, "Lineage", act.KindAgent)
	case "system":
		who, agent = `principal == System::"import"`, false
	case "observer":
		who, agent = `principal == Observer::"anonymous"`, false
	case "pages":
		who, agent = `principal == Observer::"pages"`, false
	case "isin":
		who = "principal is Agent in " + w.literal(t, "Owner", act.KindOwner)
	}
	what, own := "action", false
	switch pick(t, "what", "all", "one", "two", "write") {
	case "one":
		what = fmt.Sprintf("action == Action::%q", pick(t, "act", w.acts...))
	case "two":
		what = fmt.Sprintf("action in [Action::%q, Action::%q]", pick(t, "act", w.acts...), pick(t, "act", w.acts...))
	case "write":
		what, own = `action in [Action::"post.create", Action::"post.delete"]`, true
	}
	on := pick(t, "on", "resource", "resource", "resource is Post", "resource is Agent", "community")
	if on == "community" {
		on = "resource in " + w.literal(t, "Community", act.KindCommunity)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "@id(\"p%d\") ", n)
	if o := pick(t, "obligation", "", "", "", "@hold(\"owner\") ", "@notify(\"operators\") @hold(\"operator\") "); own && effect == "permit" {
		b.WriteString(o)
	}
	fmt.Fprintf(&b, "%s (%s, %s, %s)", effect, who, what, on)
	for range rapid.IntRange(0, 3).Draw(t, "conditions") {
		var parts []string
		if !agent && who == "principal" && rapid.Bool().Draw(t, "is agent") {
			parts = append(parts, "principal is Agent")
		}
		for range rapid.IntRange(1, 3).Draw(t, "conjuncts") {
			parts = append(parts, w.expression(t, agent || len(parts) > 0 && parts[0] == "principal is Agent", own, 2))
		}
		fmt.Fprintf(&b, "\n%s { %s }", pick(t, "clause", "when", "when", "when", "unless"), strings.Join(parts, " && "))
	}
	return b.String() + ";\n"
}

// expression draws a truth value. agent says that the principal is known to be
// one, own that only writes are concerned.
func (w *world) expression(t *rapid.T, agent, own bool, depth int) string {
	forms := []string{
		"author_class", "author_class", "author_owner", "author_team", "author_site", "author_mandate", "author_trust", "author_age",
		"same_owner", "same_team", "same_mandate", "lineage", "classification", "community", "in community", "is post", "locked", "answered", "origin", "anonymous", "action", "who", "words", "fails",
	}
	if agent {
		forms = append(forms, "owner", "owner", "class", "class", "like", "claimed", "standing", "in owner", "in class", "not owner",
			"team", "site", "mandate", "in team", "in lineage", "depth", "age", "trust", "clearance")
	}
	if own {
		forms = append(forms, "own", "risk")
	}
	if w.human && !agent {
		forms = append(forms, "in role", "in roles", "passkey")
	}
	if depth > 0 {
		forms = append(forms, "or", "not", "if")
	}
	switch form := pick(t, "form", forms...); form {
	case "author_class":
		return fmt.Sprintf("resource.author_class == %q", pick(t, "class", worldClasses[:3]...))
	case "author_owner":
		return w.literal(t, "Owner", act.KindOwner) + " != resource.author_owner"
	case "author_team", "author_site":
		return fmt.Sprintf("[%q].contains(resource.%s)", pick(t, "team", worldTeams[:3]...), form)
	case "author_mandate":
		return "resource.author_mandate == " + w.literal(t, "Mandate", act.KindMandate)
	case "author_trust":
		return fmt.Sprintf("resource.author_trust == %q", pick(t, "trust", "unknown", "low", "high"))
	case "author_age":
		return fmt.Sprintf("resource.author_age != %q", pick(t, "age", "new", "young", "old"))
	case "same_owner", "same_team", "same_mandate":
		return "resource." + form
	case "lineage":
		return fmt.Sprintf("resource.lineage == %q", pick(t, "lineage", "none", "self", "parent", "child", "kin"))
	case "classification":
		return `resource.classification == "internal"`
	case "team", "site":
		return fmt.Sprintf("principal.%s == %q", form, pick(t, "team", worldTeams[:3]...))
	case "mandate":
		return w.literal(t, "Mandate", act.KindMandate) + " == principal.mandate"
	case "in team":
		return fmt.Sprintf("principal in [Team::%q, Team::%q]", pick(t, "team", worldTeams[:3]...), pick(t, "team", worldTeams[:3]...))
	case "in lineage":
		return "principal in " + w.literal(t, "Lineage", act.KindAgent)
	case "depth":
		return fmt.Sprintf("principal.depth %s %d", pick(t, "than", "<", ">=", "=="), rapid.IntRange(0, 3).Draw(t, "depth"))
	case "age":
		return fmt.Sprintf("principal.age == %q", pick(t, "age", "new", "young", "old"))
	case "trust":
		return fmt.Sprintf("[%q, %q].contains(principal.trust)", pick(t, "trust", "unknown", "low", "high"), "normal")
	case "clearance":
		return fmt.Sprintf("principal.clearance != %q", pick(t, "clearance", "unclassified", "internal"))
	case "community":
		return "resource.community == " + w.literal(t, "Community", act.KindCommunity)
	case "in community":
		return "resource in " + w.literal(t, "Community", act.KindCommunity)
	case "is post":
		return "resource is Post"
	case "locked":
		return "resource.locked"
	case "answered":
		return "resource.answered"
	case "origin":
		return `resource.origin == "imported"`
	case "anonymous":
		return "context.anonymous_api"
	case "action":
		return fmt.Sprintf("action == Action::%q", pick(t, "act", w.acts...))
	case "who":
		return "principal != " + w.literal(t, "Agent", act.KindAgent)
	case "words":
		return `["public", "restricted"].contains(resource.visibility)`
	case "fails":
		return "9223372036854775807 + 1 == 0"
	case "owner":
		return w.literal(t, "Owner", act.KindOwner) + " == principal.owner"
	case "class":
		return fmt.Sprintf("principal.class == %q", pick(t, "class", worldClasses...))
	case "like":
		return `principal.class like "alpha*"`
	case "claimed":
		return "principal.claimed"
	case "standing":
		return `principal.standing == "active"`
	case "in owner":
		return fmt.Sprintf("principal in [%s, %s]", w.literal(t, "Owner", act.KindOwner), w.literal(t, "Owner", act.KindOwner))
	case "in class":
		return fmt.Sprintf("principal in Class::%q", pick(t, "class", worldClasses...))
	case "not owner":
		return "principal.owner != " + w.literal(t, "Owner", act.KindOwner)
	case "own":
		return "resource.own"
	case "risk":
		return `resource.risk == "high"`
	case "passkey":
		return "(principal is Operator && principal.passkey)"
	case "in role":
		return "principal in " + role(t)
	case "in roles":
		return fmt.Sprintf("principal in [%s, %s]", role(t), role(t))
	case "or":
		return "(" + w.expression(t, agent, own, depth-1) + " || " + w.expression(t, agent, own, depth-1) + ")"
	case "not":
		return "!(" + w.expression(t, agent, own, depth-1) + ")"
	case "if":
		return "(if " + w.expression(t, agent, own, depth-1) + " then " + w.expression(t, agent, own, depth-1) + " else " + w.expression(t, agent, own, depth-1) + ")"
	}
	panic("unreachable")
}

func role(t *rapid.T) string {
	return fmt.Sprintf("Role::%q", pick(t, "role", gate.OperatorRoleNames()...))
}

// question is one question with all that is behind it, as a test drew it.
type question struct {
	p         act.Principal
	f, author PrincipalFacts
	name      string
	r         gate.Facts
}

// entities are the entities of a question, made without any code of the engine.
func (w *world) entities(q *question) (subject, thing types.Entity) {
	entity := func(typ string, id act.ID) types.EntityUID {
		text := "none"
		if id != 0 {
			text = w.codec.String(id)
		}
		return types.NewEntityUID(types.EntityType(typ), types.String(text))
	}
	trusts := []types.String{"unknown", "low", "normal", "high"}
	secret := []types.String{"unclassified", "internal", "confidential"}
	old := func(agent act.ID) types.String {
		switch days := int(worldNow.Sub(agent.Time()).Hours() / 24); {
		case days < 1:
			return "new"
		case days < 7:
			return "young"
		case days < 30:
			return "grown"
		}
		return "old"
	}
	root := func(f PrincipalFacts, agent act.ID) act.ID {
		if f.Root != 0 {
			return f.Root
		}
		return agent
	}
	p, f, a, r := q.p, q.f, q.author, q.r
	relation, sameOwner, sameTeam, sameMandate := types.String("none"), false, false, false
	switch p.Kind {
	case act.Agent:
		subject.UID = entity("Agent", p.ID)
		class, team := types.NewEntityUID("Class", types.String(f.Class)), types.NewEntityUID("Team", types.String(f.Team))
		subject.Parents = types.NewEntityUIDSet(entity("Owner", f.Owner), class, team, entity("Mandate", f.Mandate), entity("Lineage", root(f, p.ID)))
		subject.Attributes = types.NewRecord(types.RecordMap{
			"standing": types.String(f.Standing.String()), "claimed": types.Boolean(f.Claimed),
			"owner": entity("Owner", f.Owner), "class": types.String(f.Class), "team": types.String(f.Team), "site": types.String(f.Site),
			"mandate": entity("Mandate", f.Mandate), "depth": types.Long(min(f.Depth, 15)), "age": old(p.ID), "trust": trusts[f.Trust], "clearance": secret[f.Clearance],
		})
		if r.Author == 0 {
			break
		}
		switch {
		case p.ID == r.Author:
			relation = "self"
		case f.Parent == r.Author:
			relation = "parent"
		case a.Parent == p.ID:
			relation = "child"
		case root(f, p.ID) == root(a, r.Author):
			relation = "kin"
		}
		sameOwner, sameTeam, sameMandate = f.Owner != 0 && f.Owner == a.Owner, f.Team != "" && f.Team == a.Team, f.Mandate != 0 && f.Mandate == a.Mandate
	case act.Operator:
		subject.UID = entity("Operator", p.ID)
		var roles []types.EntityUID
		for _, name := range gate.OperatorRoles(p.Roles).Names() {
			roles = append(roles, types.NewEntityUID("Role", types.String(name)))
		}
		subject.Parents = types.NewEntityUIDSet(roles...)
		subject.Attributes = types.NewRecord(types.RecordMap{
			"fresh": types.Boolean(p.Binding == act.BindingOperator), "passkey": types.Boolean(p.Binding == act.BindingOperator || p.PasskeyAt != 0),
		})
	case act.System:
		subject.UID = types.NewEntityUID("System", types.String(p.Name))
	case act.Observer:
		subject.UID = types.NewEntityUID("Observer", "anonymous")
		if p.Name != "" {
			subject.UID = types.NewEntityUID("Observer", types.String(p.Name))
		}
	}
	kind := r.Kind.String()
	authorAge := types.String("new")
	if r.Author != 0 {
		authorAge = old(r.Author)
	}
	thing = types.Entity{
		UID:     types.NewEntityUID(types.EntityType(strings.ToUpper(kind[:1])+kind[1:]), "this very thing"),
		Parents: types.NewEntityUIDSet(entity("Community", r.Community)),
		Attributes: types.NewRecord(types.RecordMap{
			"community": entity("Community", r.Community), "author_standing": types.String(r.AuthorStanding.String()),
			"origin": types.String(r.Origin.String()), "own": types.Boolean(r.Own), "answered": types.Boolean(r.Answered && p.Kind == act.Operator), "locked": types.Boolean(r.Locked), "role": types.String(r.Role.String()), "risk": types.String(r.Risk.String()),
			"visibility": types.String([]string{"public", "restricted"}[r.Visibility]), "classification": secret[r.Classification],
			"author_class": types.String(a.Class), "author_owner": entity("Owner", a.Owner), "author_team": types.String(a.Team), "author_site": types.String(a.Site),
			"author_mandate": entity("Mandate", a.Mandate), "author_trust": trusts[a.Trust], "author_age": authorAge,
			"same_owner": types.Boolean(sameOwner), "same_team": types.Boolean(sameTeam), "same_mandate": types.Boolean(sameMandate), "lineage": relation,
		}),
	}
	return subject, thing
}

// worldContext is what the network of the test is configured to be.
var worldContext = types.NewRecord(types.RecordMap{"anonymous_api": types.True, "observer_pages": types.False})

// verdict is what an evaluator says: whether it allows, and which policies have decided
// and which have failed, by their place in the bundle.
type verdict struct {
	allow       bool
	hit, failed []int
}

// placeOf reads the place of a policy out of its id: "policy7" is the 7th, with @id("p7").
func placeOf(t *rapid.T, id string) (n int) {
	if _, err := fmt.Sscanf(id, "policy%d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// reference asks cedar-go without index, cache, stand-ins or any of their code: every
// policy, with the ids as they are.
func (w *world) reference(t *rapid.T, set *cedar.PolicySet, q *question) (v verdict) {
	subject, thing := w.entities(q)
	answer, diag := cedar.Authorize(set, types.EntityMap{subject.UID: subject, thing.UID: thing}, cedar.Request{
		Principal: subject.UID, Action: types.NewEntityUID("Action", types.String(q.name)), Resource: thing.UID, Context: worldContext,
	})
	v.allow = bool(answer)
	for _, reason := range diag.Reasons {
		v.hit = append(v.hit, placeOf(t, string(reason.PolicyID)))
	}
	for _, e := range diag.Errors {
		v.failed = append(v.failed, placeOf(t, string(e.PolicyID)))
	}
	slices.Sort(v.hit)
	slices.Sort(v.failed)
	return v
}

// decision is what follows from a verdict in this house: a forbid that fails denies, the
// first policy is named, and all that decide add their obligations.
func decision(set *cedar.PolicySet, v verdict) gate.Decision {
	at := func(n int) *cedar.Policy { return set.Get(cedar.PolicyID(fmt.Sprintf("policy%d", n))) }
	forbids := len(v.hit) > 0 && at(v.hit[0]).Effect() == cedar.Forbid
	failed := slices.DeleteFunc(slices.Clone(v.failed), func(n int) bool { return at(n).Effect() != cedar.Forbid })
	d := gate.Decision{Policy: DefaultDeny}
	from := v.hit
	switch {
	case len(v.hit) > 0 && (forbids || len(failed) == 0):
		d.Allow, d.Policy = !forbids, fmt.Sprintf("p%d", v.hit[0])
	case len(failed) > 0:
		d.Policy, from = fmt.Sprintf("p%d", failed[0]), failed[:1]
	}
	for _, n := range from {
		for _, a := range at(n).AST().Annotations {
			o := gate.Obligation{Name: string(a.Key), Arg: string(a.Value)}
			if a.Key != "id" && !slices.Contains(d.Obligations, o) {
				d.Obligations = append(d.Obligations, o)
			}
		}
	}
	return d
}

// worldNow is when the questions are asked.
var worldNow = testID(act.KindAgent, 1).Time().Add(40 * 24 * time.Hour)

// draw makes a world, an engine that has its bundle in force, and the set of its policies.
func draw(t *rapid.T, codec *act.Codec, most int) (*world, *Engine, *people, *cedar.PolicySet) {
	w := &world{codec: codec, acts: worldActs}
	for n := range rapid.IntRange(1, most).Draw(t, "policies") {
		w.text += w.policy(t, n)
	}
	b := &Bundle{Version: 1, Schema: Schema, CreatedAt: created, Files: []File{{"test.cedar", w.text}}}
	if _, err := Sign(b, testKey(1)); err != nil {
		t.Fatal(err)
	}
	d := &people{by: map[act.ID]PrincipalFacts{}}
	e := New(Config{
		Key: testPub(1), Codec: codec, Directory: d, Acts: worldRegistry(), AnonymousAPI: true,
		Clock: func() time.Time { return worldNow },
	})
	if err := e.Activate(b); err != nil {
		t.Fatalf("%s\n%v", w.text, err)
	}
	set, err := cedar.NewPolicySetFromBytes("test.cedar", []byte(w.text))
	if err != nil {
		t.Fatal(err)
	}
	return w, e, d, set
}

// worldAgent is the id of an agent, each of another age.
func worldAgent(n int) act.ID {
	return testID(act.KindAgent, 1+int([...]time.Duration{0, 0, 20 * 24 * time.Hour, 36 * 24 * time.Hour, 40*24*time.Hour - time.Hour}[n].Milliseconds())+n)
}

// ask draws a question, and tells the directory what it must know.
func ask(t *rapid.T, d *people) *question {
	id := func(kind act.Kind) act.ID {
		n := rapid.IntRange(0, worldIDs).Draw(t, kind.String())
		if n == 0 {
			return 0
		}
		return testID(kind, n)
	}
	anAgent := func() act.ID {
		if n := rapid.IntRange(0, worldIDs).Draw(t, "an agent"); n > 0 {
			return worldAgent(n)
		}
		return 0
	}
	facts := func() PrincipalFacts {
		return PrincipalFacts{
			Standing: pick(t, "standing", act.Requested, act.Active), Claimed: rapid.Bool().Draw(t, "claimed"),
			Owner: id(act.KindOwner), Class: pick(t, "class", worldClasses...), Team: pick(t, "team", worldTeams...), Site: pick(t, "site", worldTeams...),
			Mandate: id(act.KindMandate), Parent: anAgent(), Root: anAgent(), Depth: uint8(rapid.IntRange(0, 17).Draw(t, "depth")),
			Trust: pick(t, "trust", trust.Unknown, trust.Low, trust.Normal, trust.High), Clearance: pick(t, "clearance", gate.Unclassified, gate.Internal, gate.Confidential),
		}
	}
	q := &question{p: act.Principal{Kind: pick(t, "kind", act.Agent, act.Agent, act.Agent, act.Operator, act.System, act.Observer)}}
	switch q.p.Kind {
	case act.Agent:
		q.p.ID = worldAgent(rapid.IntRange(1, worldIDs).Draw(t, "agent"))
		q.f = facts()
		d.set(q.p.ID, q.f)
	case act.Operator:
		q.p.ID = testID(act.KindOperator, rapid.IntRange(1, worldIDs).Draw(t, "operator"))
		q.p.Roles = uint8(rapid.IntRange(0, 31).Draw(t, "roles"))
		q.p.Binding = pick(t, "binding", act.BindingOperator, act.BindingSession)
		q.p.PasskeyAt = pick(t, "passkey", 0, act.Micros(worldNow))
	case act.System:
		q.p.Name = pick(t, "name", "import", "timer")
	case act.Observer:
		q.p.Name = pick(t, "reader", "", act.PageReader)
	}
	q.r = gate.Facts{
		Kind: pick(t, "thing", act.KindPost, act.KindPost, act.KindAgent, act.KindNetwork), Community: id(act.KindCommunity), Author: anAgent(),
		Origin: pick(t, "origin", act.OriginAgent, act.OriginImported), Visibility: pick(t, "visibility", gate.Public, gate.Restricted),
		Classification: pick(t, "classification", gate.Unclassified, gate.Internal),
		Own:            rapid.Bool().Draw(t, "own"), Role: pick(t, "role", gate.RoleNone, gate.RoleModerator), Locked: rapid.Bool().Draw(t, "locked"), Answered: rapid.Bool().Draw(t, "answered"),
		Risk: pick(t, "risk", gate.RiskNormal, gate.RiskHigh),
	}
	switch q.r.Author {
	case 0:
	case q.p.ID:
		q.author = q.f
	default:
		q.author = facts()
		d.set(q.r.Author, q.author)
	}
	q.name = pick(t, "act", worldActs...)
	return q
}

// agree fails when the engine, asked twice, decides otherwise than the verdict.
func (w *world) agree(t *rapid.T, e *Engine, q *question, set *cedar.PolicySet, v verdict) {
	want := decision(set, v)
	for range 2 { // the second answer is out of the cache
		got := e.Decide(q.p, gate.Question{Act: q.name, Resource: q.r})
		if got.Allow != want.Allow || got.Policy != want.Policy || !slices.Equal(got.Obligations, want.Obligations) {
			t.Fatalf("%+v:\n got %+v\nwant %+v\n%s", q, got, want, w.text)
		}
	}
}

// The decision by index, cache and stand-ins is the decision by all policies.
func TestDifferential(t *testing.T) {
	codec := testCodec(t)
	rapid.Check(t, func(t *rapid.T) {
		w, e, d, set := draw(t, codec, 30)
		for range 40 {
			q := ask(t, d)
			w.agree(t, e, q, set, w.reference(t, set, q))
		}
	})
}
