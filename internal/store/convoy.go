package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/reefwarden/reefwarden/internal/act"
)

// A convoy is one PostgreSQL transaction that several acts share. Each act runs
// on its caller's goroutine as if it were alone; where it waits for an answer it
// halts, and when all have halted their statements travel together. So a group
// of acts costs three round trips, one fence lock and one commit, and counters
// that several of them change are changed once.
//
// What keeps an act from harming its neighbours:
//   - an act that fails before it has sent anything but questions is left out;
//   - when an act fails after that, or the database refuses a statement, the
//     whole transaction is undone and every act is done again in one of its own;
//   - no act hears of its success before the commit, nor of a failure that may
//     come from what a neighbour wrote and the commit did not keep.
//
// In a convoy a row lock does not hold off the neighbours: see Shared.
type convoy struct {
	pg    *pg
	node  *node
	forms rowForms // the conductor's
	queue chan *rider
	halts chan *rider
	stop  chan struct{}
	once  sync.Once
	gone  chan struct{} // closed when the conductor will not look at the queue again
}

const (
	convoyMost  = 1 << convoyBits // acts in one transaction
	convoyQueue = 4096            // acts that may wait; a caller beyond waits to be queued
)

// rider is one act in a convoy. Its caller's goroutine owns it from the moment
// it may board until it halts, the conductor's from there until it resumes.
type rider struct {
	ctx   context.Context
	state atomic.Int32 // jobQueued → jobTaken by the conductor, or → jobLeft by the caller
	tx    Tx
	conn  pgConn
	board chan error // one message to begin, one after each halt, one at the end
	place int        // in the group

	ended bool  // fn has returned; set before the last halt
	wrote bool  // something that changes rows has been sent
	err   error // of fn
	reply error // of the statements that it halted for
}

func newRider(ctx context.Context) *rider { return &rider{ctx: ctx, board: make(chan error, 1)} }

// errAlone says that an act must be done in a transaction of its own.
var errAlone = errors.New("to be done alone")

// Shared is WriteFenced for acts that may share a transaction with others on
// PostgreSQL (on SQLite they do anyway). fn must not rely on a lock that an
// earlier statement of its own took: between two of its statements those of
// other acts run, as they would with READ COMMITTED if those had committed. A
// transaction that makes a fence is done alone.
func (db *DB) Shared(ctx context.Context, fn func(*Tx) error) (Outcome, error) {
	if db.pg == nil {
		return db.WriteFenced(ctx, fn)
	}
	if err := ctx.Err(); err != nil {
		return Outcome{}, unavailable("the request ended before it was done", err)
	}
	r := newRider(ctx)
	err := db.pg.convoy.ride(r, fn)
	if errors.Is(err, errAlone) {
		return db.pg.act(ctx, db.node, fn)
	}
	return r.tx.outcome(), err
}

func newConvoy(p *pg, n *node) *convoy {
	return &convoy{
		pg: p, node: n, forms: make(rowForms),
		queue: make(chan *rider, convoyQueue), halts: make(chan *rider, convoyMost),
		stop: make(chan struct{}), gone: make(chan struct{}),
	}
}

func startConvoy(p *pg, n *node) *convoy {
	c := newConvoy(p, n)
	go c.run()
	return c
}

// close ends the convoy after the transaction under way. What waits is refused.
func (c *convoy) close() {
	c.once.Do(func() { close(c.stop) })
	<-c.gone
}

// ride does an act in the next convoy. It returns errAlone when the act has to
// be done, or done again, in a transaction of its own.
func (c *convoy) ride(r *rider, fn func(*Tx) error) error {
	select {
	case c.queue <- r:
	case <-r.ctx.Done():
		return unavailable("too many writes are waiting", r.ctx.Err())
	case <-c.stop:
		return unavailable("the network is stopping", errClosed)
	}
	select {
	case err := <-r.board:
		return c.along(r, err, fn)
	case <-r.ctx.Done():
		if r.state.CompareAndSwap(jobQueued, jobLeft) {
			return unavailable("the write waited too long", r.ctx.Err())
		}
	case <-c.gone:
		if r.state.CompareAndSwap(jobQueued, jobLeft) {
			return unavailable("the network is stopping", errClosed)
		}
	}
	return c.along(r, <-r.board, fn)
}

// along does the act of a rider that has been told to board, or why it may not,
// and returns what became of it.
func (c *convoy) along(r *rider, refused error, fn func(*Tx) error) error {
	if refused != nil {
		return refused
	}
	r.err = guard(fn, &r.tx)
	r.ended = true
	c.halts <- r
	return <-r.board
}

