package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// fleet is the processes of one network that live at the moment.
type fleet struct {
	mu   sync.Mutex
	live []*process // guarded by mu; nil for one that is being started again
}

// pick returns a living process, another one each time if it can; nil if none lives.
func (f *fleet) pick() *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	var can []*process
	for _, p := range f.live {
		if p != nil {
			can = append(can, p)
		}
	}
	if len(can) == 0 {
		return nil
	}
	return can[rand.IntN(len(can))]
}

// first returns the first process that lives, so that a stream is cut by each kill.
func (f *fleet) first() *process {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.IndexFunc(f.live, func(p *process) bool { return p != nil }); i >= 0 {
		return f.live[i]
	}
	return nil
}

func (f *fleet) set(i int, p *process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live[i] = p
}

// kill ends a process without warning.
func (f *fleet) kill(t *testing.T, i int) {
	t.Helper()
	f.mu.Lock()
	p := f.live[i]
	f.live[i] = nil
	f.mu.Unlock()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
}

func (f *fleet) call(method, path, key string, body any) (int, map[string]any) {
	p := f.pick()
	if p == nil {
		time.Sleep(20 * time.Millisecond)
		return 0, nil
	}
	status, out := p.call(method, path, key, body)
	if status == 0 || status == http.StatusServiceUnavailable {
		time.Sleep(20 * time.Millisecond)
	}
	return status, out
}

func (f *fleet) must(t *testing.T, method, path, key string, body any) map[string]any {
	t.Helper()
	return f.pick().must(t, method, path, key, body)
}

// readers are the three ways to follow one network's events, each with what it
// has of them so far.
type readers struct {
	f   *fleet
	key string

	mu      sync.Mutex
	trouble []string // guarded by mu
	streams int      // guarded by mu: how often a stream was begun
	stream  []int64  // guarded by mu
	hook    []int64  // guarded by mu: of messages answered 2xx
	refused int      // guarded by mu: messages that were not taken at first
	work    []step   // guarded by mu: what the workers of the queue met, in order
	late    int      // guarded by mu: receipts refused because another has the item
}

// step is an item that was given to a worker, or a worker about to acknowledge one.
type step struct {
	seq   int64
	given bool
	times int64
}

func (r *readers) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = append(r.trouble, fmt.Sprintf(format, args...))
}

var followed = []string{"post.create", "vote.cast"}

// follow reads a stream and takes it up again at the last number when it breaks.
func (r *readers) follow(ctx context.Context) {
	last := int64(0)
	for ctx.Err() == nil {
		p := r.f.first()
		if p == nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		c, err := client.New(p.url, r.key)
		if err != nil {
			r.fault("%v", err)
			return
		}
		r.mu.Lock()
		r.streams++
		r.mu.Unlock()
		err = c.StreamEvents(ctx, client.EventQuery{After: last, Acts: followed}, func(e client.Event) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			if e.Seq <= last {
				r.trouble = append(r.trouble, fmt.Sprintf("the stream brings %d after %d", e.Seq, last))
			}
			if e.Outcome == "done" {
				r.stream = append(r.stream, e.Seq)
			}
			last = e.Seq
			return nil
		})
		if errors.Is(err, client.ErrReset) {
			r.fault("the stream was reset after %d", last)
			return
		}
	}
}

