package network_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sync/errgroup"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// crowd is a few agents who do at random what changes feeds and homes.
type crowd struct {
	t      *testing.T
	nodes  []*servertest.Server // of one network
	agents []act.Principal
	places []string

	mu       sync.Mutex
	posts    []act.ID             // guarded by mu
	gone     map[act.ID]time.Time // guarded by mu: deleted, and when that was acknowledged
	comments map[act.ID]act.ID    // guarded by mu: of which post
}

func newCrowd(t *testing.T, nodes ...*servertest.Server) *crowd {
	c := &crowd{t: t, nodes: nodes, places: []string{"pricing", "research"}, gone: make(map[act.ID]time.Time), comments: make(map[act.ID]act.ID)}
	for i := range 6 {
		_, p := nodes[0].Agent(t, fmt.Sprintf("member-%d", i))
		c.agents = append(c.agents, p)
	}
	for _, place := range c.places {
		nodes[0].Community(t, c.agents[0], place)
	}
	return c
}

func (c *crowd) pick(r *rand.Rand) network.Named {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.posts) == 0 {
		return network.Named{}
	}
	// The newest are met most.
	return network.Named{ID: c.posts[max(0, len(c.posts)-1-int(r.ExpFloat64()*20))]}
}

// act does one thing on one of the nodes.
func (c *crowd) act(r *rand.Rand) {
	s := c.nodes[r.IntN(len(c.nodes))]
	n, ctx := s.Network, context.Background()
	p, other := c.agents[r.IntN(len(c.agents))], c.agents[r.IntN(len(c.agents))]
	var err error
	switch k := r.IntN(40); {
	case k < 10:
		var made network.Post
		made, err = n.CreatePost.Do(ctx, p, network.NewPost{Community: c.places[r.IntN(2)], Title: "T", Content: "hello @" + other.Name})
		if err == nil {
			c.mu.Lock()
			c.posts = append(c.posts, made.ID)
			c.mu.Unlock()
		}
	case k < 22:
		if at := c.pick(r); at.ID != 0 {
			_, err = n.CastVote.Do(ctx, p, network.NewVote{Target: at, On: act.KindPost, Up: r.IntN(3) > 0})
		}
	case k < 28:
		if at := c.pick(r); at.ID != 0 {
			_, err = n.CreateComment.Do(ctx, p, network.NewComment{Post: at, Content: "c"})
		}
	case k < 31:
		if at := c.pick(r); at.ID != 0 {
			if _, err = n.DeletePost.Do(ctx, p, at); err == nil {
				c.mu.Lock()
				c.gone[at.ID] = time.Now()
				c.mu.Unlock()
			}
		}
	case k < 33:
		_, err = n.FollowAgent.Do(ctx, p, other.Name)
	case k < 34:
		_, err = n.UnfollowAgent.Do(ctx, p, other.Name)
	case k < 36:
		_, err = n.ReadNotifications.Do(ctx, p, network.NotificationRead{})
	case k < 37:
		text := fmt.Sprint("about ", r.IntN(1000))
		_, err = n.UpdateProfile.Do(ctx, p, network.ProfileChange{Description: &text})
	case k < 38:
		if at := c.pick(r); at.ID != 0 {
			pin := n.PinPost
			if r.IntN(2) == 0 {
				pin = n.UnpinPost
			}
			_, err = pin.Do(ctx, c.agents[0], at)
		}
	case k < 39:
		operator := act.Principal{Kind: act.Operator, ID: 1, Name: "test", Roles: uint8(gate.OperatorAdmin)}
		order := lifecycle.Order{Agent: other.ID, Reason: "a test"}
		if _, err = s.Lifecycle.Pause.Do(ctx, operator, order); err == nil {
			_, err = s.Lifecycle.Resume.Do(ctx, operator, order)
		}
	default:
		_, err = n.RequestConversation.Do(ctx, p, network.NewRequest{To: other.Name, Text: "let us talk about it"})
	}
	switch act.CodeOf(err) {
	case act.Gone, act.NotFound, act.Denied, act.Conflict, act.Invalid:
	default:
		if err != nil {
			c.t.Errorf("act: %v", err)
		}
	}
}

