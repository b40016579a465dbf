package console_test

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// enter signs somebody of an identity provider in, with a browser of their own.
func enter(t *testing.T, s *servertest.Server, name string, roles gate.OperatorRoles, auth time.Time) *browser {
	t.Helper()
	b := newBrowser(t, s)
	out := must[lifecycle.Session](t)(s.Lifecycle.OpenSession.Do(t.Context(), act.Principal{Source: "test"}, lifecycle.NewSession{Person: &identity.Person{
		Issuer: "https://idp.example", Subject: name, Name: name, Roles: roles, AuthAt: act.Micros(auth), Once: fmt.Sprint(name, time.Now().UnixNano()), Until: time.Now().Add(time.Minute),
	}}))
	u := must[*url.URL](t)(url.Parse(s.URL))
	b.client.Jar.SetCookies(u, []*http.Cookie{{Name: s.Keys.SessionCookie(), Value: out.Key, Path: "/"}})
	return b
}

func (b *browser) key() string {
	u, err := url.Parse(b.s.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == b.s.Keys.SessionCookie() {
			return c.Value
		}
	}
	return ""
}

// opens reports whether a session's key opens the pages.
func opens(t *testing.T, s *servertest.Server, key string) bool {
	t.Helper()
	_, err := s.Identity.Session(t.Context(), key)
	if err != nil && act.CodeOf(err) != act.Unauthenticated {
		t.Fatal(err)
	}
	return err == nil
}

// A key that was there before a sign-in is worth nothing after it, whoever knows it:
// session fixation. The same holds for stepping up.
func TestSessionKeysRotate(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		b := newBrowser(t, s)
		b.signIn(s.Token, "/")
		planted := b.key()
		if r := b.signIn(s.Token, "/"); r.StatusCode != http.StatusSeeOther || b.key() == planted || opens(t, s, planted) {
			t.Errorf("after signing in again (%d) the key that was there opens the pages", r.StatusCode)
		}
		before := b.key()
		r := b.send(http.MethodPost, "/step-up", url.Values{"token": {s.Token}, "next": {"/status"}})
		if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "./status" || b.key() == before || opens(t, s, before) || !opens(t, s, b.key()) {
			t.Errorf("stepped up: %d to %q", r.StatusCode, r.Header.Get("Location"))
		}

		// Somebody else's word steps nobody up, nor does a wrong one.
		mara := enter(t, s, "mara", gate.OperatorObserver, time.Now())
		before = mara.key()
		for token, want := range map[string]int{s.Token: http.StatusForbidden, "reef_op_x": http.StatusUnauthorized, "": http.StatusUnauthorized} {
			if r := mara.send(http.MethodPost, "/step-up", url.Values{"token": {token}, "next": {"/"}}); r.StatusCode != want || mara.key() != before || !opens(t, s, before) {
				t.Errorf("the token %q steps mara up: %d", token, r.StatusCode)
			}
		}
		page := read(t, mara.send(http.MethodGet, "/status", nil))
		if !strings.Contains(page, ">mara</bdi></a>") || !strings.Contains(page, `<span class="roles">observer</span>`) {
			t.Errorf("the page does not say who is there: %s", page)
		}
	})
}

// A session of another browser is ended from the account's page, and nobody else's.
func TestAccount(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		one, two := enter(t, s, "mara", gate.OperatorObserver, time.Now()), enter(t, s, "mara", gate.OperatorObserver, time.Now())
		otto := enter(t, s, "otto", gate.OperatorAdmin, time.Now())
		ended := regexp.MustCompile(`name="session" value="([^"]+)"`)
		page := read(t, one.send(http.MethodGet, "/account", nil))
		ids := ended.FindAllStringSubmatch(page, -1)
		if len(ids) != 2 || strings.Count(page, "this one") != 1 || strings.Contains(page, "otto") {
			t.Fatalf("the account's page: %s", page)
		}
		foreign := ended.FindStringSubmatch(read(t, otto.send(http.MethodGet, "/account", nil)))[1]
		if r := one.send(http.MethodPost, "/account", url.Values{"session": {foreign}}); r.StatusCode != http.StatusNotFound && r.StatusCode != http.StatusForbidden || !opens(t, s, otto.key()) {
			t.Errorf("an observer ends an admin's session: %d", r.StatusCode)
		}
		for _, id := range ids {
			if r := one.send(http.MethodPost, "/account", url.Values{"session": {id[1]}}); r.StatusCode != http.StatusSeeOther {
				t.Errorf("end a session: %d", r.StatusCode)
			}
			if !opens(t, s, one.key()) {
				break // it has ended its own, which the list has last or first
			}
		}
		if opens(t, s, one.key()) && opens(t, s, two.key()) {
			t.Error("no session was ended")
		}
		if r := newBrowser(t, s).send(http.MethodGet, "/account", nil); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("a stranger's account: %d", r.StatusCode)
		}
	})
}

