package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/agent"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// door stands before the real server: it notes every request and may refuse
// some, as a proxy would.
type door struct {
	*httptest.Server
	refuse func(*http.Request) (status int, retryAfter string) // 0 lets it through

	mu   sync.Mutex
	seen []seen
}

type seen struct {
	key, what string // credential; method and path
	status    int
	retry     string
	began, at time.Time // of the request, of the answer
	body      string    // of the answer to home, and of refusals
}

func openDoor(t *testing.T, s *servertest.Server) *door {
	d := &door{refuse: func(*http.Request) (int, string) { return 0, "" }}
	next := s.Handler()
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		d.mu.Lock()
		status, retry := d.refuse(r)
		d.mu.Unlock()
		answer := &watched{ResponseWriter: w}
		if status != 0 {
			w.Header().Set("Retry-After", retry)
			http.Error(answer, "not now", status)
		} else {
			next.ServeHTTP(answer, r)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		s := seen{
			key: r.Header.Get("Authorization"), what: r.Method + " " + r.URL.Path, status: answer.status,
			retry: answer.Header().Get("Retry-After"), began: began, at: time.Now(),
		}
		if s.what == home || s.status >= 400 {
			s.body = answer.body.String()
		}
		d.seen = append(d.seen, s)
	}))
	t.Cleanup(d.Close)
	return d
}

const home = "GET /api/v1/home"

type watched struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *watched) WriteHeader(status int) { w.status = status; w.ResponseWriter.WriteHeader(status) }

func (w *watched) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.body.Write(p)
	return w.ResponseWriter.Write(p)
}

// demo is a network like that of reef dev, with a heartbeat as fast as the agents'
// pace.
func demo(t *testing.T, d store.Dialect, pace time.Duration) server.Config {
	cfg := servertest.Config(t, d)
	cfg.OwnKeyApproval, cfg.Heartbeat = true, pace
	return cfg
}

func (d *door) log() []seen {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen)
}

// inhabit starts agents and returns what waits for their end.
func inhabit(t *testing.T, c agent.Config) (stop func(), ended <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	c.Log = slog.New(slog.DiscardHandler)
	go func() {
		defer close(done)
		if err := agent.Run(ctx, c); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop, done
}

// until polls until ok is true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute there is still no %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func operator(t *testing.T, s *servertest.Server) *client.Client {
	t.Helper()
	op, err := client.New(s.URL, s.Token)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// life counts what a reader sees of the network.
type life struct {
	posts, comments, votes int64
	byAuthor               map[string]int64
}

func look(t *testing.T, s *servertest.Server, key string) life {
	t.Helper()
	l := life{byAuthor: make(map[string]int64)}
	a := s.Call(t, http.MethodGet, "/api/v1/posts?sort=new&limit=100", key, nil)
	var feed client.Feed
	if err := json.Unmarshal(a.Raw, &feed); err != nil || a.Status != http.StatusOK {
		t.Fatalf("feed: %d %v %s", a.Status, err, a.Raw)
	}
	for _, p := range feed.Posts {
		l.posts++
		l.comments += p.CommentCount
		l.votes += p.Upvotes + p.Downvotes
		l.byAuthor[p.Author.Name]++
	}
	return l
}

// What agents do: the method and the path with * for an id or name.
var deeds = []string{
	home, "POST /api/v1/posts", "POST /api/v1/posts/*/comments", "POST /api/v1/posts/*/upvote", "POST /api/v1/comments/*/upvote",
	"POST /api/v1/agents/*/follow", "POST /api/v1/submolts/*/subscribe",
	"POST /api/v1/agents/dm/request", "POST /api/v1/agents/dm/requests/*/approve", "POST /api/v1/agents/dm/conversations/*/send",
	"POST /v1/tasks", "POST /v1/tasks/*/claim", "POST /v1/tasks/*/progress", "POST /v1/tasks/*/complete",
}

// missing lists what nobody has done yet with success.
func missing(d *door) (list []string) {
	done := make(map[string]bool)
	for _, r := range d.log() {
		for _, deed := range deeds {
			if ok, _ := path.Match(deed, r.what); ok && r.status < 300 {
				done[deed] = true
			}
		}
	}
	for _, deed := range deeds {
		if !done[deed] {
			list = append(list, deed)
		}
	}
	return list
}

// each runs fn against a demo on SQLite and one on PostgreSQL.
func each(t *testing.T, pace time.Duration, fn func(t *testing.T, s *servertest.Server)) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) { fn(t, servertest.Start(t, demo(t, d, pace))) })
	}
}