// ServeHTTP is the webhook's other end. It refuses a message now and then.
func (r *readers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var msg struct {
		Data client.Event `json:"data"`
	}
	if err := json.NewDecoder(req.Body).Decode(&msg); err != nil {
		r.fault("a message is none: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if rand.IntN(80) == 0 {
		r.refused++
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if msg.Data.Outcome == "done" {
		r.hook = append(r.hook, msg.Data.Seq)
	}
}

// toil takes items of the queue. Some it forgets, gives back or is late with.
func (r *readers) toil(ctx context.Context) {
	for ctx.Err() == nil {
		status, out := r.f.call(http.MethodPost, "/v1/queues/all/receive?max=10&wait=1&visibility=1", r.key, nil)
		if status != http.StatusOK {
			continue
		}
		raw, _ := json.Marshal(out)
		var got struct {
			Items []wireItem `json:"items"`
		}
		_ = json.Unmarshal(raw, &got)
		r.mu.Lock()
		for _, i := range got.Items {
			r.work = append(r.work, step{i.Event.Seq, true, i.Receives})
		}
		r.mu.Unlock()
		var receipts []string
		var seqs []int64
		for _, i := range got.Items {
			switch n := rand.IntN(100); {
			case n < 3: // forgotten
			case n < 6:
				r.f.call(http.MethodPost, "/v1/queues/all/extend", r.key, map[string]any{"receipts": []string{i.Receipt}, "visibility": 0})
			case n < 7:
				time.Sleep(1100 * time.Millisecond)
				r.acknowledge([]int64{i.Event.Seq}, []string{i.Receipt})
			default:
				seqs, receipts = append(seqs, i.Event.Seq), append(receipts, i.Receipt)
			}
		}
		if len(receipts) > 0 {
			r.acknowledge(seqs, receipts)
		}
	}
}

func (r *readers) acknowledge(seqs []int64, receipts []string) {
	r.mu.Lock()
	for _, seq := range seqs {
		r.work = append(r.work, step{seq: seq})
	}
	r.mu.Unlock()
	status, out := r.f.call(http.MethodPost, "/v1/queues/all/ack", r.key, map[string]any{"receipts": receipts})
	r.mu.Lock()
	defer r.mu.Unlock()
	refused, _ := out["refused"].([]any)
	for _, x := range refused {
		if x.(map[string]any)["rule"] == "queue.receipt.late" {
			r.late++
		}
	}
	if status == http.StatusConflict && out["rule"] == "queue.receipt.late" {
		r.late++
	}
}

// check compares what each reader has with what happened, and reports whether
// all have everything.
func (r *readers) check(truth []client.Event) (missing string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stream, hook, given := setOf(r.stream), setOf(r.hook), make(map[int64]bool)
	for _, s := range r.work {
		given[s.seq] = given[s.seq] || s.given
	}
	lost := [3]int{}
	for _, e := range truth {
		for i, has := range []bool{stream[e.Seq], hook[e.Seq], given[e.Seq]} {
			if !has {
				lost[i]++
			}
		}
	}
	if lost == [3]int{} {
		return ""
	}
	return fmt.Sprintf("of %d events the stream lacks %d, the webhook %d, the queue %d", len(truth), lost[0], lost[1], lost[2])
}

func setOf(seqs []int64) map[int64]bool {
	set := make(map[int64]bool, len(seqs))
	for _, s := range seqs {
		set[s] = true
	}
	return set
}

// ordered checks that no reader met a later event of a subject before it was done
// with an earlier one.
func (r *readers) ordered(t *testing.T, truth []client.Event) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.trouble {
		t.Error(line)
	}
	if len(r.stream) != len(truth) || !slices.IsSorted(r.stream) {
		t.Errorf("the stream brought %d events of %d, in order: %v", len(r.stream), len(truth), slices.IsSorted(r.stream))
	}
	if !slices.IsSorted(r.hook) { // one may come again, but not before an older one
		t.Error("the webhook's messages are out of order")
	}
	before := make(map[int64]int64) // the event of the same subject before this one
	latest := make(map[string]int64)
	for _, e := range truth {
		before[e.Seq] = latest[e.Ref]
		latest[e.Ref] = e.Seq
	}
	tried := make(map[int64]bool)
	given, again := 0, 0
	for _, s := range r.work {
		if !s.given {
			tried[s.seq] = true
			continue
		}
		given++
		if s.times > 1 {
			again++
		}
		if prior := before[s.seq]; prior != 0 && !tried[prior] {
			t.Errorf("the queue gave event %d before the receiver of event %d, of the same subject, was done", s.seq, prior)
		}
	}
	t.Logf("%d events: %d in %d streams; %d messages taken and %d refused by the webhook; %d items given, %d of them again, %d late receipts refused",
		len(truth), len(r.stream), r.streams, len(r.hook), r.refused, given, again, r.late)
}

// events lists what happened, as operators see it.
func (f *fleet) events(t *testing.T) (all []client.Event) {
	t.Helper()
	p := f.pick()
	c, err := client.New(p.url, p.token)
	if err != nil {
		t.Fatal(err)
	}
	for after := int64(0); ; {
		list, next, err := c.PollEvents(t.Context(), client.EventQuery{After: after, Acts: followed})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Outcome == "done" {
				all = append(all, e)
			}
		}
		if next == after {
			return all
		}
		after = next
	}
}

