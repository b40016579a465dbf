package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// The vocabulary of schema 1: what a policy may speak of.
//
//	principal is Agent | Operator | Observer | System
//	principal.{standing, claimed, owner, class}         agents only
//	principal in Role::"admin", principal.{fresh, passkey}  operators only
//	principal in Owner::"…", principal in Class::"…"    agents only
//	resource is Post | Comment | Community | Agent | …  (the act's kinds)
//	resource.{community, author_standing, origin, visibility, classification, own, role, locked, answered, risk}
//	resource in Community::"…"
//	context.{anonymous_api, observer_pages, own_key_approval, challenge, two_persons}
//
// Every attribute is always there, so that reading one cannot fail: an agent
// without an owner has Owner::"none", a thing outside any community has
// Community::"none". Ids are written as they are shown outside.
const (
	typeAction    types.EntityType = "Action"
	typeAgent     types.EntityType = "Agent"
	typeOperator  types.EntityType = "Operator"
	typeObserver  types.EntityType = "Observer"
	typeSystem    types.EntityType = "System"
	typeOwner     types.EntityType = "Owner"
	typeClass     types.EntityType = "Class"
	typeCommunity types.EntityType = "Community"
	typeRole      types.EntityType = "Role"

	// noneID is the id of the owner or community that is not there.
	noneID types.String = "none"
	// otherID stands for every id that no policy of the bundle names.
	otherID types.String = "other"
	// thingID is the id of every resource: policies see kinds of things and
	// their attributes, never a single item.
	thingID types.String = "thing"
	// anonymousID is the id of observers who call an API, pagesID of those who read
	// the pages.
	anonymousID types.String = "anonymous"
	pagesID     types.String = act.PageReader
)

// Attribute names.
const (
	attrStanding       types.String = "standing"
	attrClaimed        types.String = "claimed"
	attrOwner          types.String = "owner"
	attrClass          types.String = "class"
	attrFresh          types.String = "fresh"
	attrPasskey        types.String = "passkey"
	attrCommunity      types.String = "community"
	attrAuthorStanding types.String = "author_standing"
	attrOrigin         types.String = "origin"
	attrVisibility     types.String = "visibility"
	attrClassification types.String = "classification"
	attrOwn            types.String = "own"
	attrLocked         types.String = "locked"
	attrAnswered       types.String = "answered"
	attrRole           types.String = "role"
	attrRisk           types.String = "risk"
	attrAnonymousAPI   types.String = "anonymous_api"
	attrObserverPages  types.String = "observer_pages"
	attrOwnKeyApproval types.String = "own_key_approval"
	attrChallenge      types.String = "challenge"
	attrTwoPersons     types.String = "two_persons"
)

const kindCount = int(act.KindCount)

// principalTypes are the entity types of principals, by act.PrincipalKind.
var principalTypes = [...]types.EntityType{
	act.Observer: typeObserver, act.Agent: typeAgent, act.Operator: typeOperator, act.System: typeSystem,
}

// kindTypes are the entity types of resources, by act.Kind: "Post" for post.
var kindTypes = func() (list [kindCount]types.EntityType) {
	for k := range list {
		name := act.Kind(k).String()
		list[k] = types.EntityType(strings.ToUpper(name[:1]) + name[1:])
	}
	return list
}()

// Values of the enumerated attributes, by their number. A number outside its
// table is answered with a denial before the evaluator is asked (key.go).
var (
	standingWords = words(act.Stale)
	originWords   = words(act.OriginSystem)
	visibleWords  = []types.Value{
		gate.Public: types.String("public"), gate.Restricted: types.String("restricted"),
	}
	classifiedWords = []types.Value{
		gate.Unclassified: types.String("unclassified"), gate.Internal: types.String("internal"),
		gate.Confidential: types.String("confidential"),
	}
)

// roleWords are the roles of a principal in a community.
var roleWords = words(gate.RoleOwner)

