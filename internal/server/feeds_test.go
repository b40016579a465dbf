package server_test

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// holdIn makes every post in one community wait for the word of a human.
const holdIn = `@id("hold-in") @hold("owner")
permit (principal is Agent, action == Action::"post.create", resource in Community::"%s") when { principal.standing == "active" };`

const (
	checkedPlace = "checked" // the community whose posts wait
	members      = 6
)

// town is agents who live on several processes of one network, and what they were told.
type town struct {
	t       *testing.T
	site    *site
	codec   *act.Codec
	db      *store.DB // to look at the truth
	token   string    // the operators'
	agents  []clusterAgent
	victims []clusterAgent // to be killed, one after the other
	*ledger

	nodes []*node // that take requests; changed only while nobody acts
	firm  []*node // those of them that stay

	mu       sync.Mutex
	posts    []written // guarded by mu
	comments []written // guarded by mu
	titles   atomic.Int64
}

type written struct {
	id     string
	author clusterAgent
}

// newTown makes the network, its members and its rule by a server that ends before the
// nodes begin.
func newTown(t *testing.T, victims int) *town {
	t.Helper()
	c := &town{t: t, site: newSite(t), ledger: newLedger()}
	cfg := servertest.Config(t, store.Postgres)
	cfg.DB, cfg.Schema, cfg.KeyFile = c.site.cfg.URL, c.site.cfg.Schema, c.site.keyFile
	s := servertest.Open(t, cfg)
	c.token = s.Token
	var first act.Principal
	for i := range members + victims {
		key, p := s.Agent(t, fmt.Sprintf("member-%d", i))
		a := clusterAgent{p.Name, s.Codec.String(p.ID), key}
		if i < members {
			c.agents = append(c.agents, a)
		} else {
			c.victims = append(c.victims, a)
		}
		if i == 0 {
			first = p
		}
	}
	for _, name := range []string{"pricing", "research"} {
		s.Community(t, first, name)
	}
	b, err := policy.Default(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.Version = s.Policy.Version() + 1
	b.Files = append(b.Files, policy.File{Name: "test.cedar", Text: fmt.Sprintf(holdIn, s.Codec.String(s.Community(t, first, checkedPlace).ID))})
	raw, err := policy.Sign(b, s.Keys.PolicyKey())
	if err != nil {
		t.Fatal(err)
	}
	if b, err = policy.Parse(raw, s.Keys.PolicyKey().Public().(ed25519.PublicKey)); err != nil {
		t.Fatal(err)
	}
	if err := s.DB.Write(t.Context(), func(tx *store.Tx) error {
		_, err := policy.Save(tx, b, policy.Origin{Source: policy.SourceOperator})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	keys, err := identity.LoadKeys(c.site.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if c.codec, err = act.NewCodec(keys.CodecKey()); err != nil {
		t.Fatal(err)
	}
	c.db = storetest.OpenConfig(t, c.site.cfg)
	return c
}

// join starts a node.
func (c *town) join() *node { return c.site.node(c.t, "--observer-pages", "public") }

// ask sends a request and returns what came of it and when.
func (c *town) ask(n *node, method, path, token string, body any) (status int, answer map[string]any, s span) {
	p := n.process()
	s.began = time.Now()
	status, answer = p.call(method, path, token, body)
	s.ended = time.Now()
	return status, answer, s
}

func pick[T any](r *rand.Rand, list []T) (x T) {
	if len(list) == 0 {
		return x
	}
	return list[max(0, len(list)-1-int(r.ExpFloat64()*12))] // the newest are met most
}

// read shows somebody a page.
func (c *town) read(r *rand.Rand) {
	n, by := c.nodes[r.IntN(len(c.nodes))], c.agents[r.IntN(len(c.agents))]
	if r.IntN(4) == 0 {
		by = c.victims[r.IntN(len(c.victims))]
	}
	sort := []string{"hot", "new", "top", "rising"}[r.IntN(4)]
	c.mu.Lock()
	post := pick(r, c.posts).id
	c.mu.Unlock()
	var path string
	switch k := r.IntN(20); {
	case k < 6:
		path = "/v1/posts?limit=50&sort=" + sort
	case k < 10:
		path = "/v1/posts?limit=50&community=pricing&sort=" + sort
	case k < 12:
		path = "/v1/posts?of=following&sort=" + sort
	case k < 14 && post != "":
		path = "/v1/posts/" + post
	case k < 16 && post != "":
		path = "/v1/posts/" + post + "/comments"
	case k < 17:
		path = "/v1/search?q=chain"
	case k < 18:
		path = "/v1/home"
	default:
		path, by = "/index.json?sort="+sort, clusterAgent{}
	}
	c.show(n, by, path)
}

// show notes what somebody is shown, if anything is.
func (c *town) show(n *node, to clusterAgent, path string) {
	status, answer, s := c.ask(n, http.MethodGet, path, to.key, nil)
	if status == http.StatusOK {
		items := itemsOf(answer, nil)
		c.note(func() { c.pages = append(c.pages, page{n, to.id, path, items, s}) })
	}
}

// write has somebody do something.
func (c *town) write(r *rand.Rand) {
	n, by := c.nodes[r.IntN(len(c.nodes))], c.agents[r.IntN(len(c.agents))]
	if r.IntN(4) == 0 {
		by = c.victims[r.IntN(len(c.victims))]
	}
	c.mu.Lock()
	post := pick(r, c.posts)
	c.mu.Unlock()
	do := func(method, path string, body any) (answer map[string]any, s span, done bool) {
		status, answer, s := c.ask(n, method, path, by.key, body)
		if done = status >= 200 && status < 300; done {
			c.note(func() { c.deeds = append(c.deeds, deed{n, by.id, method + " " + path, s}) })
		}
		return answer, s, done
	}
	take := func(list *[]written) (w written, ok bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(*list) < 10 {
			return w, false
		}
		w = pick(r, *list)
		*list = slices.DeleteFunc(*list, func(x written) bool { return x.id == w.id })
		by = w.author
		return w, true
	}
	keep := func(list *[]written, id string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		*list = append(*list, written{id, by})
	}
	switch k := r.IntN(40); {
	case k < 12 || post.id == "":
		title := fmt.Sprintf("Offer %d for anchor chain", c.titles.Add(1))
		place := []string{"pricing", "research", "general"}[r.IntN(3)]
		if made, _, ok := do(http.MethodPost, "/v1/posts", map[string]any{"community": place, "title": title, "content": "8.40 a metre"}); ok {
			keep(&c.posts, made["id"].(string))
		}
	case k < 22:
		_, _, _ = do(http.MethodPost, "/v1/posts/"+post.id+"/votes", map[string]any{"direction": []string{"up", "up", "down"}[r.IntN(3)]})
	case k < 29:
		if made, _, ok := do(http.MethodPost, "/v1/posts/"+post.id+"/comments", map[string]any{"content": "chain at what weight?"}); ok {
			keep(&c.comments, made["id"].(string))
		}
	case k < 35:
		if w, ok := take(&c.posts); ok {
			if _, s, ok := do(http.MethodDelete, "/v1/posts/"+w.id, nil); ok {
				c.note(func() { c.gone[w.id] = s.ended })
			}
		}
	case k < 38:
		if w, ok := take(&c.comments); ok {
			if _, s, ok := do(http.MethodDelete, "/v1/comments/"+w.id, nil); ok {
				c.note(func() { c.gone[w.id] = s.ended })
			}
		}
	default:
		_, _, _ = do(http.MethodPut, "/v1/agents/"+c.agents[r.IntN(len(c.agents))].name+"/follow", nil)
	}
}

// order changes an agent's standing, notes what it is then, and looks at the agent on
// every node.
func (c *town) order(n *node, agent clusterAgent, verb, standing string) {
	path := "/v1/agents/" + agent.id + "/" + verb
	status, answer, s := c.ask(n, http.MethodPost, path, c.token, map[string]any{"reason": "drill"})
	if status != http.StatusOK {
		c.t.Errorf("%s: status %d: %v", path, status, answer)
		return
	}
	c.note(func() { c.orders[agent.id] = append(c.orders[agent.id], order{standing, s}) })
	for _, other := range c.nodes { // at once: who heard of it late is met while it does not know
		c.show(other, c.agents[0], "/v1/agents/"+agent.name+"/profile")
	}
}

// govern withdraws what the crowd sees: it kills an agent, quarantines others for a
// while, and has posts held, of which one is allowed, one denied and one forgotten.
func (c *town) govern(r *rand.Rand, victim clusterAgent) {
	at := func() *node { return c.firm[r.IntN(len(c.firm))] }
	look := func() { // others read and write meanwhile
		before := c.seen()
		eventually(c.t, "others are shown something", func() bool { return c.seen() > before+10 })
	}
	for i := range 3 {
		title := fmt.Sprintf("Held chain %d", c.titles.Add(1))
		c.note(func() { c.held[title] = time.Time{} })
		status, answer, _ := c.ask(at(), http.MethodPost, "/v1/posts", c.agents[0].key, map[string]any{"community": checkedPlace, "title": title, "content": "c"})
		if status != http.StatusAccepted {
			c.t.Errorf("a post is not held: %d %v", status, answer)
			return
		}
		look()
		if i == 2 {
			break
		}
		path := fmt.Sprint("/v1/approvals/", answer["approval_id"], []string{"/approve", "/deny"}[i])
		if i == 0 {
			c.note(func() { c.held[title] = time.Now() })
		}
		if status, answer, _ = c.ask(at(), http.MethodPost, path, c.token, map[string]any{"reason": "looked at", "owner": "tests"}); status != http.StatusOK {
			c.t.Errorf("%s: %d %v", path, status, answer)
		}
	}
	for _, agent := range c.agents[4:] {
		c.order(at(), agent, "quarantine", "quarantined")
		look()
		c.order(at(), agent, "release", "active")
	}
	c.order(at(), victim, "kill", "killed")
	look()
}

func (c *town) seen() (pages int) {
	c.note(func() { pages = len(c.pages) })
	return pages
}

// live has the crowd act and read on all nodes at once, while somebody governs it and
// something happens.
func (c *town) live(seed uint64, acts int, happens func()) {
	c.t.Helper()
	victim := c.victims[seed]
	var work, reading sync.WaitGroup
	var over atomic.Bool
	for w := range 3 {
		work.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for range acts / 3 {
				c.write(r)
			}
		})
		reading.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(100+w)))
			for !over.Load() {
				c.read(r)
			}
		})
	}
	work.Go(func() { c.govern(rand.New(rand.NewPCG(seed, 200)), victim) })
	if happens != nil {
		happens()
	}
	work.Wait()
	over.Store(true)
	reading.Wait()
}

