package bench

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"zombiezen.com/go/sqlite"

	"github.com/reefwarden/reefwarden/internal/act"
)

// The raw baselines of reads: a bare net/http handler that asks the same
// database for the same rows, on as many connections as store has, and encodes
// them. Nobody is authenticated, nothing is decided and nothing put on record.
const (
	rawReaders = 8   // on SQLite
	rawWindow  = 200 // results that are ranked

	rawHome     = `SELECT a.name, a.karma + a.legacy_karma, b.unread FROM profile AS a JOIN inbox AS b ON b.agent = a.id WHERE a.id = $1`
	rawHomeMail = `SELECT CAST(COALESCE(SUM(CASE WHEN x.state = 1 AND x.initiator <> $1 THEN 1 ELSE 0 END), 0) AS BIGINT),
CAST(COALESCE(SUM(CASE WHEN x.state = 2 THEN x.unread ELSE 0 END), 0) AS BIGINT)
FROM (SELECT state, initiator, unread_low AS unread FROM conversation WHERE low = $1
  UNION ALL SELECT state, initiator, unread_high AS unread FROM conversation WHERE high = $1) AS x`
	rawHomeNews = `SELECT n.id, n.kind, a.name, p.id, p.title, c.name, m.content, n.created_at FROM notification AS n
LEFT JOIN profile AS a ON a.id = n.actor LEFT JOIN post AS p ON p.id = n.post LEFT JOIN community AS c ON c.id = p.community
LEFT JOIN comment AS m ON m.id = n.comment WHERE n.agent = $1 AND n.read_at = 0 ORDER BY n.id DESC LIMIT 100`

	rawFound = ` SELECT p.id, p.title, p.content, a.name, c.name, p.up + p.legacy_up, p.down + p.legacy_down, p.created_at
FROM hit AS f JOIN post AS p ON p.id = f.id JOIN community AS c ON c.id = p.community JOIN profile AS a ON a.id = p.author
WHERE p.deleted_at = 0 ORDER BY f.id DESC`
	rawFindLite = `WITH hit AS (SELECT rowid AS id FROM findable WHERE findable MATCH $1 ORDER BY rowid DESC LIMIT 200)` + rawFound
	rawNewestPG = `WITH hit AS (SELECT id FROM (SELECT id, words FROM findable ORDER BY id DESC LIMIT 2000) AS newest
WHERE words @@ CAST(CAST($1 AS TEXT) AS tsquery) ORDER BY id DESC LIMIT 200)` + rawFound
	rawFindPG = `WITH matched AS MATERIALIZED (SELECT id FROM findable WHERE words @@ CAST(CAST($1 AS TEXT) AS tsquery)),
hit AS (SELECT id FROM matched ORDER BY id DESC LIMIT 200)` + rawFound
)

// rawReader is a connection that reads.
type rawReader interface {
	// rows runs a query and returns what it found: integers and texts.
	rows(ctx context.Context, q string, args ...any) ([][]any, error)
	close()
}

// rawReads is a pool of readers.
type rawReads struct {
	newest string // looks where common words are found; "" if find needs no help
	find   string
	free   chan rawReader
	once   sync.Once
}

func openRawReads(ctx context.Context, t task) (*rawReads, error) {
	p := &rawReads{find: rawFindLite, free: make(chan rawReader, max(rawReaders, rawConns))}
	n := rawReaders
	if t.URL != "" {
		p.newest, p.find, n = rawNewestPG, rawFindPG, rawConns
	}
	for range n {
		c, err := openRawReader(ctx, t)
		if err != nil {
			p.close()
			return nil, err
		}
		p.free <- c
	}
	return p, nil
}

func openRawReader(ctx context.Context, t task) (rawReader, error) {
	if t.URL == "" {
		conn, err := rawLiteConn(t.SQLite)
		return &rawLiteReader{conn}, err
	}
	conn, err := pgx.Connect(ctx, t.URL)
	return &rawPGReader{conn}, err
}