// riskWords are the risks of a held act.
var riskWords = words(gate.RiskHigh)

// words returns the names of the values 0..last.
func words[T interface {
	~uint8
	String() string
}](last T) []types.Value {
	out := make([]types.Value, 0, int(last)+1)
	for v := range last {
		out = append(out, types.String(v.String()))
	}
	return append(out, types.String(last.String()))
}

// enumerated returns the values that an attribute can have, nil when it is not
// one of a few words.
func enumerated(attr types.String) []types.Value {
	switch attr {
	case attrStanding, attrAuthorStanding:
		return standingWords
	case attrOrigin:
		return originWords
	case attrVisibility:
		return visibleWords
	case attrClassification:
		return classifiedWords
	case attrRole:
		return roleWords
	case attrRisk:
		return riskWords
	}
	return nil
}

// attributes lists what each variable has, in the order of the vocabulary.
func attributes(variable types.String) []types.String {
	switch variable {
	case "principal":
		return []types.String{attrStanding, attrClaimed, attrOwner, attrClass, attrFresh, attrPasskey}
	case "resource":
		return []types.String{attrCommunity, attrAuthorStanding, attrOrigin, attrVisibility, attrClassification, attrOwn, attrRole, attrLocked, attrAnswered, attrRisk}
	case "context":
		return []types.String{attrAnonymousAPI, attrObserverPages, attrOwnKeyApproval, attrChallenge, attrTwoPersons}
	}
	return nil
}

// boolean reports whether an attribute of the vocabulary is a truth value.
func boolean(attr types.String) bool {
	switch attr {
	case attrClaimed, attrFresh, attrPasskey, attrOwn, attrLocked, attrAnswered, attrAnonymousAPI, attrObserverPages, attrOwnKeyApproval, attrChallenge, attrTwoPersons:
		return true
	}
	return false
}

// schemaOf builds the Cedar schema that policies are type-checked against. An
// entity type that is both a principal and a resource has both sets of
// attributes there; check.go keeps them apart by variable.
func schemaOf(tables []*table) (*resolved.Schema, error) {
	const principal = "standing: String, claimed: Bool, owner: Owner, class: String"
	const resource = "community: Community, author_standing: String, origin: String, visibility: String, " +
		"classification: String, own: Bool, role: String, locked: Bool, answered: Bool, risk: String"
	kinds := make(map[types.EntityType]bool)
	for _, t := range tables {
		for _, k := range t.kindTypes() {
			kinds[k] = true
		}
	}
	all := []types.EntityType{typeOwner, typeClass, typeCommunity, typeRole}
	all = append(all, principalTypes[:]...)
	for k := range kinds {
		all = append(all, k)
	}
	slices.Sort(all)
	var text strings.Builder
	for _, t := range slices.Compact(all) {
		var parents, attrs []string
		if t == typeAgent {
			parents, attrs = append(parents, "Owner", "Class"), append(attrs, principal)
		}
		if t == typeOperator {
			parents, attrs = append(parents, string(typeRole)), append(attrs, "fresh: Bool, passkey: Bool")
		}
		if kinds[t] {
			parents, attrs = append(parents, "Community"), append(attrs, resource)
		}
		fmt.Fprintf(&text, "entity %s in [%s] { %s };\n", t, strings.Join(parents, ", "), strings.Join(attrs, ", "))
	}
	for _, t := range tables {
		var on []string
		for _, k := range t.kindTypes() {
			on = append(on, string(k))
		}
		fmt.Fprintf(&text, "action %q appliesTo { principal: [Agent, Operator, Observer, System], resource: [%s], context: { anonymous_api: Bool, observer_pages: Bool, own_key_approval: Bool, challenge: Bool, two_persons: Bool } };\n",
			t.name, strings.Join(on, ", "))
	}
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(text.String())); err != nil {
		return nil, fmt.Errorf("schema of the registered acts: %w", err)
	}
	out, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("schema of the registered acts: %w", err)
	}
	return out, nil
}
