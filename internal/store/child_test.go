package store_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The tests of crashes and of second processes run this test binary again as a
// child, in a role that the environment names.
const (
	envRole    = "REEF_TEST_STORE_ROLE"
	envDir     = "REEF_TEST_STORE_DIR"
	envURL     = "REEF_TEST_STORE_URL"
	envSchema  = "REEF_TEST_STORE_SCHEMA"
	envWriters = "REEF_TEST_STORE_WRITERS"
	envWrites  = "REEF_TEST_STORE_WRITES"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		os.Exit(child(role))
	}
	os.Exit(m.Run())
}

func child(role string) int {
	cfg := store.Config{Dir: os.Getenv(envDir), URL: os.Getenv(envURL), Schema: os.Getenv(envSchema)}
	ctx := context.Background()
	switch role {
	case "open":
		db, err := store.Open(ctx, cfg)
		if err != nil {
			fmt.Println("refused:", err)
			return 0
		}
		fmt.Println("opened")
		return ending(db.Close())
	case "descriptors":
		return ending(fewDescriptors(ctx, cfg))
	case "write":
		return ending(writeForEver(ctx, cfg))
	}
	return ending(fmt.Errorf("no role %q", role))
}

func ending(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// fewDescriptors opens the database with one more spare descriptor each time.
func fewDescriptors(ctx context.Context, cfg store.Config) error {
	// Descriptors that open once and for all are not to be counted.
	warm, err := os.MkdirTemp(cfg.Dir, "warm-")
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, store.Config{Dir: warm})
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	for spare := range 64 {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		limit := unix.Rlimit{Cur: uint64(len(open) - 1 + spare), Max: 1 << 12}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		db, err := store.Open(ctx, cfg)
		limit.Cur = limit.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return err
		}
		if err == nil {
			fmt.Println("opened")
			return db.Close()
		}
		fmt.Println("refused:", strings.ReplaceAll(err.Error(), "\n", " "))
		if after, err := os.ReadDir("/proc/self/fd"); err != nil || len(after) > len(open) {
			return fmt.Errorf("%d descriptors before a failed open, %d after: %w", len(open), len(after), err)
		}
	}
	return nil
}

// writeForEver writes acts with several writers and prints the id of each when
// it has been acknowledged. A line is one write to a pipe and so never torn.
func writeForEver(ctx context.Context, cfg store.Config) error {
	writers, err := strconv.Atoi(os.Getenv(envWriters))
	if err != nil {
		return err
	}
	writes, err := strconv.Atoi(os.Getenv(envWrites)) // of each writer
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, cfg)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	failed := make(chan error, writers)
	for range writers {
		all.Go(func() {
			for range writes {
				id, err := db.Mint(ctx, act.KindPost)
				if err == nil {
					err = db.Write(ctx, func(tx *store.Tx) error {
						_, err := tx.Event(store.Event{Act: "test.act", Ref: act.Ref{ID: id}, At: tx.Now()})
						return err
					})
				}
				if err == nil {
					_, err = os.Stdout.WriteString(strconv.FormatInt(int64(id), 10) + "\n")
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	return db.Close()
}

// process is a running child.
type process struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	err   strings.Builder
}

// start runs the test binary in a role on the database of cfg, behind the given
// command if any.
func start(t testing.TB, role string, cfg store.Config, behind ...string) *process {
	return startWriters(t, role, cfg, 1, 1, behind...)
}

func startWriters(t testing.TB, role string, cfg store.Config, writers, writes int, behind ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(behind, self)
	// A child that hangs is a failure with a stack, not a test that never ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	t.Cleanup(cancel)
	p := &process{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...)}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(unix.SIGQUIT) }
	p.cmd.WaitDelay = 5 * time.Second
	p.cmd.Env = append(os.Environ(), envRole+"="+role, envDir+"="+cfg.Dir, envURL+"="+cfg.URL, envSchema+"="+cfg.Schema,
		envWriters+"="+strconv.Itoa(writers), envWrites+"="+strconv.Itoa(writes))
	p.cmd.Stderr = &p.err
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	p.lines.Split(wholeLines)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// wholeLines is bufio.ScanLines without a last line that has no end.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	n, line, err := bufio.ScanLines(data, atEOF)
	if atEOF && n == len(data) && (n == 0 || data[n-1] != '\n') {
		return n, nil, err
	}
	return n, line, err
}

// all returns what the child printed, and fails the test if it failed.
func (p *process) all(t testing.TB) (lines []string) {
	t.Helper()
	for p.lines.Scan() {
		lines = append(lines, p.lines.Text())
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("child: %v: %s", err, p.err.String())
	}
	return lines
}

// ids returns the ids that the child printed until it ended, and how it ended.
// It calls first when the first one is there.
func (p *process) ids(t testing.TB, first func()) (ids []act.ID, ended error) {
	t.Helper()
	for p.lines.Scan() {
		if len(ids) == 0 {
			first()
		}
		id, err := strconv.ParseInt(p.lines.Text(), 10, 64)
		if err != nil {
			t.Fatalf("child printed %q", p.lines.Text())
		}
		ids = append(ids, act.ID(id))
	}
	if err := p.lines.Err(); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return ids, p.cmd.Wait()
}
