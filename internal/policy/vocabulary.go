package policy

import (
	"github.com/cedar-policy/cedar-go/types"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
)

// The vocabulary: every attribute that a policy may look at. The schema, the checks, the
// cache key, the entities that the evaluator sees and docs/policy.md all come from this
// one table.
//
// Every attribute is always there, so that reading one cannot fail: an agent without an
// owner has Owner::"none", one without a class the class "". What only a name tells apart
// (a class, an owner) is compared with names that are written out, and with nothing else:
// what no policy names is one to all of them, which keeps decisions few.

// attribute is one row of the vocabulary.
type attribute struct {
	of    types.String     // the variable that has it: principal, resource or context
	who   types.EntityType // of a principal's: the one sort of principal that has it
	name  types.String
	typ   string // as the schema has it
	words []types.Value
	fold  folding
	write bool   // it is about one thing or one pair, so reads cannot use it
	doc   string // for docs/policy.md
	value func(q *request) types.Value
}

// folding says what an attribute may be compared with.
type folding uint8

const (
	freely  folding = iota // anything of its type
	byName                 // words or entities that are written out
	byClass                // the same, or a pattern, and then every class is told from every other
)

// looks is a set of attributes, by their place in the table.
type looks uint64

// Names of attributes that the checks and the index know by name.
const (
	attrOwner         types.String = "owner"
	attrClass         types.String = "class"
	attrTeam          types.String = "team"
	attrSite          types.String = "site"
	attrMandate       types.String = "mandate"
	attrFresh         types.String = "fresh"
	attrPasskey       types.String = "passkey"
	attrCommunity     types.String = "community"
	attrAuthorOwner   types.String = "author_owner"
	attrAuthorClass   types.String = "author_class"
	attrAuthorTeam    types.String = "author_team"
	attrAuthorSite    types.String = "author_site"
	attrAuthorMandate types.String = "author_mandate"

	attrAnonymousAPI   types.String = "anonymous_api"
	attrObserverPages  types.String = "observer_pages"
	attrOwnKeyApproval types.String = "own_key_approval"
	attrChallenge      types.String = "challenge"
	attrTwoPersons     types.String = "two_persons"
	attrLabels         types.String = "labels"
)

const (
	varPrincipal types.String = "principal"
	varResource  types.String = "resource"
	varContext   types.String = "context"
)

func word[T ~uint8](words []types.Value, of func(*request) T) func(*request) types.Value {
	return func(q *request) types.Value { return words[of(q)] }
}

func flagged(bit uint16) func(*request) types.Value {
	return func(q *request) types.Value { return types.Boolean(q.key.flags&bit != 0) }
}

// named gives a word of the snapshot back.
func named(of func(*key) int64) func(*request) types.Value {
	return func(q *request) types.Value { return types.String(q.of.names.word(of(&q.key))) }
}

func entity(t types.EntityType, of func(*key) act.ID) func(*request) types.Value {
	return func(q *request) types.Value { return q.of.uid(t, of(&q.key)) }
}

