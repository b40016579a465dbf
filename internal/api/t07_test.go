package api_test

import (
	"container/heap"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// moment is when an agent of the herd comes, or is done.
type moment struct {
	at    time.Time
	order int // of moments at the same time
	agent int
	done  bool
}

type moments []moment

func (m moments) Len() int { return len(m) }
func (m moments) Less(i, j int) bool {
	return m[i].at.Before(m[j].at) || m[i].at.Equal(m[j].at) && m[i].order < m[j].order
}
func (m moments) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *moments) Push(x any)   { *m = append(*m, x.(moment)) }
func (m *moments) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}

type answered struct {
	agent, status int
	retry         time.Duration
}

// T07: a herd of agents comes at the instant of recovery. The kernel is the real
// one; time is moved by the test, and an act takes as long as it says. No more
// is let in than there is room for, operators and health do not notice, the
// times to come back are spread, and everybody is served in less than five
// minutes.
func TestT07_HerdAtRecovery(t *testing.T) {
	const agents, slots, takes = 100_000, 64, 50 * time.Millisecond // 1,280 acts a second
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	var now atomic.Int64
	start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	now.Store(start.UnixNano())
	k := mount(t, s, func(c *api.Config) {
		c.Slots = slots
		c.Clock = func() time.Time { return time.Unix(0, now.Load()).UTC() }
	})
	entered, out := make(chan int), make(chan answered)
	leave := make([]chan struct{}, agents)
	inside, most := 0, 0
	k.Mount(&api.Door{Name: "test", Prefix: "/test", Fail: failPlain, Routes: []api.Route{
		{Method: "GET", Path: "/home/{n}", Act: "agent.me", Anonymous: true, Handle: func(_ context.Context, c *api.Call) error {
			n, err := strconv.Atoi(c.R.PathValue("n"))
			if err != nil {
				return err
			}
			entered <- n
			<-leave[n]
			c.Send(http.StatusOK, nil, nil)
			return nil
		}},
	}})
	handler := k.Handler()
	ask := func(method, path, key, from, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.RemoteAddr = from
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}

	queue := make(moments, 0, agents)
	order := 0
	push := func(at time.Time, agent int, done bool) {
		order++
		heap.Push(&queue, moment{at: at, order: order, agent: agent, done: done})
	}
	for n := range agents {
		leave[n] = make(chan struct{})
		push(start, n, false)
	}
	var kills, healths []time.Duration
	first := make(map[int64]int)  // told at the first instant, by second
	passed := make(map[int64]int) // let in, by second
	served, asked, next := 0, 0, 0
	for queue.Len() > 0 {
		m := heap.Pop(&queue).(moment)
		now.Store(max(now.Load(), m.at.UnixNano()))
		switch {
		case m.done:
			leave[m.agent] <- struct{}{}
			if a := <-out; a.status != http.StatusOK {
				t.Fatalf("an agent that was let in is answered %d", a.status)
			}
			inside--
			served++
			continue
		default:
			asked++
			go func() {
				w := ask("GET", fmt.Sprint("/test/home/", m.agent), "", fmt.Sprintf("10.%d.%d.%d:1", m.agent>>16, m.agent>>8&255, m.agent&255), "")
				seconds, _ := strconv.Atoi(w.Header().Get("Retry-After"))
				out <- answered{m.agent, w.Code, time.Duration(seconds) * time.Second}
			}()
		}
		select {
		case n := <-entered:
			inside++
			most = max(most, inside)
			passed[m.at.Unix()]++
			push(m.at.Add(takes), n, true)
		case a := <-out:
			if a.status != http.StatusServiceUnavailable || a.retry <= 0 {
				t.Fatalf("an agent is answered %d and told to wait %s", a.status, a.retry)
			}
			back := m.at.Add(a.retry)
			if m.at.Equal(start) {
				first[back.Unix()]++
			}
			// Retry-After has whole seconds; the way to the server has not.
			way := time.Duration(a.agent*7919%1000) * time.Millisecond
			push(back.Add(way), a.agent, false)
		}
		// While every slot is taken, an operator stops agents and asks for health.
		if inside == slots && asked >= next && len(kills) < 20 {
			next = asked + agents/20
			_, victim := s.Agent(t, fmt.Sprint("victim", len(kills)))
			began := time.Now()
			if w := ask("POST", "/v1/agents/"+s.Codec.String(victim.ID)+"/kill", s.Token, "192.0.2.1:1", `{"reason":"drill"}`); w.Code != http.StatusOK {
				t.Fatalf("a kill in the herd is answered %d: %s", w.Code, w.Body)
			}
			kills = append(kills, time.Since(began))
			began = time.Now()
			if w := ask("GET", "/healthz", "", "192.0.2.1:1", ""); w.Code != http.StatusOK {
				t.Fatalf("health in the herd is answered %d", w.Code)
			}
			healths = append(healths, time.Since(began))
		}
	}

	drained := time.Unix(0, now.Load()).Sub(start)
	capacity := int(float64(slots) * float64(time.Second) / float64(takes))
	crowd, rush := 0, 0
	for _, n := range first {
		crowd = max(crowd, n)
	}
	for _, n := range passed {
		rush = max(rush, n)
	}
	slices.Sort(kills)
	slices.Sort(healths)
	t.Logf("%d agents asked %d times and were served in %s; most inside %d, in a second %d; at most %d told the same second; %d kills, slowest %s, health %s",
		agents, asked, drained, most, rush, crowd, len(kills), kills[len(kills)-1], healths[len(healths)-1])
	if served != agents {
		t.Errorf("%d of %d agents are served", served, agents)
	}
	if most > slots || rush > capacity+slots {
		t.Errorf("%d are inside at once and %d pass in a second; there is room for %d and %d", most, rush, slots, capacity)
	}
	if drained > 5*time.Minute {
		t.Errorf("the backlog is gone after %s, want less than 5 minutes", drained)
	}
	if crowd > agents*25/1000 {
		t.Errorf("%d of %d agents are told the same second", crowd, agents)
	}
	if len(kills) < 5 || kills[len(kills)/2] > time.Second || healths[len(healths)/2] > time.Second {
		t.Errorf("kills take %s, health %s", kills, healths)
	}
}

// HEAD is answered like GET, without a body, on every route that reads.
func TestHeadAnswers(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	key, _ := s.Agent(t, "terse")
	for _, path := range []string{"/api/v1/agents/me", "/api/v1/posts", "/healthz", "/api/v1/posts/none"} {
		get, head := s.Call(t, "GET", path, key, nil), s.Call(t, "HEAD", path, key, nil)
		if head.Status != get.Status || len(head.Raw) != 0 || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
			t.Errorf("HEAD %s is answered %d with %d bytes, GET %d", path, head.Status, len(head.Raw), get.Status)
		}
	}
}
