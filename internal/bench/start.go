package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	startLimit = 60 * time.Second
	settled    = time.Second // after the first answer, before memory is read
)

// start measures how long `reef serve` takes to its first answer with an empty
// network, and how much memory it holds then: with a directory that it has to
// make (new), and with one that is there (existing).
func start(r *runner, ctx context.Context) error {
	for _, db := range r.dbs {
		took, rss := make(map[string][]float64), make(map[string][]float64)
		for rep := range r.reps {
			dir, err := os.MkdirTemp(r.dir, "start-")
			if err != nil {
				return err
			}
			args := []string{"serve", "--data", filepath.Join(dir, "data"), "--addr", "127.0.0.1:0", "--log-level", "error"}
			name := ""
			if db == dbPostgres {
				name = "reef_bench_start_" + strconv.Itoa(os.Getpid()) + "_" + strconv.Itoa(rep)
				if err := r.pg.create(ctx, name, ""); err != nil {
					return err
				}
				args = append(args, "--db", r.pg.url(name), "--schema", schema)
			}
			for _, v := range []string{"new", "existing"} {
				ms, mb, err := r.startOnce(ctx, args)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", db, v, err)
				}
				r.say("%s %d/%d %-8s %6.0f ms to the first answer, %.0f MB", db, rep+1, r.reps, v, ms, mb)
				took[v], rss[v] = append(took[v], ms), append(rss[v], mb)
			}
			if name != "" {
				if err := r.pg.drop(ctx, name); err != nil {
					return err
				}
			}
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
		for _, v := range []string{"new", "existing"} {
			f := figure{DB: db, Variant: v, Side: string(governed), Data: "empty network"}
			f.Metric = "empty_ms"
			if err := r.press.put(f.with(spreadOf(took[v]), "ms", r.reps, int64(r.reps))); err != nil {
				return err
			}
			f.Metric = "rss_mb"
			if err := r.press.put(f.with(spreadOf(rss[v]), "MB", r.reps, int64(r.reps))); err != nil {
				return err
			}
		}
	}
	return nil
}

// startOnce starts the server, asks it once, and stops it.
func (r *runner) startOnce(ctx context.Context, args []string) (ms, mb float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.exe, args...) //nolint:gosec // this program, with its own flags
	cmd.Stderr = r.diag
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopFor
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	ms, mb, err = r.firstAnswer(ctx, out, cmd.Process.Pid, began)
	if ierr := cmd.Process.Signal(os.Interrupt); ierr != nil {
		err = errors.Join(err, ierr)
	}
	_, _ = io.Copy(io.Discard, out)
	return ms, mb, errors.Join(err, cmd.Wait())
}

func (r *runner) firstAnswer(ctx context.Context, out io.Reader, pid int, began time.Time) (ms, mb float64, err error) {
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 0, 0, fmt.Errorf("it ended before it was ready: %w", err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ok {
		return 0, 0, fmt.Errorf("it said %q, want \"ready URL\"", line)
	}
	client := &http.Client{Timeout: loadTimeout}
	defer client.CloseIdleConnections()
	if _, _, err := get(ctx, client, url+"/readyz", ""); err != nil {
		return 0, 0, err
	}
	ms = float64(time.Since(began).Microseconds()) / 1000
	time.Sleep(settled)
	mb, err = resident(pid)
	return ms, mb, err
}

// resident returns the resident memory of a process in MB (10^6 bytes).
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, err
	}
	var kib float64
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	_, err = fmt.Sscan(after, &kib)
	return kib * 1024 / 1e6, err
}