// vocabulary is the table. New rows go to the end of their variable's.
var vocabulary = []attribute{
	{of: varPrincipal, who: typeAgent, name: "standing", typ: "String", words: standingWords, doc: "where it is in its life", value: word(standingWords, func(q *request) act.Standing { return q.key.standing })},
	{of: varPrincipal, who: typeAgent, name: "claimed", typ: "Bool", doc: "a human answers for it", value: flagged(flagClaimed)},
	{of: varPrincipal, who: typeAgent, name: attrOwner, typ: "Owner", fold: byName, doc: "who answers for it", value: func(q *request) types.Value { return q.owner }},
	{of: varPrincipal, who: typeAgent, name: attrClass, typ: "String", fold: byClass, doc: "the name of its class", value: func(q *request) types.Value { return types.String(q.key.text) }},
	{of: varPrincipal, who: typeAgent, name: attrTeam, typ: "String", fold: byName, doc: "the team that its owner works in", value: named(func(k *key) int64 { return k.team })},
	{of: varPrincipal, who: typeAgent, name: attrMandate, typ: "Mandate", fold: byName, doc: "the mandate that it works under", value: entity(typeMandate, func(k *key) act.ID { return k.mandate })},
	{of: varPrincipal, who: typeAgent, name: attrSite, typ: "String", fold: byName, doc: "the site that it runs at; \"\" in the network itself", value: named(func(k *key) int64 { return k.site })},
	{of: varPrincipal, who: typeAgent, name: "depth", typ: "Long", doc: "how many generations it is away from an agent that nobody spawned; 15 stands for 15 and more", value: func(q *request) types.Value { return types.Long(q.key.depth) }},
	{of: varPrincipal, who: typeAgent, name: "age", typ: "String", words: ageWords, doc: "how long ago it was registered: new under a day, young under a week, grown under 30 days, old from then on", value: word(ageWords, func(q *request) age { return q.key.age })},
	{of: varPrincipal, who: typeAgent, name: "trust", typ: "String", words: trustWords, doc: "how far it is trusted, by what it has earned or an operator says", value: word(trustWords, func(q *request) trust.Level { return q.key.trust })},
	{of: varPrincipal, who: typeAgent, name: "clearance", typ: "String", words: classifiedWords, doc: "the most confidential that it may see", value: word(classifiedWords, func(q *request) gate.Classification { return q.key.clearance })},
	{of: varPrincipal, who: typeOperator, name: attrFresh, typ: "Bool", doc: "they have proved who they are a short time ago", value: flagged(flagFresh)},
	{of: varPrincipal, who: typeOperator, name: attrPasskey, typ: "Bool", doc: "they have done so by a passkey", value: flagged(flagPasskey)},

	{of: varResource, name: attrCommunity, typ: "Community", fold: byName, doc: "the community that it is in", value: func(q *request) types.Value { return q.community }},
	{of: varResource, name: "author_standing", typ: "String", words: standingWords, doc: "where its author is in their life", value: word(standingWords, func(q *request) act.Standing { return q.key.author })},
	{of: varResource, name: "origin", typ: "String", words: originWords, doc: "who truly made it", value: word(originWords, func(q *request) act.Origin { return q.key.origin })},
	{of: varResource, name: "visibility", typ: "String", words: visibleWords, doc: "who it is meant for", value: word(visibleWords, func(q *request) gate.Visibility { return q.key.visible })},
	{of: varResource, name: "classification", typ: "String", words: classifiedWords, doc: "how confidential it is", value: word(classifiedWords, func(q *request) gate.Classification { return q.key.secrecy })},
	{of: varResource, name: "integrity", typ: "String", words: integrityWords, doc: "how far it is to be relied on, by who made it and by what they had been shown", value: word(integrityWords, func(q *request) gate.Integrity { return q.key.integrity })},
	{of: varResource, name: "own", typ: "Bool", write: true, doc: "the principal made it, is a party to it, or is it", value: flagged(flagOwn)},
	{of: varResource, name: "role", typ: "String", words: roleWords, write: true, doc: "what the principal is in its community", value: word(roleWords, func(q *request) gate.Role { return q.key.role })},
	{of: varResource, name: "locked", typ: "Bool", doc: "nothing new is written there", value: flagged(flagLocked)},
	{of: varResource, name: "answered", typ: "Bool", doc: "the operator answers for the agent that it is, or is about", value: flagged(flagAnswered)},
	{of: varResource, name: "risk", typ: "String", words: riskWords, write: true, doc: "of a held act that is decided about: what the policy says of it", value: word(riskWords, func(q *request) gate.Risk { return riskOf(q.key.flags) })},
	{of: varResource, name: attrAuthorClass, typ: "String", fold: byName, doc: "the class of the agent that made it, or that it is", value: named(func(k *key) int64 { return k.authorClass })},
	{of: varResource, name: attrAuthorOwner, typ: "Owner", fold: byName, doc: "who answers for that agent", value: entity(typeOwner, func(k *key) act.ID { return k.authorOwner })},
	{of: varResource, name: attrAuthorTeam, typ: "String", fold: byName, doc: "that agent's team", value: named(func(k *key) int64 { return k.authorTeam })},
	{of: varResource, name: attrAuthorMandate, typ: "Mandate", fold: byName, doc: "that agent's mandate", value: entity(typeMandate, func(k *key) act.ID { return k.authorMandate })},
	{of: varResource, name: attrAuthorSite, typ: "String", fold: byName, doc: "that agent's site", value: named(func(k *key) int64 { return k.authorSite })},
	{of: varResource, name: "author_trust", typ: "String", words: trustWords, doc: "how far that agent is trusted", value: word(trustWords, func(q *request) trust.Level { return q.key.authorTrust })},
	{of: varResource, name: "author_age", typ: "String", words: ageWords, doc: "how long ago that agent was registered", value: word(ageWords, func(q *request) age { return q.key.authorAge })},
	{of: varResource, name: "same_owner", typ: "Bool", doc: "one human answers for that agent and for the principal", value: flagged(flagSameOwner)},
	{of: varResource, name: "same_team", typ: "Bool", doc: "that agent and the principal are in one team", value: flagged(flagSameTeam)},
	{of: varResource, name: "same_mandate", typ: "Bool", doc: "that agent and the principal work under one mandate", value: flagged(flagSameMandate)},
	{of: varResource, name: "lineage", typ: "String", words: lineageWords, doc: "what that agent is to the principal: itself, its parent, its child, of one family, or none of these", value: word(lineageWords, func(q *request) lineage { return q.key.lineage })},

	{of: varContext, name: attrAnonymousAPI, typ: "Bool", doc: "the network lets strangers read"},
	{of: varContext, name: attrObserverPages, typ: "Bool", doc: "everybody may read the pages"},
	{of: varContext, name: attrOwnKeyApproval, typ: "Bool", doc: "an agent's own key approves conversations"},
	{of: varContext, name: attrChallenge, typ: "Bool", doc: "new content is challenged"},
	{of: varContext, name: attrTwoPersons, typ: "Bool", doc: "what changes policies, or stops many, wants two persons"},
	{of: varContext, name: attrLabels, typ: "Set<String>", words: labelWords, doc: "what the agent has been shown at the worst: organisation, public and flagged for how little it can be relied on, internal and confidential for how confidential it is; each with those before it"},
}

