package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	liteFile       = "reef.db"
	liteReaders    = 8
	litePageSize   = 8192
	liteCacheKiB   = 65536
	liteQueue      = 4096 // writes that may wait
	liteGroup      = 512  // writes committed together at the most
	walCheckpoint  = 32 << 20
	walLimit       = 4 // times as much, from which the log is begun anew
	liteFilePerm   = 0o600
	liteFolderPerm = 0o700
)

// lite is the SQLite driver: one writer connection owned by one goroutine, and
// a pool of readers.
type lite struct {
	cfg  Config
	path string
	lock *os.File

	jobs    chan *job
	readers chan *liteConn
	opened  int       // how many readers there are, all of them unless openLite failed
	writer  *liteConn // owned by the writer goroutine once started
	node    *node

	emptying sync.Mutex // held while the WAL is emptied, which waits for readers, and while a dump begins
	dumps    int        // guarded by emptying: under way, holding on to old pages for as long as they take

	stop    chan struct{}
	drained chan struct{} // closed when the writer has answered for the last time
	stopped sync.Once
	running sync.WaitGroup
	started bool
}

// liteConn is a connection with its prepared statements. It belongs to one
// goroutine at a time.
type liteConn struct {
	conn  *sqlite.Conn
	stmts map[Q]*liteStmt
	fault func(Step) error
}

// liteStmt is a prepared statement and, for each of its parameters in SQLite's
// order, which argument it takes ("$2" takes the second).
type liteStmt struct {
	stmt *sqlite.Stmt
	args []int
}

func openLite(ctx context.Context, cfg Config) (_ *lite, err error) {
	if err := os.MkdirAll(cfg.Dir, liteFolderPerm); err != nil {
		return nil, err
	}
	l := &lite{
		cfg: cfg, path: filepath.Join(cfg.Dir, liteFile),
		jobs: make(chan *job, liteQueue), stop: make(chan struct{}), drained: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			_ = l.close()
		}
	}()
	if l.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	if err := touch(l.path); err != nil {
		return nil, err
	}
	if l.writer, err = l.connect(true); err != nil {
		return nil, err
	}
	if err := migrateLite(ctx, l.path, newest); err != nil {
		return nil, err
	}
	n := cfg.Readers
	if n <= 0 {
		n = liteReaders
	}
	l.readers = make(chan *liteConn, n)
	for range n {
		c, err := l.connect(false)
		if err != nil {
			return nil, err
		}
		l.opened++
		l.readers <- c
	}
	return l, nil
}

// ErrInUse says that another process has the SQLite directory open.
var ErrInUse = errors.New("in use by another process")

// lockDir makes sure that one process at a time has the directory open: the
// writer's counters and the in-memory projections above would not survive two.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "reef.lock"), os.O_CREATE|os.O_RDWR, liteFilePerm)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	return f, nil
}

// touch makes the database file with narrow permissions, which SQLite copies to
// the WAL and shared-memory files.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, liteFilePerm)
	if err != nil {
		return err
	}
	return f.Close()
}

func (l *lite) connect(write bool) (*liteConn, error) {
	conn, err := sqlite.OpenConn(l.path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	// page_size must come before the switch to WAL. Checkpoints run on a
	// connection of their own, so the automatic ones are off.
	pragmas := []string{
		"page_size = " + strconv.Itoa(litePageSize),
		"journal_mode = WAL",
		"synchronous = FULL",
		"wal_autocheckpoint = 0",
		"journal_size_limit = " + strconv.FormatInt(walLimit*cmp.Or(l.cfg.WAL, walCheckpoint), 10), // of a WAL that was restarted
		"secure_delete = ON", // what is deleted is overwritten in the file
		"temp_store = MEMORY",
		"cache_size = -" + strconv.Itoa(liteCacheKiB),
		// No memory map: with one, a connection unmaps the whole file and faults
		// every page in again whenever another one has committed.
		"mmap_size = 0",
		"busy_timeout = 5000",
	}
	if l.cfg.MaxBytes > 0 {
		pragmas = append(pragmas, "max_page_count = "+strconv.FormatInt(l.cfg.MaxBytes/litePageSize, 10))
	}
	if !write {
		pragmas = append(pragmas, "query_only = 1")
	}
	for _, p := range pragmas {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA "+p, nil); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("pragma %s: %w", p, err)
		}
	}
	c := &liteConn{conn: conn, stmts: make(map[Q]*liteStmt)}
	if write {
		c.fault = l.cfg.Fault
	}
	return c, nil
}

