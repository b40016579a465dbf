package store

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/act"
)

// job is one Write on its way through the writer.
type job struct {
	ctx   context.Context
	fn    func(*Tx) error
	state atomic.Int32 // jobQueued → jobTaken by the writer, or → jobLeft by the caller
	out   Outcome
	err   error
	done  chan struct{} // one token a use: the writer has set out and err
}

const (
	jobQueued int32 = iota
	jobTaken
	jobLeft
)

var jobPool = sync.Pool{New: func() any { return &job{done: make(chan struct{}, 1)} }}

// sequence holds the counters that the SQLite writer hands out. Only the writer
// goroutine touches it.
type sequence struct{ pos, seq int64 }

func (l *lite) write(ctx context.Context, fn func(*Tx) error) (Outcome, error) {
	j := jobPool.Get().(*job)
	j.ctx, j.fn, j.out, j.err = ctx, fn, Outcome{}, nil
	j.state.Store(jobQueued)
	select {
	case <-l.stop:
		return Outcome{}, unavailable("the network is stopping", errClosed)
	default:
	}
	select {
	case l.jobs <- j:
	case <-ctx.Done():
		return Outcome{}, unavailable("too many writes are waiting", ctx.Err())
	case <-l.stop:
		return Outcome{}, unavailable("the network is stopping", errClosed)
	}
	select {
	case <-j.done:
	case <-l.drained:
		// The writer has gone. Either it answered first, or the job was queued
		// behind its last look.
		select {
		case <-j.done:
		default:
			return Outcome{}, unavailable("the network is stopping", errClosed)
		}
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobQueued, jobLeft) {
			return Outcome{}, unavailable("the write waited too long", ctx.Err()) // the writer drops the job
		}
		<-j.done
	}
	out, err := j.out, j.err
	j.ctx, j.fn = nil, nil
	jobPool.Put(j)
	return out, err
}

const (
	qLastSequence Q = `SELECT COALESCE(MAX(seq), 0) FROM event`
	qLastPosition Q = `SELECT seq FROM cursor WHERE name = 'position'`
	qSavePosition Q = `UPDATE cursor SET seq = $1 WHERE name = 'position'`
)

// loadSequence reads where the counters stood at the last commit.
func (l *lite) loadSequence() (sequence, error) {
	var s sequence
	if err := l.writer.query(qLastPosition, 1, func(r *Row) error { s.pos = r.Int(0); return nil }, nil); err != nil {
		return s, err
	}
	err := l.writer.query(qLastSequence, 1, func(r *Row) error { s.seq = r.Int(0); return nil }, nil)
	return s, err
}

// writeLoop is the one goroutine that writes. It drains what is queued, runs it
// as one group, and answers. There is no batching timer: while a group is being
// committed the next one queues up by itself.
func (l *lite) writeLoop() {
	defer l.running.Done()
	defer close(l.drained)
	w := groupWriter{lite: l, tx: Tx{View: View{lite: l.writer}, node: l.node}}
	w.tx.seq = &w.seq
	for {
		select {
		case j := <-l.jobs:
			w.group = append(w.group[:0], j)
		case <-l.stop:
			w.drain()
			return
		}
	more:
		for len(w.group) < liteGroup {
			select {
			case j := <-l.jobs:
				w.group = append(w.group, j)
			default:
				break more
			}
		}
		w.runGroup()
	}
}

// groupWriter runs groups on the writer's goroutine.
type groupWriter struct {
	lite   *lite
	tx     Tx
	seq    sequence
	loaded bool
	group  []*job
	ran    []*job
	folded map[foldKey]int64
	order  []foldKey
}

type foldKey struct {
	q  Q
	id act.ID
}

// drain answers what is still queued when the store closes.
func (w *groupWriter) drain() {
	for {
		select {
		case j := <-w.lite.jobs:
			w.answer(j, unavailable("the network is stopping", errClosed))
		default:
			return
		}
	}
}

func (w *groupWriter) answer(j *job, err error) {
	j.err = err
	j.done <- struct{}{}
}

