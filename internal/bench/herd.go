package bench

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/server"
)

const (
	herdBuffer = 8 << 10 // of a connection: a heartbeat's answer is small
	herdLimit  = 15 * time.Minute
	herdRedial = 200 * time.Millisecond // between attempts to reach a server that is away
	probeEvery = 50 * time.Millisecond

	herdProgress = 10 * time.Second
)

// back is when an agent comes.
type back struct {
	at    time.Time
	agent int32
}

// backs is a heap by time.
type backs []back

func (b backs) Len() int           { return len(b) }
func (b backs) Less(i, j int) bool { return b[i].at.Before(b[j].at) }
func (b backs) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b *backs) Push(x any)        { *b = append(*b, x.(back)) }
func (b *backs) Pop() any {
	last := (*b)[len(*b)-1]
	*b = (*b)[:len(*b)-1]
	return last
}

// herd is agents that all want to check in the same instant. T07: the times at
// which those come back that are sent away are the server's.
type herd struct {
	crowd  *crowd
	agents int
	addr   string
	conns  int
	limit  time.Duration
	say    func(string, ...any) // optional: how far it is

	mu     sync.Mutex
	t      tally         // guarded by mu
	served int           // guarded by mu
	told   map[int64]int // guarded by mu: seconds that agents were told to come back in, with how many
	passed map[int64]int // guarded by mu: seconds in which agents were served
	from   time.Time     // guarded by mu: since when waiting counts
	first  time.Time     // guarded by mu: of the first answer
	last   time.Time     // guarded by mu: of the last heartbeat that was served
}

// run has every agent served, however often it has to come back.
func (h *herd) run(ctx context.Context, seed uint64) error {
	ctx, cancel := context.WithTimeout(ctx, h.limit)
	defer cancel()
	h.t.statuses, h.told, h.passed = make(map[int]int64), make(map[int64]int), make(map[int64]int)
	r := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // who comes
	start := time.Now()
	h.began(start)
	queue := make(backs, 0, h.agents)
	for _, i := range r.Perm(len(h.crowd.claimed))[:h.agents] {
		queue = append(queue, back{start, h.crowd.claimed[i]})
	}
	due, again, done := make(chan back), make(chan back, h.conns), make(chan struct{}, h.conns)
	var workers sync.WaitGroup
	for range h.conns {
		workers.Go(func() { h.work(ctx, due, again, done) })
	}
	defer workers.Wait()
	defer close(due)
	timer := time.NewTimer(0)
	defer timer.Stop()
	progress := time.NewTicker(herdProgress)
	defer progress.Stop()
	for left := h.agents; left > 0; {
		var out chan back
		var next back
		var wake <-chan time.Time
		if len(queue) > 0 {
			next = queue[0]
			if wait := time.Until(next.at); wait <= 0 {
				out = due
			} else {
				timer.Reset(wait)
				wake = timer.C
			}
		}
		select {
		case out <- next:
			heap.Pop(&queue)
		case b := <-again:
			heap.Push(&queue, b)
		case <-done:
			left--
		case <-wake:
		case <-progress.C:
			if h.say != nil {
				h.say("%d of %d agents are served, %d wait for the time that they were told", h.agents-left, h.agents, len(queue))
			}
		case <-ctx.Done():
			return fmt.Errorf("%d of %d agents were not served: %w", left, h.agents, ctx.Err())
		}
	}
	return nil
}

// began says from when on waiting counts: with a server that was away, from when it
// was started.
func (h *herd) began(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.from = at
}

