package egress_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/egress"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wire stands between a proxy and its network and sees what passes. What a test
// wants changed there is changed by meet and meant.
type wire struct {
	*httptest.Server
	mu    sync.Mutex
	seen  []*http.Request
	meet  func(w http.ResponseWriter, r *http.Request) bool // answers in the network's place
	meant func(*http.Response) error                        // changes an answer of the network's
}

func tap(t testing.TB, network string) *wire {
	t.Helper()
	to, err := url.Parse(network)
	check(t, err)
	x := &wire{}
	via := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = "" }, FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			if f := x.meantNow(); f != nil {
				return f(r)
			}
			return nil
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	x.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x.mu.Lock()
		x.seen = append(x.seen, r.Clone(context.Background()))
		meet := x.meet
		x.mu.Unlock()
		if meet == nil || !meet(w, r) {
			via.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(x.Close)
	return x
}

func (x *wire) meantNow() func(*http.Response) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.meant
}

func (x *wire) change(meet func(http.ResponseWriter, *http.Request) bool, meant func(*http.Response) error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.meet, x.meant = meet, meant
}

// passed returns the requests for a path that passed.
func (x *wire) passed(path string) (list []*http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.seen {
		if r.URL.Path == path {
			list = append(list, r)
		}
	}
	return list
}

// enrolled makes an agent with a key of its own, over the wire.
func enrolled(t testing.TB, s *servertest.Server, at, name string) client.Member {
	t.Helper()
	op, err := client.New(s.URL, s.Token)
	check(t, err)
	e, err := op.NewEnrollment(t.Context(), client.NewEnrollment{Owner: "tests"})
	check(t, err)
	key, err := token.NewKey(token.EdDSA)
	check(t, err)
	m, err := client.Enroll(t.Context(), client.Enrolling{URL: at, Token: e.Token, Name: name, Key: key, Now: time.Now()})
	check(t, err)
	return m
}

// proxied is a proxy that runs.
type proxied struct {
	URL    string
	Holder *client.Holder
	ahead  atomic.Int64 // of the holder's clock
}

// proxy runs a proxy for a member until the test ends.
func proxy(t testing.TB, m client.Member, at string, most int) *proxied {
	t.Helper()
	x := &proxied{}
	ctx, stop := context.WithCancel(context.Background())
	h, err := client.NewHolder(ctx, m, "", func() time.Time { return time.Now().Add(time.Duration(x.ahead.Load())) })
	check(t, err)
	l, err := egress.Listen(ctx, at, 0o600)
	check(t, err)
	p, err := egress.NewProxy(egress.ProxyConfig{Holder: h, Listener: l, Requests: most, Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		check(t, <-done)
		h.Close()
	})
	x.URL, x.Holder = "http://"+l.Addr().String(), h
	return x
}

// reply is an answer, read to its end.
type reply struct {
	*http.Response
	raw  []byte
	said struct {
		Rule, Code, Error, Detail, Hint string
		Post                            struct{ ID string }
	}
}

func send(t testing.TB, method, address, body string, head ...string) reply {
	t.Helper()
	out, err := trySend(method, address, strings.NewReader(body), head...)
	check(t, err)
	return out
}