// runGroup commits the group or fails every act of it. An act's own error rolls
// back only its savepoint; when SQLite has rolled the whole transaction back (a
// full disk does that) nothing of the group is stored, and every act is told so.
func (w *groupWriter) runGroup() {
	w.ran = w.ran[:0]
	start := w.seq
	err := w.begin()
	if err == nil {
		start = w.seq
		for i, j := range w.group {
			if !j.state.CompareAndSwap(jobQueued, jobTaken) {
				continue // its caller has gone
			}
			if cerr := j.ctx.Err(); cerr != nil {
				w.answer(j, unavailable("the write waited too long", cerr))
				continue
			}
			w.ran = append(w.ran, j)
			if err = w.runOne(j, len(w.group) == 1); err != nil {
				for _, rest := range w.group[i+1:] {
					if rest.state.CompareAndSwap(jobQueued, jobTaken) {
						w.ran = append(w.ran, rest)
					}
				}
				break
			}
		}
	} else {
		for _, j := range w.group {
			if j.state.CompareAndSwap(jobQueued, jobTaken) {
				w.ran = append(w.ran, j)
			}
		}
	}
	if err == nil {
		err = w.commit(start)
	}
	if err != nil {
		if !w.lite.writer.conn.AutocommitEnabled() {
			if rerr := w.lite.writer.do(qRollback); rerr != nil {
				w.lite.cfg.Log.Error("roll back a group", "err", rerr)
			}
		}
		w.loaded = false // what is stored is known only by reading it again
		w.clearFold()
		for _, j := range w.ran {
			j.err, j.out = unavailable("storage failed", err), Outcome{}
		}
	}
	for _, j := range w.ran {
		j.done <- struct{}{}
	}
}

func (w *groupWriter) begin() error {
	if !w.loaded {
		var err error
		if w.seq, err = w.lite.loadSequence(); err != nil {
			return err
		}
		w.loaded = true
	}
	if err := w.reserveIDs(); err != nil {
		return err
	}
	if err := w.fault(StepBegin); err != nil {
		return err
	}
	return w.lite.writer.do(qBeginImmediateSQLite)
}

// reserveIDs stores a higher ceiling for ids, in a transaction of its own, when
// the present one is near: an id may be used only after its reservation is
// durable.
func (w *groupWriter) reserveIDs() error {
	n := w.lite.node
	ceiling, due := n.due()
	if !due {
		return nil
	}
	if _, err := w.lite.writer.run(qReserveIDs, []any{int64(n.n), n.holder, ceiling}); err != nil {
		return err
	}
	n.reserved(ceiling)
	return nil
}

func (w *groupWriter) fault(s Step) error {
	if w.lite.cfg.Fault == nil {
		return nil
	}
	return w.lite.cfg.Fault(s)
}

// runOne runs one act. It returns an error only when the whole transaction is
// gone; the act's own error is kept in its job. An act that is alone in its
// group needs no savepoint.
func (w *groupWriter) runOne(j *job, alone bool) error {
	conn := w.lite.writer
	before := w.seq
	w.tx.reset(act.Micros(w.lite.cfg.Clock()))
	if !alone {
		if err := conn.do(qSavepoint); err != nil {
			return err
		}
	}
	err := guard(j.fn, &w.tx)
	if err == nil {
		err = w.tx.settleFences()
	}
	if conn.conn.AutocommitEnabled() {
		return errors.Join(errRolledBack, err)
	}
	if err != nil {
		w.seq = before
		j.err = err
		if alone {
			if rerr := conn.do(qRollback); rerr != nil {
				return rerr
			}
			return conn.do(qBeginImmediateSQLite)
		}
		if rerr := conn.do(qRollbackTo); rerr != nil {
			return rerr
		}
		return conn.do(qRelease)
	}
	j.out = Outcome{Fence: w.tx.fence, Touched: slices.Clone(w.tx.touched)}
	for _, a := range w.tx.adds {
		k := foldKey{a.q, a.id}
		if w.folded == nil {
			w.folded = make(map[foldKey]int64)
		}
		if _, seen := w.folded[k]; !seen {
			w.order = append(w.order, k)
		}
		if a.raise {
			w.folded[k] = max(w.folded[k], a.delta)
		} else {
			w.folded[k] += a.delta
		}
	}
	if alone {
		return nil
	}
	return conn.do(qRelease)
}

