package bench

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// arrivals are the moments at which agents of the mix want something. With a rate
// they come by themselves, at random (Poisson), whether the server keeps up or not:
// an agent that finds no free connection waits for one, and that wait is in its
// latency. Without a rate each connection sends as soon as it has its answer.
type arrivals struct {
	rate  float64 // a second; 0 is as fast as answers come
	until time.Time

	mu   sync.Mutex
	r    *rand.Rand // guarded by mu
	next time.Time  // guarded by mu
}

// take returns the next moment; ok is false when the time is over.
func (a *arrivals) take() (due time.Time, ok bool) {
	if a.rate == 0 {
		due = time.Now()
		return due, due.Before(a.until)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	due = a.next
	a.next = due.Add(time.Duration(a.r.ExpFloat64() / a.rate * float64(time.Second)))
	return due, due.Before(a.until)
}

// tally is what one connection saw, and added up what all did.
type tally struct {
	took     [deeds][]uint32 // µs of each answered request, from when it was due
	service  [deeds][]uint32 // and from when it was sent
	tried    [deeds]int64
	statuses map[int]int64 // of everything that was not 2xx; 0 is no answer at all
	unasked  int64         // refusals that do not say when to come back
	bad      int64         // answers that a server must not give
	example  string        // of those
	behind   time.Duration // the longest that a request was sent after it was due
	span     time.Duration
}

// enoughBad ends a phase: something is wrong with more than single answers.
const enoughBad = 1000

// allowed reports whether an answer is one that a server under load may give:
// success, or a refusal that says when to come back.
func allowed(status, retry int) bool {
	return status/100 == 2 || (status == 503 || status == 429) && retry > 0
}

// note counts an answer that was not 2xx, or none (status 0, with err).
func (t *tally) note(status, retry int, example string, err error) {
	t.statuses[status]++
	if allowed(status, retry) {
		return
	}
	if status == 503 || status == 429 {
		t.unasked++
	}
	if err != nil {
		example = err.Error()
	}
	if t.bad++; t.example == "" {
		t.example = redacted(example)
	}
}

// redacted returns a text as the product's log would show it: without credentials
// and on one line.
func redacted(text string) string {
	var line bytes.Buffer
	telemetry.NewLogger(&line, telemetry.Options{}).Error("answer", slog.String("text", text))
	_, shown, _ := strings.Cut(line.String(), " text=")
	return strings.TrimSpace(shown)
}

func (t *tally) add(o *tally) {
	for d := range deeds {
		t.took[d] = append(t.took[d], o.took[d]...)
		t.service[d] = append(t.service[d], o.service[d]...)
		t.tried[d] += o.tried[d]
	}
	for status, n := range o.statuses {
		t.statuses[status] += n
	}
	t.unasked += o.unasked
	t.bad += o.bad
	if t.example == "" {
		t.example = o.example
	}
	t.behind = max(t.behind, o.behind)
}

func (t *tally) answered() (n int64) {
	for d := range deeds {
		n += int64(len(t.took[d]))
	}
	return n
}

func (t *tally) asked() (n int64) {
	for _, k := range t.tried {
		n += k
	}
	return n
}

// err says what a server has answered that it must not.
func (t *tally) err() error {
	if t.bad == 0 {
		return nil
	}
	return fmt.Errorf("%d answers are neither 2xx nor 503 or 429 with Retry-After; the first: %s", t.bad, t.example)
}

// percentiles returns the 50th and the 99th, in milliseconds.
func percentiles(took []uint32) (p50, p99 float64) {
	slices.Sort(took)
	return float64(percentile(took, 50)) / 1000, float64(percentile(took, 99)) / 1000
}

// drive has the crowd do what the portions say until the time is over.
func (l *load) drive(ctx context.Context, c *crowd, mix []portion, rate float64, span time.Duration, seed uint64) (*tally, error) {
	began := time.Now()
	a := &arrivals{rate: rate, until: began.Add(span), r: rand.New(rand.NewPCG(seed, 0)), next: began} //nolint:gosec // when agents come
	all := &tally{statuses: make(map[int]int64)}
	var bad atomic.Int64
	parts := make([]tally, len(l.conns))
	var done sync.WaitGroup
	for n, conn := range l.conns {
		t := &parts[n]
		t.statuses = make(map[int]int64)
		r := rand.New(rand.NewPCG(seed, uint64(n)+1)) //nolint:gosec // what they do
		done.Go(func() {
			for ctx.Err() == nil && bad.Load() < enoughBad {
				due, ok := a.take()
				if !ok {
					return
				}
				if !waitUntil(ctx, due) {
					return
				}
				was := t.bad
				conn.act(ctx, c, draw(r, mix), r, due, t)
				bad.Add(t.bad - was)
			}
		})
	}
	done.Wait()
	for n := range parts {
		all.add(&parts[n])
	}
	all.span = time.Since(began)
	return all, ctx.Err()
}

// waitUntil waits for a moment, unless ctx ends before it.
func waitUntil(ctx context.Context, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	if wait < 50*time.Millisecond {
		time.Sleep(wait)
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// act does one thing of the mix and counts it.
func (c *loadConn) act(ctx context.Context, who *crowd, d deed, r *rand.Rand, due time.Time, t *tally) {
	c.keep = 0
	if d == doPost || d == doComment {
		c.keep = keptBody
	}
	c.out = who.request(r, d, c.out[:0])
	c.example = ""
	sent := time.Now()
	t.tried[d]++
	status, again, err := c.exchange(c.out)
	now := time.Now()
	t.behind = max(t.behind, sent.Sub(due))
	if err != nil || !again {
		_ = c.conn.Close()
		if cerr := c.connect(ctx); err == nil {
			err = cerr
		}
	}
	if ctx.Err() != nil {
		return // the run is over
	}
	if err != nil {
		t.note(0, 0, "", err)
		return
	}
	if status/100 != 2 {
		t.note(status, c.retry, c.example, nil)
		return
	}
	t.took[d] = append(t.took[d], micros(now.Sub(due)))
	t.service[d] = append(t.service[d], micros(now.Sub(sent)))
	if c.keep > 0 {
		who.made(d, c.body)
	}
}

func micros(d time.Duration) uint32 { return uint32(min(max(d.Microseconds(), 0), 1<<31)) }
