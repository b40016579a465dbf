package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const startLimit = 2 * time.Minute

// served is a `reef serve` in a process of its own. It belongs to one goroutine.
type served struct {
	url   string
	pid   int
	ready time.Duration // from its start to the first answer of /readyz
	stop  func() error  // ends it and waits for that; once
}

// addr is where it listens.
func (s *served) addr() string { return strings.TrimPrefix(s.url, "http://") }

// serve starts `reef serve` with flags and returns when it is ready. When ctx ends,
// it is told to stop, and killed if it does not.
func (r *runner) serve(ctx context.Context, args ...string) (*served, error) {
	cmd := exec.CommandContext(ctx, r.exe, append([]string{"serve"}, args...)...) //nolint:gosec // this program, with its own flags
	cmd.Stderr = r.diag
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopFor
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &served{pid: cmd.Process.Pid}
	s.stop = sync.OnceValue(func() error {
		err := cmd.Process.Signal(os.Interrupt)
		if errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		killed := time.AfterFunc(stopFor, func() { _ = cmd.Process.Kill() })
		defer killed.Stop()
		_, _ = io.Copy(io.Discard, out)
		return errors.Join(err, cmd.Wait())
	})
	late := time.AfterFunc(startLimit, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if s.url, err = firstAnswer(ctx, out); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.ready = time.Since(began)
	return s, nil
}

// firstAnswer reads where a server listens and asks whether it is ready.
func firstAnswer(ctx context.Context, out io.Reader) (url string, err error) {
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("it ended before it was ready: %w", err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ok {
		return "", fmt.Errorf("it said %q, want \"ready URL\"", line)
	}
	return url, isReady(ctx, url)
}

// isReady waits until a server says that it is ready: with a crowd before its door
// it may at first have no time for that.
func isReady(ctx context.Context, url string) error {
	client := &http.Client{Timeout: loadTimeout}
	defer client.CloseIdleConnections()
	for until := time.Now().Add(startLimit); ; time.Sleep(10 * time.Millisecond) {
		_, _, err := get(ctx, client, url+"/readyz", "")
		if err == nil || ctx.Err() != nil || time.Now().After(until) {
			return err
		}
	}
}

// serveSide is serve for a profile, which reef serve does not write: the same
// server of the same settings in a side, which can be told to.
func (r *runner) serveSide(ctx context.Context, settings map[string]any) (*served, *side, error) {
	began := time.Now()
	side, err := r.spawn(ctx, task{Kind: asServed, Settings: settings})
	if err != nil {
		return nil, nil, err
	}
	s := &served{url: side.url, pid: side.cmd.Process.Pid, stop: sync.OnceValue(side.stop)}
	if err := isReady(ctx, s.url); err != nil {
		return nil, nil, errors.Join(err, s.stop())
	}
	s.ready = time.Since(began)
	return s, side, nil
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

// ticksPerSecond is what /proc counts processor time in, on every Linux that Go runs on.
const ticksPerSecond = 100

// spent returns what a process has used of the processor, user and system.
func spent(pid int) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	// The name of the program stands in brackets and may hold anything; after it
	// come the state and ten numbers before the two that are wanted.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond, err
}

// meter follows the memory of a process once a second.
type meter struct {
	pid  int
	stop chan struct{}
	done chan struct{}
	took []float64 // MB, a second apart; the goroutine's until done is closed
}

func newMeter(pid int) *meter {
	m := &meter{pid: pid, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			if mb, err := resident(m.pid); err == nil {
				m.took = append(m.took, mb)
			}
			select {
			case <-tick.C:
			case <-m.stop:
				return
			}
		}
	}()
	return m
}

// memory is what a meter saw.
type memory struct {
	start, median, last, most float64 // MB
	slope                     float64 // MB a minute, over the second half
	n                         int
}

func (m *meter) end() memory {
	close(m.stop)
	<-m.done
	if len(m.took) == 0 {
		return memory{}
	}
	half := m.took[len(m.took)/2:]
	return memory{
		start: m.took[0], median: median(m.took), last: m.took[len(m.took)-1], most: slices.Max(m.took),
		slope: 60 * slope(half), n: len(m.took),
	}
}

// slope returns how much a list grows with each element: the least-squares line.
func slope(list []float64) float64 {
	n := float64(len(list))
	if n < 2 {
		return 0
	}
	var sx, sy, sxx, sxy float64
	for i, y := range list {
		x := float64(i)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// collected is what the garbage collector of a server has done since its start.
type collected struct {
	runs   float64
	paused float64 // seconds
	heap   float64 // bytes that are in use
	next   float64 // bytes at which it runs again
}

// garbage asks a server for its metrics.
func (s *served) garbage(ctx context.Context) (c collected, err error) {
	client := &http.Client{Timeout: loadTimeout}
	defer client.CloseIdleConnections()
	body, _, err := get(ctx, client, s.url+"/metrics", "")
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(string(body)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		into := map[string]*float64{
			"go_gc_duration_seconds_count": &c.runs, "go_gc_duration_seconds_sum": &c.paused,
			"go_memstats_heap_inuse_bytes": &c.heap, "go_memstats_next_gc_bytes": &c.next,
		}[name]
		if into == nil {
			continue
		}
		if *into, err = strconv.ParseFloat(text, 64); err != nil {
			return c, fmt.Errorf("metric %s: %w", name, err)
		}
	}
	return c, nil
}
