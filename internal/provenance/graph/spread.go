package graph

import (
	"cmp"
	"crypto/sha256"
	"hash/maphash"
	"slices"
	"strings"
	"unicode"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Copies is how a text went round.
type Copies struct {
	Read
	Of       []Copy // a part of them, in the order in which they were made
	Total    int
	Compared int // texts that were compared: what was made by who had been shown it
	Unread   int // things that were made so and whose text cannot be read: messages, what was deleted
	// Gens are copies by generation, from 0: what the question began with. R is how many
	// copies of the next generation each one of a generation led to.
	Gens []int
	R    []float64
	Told
}

// Copy is one text like another.
type Copy struct {
	Step
	From  act.ID  // the copy that its author had been shown; 0 at the start
	Like  float64 // the part of the text that it has, 0 to 1
	Exact bool
}

const (
	nearEnough  = 0.4 // part of a text's shingles that a near copy has
	shingle     = 5   // characters
	compareAt   = 1000
	compareMost = 200_000 // texts that are looked at for a digest, the newest
)

func textual(id act.ID) bool {
	return id.Kind() == act.KindPost || id.Kind() == act.KindComment || id.Kind() == act.KindTask
}

// withHash finds the things whose text has a digest, and the text.
func (a *Acts) withHash(v *store.View, hash string) (items []act.ID, text string, err error) {
	sum, err := parseHash(hash)
	if err != nil {
		return nil, "", err
	}
	if err := a.Graph.Refresh(v); err != nil {
		return nil, "", err
	}
	for part := range slices.Chunk(a.Graph.newestTexts(compareMost), compareAt) {
		texts, err := a.Texts(v, part)
		if err != nil {
			return nil, "", err
		}
		for id, one := range texts {
			if sha256.Sum256([]byte(one)) == sum {
				items, text = append(items, id), one
			}
		}
	}
	if len(items) == 0 {
		return nil, "", act.Errorf(act.NotFound, "nothing that can be read has that digest").WithRule("trace.hash").
			WithHint("it is that of the whole text as it was written; name a post or comment by its id instead")
	}
	slices.Sort(items)
	return items, text, nil
}

// newestTexts lists what was made and has a text, the newest first.
func (g *Graph) newestTexts(most int) (ids []act.ID) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	seen := newBits(len(g.items.ids))
	for i := len(g.log.item) - 1; i >= 0 && len(ids) < most; i-- {
		item := g.log.item[i]
		if id := g.items.ids[item]; g.log.deeds[g.log.deed[i]].makes && textual(id) && !seen.has(item) {
			seen.put(item)
			ids = append(ids, id)
		}
	}
	return ids
}

func (a *Acts) spread(v *store.View, q Question) (out Copies, err error) {
	var text string
	from := Start{}
	if q.Subject.Hash != "" {
		from.Items, text, err = a.withHash(v, q.Subject.Hash)
	} else {
		from.Items = []act.ID{q.Subject.ID}
		if !textual(q.Subject.ID) {
			return out, act.Errorf(act.Invalid, "only posts, comments and tasks can be compared").WithRule("trace.subject").
				WithHint("name one by its id, or a text by sha256:DIGEST")
		}
		var texts map[act.ID]string
		texts, err = a.Texts(v, from.Items)
		if text = texts[q.Subject.ID]; err == nil && text == "" {
			err = act.Errorf(act.Gone, "its text cannot be read any more").WithRule("trace.text").WithHint("follow it with trace.blast")
		}
	}
	if err != nil {
		return out, err
	}
	r, err := a.Graph.Forward(v, from)
	if err != nil {
		return out, err
	}
	like, err := a.alike(v, &out, text, r.Possible.Items)
	if err != nil {
		return out, err
	}
	from.only = make(map[act.ID]bool)
	for id := range like {
		from.only[id] = true
	}
	if r, err = a.Graph.Forward(v, from); err != nil {
		return out, err
	}
	out.Read, out.Total = r.Read, len(r.Possible.Items)
	via := make(map[act.ID]act.ID) // by agent: the copy that it was shown
	for _, s := range r.Possible.Agents {
		via[s.ID] = s.Via
	}
	var ids []act.ID
	for _, s := range r.Possible.Items {
		for len(out.Gens) <= s.Gen {
			out.Gens = append(out.Gens, 0)
		}
		out.Gens[s.Gen]++
	}
	for _, s := range part(q, r.Possible.Items) {
		c := Copy{Step: s, Like: like[s.ID]}
		c.Exact = c.Like > 1
		c.Like = min(c.Like, 1)
		if s.Gen > 0 {
			c.From = via[s.Via]
		}
		out.Of = append(out.Of, c)
		ids = append(ids, s.ID, s.Via)
	}
	for i := 0; i+1 < len(out.Gens); i++ {
		out.R = append(out.R, float64(out.Gens[i+1])/float64(max(1, out.Gens[i])))
	}
	out.Told, err = a.tell(v, ids)
	return out, err
}