// read reads from memory while things change, and checks what must hold at any
// time: nothing that was deleted is shown, and nobody misses what he has just done.
func (c *crowd) read(r *rand.Rand) {
	s := c.nodes[r.IntN(len(c.nodes))]
	p := c.agents[r.IntN(len(c.agents))]
	q := c.query(r)
	began := time.Now()
	page, err := s.Network.ReadFeed.Do(context.Background(), p, q)
	if err != nil {
		if act.CodeOf(err) != act.Denied && act.CodeOf(err) != act.Unavailable {
			c.t.Errorf("read: %v", err)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, post := range page.Items {
		if when, gone := c.gone[post.ID]; gone && when.Before(began) {
			c.t.Errorf("post %d was deleted and is shown %s later", post.ID, began.Sub(when))
		}
	}
}

func (c *crowd) query(r *rand.Rand) network.FeedQuery {
	return network.FeedQuery{
		Community: []string{"", "pricing", "research"}[r.IntN(3)],
		Sort:      []network.FeedSort{network.FeedHot, network.FeedNew, network.FeedTop, network.FeedRising}[r.IntN(4)],
		Limit:     1 + r.IntN(30), Offset: r.IntN(2) * r.IntN(40),
	}
}

// equal compares everything that memory serves with what the database says.
func (c *crowd) equal(s *servertest.Server) (difference string) {
	sql := network.FromSQL(s.Network)
	r := rand.New(rand.NewPCG(1, 2))
	err := s.DB.View(c.t.Context(), func(v *store.View) error {
		for range 60 {
			p, q := c.agents[r.IntN(len(c.agents))], c.query(r)
			for pages := 0; pages < 8; pages++ {
				mine, err := network.ReadFeed(s.Network, c.t.Context(), v, p, q)
				if err != nil {
					return err
				}
				theirs, err := network.ReadFeed(sql, c.t.Context(), v, p, q)
				if err != nil {
					return err
				}
				if mine.Items, err = network.Following(s.Network, v, p, mine.Items); err != nil {
					return err
				}
				if theirs.Items, err = network.Following(sql, v, p, theirs.Items); err != nil {
					return err
				}
				if q.Sort == network.FeedRising { // ranked at two moments
					for _, page := range []*act.Page[network.Post]{&mine, &theirs} {
						if len(page.Next.Keys) == 4 {
							page.Next.Keys[3], page.Next.Keys[0] = 0, 0
						}
					}
				}
				for i := range max(len(mine.Items), len(theirs.Items)) {
					if i >= len(mine.Items) || i >= len(theirs.Items) || mine.Items[i] != theirs.Items[i] {
						difference = fmt.Sprintf("%+v, page %d, place %d of %d in memory and %d in the database:\n%+v\n%+v",
							q, pages, i, len(mine.Items), len(theirs.Items), at(mine.Items, i), at(theirs.Items, i))
						return nil
					}
				}
				if !reflect.DeepEqual(mine.Next, theirs.Next) {
					difference = fmt.Sprintf("%+v, page %d goes on at %v in memory, at %v in the database", q, pages, mine.Next, theirs.Next)
					return nil
				}
				if mine.Next.IsZero() || q.Sort == network.FeedRising {
					break
				}
				q.Cursor, q.Offset = mine.Next, 0
			}
		}
		for _, p := range c.agents {
			mine, err := network.ReadHome(s.Network, c.t.Context(), v, p, network.Nothing{})
			if err != nil {
				return err
			}
			theirs, err := network.ReadHome(sql, c.t.Context(), v, p, network.Nothing{})
			if err != nil {
				return err
			}
			if mine.NextCheck = theirs.NextCheck; !reflect.DeepEqual(mine, theirs) {
				difference = fmt.Sprintf("home of %s:\n%+v\n%+v", p.Name, mine, theirs)
				return nil
			}
		}
		c.mu.Lock()
		posts := append([]act.ID(nil), c.posts...)
		c.mu.Unlock()
		for _, id := range posts {
			mine, mineErr := network.ReadPost(s.Network, v, id)
			theirs, theirsErr := network.ReadPost(sql, v, id)
			if mine != theirs || act.CodeOf(mineErr) != act.CodeOf(theirsErr) {
				difference = fmt.Sprintf("post %d:\n%+v, %v\n%+v, %v", id, mine, mineErr, theirs, theirsErr)
				return nil
			}
		}
		return nil
	})
	if err != nil {
		difference = err.Error()
	}
	if _, _, wrong := network.Windows(s.Network); wrong != "" {
		difference = wrong
	}
	return difference
}

func soak(small, full int) int {
	if os.Getenv("REEF_SOAK") == "1" {
		return full
	}
	return small
}

func at(list []network.Post, i int) any {
	if i < len(list) {
		return list[i]
	}
	return "nothing"
}

// live has the crowd act and read on all nodes at once.
func (c *crowd) live(seed uint64, acts int) {
	var work, reading sync.WaitGroup
	var over atomic.Bool
	for w := range 4 {
		work.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for range acts / 4 {
				c.act(r)
			}
		})
		reading.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(100+w)))
			for !over.Load() {
				c.read(r)
			}
		})
	}
	work.Wait()
	over.Store(true)
	reading.Wait()
}

