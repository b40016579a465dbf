package policy

import (
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
)

// The types of schema 1:
//
//	principal is Agent | Operator | Observer | System
//	principal in Owner::"…", Class::"…", Team::"…", Mandate::"…", Lineage::"…"  agents only
//	principal in Role::"admin"                                                  operators only
//	resource is Post | Comment | Community | Agent | …  (the act's kinds)
//	resource in Community::"…"
//
// Ids are written as they are shown outside. The attributes are in vocabulary.go.
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
	typeTeam      types.EntityType = "Team"
	typeMandate   types.EntityType = "Mandate"
	typeLineage   types.EntityType = "Lineage" // an agent that nobody spawned, and all that come of it

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
	classifiedWords = words(gate.Confidential)
	integrityWords  = words(gate.Flagged)
	labelWords      = wordsOf(gate.Label{Integrity: gate.Flagged, Secrecy: gate.Confidential})
)

// roleWords are the roles of a principal in a community.
var roleWords = words(gate.RoleOwner)

// riskWords are the risks of a held act.
var riskWords = words(gate.RiskHigh)

// trustWords are the levels of trust.
var trustWords = words(trust.High)

// age is how long ago an agent was registered, in few steps: what is decided by it is
// decided anew when it has come to the next.
type age uint8

const day = 24 * time.Hour

// ageSteps are the lengths at which the steps end; the last has no end.
var (
	ageSteps = [...]time.Duration{day, 7 * day, 30 * day}
	ageWords = []types.Value{types.String("new"), types.String("young"), types.String("grown"), types.String("old")}
)

func ageOf(d time.Duration) (a age) {
	for _, step := range ageSteps {
		if d >= step {
			a++
		}
	}
	return a
}

// lineage is what another agent is to the principal.
type lineage uint8

const (
	lineageNone lineage = iota
	lineageSelf
	lineageParent
	lineageChild
	lineageKin // it comes of the same agent that nobody spawned
)

var lineageWords = []types.Value{
	types.String("none"), types.String("self"), types.String("parent"), types.String("child"), types.String("kin"),
}

// maxDepth keeps generations in four bits; spawn rights end far above it.
const deepest = 15

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