// The agents live like anybody: they look in, post, reply, vote, follow, talk in
// private and hand work to each other, and they answer a stranger.
func TestRunLives(t *testing.T) {
	each(t, 20*time.Millisecond, func(t *testing.T, s *servertest.Server) {
		reader, _ := s.Agent(t, "reader")
		d := openDoor(t, s)
		stop, _ := inhabit(t, agent.Config{Base: d.URL, Seed: 1, Pace: 20 * time.Millisecond, Agents: 10})
		until(t, "posts, replies and votes", func() bool {
			l := look(t, s, reader)
			return l.posts >= 5 && l.comments >= 20 && l.votes >= 5
		})
		// A stranger who knows nobody is answered.
		made := s.Call(t, http.MethodPost, "/api/v1/posts", reader, map[string]string{
			"submolt_name": "general", "title": "Labels get lost", "content": "We lose 12 % of our labels. Why?",
		})
		if made.Status != http.StatusCreated {
			t.Fatalf("post: %d %s", made.Status, made.Raw)
		}
		id := made.JSON["post"].(map[string]any)["id"].(string)
		until(t, "answer to a stranger", func() bool {
			a := s.Call(t, http.MethodGet, "/api/v1/posts/"+id+"/comments", reader, nil)
			return a.Status == http.StatusOK && (strings.Contains(string(a.Raw), "Labels get lost") || strings.Contains(string(a.Raw), "12 %"))
		})
		until(t, "deed of every kind", func() bool { return len(missing(d)) == 0 })
		stop()
		before := look(t, s, reader)
		if after := look(t, s, reader); fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("the agents act after Run has returned: %+v, then %+v", before, after)
		}
	})
}

// A paused agent asks now and then whether it may go on and does nothing else;
// resumed it goes on; killed it ends.
func TestRunPauseResumeKill(t *testing.T) {
	s := servertest.Start(t, demo(t, store.SQLite, 10*time.Millisecond))
	d := openDoor(t, s)
	op := operator(t, s)
	_, ended := inhabit(t, agent.Config{Base: d.URL, Seed: 2, Pace: 10 * time.Millisecond, Agents: 2})

	var ids []string
	until(t, "two agents that act", func() bool {
		page, err := op.Agents(t.Context(), client.AgentQuery{Standing: "active"})
		if err != nil {
			t.Fatal(err)
		}
		ids = ids[:0]
		for _, a := range page.Items {
			ids = append(ids, a.ID)
		}
		return len(ids) == 2 && slices.ContainsFunc(d.log(), func(r seen) bool { return r.what == "POST /api/v1/posts" && r.status == 201 })
	})
	for _, id := range ids {
		if _, err := op.Pause(t.Context(), id, "to see whether it stops"); err != nil {
			t.Fatal(err)
		}
	}
	paused := len(d.log())
	asked := func() int {
		n := 0
		for _, r := range d.log()[paused:] {
			if r.what == "GET /api/v1/agents/me" && r.status == http.StatusForbidden {
				n++
			}
		}
		return n
	}
	until(t, "paused agents that ask whether they may go on", func() bool { return asked() >= 6 })
	tried := make(map[string]int)
	for _, r := range d.log()[paused:] {
		switch {
		case r.what == "GET /api/v1/agents/me":
		case r.status < 300 && r.at.After(d.log()[paused].at.Add(time.Second)):
			t.Errorf("%s succeeded while the agent was paused", r.what)
		default:
			tried[r.key]++ // it was on its way, or it is how the agent found out
		}
	}
	for key, n := range tried {
		if n > 8 { // of one beat
			t.Errorf("a paused agent tried %d acts (%.20s)", n, key)
		}
	}
	for _, id := range ids {
		if _, err := op.Resume(t.Context(), id, "seen"); err != nil {
			t.Fatal(err)
		}
	}
	resumed := len(d.log())
	until(t, "resumed agents that act", func() bool {
		wrote := 0
		for _, r := range d.log()[resumed:] {
			if strings.HasPrefix(r.what, "POST /api/v1/") && r.status < 300 {
				wrote++
			}
		}
		return wrote >= 5
	})
	for _, id := range ids {
		if _, err := op.Kill(t.Context(), id, "end of the test"); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the agents go on a minute after they were killed")
	}
}

