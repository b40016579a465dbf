package world

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// thread is a post with its comments while they are drawn.
type thread struct {
	post  int32
	roots []int32 // by number in the list of comments
}

// converse draws who comments on what and when: the comments on posts follow the
// posts, replies follow the comments, and the relentless comment every few seconds
// on what others have begun to talk about.
func (p *Plan) converse(c counts) {
	all := 0
	for _, n := range c.comments {
		all += n
	}
	restless := 0
	for _, n := range c.comments[:relentless] {
		restless += n
	}
	answered := part(all, 1-unanswered)
	replies := int(float64(answered) * 1.03) // some are answered twice
	threads := p.open(all - restless - replies)
	p.reply(threads, replies, all)
	p.assign(c)
	p.haunt(restless / relentless)
	p.sortComments()
}

// open draws the comments on posts. Most threads have a few, some very many.
func (p *Plan) open(total int) []thread {
	r := stream(p.Seed, "threads", 0)
	var threads []thread
	for i := range p.posts {
		if r.Float64() >= quietThreads {
			threads = append(threads, thread{post: int32(i)})
		}
	}
	sizes := shuffled(r, powers(len(threads), total, 2.2, maxPower))
	late := 0
	for i := range threads {
		t := &threads[i]
		x := &p.posts[t.post]
		first := float64(x.at) + max(2_000, logNormal(r, float64(firstComment.Milliseconds()), 1.3))
		if first >= float64(p.ms()) {
			late += sizes[i] // the world is over before anybody has read it
			continue
		}
		n := sizes[i]
		if late > 0 {
			n, late = n+min(late, 3), late-min(late, 3)
		}
		x.opened = uint32(first)
		for k := range n {
			at := x.opened
			if k > 0 {
				at = p.later(r, x.opened, logNormal(r, 600_000, 1.8))
			}
			t.roots = append(t.roots, int32(len(p.remark)))
			p.remark = append(p.remark, comment{at: at, post: t.post, parent: -1, author: -1})
		}
	}
	return threads
}

// reply draws the replies: a few threads have all of them.
func (p *Plan) reply(threads []thread, total, all int) {
	r := stream(p.Seed, "replies", 0)
	type drawn struct {
		n   int
		key float64
	}
	var order []drawn
	for n := range threads {
		if k := len(threads[n].roots); k > 0 {
			order = append(order, drawn{n, math.Pow(r.Float64(), 1/float64(k))}) // long threads come first more often
		}
	}
	slices.SortFunc(order, func(a, b drawn) int { return cmp.Compare(b.key, a.key) })
	order = order[:min(len(order), part(len(order), 1-flat))]
	slices.SortFunc(order, func(a, b drawn) int {
		return cmp.Or(cmp.Compare(len(threads[b.n].roots), len(threads[a.n].roots)), cmp.Compare(a.n, b.n))
	})
	room := make([]int, len(order))
	for i, d := range order {
		room[i] = len(threads[d.n].roots)
	}
	sizes := powers(len(order), total, 2, maxPower)
	for i := range sizes {
		sizes[i] = min(sizes[i], room[i])
	}
	settle(sizes, total, 1, room)
	back := p.returning(r, threads, func(yield func(*thread)) {
		for _, d := range order {
			yield(&threads[d.n])
		}
	}, all)
	for i, d := range order {
		t := &threads[d.n]
		p.replyIn(r, t, sizes[i], back[t.post])
	}
}

// returning draws which authors come back to threads of theirs, and how many of
// the replies there are theirs: as many as it takes for the part of those answered
// who answer.
func (p *Plan) returning(r *rand.Rand, threads []thread, each func(func(*thread)), all int) map[int32]int {
	var candidates []int32 // posts
	each(func(t *thread) { candidates = append(candidates, t.post) })
	candidates = shuffled(r, candidates)
	authors := make(map[int32]bool)
	for i := range p.posts {
		authors[p.posts[i].author] = true
	}
	most := part(len(authors), 1-gone)
	// Every author's reply makes a pair mutual, in both directions. How many pairs
	// there are for each comment was seen in worlds that were drawn: the more agents,
	// the less often the same two meet.
	pairs := 0.45 + 0.047*math.Log(float64(p.Agents)/10_000)
	wanted := int(mutual / 2 * float64(all) * pairs)
	came := make(map[int32]bool)
	back := make(map[int32]int)
	for _, x := range candidates {
		if author := p.posts[x].author; !came[author] && len(came) < most {
			came[author], back[x] = true, 1
			wanted--
		}
	}
	for before := wanted + 1; wanted > 0 && wanted < before; { // once more in their threads, in turns
		before = wanted
		for _, x := range candidates {
			if came[p.posts[x].author] && wanted > 0 && back[x] < 8 {
				back[x]++
				wanted--
			}
		}
	}
	return back
}

