package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/world"
)

// deed is what an agent does in the mix.
type deed uint8

// The deeds.
const (
	doHome deed = iota
	doFeed
	doThread
	doSearch
	doVote
	doFollow
	doComment
	doPost
	deeds
)

func (d deed) String() string {
	return [...]string{"home", "feed", "thread", "search", "vote", "follow", "comment", "post"}[d]
}

const (
	recentPosts = 2_000  // that readers look at most
	topPosts    = 10_000 // with the most votes
	lastActs    = 50_000 // of which the authors go on
	someTitles  = 2_000  // that searches take their words from
	someAuthors = 2_000  // that others follow

	saidAgain = 0.341 // of posts and comments say exactly what was said before (Holtz)
	downvoted = 0.03  // of votes: a choice, that of worlds
	nested    = 0.065 // of comments answer one: mean depth 1.07 (Holtz)
)

// item is a post as its readers know it.
type item struct{ id, author act.ID }

// remark is a comment that can be answered.
type remark struct{ id, post act.ID }

// crowd is the agents of a kept world, with what they do and where. What it draws
// is skewed as the world is: who wrote most writes most, and so on. Everything but
// the rings stays as it was read. Safe for concurrent use.
type crowd struct {
	kept  *world.Kept
	codec *act.Codec

	claimed []int32 // residents that may act
	posts   []item  // by age, the oldest first
	top     []item  // by votes, the most first
	writers []int32 // a resident for each of the last comments
	voters  []int32 // and for each vote
	places  []string
	weights []int // of the places, added up
	authors []act.ID
	names   []string // the authors'
	titles  [][]string

	said atomic.Uint64 // texts that were made

	mu      sync.Mutex
	recent  ring[item]   // guarded by mu
	remarks ring[remark] // guarded by mu
}

// ring keeps the last of what is put into it.
type ring[T any] struct {
	list []T
	next int
	most int
}

func (r *ring[T]) put(v T) {
	if len(r.list) < r.most {
		r.list = append(r.list, v)
		return
	}
	r.list[r.next] = v
	r.next = (r.next + 1) % r.most
}

// back returns the n-th last, 0 for the last.
func (r *ring[T]) back(n int) T {
	k := len(r.list)
	return r.list[(r.next+k-1-n%k+k)%k]
}

// The crowd reads indexes and the ends of tables, so that a large world costs
// seconds. The server does not run meanwhile.
const (
	crowdPosts   = `SELECT id, author FROM post INDEXED BY post_author_new`
	crowdTop     = `SELECT id, 0 FROM post ORDER BY score DESC, id DESC LIMIT 10000`
	crowdWriters = `SELECT author, 0 FROM comment ORDER BY id DESC LIMIT 50000`
	crowdVoters  = `SELECT agent, 0 FROM vote`
	crowdPlaces  = `SELECT post_count, name FROM community ORDER BY id`
	crowdTitles  = `SELECT id, title FROM post ORDER BY id DESC LIMIT 2000`
	crowdName    = `SELECT id, name FROM profile WHERE id = $1`
)

