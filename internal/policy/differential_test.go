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

var worldClasses = []string{"", "alpha", "alpha-2", "beta", "gamma"}

func pick[T any](t *rapid.T, label string, from ...T) T {
	return rapid.SampledFrom(from).Draw(t, label)
}

// literal draws an entity for a policy.
func (w *world) literal(t *rapid.T, typ string, kind act.Kind) string {
	id := w.codec.String(testID(kind, rapid.IntRange(1, worldNamed).Draw(t, "named")))
	if (typ == "Owner" || typ == "Community") && rapid.IntRange(0, 5).Draw(t, "none") == 0 {
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
	switch pick(t, "who", "all", "agent", "agent", "agent", "one", "operator", "operators", "role", "role of operators", "owner", "class", "system", "observer", "pages", "isin") {
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
	if o := pick(t, "obligation", "", "", "", "@hold(\"a\") ", "@notify(\"b\") @hold(\"a\") "); o != "" {
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
	forms := []string{"community", "in community", "is post", "locked", "answered", "origin", "anonymous", "action", "who", "words", "fails"}
	if agent {
		forms = append(forms, "owner", "owner", "class", "class", "like", "claimed", "standing", "in owner", "in class", "not owner")
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
	switch pick(t, "form", forms...) {
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

// reference decides without index, cache, stand-ins or any of their code: every
// policy, with the ids as they are.
func (w *world) reference(t *rapid.T, p act.Principal, f PrincipalFacts, name string, r gate.Facts) gate.Decision {
	set, err := cedar.NewPolicySetFromBytes("test.cedar", []byte(w.text))
	if err != nil {
		t.Fatal(err)
	}
	entity := func(typ string, id act.ID) types.EntityUID {
		text := "none"
		if id != 0 {
			text = w.codec.String(id)
		}
		return types.NewEntityUID(types.EntityType(typ), types.String(text))
	}
	subject := types.Entity{}
	switch p.Kind {
	case act.Agent:
		subject.UID = entity("Agent", p.ID)
		class := types.NewEntityUID("Class", types.String(f.Class))
		subject.Parents = types.NewEntityUIDSet(entity("Owner", f.Owner), class)
		subject.Attributes = types.NewRecord(types.RecordMap{
			"standing": types.String(f.Standing.String()), "claimed": types.Boolean(f.Claimed),
			"owner": entity("Owner", f.Owner), "class": types.String(f.Class),
		})
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
	thing := types.Entity{
		UID:     types.NewEntityUID(types.EntityType(strings.ToUpper(kind[:1])+kind[1:]), "this very thing"),
		Parents: types.NewEntityUIDSet(entity("Community", r.Community)),
		Attributes: types.NewRecord(types.RecordMap{
			"community": entity("Community", r.Community), "author_standing": types.String(r.AuthorStanding.String()),
			"origin": types.String(r.Origin.String()), "own": types.Boolean(r.Own), "answered": types.Boolean(r.Answered && p.Kind == act.Operator), "locked": types.Boolean(r.Locked), "role": types.String(r.Role.String()), "risk": types.String(r.Risk.String()),
			"visibility": types.String([]string{"public", "restricted"}[r.Visibility]), "classification": types.String("unclassified"),
		}),
	}
	_, diag := cedar.Authorize(set, types.EntityMap{subject.UID: subject, thing.UID: thing}, cedar.Request{
		Principal: subject.UID, Action: types.NewEntityUID("Action", types.String(name)), Resource: thing.UID,
		Context: types.NewRecord(types.RecordMap{"anonymous_api": types.True, "observer_pages": types.False}),
	})
	at := func(id cedar.PolicyID) (n int) { // "policy7" is the 7th policy, with @id("p7")
		if _, err := fmt.Sscanf(string(id), "policy%d", &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	var hit, failed []int
	forbids := false
	for _, reason := range diag.Reasons {
		hit = append(hit, at(reason.PolicyID))
		forbids = set.Get(reason.PolicyID).Effect() == cedar.Forbid
	}
	for _, e := range diag.Errors {
		if set.Get(e.PolicyID).Effect() == cedar.Forbid {
			failed = append(failed, at(e.PolicyID))
		}
	}
	slices.Sort(hit)
	d := gate.Decision{Policy: DefaultDeny}
	from := hit
	switch {
	case len(hit) > 0 && (forbids || len(failed) == 0):
		d.Allow, d.Policy = !forbids, fmt.Sprintf("p%d", hit[0])
	case len(failed) > 0:
		d.Policy, from = fmt.Sprintf("p%d", slices.Min(failed)), []int{slices.Min(failed)}
	}
	for _, n := range from {
		for _, a := range set.Get(cedar.PolicyID(fmt.Sprintf("policy%d", n))).AST().Annotations {
			o := gate.Obligation{Name: string(a.Key), Arg: string(a.Value)}
			if a.Key != "id" && !slices.Contains(d.Obligations, o) {
				d.Obligations = append(d.Obligations, o)
			}
		}
	}
	return d
}

// The decision by index, cache and stand-ins is the decision by all policies.
func TestDifferential(t *testing.T) {
	codec := testCodec(t)
	key := testKey(1)
	rapid.Check(t, func(t *rapid.T) {
		w := &world{codec: codec, acts: worldActs}
		for n := range rapid.IntRange(1, 30).Draw(t, "policies") {
			w.text += w.policy(t, n)
		}
		b := &Bundle{Version: 1, Schema: Schema, CreatedAt: created, Files: []File{{"test.cedar", w.text}}}
		if _, err := Sign(b, key); err != nil {
			t.Fatal(err)
		}
		d := &people{by: map[act.ID]PrincipalFacts{}}
		e := New(Config{Key: testPub(1), Codec: codec, Directory: d, Acts: worldRegistry(), AnonymousAPI: true})
		if err := e.Activate(b); err != nil {
			t.Fatalf("%s\n%v", w.text, err)
		}
		id := func(kind act.Kind) act.ID {
			n := rapid.IntRange(0, worldIDs).Draw(t, kind.String())
			if n == 0 {
				return 0
			}
			return testID(kind, n)
		}
		for range 40 {
			p := act.Principal{Kind: pick(t, "kind", act.Agent, act.Agent, act.Agent, act.Operator, act.System, act.Observer)}
			var f PrincipalFacts
			switch p.Kind {
			case act.Agent:
				p.ID = testID(act.KindAgent, rapid.IntRange(1, worldIDs).Draw(t, "agent"))
				f = PrincipalFacts{
					Standing: pick(t, "standing", act.Requested, act.Active), Claimed: rapid.Bool().Draw(t, "claimed"),
					Owner: id(act.KindOwner), Class: pick(t, "class", worldClasses...),
				}
				d.set(p.ID, f)
			case act.Operator:
				p.ID = testID(act.KindOperator, rapid.IntRange(1, worldIDs).Draw(t, "operator"))
				p.Roles = uint8(rapid.IntRange(0, 31).Draw(t, "roles"))
				p.Binding = pick(t, "binding", act.BindingOperator, act.BindingSession)
				p.PasskeyAt = pick(t, "passkey", 0, act.Micros(time.Now()))
			case act.System:
				p.Name = pick(t, "name", "import", "timer")
			case act.Observer:
				p.Name = pick(t, "reader", "", act.PageReader)
			}
			r := gate.Facts{
				Kind: pick(t, "thing", act.KindPost, act.KindPost, act.KindAgent, act.KindNetwork), Community: id(act.KindCommunity),
				Origin: pick(t, "origin", act.OriginAgent, act.OriginImported), Visibility: pick(t, "visibility", gate.Public, gate.Restricted),
				Own: rapid.Bool().Draw(t, "own"), Role: pick(t, "role", gate.RoleNone, gate.RoleModerator), Locked: rapid.Bool().Draw(t, "locked"), Answered: rapid.Bool().Draw(t, "answered"),
				Risk: pick(t, "risk", gate.RiskNormal, gate.RiskHigh),
			}
			name := pick(t, "act", worldActs...)
			want := w.reference(t, p, f, name, r)
			for range 2 {
				got := e.Decide(p, gate.Question{Act: name, Resource: r})
				if got.Allow != want.Allow || got.Policy != want.Policy || !slices.Equal(got.Obligations, want.Obligations) {
					t.Fatalf("%s by %+v with %+v on %+v:\n got %+v\nwant %+v\n%s", name, p, f, r, got, want, w.text)
				}
			}
		}
	})
}
