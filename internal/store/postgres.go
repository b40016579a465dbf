package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	pgPool        = 16
	pgTries       = 12 // attempts of one Write that meets deadlocks
	pgBackoff     = 2 * time.Millisecond
	pgTxTimeout   = 30 * time.Second // bound of one attempt; a lost server must not hold a request for ever
	pgDialTimeout = 5 * time.Second
)

// pg is the PostgreSQL driver: a pool, a transaction for each act.
type pg struct {
	cfg      Config
	pool     *pgxpool.Pool
	fenceKey int64 // advisory lock: shared by every write, exclusive for a barrier
	logKey   int64 // advisory lock: numbers fences in commit order
	nodeKey  int64 // advisory lock: one process at a time chooses a node number
	convoy   *convoy
	turns    chan struct{} // as many as acts' transactions may hold connections at a time
}

// lockKey derives an advisory lock's key from the network's schema, so that
// networks in one database do not share locks.
func lockKey(schema, what string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("reef\x00" + schema + "\x00" + what))
	return int64(h.Sum64())
}

// Plain returns the hosts that a PostgreSQL URL, with the environment that completes it,
// would let be spoken to without TLS, or by TLS with anybody, whose certificate nobody
// looks at (sslmode=require without a root). A socket of this machine is none.
func Plain(raw string) (hosts []string, err error) {
	c, err := pgx.ParseConfig(raw)
	if err != nil {
		return nil, errors.New("the PostgreSQL URL cannot be used") // pgx's text may hold the password
	}
	note := func(host string, t *tls.Config) {
		// pgx looks at a certificate itself, or has a function of its own do it (verify-ca).
		secure := t != nil && (!t.InsecureSkipVerify || t.VerifyPeerCertificate != nil || t.VerifyConnection != nil)
		if !secure && !strings.HasPrefix(host, "/") {
			hosts = append(hosts, host)
		}
	}
	note(c.Host, c.TLSConfig)
	for _, f := range c.Fallbacks {
		note(f.Host, f.TLSConfig)
	}
	return hosts, nil
}

func openPostgres(ctx context.Context, cfg Config) (*pg, error) {
	if cfg.Schema == "" {
		cfg.Schema = "public"
	}
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, errors.New("the PostgreSQL URL cannot be parsed") // pgx's text may hold the password
	}
	pc.MaxConns = pgPool
	if cfg.Readers > 0 {
		pc.MaxConns = int32(cfg.Readers)
	}
	pc.ConnConfig.ConnectTimeout = pgDialTimeout
	pc.ConnConfig.RuntimeParams["search_path"] = pgx.Identifier{cfg.Schema}.Sanitize()
	pc.ConnConfig.RuntimeParams["application_name"] = "reef"
	pc.ConnConfig.RuntimeParams["jit"] = "off"
	if err := migratePostgres(ctx, pc.ConnConfig, cfg.Schema, newest); err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, err
	}
	return &pg{
		cfg: cfg, pool: pool,
		fenceKey: lockKey(cfg.Schema, "fence"), logKey: lockKey(cfg.Schema, "fence-log"),
		nodeKey: lockKey(cfg.Schema, "node"), turns: make(chan struct{}, max(1, int(pc.MaxConns)*3/4)),
	}, nil
}

// pgConn runs statements on one connection. Statements whose result nobody
// waits for are held back in pending and travel with the next one that has a
// reader, so that a whole act costs two or three round trips.
type pgConn struct {
	ctx     context.Context
	conn    *pgx.Conn     // nil before a view's first question
	pooled  *pgxpool.Conn // a view's conn, for its return
	driver  *pg
	pending []statement
	checks  int   // of them, those that decide whether the transaction may go on
	pos     int64 // a position fetched with the first round trip, 0 when used
	fault   func(Step) error

	rider  *rider // whose statements travel with those of others; nil for a connection of one's own
	convoy *convoy
}

// statement is one on its way, with what is to become of its answer.
type statement struct {
	q     Q
	args  []any
	read  func(pgx.BatchResults) error
	check func(*Row) error // in place of read: is given the first row, or nil
	blind bool             // nobody asks how many rows it changed
}

// answer reads the statement's answer.
func (s *statement) answer(br pgx.BatchResults) error {
	if s.check == nil {
		return s.read(br)
	}
	found := false
	err := readRows(br, 1, func(r *Row) error { found = true; return s.check(r) })
	if err == nil && !found {
		if err = s.check(nil); err != nil {
			err = scanError{err}
		}
	}
	return err
}

func (p *pg) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	c, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, unavailable("no connection to storage", err)
	}
	return c, nil
}

// view gives fn a connection when it asks its first question: who is answered
// from memory needs none.
func (p *pg) view(ctx context.Context, snapshot bool, fn func(*View) error) error {
	pc := &pgConn{ctx: ctx, driver: p}
	if snapshot {
		pc.later(qBeginSnapshotPostgres, nil)
	}
	defer func() {
		if pc.pooled == nil {
			return
		}
		if snapshot {
			_, _ = pc.pooled.Exec(context.WithoutCancel(ctx), string(qRollback))
		}
		pc.pooled.Release()
	}()
	return fn(&View{pg: pc})
}

