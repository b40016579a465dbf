package console_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// browser sends forms as a browser does, with a jar of cookies.
type browser struct {
	t      testing.TB
	s      *servertest.Server
	client *http.Client
	origin string
	site   string // Sec-Fetch-Site; "" where browsers send none
}

func newBrowser(t testing.TB, s *servertest.Server) *browser {
	jar := must[*cookiejar.Jar](t)(cookiejar.New(nil))
	return &browser{t: t, s: s, origin: s.URL, client: &http.Client{
		Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) send(method, path string, form url.Values) *http.Response {
	b.t.Helper()
	var body *strings.Reader
	if form == nil {
		body = strings.NewReader("")
	} else {
		body = strings.NewReader(form.Encode())
	}
	req := must[*http.Request](b.t)(http.NewRequestWithContext(context.Background(), method, b.s.URL+path, body))
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if b.origin != "" {
			req.Header.Set("Origin", b.origin)
		}
	}
	if b.site != "" {
		req.Header.Set("Sec-Fetch-Site", b.site)
	}
	resp := must[*http.Response](b.t)(b.client.Do(req))
	b.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func (b *browser) signIn(token, next string) *http.Response {
	b.t.Helper()
	return b.send(http.MethodPost, "/sign-in", url.Values{"token": {token}, "next": {next}})
}

func read(t testing.TB, r *http.Response) string {
	t.Helper()
	return string(must[[]byte](t)(io.ReadAll(r.Body)))
}

// An operator signs in with the token, reads, and signs out; the cookie then is good
// for nothing, whoever has kept it. Both are on record.
func TestSignInAndOut(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		b := newBrowser(t, s)
		if r := b.send(http.MethodGet, "/status", nil); r.StatusCode != http.StatusUnauthorized {
			t.Fatalf("before: %d", r.StatusCode)
		}
		r := b.signIn(s.Token, "/status?x=1")
		if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "./status?x=1" {
			t.Fatalf("sign in: %d to %q", r.StatusCode, r.Header.Get("Location"))
		}
		cookies := r.Cookies()
		if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].Secure || cookies[0].Path != "/" ||
			cookies[0].MaxAge != 8*60*60 || strings.Contains(cookies[0].Value, s.Token) || r.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("cookie %+v, %v", cookies, r.Header)
		}
		r = b.send(http.MethodGet, "/status", nil)
		if page := read(t, r); r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Etag") != "" || !strings.Contains(page, "Sign out") {
			t.Errorf("signed in: %d %v", r.StatusCode, r.Header)
		}
		// The cookie is for the pages alone.
		for _, path := range []string{"/v1/agents", "/v1/whoami", "/api/v1/agents/me"} {
			if r := b.send(http.MethodGet, path, nil); r.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with the cookie: %d", path, r.StatusCode)
			}
		}
		if a := s.Call(t, http.MethodGet, "/v1/whoami", cookies[0].Value, nil); a.Status != http.StatusUnauthorized {
			t.Errorf("the cookie's value as a bearer credential: %d", a.Status)
		}
		stolen := cookies[0]
		if r := b.send(http.MethodPost, "/sign-out", url.Values{}); r.StatusCode != http.StatusSeeOther || r.Cookies()[0].MaxAge >= 0 {
			t.Errorf("sign out: %d %v", r.StatusCode, r.Header)
		}
		req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/status", nil))
		req.AddCookie(stolen)
		if a := s.Send(t, req); a.Status != http.StatusUnauthorized {
			t.Errorf("the cookie after signing out: %d", a.Status)
		}
		if r := b.send(http.MethodPost, "/sign-out", url.Values{}); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("sign out twice: %d", r.StatusCode)
		}
		done := make(map[string]int)
		if err := s.DB.View(t.Context(), func(v *store.View) error {
			return v.All(`SELECT act FROM event WHERE outcome = 0`, func(r *store.Row) error { done[r.Text(0)]++; return nil })
		}); err != nil || done["session.open"] != 1 || done["session.close"] != 1 {
			t.Errorf("on record: %v (%v)", done, err)
		}
	})
}

