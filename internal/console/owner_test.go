package console_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// openUnclaimed starts a server on which agents wait for their humans.
func openUnclaimed(t *testing.T, pages string) *servertest.Server {
	t.Helper()
	cfg := servertest.Config(t, store.SQLite)
	cfg.AutoClaim, cfg.Claim, cfg.ObserverPages = "", true, pages
	return servertest.Start(t, cfg)
}

// waits registers an agent that waits for its human.
func waits(t *testing.T, s *servertest.Server, name, said string) lifecycle.Registered {
	t.Helper()
	return must[lifecycle.Registered](t)(s.Lifecycle.Register.Do(t.Context(), act.Principal{Source: "test"}, lifecycle.NewAgent{Name: name, Description: said}))
}

var hidden = regexp.MustCompile(`name="agent" value="([^"]+)"`)

// A claim link leads by way of signing in to a page that shows the agent, and to one's
// agents. Its token stands in nothing that is shown or told.
func TestClaimByLink(t *testing.T) {
	for _, pages := range []string{server.PagesPublic, server.PagesOperators} {
		t.Run(pages, func(t *testing.T) {
			s := openUnclaimed(t, pages)
			const said = "I watch <b>prices</b>.\n\n[click](https://evil.example/) \u202eereh"
			ada := waits(t, s, "ada", said)

			stranger := newBrowser(t, s)
			r := stranger.send(http.MethodGet, "/claim/"+ada.ClaimToken, nil)
			page := read(t, r)
			if r.StatusCode != http.StatusOK || !strings.Contains(page, `content="0; url=./../claim"`) || r.Header.Get("Referrer-Policy") != "no-referrer" || strings.Contains(page, ada.ClaimToken) {
				t.Fatalf("the link: %d %v %s", r.StatusCode, r.Header, page)
			}
			if c := r.Cookies(); len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || c[0].Path != "/" {
				t.Errorf("the cookie: %v", c)
			}
			r = stranger.send(http.MethodGet, "/claim", nil)
			if page = read(t, r); r.StatusCode != http.StatusUnauthorized || !strings.Contains(page, `name="next" value="/claim"`) || strings.Contains(page, "ada") || strings.Contains(page, ada.ClaimToken) {
				t.Errorf("signed out: %d %s", r.StatusCode, page)
			}

			mara := enter(t, s, "mara", gate.OperatorOwner, time.Now())
			if page = read(t, mara.send(http.MethodGet, "/claim", nil)); !strings.Contains(page, "No agent waits here") {
				t.Errorf("without a link: %s", page)
			}
			mara.send(http.MethodGet, "/claim/"+ada.ClaimToken, nil)
			r = mara.send(http.MethodGet, "/claim", nil)
			page = read(t, r)
			id := hidden.FindStringSubmatch(page)
			if r.StatusCode != http.StatusOK || id == nil || !strings.Contains(page, "Yes, I answer for it") || strings.Contains(page, "<b>") || strings.Contains(page, "\u202e") ||
				strings.Contains(page, `href="https://evil`) || !strings.Contains(page, "prices") || strings.Contains(page, ada.ClaimToken) {
				t.Fatalf("the claim's page: %d %s", r.StatusCode, page)
			}
			form := url.Values{"agent": {id[1]}}
			if r := mara.send(http.MethodPost, "/claim", url.Values{"agent": {"x"}}); r.StatusCode != http.StatusConflict {
				t.Errorf("a form of another agent's page: %d", r.StatusCode)
			}
			mara.origin = "https://evil.example"
			if r := mara.send(http.MethodPost, "/claim", form); r.StatusCode != http.StatusForbidden {
				t.Errorf("a form of another site: %d", r.StatusCode)
			}
			mara.origin = s.URL
			r = mara.send(http.MethodPost, "/claim", form)
			if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "./mine#a-"+id[1] {
				t.Fatalf("claim: %d to %q: %s", r.StatusCode, r.Header.Get("Location"), read(t, r))
			}
			page = read(t, mara.send(http.MethodGet, "/mine", nil))
			if !strings.Contains(page, `id="a-`+id[1]+`"`) || !strings.Contains(page, "bootstrap key") || !strings.Contains(page, "You answer for them as") {
				t.Errorf("her agents: %s", page)
			}
			// The link is used up, for her and for others.
			otto := enter(t, s, "otto", gate.OperatorOwner, time.Now())
			otto.send(http.MethodGet, "/claim/"+ada.ClaimToken, nil)
			page = read(t, otto.send(http.MethodGet, "/claim", nil))
			if !strings.Contains(page, "It has an owner already") || strings.Contains(page, "<form class=\"sign\"") {
				t.Errorf("to somebody else: %s", page)
			}
			if r := otto.send(http.MethodPost, "/claim", form); r.StatusCode != http.StatusForbidden && r.StatusCode != http.StatusConflict {
				t.Errorf("somebody else claims: %d", r.StatusCode)
			}
			if page = read(t, otto.send(http.MethodGet, "/mine", nil)); strings.Contains(page, "ada") || !strings.Contains(page, "No agent is yours yet") {
				t.Errorf("otto's agents: %s", page)
			}
			// Whoever sees no agents is shown none.
			if r := enter(t, s, "nemo", gate.OperatorObserver, time.Now()).send(http.MethodGet, "/claim", nil); r.StatusCode != http.StatusOK {
				t.Errorf("an observer without a link: %d", r.StatusCode)
			}
			nemo := enter(t, s, "nemo", gate.OperatorObserver, time.Now())
			nemo.send(http.MethodGet, "/claim/"+waits(t, s, "bea", "").ClaimToken, nil)
			if r := nemo.send(http.MethodGet, "/claim", nil); r.StatusCode != http.StatusForbidden {
				t.Errorf("an observer with a link: %d", r.StatusCode)
			}
		})
	}
}

