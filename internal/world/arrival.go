package world

import (
	"cmp"
	"slices"
)

// settle draws when agents come and who answers for them, and gives agents the
// numbers of that order: early ones have low numbers, in their ids as well.
func (p *Plan) settle() {
	r := stream(p.Seed, "arrival", 0)
	end, lead := p.ms(), p.lead()
	early := p.ms() / 5
	for i := range p.agents {
		a := &p.agents[i]
		if a.first != never {
			// Who acts has come before, in time to be claimed.
			room := float64(a.first - lead)
			u := r.Float64()
			a.registered = uint32(room * (1 - u*u))
			wait := min(logNormal(r, 600_000, 1), 0.8*float64(a.first-a.registered))
			a.claimed = a.registered + max(1, uint32(wait))
			continue
		}
		// Most come in the first days, when everybody talks of it.
		if u := r.Float64(); r.Float64() < 0.6 {
			a.registered = uint32(u * float64(early))
		} else {
			a.registered = uint32(u * float64(end-lead))
		}
		if r.Float64() < claimed {
			if at := float64(a.registered) + logNormal(r, 600_000, 1.5); at < float64(end) {
				a.claimed = uint32(at)
			} else {
				a.claimed = a.registered + 1 + uint32(r.Float64()*float64(end-a.registered-1))
			}
		}
	}
	p.own()
	order := make([]int32, len(p.agents))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(p.agents[a].registered, p.agents[b].registered), cmp.Compare(a, b))
	})
	number := make([]int32, len(order))
	sorted := make([]agent, len(order))
	for i, old := range order {
		number[old], sorted[i] = int32(i), p.agents[old]
	}
	p.agents = sorted
	for i := range p.active {
		p.active[i] = number[p.active[i]]
	}
	for i := range p.posts {
		p.posts[i].author = number[p.posts[i].author]
	}
	for i := range p.remark {
		p.remark[i].author = number[p.remark[i].author]
	}
	for i := range p.places[1:] {
		p.places[1+i].founder = number[p.places[1+i].founder]
	}
}

// own draws who answers for whom: a third of the agents are one owner's.
func (p *Plan) own() {
	r := stream(p.Seed, "owners", 0)
	p.owners = part(p.Agents, 1.0/perOwner)
	mass := part(p.Agents, scripted)
	owner := make([]int32, 0, p.Agents)
	for range mass {
		owner = append(owner, 0)
	}
	if p.owners > 1 {
		for i, n := range powers(p.owners-1, p.Agents-mass, 1.6, maxPower) {
			for range n {
				owner = append(owner, int32(i+1))
			}
		}
	}
	for len(owner) < p.Agents {
		owner = append(owner, 0)
	}
	owner = shuffled(r, owner[:p.Agents])
	for i := range p.agents {
		p.agents[i].owner = owner[i]
	}
}
