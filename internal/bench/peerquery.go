package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/provenance/graph"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The peers of the graph are what one would write without it: a table of showings, one
// of what was made, indexes both ways, and a recursive query that respects time. A
// question that takes longer than peerBound is given up, and said so.
const (
	peerBound = 30 * time.Second
	peerAsked = 7 // questions of each kind

	peerTables = `CREATE TABLE shown (item BIGINT NOT NULL, reader BIGINT NOT NULL, after BIGINT NOT NULL);
CREATE TABLE made (item BIGINT NOT NULL, agent BIGINT NOT NULL, seq BIGINT NOT NULL)`
	peerIndexes = `CREATE INDEX shown_item ON shown (item, after, reader);
CREATE INDEX shown_reader ON shown (reader, after, item);
CREATE INDEX made_item ON made (item, agent, seq);
CREATE INDEX made_agent ON made (agent, seq, item)`

	peerBlastText = `WITH RECURSIVE reach (item, seq) AS (
  SELECT item, seq FROM made WHERE item = $1
  UNION SELECT m.item, m.seq FROM reach AS r JOIN shown AS s ON s.item = r.item AND s.after >= r.seq JOIN made AS m ON m.agent = s.reader AND m.seq > s.after
) SELECT COUNT(DISTINCT item) FROM reach`
	// As deep as a question goes that does not say how deep; all that was shown, since a
	// bound on each level cannot be said in it.
	peerWhyText = `WITH RECURSIVE cause (item, depth) AS (
  SELECT item, 0 FROM made WHERE item = $1
  UNION SELECT s.item, c.depth + 1 FROM cause AS c JOIN made AS m ON m.item = c.item JOIN shown AS s ON s.reader = m.agent AND s.after < m.seq WHERE c.depth < 3
) SELECT COUNT(DISTINCT item) FROM cause`
)

// peerQueries are the peers with the same record. A nil one has none.
type peerQueries struct {
	dir     string
	lite    *sqlite.Conn
	pg      *pgx.Conn // nil where PostgreSQL is not asked for
	pgName  string
	cluster *cluster
	showing [][]any
	making  [][]any
}

const peerRows = 50_000 // that wait to be stored together

func (r *runner) openPeers(ctx context.Context) (*peerQueries, error) {
	p := &peerQueries{dir: filepath.Join(r.dir, "peer"), cluster: r.pg}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if p.lite, err = rawLiteCreate(filepath.Join(p.dir, "peer.db")); err != nil {
		return nil, err
	}
	if err := sqlitex.ExecuteScript(p.lite, peerTables, nil); err != nil {
		return nil, err
	}
	if r.pg == nil {
		return p, nil
	}
	p.pgName = "reef_bench_peer_" + strconv.Itoa(os.Getpid())
	if err := r.pg.create(ctx, p.pgName, ""); err != nil {
		return nil, err
	}
	if p.pg, err = pgx.Connect(ctx, r.pg.url(p.pgName)); err != nil {
		return nil, err
	}
	_, err = p.pg.Exec(ctx, peerTables)
	return p, err
}

// rawLiteCreate opens a new database of a peer, which need not outlive a crash.
func rawLiteCreate(path string) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite, sqlite.OpenCreate)
	if err != nil {
		return nil, err
	}
	return conn, sqlitex.ExecuteTransient(conn, "PRAGMA cache_size = -262144", nil)
}

func (p *peerQueries) shown() func(item, reader act.ID, after int64) error {
	if p == nil {
		return nil
	}
	return func(item, reader act.ID, after int64) error {
		if p.showing = append(p.showing, []any{int64(item), int64(reader), after}); len(p.showing) >= peerRows {
			return p.flush(context.Background()) //arch:allow the rows of a baseline
		}
		return nil
	}
}

func (p *peerQueries) made() func(item, actor act.ID, seq int64) error {
	if p == nil {
		return nil
	}
	return func(item, actor act.ID, seq int64) error {
		p.making = append(p.making, []any{int64(item), int64(actor), seq})
		return nil
	}
}

func (p *peerQueries) flush(ctx context.Context) (err error) {
	for _, t := range []struct {
		name, insert string
		columns      []string
		rows         *[][]any
	}{
		{"shown", "INSERT INTO shown (item, reader, after) VALUES ($1, $2, $3)", []string{"item", "reader", "after"}, &p.showing},
		{"made", "INSERT INTO made (item, agent, seq) VALUES ($1, $2, $3)", []string{"item", "agent", "seq"}, &p.making},
	} {
		if err := p.insert(t.insert, *t.rows); err != nil {
			return err
		}
		if p.pg != nil {
			if _, err := p.pg.CopyFrom(ctx, pgx.Identifier{t.name}, t.columns, pgx.CopyFromRows(*t.rows)); err != nil {
				return err
			}
		}
		*t.rows = (*t.rows)[:0]
	}
	return nil
}

func (p *peerQueries) insert(q string, rows [][]any) (err error) {
	defer sqlitex.Save(p.lite)(&err)
	s, err := p.lite.Prepare(q)
	if err != nil {
		return err
	}
	for _, row := range rows {
		for i, v := range row {
			s.BindInt64(i+1, v.(int64))
		}
		if _, err := s.Step(); err != nil {
			return err
		}
		if err := s.Reset(); err != nil {
			return err
		}
	}
	return nil
}

