package idp_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/identity/idp"
)

// Whoever signs out is sent to the provider's own place for that, and nowhere else,
// whatever the provider, or somebody in its name, says.
func TestLeave(t *testing.T) {
	for what, c := range map[string]struct {
		end  func(base string) any
		want bool
	}{
		"a place of its own":  {func(base string) any { return base + "/end" }, true},
		"with a query":        {func(base string) any { return base + "/end?tenant=1" }, true},
		"none":                {func(string) any { return nil }, false},
		"empty":               {func(string) any { return "" }, false},
		"another site":        {func(string) any { return "https://evil.example/end" }, false},
		"another port":        {func(string) any { return "http://127.0.0.1:1/end" }, false},
		"in the clear":        {func(base string) any { return strings.Replace(base, "127.0.0.1", "idp.example", 1) + "/end" }, false},
		"a name before the @": {func(base string) any { return strings.Replace(base, "://", "://evil.example@", 1) + "/end" }, false},
		"a script":            {func(string) any { return "javascript:alert(1)" }, false},
		"a path":              {func(string) any { return "/end" }, false},
		"a fragment":          {func(base string) any { return base + "/end#x" }, false},
		"of two slashes":      {func(string) any { return "//evil.example/end" }, false},
		"not even an address": {func(string) any { return "http://%zz" }, false},
		"with our own words in": {func(base string) any {
			return base + "/end?client_id=other&post_logout_redirect_uri=https://evil.example"
		}, true},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRogue(t, time.Now)
			r.meta = func(m map[string]any) { m["end_session_endpoint"] = c.end(r.url) }
			p := must[*idp.Provider](t)(idp.New(r.config(time.Now)))
			const back = "https://reef.example/sign-in"
			if at := p.Leave(back); at != "" {
				t.Errorf("before the provider has said anything: %s", at)
			}
			if _, _, err := p.Begin(t.Context(), idp.Begun{}); err != nil {
				t.Fatal(err)
			}
			at := p.Leave(back)
			if (at != "") != c.want {
				t.Fatalf("leads to %q", at)
			}
			if at == "" {
				return
			}
			u := must[*url.URL](t)(url.Parse(at))
			q := u.Query()
			if u.Scheme+"://"+u.Host != r.url || u.Path != "/end" || len(q["client_id"]) != 1 || q.Get("client_id") != client ||
				len(q["post_logout_redirect_uri"]) != 1 || q.Get("post_logout_redirect_uri") != back || strings.Contains(what, "query") && q.Get("tenant") != "1" {
				t.Errorf("leads to %q", at)
			}
		})
	}
}