// gather reads the crowd of a kept world.
func gather(k *world.Kept) (c *crowd, err error) {
	c = &crowd{kept: k, recent: ring[item]{most: recentPosts}, remarks: ring[remark]{most: recentPosts}}
	keys, err := identity.LoadKeys(server.Config{Data: k.Dir}.KeyPath())
	if err != nil {
		return nil, err
	}
	if c.codec, err = act.NewCodec(keys.CodecKey()); err != nil {
		return nil, err
	}
	for i := range k.Agents {
		if _, claimed := k.AppendKey(nil, i); claimed {
			c.claimed = append(c.claimed, int32(i))
		}
	}
	conn, err := sqlite.OpenConn(databaseFile(k.Dir), sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // only read
	each := func(q string, row func(n int64, text string), args ...any) {
		err = errors.Join(err, sqlitex.Execute(conn, q, &sqlitex.ExecOptions{Args: args, ResultFunc: func(s *sqlite.Stmt) error {
			row(s.ColumnInt64(0), s.ColumnText(1))
			return nil
		}}))
	}
	err = errors.Join(err, sqlitex.Execute(conn, crowdPosts, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		c.posts = append(c.posts, item{act.ID(s.ColumnInt64(0)), act.ID(s.ColumnInt64(1))})
		return nil
	}}))
	slices.SortFunc(c.posts, func(a, b item) int { return int(min(max(a.id-b.id, -1), 1)) })
	each(crowdTop, func(n int64, _ string) {
		if i, ok := slices.BinarySearchFunc(c.posts, act.ID(n), func(p item, id act.ID) int { return int(min(max(p.id-id, -1), 1)) }); ok {
			c.top = append(c.top, c.posts[i])
		}
	})
	resident := func(into *[]int32) func(int64, string) {
		return func(n int64, _ string) {
			if i, ok := k.Find(act.ID(n)); ok {
				*into = append(*into, int32(i))
			}
		}
	}
	each(crowdWriters, resident(&c.writers))
	each(crowdVoters, resident(&c.voters))
	total := 0
	each(crowdPlaces, func(n int64, name string) {
		total += int(n) + 1
		c.places, c.weights = append(c.places, name), append(c.weights, total)
	})
	each(crowdTitles, func(_ int64, title string) {
		if words := strings.FieldsFunc(strings.ToLower(title), func(r rune) bool { return r < 'a' || r > 'z' }); len(words) > 0 {
			c.titles = append(c.titles, words)
		}
	})
	if err == nil && (len(c.claimed) == 0 || len(c.posts) == 0 || len(c.top) == 0 || len(c.writers) == 0 || len(c.voters) == 0 || len(c.titles) == 0) {
		err = fmt.Errorf("in the world %s nobody does anything", k.Dir)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range c.posts[max(0, len(c.posts)-recentPosts):] {
		c.recent.put(p)
	}
	r := rand.New(rand.NewPCG(k.Seed, 1)) //nolint:gosec // whom to follow
	for range someAuthors {
		each(crowdName, func(n int64, name string) {
			c.authors, c.names = append(c.authors, act.ID(n)), append(c.names, name)
		}, int64(c.posts[r.IntN(len(c.posts))].author))
	}
	return c, err
}

