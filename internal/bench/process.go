package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// side is a running child process. It belongs to one goroutine.
type side struct {
	url  string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	send *json.Encoder
}

const stopFor = 20 * time.Second

// spawn starts a side and returns when it serves.
func (r *runner) spawn(ctx context.Context, t task) (*side, error) {
	cmd := exec.CommandContext(ctx, r.exe, "bench", "side")
	cmd.Stderr, cmd.WaitDelay = r.diag, stopFor
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// A cancelled run lets its sides stop by themselves: their input ends.
	cmd.Cancel = in.Close
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s side: %w", t.Kind, err)
	}
	s := &side{cmd: cmd, in: in, out: bufio.NewReader(out), send: json.NewEncoder(in)}
	first, err := s.tell(t)
	if err != nil {
		_ = s.stop()
		return nil, fmt.Errorf("the %s side: %w", t.Kind, err)
	}
	s.url = first.URL
	return s, nil
}

// tell sends a line and reads the report on it.
func (s *side) tell(line any) (r report, err error) {
	if err := s.send.Encode(line); err != nil {
		return r, err
	}
	if err := readLine(s.out, &r); err != nil {
		return r, fmt.Errorf("no report: %w", err)
	}
	if r.Err != "" {
		return r, errors.New(r.Err)
	}
	return r, nil
}

// stop ends the side and waits for it.
func (s *side) stop() error {
	_ = s.in.Close()
	killed := time.AfterFunc(stopFor, func() { _ = s.cmd.Process.Kill() })
	defer killed.Stop()
	_, _ = io.Copy(io.Discard, s.out)
	return s.cmd.Wait()
}

// onSide starts a side, opens connections to it, runs fn, and returns when the
// side has ended: what it answered is stored then.
func (r *runner) onSide(ctx context.Context, t task, conns int, fn func(*side, *load) error) error {
	s, err := r.spawn(ctx, t)
	if err != nil {
		return err
	}
	l, err := dial(ctx, strings.TrimPrefix(s.url, "http://"), conns)
	if err == nil {
		err = fn(s, l)
		l.close()
	}
	return errors.Join(err, s.stop())
}
