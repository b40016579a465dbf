package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// binary builds the real command once for the tests of this package.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "reef-bin-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "reef")
	out, err := exec.Command("go", "build", "-o", path, "github.com/reefwarden/reefwarden/cmd/reef").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// process is a running `reef serve`.
type process struct {
	cmd   *exec.Cmd
	url   string
	token string
}

// serve starts `reef serve` with the given flags and waits until it answers.
func serve(t *testing.T, dir string, flags ...string) *process {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, append([]string{"serve", "--data", dir, "--addr", "127.0.0.1:0", "--log-level", "error"}, flags...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("stderr of %s:\n%s", p.url, stderr.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not get ready: %v\n%s", err, stderr.String())
	}
	var found bool
	if p.url, found = strings.CutPrefix(strings.TrimSpace(line), "ready "); !found {
		t.Fatalf("first line on stdout is %q, want ready URL", line)
	}
	token, err := os.ReadFile(filepath.Join(dir, "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	p.token = strings.TrimSpace(string(token))
	return p
}

// patience is how long a test waits for what must come. It is no claim about speed: the
// machine may be busy with anything.
const patience = time.Minute

// call sends a request and returns status and body; status 0 is a transport error.
func (p *process) call(method, path, token string, body any) (int, map[string]any) {
	raw, _ := json.Marshal(body)
	if body == nil {
		raw = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(raw))
	if err != nil {
		return 0, nil
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close() //nolint:errcheck // read below
	var out map[string]any
	answer, _ := io.ReadAll(resp.Body)
	_ = json.Unmarshal(answer, &out)
	return resp.StatusCode, out
}

func (p *process) must(t *testing.T, method, path, token string, body any) map[string]any {
	t.Helper()
	status, out := p.call(method, path, token, body)
	if status < 200 || status > 299 {
		t.Fatalf("%s %s: status %d: %v", method, path, status, out)
	}
	return out
}

// link is a TCP relay that can be cut.
type link struct {
	addr   string
	target func() (net.Conn, error)
	mu     sync.Mutex
	conns  map[net.Conn]bool // guarded by mu
	cut    bool              // guarded by mu
}

func newLink(t *testing.T, target func() (net.Conn, error)) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	k := &link{addr: l.Addr().String(), target: target, conns: make(map[net.Conn]bool)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go k.relay(c)
		}
	}()
	return k
}

func (k *link) relay(c net.Conn) {
	far, err := k.target()
	if err != nil {
		_ = c.Close()
		return
	}
	k.mu.Lock()
	if k.cut {
		k.mu.Unlock()
		_, _ = c.Close(), far.Close()
		return
	}
	k.conns[c], k.conns[far] = true, true
	k.mu.Unlock()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{c, far}, {far, c}} {
		go func() { _, _ = io.Copy(pair[0], pair[1]); done <- struct{}{} }()
	}
	<-done
	_, _ = c.Close(), far.Close()
	k.mu.Lock()
	delete(k.conns, c)
	delete(k.conns, far)
	k.mu.Unlock()
}

// set cuts the link or mends it.
func (k *link) set(cut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cut = cut
	if cut {
		for c := range k.conns {
			_ = c.Close()
		}
	}
}

// site is where the nodes of one network run: a PostgreSQL schema, a NATS server and
// a key.
type site struct {
	cfg     store.Config
	keyFile string
	user    string
	base    string // the database's name
	toDB    func() (net.Conn, error)
	toNATS  func() (net.Conn, error)
}

func newSite(t *testing.T) *site {
	t.Helper()
	cfg := storetest.Config(t, store.Postgres)
	pc, err := pgx.ParseConfig(cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	network, addr := "tcp", net.JoinHostPort(pc.Host, strconv.Itoa(int(pc.Port)))
	if strings.HasPrefix(pc.Host, "/") {
		network, addr = "unix", filepath.Join(pc.Host, ".s.PGSQL."+strconv.Itoa(int(pc.Port)))
	}
	nats := strings.TrimPrefix(servertest.NATS(t).ClientURL(), "nats://")
	return &site{
		cfg: cfg, keyFile: filepath.Join(t.TempDir(), "network.key"), user: pc.User, base: pc.Database,
		toDB:   func() (net.Conn, error) { return net.Dial(network, addr) },
		toNATS: func() (net.Conn, error) { return net.Dial("tcp", nats) },
	}
}

// node is a process that reaches database and bus over links that can be cut.
type node struct {
	db, bus *link
	start   func() // once more, over the same data
	running atomic.Pointer[process]
}

// process is the one that was started last.
func (n *node) process() *process { return n.running.Load() }

// node starts a process of the network.
func (s *site) node(t *testing.T, more ...string) *node {
	t.Helper()
	n := &node{db: newLink(t, s.toDB), bus: newLink(t, s.toNATS)}
	dir := t.TempDir()
	flags := append([]string{
		"--schema", s.cfg.Schema, "--key-file", s.keyFile, "--registration", "open", "--claim-required=false", "--limits", "open",
		"--db", "postgres://" + s.user + "@" + n.db.addr + "/" + s.base + "?sslmode=disable", "--nats", "nats://" + n.bus.addr,
	}, more...)
	n.start = func() { n.running.Store(serve(t, dir, flags...)) }
	n.start()
	return n
}

// cluster is two processes of one network; the second reaches database and bus
// over links that can be cut.
type cluster struct {
	a, b      *process
	db, bus   *link
	cfg       store.Config
	keyFile   string
	agents    []clusterAgent
	post      string
	community string
	again     func(i int) *process // starts process 0 or 1 once more, over the same data
}

type clusterAgent struct{ name, id, key string }

func startCluster(t *testing.T, agents int, more ...string) *cluster {
	t.Helper()
	s := newSite(t)
	nodes := [...]*node{s.node(t, more...), s.node(t, more...)}
	c := &cluster{cfg: s.cfg, keyFile: s.keyFile, a: nodes[0].process(), b: nodes[1].process(), db: nodes[1].db, bus: nodes[1].bus}
	c.again = func(i int) *process { nodes[i].start(); return nodes[i].process() }
	for i := range agents {
		name := fmt.Sprintf("member-%d", i)
		out := c.a.must(t, http.MethodPost, "/api/v1/agents/register", "", map[string]any{"name": name, "description": "test"})
		agent := out["agent"].(map[string]any)
		c.agents = append(c.agents, clusterAgent{name, agent["id"].(string), agent["api_key"].(string)})
	}
	c.community = "pricing"
	c.a.must(t, http.MethodPost, "/api/v1/submolts", c.agents[0].key, map[string]any{"name": c.community, "display_name": "Pricing"})
	out := c.a.must(t, http.MethodPost, "/api/v1/posts", c.agents[0].key, map[string]any{"submolt_name": c.community, "title": "First", "content": "c"})
	c.post = out["post"].(map[string]any)["id"].(string)
	return c
}

// load keeps an agent busy on both processes until it is stopped. It remembers
// when the newest request that succeeded had begun.
type load struct {
	last [2]atomic.Int64 // Unix nanoseconds
	ok   [2]atomic.Int64
	stop chan struct{}
	done sync.WaitGroup
}

func (c *cluster) load(agent clusterAgent) *load {
	l := &load{stop: make(chan struct{})}
	for i, p := range []*process{c.a, c.b} {
		for w := range 2 {
			l.done.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-l.stop:
						return
					default:
					}
					began := time.Now().UnixNano()
					var status int
					switch (n + w) % 3 {
					case 0:
						status, _ = p.call(http.MethodPost, "/api/v1/posts/"+c.post+"/comments", agent.key, map[string]any{"content": "busy " + strconv.Itoa(n)})
					case 1:
						status, _ = p.call(http.MethodPost, "/api/v1/posts/"+c.post+"/upvote", agent.key, nil)
					default:
						status, _ = p.call(http.MethodGet, "/api/v1/posts/"+c.post+"/comments?sort=new", agent.key, nil)
					}
					if status >= 200 && status < 300 {
						l.ok[i].Add(1)
						for old := l.last[i].Load(); old < began && !l.last[i].CompareAndSwap(old, began); old = l.last[i].Load() {
						}
					}
				}
			})
		}
	}
	return l
}

