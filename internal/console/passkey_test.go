package console_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T21: in a real browser an operator adds a passkey and proves by it who they are. Their
// terminal, let in before that, is refused an approval of high risk and told what to do;
// let in after it, it approves.
func TestBrowser_T21_Passkeys(t *testing.T) {
	cfg := servertest.Localhost(t, servertest.Config(t, store.SQLite))
	cfg.ObserverPages, cfg.Quotas = server.PagesPublic, []string{"sign-in=1000/1m"}
	s := servertest.Start(t, cfg)
	ctx := t.Context()
	_, mod := s.Agent(t, "mona")
	s.Community(t, mod, "pricing")
	if _, err := s.Network.PromptRole.Do(ctx, mod, network.NewPrompt{
		Label: must[network.Label](t)(s.Network.DefineLabel.Do(ctx, mod, network.NewLabel{Community: "pricing", Key: "watch", Name: "Watch", Color: "blue", Kind: "role"})).ID,
		Text:  "Look at the prices twice a day.", Cadence: 720,
	}); act.CodeOf(err) != act.Held {
		t.Fatalf("a role's prompt is not held: %v", err)
	}
	page := read(t, func() *http.Response {
		b := newBrowser(t, s)
		b.signIn(s.Token, "/")
		return b.send(http.MethodGet, "/u/mona", nil)
	}())
	if !strings.Contains(page, "high risk") {
		t.Errorf("the agent's page does not say that what waits is of high risk: %s", page)
	}

	var devices []*client.Device
	var codes []string
	for range 2 {
		d := must[*client.Device](t)(client.Login(ctx, s.URL, "", time.Now))
		devices, codes = append(devices, d), append(codes, d.User)
	}
	drive(t, "passkey.mjs", s, []spot{}, "REEF_TOKEN="+s.Token, "REEF_CODES="+string(must[[]byte](t)(json.Marshal(codes))))

	early, late := terminal(t, devices[0]), terminal(t, devices[1])
	list := must[client.ApprovalPage](t)(late.Approvals(ctx, client.ApprovalQuery{State: "pending"}))
	if len(list.Items) != 1 || list.Items[0].Risk != "high" {
		t.Fatalf("what waits: %+v", list)
	}
	_, err := early.Approve(ctx, list.Items[0].ID, "tests", "looked at")
	if e := act.AsError(err); err == nil || e.Rule != "passkey" || !strings.Contains(e.Hint, "/step-up") || !strings.Contains(e.Hint, "reef login") {
		t.Errorf("the terminal of before approves: %v", err)
	}
	if a, err := late.Approve(ctx, list.Items[0].ID, "tests", "looked at"); err != nil || a.State != "executed" {
		t.Errorf("the terminal of after: %+v, %v", a, err)
	}

	// Without the passkey the page has nothing to prove by, and its operator can still
	// remove what is there.
	b := newBrowser(t, s)
	b.signIn(s.Token, "/")
	account := read(t, b.send(http.MethodGet, "/account", nil))
	m := regexp.MustCompile(`name="passkey" value="([^"]+)"`).FindStringSubmatch(account)
	if m == nil || !strings.Contains(account, "The key on my desk") {
		t.Fatalf("the account: %s", account)
	}
	for range 2 {
		if r := b.send(http.MethodPost, "/passkeys/remove", url.Values{"passkey": {m[1]}}); r.StatusCode != http.StatusSeeOther && r.StatusCode != http.StatusNotFound || r.StatusCode == http.StatusSeeOther && r.Header.Get("Location") != "../account" {
			t.Errorf("remove it: %d to %q", r.StatusCode, r.Header.Get("Location"))
		}
	}
	if account := read(t, b.send(http.MethodGet, "/account", nil)); !strings.Contains(account, "You have none.") {
		t.Errorf("the account after: %s", account)
	}
}

// terminal is the client of `reef login`, once its human has said yes.
func terminal(t *testing.T, d *client.Device) *client.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "session")
	if err := d.Wait(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	h := must[*client.Holder](t)(client.OpenSession(t.Context(), file, time.Now))
	t.Cleanup(h.Close)
	return h.Client()
}
