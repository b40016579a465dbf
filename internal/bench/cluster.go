package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// cluster is a PostgreSQL server to measure on: one given by URL, or a private
// one that keeps its durability settings (fsync, synchronous commit) and goes
// away with the bench.
type cluster struct {
	base  *url.URL // of its maintenance database
	dir   string   // of a private one, else ""
	pid   int      // of a private one's first process
	ended chan struct{}
	made  []string // databases to drop
}

const clusterWait = 30 * time.Second

// openCluster uses the server behind rawURL, or starts one below parent.
func openCluster(ctx context.Context, rawURL, parent string) (c *cluster, err error) {
	c = &cluster{}
	if rawURL == "" {
		err = c.start(ctx, parent)
	} else if c.base, err = url.Parse(rawURL); err == nil {
		// The product takes no password in a URL; libpq's variable is inherited
		// by the sides.
		if password, ok := c.base.User.Password(); ok {
			c.base.User = url.User(c.base.User.Username())
			err = os.Setenv("PGPASSWORD", password)
		}
	}
	if err == nil {
		err = c.await(ctx)
	}
	if err != nil {
		c.close(ctx)
		return nil, fmt.Errorf("no PostgreSQL to measure on (%w): install its server, give --db-url, or choose --db sqlite", err)
	}
	return c, nil
}

// start runs a private server. As root it runs as another user, because
// PostgreSQL refuses root.
func (c *cluster) start(ctx context.Context, parent string) (err error) {
	bin, err := serverPrograms()
	if err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp(parent, "reef-bench-pg-"); err != nil {
		return err
	}
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		if attr.Credential, err = unprivileged(); err != nil {
			return err
		}
		if err := os.Chown(c.dir, int(attr.Credential.Uid), int(attr.Credential.Gid)); err != nil {
			return err
		}
	}
	data := filepath.Join(c.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", data, "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = c.dir, attr
	if text, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, text)
	}
	// No TCP; checkpoints far apart, so that repetitions are alike. It outlives
	// a cancelled ctx, to be closed in order, but not this process.
	server := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(bin, "postgres"), "-D", data, "-k", c.dir, "-h", "",
		"-c", "max_connections=100", "-c", "shared_buffers=512MB", "-c", "max_wal_size=8GB", "-c", "checkpoint_timeout=30min")
	server.Dir = c.dir
	server.SysProcAttr = &syscall.SysProcAttr{Credential: attr.Credential, Pdeathsig: syscall.SIGINT, Setpgid: true}
	log, err := os.Create(filepath.Join(c.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the server has its own
	server.Stdout, server.Stderr = log, log
	started := make(chan error)
	ended := make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal is tied to the thread that forks
		defer close(ended)
		err := server.Start()
		started <- err
		if err == nil {
			_ = server.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	c.pid, c.ended = server.Process.Pid, ended
	c.base = &url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: url.Values{"host": {c.dir}}.Encode()}
	return nil
}

func (c *cluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clusterWait)
	defer cancel()
	for {
		err := c.with(ctx, c.base.String(), func(*pgx.Conn) error { return nil })
		if err == nil || c.dir == "" {
			return err
		}
		select {
		case <-ctx.Done():
		case <-c.ended:
		case <-time.After(20 * time.Millisecond):
			continue
		}
		text, _ := os.ReadFile(filepath.Join(c.dir, "log"))
		return fmt.Errorf("it does not answer: %w: %s", err, text)
	}
}

// close drops what was made, or ends the private server and removes its folder.
func (c *cluster) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clusterWait)
	defer cancel()
	if c.dir == "" {
		for _, name := range slices.Clone(c.made) {
			_ = c.drop(ctx, name)
		}
		return
	}
	if c.pid != 0 {
		_ = syscall.Kill(c.pid, syscall.SIGINT) // fast shutdown
		select {
		case <-c.ended:
		case <-ctx.Done():
			_ = syscall.Kill(c.pid, syscall.SIGQUIT)
			<-c.ended
		}
	}
	_ = os.RemoveAll(c.dir)
}

// with runs fn on a connection of its own.
func (c *cluster) with(ctx context.Context, url string, fn func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // what mattered has been answered
	return fn(conn)
}

// url returns the URL of a database, with settings of its sessions: name, value.
func (c *cluster) url(name string, settings ...string) string {
	u := *c.base
	u.Path = "/" + name
	q := u.Query()
	for pair := range slices.Chunk(settings, 2) {
		q.Set(pair[0], pair[1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// create makes a database, as a copy of template unless that is "". The copy is
// on disk when it returns, so that no repetition pays for it.
func (c *cluster) create(ctx context.Context, name, template string) error {
	c.made = append(c.made, name)
	q := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize()
	if template != "" {
		// By files: copying by the log would write everything twice.
		q += " TEMPLATE " + pgx.Identifier{template}.Sanitize() + " STRATEGY FILE_COPY"
	}
	return c.exec(ctx, c.base.String(), q, "CHECKPOINT")
}

func (c *cluster) drop(ctx context.Context, name string) error {
	c.made = slices.DeleteFunc(c.made, func(n string) bool { return n == name })
	return c.exec(ctx, c.base.String(), "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
}

// size returns what a database takes on disk, in bytes.
func (c *cluster) size(ctx context.Context, name string) (n int64, err error) {
	err = c.with(ctx, c.base.String(), func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT pg_database_size($1)", name).Scan(&n)
	})
	return n, err
}

func (c *cluster) exec(ctx context.Context, url string, statements ...string) error {
	return c.with(ctx, url, func(conn *pgx.Conn) error {
		for _, q := range statements {
			if _, err := conn.Exec(ctx, q); err != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
		}
		return nil
	})
}

// cpu returns what the private server has used since it began: its first
// process, its children that live, and those that have ended. 0 for a server
// that is not ours.
func (c *cluster) cpu() time.Duration {
	if c == nil || c.pid == 0 {
		return 0
	}
	const user, system, deadUser, deadSystem = 11, 12, 13, 14 // proc_pid_stat(5), counted after the name
	var ticks int64
	add := func(pid string, wanted ...int) {
		text, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		_, after, _ := strings.Cut(string(text), ") ")
		for i, f := range strings.Fields(after) {
			if slices.Contains(wanted, i) {
				n, _ := strconv.ParseInt(f, 10, 64)
				ticks += n
			}
		}
	}
	pid := strconv.Itoa(c.pid)
	add(pid, user, system, deadUser, deadSystem)
	children, _ := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
	for child := range strings.FieldsSeq(string(children)) {
		add(child, user, system)
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ is 100 on Linux
}

// serverPrograms finds the folder of the newest installed server.
func serverPrograms() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Sort(dirs)
	slices.Reverse(dirs)
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("its server programs are not installed")
}

func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.ParseUint(u.Uid, 10, 32)
			gid, _ := strconv.ParseUint(u.Gid, 10, 32)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("there is no unprivileged user to run it as")
}
