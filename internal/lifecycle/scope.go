package lifecycle

import (
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ScopeName names a scope as operators do.
type ScopeName struct {
	Kind  string // as ScopeKind has it: "owner"
	Agent act.ID // of a line, which begins with it; else 0
	Name  string // of an owner, a community, a class; the digest of a skill; else ""
}

// placed is a scope that was found.
type placed struct {
	Scope
	name  string // as it is shown: an owner's, an agent's; "" for all
	facts gate.Facts
}

// text is a scope as reasons on record have it: "owner:ann", "all".
func (p placed) text() string {
	if p.Kind == ScopeAll {
		return p.Kind.String()
	}
	return p.Kind.String() + ":" + p.name
}

// place finds the scope of a name. What nothing obeys is refused.
func (l *Lifecycle) place(v *store.View, in ScopeName) (p placed, err error) {
	switch in.Kind {
	case ScopeAll.String():
		return placed{Scope: Scope{Kind: ScopeAll}, facts: gate.Facts{Kind: act.KindNetwork}}, nil
	case ScopeLineage.String():
		a, err := l.agent(v, in.Agent)
		return placed{Scope{Kind: ScopeLineage, Target: a.ID}, a.Name, gate.Facts{Kind: act.KindAgent, AuthorStanding: a.Standing}}, err
	case ScopeOwner.String():
		o, found, err := l.ids.OwnerNamed(v, in.Name)
		if err == nil && !found {
			err = act.Errorf(act.NotFound, "no such owner").WithRule("owner.name").WithHint("use the name as owner.list shows it")
		}
		return placed{Scope{Kind: ScopeOwner, Target: o.ID}, o.Name, gate.Facts{Kind: act.KindOwner}}, err
	case ScopeCommunity.String():
		if l.cfg.Community == nil {
			break
		}
		id, err := l.cfg.Community(v, in.Name)
		return placed{Scope{Kind: ScopeCommunity, Target: id}, in.Name, gate.Facts{Kind: act.KindCommunity, Community: id}}, err
	case ScopeClass.String():
		c, err := class(v, NamedClass{Name: in.Name})
		return placed{Scope{Kind: ScopeClass, Label: c.Name}, c.Name, gate.Facts{Kind: act.KindClass}}, err
	case ScopeSkill.String():
		for _, c := range l.charters.Load().classes {
			if slices.Contains(c.Document.Skills, in.Name) {
				return placed{Scope{Kind: ScopeSkill, Label: in.Name}, in.Name, gate.Facts{Kind: act.KindClass}}, nil
			}
		}
		return p, act.Errorf(act.NotFound, "no class has such a skill").WithRule("scope.skill").
			WithHint("use the digest as class.show names it, like sha256:…")
	case ScopeSite.String():
		return p, act.Errorf(act.Invalid, "this network has no sites").WithRule("scope.site").
			WithHint("name one of " + scopeKinds)
	}
	return p, act.Errorf(act.Invalid, "there is no scope of that kind").WithRule("scope.kind").WithHint("name one of " + scopeKinds)
}

const scopeKinds = "lineage, class, skill, owner, community and all"

// named reports whether operators can name scopes of a kind.
func named(kind string) bool {
	switch kind {
	case ScopeLineage.String(), ScopeClass.String(), ScopeSkill.String(), ScopeOwner.String(), ScopeCommunity.String(), ScopeAll.String():
		return true
	}
	return false
}

// Place implements gate.Standings: it is what a community comes to, for who would act or
// read in it.
func (l *Lifecycle) Place(community act.ID) act.Standing {
	return l.halts.Load().place(community)
}

func (h *halts) place(community act.ID) act.Standing {
	return sterner(act.Active, h.communities[community])
}

// holds reports whether an agent is in a scope, by what memory has of it.
func (l *Lifecycle) holds(s Scope, agent act.ID, r *record) bool {
	switch s.Kind {
	case ScopeAll:
		return true
	case ScopeOwner:
		return act.ID(r.owner.Load()) == s.Target
	case ScopeLineage:
		for up := agent; up != 0; {
			if up == s.Target {
				return true
			}
			b := l.bondOf(up)
			if b == nil {
				return false
			}
			up = b.parent
		}
	case ScopeClass, ScopeSkill:
		b := r.bond.Load()
		return b != nil && b.class != 0 && s.means(l.charters.Load().classes[b.class])
	case ScopeCommunity, ScopeMandate, ScopeSite:
	}
	return false
}

// means reports whether a scope that is a class or a skill means a version of a class, nil
// for one that is not known.
func (s Scope) means(c *Class) bool {
	return c != nil && (s.Kind == ScopeClass && c.Name == s.Label || s.Kind == ScopeSkill && slices.Contains(c.Document.Skills, s.Label))
}

// within reports whether an agent is in a scope.
func (l *Lifecycle) within(s Scope, agent act.ID) bool {
	slot := l.agents.look(agent)
	return slot != nil && l.holds(s, agent, slot.record)
}