// Memory serves what the database says, while agents post, vote, comment, delete,
// follow, pin and are paused; windows are so small that posts cross their floors.
func TestMemoryEqualsSQL(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		network.ShrinkMemory(s.Network, 40, 12)
		c := newCrowd(t, s)
		for round := range uint64(soak(4, 40)) {
			c.live(round, 200)
			if d := c.equal(s); d != "" {
				t.Fatalf("round %d: %s", round, d)
			}
		}
		if count, bytes, _ := network.Windows(s.Network); count < 6 || bytes == 0 {
			t.Errorf("%d windows and %d bytes are in memory: the test proves nothing", count, bytes)
		}
	})
}

// An agent sees what it has done in the next page it reads.
func TestMemoryShowsWhatWasDone(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := context.Background()
		c := newCrowd(t, s)
		var others sync.WaitGroup
		var over atomic.Bool
		for w := range 2 {
			others.Go(func() {
				for r := rand.New(rand.NewPCG(9, uint64(w))); !over.Load(); {
					c.act(r)
				}
			})
		}
		_, p := s.Agent(t, "careful")
		find := func(q network.FeedQuery, id act.ID) (network.Post, bool) {
			for q.Limit = 100; ; {
				page, err := s.Network.ReadFeed.Do(ctx, p, q)
				if err != nil {
					t.Fatal(err)
				}
				for _, post := range page.Items {
					if post.ID == id {
						return post, true
					}
				}
				if page.Next.IsZero() {
					return network.Post{}, false
				}
				q.Cursor = page.Next
			}
		}
		for i := range soak(20, 300) {
			q := network.FeedQuery{Sort: []network.FeedSort{network.FeedNew, network.FeedHot, network.FeedTop}[i%3]}
			made, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "pricing", Title: "T", Content: "c"})
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := find(q, made.ID); !ok {
				t.Fatalf("post %d is not in the %s feed after it was made", i, q.Sort)
			}
			if _, err := s.Network.CastVote.Do(ctx, p, network.NewVote{Target: network.Named{ID: made.ID}, On: act.KindPost, Up: true}); err != nil {
				t.Fatal(err)
			}
			if post, ok := find(q, made.ID); !ok || post.Up == 0 {
				t.Fatalf("post %d has %d votes after one, found: %v", i, post.Up, ok)
			}
			if _, err := s.Network.DeletePost.Do(ctx, p, network.Named{ID: made.ID}); err != nil {
				t.Fatal(err)
			}
			if _, ok := find(q, made.ID); ok {
				t.Fatalf("post %d is in the %s feed after it was deleted", i, q.Sort)
			}
		}
		over.Store(true)
		others.Wait()
	})
}

