package world

import (
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"time"
)

// Survey measures a world by its rows. Rows of one kind come in the order of
// their ids. The zero value is ready.
type Survey struct {
	Agents, Claimed, Owners, Most int // Most: agents of the owner who has the most
	Begin, End                    time.Time
	Conversations                 int
	Subscribers                   int // of the default community

	seed    maphash.Seed
	seeded  bool
	posts   []SeenPost
	remarks []SeenComment
	texts   map[uint64]struct{}
	again   int
}

// SeenPost is a post as far as a survey looks at it.
type SeenPost struct {
	ID, Author, Place int64
	At                int64 // Unix microseconds
	Up, Comments      int64
	Bears             bool
}

// SeenComment is a comment as far as a survey looks at it.
type SeenComment struct {
	ID, Post, Parent, Author int64
	At                       int64 // Unix microseconds
	Depth, Up, Votes         int64
}

// Post takes a row in.
func (s *Survey) Post(p SeenPost, text string) {
	s.posts = append(s.posts, p)
	s.said(text)
}

// Comment takes a row in.
func (s *Survey) Comment(c SeenComment, text string) {
	s.remarks = append(s.remarks, c)
	s.said(text)
}

func (s *Survey) said(text string) {
	if !s.seeded {
		s.seed, s.seeded, s.texts = maphash.MakeSeed(), true, make(map[uint64]struct{})
	}
	h := maphash.String(s.seed, text)
	if _, known := s.texts[h]; known {
		s.again++
	}
	s.texts[h] = struct{}{}
}

// Figures returns what the world is beside what it was made to be.
func (s *Survey) Figures() []Figure {
	var list []Figure
	add := func(name string, source, made float64, unit, from string) {
		list = append(list, Figure{Name: name, Source: source, Made: made, Unit: unit, From: from, Choice: from == "a choice"})
	}
	days := s.End.Sub(s.Begin).Hours() / 24
	posts, remarks := float64(len(s.posts)), float64(len(s.remarks))
	add("agents for each day", density, float64(s.Agents)/max(days, 1e-9), "agents", "1.6 M in 40 d (2604.13052)")
	add("claimed", claimed, ratio(s.Claimed, s.Agents), "of agents", "1.36 M of 1.5 M (§4)")
	add("claimed agents of an owner", perOwner, ratio(s.Claimed, s.Owners), "agents", "1.5 M, 17,000 owners (§4)")
	add("agents of the largest owner", scripted, ratio(s.Most, s.Claimed), "of agents", "500,000 of 1.5 M by one script (§4)")

	who := s.people()
	add("take part", taking, ratio(len(who), s.Agents), "of agents", "120 k profiles beside 1.6 M agents (2604.13052)")
	add("participation exponent", exponent, who.exponent(), "", "2602.10131")
	add("Gini of posts", giniPosts, who.gini(func(a *account) float64 { return float64(a.posts) }, true), "", "2602.20044")
	add("Gini of upvotes", giniVotes, who.gini(func(a *account) float64 { return float64(a.up) }, false), "", "2602.20044")
	add("upvotes of the first tenth of accounts", 0.1, who.early(), "of upvotes", "early ones favoured, more than a tenth (2602.20044)")
	add("posts for each agent", postsEach, ratio(len(s.posts), s.Agents), "posts", "a choice")
	add("comments for each post", answers, remarks/posts, "comments", "6.7 M, 1.31 M (2604.13052)")
	add("posts and comments a second", 2.3, (posts+remarks)/max(s.End.Sub(s.Begin).Seconds(), 1), "1/s", "§5")
	add("exact duplicates", repeated, float64(s.again)/(posts+remarks), "of texts", "2602.10131")
	add("posts that bear instructions", injections, s.part(func(p *SeenPost) bool { return p.Bears }), "of posts", "Riegler & Gautam")
	add("posts for each community", perPlace, posts/float64(max(1, len(s.places()))), "posts", "1.31 M in 5,400 (2604.13052)")
	add("posts of the largest community", generalPosts, float64(slices.Max(append(s.places(), 0)))/posts, "of posts", "a choice")
	add("subscribers of the default community", general, ratio(s.Subscribers, s.Agents), "of agents", "130 k of 2–3 M (§5)")
	add("posts in the 3 min after :00 and :30", 0.1, s.part(func(p *SeenPost) bool {
		return p.At/1e6%int64(heartbeat.Seconds()) < 180
	}), "of posts", "spikes, more than a tenth (§5)")

	first, flatThreads, back := s.threads()
	depth, answeredOnce, unvoted := s.tree()
	add("median delay of the first comment", firstComment.Seconds(), first, "s", "2604.13052")
	add("mean depth of comments", meanDepth, depth, "", "2602.10131")
	add("comments without a reply", unanswered, 1-answeredOnce, "of comments", "2602.10131")
	add("threads without a reply", flat, flatThreads, "of threads", "2604.13052")
	add("authors who never come back", gone, 1-back, "of authors", "2604.13052")
	add("mutual answers", mutual, s.mutual(), "of pairs", "2604.13052; 0.197 among 6 k agents (2602.10131), 0.01 (2602.20044)")
	add("comments without a vote", voteless, unvoted, "of comments", "2604.13052")
	add("votes to comments of the post with most votes", 50, s.pushed(), "", "above 50; 316,857 : 762 (§4)")

	share, gap := s.relentless()
	add("comments of the four busiest", relentMost, share, "of comments", "2602.07432")
	add("seconds between their comments", relentGap.Seconds(), gap, "s", "2602.07432")
	add("conversations for each agent", talks, ratio(s.Conversations, s.Agents), "conversations", "4,060 beside 1.5 M keys (§4)")
	return list
}