// alike compares a text with those of things: the part of it that each has, 2 for one that
// is the same but for case and spaces.
func (a *Acts) alike(v *store.View, out *Copies, text string, among []Step) (map[act.ID]float64, error) {
	seed := maphash.MakeSeed()
	plain := folded(text)
	want := shingles(seed, plain)
	like := make(map[act.ID]float64)
	var ids []act.ID
	for _, s := range among {
		if textual(s.ID) {
			ids = append(ids, s.ID)
		} else {
			out.Unread++
		}
	}
	for part := range slices.Chunk(ids, compareAt) {
		texts, err := a.Texts(v, part)
		if err != nil {
			return nil, err
		}
		out.Unread += len(part) - len(texts)
		out.Compared += len(texts)
		for id, one := range texts {
			other := folded(one)
			if other == plain {
				like[id] = 2
				continue
			}
			both := 0
			has := shingles(seed, other)
			for h := range want {
				if _, is := has[h]; is {
					both++
				}
			}
			if part := float64(both) / float64(max(1, len(want))); part >= nearEnough {
				like[id] = part
			}
		}
	}
	return like, nil
}

// folded is a text without what does not change what it says.
func folded(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}

// shingles are the hashes of all runs of characters of one length.
func shingles(seed maphash.Seed, text string) map[uint64]struct{} {
	r := []rune(text)
	set := make(map[uint64]struct{}, len(r))
	for i := 0; i == 0 || i+shingle <= len(r); i++ {
		set[maphash.String(seed, string(r[i:min(len(r), i+shingle)]))] = struct{}{}
	}
	return set
}

// Flow is how reputation came to an agent, or to one thing, and what became of it.
type Flow struct {
	Received, Given []Current // parts of them, the most votes first
	From, To        int       // how many agents there are
	Accounts        int       // that voted for it or follow it
	// Sources are those who answer for these accounts, each once. Accounts that nobody
	// answers for count as one: anybody can have made them all.
	Sources int
	Told
}

// Current is what went between two agents.
type Current struct {
	Agent       act.ID
	Votes       int   // on different things
	Value       int64 // of these votes now: up less down
	Follows     bool
	First, Last int64 // Unix microseconds
}

func (a *Acts) flow(v *store.View, q Question) (out Flow, err error) {
	if q.Subject.ID == 0 {
		return out, act.Errorf(act.Invalid, "reputation is of an agent or a thing").WithRule("trace.subject").WithHint("name an agent, post or comment by its id")
	}
	if err := a.Graph.Refresh(v); err != nil {
		return out, err
	}
	received, given := a.Graph.currents(q.Subject.ID)
	ids := []act.ID{}
	for _, side := range []struct {
		all   []*current
		count *int
		list  *[]Current
		in    bool
	}{{received, &out.From, &out.Received, true}, {given, &out.To, &out.Given, false}} {
		*side.count = len(side.all)
		for _, c := range part(q, side.all) {
			for _, vote := range c.votes {
				value, err := a.Voted(v, vote.agent, vote.item)
				if err != nil {
					return out, err
				}
				c.Value += value
			}
			*side.list = append(*side.list, c.Current)
			ids = append(ids, c.Agent)
		}
	}
	if out.Told, err = a.tell(v, ids); err != nil {
		return out, err
	}
	return out, a.count(v, &out, received)
}

// count counts who stands behind what was received.
func (a *Acts) count(v *store.View, out *Flow, received []*current) error {
	var ids []act.ID
	for _, c := range received {
		ids = append(ids, c.Agent)
	}
	people, err := a.People(v, ids)
	if err != nil {
		return err
	}
	owners := make(map[string]bool)
	for _, id := range ids {
		owners[people[id].Owner] = true
	}
	out.Accounts, out.Sources = len(ids), len(owners)
	return nil
}

// current is a Current in the making.
type current struct {
	Current
	votes []castVote
}

type castVote struct{ agent, item act.ID }

// currents lists what others gave to an agent or a thing, and what it gave.
func (g *Graph) currents(of act.ID) (received, given []*current) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	in, out := make(map[act.ID]*current), make(map[act.ID]*current)
	voted := make(map[castVote]bool)
	l := &g.log
	for i, n := range l.deed {
		d := l.deeds[n]
		if d.kind != "vote" && d.kind != "follow" {
			continue
		}
		actor, about := g.agents.ids[l.actor[i]], g.items.ids[l.item[i]]
		to := about
		if d.kind == "vote" {
			if place, made := l.maker(l.item[i], l.seq[i]); made {
				to = g.agents.ids[l.actor[place]]
			}
		}
		from, with := in, actor
		switch {
		case to == of || about == of:
		case actor == of:
			from, with = out, to
		default:
			continue
		}
		c := from[with]
		if c == nil {
			c = &current{Current: Current{Agent: with, First: l.at[i]}}
			from[with] = c
		}
		c.Last = l.at[i]
		if d.kind == "follow" {
			c.Follows = !strings.HasSuffix(d.name, "unfollow")
			continue
		}
		if vote := (castVote{actor, about}); !voted[vote] {
			voted[vote] = true
			c.Votes++
			c.votes = append(c.votes, vote)
		}
	}
	return most(in), most(out)
}

func most(all map[act.ID]*current) (list []*current) {
	for _, c := range all {
		if c.Votes > 0 || c.Follows {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *current) int { return cmp.Or(cmp.Compare(b.Votes, a.Votes), cmp.Compare(a.Agent, b.Agent)) })
	return list
}
