package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

func zip(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type reply struct {
	status int
	header http.Header
	body   struct {
		Code, Rule, Hint string
	}
	raw []byte
}

func send(t testing.TB, addr, method, path, key string, body []byte, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return reply{}
	}
	defer resp.Body.Close()
	out := reply{status: resp.StatusCode, header: resp.Header}
	out.raw, _ = io.ReadAll(resp.Body)
	_ = json.Unmarshal(out.raw, &out.body)
	return out
}

// Bodies may come as gzip, at every door; some agents always send it.
func TestGzipIsTaken(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	addr := listen(t, &http.Server{Handler: s.Handler()})
	key, _ := s.Agent(t, "packed")
	for path, body := range map[string]string{
		"/api/v1/posts": `{"submolt":"general","title":"packed","content":"` + strings.Repeat("a word, ", 2000) + `"}`,
		"/v1/posts":     `{"community":"general","title":"packed too","content":"` + strings.Repeat("two words, ", 2000) + `"}`,
	} {
		for _, coding := range []string{"gzip", "GZIP", "x-gzip"} {
			got := send(t, addr, http.MethodPost, path, key, zip(t, []byte(strings.Replace(body, "packed", coding, 1))), "Content-Encoding", coding, "Content-Type", "application/json")
			if got.status != http.StatusCreated || !bytes.Contains(got.raw, []byte(coding)) {
				t.Errorf("%s as %s: %d %.200s", path, coding, got.status, got.raw)
			}
		}
	}
}