// stored is a post as the database has it.
type stored struct {
	id, author                              act.ID
	place                                   string
	up, down, comments, score, hot, created int64
	standing                                act.Standing
	followed                                bool // by the second member
}

const qTestStored store.Q = `SELECT p.id, c.name, p.author, p.up, p.down, p.comment_count, p.score, p.hot, p.created_at, a.state,
	(SELECT COUNT(*) FROM follow AS f WHERE f.follower = $1 AND f.followed = p.author)
	FROM post AS p JOIN community AS c ON c.id = p.community JOIN agent AS a ON a.id = p.author WHERE p.deleted_at = 0 ORDER BY p.id`

// feed is a list of posts, as the wire names it and as the database would sort it.
type feed struct {
	query  network.FeedQuery
	ranked bool
	has    func(stored) bool
	key    func(s stored, as int64) int64
}

func feeds() (list []feed) {
	keys := map[network.FeedSort]func(stored, int64) int64{
		network.FeedHot: func(s stored, _ int64) int64 { return s.hot },
		network.FeedNew: func(s stored, _ int64) int64 { return s.created },
		network.FeedTop: func(s stored, _ int64) int64 { return s.score },
		network.FeedRising: func(s stored, as int64) int64 { // an hour's votes and two for each comment, in millionths
			return (s.up - s.down + 2*s.comments) * 60_000_000 / (max(as-s.created, 0)/60_000_000 + 30)
		},
	}
	for _, sort := range slices.Sorted(maps.Keys(keys)) {
		ranked := sort == network.FeedRising
		for _, place := range []string{"", "pricing", "research", checkedPlace} {
			list = append(list, feed{network.FeedQuery{Sort: sort, Community: place}, ranked, func(s stored) bool { return place == "" || s.place == place }, keys[sort]})
		}
		list = append(list, feed{network.FeedQuery{Sort: sort, Personal: network.PersonalFollowing}, true, func(s stored) bool { return s.followed }, keys[sort]})
	}
	return list
}

