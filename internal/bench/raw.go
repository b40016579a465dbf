package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// The raw baselines do what a post must do and nothing else: a bare net/http
// handler that decodes the request, and durable rows of the same form in the
// same tables with the same indexes: the post, both counters, the event and a
// leaf of the same length. Nobody is authenticated, nothing is decided, checked
// or hashed. (A post has no explicit edge, so there is none to store.)
const (
	rawPostMake = `INSERT INTO post (id, community, author, type, title, content, url, salt, up, down, comment_count,
legacy_up, legacy_down, legacy_comments, origin, version, epoch, created_at, updated_at, deleted_at)
VALUES ($1, $2, $3, 'text', $4, $5, '', $6, 0, 0, 0, 0, 0, 0, 0, 1, 1, $7, $7, 0)`
	rawEventMake = `INSERT INTO event (pos, seq, act, ref, version, actor, at) VALUES ($1, $2, $3, $4, 1, $5, $6)`
	rawLeafMake  = `INSERT INTO leaf (pos, body) VALUES ($1, $2)`
	rawPlaceAdd  = `UPDATE community SET post_count = post_count + $1 WHERE id = $2`
	rawAuthorAdd = `UPDATE profile SET post_count = post_count + $1 WHERE id = $2`

	// What a raw side must know before it begins.
	rawPlaces = `SELECT id, name FROM community`
	rawLeaf   = `SELECT pos, body FROM leaf ORDER BY pos DESC LIMIT 1`
	rawSeq    = `SELECT COALESCE(MAX(seq), 0), '' FROM event`
)

// rawDB is a connection of a raw side to either database.
type rawDB interface {
	// load runs a query of an integer and bytes.
	load(q string, row func(n int64, b []byte)) error
	// exec runs a statement in the transaction, or queues it for commit.
	exec(q string, args ...any) error
	// commit ends the transaction durably; fail undoes it.
	commit() error
	fail() error
}

// rawWrite stores the rows of one act. add counts: counters are changed once for
// all acts that are committed together.
type rawWrite func(s *rawState, db rawDB, add func(q string, id act.ID)) error

// rawPost is what a raw side is asked to store.
type rawPost struct {
	author                act.ID
	place, title, content string
}

// rawBody bounds what a raw side reads.
const rawBody = 64 << 10

var rawAnswer = []byte(`{"success":true,"message":"stored"}`)

// rawHandler answers writes: decode makes of a request what is to be stored.
func rawHandler(g *rawGroups, decode func(author act.ID, r *http.Request, body []byte) (rawWrite, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, rawBody))
		var write rawWrite
		if err == nil {
			write, err = decode(g.authors[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")], r, body)
		}
		if err == nil {
			err = g.do(write)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(rawAnswer)
	})
}