// Told to come back later, an agent stays away as long as it was told: all of it
// after a refused read, with that kind of act after a refused write.
func TestRunRetryAfter(t *testing.T) {
	cfg := demo(t, store.SQLite, 20*time.Millisecond)
	cfg.Limits = "moltbook" // a post in 30 minutes, a comment in 20 s, 60 reads a minute
	s := servertest.Start(t, cfg)
	d := openDoor(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	err := agent.Run(ctx, agent.Config{
		Base: d.URL, Seed: 3, Pace: 20 * time.Millisecond, Agents: 3, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	class := func(what string) string {
		switch {
		case strings.HasPrefix(what, "GET"):
			return "read"
		case strings.HasSuffix(what, "/comments"):
			return "comment"
		case strings.HasSuffix(what, "vote"):
			return "vote"
		}
		return what
	}
	away := make(map[string]time.Time)
	refused := make(map[string]int)
	for _, r := range d.log() {
		key := r.key + " " + class(r.what)
		if until, told := away[key]; told && r.at.Before(until) {
			t.Errorf("%s came %s too early", r.what, until.Sub(r.at))
		}
		if r.status != http.StatusTooManyRequests {
			continue
		}
		var secs int
		if _, err := fmt.Sscan(r.retry, &secs); err != nil {
			t.Fatalf("Retry-After %q", r.retry)
		}
		refused[class(r.what)]++
		away[key] = r.at.Add(time.Duration(secs)*time.Second - 100*time.Millisecond)
	}
	if refused["read"] == 0 || refused["comment"]+refused["POST /api/v1/posts"] == 0 {
		t.Errorf("too little was refused to show anything: %v", refused)
	}
}

// While the server is unavailable the agents wait, and go on afterwards.
func TestRunUnavailable(t *testing.T) {
	s := servertest.Start(t, demo(t, store.SQLite, 10*time.Millisecond))
	d := openDoor(t, s)
	down := false
	d.refuse = func(*http.Request) (int, string) {
		if down {
			return http.StatusServiceUnavailable, "1"
		}
		return 0, ""
	}
	set := func(v bool) { d.mu.Lock(); down = v; d.mu.Unlock() }
	writes := func() (n int) {
		for _, r := range d.log() {
			if r.status == http.StatusCreated {
				n++
			}
		}
		return n
	}
	set(true) // it is down when they arrive, too
	inhabit(t, agent.Config{Base: d.URL, Seed: 4, Pace: 10 * time.Millisecond, Agents: 3})
	until(t, "refused registration", func() bool { return len(d.log()) > 0 })
	set(false)
	until(t, "posts and comments", func() bool { return writes() >= 10 })
	set(true)
	begin := len(d.log())
	until(t, "refused requests of three agents", func() bool { return len(d.log()) >= begin+6 })
	for _, r := range d.log()[begin+3:] {
		if r.status == http.StatusCreated {
			t.Errorf("%s got through", r.what)
		}
	}
	set(false)
	before := writes()
	until(t, "life after the outage", func() bool { return writes() >= before+10 })
}

// With a directory the agents are the same in the next run: no second
// registration, no vote taken back, and a case that was left is gone on with.
func TestRunAgain(t *testing.T) {
	s := servertest.Start(t, demo(t, store.SQLite, 10*time.Millisecond))
	reader, _ := s.Agent(t, "reader")
	c := agent.Config{Base: s.URL, Seed: 5, Pace: 10 * time.Millisecond, Agents: 5, Dir: filepath.Join(t.TempDir(), "agents")}
	stop, _ := inhabit(t, c)
	until(t, "votes", func() bool { l := look(t, s, reader); return l.votes >= 6 && l.comments >= 6 })
	stop()
	first := look(t, s, reader)
	files, err := os.ReadDir(c.Dir)
	if err != nil || len(files) != 5 {
		t.Fatalf("%d kept keys, %v", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f.Name(), info.Mode(), err)
		}
	}
	stop, _ = inhabit(t, c)
	until(t, "further comments", func() bool { return look(t, s, reader).comments >= first.comments+6 })
	stop()
	second := look(t, s, reader)
	if second.votes < first.votes {
		t.Errorf("votes were taken back: %d, then %d", first.votes, second.votes)
	}
	page, err := operator(t, s).Agents(t.Context(), client.AgentQuery{})
	if err != nil || len(page.Items) != 6 { // and the reader
		t.Errorf("%d agents, %v", len(page.Items), err)
	}
}

// A stranger may have an agent's name already, and registration may need an
// invite.
func TestRunNamesAndInvites(t *testing.T) {
	cfg := demo(t, store.SQLite, 10*time.Millisecond)
	cfg.Registration = "invite"
	s := servertest.Start(t, cfg)
	op := operator(t, s)
	invite := func(ctx context.Context) (string, error) {
		got, err := op.Invite(ctx, "dev", time.Hour)
		return got.Code, err
	}
	code, err := invite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	squatter, err := client.Register(t.Context(), s.URL, client.NewAccount{Name: "Tide_Marshal", Invite: code})
	if err != nil {
		t.Fatal(err)
	}
	reader := squatter.Key
	inhabit(t, agent.Config{Base: s.URL, Seed: 6, Pace: 10 * time.Millisecond, Agents: 2, Invite: invite})
	until(t, "posts by a marshal of another name", func() bool {
		l := look(t, s, reader)
		return l.byAuthor["tide-marshal_2"] > 0 && l.comments > 0
	})
	if _, found := look(t, s, reader).byAuthor["Tide_Marshal"]; found {
		t.Error("somebody acts with the stranger's name")
	}

	closed := servertest.Config(t, store.SQLite)
	closed.Registration = "closed"
	shut := servertest.Start(t, closed)
	if err := agent.Run(t.Context(), agent.Config{Base: shut.URL, Agents: 1, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("agents live where nobody may register")
	}
}

// However fast their own pace is, the agents do not look in before the network
// asked them to.
func TestRunObeysNextCheck(t *testing.T) {
	s := servertest.Start(t, demo(t, store.SQLite, 300*time.Millisecond))
	d := openDoor(t, s)
	stop, _ := inhabit(t, agent.Config{Base: d.URL, Seed: 8, Pace: 5 * time.Millisecond, Agents: 4, Rounds: 2})
	looks := func() (n int) {
		for _, r := range d.log() {
			if r.what == home {
				n++
			}
		}
		return n
	}
	until(t, "40 looks home", func() bool { return looks() >= 40 })
	stop()
	next, early, between := make(map[string]time.Time), 0, 0
	for _, r := range d.log() {
		due, told := next[r.key]
		if r.what != home {
			if told && r.began.Before(due) {
				between++
			}
			continue
		}
		if told && r.began.Before(due) {
			early++
			t.Errorf("an agent looked in %s before next_check_at", due.Sub(r.began))
		}
		var h client.Home
		if err := json.Unmarshal([]byte(r.body), &h); err != nil || h.NextCheck.IsZero() {
			t.Fatalf("home: %v %s", err, r.body)
		}
		next[r.key] = h.NextCheck
	}
	if len(next) != 4 || between == 0 {
		t.Errorf("%d agents looked in, %d acts lay between", len(next), between)
	}
}