// On /mine people decide what waits for them and replace lost keys, once they have proved
// again who they are.
func TestMine(t *testing.T) {
	s := openUnclaimed(t, server.PagesOperators)
	ctx := t.Context()
	ada, bea := waits(t, s, "ada", ""), waits(t, s, "bea", "")
	mara, stale := enter(t, s, "mara", gate.OperatorOwner, time.Now()), enter(t, s, "mara", gate.OperatorOwner, time.Now().Add(-time.Hour))
	otto := enter(t, s, "otto", gate.OperatorOwner, time.Now())
	for b, one := range map[*browser]lifecycle.Registered{mara: ada, otto: bea} {
		b.send(http.MethodGet, "/claim/"+one.ClaimToken, nil)
		if r := b.send(http.MethodPost, "/claim", url.Values{"agent": {s.Codec.String(one.Agent)}}); r.StatusCode != http.StatusSeeOther {
			t.Fatalf("claim %s: %d %s", one.Name, r.StatusCode, read(t, r))
		}
	}
	maker := must[act.Principal](t)(s.Identity.Authenticate(ctx, ada.Key))
	talker := must[act.Principal](t)(s.Identity.Authenticate(ctx, bea.Key))
	s.Community(t, maker, "pricing")
	role := must[network.Label](t)(s.Network.DefineLabel.Do(ctx, maker, network.NewLabel{Community: "pricing", Key: "watch", Name: "Watch", Color: "red", Kind: "role"}))
	if _, err := s.Network.PromptRole.Do(ctx, maker, network.NewPrompt{Label: role.ID, Text: "Look at <i>prices</i>.", Cadence: 30}); act.CodeOf(err) != act.Held {
		t.Fatal(err)
	}
	must[network.Requested](t)(s.Network.RequestConversation.Do(ctx, talker, network.NewRequest{To: "ada", Text: "May I ask about the prices?"}))

	page := read(t, mara.send(http.MethodGet, "/mine", nil))
	if !strings.Contains(page, "asks <bdi") || strings.Contains(page, "<i>") || !strings.Contains(page, "Look at") || strings.Contains(page, "May I ask") {
		t.Fatalf("what waits for mara: %s", page)
	}
	if foreign := read(t, otto.send(http.MethodGet, "/mine", nil)); strings.Contains(foreign, "Look at") || !strings.Contains(foreign, "Nothing waits") {
		t.Errorf("what waits for otto: %s", foreign)
	}
	decides := regexp.MustCompile(`name="id" value="([^"]+)"><input type="hidden" name="once" value="([^"]+)">\s*<label for="r-`)
	forms := decides.FindAllStringSubmatch(page, -1)
	if len(forms) != 2 {
		t.Fatalf("%d forms: %s", len(forms), page)
	}
	for i, do := range []string{"accept", "approve"} { // requests stand first
		form := url.Values{"do": {do}, "id": {forms[i][1]}, "once": {forms[i][2]}, "reason": {"I know it"}}
		if r := otto.send(http.MethodPost, "/mine", form); r.StatusCode < 400 {
			t.Errorf("otto does %s: %d", do, r.StatusCode)
		}
		if r := mara.send(http.MethodPost, "/mine", url.Values{"do": {do}, "id": {forms[i][1]}}); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s without a reason: %d", do, r.StatusCode)
		}
		if do == "approve" { // a prompt is of high risk, and here are no passkeys
			if r := mara.send(http.MethodPost, "/mine", form); r.StatusCode != http.StatusForbidden || !strings.Contains(read(t, r), "passkey") {
				t.Errorf("she approves a prompt without a passkey: %d", r.StatusCode)
			}
			form.Set("do", "deny")
		}
		for range 2 { // once, however often it is sent
			if r := mara.send(http.MethodPost, "/mine", form); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "./mine" {
				t.Errorf("%s: %d %s", do, r.StatusCode, read(t, r))
			}
		}
	}
	if page = read(t, mara.send(http.MethodGet, "/mine", nil)); !strings.Contains(page, "Nothing waits") {
		t.Errorf("something waits still: %s", page)
	}

	lost := url.Values{"do": {"recover"}, "id": {s.Codec.String(ada.Agent)}, "once": {"x"}, "reason": {"the laptop is gone"}}
	if r := stale.send(http.MethodPost, "/mine", lost); r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "./step-up?next=/mine" {
		t.Errorf("signed in long ago: %d to %q", r.StatusCode, r.Header.Get("Location"))
	}
	if r := otto.send(http.MethodPost, "/mine", lost); r.StatusCode != http.StatusForbidden {
		t.Errorf("otto recovers it: %d", r.StatusCode)
	}
	if _, err := s.Identity.Authenticate(ctx, ada.Key); err != nil {
		t.Fatalf("after refused attempts: %v", err)
	}
	r := mara.send(http.MethodPost, "/mine", lost)
	page = read(t, r)
	shown := regexp.MustCompile(`<p class="address">([^<]+)</p>`).FindStringSubmatch(page)
	if r.StatusCode != http.StatusOK || shown == nil || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("recover: %d %s", r.StatusCode, page)
	}
	if r := mara.send(http.MethodPost, "/mine", lost); r.StatusCode != http.StatusConflict {
		t.Errorf("the form again: %d", r.StatusCode)
	}
	if page = read(t, mara.send(http.MethodGet, "/mine", nil)); strings.Contains(page, shown[1]) || !strings.Contains(page, "<dd>none</dd>") {
		t.Errorf("the token is shown again: %s", page)
	}
	if _, err := s.Identity.Authenticate(ctx, ada.Key); act.CodeOf(err) != act.Unauthenticated {
		t.Errorf("the old key: %v", err)
	}
}