func ratio(a, b int) float64 { return float64(a) / float64(max(1, b)) }

func (s *Survey) part(is func(*SeenPost) bool) float64 {
	n := 0
	for i := range s.posts {
		if is(&s.posts[i]) {
			n++
		}
	}
	return ratio(n, len(s.posts))
}

// places counts posts by community.
func (s *Survey) places() (sizes []int) {
	n := make(map[int64]int)
	for i := range s.posts {
		n[s.posts[i].Place]++
	}
	for _, size := range n {
		sizes = append(sizes, size)
	}
	return sizes
}

// account is one of those who take part.
type account struct {
	id                  int64
	posts, comments, up int64
}

type accounts []account

func (s *Survey) people() accounts {
	by := make(map[int64]*account)
	of := func(id int64) *account {
		a := by[id]
		if a == nil {
			a = &account{id: id}
			by[id] = a
		}
		return a
	}
	for i := range s.posts {
		a := of(s.posts[i].Author)
		a.posts, a.up = a.posts+1, a.up+s.posts[i].Up
	}
	for i := range s.remarks {
		a := of(s.remarks[i].Author)
		a.comments, a.up = a.comments+1, a.up+s.remarks[i].Up
	}
	list := make(accounts, 0, len(by))
	for _, a := range by {
		list = append(list, *a)
	}
	slices.SortFunc(list, func(a, b account) int { return cmp.Compare(a.id, b.id) })
	return list
}

// exponent is the most likely one of a power law, of how much accounts say, cut
// off at the most that any says. The relentless are not counted.
func (a accounts) exponent() float64 {
	said := make([]int64, len(a))
	for i := range a {
		said[i] = a[i].posts + a[i].comments
	}
	slices.Sort(said)
	said = said[:max(0, len(said)-relentless)]
	if len(said) == 0 {
		return 0
	}
	logs := 0.0
	for _, k := range said {
		logs += math.Log(float64(k))
	}
	most := said[len(said)-1]
	loss := func(alpha float64) float64 {
		z := 0.0
		for k := int64(1); k <= most; k++ {
			z += math.Pow(float64(k), -alpha)
		}
		return alpha*logs + float64(len(said))*math.Log(z)
	}
	low, high := 1.01, 4.0
	for range 40 {
		a, b := low+(high-low)/3, high-(high-low)/3
		if loss(a) < loss(b) {
			high = b
		} else {
			low = a
		}
	}
	return (low + high) / 2
}

func (a accounts) gini(of func(*account) float64, some bool) float64 {
	var list []float64
	for i := range a {
		if v := of(&a[i]); v > 0 || !some {
			list = append(list, v)
		}
	}
	slices.Sort(list)
	slices.Reverse(list)
	return giniOf(list)
}

func (a accounts) early() float64 {
	var first, all int64
	for i := range a {
		if all += a[i].up; i < len(a)/10 {
			first += a[i].up
		}
	}
	return float64(first) / float64(max(1, all))
}

