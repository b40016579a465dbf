package world

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// The bounds of a world's size. A smaller one has too few of everything to look
// like anything; a larger one does not fit into the plan's 32 bits of time.
const (
	MinAgents = 1_000
	MaxAgents = 1_900_000
)

// Options say which world to make.
type Options struct {
	Agents int
	Seed   uint64
	End    time.Time // when it ends; cut to a half-hour, for the heartbeats' sake
}

// Check reports what is wrong with the options.
func (o Options) Check() error {
	if o.Agents < MinAgents || o.Agents > MaxAgents {
		return fmt.Errorf("a world has %d to %d agents", MinAgents, MaxAgents)
	}
	if o.End.IsZero() {
		return fmt.Errorf("the world has no end")
	}
	return nil
}

// Plan is everything that will happen in a world. Agents, posts, comments and
// communities are named by numbers from 0; times are milliseconds since the begin.
// A plan of 1.6 million agents takes about 600 MB.
type Plan struct {
	Options
	Begin time.Time
	Span  time.Duration

	agents []agent
	owners int
	places []place
	posts  []post
	remark []comment // in the order of their times
	votes  []vote
	talks  []talk
	pairs  []pair // follows
	joins  []join
	looks  int

	active  []int32 // those who take part, by how much they do, the most first
	noticed []int32 // the same, by how many votes they get, the most first
	steps   []step  // in the order of their times
}

type agent struct {
	registered, claimed uint32 // never claimed is 0: nobody is at the very begin
	owner               int32
	first               uint32 // of its acts, math.MaxUint32 without any
}

type place struct {
	founder int32 // of the default community nobody, -1
	founded uint32
}

type post struct {
	at            uint32
	author, place int32
	opened        uint32 // its first comment, math.MaxUint32 without one
	bears         bool   // instructions
}

type comment struct {
	at           uint32
	post, author int32
	parent       int32 // a comment, or -1
	relentless   bool
	back         bool // the post's author comes back to the thread
}

type vote struct {
	at    uint32
	voter int32
	on    int32 // a post, or -1-c for the comment c
	down  bool
}

type talk struct {
	at       uint32
	from, to int32
}

type pair struct {
	at             uint32
	follower, whom int32
}

type join struct {
	at           uint32
	agent, place int32
}

// deed is what a step does.
type deed uint8

const (
	register deed = iota
	claim
	look // at the feed, for the first time
	found
	enter // subscribe
	write
	remark
	ballot
	follow
	ask // for a conversation
	agree
	tell
	read // what was notified, before coming back to a thread
	deeds
)

func (d deed) String() string {
	return [...]string{"registrations", "claims", "feeds read", "communities", "subscriptions", "posts", "comments", "votes", "follows",
		"conversations asked for", "agreed to", "messages", "notifications read"}[d]
}

// step is one thing that somebody does.
type step struct {
	at   uint32
	deed deed
	who  int32 // an agent
	what int32 // what the deed is about, by its kind
}

const never = math.MaxUint32

// NewPlan draws a world. Options that Check refuses are a programmer's error and
// panic.
func NewPlan(o Options) *Plan {
	if err := o.Check(); err != nil {
		panic(err)
	}
	span := (time.Duration(o.Agents) * (24 * time.Hour / density)).Truncate(time.Second)
	o.End = o.End.UTC().Truncate(heartbeat)
	p := &Plan{Options: o, Begin: o.End.Add(-span), Span: span, agents: make([]agent, o.Agents)}
	for i := range p.agents {
		p.agents[i].first = never
	}
	counts := p.people()
	p.write(counts)
	p.converse(counts)
	p.settle() // in the order in which agents come: numbers are final after it
	p.vote()
	p.befriend()
	p.order()
	return p
}

// part is a share of a whole, at least 1.
func part(of int, share float64) int { return max(1, int(math.Round(float64(of)*share))) }

func (p *Plan) ms() uint32 { return uint32(p.Span.Milliseconds()) }

// warm is when agents begin to act: before, there are none.
func (p *Plan) warm() uint32 { return p.ms() / 50 }

// lead is the least time between coming and acting.
func (p *Plan) lead() uint32 { return min(p.warm()/2, 300_000) }

// later returns at plus some milliseconds, or some moment between the two ends
// when that is after the world's.
func (p *Plan) later(r *rand.Rand, at uint32, wait float64) uint32 {
	if end := p.ms() - 1; float64(at)+wait < float64(end) {
		return at + uint32(wait)
	} else if at < end {
		return at + 1 + uint32(r.Float64()*float64(end-at-1))
	}
	return at
}