// one draws an element.
func one[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// ranked draws a rank below n, the first ones most: by Zipf's law, nearly.
func ranked(r *rand.Rand, n int) int { return int(math.Pow(float64(n), r.Float64())) - 1 }

// post draws what is read, voted on and answered: half of it is new, three tenths
// have many votes, the rest is any. That is a choice; what readers looked at was
// never on record where the world was measured.
func (c *crowd) post(r *rand.Rand) item {
	switch u := r.Float64(); {
	case u < 0.5:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.recent.back(ranked(r, len(c.recent.list)))
	case u < 0.8:
		return c.top[ranked(r, len(c.top))]
	}
	return one(r, c.posts)
}

func (c *crowd) place(r *rand.Rand) string {
	i, _ := slices.BinarySearch(c.weights, 1+r.IntN(c.weights[len(c.weights)-1]))
	return c.places[i]
}

// other draws a resident that is not an author: nobody votes on its own.
func (c *crowd) other(r *rand.Rand, from []int32, author act.ID) int32 {
	for range 100 {
		i := one(r, from)
		if n, ok := c.kept.Find(author); !ok || n != int(i) {
			return i
		}
	}
	return one(r, c.claimed)
}

// text returns what is said: a third of it word for word what was said before.
func (c *crowd) text(r *rand.Rand) (title, content string) {
	n := c.said.Add(1)
	if r.Float64() < saidAgain {
		return prose(ranked(r, 64))
	}
	return prose(int(1<<40 + n + uint64(c.kept.Acts)<<20))
}

// The kinds of feed page that are read.
var feedPages = [...]struct {
	share float64
	path  string // ends where a community's name goes, if it is one's
	rest  string
}{
	{0.40, "/api/v1/feed?sort=hot&limit=25", ""},
	{0.25, "/api/v1/posts?sort=new&limit=25", ""},
	{0.25, "/api/v1/submolts/", "/feed?sort=hot&limit=25"},
	{0.05, "/api/v1/posts?sort=top&limit=25", ""},
	{0.05, "/api/v1/posts?sort=new&limit=25&offset=25", ""},
}

// request appends a whole request of somebody who does d.
func (c *crowd) request(r *rand.Rand, d deed, dst []byte) []byte {
	who := one(r, c.claimed)
	writes := d >= doVote
	var body []byte
	b := append(dst, "GET "...)
	if writes {
		b = append(dst, "POST "...)
	}
	switch d {
	case doHome:
		b = append(b, homePath...)
	case doFeed:
		u := r.Float64()
		for i := range feedPages {
			if p := &feedPages[i]; u < p.share || i == len(feedPages)-1 {
				if b = append(b, p.path...); p.rest != "" {
					b = append(append(b, c.place(r)...), p.rest...)
				}
				break
			} else {
				u -= p.share
			}
		}
	case doThread:
		b = c.codec.Append(append(b, postsPath...), c.post(r).id)
		if r.IntN(3) > 0 {
			b = append(b, "/comments?limit=25"...)
		}
	case doSearch:
		words := one(r, c.titles)
		b = append(append(b, "/api/v1/search?limit=20&q="...), one(r, words)...)
		if r.IntN(2) == 0 {
			b = append(append(b, '+'), one(r, words)...)
		}
	case doVote:
		p := c.post(r)
		who = c.other(r, c.voters, p.author)
		b = c.codec.Append(append(b, postsPath...), p.id)
		if r.Float64() < downvoted {
			b = append(b, "/downvote"...)
		} else {
			b = append(b, "/upvote"...)
		}
	case doFollow:
		i := r.IntN(len(c.names))
		who = c.other(r, c.voters, c.authors[i])
		b = append(append(append(b, "/api/v1/agents/"...), c.names[i]...), "/follow"...)
	case doComment:
		var parent act.ID
		at := c.post(r).id
		if r.Float64() < nested {
			c.mu.Lock()
			if n := len(c.remarks.list); n > 0 {
				on := c.remarks.back(ranked(r, n))
				at, parent = on.post, on.id
			}
			c.mu.Unlock()
		}
		who = one(r, c.writers)
		_, content := c.text(r)
		body = encoded(map[string]string{"content": content[:100+r.IntN(200)], "parent_id": c.codec.String(parent)})
		b = append(c.codec.Append(append(b, postsPath...), at), "/comments"...)
	case doPost:
		if i, ok := c.kept.Find(one(r, c.posts).author); ok {
			who = int32(i)
		}
		title, content := c.text(r)
		body = encoded(map[string]string{"submolt_name": c.place(r), "title": title, "content": content})
		b = append(b, "/api/v1/posts"...)
	case deeds:
	}
	b = append(b, headRest...)
	b, _ = c.kept.AppendKey(b, int(who))
	b = append(b, "\r\n"...)
	if writes {
		return appendBody(b, body)
	}
	return append(b, "\r\n"...)
}

const postsPath = "/api/v1/posts/"

func encoded(m map[string]string) []byte {
	if m["parent_id"] == "" {
		delete(m, "parent_id")
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings
	}
	return b
}

// keptBody is how much of an answer is looked at for the id of what was made.
const keptBody = 1024

// made takes notice of what an answer says was made, so that others come to it.
func (c *crowd) made(d deed, body []byte) {
	id := func(after string) act.ID {
		_, rest, ok := bytes.Cut(body, []byte(after))
		if !ok || len(rest) < 36 {
			return 0
		}
		id, err := c.codec.Parse(string(rest[:36]))
		if err != nil {
			return 0
		}
		return id
	}
	switch d {
	case doPost:
		if p := (item{id(`"post":{"id":"`), id(`"author_id":"`)}); p.id != 0 && p.author != 0 {
			c.mu.Lock()
			c.recent.put(p)
			c.mu.Unlock()
		}
	case doComment:
		if m := (remark{id(`"comment":{"id":"`), id(`"post_id":"`)}); m.id != 0 && m.post != 0 {
			c.mu.Lock()
			c.remarks.put(m)
			c.mu.Unlock()
		}
	case doHome, doFeed, doThread, doSearch, doVote, doFollow, deeds:
	}
}