// T56: whatever a browser can be made to send with its owner's cookie, by any method
// and to any door, does nothing unless one of our pages has sent it.
func TestT56_NoWriteByCookieFromElsewhere(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	b := newBrowser(t, s)
	b.signIn(s.Token, "/")
	parameter := regexp.MustCompile(`\{[^}]*\}`)
	writes := 0
	for _, d := range s.API.Doors() {
		if d.Who == nil {
			continue
		}
		for _, r := range d.Routes {
			if r.Method == http.MethodGet || r.Anonymous {
				continue
			}
			writes++
			path := d.Prefix + parameter.ReplaceAllString(r.Path, "x")
			for _, c := range []struct{ origin, site string }{
				{"https://evil.example", "cross-site"}, {"null", ""}, {"", ""}, {"", "same-origin"}, {s.URL, "same-site"}, {s.URL + ".evil.example", ""},
			} {
				b.origin, b.site = c.origin, c.site
				if a := b.send(r.Method, path, url.Values{"session": {"x"}, "with": {"provider"}}); a.StatusCode != http.StatusForbidden {
					t.Errorf("%s %s from %q, %q: %d", r.Method, path, c.origin, c.site, a.StatusCode)
				}
			}
		}
	}
	if writes < 5 || !opens(t, s, b.key()) {
		t.Errorf("%d writes by cookie; still signed in: %v", writes, opens(t, s, b.key()))
	}
	// The other doors do not know the cookie at all.
	b.origin, b.site = s.URL, "same-origin"
	for _, path := range []string{"/v1/agents/x/kill", "/v1/keys/rotate", "/api/v1/posts"} {
		if a := b.send(http.MethodPost, path, url.Values{}); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s by cookie: %d", path, a.StatusCode)
		}
	}
}

