package agent

import "slices"

// roster is who plays: it is complete before the first agent acts and does not
// change after that.
type roster struct {
	members []member
	byName  map[string]int
}

type member struct {
	name string // on the network
	self *persona
	lead bool // of the first cast, which takes over steps
}

func newRoster(members []member) *roster {
	r := &roster{members: members, byName: make(map[string]int, len(members))}
	for i, m := range members {
		r.byName[m.name] = i
	}
	return r
}

func (r *roster) has(name string) bool { _, ok := r.byName[name]; return ok }

// holder returns the name of the agent whose role it is: who lists it first,
// else who lists it at all, else somebody.
func (r *roster) holder(role string) string {
	best := -1
	for i, m := range r.members {
		at := slices.Index(m.self.Roles, role)
		if !m.lead || at < 0 {
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
	return r.order(role, "")[0]
}

// order ranks the agents for something that one of them should do, named by
// key: those at home in the community first.
func (r *roster) order(key, community string) []string {
	shuffled := random(0, key).Perm(len(r.members))
	var home, others []string
	for _, i := range shuffled {
		switch m := r.members[i]; {
		case m.lead && m.self.Home == community && community != general:
			home = append(home, m.name)
		case m.lead:
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
