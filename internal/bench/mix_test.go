package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/telemetry"
	"github.com/reefwarden/reefwarden/internal/world"
)

// keepWorld makes a small world in a directory of its own.
func keepWorld(t *testing.T, agents int) string {
	t.Helper()
	dir := filepath.Join(temporary(t), "kept")
	bench(t, "world", "--agents", strconv.Itoa(agents), "--keep", dir)
	return dir
}

// valueOf returns a figure's value, which must be there once.
func valueOf(t *testing.T, figures []figure, data, variant, side, metric string) float64 {
	t.Helper()
	var found []figure
	for _, f := range figures {
		if strings.Contains(f.Data, data) && f.Variant == variant && f.Side == side && f.Metric == metric {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		t.Errorf("%d figures %s %s %s of %s, want 1", len(found), variant, side, metric, data)
		return math.NaN()
	}
	return found[0].Value
}

// Worlds are lived on, by a real server: everything that is measured is printed,
// every agent of a herd is served, growth is told, and what the agents did leaves
// every invariant of the network in force.
func TestMix(t *testing.T) {
	worlds := []string{keepWorld(t, 1000), keepWorld(t, 2000)}
	figures := bench(t, "mix", "--world", strings.Join(worlds, ","), "--minutes", "0.05", "--conns", "16",
		"--visit", "300", "--herd", "300", "--herd-conns", "40", "--outage", "300ms")
	for _, agents := range []string{"1000 agents,", "2000 agents,"} {
		for _, phase := range []string{"closed", "open"} {
			sum := 0.0
			for d := range deeds {
				sum += valueOf(t, figures, agents, phase, d.String(), "share")
				valueOf(t, figures, agents, phase, d.String(), "rate")
			}
			if math.Abs(sum-1) > 0.01 {
				t.Errorf("the shares of the %s phase make %v", phase, sum)
			}
			for side, metrics := range map[string][]string{
				"all":    {"rate", "rate_from_sending"},
				"load":   {"cpu_per_op", "cpu_cores"},
				"server": {"cpu_per_op", "cpu_cores", "rss_start_mb", "rss_median_mb", "rss_last_mb", "rss_most_mb", "heap_in_use_mb", "heap_goal_mb"},
			} {
				for _, metric := range metrics {
					if v := valueOf(t, figures, agents, phase, side, metric); !(v > 0) {
						t.Errorf("%s %s %s is %v", phase, side, metric, v)
					}
				}
			}
			for _, metric := range []string{"rss_slope_2nd_half", "gc_runs", "gc_pause_ms"} {
				valueOf(t, figures, agents, phase, "server", metric)
			}
			if v := valueOf(t, figures, agents, phase, "all", "wrong_answers"); v != 0 {
				t.Errorf("%v answers of the %s phase are wrong", v, phase)
			}
		}
		for _, phase := range []string{"visit", "herd", "outage"} {
			for metric, want := range map[string]float64{"agents": 300, "served": 300, "answered_401": 0, "wrong_answers": 0} {
				if v := valueOf(t, figures, agents, phase, "all", metric); v != want {
					t.Errorf("%s after the %s is %v, want %v", metric, phase, v, want)
				}
			}
			for _, metric := range []string{"all_served_s", "peak_latency_ms", "first_answer_ms", "most_served_in_a_second"} {
				if v := valueOf(t, figures, agents, phase, "all", metric); !(v > 0) {
					t.Errorf("%s of the %s is %v", metric, phase, v)
				}
			}
			for _, side := range []string{"health", "operator"} {
				valueOf(t, figures, agents, phase, side, "answered_from_sending")
			}
		}
		for _, variant := range []string{"start", "outage"} {
			valueOf(t, figures, agents, variant, "server", "start_ms")
		}
		valueOf(t, figures, agents, "", "server", "db_before_mb")
		valueOf(t, figures, agents, "", "server", "db_after_mb")
	}
	// What was not done once has no growth.
	for _, name := range []string{"start_ms", "rss_mb", "server_cpu_us", "closed_time_us", "open_home_ms", "open_feed_ms", "herd_agent_us", "outage_agent_us"} {
		valueOf(t, figures, "agents [1000 2000]", "growth", "", "growth_"+name)
	}
	s, err := server.New(t.Context(), server.Config{
		Data: worlds[0], Addr: "127.0.0.1:0", Registration: "open", Limits: "open", ObserverPages: server.PagesOff,
	}, telemetry.NewLogger(t.Output(), telemetry.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &runner{diag: t.Output()}
	if err := r.checkWorld(t.Context(), s); err != nil {
		t.Errorf("after the mix: %v", err)
	}
}

// A server that answers what it must not fails the run, and nothing secret is
// shown of the answer: here agents have keys that were never given out, which is
// 401. With --copy the world stays as it was; what was measured is printed all the
// same.
func TestMixFailsForWrongAnswers(t *testing.T) {
	dir := keepWorld(t, 1000)
	path := filepath.Join(dir, "world.agents")
	agents, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const each = 41
	for i := 0; i < len(agents); i += 2 * each { // every other agent
		copy(agents[i+9:i+each], agents[i+each+9:i+2*each-1])
	}
	if err := os.WriteFile(path, agents, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(databaseFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := Command(&out, t.Output())
	c.SetArgs([]string{"mix", "--world", dir, "--copy", "--minutes", "0.02", "--conns", "4", "--rate", "100", "--herd", "0", "--dir", temporary(t), "-o", "json"})
	c.SilenceErrors, c.SilenceUsage = true, true
	err = c.ExecuteContext(t.Context())
	if err == nil || !strings.Contains(err.Error(), "neither 2xx nor 503 or 429") || !strings.Contains(err.Error(), "401 ") {
		t.Errorf("agents with wrong keys: %v", err)
	}
	if !strings.Contains(out.String(), `"metric":"status_401"`) {
		t.Error("the answers are not counted by status")
	}
	if after, err := os.Stat(databaseFile(dir)); err != nil || !after.ModTime().Equal(info.ModTime()) || after.Size() != info.Size() {
		t.Errorf("the world that was copied has changed: %v", err)
	}
}

// An interrupt ends the run, its server and what it has put on the disk.
func TestMixStops(t *testing.T) {
	dir, temp := keepWorld(t, 1000), temporary(t)
	others := childrenOf(t, os.Getpid()) // a database that other tests use, say
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	diag, said := io.Pipe()
	defer said.Close()
	go func() {
		for lines := bufio.NewScanner(diag); lines.Scan(); {
			if strings.Contains(lines.Text(), "ready after") {
				cancel()
			}
		}
	}()
	c := Command(io.Discard, said)
	c.SetArgs([]string{"mix", "--world", dir, "--copy", "--minutes", "30", "--rate", "50", "--conns", "4", "--dir", temp})
	c.SilenceErrors, c.SilenceUsage = true, true
	if err := c.ExecuteContext(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted run: %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, child := range childrenOf(t, os.Getpid()) {
		if !slices.Contains(others, child) {
			t.Errorf("process %s is left", child)
		}
	}
}

// childrenOf lists the processes that were started by one and have not ended.
func childrenOf(t *testing.T, pid int) (list []string) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		list = append(list, strings.Fields(string(text))...)
	}
	return list
}

func TestMixFlags(t *testing.T) {
	for _, c := range []struct{ args, rule string }{
		{"", "bench.world"},
		{"--world x --mix odd", "bench.mix"},
		{"--world x --rate -1", "bench.rate"},
		{"--world x --part 0", "bench.part"},
		{"--world x --minutes 0", "bench.minutes"},
		{"--world x --conns 0", "bench.conns"},
		{"--world x --herd -1", "bench.herd"},
		{"--world x --herd-conns 0", "bench.herd-conns"},
		{"--world x --outage 2h", "bench.outage"},
		{"--world x -o xml", "bench.output"},
	} {
		cmd := Command(io.Discard, io.Discard)
		cmd.SetArgs(append([]string{"mix"}, strings.Fields(c.args)...))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if e := act.AsError(cmd.ExecuteContext(t.Context())); e == nil || e.Code != act.Invalid || e.Rule != c.rule || e.Hint == "" {
			t.Errorf("%s: %v, want rule %q", c.args, e, c.rule)
		}
	}
}

// Both mixes are whole.
func TestPortions(t *testing.T) {
	for _, name := range []mixName{busy, seen} {
		sum, parts := 0.0, make(map[deed]bool)
		for _, p := range portionsOf(name) {
			sum += p.share
			parts[p.deed] = p.share > 0 && p.from != ""
		}
		if math.Abs(sum-1) > 1e-9 || len(parts) != int(deeds) {
			t.Errorf("the mix %s: %v, %v", name, sum, parts)
		}
		for d := range deeds {
			if !parts[d] {
				t.Errorf("the mix %s has no %s", name, d)
			}
		}
	}
}

// What a crowd sends is HTTP, from an agent that may do it, and nobody votes on
// its own post.
func TestCrowd(t *testing.T) {
	k, err := world.Open(keepWorld(t, 1000))
	if err != nil {
		t.Fatal(err)
	}
	c, err := gather(k)
	if err != nil {
		t.Fatal(err)
	}
	authors := make(map[string]act.ID)
	for _, p := range c.posts {
		authors[c.codec.String(p.id)] = p.author
	}
	keys := make(map[string]world.Resident)
	for i := range k.Agents {
		keys[k.Resident(i).Key] = k.Resident(i)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for d := range deeds {
		for range 200 {
			raw := c.request(r, d, nil)
			q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
			if err != nil {
				t.Fatalf("%s: %v in %q", d, err, raw)
			}
			who, known := keys[strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer ")]
			if !known || !who.Claimed {
				t.Fatalf("%s is done by %+v", d, who)
			}
			if (q.Method == http.MethodPost) != (d >= doVote) {
				t.Fatalf("%s is %s", d, q.Method)
			}
			if parts := strings.Split(q.URL.Path, "/"); d == doVote {
				if author, known := authors[parts[4]]; !known || author == who.ID {
					t.Fatalf("%s by %d on a post of %d", q.URL.Path, who.ID, author)
				}
			}
		}
	}
	// A server does all of it.
	o := options{dbs: []string{dbSQLite}, reps: 1, dir: temporary(t)}
	if err := o.run(t.Context(), "mix", io.Discard, t.Output(), func(run *runner, ctx context.Context) error {
		m := &mixRun{runner: run, kept: k}
		s, _, err := m.start(ctx, false)
		if err != nil {
			return err
		}
		defer s.stop() //nolint:errcheck // it has answered
		l, err := dial(ctx, s.addr(), 1)
		if err != nil {
			return err
		}
		defer l.close()
		all := tally{statuses: make(map[int]int64)}
		for d := range deeds {
			for range 6 {
				l.conns[0].act(ctx, c, d, r, time.Now(), &all)
			}
			if n := len(all.took[d]); n != 6 {
				t.Errorf("%s is done %d times of 6: %v", d, n, all.err())
			}
		}
		if n := len(c.remarks.list); n != 6 {
			t.Errorf("%d of 6 comments can be answered", n)
		}
		return s.stop()
	}); err != nil {
		t.Fatal(err)
	}
	// What was made is come to.
	id, author := c.codec.String(c.posts[0].id), c.codec.String(c.posts[0].author)
	c.made(doPost, fmt.Appendf(nil, `{"success":true,"post":{"id":"%s","author_id":"%s"}}`, id, author))
	if got := c.recent.back(0); got != c.posts[0] {
		t.Errorf("the newest post is %v, want %v", got, c.posts[0])
	}
	c.made(doPost, []byte(`{"success":false}`))
	if got := c.recent.back(0); got != c.posts[0] {
		t.Errorf("what was not made is the newest post: %v", got)
	}
}

// serveTest serves a handler for a test.
func serveTest(t *testing.T, h http.HandlerFunc) (addr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	url, wait, err := serveHandler(ctx, h, func() {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); wait() })
	return strings.TrimPrefix(url, "http://")
}

// Only success and refusals that say when to come back are right; what is shown
// of a wrong answer holds no secret.
func TestWrongAnswers(t *testing.T) {
	k, err := world.Open(keepWorld(t, 1000))
	if err != nil {
		t.Fatal(err)
	}
	c, err := gather(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		status int
		retry  string
		wrong  bool
	}{{200, "", false}, {503, "2", false}, {429, "1", false}, {503, "", true}, {429, "", true}, {500, "1", true}, {401, "", true}, {404, "", true}} {
		addr := serveTest(t, func(w http.ResponseWriter, r *http.Request) {
			if one.retry != "" {
				w.Header().Set("Retry-After", one.retry)
			}
			http.Error(w, `{"api_key":"`+r.Header.Get("Authorization")+`"}`, one.status)
		})
		l, err := dial(t.Context(), addr, 2)
		if err != nil {
			t.Fatal(err)
		}
		tally, err := l.drive(t.Context(), c, portionsOf(busy), 0, 50*time.Millisecond, 1)
		l.close()
		if err != nil {
			t.Fatal(err)
		}
		bad := tally.err()
		if (bad != nil) != one.wrong || tally.asked() == 0 {
			t.Errorf("%d with Retry-After %q: %v after %d requests", one.status, one.retry, bad, tally.asked())
		}
		if bad != nil && (!strings.Contains(bad.Error(), strconv.Itoa(one.status)) || strings.Contains(bad.Error(), "moltbook_sk_")) {
			t.Errorf("a wrong answer is shown as %v", bad)
		}
	}
}

// With a rate, agents come whether the server keeps up or not: while it stalls
// they wait, and all of their waits are in the latencies.
func TestArrivalsWait(t *testing.T) {
	k, err := world.Open(keepWorld(t, 1000))
	if err != nil {
		t.Fatal(err)
	}
	c, err := gather(k)
	if err != nil {
		t.Fatal(err)
	}
	const stall = 500 * time.Millisecond
	var once sync.Once
	addr := serveTest(t, func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { time.Sleep(stall) })
		_, _ = w.Write([]byte("{}"))
	})
	l, err := dial(t.Context(), addr, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	tally, err := l.drive(t.Context(), c, portionsOf(busy), 200, 2*stall, 1)
	if err != nil {
		t.Fatal(err)
	}
	late := 0
	for d := range deeds {
		for _, took := range tally.took[d] {
			if time.Duration(took)*time.Microsecond > stall/10 {
				late++
			}
		}
	}
	// 100 come in the half second of the stall; one of them was under way.
	if late < 50 {
		t.Errorf("%d of %d agents waited while the server stalled, want about 90", late, tally.answered())
	}
}

// T07: who is sent away comes back when it was told to, not before, and all are
// served.
func TestHerdObeys(t *testing.T) {
	k, err := world.Open(keepWorld(t, 1000))
	if err != nil {
		t.Fatal(err)
	}
	c, err := gather(k)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	told := make(map[string]time.Time)
	var early, again atomic.Int64
	addr := serveTest(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		key := r.Header.Get("Authorization")
		at, known := told[key]
		if !known && len(told)%2 == 0 {
			told[key] = time.Now().Add(time.Second)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		if known {
			again.Add(1)
			if time.Now().Before(at) {
				early.Add(1)
			}
		}
		told[key] = time.Time{}
		_, _ = w.Write([]byte("{}"))
	})
	h := &herd{crowd: c, agents: 200, addr: addr, conns: 20, limit: time.Minute}
	if err := h.run(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if h.served != 200 || h.t.statuses[503] != again.Load() || again.Load() == 0 || early.Load() != 0 || h.t.bad != 0 {
		t.Errorf("%d of 200 served, %d sent away, %d came again, %d too early, %d wrong", h.served, h.t.statuses[503], again.Load(), early.Load(), h.t.bad)
	}
}

// The other scenarios are measured on a kept world as well: with its residents, in
// its communities, and the counts of what was stored are those of the run alone.
func TestOnWorld(t *testing.T) {
	dir := keepWorld(t, 2000)
	info, err := os.Stat(databaseFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--world", dir, "--seconds", "0.2", "--reps", "2", "--conns", "4", "--agents", "16"}
	for _, one := range []struct {
		name, variant string
		sides         []sideKind
		ratios        []string
	}{
		{"post", "", []sideKind{governed, ungoverned, raw}, []string{"ratio_raw", "ratio_ungoverned"}},
		{"votes", "", []sideKind{governed, raw}, []string{"ratio_raw"}},
		{"feed", string(fresh), []sideKind{governed, bare}, []string{"ratio_bare"}},
		{"feed", string(again), []sideKind{governed, bare}, []string{"ratio_bare"}},
	} {
		figures := bench(t, append([]string{one.name}, args...)...)
		for _, side := range one.sides {
			if v := valueOf(t, figures, "2000 agents", one.variant, string(side), "rate"); !(v > 0) {
				t.Errorf("%s: the rate of the %s side is %v", one.name, side, v)
			}
		}
		for _, metric := range one.ratios {
			valueOf(t, figures, "2000 agents", one.variant, "governed", metric)
		}
	}
	if after, err := os.Stat(databaseFile(dir)); err != nil || !after.ModTime().Equal(info.ModTime()) || after.Size() != info.Size() {
		t.Errorf("the world has changed, of which there was a copy: %v", err)
	}
	figures := bench(t, append([]string{"home"}, args...)...)
	for _, v := range []variant{quiet, news} {
		for _, metric := range []string{"ratio_raw", "ratio_bare"} {
			valueOf(t, figures, "2000 agents", string(v), "governed", metric)
		}
	}
	figures = bench(t, "start", "--world", dir, "--reps", "1")
	for _, metric := range []string{"start_ms", "rss_mb"} {
		if v := valueOf(t, figures, "2000 agents", "world", "governed", metric); !(v > 0) {
			t.Errorf("%s is %v", metric, v)
		}
	}
	if _, err := world.Open(dir); err != nil {
		t.Errorf("the world is gone: %v", err)
	}
	c := Command(io.Discard, io.Discard)
	c.SetArgs([]string{"post", "--world", dir, "--db", "postgres"})
	c.SilenceErrors, c.SilenceUsage = true, true
	if e := act.AsError(c.ExecuteContext(t.Context())); e == nil || e.Rule != "bench.db" {
		t.Errorf("a world on PostgreSQL: %v", e)
	}
}