// run is the conductor. Everything below is on its goroutine.
func (c *convoy) run() {
	defer close(c.gone)
	group := make([]*rider, 0, convoyMost)
	for {
		group = group[:0]
		select {
		case r := <-c.queue:
			group = c.take(group, r)
		case <-c.stop:
			return
		}
	more:
		for len(group) < convoyMost {
			select {
			case r := <-c.queue:
				group = c.take(group, r)
			default:
				break more
			}
		}
		switch len(group) {
		case 0:
		case 1:
			group[0].board <- errAlone // nobody to share with
		default:
			c.travel(group)
		}
	}
}

// take adds a rider unless its caller has gone.
func (c *convoy) take(group []*rider, r *rider) []*rider {
	switch {
	case !r.state.CompareAndSwap(jobQueued, jobTaken):
	case r.ctx.Err() != nil:
		r.board <- unavailable("the write waited too long", r.ctx.Err())
	default:
		return append(group, r)
	}
	return group
}

const qNextPositionsPostgres Q = `SELECT nextval('position_seq') FROM generate_series(1, $1)`

// travel runs a group and tells every rider what became of it.
func (c *convoy) travel(group []*rider) {
	ctx, cancel := context.WithTimeout(context.Background(), pgTxTimeout) //arch:allow a transaction of many requests belongs to none
	defer cancel()
	t := trip{convoy: c, ctx: ctx, group: group, asks: make(map[askKey]*asking)}
	if err := t.begin(); err != nil {
		for _, r := range group {
			r.board <- err
		}
		return
	}
	err := t.drive()
	t.finish(err != nil)
	for _, r := range group {
		switch {
		case err == nil:
			r.board <- r.err
		case errors.Is(err, errAlone):
			r.board <- errAlone
		default:
			r.board <- unavailable("storage failed", err)
		}
	}
}

// trip is one transaction of a convoy.
type trip struct {
	*convoy
	ctx    context.Context
	group  []*rider
	conn   pgConn
	asks   map[askKey]*asking // of the present round trip
	rows   []*newRows         // of the present round trip
	finish func(failed bool)  // gives the connection back
}

// begin opens the transaction and draws a position for each rider: after all of
// them have come, so that no showing that one of them acts upon comes later.
func (t *trip) begin() error {
	conn, err := t.pg.acquire(t.ctx)
	if err != nil {
		return err
	}
	t.conn = pgConn{ctx: t.ctx, conn: conn.Conn(), driver: t.pg, fault: t.pg.cfg.Fault}
	t.finish = func(failed bool) {
		defer conn.Release()
		if failed && !conn.Conn().IsClosed() {
			if _, err := conn.Exec(t.ctx, string(qRollback)); err != nil {
				_ = conn.Conn().Close(t.ctx) // the pool makes another
			}
		}
	}
	now := act.Micros(t.pg.cfg.Clock())
	next := 0
	err = t.conn.inject(StepBegin)
	if err == nil {
		t.conn.later(qBeginPostgres, nil)
		t.conn.later(qShareFencePostgres, []any{t.pg.fenceKey})
		t.conn.queue(qNextPositionsPostgres, []any{int64(len(t.group))}, func(br pgx.BatchResults) error {
			return readRows(br, 0, func(r *Row) error { t.group[next].conn.pos = r.Int(0); next++; return nil })
		})
		err = t.conn.flush()
	}
	if err == nil && next != len(t.group) {
		err = unavailable("storage failed", errors.New("too few positions"))
	}
	if err != nil {
		t.finish(true)
		return err
	}
	for i, r := range t.group {
		r.place = i
		r.conn.ctx, r.conn.driver, r.conn.fault, r.conn.rider, r.conn.convoy = t.ctx, t.pg, t.pg.cfg.Fault, r, t.convoy
		r.tx = Tx{View: View{pg: &r.conn}, node: t.node, now: now}
	}
	return nil
}

// drive lets the riders run until all have ended and commits. Until it returns
// no rider waits on anything but its place.
func (t *trip) drive() error {
	var failed error
	moving := len(t.group)
	for _, r := range t.group {
		r.board <- nil
	}
	halted := make([]*rider, 0, len(t.group))
	for moving > 0 {
		halted = halted[:0]
		for range moving {
			halted = append(halted, <-t.halts)
		}
		halted = slices.DeleteFunc(halted, func(r *rider) bool { return r.ended })
		moving = len(halted)
		// The order in which goroutines came to halt is chance; that of the group
		// is not, and of two acts the one that was queued first goes first.
		slices.SortFunc(halted, func(a, b *rider) int { return a.place - b.place })
		if failed == nil {
			failed = t.send(halted)
		}
		for _, r := range halted {
			if failed != nil {
				r.reply = failed
			}
			r.board <- nil
		}
	}
	if failed != nil {
		return failed
	}
	return t.commit()
}

// send puts the riders' statements into one round trip and reads each one's
// answers. It returns an error when the transaction cannot go on.
func (t *trip) send(halted []*rider) error {
	for _, r := range halted {
		r.reply = nil
		t.load(r)
	}
	return t.flush()
}