var plainClient = &http.Client{
	Transport:     &http.Transport{DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func trySend(method, address string, body io.Reader, head ...string) (out reply, err error) {
	req, err := http.NewRequestWithContext(context.Background(), method, address, body)
	if err != nil {
		return out, err
	}
	if method == http.MethodGet || method == http.MethodHead {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	for i := 0; i < len(head); i += 2 {
		if head[i] == "Host" {
			req.Host = head[i+1]
		} else {
			req.Header[head[i]] = append(req.Header[head[i]], head[i+1])
		}
	}
	if out.Response, err = plainClient.Do(req); err != nil {
		return out, err
	}
	defer out.Body.Close() //nolint:errcheck // it is read to its end
	out.raw, err = io.ReadAll(out.Body)
	_ = json.Unmarshal(out.raw, &out.said) // whoever looks at it sees
	return out, err
}

const hello = `{"submolt":"general","title":"Hello","content":"from behind a proxy"}`

// An agent that knows a base URL and nothing else acts on the network as itself; what
// it sends as a credential, and what it says of where it is, goes nowhere.
func TestProxyActsForAnAgent(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		x := tap(t, s.URL)
		m := enrolled(t, s, x.URL, "quiet")
		p := proxy(t, m, "127.0.0.1:0", 0)
		made := send(t, "POST", p.URL+"/api/v1/posts", hello, "Authorization", "Bearer moltbook_sk_invented", "Dpop", "invented", "Cookie", "session=invented",
			"X-Forwarded-For", "203.0.113.9", "Forwarded", "for=203.0.113.9", "Content-Type", "application/json")
		if made.StatusCode != http.StatusCreated && made.StatusCode != http.StatusOK || made.said.Post.ID == "" {
			t.Fatalf("post: %s %s", made.Status, made.raw)
		}
		who := send(t, "GET", p.URL+"/v1/whoami", "", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		var caller client.Caller
		check(t, json.Unmarshal(who.raw, &caller))
		if caller.Name != "quiet" || caller.ID != m.ID || caller.Binding != "dpop" || caller.Grant == nil {
			t.Errorf("the server sees %+v", caller)
		}
		proofs := map[string]bool{}
		for _, r := range append(x.passed("/api/v1/posts"), x.passed("/v1/whoami")...) {
			if a := r.Header["Authorization"]; len(a) != 1 || !strings.HasPrefix(a[0], "DPoP ") || len(r.Header["Dpop"]) != 1 || proofs[r.Header.Get("Dpop")] {
				t.Errorf("%s went with %d credentials, proof new: %v", r.URL.Path, len(a), !proofs[r.Header.Get("Dpop")])
			}
			proofs[r.Header.Get("Dpop")] = true
			for name, values := range r.Header {
				if text := strings.Join(values, " "); strings.Contains(text, "invented") || strings.Contains(text, "203.0.113.9") {
					t.Errorf("%s went with %s: %s", r.URL.Path, name, text)
				}
			}
		}
		if got := x.passed("/v1/whoami")[0].Header.Get("Traceparent"); got != "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" {
			t.Errorf("the agent's trace became %q", got)
		}
		if got := x.passed("/api/v1/posts")[0].Header.Get("Traceparent"); len(got) != 55 || strings.Contains(got, strings.Repeat("0", 32)) {
			t.Errorf("a trace that was begun here is %q", got)
		}
		if made.Header.Get("Dpop-Nonce") != "" {
			t.Error("the agent was given a nonce, which is the proxy's business")
		}
	})
}

// What is no request of a program on this machine to its own network is refused, and
// none of it reaches the network. T11
func TestProxyRefuses(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	x := tap(t, s.URL)
	p := proxy(t, enrolled(t, s, x.URL, "guarded"), "127.0.0.1:0", 0)
	at, err := url.Parse(p.URL)
	check(t, err)
	good := "Host: " + at.Host
	for _, c := range []struct {
		name, request, rule string
		status              int
	}{
		{"tunnel", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443", "proxy.open", 403},
		{"absolute form", "GET http://example.com/v1/whoami HTTP/1.1\r\nHost: example.com", "proxy.open", 403},
		{"absolute form of ours", "GET http://" + at.Host + "/v1/whoami HTTP/1.1\r\n" + good, "proxy.open", 403},
		{"everything", "OPTIONS * HTTP/1.1\r\n" + good, "proxy.open", 403},
		{"rebound name", "GET /v1/whoami HTTP/1.1\r\nHost: evil.example:" + at.Port(), "proxy.host", 403},
		{"a name that looks like it", "GET /v1/whoami HTTP/1.1\r\nHost: localhost.evil.example:" + at.Port(), "proxy.host", 403},
		{"a number that names this machine oddly", "GET /v1/whoami HTTP/1.1\r\nHost: 2130706433:" + at.Port(), "proxy.host", 403},
		{"another port", "GET /v1/whoami HTTP/1.1\r\nHost: 127.0.0.1:1", "proxy.host", 403},
		{"no port", "GET /v1/whoami HTTP/1.1\r\nHost: 127.0.0.1", "proxy.host", 403},
		{"a page's script", "POST /api/v1/posts HTTP/1.1\r\n" + good + "\r\nOrigin: https://evil.example", "proxy.browser", 403},
		{"a page without an origin", "GET /v1/whoami HTTP/1.1\r\n" + good + "\r\nSec-Fetch-Site: none", "proxy.browser", 403},
		{"a page's image", "GET /v1/whoami HTTP/1.1\r\n" + good + "\r\nSec-Fetch-Site: cross-site", "proxy.browser", 403},
		{"tokens", "POST /oauth/token HTTP/1.1\r\n" + good, "proxy.path", 404},
		{"pages", "GET /u/guarded HTTP/1.1\r\n" + good, "proxy.path", 404},
		{"out of the door", "GET /v1/../oauth/token HTTP/1.1\r\n" + good, "proxy.path", 400},
		{"out of the door, hidden", "GET /v1/%2e%2e/oauth/token HTTP/1.1\r\n" + good, "proxy.path", 400},
		{"out of the door, behind a slash", "GET /v1/..%2foauth/token HTTP/1.1\r\n" + good, "proxy.path", 400},
		{"doubled slashes", "GET //v1/whoami HTTP/1.1\r\n" + good, "proxy.path", 400},
		{"a letter for another", "GET /%761/whoami HTTP/1.1\r\n" + good, "proxy.path", 404},
		{"its own key", "POST /v1/me/keys/rotate HTTP/1.1\r\n" + good, "proxy.keys", 403},
		{"another key", "POST /v1/enroll HTTP/1.1\r\n" + good, "proxy.keys", 403},
		{"the end of its key", "POST /v1/credentials/x/revoke HTTP/1.1\r\n" + good, "proxy.keys", 403},
		{"too much", fmt.Sprintf("POST /api/v1/posts HTTP/1.1\r\n%s\r\nContent-Length: %d", good, egress.MaxRequestBody+1), "proxy.size", 413},
	} {
		conn, err := net.Dial("tcp", at.Host)
		check(t, err)
		_, err = io.WriteString(conn, c.request+"\r\nConnection: close\r\n\r\n")
		check(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		raw, _ := io.ReadAll(resp.Body)
		var said struct{ Rule, Hint, Error string }
		_ = json.Unmarshal(raw, &said)
		if resp.StatusCode != c.status || said.Rule != c.rule || said.Hint == "" || said.Error == "" || resp.Header.Get("Proxy-Status") == "" {
			t.Errorf("%s: %s %s, want %d %s", c.name, resp.Status, raw, c.status, c.rule)
		}
		_ = conn.Close()
	}
	for _, r := range x.seen {
		if r.URL.Path != "/.well-known/oauth-authorization-server" && r.URL.Path != "/v1/enroll" {
			t.Errorf("%s %s reached the network", r.Method, r.URL.Path)
		}
	}
	// Where other machines could come, nothing listens.
	for _, at := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0", "localhost.example:0", ""} {
		if l, err := egress.Listen(t.Context(), at, 0o600); err == nil {
			t.Errorf("it listens on %q", at)
			_ = l.Close()
		} else if e := act.AsError(err); e.Rule != "proxy.listen" || e.Hint == "" {
			t.Errorf("%q: %v", at, err)
		}
	}
}

// A Unix socket lets in whom its mode lets in, is made anew after a crash, not over
// another proxy's, and goes with the proxy.
func TestProxyOnAUnixSocket(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	m := enrolled(t, s, s.URL, "socketed")
	file := filepath.Join(t.TempDir(), "s")
	left, err := net.Listen("unix", file) // what a proxy leaves that was killed
	check(t, err)
	left.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:forcetypeassert // it is one
	check(t, left.Close())
	t.Run("serve", func(t *testing.T) {
		proxy(t, m, "unix:"+file, 0)
		if info, err := os.Lstat(file); err != nil || info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("the socket has the mode %v, %v", info, err)
		}
		if _, err := egress.Listen(t.Context(), "unix:"+file, 0o600); act.CodeOf(err) != act.Conflict {
			t.Errorf("a second proxy: %v", err)
		}
		over := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", file)
		}}}
		defer over.CloseIdleConnections()
		resp, err := over.Get("http://localhost/v1/whoami")
		check(t, err)
		raw, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !bytes.Contains(raw, []byte("socketed")) {
			t.Errorf("whoami: %s %s", resp.Status, raw)
		}
	})
	if _, err := net.Dial("unix", file); err == nil {
		t.Error("the socket outlives the proxy")
	}
	for _, mode := range []fs.FileMode{0o666, 0o602, 0o060, 0o1000, fs.ModeSetuid | 0o600} {
		if _, err := egress.Listen(t.Context(), "unix:"+file, mode); act.CodeOf(err) != act.Invalid {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

// Everybody who needs a token waits for the same one, and a renewal keeps nobody.
func TestProxyAsksForOneToken(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	x := tap(t, s.URL)
	p := proxy(t, enrolled(t, s, x.URL, "herd"), "127.0.0.1:0", 0)
	var given atomic.Int64 // tokens, not questions for a nonce
	x.change(nil, func(r *http.Response) error {
		if r.Request.URL.Path == "/oauth/token" && r.StatusCode == http.StatusOK {
			given.Add(1)
			return shorten(r, 32)
		}
		return nil
	})
	rush := func() {
		var all sync.WaitGroup
		for range 60 {
			all.Go(func() {
				if out, err := trySend("GET", p.URL+"/v1/whoami", http.NoBody); err != nil || out.StatusCode != http.StatusOK {
					t.Errorf("whoami: %v %s", err, out.raw)
				}
			})
		}
		all.Wait()
	}
	rush()
	if n := given.Load(); n != 1 {
		t.Errorf("sixty requests got %d tokens", n)
	}
	p.ahead.Store(int64(26 * time.Second)) // the token of 32 s is to be renewed, and good
	rush()
	if _, err := p.Holder.Token(t.Context()); err != nil { // joins the renewal, or finds it done
		t.Error(err)
	}
	p.Holder.Close() // waits for what is under way
	if n := given.Load(); n != 2 {
		t.Errorf("after a renewal there were %d tokens", n)
	}
}

// shorten changes for how long an answer of the token endpoint says a token is good.
func shorten(r *http.Response, seconds int) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		return err
	}
	all["expires_in"] = seconds
	if raw, err = json.Marshal(all); err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	r.Header.Set("Content-Length", fmt.Sprint(len(raw)))
	return nil
}