var errRolledBack = errors.New("the database rolled the whole group back")

func (w *groupWriter) clearFold() {
	clear(w.folded)
	w.order = w.order[:0]
}

// commit writes the folded counters and the position, and commits.
func (w *groupWriter) commit(start sequence) error {
	conn := w.lite.writer
	slices.SortFunc(w.order, func(a, b foldKey) int { return int(max(-1, min(1, a.id-b.id))) })
	for _, k := range w.order {
		delta := w.folded[k]
		if delta == 0 {
			continue
		}
		n, err := conn.exec(k.q, []any{k.id, delta})
		if err != nil {
			return err
		}
		if n != 1 { // a defect of one act, which must not fail its neighbours
			w.lite.cfg.Log.Error("counter of a row that is not there", "query", string(k.q), "id", int64(k.id))
		}
	}
	w.clearFold()
	if w.seq.pos != start.pos {
		if _, err := conn.run(qSavePosition, []any{w.seq.pos}); err != nil {
			return err
		}
	}
	if err := w.fault(StepCommit); err != nil {
		return err
	}
	if err := conn.do(qCommit); err != nil {
		return err
	}
	return w.fault(StepCommitted)
}

const (
	checkpointEvery = 250 * time.Millisecond
	restartPatience = 100 * time.Millisecond // how long a restart may hold writers up for readers
	restartPause    = 2                      // ticks after a restart that readers did not let through
)

// checkpointLoop moves the WAL into the database off the writer's path. When
// writers never pause, a passive checkpoint cannot restart the WAL; past
// walLimit the loop asks for one write's patience with a RESTART, which has only
// to move what came in since the passive one. Readers who stay may refuse it, and
// a dump is not asked at all: the WAL grows then until they are done, and the first
// commit after the restart gives the room back (journal_size_limit).
func (l *lite) checkpointLoop() {
	defer l.running.Done()
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	var conn *liteConn
	defer func() {
		if conn != nil {
			_ = conn.conn.Close()
		}
	}()
	most := cmp.Or(l.cfg.WAL, walCheckpoint)
	var (
		done  int64 // when the WAL was written that has nothing left to move
		pause int   // ticks before the next restart
	)
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		info, err := os.Stat(l.path + "-wal")
		if err != nil || info.Size() < most || info.ModTime().UnixNano() == done {
			continue
		}
		if conn == nil {
			if conn, err = l.connect(true); err != nil {
				l.cfg.Log.Error("open the checkpoint connection", "err", err)
				continue
			}
			conn.conn.SetBusyTimeout(restartPatience)
		}
		left, err := conn.checkpoint("PASSIVE")
		pause--
		if err == nil && left.pages*litePageSize > walLimit*most && pause < 0 {
			passive := left
			if left, err = l.empty(conn, "RESTART"); errors.Is(err, errDumping) {
				left, err = passive, nil // at one of the next ticks
			}
			if left.busy {
				pause = restartPause
			}
		}
		if err != nil {
			l.cfg.Log.Error("checkpoint", "err", err)
			continue
		}
		if left.moved == left.pages {
			done = info.ModTime().UnixNano()
		}
	}
}

// walState is what a checkpoint says: whether readers or writers were in its
// way, the pages in the WAL and how many of them are in the database by now.
type walState struct {
	busy         bool
	pages, moved int64
}

func (c *liteConn) checkpoint(mode string) (s walState, err error) {
	err = sqlitex.ExecuteTransient(c.conn, "PRAGMA wal_checkpoint("+mode+")", &sqlitex.ExecOptions{
		ResultFunc: func(row *sqlite.Stmt) error {
			s = walState{busy: row.ColumnInt64(0) != 0, pages: row.ColumnInt64(1), moved: row.ColumnInt64(2)}
			return nil
		},
	})
	return s, err
}
