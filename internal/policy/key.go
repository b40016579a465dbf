package policy

import (
	"github.com/cedar-policy/cedar-go/types"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// key is everything that a decision depends on. Decisions are cached by it, and
// the evaluator's request is made from it alone (see request), so a decision can
// depend on nothing that the key leaves out. The facts of the principal are in
// it as they are at the call; its epoch is not needed, because nothing that an
// epoch stands for is remembered.
//
// Ids and classes that no policy of the bundle names are replaced by one
// stand-in: policies can compare them only with names (check.go), so they
// cannot tell them apart. That keeps the keys of a million agents few.
type key struct {
	text      string // class of an agent, name of a part of the server or of an observer
	version   int64  // of the bundle
	who       act.ID
	owner     act.ID
	community act.ID
	act       uint16
	principal act.PrincipalKind
	standing  act.Standing
	kind      act.Kind
	author    act.Standing
	origin    act.Origin
	visible   gate.Visibility
	secrecy   gate.Classification
	role      gate.Role
	roles     gate.OperatorRoles
	flags     uint8
}

const (
	flagClaimed = 1 << iota
	flagOwn
	flagLocked
	flagFresh
	flagAnswered
	flagPasskey
	flagRisk
)

// unnamed stands for an id that no policy names.
const unnamed act.ID = -1

func (s *snapshot) name(id act.ID) act.ID {
	if id == 0 {
		return 0
	}
	if _, ok := s.names.ids[id]; ok {
		return id
	}
	return unnamed
}

// key makes the key of a question. ok is false when the question holds a value
// that the vocabulary has no word for.
func (s *snapshot) key(t *table, p act.Principal, f PrincipalFacts, r gate.Facts) (k key, ok bool) {
	k = key{
		version: s.version, act: t.index, principal: p.Kind, who: s.name(p.ID),
		community: s.name(r.Community), kind: r.Kind, author: r.AuthorStanding,
		origin: r.Origin, visible: r.Visibility, secrecy: r.Classification,
	}
	if k.kind == act.KindNone {
		k.kind = act.KindNetwork // the act has no narrower target
	}
	switch p.Kind {
	case act.Agent:
		k.standing, k.owner, k.text = f.Standing, s.name(f.Owner), f.Class
		if !s.names.anyClass && !s.names.classes[f.Class] {
			k.text = otherClass
		}
		if f.Claimed {
			k.flags |= flagClaimed
		}
	case act.System:
		k.who, k.text = 0, p.Name
	case act.Observer:
		if k.who = 0; p.Name == act.PageReader {
			k.text = p.Name
		}
	case act.Operator:
		k.roles = gate.OperatorRoles(p.Roles)
		if f.Fresh {
			k.flags |= flagFresh
		}
		if r.Answered {
			k.flags |= flagAnswered
		}
		if f.Passkey {
			k.flags |= flagPasskey
		}
	}
	if !t.read { // reads are decided by class attributes only
		k.role = r.Role
		if r.Own {
			k.flags |= flagOwn
		}
		if r.Risk == gate.RiskHigh {
			k.flags |= flagRisk
		}
	}
	if r.Locked {
		k.flags |= flagLocked
	}
	ok = int(k.principal) < len(principalTypes) && int(k.kind) < kindCount && t.kinds>>k.kind&1 == 1 &&
		int(k.standing) < len(standingWords) && int(k.author) < len(standingWords) &&
		int(k.origin) < len(originWords) && int(k.visible) < len(visibleWords) &&
		int(k.secrecy) < len(classifiedWords) && int(k.role) < len(roleWords) && int(r.Risk) < len(riskWords)
	return k, ok
}

// request is a key as Cedar sees it. It is also the evaluator's entity store,
// of two entities, each made when a policy first asks for it.
type request struct {
	key       key
	principal types.EntityUID
	resource  types.EntityUID
	owner     types.EntityUID
	class     types.EntityUID
	community types.EntityUID

	subject, thing         types.Entity // behind principal and resource
	subjectMade, thingMade bool
}

// uid returns the entity behind an id of the key.
func (s *snapshot) uid(t types.EntityType, id act.ID) types.EntityUID {
	switch id {
	case 0:
		return types.NewEntityUID(t, noneID)
	case unnamed:
		return types.NewEntityUID(t, otherID)
	}
	return types.NewEntityUID(t, s.names.ids[id])
}

// request makes the evaluator's request of a key.
func (s *snapshot) request(k key) *request {
	q := &request{
		key:       k,
		resource:  types.NewEntityUID(kindTypes[k.kind], thingID),
		community: s.uid(typeCommunity, k.community),
	}
	switch k.principal {
	case act.Agent:
		q.principal = s.uid(typeAgent, k.who)
		q.owner = s.uid(typeOwner, k.owner)
		q.class = types.NewEntityUID(typeClass, types.String(k.text))
	case act.Operator:
		q.principal = s.uid(typeOperator, k.who)
	case act.System:
		q.principal = types.NewEntityUID(typeSystem, types.String(k.text))
	case act.Observer:
		q.principal = types.NewEntityUID(typeObserver, anonymousID)
		if k.text != "" {
			q.principal = types.NewEntityUID(typeObserver, types.String(k.text))
		}
	}
	return q
}

// Get implements types.EntityGetter.
func (q *request) Get(uid types.EntityUID) (types.Entity, bool) {
	switch uid {
	case q.principal:
		if !q.subjectMade {
			q.subjectMade, q.subject = true, q.makeSubject()
		}
		return q.subject, true
	case q.resource:
		if !q.thingMade {
			q.thingMade, q.thing = true, q.makeThing()
		}
		return q.thing, true
	}
	return types.Entity{}, false
}

func (q *request) makeSubject() types.Entity {
	if q.key.principal == act.Operator {
		var roles []types.EntityUID
		for _, name := range q.key.roles.Names() {
			roles = append(roles, types.NewEntityUID(typeRole, types.String(name)))
		}
		return types.Entity{
			UID: q.principal, Parents: types.NewEntityUIDSet(roles...),
			Attributes: types.NewRecord(types.RecordMap{
				attrFresh: types.Boolean(q.key.flags&flagFresh != 0), attrPasskey: types.Boolean(q.key.flags&flagPasskey != 0),
			}),
		}
	}
	if q.key.principal != act.Agent {
		return types.Entity{UID: q.principal}
	}
	return types.Entity{
		UID:     q.principal,
		Parents: types.NewEntityUIDSet(q.owner, q.class),
		Attributes: types.NewRecord(types.RecordMap{
			attrStanding: standingWords[q.key.standing],
			attrClaimed:  types.Boolean(q.key.flags&flagClaimed != 0),
			attrOwner:    q.owner,
			attrClass:    types.String(q.key.text),
		}),
	}
}

func (q *request) makeThing() types.Entity {
	risk := gate.RiskNormal
	if q.key.flags&flagRisk != 0 {
		risk = gate.RiskHigh
	}
	return types.Entity{
		UID:     q.resource,
		Parents: types.NewEntityUIDSet(q.community),
		Attributes: types.NewRecord(types.RecordMap{
			attrCommunity:      q.community,
			attrAuthorStanding: standingWords[q.key.author],
			attrOrigin:         originWords[q.key.origin],
			attrVisibility:     visibleWords[q.key.visible],
			attrClassification: classifiedWords[q.key.secrecy],
			attrOwn:            types.Boolean(q.key.flags&flagOwn != 0),
			attrLocked:         types.Boolean(q.key.flags&flagLocked != 0),
			attrAnswered:       types.Boolean(q.key.flags&flagAnswered != 0),
			attrRole:           roleWords[q.key.role],
			attrRisk:           riskWords[risk],
		}),
	}
}
