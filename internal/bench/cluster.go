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
	base    *url.URL // of its maintenance database
	version string
	dir     string // of a private one, else ""
	pid     int    // of a private one's first process
	ended   chan struct{}
	made    []string // databases to drop
}

const clusterWait = 30 * time.Second

// openCluster uses the server behind rawURL, or starts one below parent.
func openCluster(ctx context.Context, rawURL, parent string) (_ *cluster, err error) {
	c := &cluster{}
	if rawURL == "" {
		if err := c.start(ctx, parent); err != nil {
			return nil, noPostgres(err)
		}
	} else if c.base, err = url.Parse(rawURL); err != nil {
		return nil, errors.New("--db-url is not a postgres:// URL")
	}
	// The server's own settings take no password in a URL: libpq's variable is
	// inherited by the sides.
	if password, ok := c.base.User.Password(); ok {
		if err := os.Setenv("PGPASSWORD", password); err != nil {
			return nil, err
		}
		c.base.User = url.User(c.base.User.Username())
	}
	err = c.with(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SHOW server_version").Scan(&c.version)
	})
	if err != nil {
		c.close(ctx)
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	c.version, _, _ = strings.Cut(c.version, " ")
	return c, nil
}

func noPostgres(err error) error {
	return fmt.Errorf("no PostgreSQL to measure on (%w): install its server, give --db-url, or choose --db sqlite", err)
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
	defer func() {
		if err != nil {
			c.close(ctx)
		}
	}()
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
	// No TCP; checkpoints far apart, so that repetitions are alike.
	server := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(bin, "postgres"), "-D", data, "-k", c.dir, "-h", "",
		"-c", "max_connections=100", "-c", "shared_buffers=512MB", "-c", "max_wal_size=8GB", "-c", "checkpoint_timeout=30min")
	server.Dir = c.dir
	// The server is stopped when this process dies, however it dies.
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
	return c.await(ctx)
}

func (c *cluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clusterWait)
	defer cancel()
	for {
		err := c.with(ctx, func(*pgx.Conn) error { return nil })
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			return fmt.Errorf("it does not answer: %w: %s", err, text)
		case <-c.ended:
			text, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			return fmt.Errorf("it ended: %s", text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// close drops what was made, or ends the private server and removes its folder.
func (c *cluster) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clusterWait)
	defer cancel()
	if c.dir == "" {
		for _, name := range c.made {
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

// with runs fn on a connection to the maintenance database.
func (c *cluster) with(ctx context.Context, fn func(*pgx.Conn) error) error {
	return c.withURL(ctx, c.base.String(), fn)
}

func (c *cluster) withURL(ctx context.Context, url string, fn func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // what mattered has been answered
	return fn(conn)
}

// url returns the URL of a database, with further settings of its sessions.
func (c *cluster) url(name string, settings ...string) string {
	u := *c.base
	u.Path = "/" + name
	q := u.Query()
	for i := 0; i+1 < len(settings); i += 2 {
		q.Set(settings[i], settings[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// create makes a database, as a copy of template unless that is "". The copy is
// on disk when it returns, so that no repetition pays for it.
func (c *cluster) create(ctx context.Context, name, template string) error {
	c.made = append(c.made, name)
	return c.with(ctx, func(conn *pgx.Conn) error {
		q := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize()
		if template != "" {
			q += " TEMPLATE " + pgx.Identifier{template}.Sanitize()
		}
		if _, err := conn.Exec(ctx, q); err != nil {
			return fmt.Errorf("make database %s: %w", name, err)
		}
		_, err := conn.Exec(ctx, "CHECKPOINT")
		return err
	})
}

func (c *cluster) drop(ctx context.Context, name string) error {
	c.made = slices.DeleteFunc(c.made, func(n string) bool { return n == name })
	return c.with(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
		return err
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
	add := func(pid int, fields ...int) {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			return
		}
		after := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, f := range fields {
			if f < len(after) {
				n, _ := strconv.ParseInt(after[f], 10, 64)
				ticks += n
			}
		}
	}
	add(c.pid, user, system, deadUser, deadSystem)
	pid := strconv.Itoa(c.pid)
	text, _ := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
	for child := range strings.FieldsSeq(string(text)) {
		if n, err := strconv.Atoi(child); err == nil {
			add(n, user, system)
		}
	}
	return time.Duration(ticks) * (time.Second / 100) // USER_HZ is 100 on Linux
}

// serverPrograms finds the folder of the newest installed server.
func serverPrograms() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(dirs, func(a, b string) int { return versionOf(b) - versionOf(a) })
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

func versionOf(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("there is no unprivileged user to run it as")
}