const (
	qBeginPostgres         Q = `BEGIN ISOLATION LEVEL READ COMMITTED`
	qBeginSnapshotPostgres Q = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`
	qShareFencePostgres    Q = `SELECT pg_advisory_xact_lock_shared($1)`
	qNextPositionPostgres  Q = `SELECT nextval('position_seq')`
	qLockPostgres          Q = `SELECT pg_advisory_xact_lock($1)`
)

// act is write for an act, when it is its turn. Acts wait for each other's rows with a
// connection in hand: the rest of the pool is for what is over soon, and for the fences,
// without which this node would serve nobody.
func (p *pg) act(ctx context.Context, n *node, fn func(*Tx) error) (Outcome, error) {
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
		return p.write(ctx, n, p.cfg.Fault, fn)
	case <-ctx.Done():
		return Outcome{}, unavailable("too many writes are waiting", ctx.Err())
	}
}

func (p *pg) write(ctx context.Context, n *node, fault func(Step) error, fn func(*Tx) error) (Outcome, error) {
	for try := 1; ; try++ {
		out, err := p.attempt(ctx, n, fault, fn)
		if err == nil || !retryable(err) || try == pgTries {
			return out, err
		}
		pause := time.NewTimer(time.Duration(rand.Int64N(int64(pgBackoff) << min(try, 6))))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return Outcome{}, unavailable("the write waited too long", ctx.Err())
		}
	}
}

// retryable reports whether the database undid the transaction only because it
// met another one: a deadlock or a serialization failure.
func retryable(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "40P01" || e.Code == "40001"
	}
	return false
}

// attempt runs fn in one transaction. The request's context bounds the wait for
// a connection; once running, the transaction has its own bound, because a
// cancelled statement would cost the connection.
func (p *pg) attempt(ctx context.Context, n *node, fault func(Step) error, fn func(*Tx) error) (_ Outcome, err error) {
	c, err := p.acquire(ctx)
	if err != nil {
		return Outcome{}, err
	}
	defer c.Release()
	run, cancel := context.WithTimeout(context.WithoutCancel(ctx), pgTxTimeout)
	defer cancel()
	pc := &pgConn{ctx: run, conn: c.Conn(), driver: p, fault: fault}
	tx := &Tx{View: View{pg: pc}, node: n, now: act.Micros(p.cfg.Clock())}
	if err := pc.inject(StepBegin); err != nil {
		return Outcome{}, err
	}
	defer func() {
		if err != nil && !c.Conn().IsClosed() {
			if _, rerr := c.Exec(run, string(qRollback)); rerr != nil {
				_ = c.Conn().Close(run) // the pool makes another
			}
		}
	}()
	pc.later(qBeginPostgres, nil)
	pc.later(qShareFencePostgres, []any{p.fenceKey})
	pc.wait(qNextPositionPostgres, nil, func(r *Row) error { pc.pos = r.Int(0); return nil })
	if err := guard(fn, tx); err != nil {
		return Outcome{}, err
	}
	if err := pc.counters(tx.adds); err != nil {
		return Outcome{}, err
	}
	if err := tx.settleFences(); err != nil {
		return Outcome{}, err
	}
	if err := pc.inject(StepCommit); err != nil {
		return Outcome{}, err
	}
	if err := pc.commit(); err != nil {
		return Outcome{}, err
	}
	if err := pc.inject(StepCommitted); err != nil {
		return Outcome{}, err
	}
	return tx.outcome(), nil
}

// outcome is what a transaction that has committed leaves to do.
func (tx *Tx) outcome() Outcome { return Outcome{Fence: tx.fence, Touched: tx.touched} }

func (c *pgConn) inject(s Step) error {
	if c.fault == nil {
		return nil
	}
	if err := c.fault(s); err != nil {
		return unavailable("storage failed", err)
	}
	return nil
}

// counters puts the additions and draws on their way, in the order of the ids: every
// transaction locks such rows in the same order.
func (c *pgConn) counters(adds []addition) error {
	sortAdditions(adds)
	for _, a := range adds {
		args := []any{a.id, a.delta}
		if a.short == nil {
			c.later(a.q, args)
			continue
		}
		c.checks++
		c.queue(a.q, args, func(br pgx.BatchResults) error {
			tag, err := br.Exec()
			if err == nil && tag.RowsAffected() == 0 {
				err = scanError{a.short}
			}
			return err
		})
	}
	return nil
}

// commit sends what is pending together with COMMIT, but never before every
// check has been read: a commit that is under way cannot be taken back.
func (c *pgConn) commit() error {
	if c.checks > 0 {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.queue(qCommit, nil, func(br pgx.BatchResults) error {
		tag, err := br.Exec()
		if err == nil && tag.String() != "COMMIT" {
			err = fmt.Errorf("commit answered %q", tag.String())
		}
		return err
	})
	return c.flush()
}

// nextPosition returns a position for an event or exposure row. The first of a
// transaction came with its first round trip.
func (c *pgConn) nextPosition() (int64, error) {
	if c.pos == 0 {
		if len(c.pending) == 0 {
			c.wait(qNextPositionPostgres, nil, func(r *Row) error { c.pos = r.Int(0); return nil })
		}
		if err := c.flush(); err != nil {
			return 0, err
		}
		if c.pos == 0 {
			c.wait(qNextPositionPostgres, nil, func(r *Row) error { c.pos = r.Int(0); return nil })
			if err := c.flush(); err != nil {
				return 0, err
			}
		}
	}
	pos := c.pos
	c.pos = 0
	return pos, nil
}

func (c *pgConn) lockFenceLog() error {
	c.later(qLockPostgres, []any{c.driver.logKey})
	return c.flush()
}

// later queues a statement whose result is only checked for an error.
func (c *pgConn) later(q Q, args []any) {
	c.add(statement{q: q, args: args, blind: true, read: func(br pgx.BatchResults) error { _, err := br.Exec(); return err }})
}

// wait queues a query whose first row goes to scan when the batch is sent.
func (c *pgConn) wait(q Q, args []any, scan func(*Row) error) {
	c.queue(q, args, func(br pgx.BatchResults) error { return readRows(br, 1, scan) })
}

// soon queues a query whose first row, or nil, goes to check.
func (c *pgConn) soon(q Q, check func(*Row) error, args []any) {
	c.checks++
	c.add(statement{q: q, args: args, check: check})
}

func (c *pgConn) queue(q Q, args []any, read func(pgx.BatchResults) error) {
	c.add(statement{q: q, args: args, read: read})
}

func (c *pgConn) add(s statement) {
	for i := range s.args {
		s.args[i] = plain(s.args[i])
	}
	c.pending = append(c.pending, s)
}

func (c *pgConn) exec(q Q, args []any) (changed int64, err error) {
	if err := c.inject(StepStatement); err != nil {
		return 0, err
	}
	c.queue(q, args, func(br pgx.BatchResults) error {
		tag, err := br.Exec()
		changed = tag.RowsAffected()
		return err
	})
	return changed, c.flush()
}

func (c *pgConn) query(q Q, limit int, scan func(*Row) error, args []any) error {
	c.queue(q, args, func(br pgx.BatchResults) error { return readRows(br, limit, scan) })
	return c.flush()
}

// scanError is an error of a scan function, which is the caller's and not the
// database's.
type scanError struct{ error }

func (e scanError) Unwrap() error { return e.error }

func readRows(br pgx.BatchResults, limit int, scan func(*Row) error) error {
	rows, err := br.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	row := Row{fields: rows.FieldDescriptions()}
	for n := 0; (limit == 0 || n < limit) && rows.Next(); n++ {
		row.values = rows.RawValues()
		if err := scan(&row); err != nil {
			return scanError{err}
		}
	}
	rows.Close()
	return rows.Err()
}

// connect takes a view's connection out of the pool. A rider has none.
func (c *pgConn) connect() (err error) {
	if c.conn != nil || c.rider != nil {
		return nil
	}
	if c.pooled, err = c.driver.acquire(c.ctx); err != nil {
		return err
	}
	c.conn = c.pooled.Conn()
	return nil
}

// flush sends everything that is pending in one round trip and reads it.
func (c *pgConn) flush() (err error) {
	if len(c.pending) == 0 {
		return nil
	}
	if c.rider != nil {
		c.convoy.halts <- c.rider
		<-c.rider.board
		return c.rider.reply
	}
	sent := c.pending
	c.pending, c.checks = nil, 0
	if err := c.connect(); err != nil {
		return err
	}
	batch := pgx.Batch{QueuedQueries: make([]*pgx.QueuedQuery, len(sent))}
	queued := make([]pgx.QueuedQuery, len(sent))
	for i := range sent {
		queued[i] = pgx.QueuedQuery{SQL: string(sent[i].q), Arguments: sent[i].args}
		batch.QueuedQueries[i] = &queued[i]
	}
	br := c.conn.SendBatch(c.ctx, &batch)
	for i := range sent {
		if err = sent[i].answer(br); err != nil {
			break
		}
	}
	if cerr := br.Close(); err == nil {
		err = cerr
	}
	return pgError(err)
}

// pgError turns a driver's error into what a caller may see. A scan's own error
// passes through; a constraint becomes a Conflict; a deadlock keeps its cause so
// that Write can retry it.
func pgError(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[scanError](err); ok {
		return e.error
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code[:2] == "23" {
		return act.Errorf(act.Conflict, "it is already there: %w", err)
	}
	return unavailable("storage failed", err)
}

// barrier waits until every write that began before it has ended.
func (p *pg) barrier(ctx context.Context) error {
	c, err := p.acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	pc := &pgConn{ctx: ctx, conn: c.Conn(), driver: p}
	pc.later(qBeginPostgres, nil)
	pc.later(qLockPostgres, []any{p.fenceKey})
	return pc.commit()
}