// marked moves a time back to the last :00 or :30 and a few seconds on, as those
// wake who are woken by a clock.
func (p *Plan) marked(r *rand.Rand, at, least uint32) uint32 {
	half := uint32(heartbeat.Milliseconds())
	offset := uint32(p.Begin.UnixMilli() % int64(half))
	mark := (at+offset)/half*half - min(offset, (at+offset)/half*half)
	if at = mark + uint32(min(r.ExpFloat64()*20_000, 170_000)); at < least || at >= p.ms() {
		return never
	}
	return at
}

// counts is how much those do who take part, in the order of Plan.active.
type counts struct{ posts, comments []int }

// people draws who takes part and how much. The first ones are the relentless,
// who never post.
func (p *Plan) people() (c counts) {
	n := p.Agents
	comments := int(float64(n) * postsEach * answers)
	theirs := part(comments, relentMost) / relentless
	others := max(part(n, taking), 2*relentless) - relentless
	posts := part(n, postsEach)
	all := powers(others, posts+comments-theirs*relentless, exponent, max(2, theirs*9/10))
	c.posts = shares(all, posts, giniPosts)
	c.comments = make([]int, len(all))
	for i := range all {
		c.comments[i] = all[i] - c.posts[i]
	}
	for range relentless {
		c.posts = slices.Insert(c.posts, 0, 0)
		c.comments = slices.Insert(c.comments, 0, theirs)
	}
	p.active = make([]int32, len(c.posts))
	order := stream(p.Seed, "people", 0).Perm(n)
	for i := range p.active {
		p.active[i] = int32(order[i])
	}
	return c
}

// life is the part of the world's time in which somebody is active.
type life struct{ from, length float64 }

// lives draws one for everybody who takes part. Most are short.
func (p *Plan) lives() []life {
	r := stream(p.Seed, "lives", 0)
	list := make([]life, len(p.active))
	for i := range list {
		u := r.Float64()
		list[i].length = 0.02 + 0.9*u*u
		list[i].from = r.Float64() * (1 - list[i].length)
	}
	return list
}

// turn is somebody's turn in a sequence.
type turn struct {
	at  float64
	who int32 // in Plan.active
}

// turns puts everybody's acts into one sequence, each within their life.
func (p *Plan) turns(part string, counts []int) []turn {
	r := stream(p.Seed, part, 0)
	lives := p.lives()
	var list []turn
	for who, n := range counts {
		for range n {
			list = append(list, turn{lives[who].from + lives[who].length*r.Float64(), int32(who)})
		}
	}
	slices.SortStableFunc(list, func(a, b turn) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	return list
}

// acted notes when somebody acts.
func (p *Plan) acted(who int32, at uint32) {
	a := &p.agents[who]
	a.first = min(a.first, at)
}

// write draws the posts and the communities that they are in.
func (p *Plan) write(c counts) {
	r := stream(p.Seed, "posts", 0)
	turns := p.turns("posts", c.posts)
	warm := p.warm()
	p.posts = make([]post, 0, len(turns))
	for i, t := range turns {
		at := warm + uint32((float64(i)+r.Float64())/float64(len(turns))*float64(p.ms()-warm))
		author := p.active[t.who]
		if hashed(uint64(author)) < autonomous {
			if woken := p.marked(r, at, warm); woken != never {
				at = woken
			}
		}
		p.posts = append(p.posts, post{at: min(at, p.ms()-1), author: author, opened: never, bears: r.Float64() < injections})
	}
	slices.SortStableFunc(p.posts, func(a, b post) int { return int(int64(a.at) - int64(b.at)) })
	p.found(r)
	for i := range p.posts {
		p.acted(p.posts[i].author, p.posts[i].at)
	}
}

// found draws the communities. All but the default one are founded by who posts
// there first, just before.
func (p *Plan) found(r *rand.Rand) {
	n := part(len(p.posts), 1/perPlace)
	elsewhere := len(p.posts) - part(len(p.posts), generalPosts)
	where := make([]int32, len(p.posts))
	at := 0
	for i, size := range powers(min(n, elsewhere), elsewhere, 1.8, maxPower) {
		for range size {
			if at < len(where) {
				where[at] = int32(i + 1)
				at++
			}
		}
	}
	where = shuffled(r, where)
	number := make(map[int32]int32, n+1) // by the time they are founded
	p.places = []place{{founder: -1}}
	number[0] = 0
	for i := range p.posts {
		x := &p.posts[i]
		k, known := number[where[i]]
		if !known {
			k = int32(len(p.places))
			number[where[i]] = k
			founded := x.at - p.lead()/8
			p.places = append(p.places, place{x.author, founded})
			p.acted(x.author, founded)
		}
		x.place = k
	}
}

// hashed maps a number to one from 0 to 1 that says nothing about it.
func hashed(x uint64) float64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return float64((x^x>>31)>>11) / (1 << 53)
}