// filled makes the indexes when everything is there.
func (p *peerQueries) filled(ctx context.Context) error {
	if p == nil {
		return nil
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	if err := sqlitex.ExecuteScript(p.lite, peerIndexes+"; ANALYZE", nil); err != nil {
		return err
	}
	if p.pg == nil {
		return nil
	}
	if _, err := p.pg.Exec(ctx, peerIndexes); err != nil {
		return err
	}
	_, err := p.pg.Exec(ctx, "ANALYZE")
	return err
}

func (p *peerQueries) close() {
	if p == nil {
		return
	}
	_ = p.lite.Close() // its directory goes anyhow
	if p.pg != nil {
		_ = p.pg.Close(context.Background())               //arch:allow the end of a baseline
		_ = p.cluster.drop(context.Background(), p.pgName) //arch:allow the end of a baseline
	}
}

// ask asks one peer; late is true when it was given up.
func (p *peerQueries) ask(ctx context.Context, db, query string, item act.ID) (n int64, ms float64, late bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, peerBound)
	defer cancel()
	began := time.Now()
	if db == dbPostgres {
		err = p.pg.QueryRow(ctx, query, int64(item)).Scan(&n)
	} else {
		p.lite.SetInterrupt(ctx.Done())
		err = sqlitex.ExecuteTransient(p.lite, query, &sqlitex.ExecOptions{Args: []any{int64(item)}, ResultFunc: func(s *sqlite.Stmt) error {
			n = s.ColumnInt64(0)
			return nil
		}})
		p.lite.SetInterrupt(nil)
	}
	ms = milliseconds(time.Since(began))
	if err != nil && ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return 0, ms, true, nil
	}
	return n, ms, false, err
}

// dbs are the databases that are asked.
func (p *peerQueries) dbs() []string {
	if p.pg == nil {
		return []string{dbSQLite}
	}
	return []string{dbSQLite, dbPostgres}
}

// peerBlast asks graph and peers in turns how far things have spread, and fails unless
// they say the same.
func (r *runner) peerBlast(ctx context.Context, rec *record, peers *peerQueries, f figure, mean *figure) error {
	return r.peer(ctx, rec, peers, f, mean, peerBlastText, func(g *graph.Graph, v *store.View, item act.ID) (int64, error) {
		out, err := g.Forward(v, graph.Start{Items: []act.ID{item}})
		if err != nil {
			return 0, err
		}
		// The query knows no acts that name what nobody was shown; in this record there are none.
		return int64(len(out.Possible.Items)), nil
	}, true)
}

// peerWhy asks graph and peers in turns why things were made. The peers list everything up
// to the same depth, the graph what is strongest and newest.
func (r *runner) peerWhy(ctx context.Context, rec *record, peers *peerQueries, f figure, mean *figure) error {
	return r.peer(ctx, rec, peers, f, mean, peerWhyText, func(g *graph.Graph, v *store.View, item act.ID) (int64, error) {
		out, err := g.Backward(v, item, 0, graph.Bounds{})
		if err != nil {
			return 0, err
		}
		return int64(out.Nodes), nil
	}, false)
}

func (r *runner) peer(ctx context.Context, rec *record, peers *peerQueries, f figure, mean *figure, query string, ours func(*graph.Graph, *store.View, act.ID) (int64, error), same bool) error {
	if peers == nil {
		return nil
	}
	g := graph.New(everything)
	if _, err := timed(ctx, rec, g.Refresh); err != nil {
		return err
	}
	for _, db := range peers.dbs() {
		var per, took, mine []float64
		late := 0
		for _, at := range rec.asked(peerAsked) {
			want := int64(0)
			own, err := timed(ctx, rec, func(v *store.View) (err error) { want, err = ours(g, v, rec.made[at]); return err })
			if err != nil {
				return err
			}
			got, ms, gaveUp, err := peers.ask(ctx, db, query, rec.made[at])
			if err != nil {
				return err
			}
			if gaveUp {
				late++
			} else if same && got != want {
				return fmt.Errorf("%s finds %d things, the graph %d, from act %d", db, got, want, rec.found[at])
			}
			r.say("%s: %.1f ms, the graph %.2f ms", db, ms, own)
			per, took, mine = append(per, own/ms), append(took, ms), append(mine, own)
		}
		side := f
		side.DB, side.Side, side.Metric = db, "recursive_cte", mean.Metric
		if late > 0 {
			side.Variant = fmt.Sprintf("%d of %d given up after %s", late, len(took), peerBound)
		}
		if err := r.press.put(times(took).figure(side, mean.Metric)); err != nil {
			return err
		}
		ratio := f
		ratio.DB, ratio.Metric = db, "ratio_recursive_cte"
		if err := r.press.put(ratio.with(spreadOf(per), "ratio", len(per), int64(len(mine))).against("recursive_cte on "+db, median(per))); err != nil {
			return err
		}
	}
	return nil
}