func (l *load) end() { close(l.stop); l.done.Wait() }

// kill kills an agent through process A and returns when the answer came, and
// how long it took.
func (c *cluster) kill(t *testing.T, agent clusterAgent) (acknowledged time.Time, took time.Duration) {
	t.Helper()
	began := time.Now()
	c.a.must(t, http.MethodPost, "/v1/agents/"+agent.id+"/kill", c.a.token, map[string]any{"reason": "drill"})
	return time.Now(), time.Since(began)
}

// qTestActsOf lists what an agent did or what was done to it.
const qTestActsOf store.Q = `SELECT e.seq, l.body FROM event AS e JOIN leaf AS l ON l.pos = e.pos WHERE e.actor = $1 OR e.ref = $1 ORDER BY e.seq`

// quiet fails if the agent did anything after the acknowledgement: on the wire,
// or on record.
func (c *cluster) quiet(t *testing.T, agent clusterAgent, l *load, acknowledged time.Time) {
	t.Helper()
	for i, name := range []string{"the killing process", "the other process"} {
		if last := l.last[i].Load(); last > acknowledged.UnixNano() {
			t.Errorf("%s: %s served a request that began %s after the acknowledgement", agent.name, name, time.Duration(last-acknowledged.UnixNano()))
		}
	}
	db := storetest.OpenConfig(t, c.cfg)
	defer db.Close() //nolint:errcheck // closed again by the test
	keys, err := identity.LoadKeys(c.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	codec, err := act.NewCodec(keys.CodecKey())
	if err != nil {
		t.Fatal(err)
	}
	id, err := codec.ParseKind(agent.id, act.KindAgent)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all events are numbered", func() bool {
		var numbered bool
		_ = db.View(context.Background(), func(v *store.View) (err error) { numbered, err = v.Numbered(); return err })
		return numbered
	})
	if err := db.View(context.Background(), func(v *store.View) error {
		killed := false
		if err := v.All(qTestActsOf, func(r *store.Row) error {
			l, err := audit.Parse(r.Bytes(1))
			if err != nil {
				return err
			}
			if l.Act == "agent.kill" && l.Outcome == "done" {
				killed = true
			}
			if l.Principal.ID == agent.id && l.Outcome == "done" && l.At > acknowledged.UnixMicro() {
				t.Errorf("%s: %s is on record after the acknowledgement (event %d)", agent.name, l.Act, r.Int(0))
			}
			return nil
		}, id); err != nil {
			return err
		}
		if !killed {
			t.Errorf("the kill of %s is not on record", agent.name)
		}
		return provenance.Exposures(v, id, func(x provenance.Exposure) error {
			if x.At > acknowledged.UnixMicro() && !x.Again { // counts of earlier showings are stored later
				t.Errorf("%s: something was shown to it after the acknowledgement", agent.name)
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
}

// Two processes, one PostgreSQL, one NATS: after a kill is acknowledged nothing
// of the agent happens anywhere; without the bus the database is asked; without
// both nothing is served.
func TestKillHoldsInACluster(t *testing.T) {
	kills := soak(4, 40)
	c := startCluster(t, kills+3)
	bystander := c.load(c.agents[0])
	defer bystander.end()

	var took []time.Duration
	for _, agent := range c.agents[3 : 3+kills] {
		l := c.load(agent)
		eventually(t, "the agent acts on both processes", func() bool { return l.ok[0].Load() > 3 && l.ok[1].Load() > 3 })
		acknowledged, d := c.kill(t, agent)
		took = append(took, d)
		time.Sleep(50 * time.Millisecond) // let requests that should be refused try
		l.end()
		c.quiet(t, agent, l, acknowledged)
	}
	slices.Sort(took)
	t.Logf("kill to acknowledgement, two processes, %d kills under load: min %s, median %s, max %s", len(took), took[0], took[len(took)/2], took[len(took)-1])

	t.Run("without the bus the database is asked", func(t *testing.T) {
		c.bus.set(true)
		agent := c.agents[1]
		l := c.load(agent)
		eventually(t, "the agent acts on both processes", func() bool { return l.ok[0].Load() > 3 && l.ok[1].Load() > 3 })
		acknowledged, d := c.kill(t, agent)
		t.Logf("kill to acknowledgement without the bus: %s", d)
		time.Sleep(50 * time.Millisecond)
		l.end()
		c.quiet(t, agent, l, acknowledged)
		if status, _ := c.b.call(http.MethodGet, "/api/v1/posts", c.agents[2].key, nil); status != http.StatusOK {
			t.Errorf("a living agent gets %d from the process without the bus", status)
		}
	})

	t.Run("without bus and database nothing is served", func(t *testing.T) {
		c.db.set(true)
		agent := c.agents[2]
		l := c.load(agent)
		defer l.end()
		eventually(t, "the agent acts on the process that is connected", func() bool { return l.ok[0].Load() > 3 })
		acknowledged, d := c.kill(t, agent)
		t.Logf("kill to acknowledgement with a process cut off from everything: %s", d)
		for range 20 {
			status, _ := c.b.call(http.MethodGet, "/api/v1/posts", c.agents[0].key, nil)
			if status != http.StatusServiceUnavailable {
				t.Fatalf("a process cut off from bus and database answers %d, want 503", status)
			}
		}
		// An answer that was under way may be counted only now: what counts is when its
		// request began.
		for i, name := range []string{"the connected process", "the process cut off from bus and database"} {
			if last := l.last[i].Load(); last > acknowledged.UnixNano() {
				t.Errorf("%s served the killed agent after the acknowledgement", name)
			}
		}
		c.db.set(false)
		c.bus.set(false)
		eventually(t, "the process serves again", func() bool {
			status, _ := c.b.call(http.MethodGet, "/api/v1/posts", c.agents[0].key, nil)
			return status == http.StatusOK
		})
		if status, _ := c.b.call(http.MethodGet, "/api/v1/posts", agent.key, nil); status == http.StatusOK {
			t.Error("the killed agent is served by the process that came back")
		}
	})
}

// The acknowledged writes of a server that is killed without warning are there
// when it comes back, twenty times over.
func TestT63_KillMinusNineLosesNothing(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			dir := t.TempDir()
			flags := []string{"--registration", "open", "--claim-required=false", "--limits", "open"}
			cfg := servertest.Config(t, d)
			if d == store.Postgres {
				flags = append(flags, "--db", cfg.DB, "--schema", cfg.Schema)
			}
			p := serve(t, dir, flags...)
			out := p.must(t, http.MethodPost, "/api/v1/agents/register", "", map[string]any{"name": "writer", "description": "d"})
			key := out["agent"].(map[string]any)["api_key"].(string)
			post := p.must(t, http.MethodPost, "/api/v1/posts", key, map[string]any{"submolt_name": "general", "title": "T", "content": "c"})
			path := "/api/v1/posts/" + post["post"].(map[string]any)["id"].(string) + "/comments"
			var mu sync.Mutex
			acknowledged := make(map[string]bool)
			for round := range 20 {
				var wg sync.WaitGroup
				stop := make(chan struct{})
				for w := range 8 {
					wg.Go(func() {
						for n := 0; ; n++ {
							select {
							case <-stop:
								return
							default:
							}
							status, out := p.call(http.MethodPost, path, key, map[string]any{"content": fmt.Sprintf("round %d worker %d number %d", round, w, n)})
							if status == 0 {
								return
							}
							if status == http.StatusCreated {
								mu.Lock()
								acknowledged[out["comment"].(map[string]any)["id"].(string)] = true
								mu.Unlock()
							}
						}
					})
				}
				before := len(acknowledged)
				eventually(t, "some writes are acknowledged", func() bool { mu.Lock(); defer mu.Unlock(); return len(acknowledged) > before+20+round*3 })
				if err := p.cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = p.cmd.Wait()
				close(stop)
				wg.Wait()
				p = serve(t, dir, flags...)
			}
			stored := make(map[string]bool)
			cursor := ""
			for {
				out := p.must(t, http.MethodGet, path+"?sort=new&limit=100"+cursor, key, nil)
				for _, c := range out["comments"].([]any) {
					stored[c.(map[string]any)["id"].(string)] = true
				}
				if out["has_more"] != true {
					break
				}
				cursor = "&cursor=" + out["next_cursor"].(string)
			}
			for id := range acknowledged {
				if !stored[id] {
					t.Errorf("comment %s was acknowledged and is lost", id)
				}
			}
			t.Logf("20 kills: %d writes acknowledged, %d stored, 0 lost", len(acknowledged), len(stored))
			_ = p.cmd.Process.Signal(os.Interrupt)
			_ = p.cmd.Wait()
			cfg.Data = dir
			servertest.Start(t, cfg) // checks the invariants of what is left
		})
	}
}