// work is one connection's part of the herd.
func (h *herd) work(ctx context.Context, due <-chan back, again chan<- back, done chan<- struct{}) {
	c := newLoadConn(h.addr, herdBuffer)
	defer func() {
		if c.conn != nil {
			_ = c.conn.Close()
		}
	}()
	reach := func() bool { // the server may be away
		for ctx.Err() == nil {
			if c.connect(ctx) == nil {
				return true
			}
			time.Sleep(herdRedial/2 + rand.N(herdRedial)) // not all at once
		}
		return false
	}
	for b := range due {
		if c.conn == nil && !reach() {
			return
		}
		c.out = append(append(append(c.out[:0], "GET "...), homePath...), headRest...)
		c.out, _ = h.crowd.kept.AppendKey(c.out, int(b.agent))
		c.out = append(c.out, "\r\n\r\n"...)
		c.example = ""
		sent := time.Now()
		status, keep, err := c.exchange(c.out)
		now := time.Now()
		if err != nil || !keep {
			_ = c.conn.Close()
			c.conn = nil
		}
		if ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		h.t.tried[doHome]++
		if h.first.IsZero() {
			h.first = now
		}
		h.t.service[doHome] = append(h.t.service[doHome], micros(now.Sub(sent)))
		ok := err == nil && status/100 == 2
		if ok {
			h.t.took[doHome] = append(h.t.took[doHome], micros(min(now.Sub(b.at), now.Sub(h.from))))
			h.served++
			h.last = now
			h.passed[now.Unix()]++
		} else {
			retry := c.retry
			if err != nil {
				status, retry = 0, 0
			}
			h.t.note(status, retry, c.example, err)
			b.at = now.Add(time.Duration(max(retry, 1)) * time.Second)
			h.told[b.at.Unix()]++
		}
		stuck := h.t.bad >= enoughBad
		h.mu.Unlock()
		switch {
		case ok || stuck:
			done <- struct{}{}
		default:
			select {
			case again <- b:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (m *mixRun) newHerd(agents int) *herd {
	n := min(agents, len(m.crowd.claimed))
	return &herd{crowd: m.crowd, agents: n, addr: m.addr, conns: min(m.o.herdConns, n), limit: herdLimit, say: m.say}
}

// afterOutage has the herd come while the server is away, and brings it back.
func (m *mixRun) afterOutage(ctx context.Context) error {
	h := m.newHerd(m.o.herd)
	h.limit += m.o.outage
	coming, cancel := context.WithCancel(ctx)
	defer cancel()
	came := make(chan error, 1)
	go func() { came <- h.run(coming, m.o.seed) }()
	m.say("outage: the server is away for %s, %d agents want to check", m.o.outage, h.agents)
	if !waitUntil(ctx, time.Now().Add(m.o.outage)) {
		return errors.Join(ctx.Err(), <-came)
	}
	h.began(time.Now())
	s, _, err := m.start(ctx, false)
	if err != nil {
		cancel()
		return errors.Join(err, <-came)
	}
	err = m.put("outage", "server", "start_ms", milliseconds(s.ready), "ms", 1)
	err = errors.Join(err, m.herded(ctx, "outage", h, s, came))
	cancel()
	return errors.Join(err, s.stop())
}

// herded waits until the herd is served, or sends it if it has not come, and prints
// what it met.
func (m *mixRun) herded(ctx context.Context, phase string, h *herd, s *served, came <-chan error) error {
	p, err := newProbe(ctx, m.addr, m.kept.Dir)
	if err != nil {
		return err
	}
	cpu, err := spent(s.pid)
	if err != nil {
		p.end()
		return err
	}
	own, meter := ownCPU(), newMeter(s.pid)
	if came == nil {
		err = h.run(ctx, m.o.seed)
	} else {
		err = <-came
	}
	own = ownCPU() - own
	mem := meter.end()
	p.end()
	now, serr := spent(s.pid)
	if serr != nil {
		return errors.Join(err, fmt.Errorf("the server is gone: %w", serr))
	}
	if bad := h.t.err(); bad != nil {
		m.errs = append(m.errs, fmt.Errorf("%s: %w", phase, bad))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", phase, err)
		if ctx.Err() != nil {
			return err
		}
		m.errs = append(m.errs, err) // what there is to tell is printed
	}
	for _, line := range p.wrong {
		if line == "" {
			continue
		}
		m.errs = append(m.errs, fmt.Errorf("%s: beside the herd: %s", phase, line))
	}
	took := max(h.last.Sub(h.from), 1)
	m.say("%s: %d agents asked %d times and were served in %.2f s", phase, h.served, h.t.asked(), took.Seconds())
	m.cost(phase+"_agent_us", float64(took.Microseconds())/float64(max(1, h.served)))
	crowd, rush := 0, 0
	for _, n := range h.told {
		crowd = max(crowd, n)
	}
	for _, n := range h.passed {
		rush = max(rush, n)
	}
	n := h.t.asked()
	for _, one := range []struct {
		side, metric, unit string
		value              float64
	}{
		{"all", "agents", "agents", float64(h.agents)},
		{"all", "served", "agents", float64(h.served)},
		{"all", "asked", "requests", float64(n)},
		{"all", "all_served_s", "s", took.Seconds()},
		{"all", "first_answer_ms", "ms", milliseconds(max(h.first.Sub(h.from), 0))},
		{"all", "most_served_in_a_second", "agents", float64(rush)},
		{"all", "told_the_same_second", "agents", float64(crowd)},
		{"all", "answered_401", "answers", float64(h.t.statuses[http.StatusUnauthorized])},
		{"all", "peak_latency_ms", "ms", float64(slices.Max(append(h.t.service[doHome], 0))) / 1000},
		{"server", "cpu_per_op", "µs", float64((now - cpu).Microseconds()) / float64(max(1, n))},
		{"load", "cpu_per_op", "µs", float64(own.Microseconds()) / float64(max(1, n))},
		{"server", "rss_most_mb", "MB", mem.most},
	} {
		if err := m.put(phase, one.side, one.metric, one.value, one.unit, n); err != nil {
			return err
		}
	}
	for _, one := range []struct {
		side, metric string
		took         []uint32
	}{
		{"home", "served_from_coming", h.t.took[doHome]}, {"home", "answered_from_sending", h.t.service[doHome]},
		{"health", "answered_from_sending", p.took[0]}, {"operator", "answered_from_sending", p.took[1]},
	} {
		p50, p99 := percentiles(one.took)
		rate := float64(len(one.took)) / took.Seconds()
		f := figure{DB: dbSQLite, Variant: phase, Side: one.side, Metric: one.metric, Data: m.data}
		if err := m.press.put(f.with(spread{rate, rate, rate}, "1/s", 1, int64(len(one.took))).latency(p50, p99)); err != nil {
			return err
		}
	}
	return m.printStatuses(phase, &h.t)
}

// probe asks for health, and as an operator for an agent, while the herd is there:
// both have lanes of their own.
type probe struct {
	stop  chan struct{}
	done  sync.WaitGroup
	took  [2][]uint32 // µs; of one goroutine each until end
	wrong [2]string
}

func newProbe(ctx context.Context, addr, dir string) (*probe, error) {
	token, err := os.ReadFile(server.Config{Data: dir}.TokenFile())
	if err != nil {
		return nil, err
	}
	p := &probe{stop: make(chan struct{})}
	for i, request := range [][]byte{
		[]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		append(appendHead(nil, "GET", "/v1/agents?limit=1", strings.TrimSpace(string(token))), "\r\n"...),
	} {
		c := newLoadConn(addr, herdBuffer)
		if err := c.connect(ctx); err != nil {
			p.end()
			return nil, err
		}
		p.done.Go(func() {
			defer c.conn.Close() //nolint:errcheck // nothing is under way
			tick := time.NewTicker(probeEvery)
			defer tick.Stop()
			for {
				sent := time.Now()
				status, _, err := c.exchange(request)
				if err != nil || status != http.StatusOK {
					p.wrong[i] = redacted(fmt.Sprintf("%s is answered %d: %s, %v", request[:bytes.IndexByte(request, '\r')], status, c.example, err))
					return
				}
				p.took[i] = append(p.took[i], micros(time.Since(sent)))
				select {
				case <-tick.C:
				case <-p.stop:
					return
				}
			}
		})
	}
	return p, nil
}

func (p *probe) end() {
	close(p.stop)
	p.done.Wait()
}