// start hands the writer connection to its goroutine.
func (l *lite) start(n *node) {
	l.node, l.started = n, true
	l.running.Add(2)
	go l.writeLoop()
	go l.checkpointLoop()
}

// view gives fn a connection when it asks its first question: who is answered
// from memory needs none.
func (l *lite) view(ctx context.Context, snapshot bool, fn func(*View) error) error {
	v := View{borrow: func() (*liteConn, error) {
		c, err := l.reader(ctx)
		if err == nil && snapshot {
			if err = c.do(qBegin); err != nil {
				l.readers <- c
				err = unavailable("storage failed", err)
			}
		}
		return c, err
	}}
	defer func() {
		if v.lite == nil {
			return
		}
		if snapshot {
			_ = v.lite.do(qRollback)
		}
		l.readers <- v.lite
	}()
	return fn(&v)
}

// reader takes a connection out of the pool.
func (l *lite) reader(ctx context.Context) (*liteConn, error) {
	select {
	case c := <-l.readers:
		return c, nil
	default:
	}
	select {
	case c := <-l.readers:
		return c, nil
	case <-ctx.Done():
		return nil, unavailable("the request ended while it waited for storage", ctx.Err())
	case <-l.stop:
		return nil, unavailable("the network is stopping", errClosed)
	}
}

const scrubWait = 5 * time.Second

// scrub moves the whole WAL into the database and truncates it, so that no old
// version of a page is left. Readers may hold it up; then it tries again. A dump
// holds it up for as long as it takes, and trying would hold up every write.
func (l *lite) scrub(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, scrubWait)
	defer cancel()
	conn, err := l.connect(true)
	if err != nil {
		return unavailable("storage failed", err)
	}
	defer conn.conn.Close() //nolint:errcheck // it has nothing open
	conn.fault = nil
	for {
		left, err := l.empty(conn, "TRUNCATE")
		if errors.Is(err, errDumping) {
			return unavailable("a backup is being taken and holds on to old pages", err)
		}
		if err != nil && sqlite.ErrCode(err).ToPrimary() != sqlite.ResultBusy && sqlite.ErrCode(err).ToPrimary() != sqlite.ResultLocked {
			return liteError(err)
		}
		if err == nil && !left.busy {
			return nil
		}
		pause := time.NewTimer(scrubEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return unavailable("readers hold on to old pages", ctx.Err())
		case <-l.stop:
			pause.Stop()
			return unavailable("the network is stopping", errClosed)
		}
	}
}

// empty has a checkpoint move the whole WAL and begin it anew (RESTART, TRUNCATE),
// unless readers keep it busy. Writes wait meanwhile, so it is not tried while a
// dump is under way, which would keep it busy for long.
func (l *lite) empty(conn *liteConn, mode string) (walState, error) {
	l.emptying.Lock()
	defer l.emptying.Unlock()
	if l.dumps > 0 {
		return walState{busy: true}, errDumping
	}
	return conn.checkpoint(mode)
}

const scrubEvery = 20 * time.Millisecond

// close stops the writer after what is queued, and closes every connection.
func (l *lite) close() error {
	var errs []error
	l.stopped.Do(func() {
		close(l.stop)
		l.running.Wait()
		if l.writer != nil {
			if l.started {
				errs = append(errs, sqlitex.ExecuteTransient(l.writer.conn, "PRAGMA wal_checkpoint(TRUNCATE)", nil))
			}
		}
		for range l.opened {
			errs = append(errs, (<-l.readers).conn.Close())
		}
		if l.writer != nil {
			errs = append(errs, l.writer.conn.Close())
		}
		if l.lock != nil {
			errs = append(errs, l.lock.Close())
		}
	})
	return errors.Join(errs...)
}

