package world

import (
	"math"
	"slices"
	"testing"
	"time"
)

var testEnd = time.Date(2026, 3, 9, 12, 0, 0, 0, time.UTC)

// surveyed measures a plan as if it had been lived.
func surveyed(p *Plan) *Survey {
	s := &Survey{Agents: p.Agents, Begin: p.Begin, End: p.End, Conversations: len(p.talks)}
	t := newTexts(p)
	at := func(ms uint32) int64 { return p.Begin.UnixMicro() + int64(ms)*1000 }
	owned := make(map[int32]int)
	for _, a := range p.agents {
		if a.claimed != 0 {
			s.Claimed++
			owned[a.owner]++
			s.Most = max(s.Most, owned[a.owner])
		}
	}
	s.Owners = len(owned)
	for _, j := range p.joins {
		if j.place == 0 {
			s.Subscribers++
		}
	}
	up, votes := make(map[int32]int64), make(map[int32]int64)
	for _, v := range p.votes {
		votes[v.on]++
		if !v.down {
			up[v.on]++
		}
	}
	comments := make([]int64, len(p.posts))
	for _, c := range p.remark {
		comments[c.post]++
	}
	for i, x := range p.posts {
		title, content := t.post(i, x.bears)
		s.Post(SeenPost{
			ID: int64(i + 1), Author: int64(x.author + 1), Place: int64(x.place), At: at(x.at), Up: up[int32(i)],
			Comments: comments[i], Bears: Bears(title),
		}, title+"\n"+content)
	}
	for i, c := range p.remark {
		seen := SeenComment{
			ID: int64(i + 1), Post: int64(c.post + 1), Parent: int64(c.parent + 1), Author: int64(c.author + 1), At: at(c.at),
			Up: up[int32(-1-i)], Votes: votes[int32(-1-i)],
		}
		if c.parent >= 0 {
			seen.Depth = s.remarks[c.parent].Depth + 1
		}
		s.Comment(seen, t.remark(i, c.relentless))
	}
	return s
}

// near says how far a figure may be from its source, as a part of it. Small worlds
// cannot have all of the tails.
var near = map[string]float64{
	"participation exponent": 0.06, "Gini of posts": 0.03, "Gini of upvotes": 0.01, "exact duplicates": 0.05,
	"posts that bear instructions": 0.25, "median delay of the first comment": 0.1, "mean depth of comments": 0.01,
	"comments without a reply": 0.01, "threads without a reply": 0.02, "authors who never come back": 0.02,
	"comments without a vote": 0.003, "comments of the four busiest": 0.05, "seconds between their comments": 0.05,
	"comments for each post": 0.05, "take part": 0.05, "claimed": 0.02, "claimed agents of an owner": 0.25,
	"agents of the largest owner": 0.1, "posts of the largest community": 0.05, "posts for each community": 0.2,
	"posts for each agent": 0.03, "subscribers of the default community": 0.15, "agents for each day": 0.01,
	"conversations for each agent": 0.3, "mutual answers": 0.35,
}

func TestPlanIsCalibrated(t *testing.T) {
	p := NewPlan(Options{Agents: 60_000, Seed: 7, End: testEnd})
	for _, f := range surveyed(p).Figures() {
		t.Logf("%-46s %10.4f %10.4f %s (%s)", f.Name, f.Source, f.Made, f.Unit, f.From)
		if tolerance, ok := near[f.Name]; ok && math.Abs(f.Made-f.Source) > tolerance*f.Source {
			t.Errorf("%s is %.4f, want %.4f", f.Name, f.Made, f.Source)
		}
	}
}

// Every step comes after what it needs, and nobody votes twice or for themselves.
func TestPlanIsPossible(t *testing.T) {
	for _, seed := range []uint64{1, 2} {
		p := NewPlan(Options{Agents: 5_000, Seed: seed, End: testEnd})
		if !slices.IsSortedFunc(p.steps, func(a, b step) int { return int(int64(a.at) - int64(b.at)) }) {
			t.Error("the steps are not in order")
		}
		voted := make(map[[2]int32]bool)
		for _, v := range p.votes {
			author := int32(0)
			if v.on >= 0 {
				author = p.posts[v.on].author
			} else {
				author = p.remark[-1-v.on].author
			}
			if k := [2]int32{v.voter, v.on}; voted[k] || author == v.voter {
				t.Fatalf("%d votes on %d twice or on its own", v.voter, v.on)
			} else {
				voted[k] = true
			}
		}
		for i, c := range p.remark {
			x := p.posts[c.post]
			if c.at <= x.at || c.author == x.author && !c.back || c.parent >= int32(i) {
				t.Fatalf("comment %d on %d is impossible: %+v on %+v", i, c.post, c, x)
			}
			if c.parent >= 0 && (p.remark[c.parent].post != c.post || p.remark[c.parent].at >= c.at) {
				t.Fatalf("comment %d answers %+v: %+v", i, p.remark[c.parent], c)
			}
		}
		for _, s := range p.steps {
			if a := p.agents[s.who]; s.deed > claim && (a.claimed == 0 || a.claimed > s.at) || s.at >= p.ms() {
				t.Fatalf("%s at %d by an agent that is claimed at %d of %d", s.deed, s.at, a.claimed, p.ms())
			}
		}
	}
}

func TestPlanFollowsItsSeed(t *testing.T) {
	a := NewPlan(Options{Agents: 2_000, Seed: 1, End: testEnd})
	b := NewPlan(Options{Agents: 2_000, Seed: 1, End: testEnd.Add(time.Minute)}) // in the same half-hour
	c := NewPlan(Options{Agents: 2_000, Seed: 2, End: testEnd})
	if !slices.Equal(a.steps, b.steps) || !slices.Equal(a.votes, b.votes) || !slices.Equal(a.remark, b.remark) {
		t.Error("one seed makes two worlds")
	}
	if slices.Equal(a.steps, c.steps) {
		t.Error("two seeds make one world")
	}
	ta, tb := newTexts(a), newTexts(b)
	for i := range a.agents {
		if ta.name(i) != tb.name(i) {
			t.Fatal("one seed makes two names")
		}
	}
}

func TestCounts(t *testing.T) {
	for _, c := range []struct{ n, total int }{{1, 5}, {10, 10}, {75, 1_760}, {1_500, 35_000}, {9, 3}} {
		list := powers(c.n, c.total, 1.7, maxPower)
		sum := 0
		for i, v := range list {
			sum += v
			if v < 1 || i > 0 && v > list[i-1]+1 {
				t.Errorf("powers(%d, %d): %v", c.n, c.total, list)
			}
		}
		if want := max(c.total, c.n); len(list) != c.n || sum != want {
			t.Errorf("powers(%d, %d) are %d numbers and add up to %d", c.n, c.total, len(list), sum)
		}
	}
	if g := giniOf([]float64{1, 0, 0, 0}); math.Abs(g-0.75) > 1e-9 {
		t.Errorf("Gini of one who has all of four: %f", g)
	}
	if g := giniOf([]float64{2, 2, 2}); math.Abs(g) > 1e-9 {
		t.Errorf("Gini of equals: %f", g)
	}
}