// hostile are bodies that are built to cost more than they are.
func hostile(t testing.TB) map[string]struct {
	body   []byte
	gzip   bool
	status int
	rule   string
} {
	big := bytes.Repeat([]byte{'a'}, 20<<20)
	var many bytes.Buffer
	many.WriteString(`{"title":"x"`)
	for i := range 20_000 {
		fmt.Fprintf(&many, `,"k%d":1`, i)
	}
	many.WriteString(`}`)
	return map[string]struct {
		body   []byte
		gzip   bool
		status int
		rule   string
	}{
		"gzip bomb":            {zip(t, append([]byte(`{"title":"`), big...)), true, 413, "http.gzip"},
		"gzip over the limit":  {zip(t, randomish(3<<20)), true, 413, "http.body"},
		"bomb in a bomb":       {zip(t, zip(t, big)), true, 400, "http.json"},
		"not gzip":             {[]byte(`{"title":"x"}`), true, 400, "http.gzip"},
		"broken gzip":          {zip(t, []byte(`{"title":"x"}`))[:20], true, 400, ""},
		"too long":             {append([]byte(`{"title":"`), big[:1<<20]...), false, 413, "http.body"},
		"deep arrays":          {[]byte(`{"title":` + strings.Repeat("[", 500_000)), false, 400, "http.json.depth"},
		"deep objects":         {[]byte(strings.Repeat(`{"a":`, 100_000)), false, 400, "http.json.depth"},
		"many properties":      {many.Bytes(), false, 400, "http.json.size"},
		"many values":          {[]byte(`{"title":[` + strings.Repeat("1,", 400_000) + `1]}`), false, 400, "http.json.size"},
		"one long property":    {[]byte(`{"` + strings.Repeat("k", 1<<19) + `":1}`), false, 400, "http.json.field"},
		"backslashes":          {[]byte(`{"title":"` + strings.Repeat(`\`, 1<<19)), false, 400, "http.json"},
		"combining characters": {[]byte(`{"submolt":"general","title":"` + strings.Repeat("e\u0301\u0323", 1<<17) + `"}`), false, 400, "text.length"},
		"quotes":               {bytes.Repeat([]byte{'"'}, 1<<19), false, 400, "http.json"},
		"invalid UTF-8":        {[]byte("{\"title\":\"\xff\xfe\"}"), false, 400, "text.encoding"},
	}
}

// randomish is text that does not compress well.
func randomish(n int) []byte {
	b := make([]byte, n)
	x := uint64(1)
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = 'a' + byte(x>>40)%26
	}
	return b
}

// T60: a flood of hostile bodies changes nothing, is answered with hints, and
// does not keep an operator from stopping the agents that send it.
func TestT60_HostileBodies(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	key, flooder := s.Agent(t, "flooder")
	addr := listen(t, mount(t, s, func(c *api.Config) { c.BodyTime = 300 * time.Millisecond }).Server())
	for name, h := range hostile(t) {
		var headers []string
		if h.gzip {
			headers = []string{"Content-Encoding", "gzip"}
		}
		r := send(t, addr, "POST", "/api/v1/posts", key, h.body, headers...)
		if r.status != h.status || h.rule != "" && r.body.Rule != h.rule || r.body.Hint == "" {
			t.Errorf("%s: %d %s, want %d %q and a hint: %.300s", name, r.status, r.body.Rule, h.status, h.rule, r.raw)
		}
		if len(r.raw) > 2000 {
			t.Errorf("%s: the answer has %d bytes", name, len(r.raw))
		}
	}
	if r := send(t, addr, "POST", "/api/v1/posts", key, zip(t, []byte(`{"submolt":"general","title":"zipped"}`)), "Content-Encoding", "gzip"); r.status != 201 {
		t.Errorf("a gzip body is answered %d: %s", r.status, r.raw)
	}

	var wg sync.WaitGroup
	stop := make(chan struct{})
	bad := hostile(t)
	for range 16 {
		wg.Go(func() {
			for {
				for name, h := range bad {
					select {
					case <-stop:
						return
					default:
					}
					var headers []string
					if h.gzip {
						headers = []string{"Content-Encoding", "gzip"}
					}
					if r := send(t, addr, "POST", "/api/v1/posts", key, h.body, headers...); r.status < 400 {
						t.Errorf("%s: let through with %d", name, r.status)
					}
				}
			}
		})
	}
	for range 16 { // slow bodies
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, _ := slowPost(t, addr, key)
				if status < 400 {
					t.Errorf("a slow body is answered %d", status)
				}
			}
		})
	}
	for range 20 {
		if r := send(t, addr, "GET", "/v1/agents?limit=1", s.Token, nil); r.status != 200 {
			t.Errorf("the operator is answered %d in the flood: %s", r.status, r.raw)
		}
	}
	id := s.Codec.String(flooder.ID)
	if r := send(t, addr, "POST", "/v1/agents/"+id+"/kill", s.Token, []byte(`{"reason":"flood"}`)); r.status != 200 {
		t.Errorf("the kill is answered %d in the flood: %s", r.status, r.raw)
	}
	if r := send(t, addr, "POST", "/api/v1/posts", key, []byte(`{"submolt":"general","title":"after"}`)); r.status != 401 && r.status != 403 {
		t.Errorf("after the kill the flooder is answered %d", r.status)
	}
	close(stop)
	wg.Wait()
}

// slowPost announces a body, sends a little of it, and waits for the answer.
func slowPost(t testing.TB, addr, key string) (status int, rule string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return 599, ""
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/posts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n\r\n{\"title\":", key)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("slow body: %v", err)
		return 599, ""
	}
	defer resp.Body.Close()
	var body struct{ Rule string }
	_ = json.NewDecoder(resp.Body).Decode(&body)
	if !resp.Close {
		t.Error("the connection of a slow body stays open")
	}
	return resp.StatusCode, body.Rule
}

// T60: a body that does not come in time is cut off.
func TestT60_SlowBody(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	key, _ := s.Agent(t, "slow")
	addr := listen(t, mount(t, s, func(c *api.Config) { c.BodyTime = 50 * time.Millisecond }).Server())
	if status, rule := slowPost(t, addr, key); status != 400 || rule != "http.slow" {
		t.Errorf("a slow body is answered %d %s, want 400 http.slow", status, rule)
	}
	if r := send(t, addr, "POST", "/api/v1/posts", key, []byte(`{"submolt":"general","title":"quick"}`)); r.status != 201 {
		t.Errorf("the next request is answered %d", r.status)
	}
}

// T60: bodies share a budget of memory; who finds it used up comes back later.
func TestT60_BodyBudget(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	key, _ := s.Agent(t, "big")
	const conns, fit = 8, 4 // each holds 60 KiB of an unfinished body; so many fit into 256 KiB
	addr := listen(t, mount(t, s, func(c *api.Config) { c.BodyMemory, c.BodyTime = 256<<10, 5*time.Second }).Server())
	var answers [conns]*http.Response
	var rules [conns]string
	var wg sync.WaitGroup
	for i := range conns {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /api/v1/posts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 200000\r\n\r\n%s",
			key, strings.Repeat(" ", 60_000))
		wg.Go(func() {
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			var body struct{ Rule string }
			_ = json.NewDecoder(resp.Body).Decode(&body)
			answers[i], rules[i] = resp, body.Rule
		})
	}
	wg.Wait()
	refused := 0
	for i, resp := range answers {
		switch {
		case resp == nil:
		case resp.StatusCode == 503 && rules[i] == "http.busy" && resp.Header.Get("Retry-After") != "":
			refused++
		case resp.StatusCode == 400 && rules[i] == "http.slow": // it was held until its time was over
		default:
			t.Errorf("answered %d %s", resp.StatusCode, rules[i])
		}
	}
	if refused < conns-fit {
		t.Errorf("%d of %d bodies were refused; the budget has room for %d", refused, conns, fit)
	}
	if r := send(t, addr, "POST", "/api/v1/posts", key, []byte(`{"submolt":"general","title":"x","content":"`+strings.Repeat("a", 30_000)+`"}`)); r.status != 201 {
		t.Errorf("the budget does not come back: %d %s", r.status, r.raw)
	}
}

// T60: slots are bounded for each caller and in all; operators have their own.
func TestT60_Slots(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	first, _ := s.Agent(t, "first")
	second, _ := s.Agent(t, "second")
	third, _ := s.Agent(t, "third")
	k := mount(t, s, func(c *api.Config) { c.Slots, c.SlotsPerCaller, c.Reserved = 2, 1, 1 })
	entered, leave := make(chan struct{}), make(chan struct{})
	k.Mount(&api.Door{Name: "test", Prefix: "/test", Fail: failPlain, Routes: []api.Route{
		{Method: "GET", Path: "/wait", Act: "agent.me", Handle: func(_ context.Context, c *api.Call) error {
			entered <- struct{}{}
			<-leave
			c.Send(200, nil, nil)
			return nil
		}},
	}})
	addr := listen(t, k.Server())
	var wg sync.WaitGroup
	wg.Go(func() { send(t, addr, "GET", "/test/wait", first, nil) })
	<-entered
	if r := send(t, addr, "GET", "/test/wait", first, nil); r.status != 503 || !strings.Contains(string(r.raw), "http.concurrency") {
		t.Errorf("the caller's second request is answered %d %s", r.status, r.raw)
	}
	wg.Go(func() { send(t, addr, "GET", "/test/wait", second, nil) })
	<-entered
	if r := send(t, addr, "GET", "/test/wait", third, nil); r.status != 503 || r.header.Get("Retry-After") == "" || !strings.Contains(string(r.raw), "http.busy") {
		t.Errorf("a third caller is answered %d %s", r.status, r.raw)
	}
	if r := send(t, addr, "GET", "/v1/agents", s.Token, nil); r.status != 200 {
		t.Errorf("the operator is answered %d: %s", r.status, r.raw)
	}
	if r := send(t, addr, "GET", "/healthz", "", nil); r.status != 200 {
		t.Errorf("health is answered %d", r.status)
	}
	close(leave)
	wg.Wait()
	if r := send(t, addr, "GET", "/api/v1/agents/me", third, nil); r.status != 200 {
		t.Errorf("with free slots the third caller is answered %d", r.status)
	}
}

func failPlain(c *api.Call, e *act.Error) {
	status := 400
	switch e.Code {
	case act.Internal:
		status = 500
	case act.Unavailable:
		status = 503
	case act.Invalid, act.Unauthenticated, act.Denied, act.NotFound, act.Conflict, act.TooLarge, act.RateLimited, act.Gone, act.Mismatch, act.Method, act.Held:
	}
	c.Send(status, []string{"text/plain"}, []byte(e.Rule+": "+e.Message))
}

// A panic is an answer without detail, the server goes on, and what the call
// held comes back.
func TestPanicIsAnAnswer(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	key, _ := s.Agent(t, "careful")
	k := mount(t, s, func(c *api.Config) { c.Slots, c.SlotsPerCaller = 1, 1 })
	k.Mount(&api.Door{Name: "test", Prefix: "/test", Fail: failPlain, Routes: []api.Route{
		{Method: "POST", Path: "/panic", Act: "agent.me", Handle: func(context.Context, *api.Call) error { panic("a secret detail") }},
	}})
	addr := listen(t, k.Server())
	for range 3 {
		r := send(t, addr, "POST", "/test/panic", key, []byte(`{}`))
		if r.status != 500 || bytes.Contains(r.raw, []byte("secret")) || len(r.raw) == 0 {
			t.Fatalf("a panic is answered %d %s", r.status, r.raw)
		}
	}
	if r := send(t, addr, "GET", "/api/v1/agents/me", key, nil); r.status != 200 {
		t.Errorf("after panics the slot is gone: %d", r.status)
	}
}

// /metrics is for the machine itself and for operators.
func TestMetricsAccess(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	key, _ := s.Agent(t, "curious")
	addr := listen(t, mount(t, s, nil).Server())
	for _, c := range []struct {
		key     string
		headers []string
		want    int
	}{
		{"", nil, 200},
		{"", []string{"X-Forwarded-For", "127.0.0.1"}, 401},
		{"", []string{"Forwarded", "for=127.0.0.1"}, 401},
		{key, []string{"X-Forwarded-For", "10.0.0.1"}, 403},
		{s.Token, []string{"X-Forwarded-For", "10.0.0.1"}, 200},
	} {
		r := send(t, addr, "GET", "/metrics", c.key, nil, c.headers...)
		if r.status != c.want || (c.want == 200) != bytes.Contains(r.raw, []byte("go_goroutines")) {
			t.Errorf("%v: %d, want %d: %.100s", c.headers, r.status, c.want, r.raw)
		}
	}
}
