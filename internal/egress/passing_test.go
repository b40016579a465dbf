package egress_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What passes is not changed: methods, ranges, compressed bytes, queries; pieces pass
// as they come, both ways; headers of one connection stay on it (RFC 9110 §7.6.1).
func TestProxyPassesThingsOn(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	x := tap(t, s.URL)
	p := proxy(t, enrolled(t, s, x.URL, "passing"), "127.0.0.1:0", 0)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(bytes.Repeat([]byte("reef "), 1000)) // into memory
	check(t, z.Close())
	plain := bytes.Repeat([]byte("0123456789"), 100)
	x.change(func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/v1/test/packed":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed.Bytes())
		case "/v1/test/file":
			http.ServeContent(w, r, "file.bin", time.Unix(1, 0), bytes.NewReader(plain))
		case "/v1/test/hops":
			w.Header().Set("Connection", "X-Between")
			w.Header().Set("X-Between", "us")
			w.Header().Set("X-Kept", strings.Join(r.Header["X-Kept"], ","))
			w.Header().Set("Set-Cookie", "session=1")
		case "/v1/test/echo": // answers each line when it comes
			_ = http.NewResponseController(w).EnableFullDuplex()
			lines := bufio.NewScanner(r.Body)
			for lines.Scan() {
				fmt.Fprintf(w, "heard %s\n", lines.Text())
				_ = http.NewResponseController(w).Flush()
			}
		case "/v1/test/query":
			_, _ = io.WriteString(w, r.URL.RawQuery)
		default:
			return false
		}
		return true
	}, nil)
	if got := send(t, "GET", p.URL+"/v1/test/packed", "", "Accept-Encoding", "gzip"); !bytes.Equal(got.raw, packed.Bytes()) || got.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("packed: %d bytes of %d, %v", len(got.raw), packed.Len(), got.Header)
	}
	if x.passed("/v1/test/packed")[0].Header.Get("Accept-Encoding") != "gzip" {
		t.Error("what the agent takes was changed")
	}
	send(t, "GET", p.URL+"/v1/test/packed", "")
	if got := x.passed("/v1/test/packed")[1].Header["Accept-Encoding"]; got != nil {
		t.Errorf("the proxy takes %q in the agent's name", got)
	}
	if got := send(t, "GET", p.URL+"/v1/test/file", "", "Range", "bytes=10-19"); got.StatusCode != http.StatusPartialContent || string(got.raw) != "0123456789" || got.Header.Get("Content-Range") != "bytes 10-19/1000" {
		t.Errorf("range: %s %q", got.Status, got.raw)
	}
	if got := send(t, "HEAD", p.URL+"/v1/test/file", ""); got.StatusCode != http.StatusOK || got.ContentLength != 1000 || len(got.raw) != 0 {
		t.Errorf("head: %s, %d bytes of %d", got.Status, len(got.raw), got.ContentLength)
	}
	got := send(t, "GET", p.URL+"/v1/test/hops", "", "Connection", "X-Mine, Upgrade", "X-Mine", "1", "Upgrade", "h2c", "Keep-Alive", "5", "Te", "trailers", "X-Kept", "2")
	if got.Header.Get("X-Between") != "" || got.Header.Get("X-Kept") != "2" || got.Header.Get("Set-Cookie") != "" {
		t.Errorf("hops back: %v", got.Header)
	}
	for _, name := range []string{"X-Mine", "Upgrade", "Keep-Alive"} {
		if v := x.passed("/v1/test/hops")[0].Header[name]; v != nil {
			t.Errorf("%s: %q went on", name, v)
		}
	}
	// Said and heard in turns: nothing waits for the end of either body.
	out, in := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.URL+"/v1/test/echo", out)
	check(t, err)
	first := make(chan error, 1)
	go func() { _, err := io.WriteString(in, "one\n"); first <- err }()
	resp, err := plainClient.Do(req)
	check(t, err)
	check(t, <-first)
	heard := bufio.NewReader(resp.Body)
	for _, word := range []string{"one", "two", "three"} {
		line, err := heard.ReadString('\n')
		if err != nil || line != "heard "+word+"\n" {
			t.Fatalf("heard %q, %v", line, err)
		}
		if next := map[string]string{"one": "two", "two": "three"}[word]; next != "" {
			_, err = io.WriteString(in, next+"\n")
			check(t, err)
		}
	}
	check(t, in.Close())
	check(t, resp.Body.Close())
	// A query that is not quite one passes as it was written.
	if got := send(t, "GET", p.URL+"/v1/test/query?a=%zz;b&&c", ""); string(got.raw) != "a=%zz;b&&c" {
		t.Errorf("the query became %q", got.raw)
	}
}