// replyIn draws the replies of one thread, of which some are the author's.
func (p *Plan) replyIn(r *rand.Rand, t *thread, n, authors int) {
	author := p.posts[t.post].author
	roots := shuffled(r, slices.Clone(t.roots))
	var made []int32
	for k := range min(n, len(roots)) {
		parent := roots[k]
		switch {
		case k > 0 && r.Float64() < 0.03:
			parent = roots[k-1] // answered twice
		case len(made) > 0 && r.Float64() < 0.04:
			parent = made[r.IntN(len(made))] // a reply to a reply
		}
		at := p.remark[parent].at
		reply := comment{at: p.later(r, at, 30_000+logNormal(r, 300_000, 1.2)), post: t.post, parent: parent, author: -1}
		if reply.at == at {
			continue // the world is over
		}
		if authors > 0 {
			reply.author, reply.back = author, true
			authors--
		}
		made = append(made, int32(len(p.remark)))
		p.remark = append(p.remark, reply)
	}
}

// assign gives the comments authors, in the order of time, each within their life.
// Nobody comments on a post of their own but those who come back, and nobody
// answers who has answered them: only who comes back does.
func (p *Plan) assign(c counts) {
	r := stream(p.Seed, "commenters", 0)
	others := slices.Clone(c.comments)
	clear(others[:relentless])
	order := make([]int32, len(p.remark))
	slots := 0
	for i := range p.remark {
		order[i] = int32(i)
		if p.remark[i].author < 0 {
			slots++
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(p.remark[a].at, p.remark[b].at), cmp.Compare(a, b))
	})
	turns := p.cut(r, p.turns("comments", others), slots)
	some := func() int32 { return p.active[relentless+r.IntN(len(p.active)-relentless)] }
	answers := make(map[uint64]struct{}) // who has answered whom
	one := func(from, to int32) uint64 { return uint64(from)<<32 | uint64(to) }
	next := 0
	for _, at := range order {
		x := &p.remark[at]
		author := p.posts[x.post].author
		whom := author
		if x.parent >= 0 {
			whom = p.remark[x.parent].author
		}
		fits := func(who int32) bool {
			_, back := answers[one(whom, who)]
			return who != author && who != whom && !back
		}
		if x.author < 0 {
			for k := next; k < min(next+100, len(turns)); k++ {
				if fits(p.active[turns[k].who]) {
					turns[next], turns[k] = turns[k], turns[next]
					break
				}
			}
			x.author = p.active[turns[next].who]
			for tries := 0; !fits(x.author) && (tries < 100 || x.author == author || x.author == whom); tries++ {
				x.author = some()
			}
			next++
		}
		answers[one(x.author, whom)] = struct{}{}
		p.acted(x.author, x.at)
	}
}

// cut leaves turns out here and there, or fills them up, so that there are n.
func (p *Plan) cut(r *rand.Rand, turns []turn, n int) []turn {
	kept := turns[:0]
	for i, t := range turns {
		if over := len(turns) - i - (n - len(kept)); over > 0 && r.IntN(len(turns)-i) < over {
			continue
		}
		kept = append(kept, t)
	}
	for len(kept) < n {
		kept = append(kept, turn{1, int32(relentless + r.IntN(len(p.active)-relentless))})
	}
	return kept
}

const (
	stint     = 500 // comments of the relentless between two pauses
	recentFew = 256 // threads that they choose from
)

// haunt draws the comments of the relentless.
func (p *Plan) haunt(each int) {
	r := stream(p.Seed, "relentless", 0)
	var begun []int32 // posts, in the order in which talk about them begins
	for i := range p.posts {
		if p.posts[i].opened != never {
			begun = append(begun, int32(i))
		}
	}
	slices.SortStableFunc(begun, func(a, b int32) int { return cmp.Compare(p.posts[a].opened, p.posts[b].opened) })
	if len(begun) == 0 {
		return
	}
	gap := float64(relentGap.Milliseconds())
	for n := range relentless {
		who := p.active[n]
		start := max(float64(p.ms())*(0.03+0.02*r.Float64()), float64(p.posts[begun[0]].opened)+1000)
		free := float64(p.ms()) - start - gap*float64(each+1)
		pause := max(0, free) / float64(each/stint+1)
		at, seen := start, 0
		for k := range each {
			if at >= float64(p.ms()) {
				break
			}
			for seen < len(begun) && float64(p.posts[begun[seen]].opened) < at-500 {
				seen++
			}
			few := min(seen, recentFew)
			if few > 0 {
				on := begun[seen-1-r.IntN(few)]
				p.remark = append(p.remark, comment{at: uint32(at), post: on, parent: -1, author: who, relentless: true})
				p.acted(who, uint32(at))
			}
			at += gap + 200*(r.Float64()-0.5)
			if k%stint == stint-1 {
				at += pause
			}
		}
	}
}

// sortComments puts the comments into the order of their times; those that answer
// another one keep it.
func (p *Plan) sortComments() {
	order := make([]int32, len(p.remark))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(p.remark[a].at, p.remark[b].at), cmp.Compare(a, b))
	})
	number := make([]int32, len(order))
	sorted := make([]comment, len(order))
	for i, old := range order {
		number[old], sorted[i] = int32(i), p.remark[old]
	}
	for i := range sorted {
		if sorted[i].parent >= 0 {
			sorted[i].parent = number[sorted[i].parent]
		}
	}
	p.remark = sorted
}