// equal says where a feed of a node differs from what the database has.
func (c *town) equal() (difference string) {
	reader := c.agents[1]
	id, err := c.codec.ParseKind(reader.id, act.KindAgent)
	if err != nil {
		return err.Error()
	}
	var truth []stored
	if err := c.db.View(context.Background(), func(v *store.View) error {
		return v.All(qTestStored, func(r *store.Row) error {
			truth = append(truth, stored{
				id: r.ID(0), place: r.Text(1), author: r.ID(2), up: r.Int(3), down: r.Int(4), comments: r.Int(5), score: r.Int(6),
				hot: r.Int(7), created: r.Int(8), standing: act.Standing(r.Int(9)), followed: r.Int(10) > 0,
			})
			return nil
		}, id)
	}); err != nil {
		return err.Error()
	}
	for _, f := range feeds() {
		path := fmt.Sprintf("/v1/posts?sort=%s&community=%s&of=%s", f.query.Sort, f.query.Community, f.query.Personal)
		as, begin := int64(0), ""
		if f.ranked { // one moment for all, which a cursor carries
			_, answer, _ := c.ask(c.nodes[0], http.MethodGet, path+"&limit=1", reader.key, nil)
			if next, _ := answer["next_cursor"].(string); next != "" { // else it has one post, or none
				cursor, err := network.FeedCursor(c.codec, f.query, next)
				if err != nil || len(cursor.Keys) != 4 {
					return fmt.Sprintf("%s goes on at %v: %v", path, cursor, err)
				}
				as = cursor.Keys[3]
				cursor.Keys[0], cursor.Keys[1], cursor.Keys[2] = math.MaxInt64, math.MaxInt64, 0
				begin = c.codec.SealCursor(cursor)
			}
		}
		want := slices.DeleteFunc(slices.Clone(truth), func(s stored) bool { return !f.has(s) })
		slices.SortFunc(want, func(a, b stored) int {
			return cmp.Or(cmp.Compare(f.key(b, as), f.key(a, as)), cmp.Compare(b.id, a.id))
		})
		for i, n := range c.nodes {
			var got []string
			for cursor, more := begin, true; more; more = cursor != "" {
				status, answer, _ := c.ask(n, http.MethodGet, path+"&limit=100&cursor="+cursor, reader.key, nil)
				if status != http.StatusOK {
					return fmt.Sprintf("node %d, %s: %d %v", i, path, status, answer)
				}
				for _, x := range answer["items"].([]any) {
					p := x.(map[string]any)
					got = append(got, fmt.Sprintf("%v in %v, %v up, %v down, %v comments, by one that is %v", p["id"], p["community"].(map[string]any)["name"],
						p["up"], p["down"], p["comments"], p["author"].(map[string]any)["standing"]))
				}
				cursor, _ = answer["next_cursor"].(string)
			}
			for j := range max(len(got), len(want)) {
				mine, theirs := "nothing", "nothing"
				if j < len(got) {
					mine = got[j]
				}
				if j < len(want) {
					w := want[j]
					theirs = fmt.Sprintf("%v in %v, %v up, %v down, %v comments, by one that is %v", c.codec.String(w.id), w.place, w.up, w.down, w.comments, w.standing)
				}
				if mine != theirs {
					return fmt.Sprintf("node %d, %s, place %d:\n%s on the wire\n%s in the database", i, path, j, mine, theirs)
				}
			}
		}
	}
	return ""
}

