package policy

import (
	"github.com/cedar-policy/cedar-go/types"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
)

// key is everything that a decision depends on. Decisions are cached by it, and
// the evaluator's request is made from it alone (see request), so a decision can
// depend on nothing that the key leaves out. The facts of the principal, and of the
// agent behind the resource, are in it as they are at the call; no epoch is needed,
// because nothing that an epoch stands for is remembered.
//
// Two things keep the keys of a million agents few. Ids and names that no policy of the
// bundle speaks of are replaced by one stand-in: policies can compare them only with
// what is written out (check.go), so they cannot tell them apart. And an attribute that
// no policy for the act looks at is left out, as far as most agents differ in it.
type key struct {
	text          string // class of an agent, name of a part of the server or of an observer
	version       int64  // of the bundle
	who           act.ID
	owner         act.ID
	mandate       act.ID
	root          act.ID // of the principal's lineage
	community     act.ID
	authorOwner   act.ID
	authorMandate act.ID
	team          int64 // this and the next: a name of the bundle, see names.number
	site          int64
	authorClass   int64
	authorTeam    int64
	authorSite    int64
	act           uint16
	flags         uint16
	principal     act.PrincipalKind
	standing      act.Standing
	kind          act.Kind
	author        act.Standing
	origin        act.Origin
	visible       gate.Visibility
	secrecy       gate.Classification
	role          gate.Role
	roles         gate.OperatorRoles
	clearance     gate.Classification
	depth         uint8
	age           age
	trust         trust.Level
	authorTrust   trust.Level
	authorAge     age
	lineage       lineage
	integrity     gate.Integrity // of the resource
	labels        gate.Label     // in force for the principal
}

const (
	flagClaimed uint16 = 1 << iota
	flagOwn
	flagLocked
	flagFresh
	flagAnswered
	flagPasskey
	flagRisk
	flagSameOwner
	flagSameTeam
	flagSameMandate
)

func riskOf(flags uint16) gate.Risk {
	if flags&flagRisk != 0 {
		return gate.RiskHigh
	}
	return gate.RiskNormal
}

// unnamed stands for an id or a name that no policy speaks of.
const unnamed = -1

func (s *snapshot) name(id act.ID) act.ID {
	if id == 0 {
		return 0
	}
	if _, ok := s.names.ids[id]; ok {
		return id
	}
	return unnamed
}

