package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
)

const (
	postsBase  = 2000 // at ×1; grows with the scale
	placesBase = 40   // at ×1; grows with its square root, as places do with people
	words      = "reef coral tide wave shell kelp pearl crab drift cove foam gull harbor island krill lagoon marlin orca plume ray"
)

// size is how much data there is.
type size struct {
	agents, places, posts int
	rows                  int // posts beside them, as bare rows
	news                  int // comments that their posts' authors have not read
	talks                 int // conversations
	messages              int // bare rows in them
}

func sizeAt(agents, scale int) size {
	return size{agents: agents, places: int(math.Round(placesBase * math.Sqrt(float64(scale)))), posts: postsBase * scale}
}

func (s size) String() string {
	text := fmt.Sprintf("%d posts, %d communities, %d agents", s.posts+s.rows, s.places, s.agents)
	for _, more := range []struct {
		n    int
		what string
	}{{s.news, "unread comments"}, {s.talks, "conversations"}, {s.messages, "messages"}} {
		if more.n > 0 {
			text += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	return text
}

// stage is a network that is filled once and copied for the sides. What it holds
// came about by acts, like everything in a network, but for the rows and messages
// of its size, of which there are too many: they have no event and no leaf.
type stage struct {
	r      *runner
	db     string // sqlite or postgres
	dir    string // its data directory, with the keys
	name   string // PostgreSQL database
	has    size
	agents []agent
	places []string
	posts  []act.ID // by number, bare rows after those by acts
	talks  []talk
	codec  *act.Codec
	index  func(q network.SearchQuery, anyWord bool) (string, error) // what a query asks of the index
	entry  func(kind act.Kind, texts ...string) string               // what the index holds of an item
	copies atomic.Int64
	kept   *residents // nil but for a kept world
}

// talk is a conversation that both sides agreed to.
type talk struct {
	id       act.ID
	from, to int // agents; from asked
}

// agent is who asks.
type agent struct {
	key string
	act.Principal
}

func (r *runner) newStage(ctx context.Context, db string) (*stage, error) {
	s := &stage{r: r, db: db}
	var err error
	if s.dir, err = os.MkdirTemp(r.dir, db+"-"); err != nil {
		return nil, err
	}
	if db == dbPostgres {
		s.name = "reef_bench_" + strings.ReplaceAll(filepath.Base(s.dir), "-", "_")
		return s, r.pg.create(ctx, s.name, "")
	}
	return s, nil
}

// grow fills the network up to a size. Only growing is possible.
func (s *stage) grow(ctx context.Context, to size) (err error) {
	t := task{Kind: governed, Data: s.dir, OwnKeys: true}
	if s.db == dbPostgres {
		// What is filled in need not be durable before it is copied.
		t.URL = s.r.pg.url(s.name, "synchronous_commit", "off")
	}
	srv, err := t.product(ctx, s.r.diag)
	if err != nil {
		return err
	}
	defer srv.Close()
	s.agents = append(s.agents, make([]agent, max(0, to.agents-len(s.agents)))...)
	s.places = append(s.places, make([]string, max(0, to.places-len(s.places)))...)
	s.posts = append(s.posts, make([]act.ID, max(0, to.posts+to.rows-len(s.posts)))...)
	s.talks = append(s.talks, make([]talk, max(0, to.talks-len(s.talks)))...)
	s.codec, s.entry = srv.Codec, srv.Network.IndexEntry
	s.index = func(q network.SearchQuery, anyWord bool) (string, error) {
		return srv.Network.IndexQuery(srv.DB.Dialect(), q, anyWord)
	}
	for _, step := range []struct {
		has *int
		to  int
		add func(context.Context, *server.Server, int) error
	}{
		{&s.has.agents, to.agents, s.register}, {&s.has.places, to.places, s.found}, {&s.has.posts, to.posts, s.write},
		{&s.has.news, to.news, s.comment}, {&s.has.talks, to.talks, s.talk},
	} {
		if err := fill(ctx, srv, *step.has, step.to, step.add); err != nil {
			return fmt.Errorf("fill the %s network: %w", s.db, err)
		}
		*step.has = max(*step.has, step.to)
	}
	if err := srv.Settle(ctx); err != nil {
		return err
	}
	srv.Close()
	if err := s.growRows(ctx, to); err != nil {
		return fmt.Errorf("fill rows into the %s network: %w", s.db, err)
	}
	if s.db == dbPostgres {
		return s.r.pg.exec(ctx, s.r.pg.url(s.name), "VACUUM ANALYZE")
	}
	return nil
}

const fillers = 48

// fill calls add with every number from has up to to.
func fill(ctx context.Context, srv *server.Server, has, to int, add func(context.Context, *server.Server, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	next.Store(int64(has))
	for range fillers {
		g.Go(func() error {
			for {
				i := int(next.Add(1) - 1)
				if i >= to || ctx.Err() != nil {
					return ctx.Err()
				}
				if err := add(ctx, srv, i); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func (s *stage) register(ctx context.Context, srv *server.Server, i int) error {
	made, err := srv.Lifecycle.Register.Do(ctx, act.Principal{Source: "bench"}, lifecycle.NewAgent{Name: agentName(i)})
	if err != nil {
		return err
	}
	p, err := srv.Identity.Authenticate(ctx, made.Key)
	s.agents[i] = agent{made.Key, p}
	return err
}

// agentName makes names that do not look like each other.
func agentName(i int) string {
	const letters = "abcdefghjknpqrst"
	name := []byte("bench-")
	for shift := 12; shift >= 0; shift -= 4 {
		name = append(name, letters[i>>shift&15])
	}
	return string(name)
}

func (s *stage) found(ctx context.Context, srv *server.Server, i int) error {
	name := "bench-" + strconv.Itoa(i)
	_, err := srv.Network.CreateCommunity.Do(ctx, s.agents[i%len(s.agents)].Principal, network.NewCommunity{Name: name})
	s.places[i] = name
	return err
}

func (s *stage) write(ctx context.Context, srv *server.Server, i int) error {
	title, content := prose(i)
	made, err := srv.Network.CreatePost.Do(ctx, s.agents[i%len(s.agents)].Principal, network.NewPost{
		Community: s.places[i%len(s.places)], Title: title, Content: content,
	})
	s.posts[i] = made.ID
	return err
}

// comment has the agent after a post's author comment on it; authors of even
// number get no comments.
func (s *stage) comment(ctx context.Context, srv *server.Server, i int) error {
	author := (2*i + 1) % len(s.agents)
	post := author + len(s.agents)*(i%max(1, s.has.posts/len(s.agents)))
	if post >= s.has.posts {
		post = author
	}
	_, content := prose(-i)
	_, err := srv.Network.CreateComment.Do(ctx, s.agents[(author+1)%len(s.agents)].Principal, network.NewComment{
		Post: network.Named{ID: s.posts[post]}, Content: content,
	})
	return err
}

// talk opens a conversation between two agents that have none.
func (s *stage) talk(ctx context.Context, srv *server.Server, i int) error {
	n := len(s.agents)
	from := i % n
	to := (from + 1 + i/n) % n
	asked, err := srv.Network.RequestConversation.Do(ctx, s.agents[from].Principal, network.NewRequest{To: agentName(to), Text: "May I ask you something?"})
	if err != nil {
		return err
	}
	s.talks[i] = talk{asked.Conversation, from, to}
	_, err = srv.Network.ApproveConversation.Do(ctx, s.agents[to].Principal, network.ConversationOrder{Conversation: asked.Conversation})
	return err
}

// prose returns a title of 60 and a content of 400 characters, others for each
// number.
func prose(i int) (title, content string) {
	list := strings.Fields(words)
	r := rand.New(rand.NewPCG(1, uint64(i))) //nolint:gosec // text to fill pages with
	text := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			b.WriteString(list[r.IntN(len(list))])
			b.WriteByte(' ')
		}
		return b.String()[:n-1] + "."
	}
	return text(60), text(400)
}

// scene is a copy of a stage for one repetition.
type scene struct {
	s      *stage
	dir    string
	name   string // PostgreSQL database
	SQLite string // database file
}

// copy makes a scene; of a kept world there is one. Its bytes are on disk when it returns, so that the first
// commits do not pay for them.
func (s *stage) copy(ctx context.Context) (*scene, error) {
	if s.kept != nil {
		return s.kept.scene, nil
	}
	n := s.copies.Add(1)
	c := &scene{s: s, dir: fmt.Sprintf("%s-%d", s.dir, n)}
	c.SQLite = databaseFile(c.dir)
	if err := copyTree(s.dir, c.dir); err != nil {
		return nil, err
	}
	if s.db == dbPostgres {
		c.name = fmt.Sprintf("%s_%d", s.name, n)
		return c, s.r.pg.create(ctx, c.name, s.name)
	}
	return c, nil
}

// databaseFile is where SQLite's database is in a data directory.
func databaseFile(dir string) string { return filepath.Join(dir, "networks", "default", "reef.db") }

// task returns what a side on this scene is told.
func (c *scene) task(kind sideKind) task {
	t := task{Kind: kind, Data: c.dir}
	if kind == raw || kind == rawTx {
		t.Authors = make(map[string]act.ID, len(c.s.agents))
		for _, a := range c.s.agents {
			t.Authors[a.key] = a.ID
		}
		t.SQLite = c.SQLite
	}
	if c.s.db == dbPostgres {
		t.URL = c.url(kind)
	}
	return t
}

func (c *scene) url(kind sideKind) string {
	if kind == raw || kind == rawTx {
		return c.s.r.pg.url(c.name, "search_path", schema)
	}
	return c.s.r.pg.url(c.name)
}

// rows counts what stands in a table while no side runs; on a kept world, what was
// added to it.
func (c *scene) rows(ctx context.Context, table string) (int64, error) {
	if k := c.s.kept; k != nil {
		return k.gained(ctx, c, table)
	}
	return c.number(ctx, "SELECT COUNT(*) FROM "+table)
}

// shown counts the pages that are on record as shown.
func (c *scene) shown(ctx context.Context) (int64, error) {
	return c.number(ctx, `SELECT CAST((SELECT COALESCE(SUM(pages), 0) FROM exposure) + (SELECT COALESCE(SUM(pages), 0) FROM segment) AS BIGINT)`)
}

// number asks for one number.
func (c *scene) number(ctx context.Context, q string) (n int64, err error) {
	if c.s.db == dbPostgres {
		err = c.s.r.pg.with(ctx, c.url(raw), func(conn *pgx.Conn) error { return conn.QueryRow(ctx, q).Scan(&n) })
		return n, err
	}
	conn, err := sqlite.OpenConn(c.SQLite, sqlite.OpenReadWrite)
	if err != nil {
		return 0, err
	}
	defer conn.Close() //nolint:errcheck // only read
	err = sqlitex.ExecuteTransient(conn, q, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
		n = s.ColumnInt64(0)
		return nil
	}})
	return n, err
}

// remove gives the scene's space back.
func (c *scene) remove(ctx context.Context) error {
	if c.s.kept != nil {
		return nil // it is the only one
	}
	err := os.RemoveAll(c.dir)
	if c.name != "" {
		err = errors.Join(err, c.s.r.pg.drop(ctx, c.name))
	}
	return err
}

// remove gives the stage's space back.
func (s *stage) remove(ctx context.Context) {
	if s.kept != nil {
		s.kept.leave()
		return
	}
	_ = os.RemoveAll(s.dir)
	if s.name != "" {
		_ = s.r.pg.drop(ctx, s.name)
	}
}

// copyTree copies a data directory, with files that only their owner can read,
// and syncs them.
func copyTree(from, to string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	return filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Chmod(0o600), f.Sync(), f.Close())
	})
}