// A provider that cannot be reached is said to be so, on a page that still lets the
// local admin in.
func TestProviderDown(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.OIDCIssuer, cfg.OIDCClient, cfg.OIDCRoles = "https://127.0.0.1:1", "reef", []string{"cn=admins,ou=reef=admin"}
	s := servertest.Start(t, cfg)
	b := newBrowser(t, s)
	if page := read(t, b.send(http.MethodGet, "/sign-in?next=/status", nil)); !strings.Contains(page, "Sign in at 127.0.0.1:1") || !strings.Contains(page, `id="token"`) {
		t.Fatalf("the sign-in page: %s", page)
	}
	r := b.send(http.MethodPost, "/sign-in/provider", url.Values{"next": {"/status"}})
	if page := read(t, r); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" || !strings.Contains(page, "does not answer") ||
		!strings.Contains(page, `id="token"`) || !strings.Contains(page, `name="next" value="/status"`) || len(r.Cookies()) != 0 {
		t.Errorf("%d: %s", r.StatusCode, page)
	}
	if r := b.signIn(s.Token, "/status"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("the local admin: %d", r.StatusCode)
	}
	for path, want := range map[string]int{"/sign-in/callback": http.StatusForbidden, "/sign-in/callback?code=x&state=y": http.StatusForbidden} {
		if r := newBrowser(t, s).send(http.MethodGet, path, nil); r.StatusCode != want || len(r.Cookies()) != 0 {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	// Without a provider there is nothing to sign in at.
	bare := servertest.Start(t, servertest.Config(t, store.SQLite))
	if r := newBrowser(t, bare).send(http.MethodPost, "/sign-in/provider", url.Values{}); r.StatusCode != http.StatusNotFound {
		t.Errorf("without a provider: %d", r.StatusCode)
	}
}

// People sign in at an identity provider that others have written, in a real browser;
// T56: and nobody is made to, by any page of another site.
func TestBrowserSignInAtProvider(t *testing.T) {
	dir := needBrowser(t)
	servertest.Package(t, servertest.Browser, "oidc-provider")
	secret := must[string](t)(filepath.Abs(filepath.Join(t.TempDir(), "secret")))
	if err := os.WriteFile(secret, []byte(rand.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	raw := must[[]byte](t)(os.ReadFile(secret))
	people := map[string]any{
		"mara": map[string]any{"email": "mara@example.com", "email_verified": true, "groups": []string{"staff", "reef-responders"}},
		"otto": map[string]any{"email": "ceo@example.com", "email_verified": false, "preferred_username": "otto", "groups": []string{"reef-admins"}},
		"olga": map[string]any{"email": "olga@example.com", "email_verified": true, "groups": []string{"staff", "reef-owners"}},
		"nemo": map[string]any{"email": "nemo@example.com", "email_verified": true, "groups": []string{"staff"}},
	}
	ctx := t.Context()
	idp := exec.CommandContext(ctx, "node", "provider.mjs")
	idp.Dir = dir
	idp.Env = append(os.Environ(), "REEF_PEOPLE="+string(must[[]byte](t)(json.Marshal(people))), "REEF_SECRET="+strings.TrimSpace(string(raw)))
	in, out := must[io.WriteCloser](t)(idp.StdinPipe()), must[io.ReadCloser](t)(idp.StdoutPipe())
	var said strings.Builder
	idp.Stderr = &said
	if err := idp.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // it ends when nobody talks to it
		if err := idp.Wait(); err != nil && ctx.Err() == nil {
			t.Errorf("the provider: %v\n%s", err, said.String())
		}
	})
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("the provider does not say where it is: %s", said.String())
	}
	issuer := lines.Text()

	cfg := servertest.Config(t, store.SQLite)
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	cfg.Addr = l.Addr().String()
	_ = l.Close()
	cfg.OIDCIssuer, cfg.OIDCClient, cfg.OIDCSecret, cfg.OIDCClaim = issuer, "reef", secret, "groups"
	cfg.OIDCScopes = []string{"openid", "profile", "email", "groups"}
	cfg.OIDCRoles = []string{"reef-responders=responder", "reef-admins=admin", "reef-owners=owner"}
	cfg.OIDCAllow = []string{"127.0.0.0/8", "::1"}
	cfg.AutoClaim, cfg.Claim = "", true
	cfg.ObserverPages, cfg.Quotas = server.PagesPublic, []string{"sign-in=1000/1m"}
	s := servertest.Start(t, cfg)
	if _, err := fmt.Fprintln(in, s.URL+"/sign-in/callback"); err != nil {
		t.Fatal(err)
	}
	drive(t, "signin.mjs", s, []spot{}, "REEF_ALSO="+issuer)

	// All of it is on record, with the people by name. Refusals of those whom nobody knows
	// are one leaf for each source and window, whatever act was the last: that some were
	// sign-ins is counted.
	var opened, refused int
	if err := s.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	s.Gate.Flush()
	if err := s.DB.View(ctx, func(v *store.View) error {
		return v.All(`SELECT outcome FROM event WHERE act = 'session.open' OR outcome > 0`, func(r *store.Row) error {
			if r.Int(0) == 0 {
				opened++
			} else {
				refused++
			}
			return nil
		})
	}); err != nil || opened < 10 || refused == 0 {
		t.Errorf("%d sign-ins and %d refusals on record (%v)", opened, refused, err)
	}
	counted := must[*http.Response](t)(http.Get(s.URL + "/metrics"))
	defer counted.Body.Close()
	if text := must[[]byte](t)(io.ReadAll(counted.Body)); !strings.Contains(string(text), `reef_denials_total{act="session.open",rule="sign-in.role"}`) {
		t.Errorf("no sign-in without a role is counted: %d %s", counted.StatusCode, text)
	}
	if text := said.String(); strings.Contains(text, "Error") {
		t.Errorf("the provider says: %s", text)
	}
}