// Events come through while they happen.
func TestProxyStreams(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	p := proxy(t, enrolled(t, s, s.URL, "listening"), "127.0.0.1:0", 0)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	req, err := http.NewRequestWithContext(ctx, "GET", p.URL+"/v1/events/stream?act=post.create", nil)
	check(t, err)
	resp, err := plainClient.Do(req)
	check(t, err)
	defer resp.Body.Close() //nolint:errcheck // it is given up
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("stream: %s", resp.Status)
	}
	if made := send(t, "POST", p.URL+"/api/v1/posts", hello, "Content-Type", "application/json"); made.said.Post.ID == "" {
		t.Fatalf("post: %s", made.raw)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"post.create"`) {
			return
		}
	}
	t.Errorf("the stream ended without the post: %v", lines.Err())
}

// When the network wants another nonce the request is sent again, once, whole, and
// done once. A body that is too long to be kept is not sent before the proof is taken.
func TestProxyFollowsNonces(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		x := tap(t, s.URL)
		p := proxy(t, enrolled(t, s, x.URL, "nonces"), "127.0.0.1:0", 0)
		stale := func() { // the next proof has a nonce of nobody's
			x.change(nil, func(r *http.Response) error {
				if len(r.Header["Dpop-Nonce"]) > 0 && r.StatusCode < 400 {
					r.Header.Set("Dpop-Nonce", "made-up")
				}
				return nil
			})
			if out := send(t, "GET", p.URL+"/v1/whoami", ""); out.StatusCode != http.StatusOK {
				t.Fatalf("whoami: %s %s", out.Status, out.raw)
			}
		}
		stale()
		made := send(t, "POST", p.URL+"/api/v1/posts", hello, "Content-Type", "application/json")
		if made.said.Post.ID == "" {
			t.Fatalf("post: %s %s", made.Status, made.raw)
		}
		if n := len(x.passed("/api/v1/posts")); n != 2 {
			t.Errorf("the post was sent %d times", n)
		}
		var feed struct{ Posts []struct{ Content string } }
		check(t, json.Unmarshal(send(t, "GET", p.URL+"/api/v1/posts?sort=new", "").raw, &feed))
		if len(feed.Posts) != 1 || feed.Posts[0].Content != "from behind a proxy" {
			t.Errorf("the feed has %+v", feed.Posts)
		}
		// Longer than what is kept: a picture that is none, refused by what it is and
		// not by its proof. With its length known it waits for the network; without, it
		// has to be sent again by the agent, and the next proof is right.
		long := make([]byte, 3<<19)
		_, _ = rand.Read(long) // never fails
		put := func(body io.Reader) reply {
			out, err := trySend("PUT", p.URL+"/v1/me/avatar", body, "Content-Type", "image/png")
			check(t, err)
			return out
		}
		stale()
		if out := put(bytes.NewReader(long)); out.StatusCode != http.StatusRequestEntityTooLarge || len(x.passed("/v1/me/avatar")) != 2 {
			t.Errorf("a long body, sent %d times: %s %s", len(x.passed("/v1/me/avatar")), out.Status, out.raw)
		}
		tries := 0
		x.change(func(w http.ResponseWriter, r *http.Request) bool {
			if tries++; r.URL.Path != "/v1/me/avatar" || tries > 1 {
				return false
			}
			_, _ = io.Copy(io.Discard, r.Body) // as a network does that judges late
			w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, nil)
		if out := put(io.MultiReader(bytes.NewReader(long))); out.StatusCode != http.StatusServiceUnavailable || out.said.Rule != "proxy.body" || out.Header.Get("Retry-After") == "" {
			t.Errorf("a long body of unknown length: %s %s", out.Status, out.raw)
		}
		x.change(nil, nil)
		if out := put(io.MultiReader(bytes.NewReader(long))); out.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("the same again: %s %s", out.Status, out.raw)
		}
		// A network that never has enough is not asked for ever.
		x.change(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v1/whoami" {
				return false
			}
			w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, nil)
		before := len(x.passed("/v1/whoami"))
		if out := send(t, "GET", p.URL+"/v1/whoami", ""); out.StatusCode != http.StatusUnauthorized || len(x.passed("/v1/whoami")) != before+2 {
			t.Errorf("%s after %d tries", out.Status, len(x.passed("/v1/whoami"))-before)
		}
	})
}

// While the network is away the agent is told so and when to come back; when it is
// there again, with another start and so without the nonces of before, all goes on.
func TestProxyOutlivesTheNetwork(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	s := servertest.Open(t, cfg)
	at, err := url.Parse(s.URL)
	check(t, err)
	p := proxy(t, enrolled(t, s, s.URL, "patient"), "127.0.0.1:0", 0)
	if out := send(t, "GET", p.URL+"/v1/whoami", ""); out.StatusCode != http.StatusOK {
		t.Fatalf("whoami: %s %s", out.Status, out.raw)
	}
	servertest.CheckInvariants(t, s.Server)
	s.Stop()
	for _, path := range []string{"/v1/whoami", "/api/v1/agents/me"} {
		out := send(t, "GET", p.URL+path, "")
		if out.StatusCode != http.StatusServiceUnavailable || out.said.Rule != "proxy.away" || out.Header.Get("Retry-After") == "" || out.said.Error == "" || out.said.Detail == "" || out.said.Hint == "" {
			t.Errorf("%s: %s %s", path, out.Status, out.raw)
		}
	}
	cfg.Addr = at.Host
	again := servertest.Open(t, cfg)
	defer again.Stop()
	if out := send(t, "POST", p.URL+"/api/v1/posts", hello, "Content-Type", "application/json"); out.said.Post.ID == "" {
		t.Errorf("after the restart: %s %s", out.Status, out.raw)
	}
}

// A killed agent hears it from the network, whatever its proxy has in memory.
func TestProxyOfAKilledAgent(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		m := enrolled(t, s, s.URL, "doomed")
		p := proxy(t, m, "127.0.0.1:0", 0)
		if out := send(t, "GET", p.URL+"/v1/whoami", ""); out.StatusCode != http.StatusOK {
			t.Fatalf("whoami: %s %s", out.Status, out.raw)
		}
		op, err := client.New(s.URL, s.Token)
		check(t, err)
		if _, err := op.Pause(t.Context(), m.ID, "a test"); err != nil {
			t.Fatal(err)
		}
		if out := send(t, "POST", p.URL+"/api/v1/posts", hello, "Content-Type", "application/json"); out.StatusCode != http.StatusForbidden || out.said.Rule != "standing.paused" {
			t.Errorf("paused: %s %s", out.Status, out.raw)
		}
		_, err = op.Kill(t.Context(), m.ID, "a test")
		check(t, err)
		for range 3 {
			out := send(t, "POST", p.URL+"/api/v1/posts", hello, "Content-Type", "application/json")
			if out.StatusCode != http.StatusUnauthorized && out.StatusCode != http.StatusForbidden || out.said.Rule == "" || out.said.Hint == "" {
				t.Errorf("killed: %s %s", out.Status, out.raw)
			}
			t.Logf("killed: %s %s", out.Status, out.raw)
		}
	})
}

// When the agent's key is replaced, and everything that was got by the old one ends,
// a proxy that runs takes the new one from the file.
func TestProxyTakesTheNewKey(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	m := enrolled(t, s, s.URL, "renewed")
	file := t.TempDir() + "/renewed/key.json"
	check(t, m.Write(file))
	p := proxy(t, m, "127.0.0.1:0", 0)
	p.Holder.Follow(file)
	if out := send(t, "GET", p.URL+"/v1/whoami", ""); out.StatusCode != http.StatusOK {
		t.Fatalf("whoami: %s %s", out.Status, out.raw)
	}
	h, err := client.NewHolder(t.Context(), m, "", time.Now)
	check(t, err)
	defer h.Close()
	fresh, err := token.NewKey(token.ES256)
	check(t, err)
	next, err := h.NewKey(t.Context(), fresh)
	check(t, err)
	if out := send(t, "GET", p.URL+"/v1/whoami", ""); out.StatusCode != http.StatusUnauthorized {
		t.Errorf("with the old key: %s %s", out.Status, out.raw)
	}
	check(t, next.Write(file))
	deadline := time.Now().Add(20 * time.Second)
	for { // a refusal stands for a second
		out := send(t, "GET", p.URL+"/v1/whoami", "")
		if out.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("with the new key: %s %s", out.Status, out.raw)
		}
	}
}

// A lost key is replaced at the owner's word: what the old one could do is over when
// that has returned, and the agent goes on behind its proxy as who it was. T05
func TestT05_ProxyAfterALostKey(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		m := enrolled(t, s, s.URL, "careless")
		file := t.TempDir() + "/careless/key.json"
		check(t, m.Write(file))
		p, thief := proxy(t, m, "127.0.0.1:0", 0), proxy(t, m, "127.0.0.1:0", 0)
		p.Holder.Follow(file)
		made := send(t, "POST", p.URL+"/api/v1/posts", hello, "Content-Type", "application/json")
		if out := send(t, "GET", thief.URL+"/v1/whoami", ""); made.said.Post.ID == "" || out.StatusCode != http.StatusOK {
			t.Fatalf("before: %s %s", made.raw, out.raw)
		}
		op, err := client.New(s.URL, s.Token)
		check(t, err)
		if _, err := op.Recover(t.Context(), m.ID, "somebody-else", "says it is his"); act.CodeOf(err) != act.Denied {
			t.Errorf("a stranger recovers it: %v", err)
		}
		r, err := op.Recover(t.Context(), m.ID, "tests", "the laptop was lost")
		check(t, err)
		if out := send(t, "GET", thief.URL+"/v1/whoami", ""); out.StatusCode != http.StatusUnauthorized {
			t.Errorf("the thief after it: %s %s", out.Status, out.raw)
		}
		key, err := token.NewKey(token.EdDSA)
		check(t, err)
		next, err := client.Enroll(t.Context(), client.Enrolling{URL: s.URL, Token: r.Token, Name: "careless", Key: key, Now: time.Now()})
		check(t, err)
		check(t, next.Write(file))
		var caller client.Caller
		check(t, json.Unmarshal(send(t, "GET", p.URL+"/v1/whoami", "").raw, &caller))
		if next.ID != m.ID || caller.ID != m.ID {
			t.Errorf("it became %s, was %s", caller.ID, m.ID)
		}
		// What it wrote is its own still.
		if out := send(t, "DELETE", p.URL+"/api/v1/posts/"+made.said.Post.ID, ""); out.StatusCode != http.StatusOK {
			t.Errorf("its own post: %s %s", out.Status, out.raw)
		}
		if out := send(t, "GET", thief.URL+"/v1/whoami", ""); out.StatusCode != http.StatusUnauthorized {
			t.Errorf("the thief later: %s %s", out.Status, out.raw)
		}
	})
}

// Requests are bounded in number; who comes too many waits a little, then hears when
// to come back.
func TestProxyBoundsRequests(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	x := tap(t, s.URL)
	p := proxy(t, enrolled(t, s, x.URL, "many"), "127.0.0.1:0", 2)
	var under, most atomic.Int64
	let := make(chan struct{})
	x.change(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/test/wait" {
			return false
		}
		if n := under.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-let
		under.Add(-1)
		return true
	}, nil)
	var all sync.WaitGroup
	var busy atomic.Int64
	for range 6 {
		all.Go(func() {
			out, err := trySend("GET", p.URL+"/v1/test/wait", http.NoBody)
			if err != nil {
				t.Error(err)
			} else if out.said.Rule == "proxy.busy" && out.Header.Get("Retry-After") != "" {
				if busy.Add(1) == 4 { // those for whom there is no place
					close(let)
				}
			}
		})
	}
	all.Wait()
	if most.Load() != 2 || busy.Load() != 4 {
		t.Errorf("%d requests at a time, %d sent away", most.Load(), busy.Load())
	}
}

// A redirect to another host, or a caller that means one, takes no credential there;
// what is on the wire is of no use to who sees it. T11
func TestT11_ProxySendsNothingElsewhere(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		x := tap(t, s.URL)
		m := enrolled(t, s, x.URL, "sent-away")
		p := proxy(t, m, "127.0.0.1:0", 0)
		var elsewhere atomic.Int64
		trap, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		defer trap.Close() //nolint:errcheck // nobody uses it any more
		go func() {
			for {
				c, err := trap.Accept()
				if err != nil {
					return
				}
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil && (len(req.Header["Authorization"]) > 0 || len(req.Header["Dpop"]) > 0) {
					elsewhere.Add(1)
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
				_ = c.Close()
			}
		}()
		x.change(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/api/v1/feed" {
				return false
			}
			http.Redirect(w, r, "http://"+trap.Addr().String()+"/api/v1/feed", http.StatusTemporaryRedirect)
			return true
		}, nil)
		resp, err := http.Get(p.URL + "/api/v1/feed") // an agent that follows
		check(t, err)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || elsewhere.Load() != 0 {
			t.Errorf("%s, %d credentials went elsewhere", resp.Status, elsewhere.Load())
		}
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+trap.Addr().String()+"/v1/whoami", nil)
		check(t, err)
		if _, err := p.Holder.RoundTrip(req); act.CodeOf(err) != act.Denied || act.AsError(err).Rule != "token.host" {
			t.Errorf("a request for another host: %v", err)
		}
		// A token that was seen on the wire, with the proof that it went with, with
		// none, and with one by another key.
		send(t, "GET", p.URL+"/v1/whoami", "")
		seen := x.passed("/v1/whoami")[0].Header
		text := strings.TrimPrefix(seen.Get("Authorization"), "DPoP ")
		other, err := token.NewKey(token.EdDSA)
		check(t, err)
		forged, err := other.Prove(token.Prove{Method: "GET", URL: m.Issuer + "/v1/whoami", AccessToken: text, Now: time.Now()})
		check(t, err)
		for what, head := range map[string][]string{
			"its own proof again": {"Authorization", "DPoP " + text, "Dpop", seen.Get("Dpop")},
			"no proof":            {"Authorization", "DPoP " + text},
			"as a bearer":         {"Authorization", "Bearer " + text},
			"another key":         {"Authorization", "DPoP " + text, "Dpop", forged},
		} {
			if out := send(t, "GET", s.URL+"/v1/whoami", "", head...); out.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %s %s", what, out.Status, out.raw)
			}
		}
	})
}