// T56: another site cannot sign anybody in or out, whatever it makes a browser send.
func TestT56_FormsOfOtherSites(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	b := newBrowser(t, s)
	for _, c := range []struct{ origin, site string }{
		{"https://evil.example", "cross-site"}, {"https://evil.example", ""}, {"null", ""}, {"null", "same-origin"}, {"", ""}, {"", "same-origin"},
		{s.URL, "cross-site"}, {s.URL, "same-site"}, {s.URL, "none"}, {s.URL + ".evil.example", ""}, {"http://evil.example:7333", "same-site"},
	} {
		b.origin, b.site = c.origin, c.site
		if r := b.signIn(s.Token, "/"); r.StatusCode != http.StatusForbidden || len(r.Cookies()) != 0 {
			t.Errorf("origin %q, site %q: %d", c.origin, c.site, r.StatusCode)
		}
	}
	b.origin, b.site = s.URL, "same-origin"
	if r := b.signIn(s.Token, "/"); r.StatusCode != http.StatusSeeOther {
		t.Fatalf("our own form: %d", r.StatusCode)
	}
	b.origin, b.site = "https://evil.example", "cross-site"
	if r := b.send(http.MethodPost, "/sign-out", url.Values{}); r.StatusCode != http.StatusForbidden {
		t.Errorf("signed out by another site: %d", r.StatusCode)
	}
	b.origin, b.site = s.URL, ""
	if r := b.send(http.MethodGet, "/status", nil); r.StatusCode != http.StatusOK {
		t.Errorf("after that: %d", r.StatusCode)
	}
}

// Wrong tokens are refused alike and after some not looked at; what was sent is
// nowhere in the answer.
func TestSignInRefusals(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	s := servertest.Start(t, cfg)
	key, _ := s.Agent(t, "ada")
	b := newBrowser(t, s)
	tries := 0
	for _, token := range []string{"", "x", key, "reef_op_" + strings.Repeat("A", 32), s.Token[:len(s.Token)-1], "\"><script>alert(1)</script>"} {
		r := b.signIn(token, "/m/general")
		tries++
		page := read(t, r)
		if r.StatusCode != http.StatusUnauthorized || len(r.Cookies()) != 0 || !strings.Contains(page, "no operator") || len(token) > 3 && strings.Contains(page, token) {
			t.Errorf("%q: %d %s", token, r.StatusCode, page)
		}
		if !strings.Contains(page, `name="next" value="/m/general"`) {
			t.Errorf("%q: where to go on is lost", token)
		}
	}
	for range 20 {
		tries++
		if r := b.signIn("wrong", "/"); r.StatusCode == http.StatusTooManyRequests {
			if r.Header.Get("Retry-After") == "" || tries != 11 {
				t.Errorf("refused at try %d with %v", tries, r.Header)
			}
			if r := b.signIn(s.Token, "/"); r.StatusCode != http.StatusTooManyRequests {
				t.Errorf("the right token is let through after that: %d", r.StatusCode)
			}
			return
		}
	}
	t.Errorf("%d wrong tokens are looked at", tries)
}

func TestSignInForms(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	b := newBrowser(t, s)
	for next, want := range map[string]string{
		"": "./", "/": "./", "/m/x?sort=new": "./m/x?sort=new", "//evil.example": "./", "https://evil.example": "./", "/\\evil.example": "./%5Cevil.example",
		"\\\\evil.example": "./", "/%2F/evil.example": "./", "javascript:alert(1)": "./", "/sign-out": "./", "/sign-in": "./", "m/x": "./",
		"/x\r\nSet-Cookie: a=b": "./", "/u/\u202e": "./u/%E2%80%AE", "///evil.example": "./",
	} {
		page := read(t, b.send(http.MethodGet, "/sign-in?next="+url.QueryEscape(next), nil))
		if !strings.Contains(page, `name="next" value="`+want[1:]+`"`) {
			t.Errorf("%q: the form goes on elsewhere: %s", next, page)
		}
	}
	r := b.signIn(s.Token, "//evil.example")
	if r.Header.Get("Location") != "./" {
		t.Errorf("goes on at %q", r.Header.Get("Location"))
	}
	if r := b.send(http.MethodPost, "/sign-in", url.Values{"token": {s.Token, "x"}}); r.StatusCode != http.StatusBadRequest {
		t.Errorf("a field twice: %d", r.StatusCode)
	}
	if r := b.send(http.MethodPost, "/sign-in", url.Values{"token": {strings.Repeat("x", 5000)}}); r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a long form: %d", r.StatusCode)
	}
	a := s.Call(t, http.MethodPost, "/sign-in", "", map[string]string{"token": s.Token})
	if a.Status != http.StatusForbidden {
		t.Errorf("JSON from nowhere: %d", a.Status)
	}
}

// Under https the cookie goes over https only, and no other host can set it.
func TestSessionCookieUnderTLS(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.PublicURL = "https://reef.example"
	cfg.ObserverPages = server.PagesPublic
	s := servertest.Start(t, cfg)
	behind := httptest.NewServer(s.Handler()) // what a proxy that ends TLS would reach
	t.Cleanup(behind.Close)
	s.URL = behind.URL
	b := newBrowser(t, s)
	b.origin = "https://reef.example"
	r := b.signIn(s.Token, "/")
	c := r.Cookies()
	if r.StatusCode != http.StatusSeeOther || len(c) != 1 || !c[0].Secure || !strings.HasPrefix(c[0].Name, "__Host-reef-session-") || c[0].Path != "/" {
		t.Errorf("%d %+v", r.StatusCode, c)
	}
}