func (s *Survey) post(id int64) *SeenPost {
	i, _ := slices.BinarySearchFunc(s.posts, id, func(p SeenPost, id int64) int { return cmp.Compare(p.ID, id) })
	return &s.posts[i]
}

func (s *Survey) comment(id int64) (int, *SeenComment) {
	i, _ := slices.BinarySearchFunc(s.remarks, id, func(c SeenComment, id int64) int { return cmp.Compare(c.ID, id) })
	return i, &s.remarks[i]
}

// threads returns the median delay of first comments in seconds, the part of the
// threads that have no reply to a comment, and that of the authors who come back
// to a thread of theirs.
func (s *Survey) threads() (first, flat, back float64) {
	begun := make(map[int64]int64)  // post to its first comment
	deep := make(map[int64]bool)    // post with a reply
	came := make(map[int64]bool)    // author
	authors := make(map[int64]bool) // of posts
	for i := range s.posts {
		authors[s.posts[i].Author] = true
	}
	for i := range s.remarks {
		c := &s.remarks[i]
		if at, known := begun[c.Post]; !known || c.At < at {
			begun[c.Post] = c.At
		}
		if c.Parent != 0 {
			deep[c.Post] = true
		}
		if author := s.post(c.Post).Author; author == c.Author {
			came[author] = true
		}
	}
	var delays []int64
	for id, at := range begun {
		delays = append(delays, at-s.post(id).At)
	}
	slices.Sort(delays)
	if len(delays) > 0 {
		first = float64(delays[len(delays)/2]) / 1e6
	}
	return first, 1 - ratio(len(deep), len(begun)), ratio(len(came), len(authors))
}

// tree returns the mean depth, the part of the comments that are answered and the
// part that nobody voted on.
func (s *Survey) tree() (depth, answered, unvoted float64) {
	has := make([]bool, len(s.remarks))
	var deep, with, without int
	for i := range s.remarks {
		c := &s.remarks[i]
		deep += int(c.Depth) + 1
		if c.Votes == 0 {
			without++
		}
		if c.Parent != 0 {
			if at, _ := s.comment(c.Parent); !has[at] {
				has[at] = true
				with++
			}
		}
	}
	return ratio(deep, len(s.remarks)), ratio(with, len(s.remarks)), ratio(without, len(s.remarks))
}

// mutual is the part of the pairs (a answers b) for which b answers a.
func (s *Survey) mutual() float64 {
	type pair struct{ from, to int64 }
	list := make([]pair, 0, len(s.remarks))
	for i := range s.remarks {
		c := &s.remarks[i]
		to := s.post(c.Post).Author
		if c.Parent != 0 {
			_, parent := s.comment(c.Parent)
			to = parent.Author
		}
		if to != c.Author {
			list = append(list, pair{c.Author, to})
		}
	}
	order := func(a, b pair) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) }
	slices.SortFunc(list, order)
	list = slices.Compact(list)
	n := 0
	for _, p := range list {
		if _, found := slices.BinarySearchFunc(list, pair{p.to, p.from}, order); found {
			n++
		}
	}
	return ratio(n, len(list))
}

// pushed is votes to comments of the post that has most votes.
func (s *Survey) pushed() float64 {
	var top SeenPost
	for i := range s.posts {
		if s.posts[i].Up > top.Up {
			top = s.posts[i]
		}
	}
	return float64(top.Up) / float64(max(1, top.Comments))
}

// relentless returns the part of the comments that the four busiest accounts make,
// and the median of the seconds between two of one of them.
func (s *Survey) relentless() (share, gap float64) {
	n := make(map[int64]int)
	for i := range s.remarks {
		n[s.remarks[i].Author]++
	}
	var ids []int64
	for id := range n {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b int64) int { return cmp.Or(cmp.Compare(n[b], n[a]), cmp.Compare(a, b)) })
	ids = ids[:min(relentless, len(ids))]
	last := make(map[int64]int64)
	var gaps []int64
	theirs := 0
	for i := range s.remarks {
		c := &s.remarks[i]
		if !slices.Contains(ids, c.Author) {
			continue
		}
		theirs++
		if at, known := last[c.Author]; known {
			gaps = append(gaps, c.At-at)
		}
		last[c.Author] = c.At
	}
	slices.Sort(gaps)
	if len(gaps) > 0 {
		gap = float64(gaps[len(gaps)/2]) / 1e6
	}
	return ratio(theirs, len(s.remarks)), gap
}