// flush makes the round trip.
func (t *trip) flush() error {
	for _, r := range t.rows {
		r.form.each(r.rows, t.conn.later)
	}
	t.rows = t.rows[:0]
	clear(t.asks)
	return shared(t.conn.flush())
}

// newRows is what riders insert by one statement.
type newRows struct {
	q    Q
	form *rowForm
	rows [][]any
}

// row returns the form of a statement that can be sent with those of others.
func (t *trip) row(s statement) *rowForm {
	if !s.blind || s.check != nil {
		return nil
	}
	if form := t.forms.of(s.q); form != nil && form.params == len(s.args) {
		return form
	}
	return nil
}

// insert notes a row that a rider inserts.
func (t *trip) insert(s statement, form *rowForm) {
	for _, r := range t.rows {
		if r.q == s.q {
			r.rows = append(r.rows, s.args)
			return
		}
	}
	t.rows = append(t.rows, &newRows{s.q, form, [][]any{s.args}})
}

// load puts what a rider has pending on the trip's connection. What goes wrong in
// the rider's own scan functions is the rider's alone. Riders that check the same
// row share one question. The rows that a rider inserts last go into their tables
// together with those of others, after everything else: as if the riders' own
// transactions ran at the same time.
func (t *trip) load(r *rider) {
	c := &r.conn
	last := len(c.pending)
	for last > 0 && t.row(c.pending[last-1]) != nil {
		last--
	}
	for i, s := range c.pending {
		r.wrote = r.wrote || changes(s.q)
		if i >= last {
			t.insert(s, t.row(s))
			continue
		}
		if s.check != nil && len(s.args) == 1 {
			key, ok := s.args[0].(int64)
			if ok {
				t.ask(askKey{s.q, act.ID(key)}, r, s.check)
				continue
			}
		}
		t.conn.add(statement{q: s.q, args: s.args, read: func(br pgx.BatchResults) error {
			err := s.answer(br)
			if own, ok := errors.AsType[scanError](err); ok {
				r.fail(own.error)
				return nil
			}
			return err
		}})
	}
	c.pending, c.checks = c.pending[:0], 0
}

// askKey is a question by the id of a row.
type askKey struct {
	q  Q
	id act.ID
}

// asking is who waits for the answer to one question.
type asking struct {
	riders []*rider
	checks []func(*Row) error
}

// ask puts the rider's check to a question of this round trip.
func (t *trip) ask(k askKey, r *rider, check func(*Row) error) {
	a := t.asks[k]
	if a == nil {
		a = &asking{}
		t.asks[k] = a
		t.conn.soon(k.q, func(row *Row) error {
			for i, check := range a.checks {
				a.riders[i].fail(check(row))
			}
			return nil
		}, []any{k.id})
	}
	a.riders, a.checks = append(a.riders, r), append(a.checks, check)
}

// fail notes what went wrong first in a round trip of the rider's.
func (r *rider) fail(err error) {
	if r.reply == nil {
		r.reply = err
	}
}

// changes reports whether a statement does more than ask.
func changes(q Q) bool { return !strings.HasPrefix(string(q), "SELECT ") }

// commit sends what is left of the riders that did well, with their counters,
// and commits if every check holds.
func (t *trip) commit() error {
	var good []*rider
	for _, r := range t.group {
		switch {
		case r.err == nil && len(r.tx.fences) == 0:
			good = append(good, r)
		case r.wrote || r.err == nil:
			return errAlone
		}
	}
	fold := make(map[foldKey]addition)
	for _, r := range good {
		r.reply = nil
		t.load(r)
		for _, a := range r.tx.adds {
			if a.short != nil {
				a.short = errAlone // who has to do without is found out one by one
			}
			k := foldKey{a.q, a.id}
			sum, seen := fold[k]
			switch {
			case !seen:
				sum = a
			case a.raise:
				sum.delta = max(sum.delta, a.delta)
			default:
				sum.delta += a.delta
			}
			fold[k] = sum
		}
	}
	adds := make([]addition, 0, len(fold))
	for _, a := range fold {
		if a.delta != 0 {
			adds = append(adds, a)
		}
	}
	if err := t.conn.counters(adds); err != nil {
		return err
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, r := range good {
		if r.reply != nil { // a check of it did not hold
			return errAlone
		}
	}
	if err := t.conn.inject(StepCommit); err != nil {
		return err
	}
	if err := shared(t.conn.commit()); err != nil {
		return err
	}
	return t.conn.inject(StepCommitted)
}

// shared turns a refusal by the database into errAlone: it may be one act's
// doing, or a deadlock, and has undone them all.
func shared(err error) error {
	if err == nil {
		return nil
	}
	if _, refused := errors.AsType[*pgconn.PgError](err); refused {
		return errAlone
	}
	return err
}