// close is called when no request is under way.
func (p *rawReads) close() {
	p.once.Do(func() {
		close(p.free)
		for c := range p.free {
			c.close()
		}
	})
}

func (p *rawReads) rows(ctx context.Context, q string, args ...any) ([][]any, error) {
	c := <-p.free
	defer func() { p.free <- c }()
	return c.rows(ctx, q, args...)
}

type rawLiteReader struct{ conn *sqlite.Conn }

func (c *rawLiteReader) close() { _ = c.conn.Close() }

func (c *rawLiteReader) rows(_ context.Context, q string, args ...any) (list [][]any, err error) {
	s, err := c.conn.Prepare(q) // once for each text
	if err != nil {
		return nil, err
	}
	defer s.Reset() //nolint:errcheck // what went wrong was told by Step
	for i, arg := range args {
		switch v := arg.(type) {
		case int64:
			s.BindInt64(i+1, v)
		case string:
			s.BindText(i+1, v)
		}
	}
	for {
		more, err := s.Step()
		if err != nil || !more {
			return list, err
		}
		row := make([]any, s.ColumnCount())
		for i := range row {
			if s.ColumnType(i) == sqlite.TypeInteger {
				row[i] = s.ColumnInt64(i)
			} else {
				row[i] = s.ColumnText(i)
			}
		}
		list = append(list, row)
	}
}

type rawPGReader struct{ conn *pgx.Conn }

func (c *rawPGReader) close() { _ = c.conn.Close(context.Background()) }

func (c *rawPGReader) rows(ctx context.Context, q string, args ...any) ([][]any, error) {
	rows, err := c.conn.Query(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
}

// rawReadHandler answers home or searches.
func rawReadHandler(p *rawReads, t task) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any
		var err error
		if t.Work == workHome {
			answer, err = p.home(r.Context(), t.Authors[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")])
		} else {
			q := r.URL.Query().Get("q")
			answer, err = p.search(r.Context(), t.Finds[q], q)
		}
		var body []byte
		if err == nil {
			body, err = json.Marshal(answer)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
		_, _ = w.Write(body)
	})
}

// home asks what the act asks: twice, and once more if something is new.
func (p *rawReads) home(ctx context.Context, agent act.ID) (answer struct{ Me, Mail, News [][]any }, err error) {
	c := <-p.free
	defer func() { p.free <- c }()
	if answer.Me, err = c.rows(ctx, rawHome, int64(agent)); err != nil {
		return answer, err
	}
	if answer.Mail, err = c.rows(ctx, rawHomeMail, int64(agent)); err != nil {
		return answer, err
	}
	if len(answer.Me) == 1 && answer.Me[0][2] != int64(0) {
		answer.News, err = c.rows(ctx, rawHomeNews, int64(agent))
	}
	return answer, err
}

// rawHit is a found post with its rank.
type rawHit struct {
	Rank int
	Row  []any
}

// search reads the newest 200 matches and ranks them against each other by how
// often they have the words.
func (p *rawReads) search(ctx context.Context, matches []string, q string) (hits []rawHit, err error) {
	var rows [][]any
	for _, match := range matches {
		if rows = nil; p.newest != "" {
			rows, err = p.rows(ctx, p.newest, match)
		}
		if err == nil && len(rows) < rawWindow {
			rows, err = p.rows(ctx, p.find, match)
		}
		if err != nil {
			return nil, err
		}
		if len(rows) > 0 {
			break
		}
	}
	words := strings.Fields(q)
	for _, row := range rows {
		h := rawHit{Row: row}
		for _, text := range row[1:3] {
			lower := strings.ToLower(text.(string))
			for _, word := range words {
				h.Rank += strings.Count(lower, word)
			}
		}
		hits = append(hits, h)
	}
	slices.SortStableFunc(hits, func(a, b rawHit) int { return b.Rank - a.Rank })
	return hits[:min(len(hits), found25)], nil
}