// key makes the key of a question that is asked at a time (Unix microseconds; it matters
// only where ages are looked at). ok is false when the question holds a value that the
// vocabulary has no word for.
func (s *snapshot) key(x *sample, now int64) (k key, ok bool) {
	t, f, r := x.act, &x.facts, &x.on
	looks := s.looks[t.index]
	k = key{
		version: s.version, act: t.index, principal: x.kind, who: s.name(x.who),
		community: s.name(r.Community), kind: r.Kind, author: r.AuthorStanding,
		origin: r.Origin, visible: r.Visibility, secrecy: r.Classification, integrity: r.Integrity,
	}
	if k.kind == act.KindNone {
		k.kind = act.KindNetwork // the act has no narrower target
	}
	switch x.kind {
	case act.Agent:
		k.standing, k.owner, k.text = f.Standing, s.name(f.Owner), f.Class
		if !s.names.anyClass && !s.names.classes[f.Class] {
			k.text = otherClass
		}
		if f.Claimed {
			k.flags |= flagClaimed
		}
		s.workload(&k, x, looks, now)
	case act.System:
		k.who, k.text = 0, x.name
	case act.Observer:
		if k.who = 0; x.name == act.PageReader {
			k.text = x.name
		}
	case act.Operator:
		k.roles = gate.OperatorRoles(x.roles)
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
	if looks&looksAuthor != 0 && r.Author != 0 {
		s.authored(&k, x, looks, now)
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
		int(k.secrecy) < len(classifiedWords) && int(k.role) < len(roleWords) && int(r.Risk) < len(riskWords) &&
		int(k.integrity) < len(integrityWords) && int(k.labels.Integrity) < len(integrityWords) && int(k.labels.Secrecy) < len(classifiedWords) &&
		int(k.clearance) < len(classifiedWords) && int(k.trust) < len(trustWords) && int(k.authorTrust) < len(trustWords)
	return k, ok
}

// workload puts what a governed workload has into the key, as far as it is looked at.
func (s *snapshot) workload(k *key, x *sample, looks looks, now int64) {
	f := &x.facts
	if looks&looksTeam != 0 {
		k.team = s.names.number(f.Team)
	}
	if looks&looksSite != 0 {
		k.site = s.names.number(f.Site)
	}
	if looks&looksMandate != 0 {
		k.mandate = s.name(f.Mandate)
	}
	if looks&looksRoot != 0 {
		k.root = s.name(f.rootOf(x.who))
	}
	if looks&looksDepth != 0 {
		k.depth = min(f.Depth, deepest)
	}
	if looks&looksClearance != 0 {
		k.clearance = f.Clearance
	}
	if looks&looksTrust != 0 {
		k.trust = f.Trust
	}
	if looks&looksLabels != 0 {
		k.labels = gate.Label{Integrity: f.Integrity, Secrecy: f.Secrecy}
	}
	if looks&looksAge != 0 {
		k.age = ageAt(x.who, now)
	}
}

// authored puts what is known of the agent behind the resource into the key, and what it
// is to the principal.
func (s *snapshot) authored(k *key, x *sample, looks looks, now int64) {
	f, a := &x.facts, &x.author
	if looks&looksAuthorClass != 0 {
		k.authorClass = s.names.number(a.Class)
	}
	if looks&looksAuthorTeam != 0 {
		k.authorTeam = s.names.number(a.Team)
	}
	if looks&looksAuthorSite != 0 {
		k.authorSite = s.names.number(a.Site)
	}
	if looks&looksAuthorOwner != 0 {
		k.authorOwner = s.name(a.Owner)
	}
	if looks&looksAuthorWork != 0 {
		k.authorMandate = s.name(a.Mandate)
	}
	if looks&looksAuthorTrust != 0 {
		k.authorTrust = a.Trust
	}
	if looks&looksAuthorAge != 0 {
		k.authorAge = ageAt(x.on.Author, now)
	}
	if x.kind != act.Agent {
		return
	}
	if looks&looksSameOwner != 0 && f.Owner != 0 && f.Owner == a.Owner {
		k.flags |= flagSameOwner
	}
	if looks&looksSameTeam != 0 && f.Team != "" && f.Team == a.Team {
		k.flags |= flagSameTeam
	}
	if looks&looksSameMandate != 0 && f.Mandate != 0 && f.Mandate == a.Mandate {
		k.flags |= flagSameMandate
	}
	if looks&looksLineage != 0 {
		k.lineage = lineageOf(x.who, f, x.on.Author, a)
	}
}

// lineageOf tells what author is to p.
func lineageOf(p act.ID, f *PrincipalFacts, author act.ID, a *PrincipalFacts) lineage {
	switch {
	case p == author:
		return lineageSelf
	case f.Parent == author:
		return lineageParent
	case a.Parent == p:
		return lineageChild
	case f.rootOf(p) == a.rootOf(author):
		return lineageKin
	}
	return lineageNone
}

// ageAt is how long ago an agent was registered: its id says when.
func ageAt(agent act.ID, now int64) age {
	return ageOf(act.FromMicros(now).Sub(agent.Time()))
}

// request is a key as Cedar sees it. It is also the evaluator's entity store,
// of two entities, each made when a policy first asks for it.
type request struct {
	of        *snapshot
	key       key
	looks     looks // attributes that a policy for the act asks for; the others are not made
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
		of:        s,
		key:       k,
		looks:     s.looks[k.act],
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
			q.thingMade, q.thing = true, types.Entity{
				UID: q.resource, Parents: types.NewEntityUIDSet(q.community), Attributes: q.record(varResource, ""),
			}
		}
		return q.thing, true
	}
	return types.Entity{}, false
}

// record makes the attributes of a variable that are asked for.
func (q *request) record(of types.String, who types.EntityType) types.Record {
	m := make(types.RecordMap, 8)
	for i := range vocabulary {
		if a := &vocabulary[i]; q.looks>>i&1 == 1 && a.of == of && a.who == who {
			m[a.name] = a.value(q)
		}
	}
	return types.NewRecord(m)
}

// context adds to the context of the network what is in force for the principal, where a
// policy asks for it.
func (q *request) context(of types.Record) types.Record {
	if q.looks&looksLabels == 0 {
		return of
	}
	m := of.Map()
	m[attrLabels] = labelSet(q.key.labels)
	return types.NewRecord(m)
}

func labelSet(l gate.Label) types.Set { return types.NewSet(wordsOf(l)...) }

// wordsOf returns the words of a label, in their order.
func wordsOf(l gate.Label) (words []types.Value) {
	for w := range l.Words {
		words = append(words, types.String(w))
	}
	return words
}

func (q *request) makeSubject() types.Entity {
	e := types.Entity{UID: q.principal}
	switch q.key.principal {
	case act.Operator:
		var roles []types.EntityUID
		for _, name := range q.key.roles.Names() {
			roles = append(roles, types.NewEntityUID(typeRole, types.String(name)))
		}
		e.Parents, e.Attributes = types.NewEntityUIDSet(roles...), q.record(varPrincipal, typeOperator)
	case act.Agent:
		in := []types.EntityUID{q.owner, q.class}
		if q.looks&looksTeam != 0 {
			in = append(in, types.NewEntityUID(typeTeam, types.String(q.of.names.word(q.key.team))))
		}
		if q.looks&looksMandate != 0 {
			in = append(in, q.of.uid(typeMandate, q.key.mandate))
		}
		if q.looks&looksRoot != 0 {
			in = append(in, q.of.uid(typeLineage, q.key.root))
		}
		e.Parents, e.Attributes = types.NewEntityUIDSet(in...), q.record(varPrincipal, typeAgent)
	case act.Observer, act.System:
	}
	return e
}