// quiet waits until every feed of every node is what the database says, and looks at
// all that was shown on the way there.
func (c *town) quiet(what string) {
	c.t.Helper()
	difference := "not looked at"
	for end := time.Now().Add(patience); difference != "" && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		difference = c.equal()
	}
	if difference != "" {
		c.t.Errorf("%s: %s", what, difference)
	}
	if c.check(c.t); c.t.Failed() {
		c.t.Fatal(what)
	}
}

// served waits until a node has shown something that was asked for from now on.
func (c *town) served(n *node) {
	now := time.Now()
	eventually(c.t, "the node shows something", func() (ok bool) {
		c.note(func() {
			ok = slices.ContainsFunc(c.pages, func(p page) bool { return p.node == n && p.began.After(now) })
		})
		return ok
	})
}

// Nodes of one network on PostgreSQL and NATS, under writes, votes, deletions, holds,
// quarantines and kills on all of them: whenever it is quiet their feeds are what the
// database says, and no page of any node shows what was withdrawn before it was asked
// for. A node that joins late, one that is killed and comes back, one that loses the
// bus, and one that loses bus and database change nothing about that, and the last
// serves nothing after the bound.
func TestFeedsOfAClusterUnderLoad(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		rounds := soak(1, 10)
		acts := soak(90, 600)
		c := newTown(t, rounds+6)
		a, b := c.join(), c.join()
		c.nodes, c.firm = []*node{a, b}, []*node{a, b}
		for _, other := range c.agents {
			if other != c.agents[1] {
				a.process().must(t, http.MethodPut, "/v1/agents/"+other.name+"/follow", c.agents[1].key, nil)
			}
		}
		round := uint64(0)
		live := func(happens func()) { c.live(round, acts, happens); round++ }
		for range rounds {
			live(nil)
			c.quiet("two nodes")
		}

		var late *node
		live(func() { late = c.join() })
		c.nodes = append(c.nodes, late)
		live(nil)
		c.quiet("a node has joined")

		live(func() {
			c.served(late)
			if err := late.process().cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = late.process().cmd.Wait()
		})
		c.nodes = c.firm
		c.quiet("a node was killed")
		live(func() { late.start() })
		c.nodes = append(slices.Clone(c.firm), late)
		c.quiet("the node that was killed is back")

		live(func() { c.served(late); late.bus.set(true); c.served(late) })
		c.quiet("a node has lost the bus")

		live(func() {
			c.served(late)
			late.db.set(true)
			c.note(func() { c.lost[late] = append(c.lost[late], span{began: time.Now()}) })
			eventually(t, "the node says that it serves nobody", func() bool {
				status, answer, _ := c.ask(late, http.MethodGet, "/v1/posts", c.agents[0].key, nil)
				return status == http.StatusServiceUnavailable && answer["rule"] == "fence.stale"
			})
		})
		c.nodes = c.firm
		c.quiet("a node has lost bus and database")
		for range 10 {
			if status, _, _ := c.ask(late, http.MethodGet, "/index.json", "", nil); status != http.StatusServiceUnavailable {
				t.Errorf("a node without bus and database answers an observer with %d", status)
			}
		}
		c.note(func() { c.lost[late][0].ended = time.Now() })
		late.db.set(false)
		late.bus.set(false)
		c.nodes = append(slices.Clone(c.firm), late)
		eventually(t, "the node serves again", func() bool {
			status, _, _ := c.ask(late, http.MethodGet, "/v1/posts", c.agents[0].key, nil)
			return status == http.StatusOK
		})
		c.quiet("the node that had lost bus and database is back")

		c.check(t)
		n := c.sum
		if len(c.gone) < 20 || n.marked < 20 || n.pages < 200 {
			t.Errorf("%d deletions, %d marks of standing, %d pages: the test proves little", len(c.gone), n.marked, n.pages)
		}
		t.Logf("%d acts and %d pages with %d items, %d of them of agents that were quarantined or killed; %d deletions, %d held posts, %d orders",
			n.deeds, n.pages, n.items, n.marked, len(c.gone), len(c.held), len(c.orders))
		for _, p := range []*process{a.process(), b.process(), late.process()} {
			_ = p.cmd.Process.Signal(os.Interrupt)
			_ = p.cmd.Wait()
		}
		cfg := servertest.Config(t, store.Postgres)
		cfg.DB, cfg.Schema, cfg.KeyFile = c.site.cfg.URL, c.site.cfg.Schema, c.site.keyFile
		servertest.Start(t, cfg) // checks the invariants of what is left
	})
}
