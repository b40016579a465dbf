package agent

import (
	"slices"
	"sync"
)

// roster is who plays. It is complete before the first agent acts; what may change
// is that one arrives which is registered when somebody needs it, perhaps under
// another name than it wanted.
type roster struct {
	mu      sync.RWMutex // guards the names
	members []member
	byName  map[string]int // of those who are there: until then a name may be a stranger's
}

type member struct {
	name   string // on the network
	self   *persona
	first  bool // of the first of its persona, which has the roles
	absent bool // not registered yet
}

// leads reports whether the member takes over steps of others.
func (m member) leads() bool { return m.first && !m.self.Part }

func newRoster(members []member) *roster {
	r := &roster{members: members, byName: make(map[string]int, len(members))}
	for i, m := range members {
		if !m.absent {
			r.byName[m.name] = i
		}
	}
	return r
}

// arrives notes that a persona's agent is there now, and under which name.
func (r *roster) arrives(persona, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.members, func(m member) bool { return m.first && m.self.Name == persona })
	r.members[i].name, r.members[i].absent, r.byName[name] = name, false, i
}

func (r *roster) has(name string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.byName[name]
	return ok
}

func (r *roster) member(name string) (member, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	i, ok := r.byName[name]
	if !ok {
		return member{}, false
	}
	return r.members[i], true
}

// holder returns the name of the agent whose role it is: who lists it first,
// else who lists it at all, else whose persona has that name, else somebody.
func (r *roster) holder(role string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	best := -1
	for i, m := range r.members {
		at := slices.Index(m.self.Roles, role)
		if !m.first || at < 0 && m.self.Name != role {
			continue
		}
		if at == 0 {
			return m.name
		}
		if best < 0 {
			best = i
		}
	}
	if best >= 0 {
		return r.members[best].name
	}
	return r.ordered(role, "")[0]
}

// order ranks the agents for something that one of them should do, named by
// key: those at home in the community first.
func (r *roster) order(key, community string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.ordered(key, community)
}

// ordered is order for who holds mu.
func (r *roster) ordered(key, community string) []string {
	shuffled := random(0, key).Perm(len(r.members))
	var home, others []string
	for _, i := range shuffled {
		switch m := r.members[i]; {
		case m.leads() && m.self.Home == community && community != general:
			home = append(home, m.name)
		case m.leads():
			others = append(others, m.name)
		}
	}
	return append(home, others...)
}

// rank is an agent's place in the order for a role: 0 for its holder, -1 for one
// that never takes it over.
func (r *roster) rank(role, key, name string) int {
	holder := r.holder(role)
	if name == holder {
		return 0
	}
	rank := 0
	for _, other := range r.order(key, "") {
		if other == holder {
			continue
		}
		if rank++; other == name {
			return rank
		}
	}
	return -1
}
