package world

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// vote draws the votes. Nearly all go to a few accounts, the early ones more than
// others, and there to a few posts that are pushed.
func (p *Plan) vote() {
	r := stream(p.Seed, "votes", 0)
	p.noticed = slices.Clone(p.active[min(relentless, len(p.active)):])
	key := make(map[int32]float64, len(p.noticed))
	for i, who := range p.noticed {
		key[who] = float64(who)/float64(p.Agents) + 0.5*float64(i)/float64(len(p.noticed)) + 0.5*r.Float64()
	}
	slices.SortFunc(p.noticed, func(a, b int32) int { return cmp.Or(cmp.Compare(key[a], key[b]), cmp.Compare(a, b)) })
	rank := make(map[int32]int, len(p.noticed))
	for i, who := range p.noticed {
		rank[who] = i
	}
	total := part(p.Agents, votesEach)
	voted := p.votedComments(r, rank)
	posts := p.postsBy()
	comings := p.comings()
	for i, n := range p.fame(total - len(voted)) {
		if n > 0 {
			p.push(r, comings, posts[p.noticed[i]], n)
		}
	}
	for _, c := range voted {
		p.cast(r, comings, -1-c, p.remark[c].at, p.remark[c].author, 1)
	}
}

// votedComments draws which comments get a vote: those of who is noticed anyway.
func (p *Plan) votedComments(r *rand.Rand, rank map[int32]int) []int32 {
	want := part(len(p.remark), 1-voteless)
	few := max(1, len(p.noticed)/50)
	var list []int32
	for len(list) < want && few <= 2*len(p.noticed) {
		list = list[:0]
		for i := range p.remark {
			if at, ok := rank[p.remark[i].author]; ok && at < few {
				list = append(list, int32(i))
			}
		}
		few *= 2
	}
	list = shuffled(r, list)
	return list[:min(want, len(list))]
}

func (p *Plan) postsBy() map[int32][]int32 {
	by := make(map[int32][]int32, len(p.noticed))
	for i := range p.posts {
		by[p.posts[i].author] = append(by[p.posts[i].author], int32(i))
	}
	return by
}

// fame returns how many votes the posts of each of the noticed get: by rank^-s,
// with the s that gives the Gini coefficient.
func (p *Plan) fame(total int) []int {
	n := len(p.noticed)
	votes := make([]float64, n)
	fit := func(s float64) float64 {
		sum := 0.0
		for i := range votes {
			votes[i] = math.Pow(float64(i+1), -s)
			sum += votes[i]
		}
		for i := range votes {
			votes[i] = math.Floor(votes[i] / sum * float64(total))
		}
		return giniOf(votes)
	}
	low, high := 0.5, 4.0
	for range 30 {
		if s := (low + high) / 2; fit(s) < giniVotes {
			low = s
		} else {
			high = s
		}
	}
	fit((low + high) / 2)
	list := make([]int, n)
	for i, v := range votes {
		list[i] = int(v)
	}
	return list
}

// coming is when an agent can begin to vote.
type coming struct {
	at  uint32
	who int32
}

// comings are all of them in order.
func (p *Plan) comings() []coming {
	list := make([]coming, 0, len(p.agents))
	for i := range p.agents {
		if a := &p.agents[i]; a.claimed != 0 {
			list = append(list, coming{a.claimed, int32(i)})
		}
	}
	slices.SortFunc(list, func(a, b coming) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.who, b.who)) })
	return list
}

// push casts an author's votes: most on one post, the rest on others.
func (p *Plan) push(r *rand.Rand, comings []coming, posts []int32, n int) {
	// One from the middle of the world has voters and time.
	slices.SortFunc(posts, func(a, b int32) int {
		mid := func(x int32) float64 { return math.Abs(float64(p.posts[x].at)/float64(p.ms()) - 0.45) }
		return cmp.Or(cmp.Compare(mid(a), mid(b)), cmp.Compare(a, b))
	})
	for i, x := range posts {
		most := n
		if i+1 < len(posts) {
			most = (2*n + 2) / 3
		}
		n -= p.cast(r, comings, x, p.posts[x].at, p.posts[x].author, most)
		if n <= 0 {
			return
		}
	}
}

