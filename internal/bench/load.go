package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// script appends the i-th request of a connection to dst, the whole of its
// bytes. ok is false when there is none left.
type script func(conn, i int, dst []byte) (request []byte, ok bool)

// prepared sends requests that were made before: each connection its own list,
// once or until the time is over.
func prepared(lists [][][]byte, once bool) script {
	return func(conn, i int, dst []byte) ([]byte, bool) {
		list := lists[conn]
		if once && i >= len(list) {
			return nil, false
		}
		return append(dst, list[i%len(list)]...), true
	}
}

// load is a set of connections that each send one request after the other. It
// is lean on purpose, because it runs on the processors that it loads: no
// header maps, no copies, no allocation for each request.
type load struct {
	conns []*loadConn
}

// loadConn belongs to one goroutine at a time.
type loadConn struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
	out  []byte
	took []uint32 // microseconds of each answer in this phase

	answered, refused int64
	example           string // of a refusal

	retry int    // Retry-After of the last answer, in seconds; 0 without one
	keep  int    // how much of a body is kept in body, at most the buffer's size
	body  []byte // of the last answer: its beginning
}

const (
	loadTimeout = 30 * time.Second // for one answer
	loadBuffer  = 64 << 10
	exampleSize = 300
)

// dial opens the connections.
func dial(ctx context.Context, addr string, conns int) (*load, error) {
	l := &load{}
	for range conns {
		c := newLoadConn(addr, loadBuffer)
		if err := c.connect(ctx); err != nil {
			l.close()
			return nil, err
		}
		l.conns = append(l.conns, c)
	}
	return l, nil
}

func newLoadConn(addr string, buffer int) *loadConn {
	return &loadConn{addr: addr, in: bufio.NewReaderSize(nil, buffer), out: make([]byte, 0, 1024)}
}

func (l *load) close() {
	for _, c := range l.conns {
		if c.conn != nil {
			_ = c.conn.Close()
		}
	}
}

func (c *loadConn) connect(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: loadTimeout}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	c.conn = conn
	c.in.Reset(conn)
	return nil
}

// phase is what a phase of load gave.
type phase struct {
	took     time.Duration
	answered int64   // 2xx
	refused  int64   // anything else
	p50, p99 float64 // milliseconds
	example  string  // of a refusal
}

// run sends requests until the time is over or a connection's script ends; with
// no time, until every script has ended. An answer counts if it came in time.
func (l *load) run(ctx context.Context, limit time.Duration, next script) (phase, error) {
	var stop atomic.Bool
	var once sync.Once
	began := time.Now()
	ended := began
	end := func() {
		once.Do(func() {
			ended = time.Now()
			stop.Store(true)
		})
	}
	if limit > 0 {
		timer := time.AfterFunc(limit, end)
		defer timer.Stop()
	}
	cancel := context.AfterFunc(ctx, end)
	defer cancel()
	errs := make(chan error, len(l.conns))
	for n, c := range l.conns {
		go func() {
			err := c.run(ctx, &stop, n, next)
			if limit > 0 || err != nil {
				end()
			}
			errs <- err
		}()
	}
	var failed []error
	for range l.conns {
		failed = append(failed, <-errs)
	}
	end()
	p := phase{took: ended.Sub(began)}
	var all []uint32
	for _, c := range l.conns {
		all = append(all, c.took...)
		p.answered += c.answered
		p.refused += c.refused
		if c.example != "" {
			p.example = c.example
		}
	}
	slices.Sort(all)
	p.p50, p.p99 = float64(percentile(all, 50))/1000, float64(percentile(all, 99))/1000
	return p, errors.Join(append(failed, ctx.Err())...)
}

func (c *loadConn) run(ctx context.Context, stop *atomic.Bool, n int, next script) error {
	c.took, c.answered, c.refused, c.example = c.took[:0], 0, 0, ""
	for i := 0; !stop.Load(); i++ {
		request, ok := next(n, i, c.out[:0])
		if !ok {
			return nil
		}
		c.out = request
		began := time.Now()
		status, again, err := c.exchange(request)
		if err != nil {
			return fmt.Errorf("connection %d, request %d: %w", n, i, err)
		}
		took := time.Since(began)
		if !again {
			_ = c.conn.Close()
			if err := c.connect(ctx); err != nil {
				return err
			}
		}
		if stop.Load() {
			return nil // it came too late to count
		}
		if status/100 != 2 {
			c.refused++
			continue
		}
		c.answered++
		c.took = append(c.took, uint32(min(took.Microseconds(), 1<<31)))
	}
	return nil
}

var (
	headLength = []byte("content-length:")
	headRetry  = []byte("retry-after:")
	headChunks = []byte("transfer-encoding: chunked")
	headClose  = []byte("connection: close")
)

// exchange sends a request and reads its answer. again reports whether the
// connection can be used again.
func (c *loadConn) exchange(request []byte) (status int, again bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(loadTimeout)); err != nil {
		return 0, false, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return 0, false, err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, false, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, false, fmt.Errorf("not an HTTP/1.1 answer: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, false, fmt.Errorf("status line %q", line)
	}
	var size int64
	again, c.retry, c.body = true, 0, c.body[:0]
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, false, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		switch {
		case hasFold(line, headLength):
			if size, err = strconv.ParseInt(string(bytes.TrimSpace(line[len(headLength):])), 10, 64); err != nil {
				return 0, false, err
			}
		case hasFold(line, headRetry):
			if c.retry, err = strconv.Atoi(string(bytes.TrimSpace(line[len(headRetry):]))); err != nil {
				return 0, false, err
			}
		case hasFold(line, headChunks):
			return 0, false, errors.New("an answer in chunks, which the load does not read: every side knows its lengths")
		case hasFold(line, headClose):
			again = false
		}
	}
	if status/100 != 2 && c.example == "" {
		text, _ := io.ReadAll(io.LimitReader(c.in, min(size, exampleSize)))
		c.example = fmt.Sprintf("%d %s", status, text)
		size -= int64(len(text))
	}
	if kept := int(min(size, int64(c.keep))); kept > 0 {
		text, err := c.in.Peek(kept)
		if err != nil {
			return 0, false, err
		}
		c.body = append(c.body, text...)
	}
	_, err = c.in.Discard(int(size))
	return status, again, err
}

// hasFold reports whether line begins with the lower-case text, in any case.
func hasFold(line, lower []byte) bool {
	return len(line) >= len(lower) && bytes.EqualFold(line[:len(lower)], lower)
}