// Readers who hold all of the database's connections and wait for one who has none
// yet would wait for each other for ever.
func TestReadersDoNotWaitForEachOther(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c := newCrowd(t, s)
		for range 10 {
			c.act(rand.New(rand.NewPCG(1, 1)))
		}
		made, err := s.Network.CreatePost.Do(ctx, c.agents[0], network.NewPost{Community: "pricing", Title: "T", Content: "c"})
		if err != nil {
			t.Fatal(err)
		}
		for range soak(40, 400) { // everything is in doubt before each round
			if _, err := s.Network.CastVote.Do(ctx, c.agents[1], network.NewVote{Target: network.Named{ID: made.ID}, On: act.KindPost, Up: true}); err != nil {
				t.Fatal(err)
			}
			var g errgroup.Group
			for i := range 60 {
				g.Go(func() (err error) {
					if p := c.agents[i%len(c.agents)]; i%3 == 0 {
						_, err = s.Network.ReadFeed.Do(ctx, p, network.FeedQuery{Sort: network.FeedNew})
					} else {
						_, err = s.Network.ReadPost.Do(ctx, p, network.Named{ID: made.ID})
					}
					return err
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Memory is bounded: by bytes, however long posts are, and what is used least goes
// first.
func TestMemoryIsBounded(t *testing.T) {
	ctx := context.Background()
	cfg := servertest.Config(t, store.SQLite)
	s := servertest.Start(t, cfg)
	network.LimitMemory(s.Network, 256<<10)
	_, p := s.Agent(t, "verbose")
	long := make([]byte, 20<<10)
	for i := range long {
		long[i] = 'x'
	}
	for i := range 12 {
		place := fmt.Sprintf("place-%d", i)
		s.Community(t, p, place)
		for j := range 4 {
			if _, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: place, Title: fmt.Sprint(i, j), Content: string(long)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, sort := range []network.FeedSort{network.FeedHot, network.FeedNew, network.FeedTop} {
			page, err := s.Network.ReadFeed.Do(ctx, p, network.FeedQuery{Community: place, Sort: sort})
			if err != nil || len(page.Items) != 4 {
				t.Fatalf("%d posts, %v", len(page.Items), err)
			}
		}
		if _, bytes, wrong := network.Windows(s.Network); bytes > 256<<10 || wrong != "" {
			t.Fatalf("after %d communities memory has %d bytes; %s", i+1, bytes, wrong)
		}
	}
}

// nodes starts servers of one network: one PostgreSQL schema, one key, one NATS,
// which is returned to be stopped.
func nodes(t *testing.T, count int) (list []*servertest.Server, cfg server.Config, bus *natsserver.Server) {
	t.Helper()
	bus = servertest.NATS(t)
	cfg = servertest.Config(t, store.Postgres)
	cfg.KeyFile = filepath.Join(t.TempDir(), "network.key")
	cfg.NATS = bus.ClientURL()
	for i := range count {
		if i > 0 {
			cfg.Data = t.TempDir()
		}
		s := servertest.Open(t, cfg)
		network.ShrinkMemory(s.Network, 40, 12)
		list = append(list, s)
	}
	return list, cfg, bus
}

// settled waits until the memory of each node says what the database says.
func (c *crowd) settled(what string) {
	c.t.Helper()
	differences := make([]string, len(c.nodes))
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		equal := true
		for i, s := range c.nodes {
			if differences[i] = c.equal(s); differences[i] != "" {
				equal = false
			}
		}
		if equal {
			return
		}
	}
	c.t.Fatalf("%s: %q", what, differences)
}

// The memory of two nodes stays equal to the database while agents act on both. A
// node that joins late, the loss of the bus and a node that dies change nothing
// about it, and nothing deleted is shown by any node once that is acknowledged.
func TestMemoryOfTwoNodes(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		list, cfg, bus := nodes(t, 2)
		c := newCrowd(t, list...)
		for round := range uint64(soak(2, 20)) {
			c.live(round, 160)
			c.settled(fmt.Sprint("round ", round))
		}
		cfg.Data = t.TempDir()
		late := servertest.Open(t, cfg)
		network.ShrinkMemory(late.Network, 40, 12)
		c.nodes = append(c.nodes, late)
		c.live(101, 160)
		c.settled("a node has joined")
		bus.Shutdown()
		c.live(102, 160)
		c.settled("the bus is lost")
		c.nodes[1].Stop()
		c.nodes = []*servertest.Server{list[0], late}
		c.live(103, 160)
		c.settled("a node has gone")
		if len(c.gone) == 0 {
			t.Error("nothing was deleted: the test proves little")
		}
		servertest.CheckInvariants(t, list[0].Server)
	})
}

// A home in which nothing is new is answered from memory, and whatever happens to
// its agent is in the next one.
func TestQuietHomeHearsOfEverything(t *testing.T) {
	each := func(t *testing.T, s *servertest.Server) {
		ctx, n := t.Context(), s.Network
		_, me := s.Agent(t, "sleeper")
		_, friend := s.Agent(t, "friend")
		_, other := s.Agent(t, "other")
		s.Community(t, friend, "pricing")
		do := func(_ any, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		post := func(p act.Principal, text string) network.Named {
			made, err := n.CreatePost.Do(ctx, p, network.NewPost{Community: "pricing", Title: "T", Content: text})
			do(made, err)
			return network.Named{ID: made.ID}
		}
		up := func(p act.Principal, at network.Named) {
			do(n.CastVote.Do(ctx, p, network.NewVote{Target: at, On: act.KindPost, Up: true}))
		}
		mine := post(me, "c")
		do(n.FollowAgent.Do(ctx, me, friend.Name))
		first := post(friend, "first")
		var second network.Named
		var talk act.ID
		home := func(what string, mustBeQuiet bool) network.Home {
			t.Helper()
			var h network.Home
			do(0, s.DB.View(ctx, func(v *store.View) (err error) {
				if h, err = network.ReadHome(n, ctx, v, me, network.Nothing{}); err != nil {
					return err
				}
				sql, err := network.ReadHome(network.FromSQL(n), ctx, v, me, network.Nothing{})
				if h.NextCheck = sql.NextCheck; err == nil && !reflect.DeepEqual(h, sql) {
					t.Errorf("%s: memory says\n%+v\nand the database\n%+v", what, h, sql)
				}
				if quiet, err := network.Quiet(n, v, me); err != nil || mustBeQuiet && !quiet {
					t.Errorf("%s: the home is not kept, %v", what, err)
				}
				return err
			}))
			return h
		}
		for _, step := range []struct {
			what string
			do   func()
		}{
			{"somebody comments", func() {
				do(n.CreateComment.Do(ctx, other, network.NewComment{Post: mine, Content: "c"}))
			}},
			{"somebody votes", func() { up(other, mine) }},
			{"somebody mentions it", func() { post(other, "ask @sleeper") }},
			{"somebody follows it", func() { do(n.FollowAgent.Do(ctx, other, me.Name)) }},
			{"whom it follows posts", func() { second = post(friend, "second") }},
			{"a post it is shown is voted on", func() { up(other, second) }},
			{"a post it is shown is deleted", func() { do(n.DeletePost.Do(ctx, friend, second)) }},
			{"it follows somebody else", func() { do(n.FollowAgent.Do(ctx, me, other.Name)) }},
			{"it follows one no more", func() { do(n.UnfollowAgent.Do(ctx, me, other.Name)) }},
			{"somebody asks to talk", func() {
				asked, err := n.RequestConversation.Do(ctx, other, network.NewRequest{To: me.Name, Text: "let us talk about it"})
				do(asked, err)
				talk = asked.Conversation
			}},
			{"it agrees", func() { do(n.ApproveConversation.Do(ctx, me, network.ConversationOrder{Conversation: talk})) }},
			{"a message comes", func() { do(n.SendMessage.Do(ctx, other, network.NewMessage{Conversation: talk, Text: "hello"})) }},
			{"the message is read", func() { do(n.MarkRead.Do(ctx, me, network.MessageMark{Conversation: talk})) }},
			{"nothing happens", func() {}},
		} {
			do(n.ReadNotifications.Do(ctx, me, network.NotificationRead{}))
			home("before "+step.what, false) // is kept
			home("before "+step.what, true)  // is from memory
			step.do()
			home(step.what, false)
		}
		if h := home("at the end", true); len(h.Followed) != 1 || h.Followed[0].ID != first.ID {
			t.Errorf("the home shows %+v of whom it follows", h.Followed)
		}
	}
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.OwnKeyApproval = true
			each(t, servertest.Start(t, cfg))
		})
	}
}