// Transaction control is the one kind of statement that is not a domain's.
const (
	qBegin                Q = `BEGIN`
	qBeginImmediateSQLite Q = `BEGIN IMMEDIATE`
	qCommit               Q = `COMMIT`
	qRollback             Q = `ROLLBACK`
	qSavepoint            Q = `SAVEPOINT act`
	qRelease              Q = `RELEASE act`
	qRollbackTo           Q = `ROLLBACK TO act`
)

func (c *liteConn) do(q Q) error { _, err := c.run(q, nil); return err }

// exec runs a statement of an act, inside the writer's transaction only: had the
// database rolled that back, an act that went on would change things outside it.
func (c *liteConn) exec(q Q, args []any) (int64, error) {
	if c.conn.AutocommitEnabled() {
		return 0, unavailable("storage failed", errRolledBack)
	}
	if c.fault != nil {
		if err := c.fault(StepStatement); err != nil {
			return 0, unavailable("storage failed", err)
		}
	}
	return c.run(q, args)
}

func (c *liteConn) run(q Q, args []any) (int64, error) {
	s, err := c.prepare(q, args)
	if err != nil {
		return 0, err
	}
	for {
		row, err := s.stmt.Step()
		if err != nil {
			return 0, liteError(err)
		}
		if !row {
			break
		}
	}
	n := int64(c.conn.Changes())
	return n, liteError(s.stmt.Reset())
}

func (c *liteConn) query(q Q, limit int, scan func(*Row) error, args []any) error {
	s, err := c.prepare(q, args)
	if err != nil {
		return err
	}
	defer s.stmt.Reset() //nolint:errcheck // a failed step has been reported already
	row := Row{stmt: s.stmt}
	for n := 0; limit == 0 || n < limit; n++ {
		more, err := s.stmt.Step()
		if err != nil {
			return liteError(err)
		}
		if !more {
			break
		}
		if err := scan(&row); err != nil {
			return err
		}
	}
	return nil
}

// prepare finds or makes the statement and binds its arguments by name.
func (c *liteConn) prepare(q Q, args []any) (*liteStmt, error) {
	s := c.stmts[q]
	if s == nil {
		stmt, err := c.conn.Prepare(string(q))
		if err != nil {
			return nil, liteError(err)
		}
		s = &liteStmt{stmt: stmt, args: make([]int, stmt.BindParamCount())}
		for i := range s.args {
			name := stmt.BindParamName(i + 1)
			n, err := strconv.Atoi(name[min(1, len(name)):])
			if err != nil || n < 1 {
				return nil, fmt.Errorf("store: parameter %q of %s: want $1, $2, …", name, q)
			}
			s.args[i] = n - 1
		}
		c.stmts[q] = s
	}
	for i, arg := range s.args {
		if arg >= len(args) {
			return nil, fmt.Errorf("store: $%d of %s has no argument", arg+1, q)
		}
		switch v := plain(args[arg]).(type) {
		case nil:
			s.stmt.BindNull(i + 1)
		case int64:
			s.stmt.BindInt64(i+1, v)
		case string:
			s.stmt.BindText(i+1, v)
		case []byte:
			s.stmt.BindBytes(i+1, v)
		}
	}
	return s, nil
}

var (
	errClosed  = errors.New("store is closed")
	errDumping = errors.New("a dump is under way")
)

// liteError turns a failure of SQLite into an Unavailable error. A constraint
// is the one thing a domain may have caused: it becomes a Conflict.
func liteError(err error) error {
	if err == nil {
		return nil
	}
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultConstraint {
		return act.Errorf(act.Conflict, "it is already there: %w", err)
	}
	return unavailable("storage failed", err)
}