func rawPosts(author act.ID, _ *http.Request, body []byte) (rawWrite, error) {
	var in struct {
		Place   string `json:"submolt_name"`
		Title   string `json:"title"`
		Content string `json:"content"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	p := rawPost{author, in.Place, in.Title, in.Content}
	return func(s *rawState, db rawDB, add func(string, act.ID)) error {
		add(rawPlaceAdd, s.places[p.place])
		add(rawAuthorAdd, p.author)
		id, err := s.post(db, p)
		if err != nil {
			return err
		}
		_, err = s.record(db, "post.create", id, p.author)
		return err
	}, nil
}

// rawState is what the rows are made of. pos and seq go on from what is stored:
// a raw side is alone on its copy.
type rawState struct {
	minter     *act.Minter
	places     map[string]act.ID
	leaf, salt []byte
	pos, seq   atomic.Int64
}

func loadRaw(db rawDB) (*rawState, error) {
	now := act.IDMillis(time.Now())
	s := &rawState{
		minter: act.NewMinter(act.RealClock, act.MaxNode, now, now+int64(24*time.Hour/time.Millisecond)),
		places: make(map[string]act.ID), salt: make([]byte, 16),
	}
	_, _ = rand.Read(s.salt)
	return s, errors.Join(
		db.load(rawPlaces, func(n int64, b []byte) { s.places[string(b)] = act.ID(n) }),
		db.load(rawLeaf, func(n int64, b []byte) {
			s.pos.Store(n)
			s.leaf = slices.Clone(b)
		}),
		db.load(rawSeq, func(n int64, _ []byte) { s.seq.Store(n) }),
	)
}

// post stores a post's own row.
func (s *rawState) post(db rawDB, p rawPost) (act.ID, error) {
	id, err := s.minter.New(act.KindPost)
	if err != nil {
		return 0, err
	}
	return id, db.exec(rawPostMake, int64(id), int64(s.places[p.place]), int64(p.author), p.title, p.content, s.salt, time.Now().UnixMicro())
}

// record stores the event and the leaf of an act.
func (s *rawState) record(db rawDB, name string, ref, actor act.ID) (pos int64, err error) {
	pos = s.pos.Add(1)
	if err := db.exec(rawEventMake, pos, s.seq.Add(1), name, int64(ref), int64(actor), time.Now().UnixMicro()); err != nil {
		return pos, err
	}
	return pos, db.exec(rawLeafMake, pos, s.leaf)
}

// rawGroups drain what is queued, commit it together, and answer: one loop for
// each connection.
type rawGroups struct {
	*rawState
	authors map[string]act.ID // by key
	most    int               // acts committed together
	jobs    chan *rawJob
	stop    chan struct{}
	loops   sync.WaitGroup
	after   func()
}

type rawJob struct {
	write rawWrite
	done  chan error
}

const (
	rawQueue = 4096
	rawMost  = 512 // as in store
)

// openRawGroups returns the groups of some connections; after runs when it has stopped.
func openRawGroups(dbs []rawDB, most int, after func()) (*rawGroups, error) {
	s, err := loadRaw(dbs[0])
	if err != nil {
		after()
		return nil, err
	}
	g := &rawGroups{rawState: s, most: most, jobs: make(chan *rawJob, rawQueue), stop: make(chan struct{}), after: after}
	for _, db := range dbs {
		g.loops.Go(func() { g.loop(db) })
	}
	return g, nil
}

func (g *rawGroups) loop(db rawDB) {
	var group []*rawJob
	counts := make(map[string]map[act.ID]int64)
	for {
		select {
		case j := <-g.jobs:
			group = append(group[:0], j)
		case <-g.stop:
			return
		}
		for more := true; more && len(group) < g.most; {
			select {
			case j := <-g.jobs:
				group = append(group, j)
			default:
				more = false
			}
		}
		for _, count := range counts {
			clear(count)
		}
		err := g.store(db, group, counts)
		if err != nil {
			err = errors.Join(err, db.fail())
		}
		for _, j := range group {
			j.done <- err
		}
	}
}

// store commits a group. Counters are added up first and changed in the order of
// their statements and ids.
func (g *rawGroups) store(db rawDB, group []*rawJob, counts map[string]map[act.ID]int64) error {
	add := func(q string, id act.ID) {
		if counts[q] == nil {
			counts[q] = make(map[act.ID]int64)
		}
		counts[q][id]++
	}
	for _, j := range group {
		if err := j.write(g.rawState, db, add); err != nil {
			return err
		}
	}
	for _, q := range slices.Sorted(maps.Keys(counts)) {
		for _, id := range slices.Sorted(maps.Keys(counts[q])) {
			if err := db.exec(q, counts[q][id], int64(id)); err != nil {
				return err
			}
		}
	}
	return db.commit()
}

func (g *rawGroups) do(write rawWrite) error {
	j := &rawJob{write, make(chan error, 1)}
	g.jobs <- j
	return <-j.done
}

// close is called when no request is under way.
func (g *rawGroups) close() {
	close(g.stop)
	g.loops.Wait()
	g.after()
}

// openRaw opens the raw side that a task asks for. PostgreSQL has two. The one
// that groups commits what is queued in one pipelined transaction on one
// connection: the least that durable rows can cost there, and not how several
// nodes can write. The other has a transaction for each request, in one round
// trip, on as many connections as store: the same rows under the product's rules.
func openRaw(ctx context.Context, t task) (g *rawGroups, err error) {
	switch {
	case t.URL == "":
		g, err = openRawLite(ctx, t.SQLite)
	case t.Kind == raw:
		g, err = openRawPostgres(ctx, t.URL, 1, rawMost)
	default:
		g, err = openRawPostgres(ctx, t.URL, rawConns, 1)
	}
	if err == nil {
		g.authors = t.Authors
	}
	return g, err
}
