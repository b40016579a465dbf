package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/act"
)

// The raw baselines do what a post must do and nothing else: a bare net/http
// handler that decodes the request, and durable rows of the same form in the
// same tables with the same indexes: the post, both counters, the event and a
// leaf of the same length. Nobody is authenticated, nothing is decided, checked
// or signed. (A post has no explicit edge, so there is none to store.)

// rawPost is what the raw sides store.
type rawPost struct {
	author  act.ID
	place   string
	title   string
	content string
}

// poster stores posts durably.
type poster interface {
	post(p rawPost) error
	close()
}

const rawBody = 64 << 10

var rawAnswer = []byte(`{"success":true,"message":"stored"}`)

func rawHandler(p poster, authors map[string]act.ID) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, rawBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var in struct {
			Place   string `json:"submolt_name"`
			Title   string `json:"title"`
			Content string `json:"content"`
		}
		if err := json.Unmarshal(body, &in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		author := authors[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		if err := p.post(rawPost{author, in.Place, in.Title, in.Content}); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(rawAnswer)
	})
}

// The statements of the raw sides, for both databases. They are no store.Q:
// they run on drivers, and no product code may use them.
const (
	rawPostMake = `INSERT INTO post (id, community, author, type, title, content, url, salt, up, down, comment_count,
legacy_up, legacy_down, legacy_comments, origin, version, epoch, created_at, updated_at, deleted_at)
VALUES ($1, $2, $3, 'text', $4, $5, '', $6, 0, 0, 0, 0, 0, 0, 0, 1, 1, $7, $7, 0)`
	rawPlaceAdd  = `UPDATE community SET post_count = post_count + $1 WHERE id = $2`
	rawAuthorAdd = `UPDATE profile SET post_count = post_count + $1 WHERE id = $2`
	rawPlaces    = `SELECT name, id FROM community`
	rawLeafLast  = `SELECT body FROM leaf ORDER BY pos DESC LIMIT 1`
	rawEventMake = `INSERT INTO event (pos, seq, act, ref, version, actor, at) VALUES ($1, $2, 'post.create', $3, 1, $4, $5)`
	rawLeafMake  = `INSERT INTO leaf (pos, body) VALUES ($1, $2)`
	rawLastPos   = `SELECT COALESCE(MAX(pos), 0), COALESCE(MAX(seq), 0) FROM event`
)

const (
	rawNode  = act.MaxNode // no server in a bench gets as far
	rawQueue = 4096
	rawGroup = 512
)

func rawMinter() *act.Minter {
	now := act.IDMillis(time.Now())
	return act.NewMinter(act.RealClock, rawNode, now, now+int64(24*time.Hour/time.Millisecond))
}

// rawJob is a post on its way through a group.
type rawJob struct {
	rawPost
	done chan error
}

// grouped drains what is queued, commits it together and answers. commit
// belongs to its goroutine.
type grouped struct {
	jobs   chan *rawJob
	stop   chan struct{}
	ended  chan struct{}
	finish func()
}

func newGrouped(commit func([]*rawJob) error, finish func()) *grouped {
	g := &grouped{jobs: make(chan *rawJob, rawQueue), stop: make(chan struct{}), ended: make(chan struct{}), finish: finish}
	go func() {
		defer close(g.ended)
		var group []*rawJob
		for {
			select {
			case j := <-g.jobs:
				group = append(group[:0], j)
			case <-g.stop:
				return
			}
		more:
			for len(group) < rawGroup {
				select {
				case j := <-g.jobs:
					group = append(group, j)
				default:
					break more
				}
			}
			err := commit(group)
			for _, j := range group {
				j.done <- err
			}
		}
	}()
	return g
}

func (g *grouped) post(p rawPost) error {
	j := &rawJob{rawPost: p, done: make(chan error, 1)}
	g.jobs <- j
	return <-j.done
}

// close is called when no request is under way.
func (g *grouped) close() {
	close(g.stop)
	<-g.ended
	g.finish()
}

// counts gathers the counters of a group, in the order of their ids.
type counts struct {
	by    map[act.ID]int64
	order []act.ID
}

func (c *counts) reset() {
	if c.by == nil {
		c.by = make(map[act.ID]int64)
	}
	clear(c.by)
	c.order = c.order[:0]
}

func (c *counts) add(id act.ID) {
	if c.by[id]++; c.by[id] == 1 {
		c.order = append(c.order, id)
	}
}

func (c *counts) sorted() []act.ID {
	slices.Sort(c.order)
	return c.order
}

// rawLite is the raw SQLite writer: one connection, one transaction a group.
// It runs with the same durability, page cache and checkpoints as store.
type rawLite struct {
	conn          *sqlite.Conn
	stmts         map[string]*sqlite.Stmt
	minter        *act.Minter
	places        map[string]act.ID
	leaf, salt    []byte
	pos, seq      int64
	posts, agents counts // of communities and profiles, in this group
}

