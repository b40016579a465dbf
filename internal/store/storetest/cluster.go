package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// URL returns the URL of a PostgreSQL server for tests. Without one it skips the
// test, or fails it under REEF_REQUIRE_ALL=1.
func URL(t testing.TB) string {
	t.Helper()
	if u := os.Getenv("DATABASE_URL"); u != "" {
		return u
	}
	u, err := cluster()
	if err != nil {
		Missing(t, "no PostgreSQL: %v (install the server, or set DATABASE_URL)", err)
	}
	return u
}

// Missing ends a test for which something is not there: it is skipped, or fails where
// everything is required, as make test requires it.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("REEF_REQUIRE_ALL") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// cluster starts the process's private cluster once.
var cluster = sync.OnceValues(func() (string, error) { return Start("fsync=off", "full_page_writes=off") })

// Start starts a private cluster with the given settings and returns its URL.
// It ends with this process, and its folder is removed then.
func Start(settings ...string) (string, error) {
	bin, err := binaries()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "reef-pg-")
	if err != nil {
		return "", err
	}
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if os.Geteuid() == 0 { // PostgreSQL refuses root
		uid, gid, err := unprivileged()
		if err != nil {
			return "", err
		}
		attr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			return "", err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: attr.Credential}
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w: %s", err, out)
	}
	// The shell outlives this process just long enough to stop the server and
	// remove the folder. "fast" shutdown is SIGINT.
	args := []string{
		"-c", `trap 'kill -INT $pg' TERM INT; "$@" & pg=$!; wait $pg; wait $pg; rm -rf "$0"`, dir,
		filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-h", "", "-c", "max_connections=200", "-c", "shared_buffers=128MB",
	}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	started := make(chan error)
	go func() {
		// The death signal is tied to the thread that forks: keep it.
		runtime.LockOSThread()
		cmd := exec.Command("/bin/sh", args...)
		cmd.SysProcAttr, cmd.Dir = attr, dir
		log, err := os.Create(filepath.Join(dir, "log"))
		if err == nil {
			cmd.Stdout, cmd.Stderr = log, log
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		select {}
	}()
	if err := <-started; err != nil {
		return "", err
	}
	url := "postgres://postgres@/postgres?host=" + dir
	return url, waitReady(url, filepath.Join(dir, "log"))
}

func waitReady(url, log string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			text, _ := os.ReadFile(log)
			return fmt.Errorf("PostgreSQL does not answer: %w: %s", err, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// binaries finds the folder of the newest installed server.
func binaries() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Sort(dirs)
	slices.Reverse(dirs)
	if p, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(p))
	}
	for _, d := range dirs {
		if _, err := os.Stat(filepath.Join(d, "initdb")); err == nil {
			return d, nil
		}
	}
	return "", errors.New("no PostgreSQL server binaries found")
}

func unprivileged() (uid, gid uint32, err error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		id, _ := strconv.ParseUint(u.Uid, 10, 32)
		group, _ := strconv.ParseUint(u.Gid, 10, 32)
		return uint32(id), uint32(group), nil
	}
	return 0, 0, errors.New("no unprivileged user to run PostgreSQL as")
}