// cast has up to n agents vote on something, each once, and returns how many did.
// Nobody votes on what is theirs.
func (p *Plan) cast(r *rand.Rand, comings []coming, on int32, made uint32, author int32, n int) (cast int) {
	begin := p.later(r, made, 60_000+logNormal(r, 300_000, 1))
	m, _ := slices.BinarySearchFunc(comings, begin, func(c coming, at uint32) int { return cmp.Compare(c.at, at) })
	if n = min(n, m*9/10); n == 0 {
		return 0
	}
	// Steps that share no divisor with m meet everybody once.
	at, by := r.IntN(m), 1+r.IntN(m)
	for gcd(by, m) != 1 {
		by++
	}
	length := min(float64(n)/crowdPace*3_600_000+600_000*r.Float64(), float64(p.ms()-begin))
	for k := range n {
		voter := comings[(at+k*by)%m].who
		if voter == author {
			continue
		}
		when := begin + uint32(length*(float64(k)+r.Float64())/float64(n))
		p.votes = append(p.votes, vote{at: min(when, p.ms()-1), voter: voter, on: on, down: r.Float64() < downvotes})
		cast++
	}
	return cast
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// befriend draws follows, subscriptions and conversations.
func (p *Plan) befriend() {
	r := stream(p.Seed, "ties", 0)
	ready := func(who int32) uint32 { return p.agents[who].claimed }
	both := func(a, b int32) uint32 { return max(ready(a), ready(b)) }
	some := func() int32 { return p.active[r.IntN(len(p.active))] }
	known := make(map[[2]int32]bool)
	for range part(p.Agents, followsEach) {
		f := pair{follower: some(), whom: p.noticed[int(math.Pow(float64(len(p.noticed)), r.Float64()))-1]}
		if f.follower == f.whom || known[[2]int32{f.follower, f.whom}] {
			continue
		}
		known[[2]int32{f.follower, f.whom}] = true
		f.at = p.later(r, both(f.follower, f.whom), 60_000+r.Float64()*float64(p.ms())/4)
		p.pairs = append(p.pairs, f)
	}
	clear(known)
	for i := range part(p.Agents, general+joinsEach) {
		j := join{agent: int32(r.IntN(p.Agents))}
		if i >= part(p.Agents, general) && len(p.places) > 1 {
			j.place = 1 + int32(math.Pow(float64(len(p.places)-1), r.Float64())) - 1
		}
		if ready(j.agent) == 0 || known[[2]int32{j.agent, j.place}] {
			continue
		}
		known[[2]int32{j.agent, j.place}] = true
		j.at = p.later(r, max(ready(j.agent), p.places[j.place].founded), 60_000+logNormal(r, 3_600_000, 2))
		p.joins = append(p.joins, j)
	}
	clear(known)
	for range part(p.Agents, talks) {
		t := talk{from: some(), to: some()}
		if t.from == t.to || known[[2]int32{min(t.from, t.to), max(t.from, t.to)}] {
			continue
		}
		known[[2]int32{min(t.from, t.to), max(t.from, t.to)}] = true
		t.at = p.later(r, both(t.from, t.to), 60_000+r.Float64()*float64(p.ms())/4)
		p.talks = append(p.talks, t)
	}
}

// order puts everything into the order of time.
func (p *Plan) order() {
	r := stream(p.Seed, "order", 0)
	add := func(at uint32, d deed, who int32, what int) {
		p.steps = append(p.steps, step{at, d, who, int32(what)})
	}
	for i := range p.agents {
		a, who := &p.agents[i], int32(i)
		add(a.registered, register, who, 0)
		if a.claimed == 0 {
			continue
		}
		add(a.claimed, claim, who, 0)
		if a.first == never && r.Float64() >= looking {
			continue
		}
		at := p.later(r, a.claimed, 1_000+r.Float64()*float64(heartbeat.Milliseconds()))
		if r.Float64() < onTheMark {
			if woken := p.marked(r, at, a.claimed+1); woken != never {
				at = woken
			}
		}
		p.looks++
		add(at, look, who, 0)
	}
	for i := range p.places[1:] {
		add(p.places[1+i].founded, found, p.places[1+i].founder, 1+i)
	}
	for i := range p.posts {
		add(p.posts[i].at, write, p.posts[i].author, i)
	}
	for i := range p.remark {
		x := &p.remark[i]
		if x.back {
			add(x.at-1, read, x.author, i)
		}
		add(x.at, remark, x.author, i)
	}
	for i := range p.votes {
		add(p.votes[i].at, ballot, p.votes[i].voter, i)
	}
	for i, f := range p.pairs {
		add(f.at, follow, f.follower, i)
	}
	for i, j := range p.joins {
		add(j.at, enter, j.agent, i)
	}
	for i, t := range p.talks {
		add(t.at, ask, t.from, i)
		at := p.later(r, t.at, 60_000+logNormal(r, 600_000, 1))
		add(at, agree, t.to, i)
		for k := range messagesEach {
			at = p.later(r, at, 10_000+logNormal(r, 120_000, 1))
			who := t.from
			if k%2 == 1 {
				who = t.to
			}
			add(at, tell, who, i)
		}
	}
	slices.SortStableFunc(p.steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.deed, b.deed))
	})
}

const messagesEach = 3 // of a conversation, after the request

// Count returns how often each thing is done in the world, by what it is.
func (p *Plan) Count() map[string]int {
	n := make(map[string]int)
	for _, s := range p.steps {
		n[s.deed.String()]++
	}
	for i := range p.remark {
		if !p.remark[i].relentless {
			n["threads read"]++
		}
	}
	return n
}