func rawConn(path string) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	for _, p := range []string{
		"journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0", "temp_store = MEMORY",
		"cache_size = -65536", "mmap_size = 1073741824", "busy_timeout = 5000",
	} {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+p, nil); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

func openRawLite(ctx context.Context, path string) (poster, error) {
	conn, err := rawConn(path)
	if err != nil {
		return nil, err
	}
	w := &rawLite{
		conn: conn, stmts: make(map[string]*sqlite.Stmt), minter: rawMinter(), places: make(map[string]act.ID),
		salt: make([]byte, 16),
	}
	_, _ = rand.Read(w.salt)
	err = errors.Join(
		sqlitex.ExecuteTransient(conn, rawPlaces, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
			w.places[s.ColumnText(0)] = act.ID(s.ColumnInt64(1))
			return nil
		}}),
		sqlitex.ExecuteTransient(conn, rawLeafLast, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
			w.leaf = make([]byte, s.ColumnLen(0))
			s.ColumnBytes(0, w.leaf)
			return nil
		}}),
		sqlitex.ExecuteTransient(conn, rawLastPos, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error {
			w.pos, w.seq = s.ColumnInt64(0), s.ColumnInt64(1)
			return nil
		}}),
	)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	checkpoint, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		rawCheckpoints(checkpoint, path)
	}()
	return newGrouped(w.commit, func() {
		cancel()
		<-ended
		_ = sqlitex.ExecuteTransient(conn, "PRAGMA wal_checkpoint(TRUNCATE)", nil)
		_ = conn.Close()
	}), nil
}

// rawCheckpoints moves the WAL into the database as store does.
func rawCheckpoints(ctx context.Context, path string) {
	const every, from, limit = 250 * time.Millisecond, 32 << 20, 128 << 20
	tick := time.NewTicker(every)
	defer tick.Stop()
	conn, err := rawConn(path)
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	var done int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		info, err := os.Stat(path + "-wal")
		if err != nil || info.Size() < from || info.ModTime().UnixNano() == done {
			continue
		}
		how := "PASSIVE"
		if info.Size() > limit {
			how = "RESTART"
		}
		if sqlitex.ExecuteTransient(conn, "PRAGMA wal_checkpoint("+how+")", nil) == nil {
			done = info.ModTime().UnixNano()
		}
	}
}

// commit stores a group in one transaction.
func (w *rawLite) commit(group []*rawJob) error {
	err := w.exec("BEGIN IMMEDIATE")
	pos, seq := w.pos, w.seq
	w.posts.reset()
	w.agents.reset()
	for _, j := range group {
		if err != nil {
			break
		}
		err = w.add(j)
	}
	for _, id := range w.posts.sorted() {
		err = errors.Join(err, w.exec(rawPlaceAdd, w.posts.by[id], int64(id)))
	}
	for _, id := range w.agents.sorted() {
		err = errors.Join(err, w.exec(rawAuthorAdd, w.agents.by[id], int64(id)))
	}
	if err == nil {
		err = w.exec("COMMIT")
	}
	if err != nil {
		w.pos, w.seq = pos, seq
		if !w.conn.AutocommitEnabled() {
			err = errors.Join(err, w.exec("ROLLBACK"))
		}
	}
	return err
}

func (w *rawLite) add(j *rawJob) error {
	id, err := w.minter.New(act.KindPost)
	if err != nil {
		return err
	}
	place, now := w.places[j.place], time.Now().UnixMicro()
	w.pos++
	w.seq++
	w.posts.add(place)
	w.agents.add(j.author)
	if err := w.exec(rawPostMake, int64(id), int64(place), int64(j.author), j.title, j.content, w.salt, now); err != nil {
		return err
	}
	if err := w.exec(rawEventMake, w.pos, w.seq, int64(id), int64(j.author), now); err != nil {
		return err
	}
	return w.exec(rawLeafMake, w.pos, w.leaf)
}

// exec runs a prepared statement. SQLite numbers $N by first use, which in these
// texts is the order of N.
func (w *rawLite) exec(q string, args ...any) error {
	s := w.stmts[q]
	if s == nil {
		var err error
		if s, err = w.conn.Prepare(q); err != nil {
			return err
		}
		w.stmts[q] = s
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case int64:
			s.BindInt64(i+1, v)
		case string:
			s.BindText(i+1, v)
		case []byte:
			s.BindBytes(i+1, v)
		}
	}
	if _, err := s.Step(); err != nil {
		_ = s.Reset()
		return err
	}
	return s.Reset()
}