// loseNothing has agents write while the given disturbance goes on, and checks
// that a stream, a webhook and a queue have all of it in the end, in order.
func loseNothing(t *testing.T, f *fleet, disturb func(grown func(int))) {
	t.Helper()
	register := func(name string) string {
		out := f.must(t, http.MethodPost, "/api/v1/agents/register", "", map[string]any{"name": name, "description": "d"})
		return out["agent"].(map[string]any)["api_key"].(string)
	}
	r := &readers{f: f, key: register("reader")}
	receiver := httptest.NewServer(r)
	defer receiver.Close()
	f.must(t, http.MethodPost, "/v1/webhooks", r.key, map[string]any{"url": receiver.URL, "acts": followed, "after": 0})
	f.must(t, http.MethodPost, "/v1/queues", r.key, map[string]any{"name": "all", "acts": followed, "after": 0, "max_receives": 1000})
	var writers []string
	var posts []string
	for i := range 3 {
		writers = append(writers, register(fmt.Sprint("writer-", i)))
		out := f.must(t, http.MethodPost, "/api/v1/posts", writers[i], map[string]any{"submolt_name": "general", "title": "T" + strconv.Itoa(i), "content": "c"})
		posts = append(posts, out["post"].(map[string]any)["id"].(string))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var readersDone, writing sync.WaitGroup
	readersDone.Go(func() { r.follow(ctx) })
	for range 4 {
		readersDone.Go(func() { r.toil(ctx) })
	}
	quiet := make(chan struct{})
	for i, key := range writers {
		writing.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-quiet:
					return
				case <-time.After(50 * time.Millisecond):
				}
				if n%5 == 0 {
					f.call(http.MethodPost, "/api/v1/posts", key, map[string]any{"submolt_name": "general", "title": fmt.Sprint("T", i, n), "content": "c"})
					continue
				}
				f.call(http.MethodPost, "/api/v1/posts/"+posts[rand.IntN(3)]+[]string{"/upvote", "/downvote"}[n%2], key, nil)
			}
		})
	}
	disturb(func(more int) {
		r.mu.Lock()
		from := len(r.stream)
		r.mu.Unlock()
		within(t, "events go on", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.stream) >= from+more })
	})
	close(quiet)
	writing.Wait()
	// What is made last is numbered last, so when it is there all is.
	out := f.must(t, http.MethodPost, "/api/v1/posts", writers[0], map[string]any{"submolt_name": "general", "title": "last", "content": "c"})
	last := out["post"].(map[string]any)["id"]
	var truth []client.Event
	within(t, "all events are numbered", func() bool {
		truth = f.events(t)
		return slices.ContainsFunc(truth, func(e client.Event) bool { return e.Ref == last })
	})
	missing := ""
	defer func() {
		if missing != "" {
			t.Log(missing)
		}
	}()
	within(t, "all readers have all events", func() bool { missing = r.check(truth); return missing == "" })
	within(t, "the queue is empty", func() bool {
		status, out := f.call(http.MethodGet, "/v1/queues/all", r.key, nil)
		return status == http.StatusOK && out["waiting"] == 0.0 && out["ready"] == false && out["dead"] == 0.0
	})
	cancel()
	readersDone.Wait()
	r.ordered(t, truth)
}

// within waits as long as leases, pauses between attempts and a busy machine need.
func within(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

// A server is killed without warning and started again, while agents write:
// stream, webhook and queue lose nothing and keep the order of each subject.
func TestReadersLoseNothingThroughRestarts(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			dir := t.TempDir()
			flags := []string{"--registration", "open", "--claim-required=false", "--limits", "open", "--webhook-allow", "127.0.0.0/8"}
			cfg := servertest.Config(t, d)
			if d == store.Postgres {
				flags = append(flags, "--db", cfg.DB, "--schema", cfg.Schema)
			}
			f := &fleet{live: []*process{serve(t, dir, flags...)}}
			loseNothing(t, f, func(grown func(int)) {
				for range soak(2, 20) {
					grown(40)
					f.kill(t, 0)
					f.set(0, serve(t, dir, flags...))
				}
				grown(20)
			})
			p := f.pick()
			_ = p.cmd.Process.Signal(os.Interrupt)
			_ = p.cmd.Wait()
			cfg.Data = dir
			servertest.Start(t, cfg) // checks the invariants of what is left
		})
	}
}

// leads reports whether the process says that it holds the lease.
func (p *process) leads(lease string) bool {
	resp, err := http.Get(p.url + "/metrics")
	if err != nil {
		return false
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(resp.Body)
	return err == nil && strings.Contains(string(text), `reef_leads{lease="`+lease+`"} 1`)
}

// leader returns which process holds the lease, when one does.
func (f *fleet) leader(t *testing.T, lease string) (who int) {
	t.Helper()
	within(t, "somebody holds the lease "+lease, func() bool {
		f.mu.Lock()
		live := slices.Clone(f.live)
		f.mu.Unlock()
		who = slices.IndexFunc(live, func(p *process) bool { return p != nil && p.leads(lease) })
		return who >= 0
	})
	return who
}

// Two processes of one network, and the one that delivers to webhooks is killed,
// then the one that numbers events: stream, webhook and queue go on at the other,
// lose nothing and keep the order of each subject.
func TestReadersLoseNothingWhenTheLeaderDies(t *testing.T) {
	c := startCluster(t, 1, "--webhook-allow", "127.0.0.0/8")
	f := &fleet{live: []*process{c.a, c.b}}
	leases := []string{"webhooks", store.SequencerLease}
	loseNothing(t, f, func(grown func(int)) {
		for i := range soak(2, 6) {
			grown(60)
			killed := f.leader(t, leases[i%2])
			f.kill(t, killed)
			if heir := f.leader(t, leases[i%2]); heir == killed {
				t.Errorf("process %d was killed and leads %q", killed, leases[i%2])
			}
			grown(60)
			f.set(killed, c.again(killed))
		}
		grown(20)
	})
}