// lookedAt returns the set that holds one attribute.
func lookedAt(of, name types.String) (set looks) {
	for i := range vocabulary {
		if a := &vocabulary[i]; a.of == of && a.name == name {
			set |= 1 << i
		}
	}
	return set
}

// Sets that the key is made by.
var (
	looksTeam        = lookedAt(varPrincipal, attrTeam)
	looksMandate     = lookedAt(varPrincipal, attrMandate)
	looksSite        = lookedAt(varPrincipal, attrSite)
	looksDepth       = lookedAt(varPrincipal, "depth")
	looksAge         = lookedAt(varPrincipal, "age")
	looksTrust       = lookedAt(varPrincipal, "trust")
	looksClearance   = lookedAt(varPrincipal, "clearance")
	looksLabels      = lookedAt(varContext, attrLabels)
	looksIntegrity   = lookedAt(varResource, "integrity")
	looksAuthorClass = lookedAt(varResource, attrAuthorClass)
	looksAuthorOwner = lookedAt(varResource, attrAuthorOwner)
	looksAuthorTeam  = lookedAt(varResource, attrAuthorTeam)
	looksAuthorSite  = lookedAt(varResource, attrAuthorSite)
	looksAuthorWork  = lookedAt(varResource, attrAuthorMandate)
	looksAuthorTrust = lookedAt(varResource, "author_trust")
	looksAuthorAge   = lookedAt(varResource, "author_age")
	looksSameOwner   = lookedAt(varResource, "same_owner")
	looksSameTeam    = lookedAt(varResource, "same_team")
	looksSameMandate = lookedAt(varResource, "same_mandate")
	looksLineage     = lookedAt(varResource, "lineage")

	looksAges = looksAge | looksAuthorAge

	// looksRoot is no attribute: a policy asks whether the principal is in a Lineage.
	looksRoot looks = 1 << 63

	looksAuthor = looksAuthorClass | looksAuthorOwner | looksAuthorTeam | looksAuthorSite | looksAuthorWork |
		looksAuthorTrust | looksAuthorAge | looksSameOwner | looksSameTeam | looksSameMandate | looksLineage
)

// attributeOf returns the row of an attribute, nil when there is none. An attribute that
// two sorts of principals have is the first of its rows.
func attributeOf(of, name types.String) *attribute {
	for i := range vocabulary {
		if a := &vocabulary[i]; a.of == of && a.name == name {
			return a
		}
	}
	return nil
}

// attributes lists what each variable has, in the order of the vocabulary.
func attributes(variable types.String) (list []types.String) {
	for _, a := range vocabulary {
		if a.of == variable {
			list = append(list, a.name)
		}
	}
	return list
}
