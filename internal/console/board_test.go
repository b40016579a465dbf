package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/export"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

func setQuota(t *testing.T, s *servertest.Server, scope, kind string, limit int64, period lifecycle.Period, reason string) {
	t.Helper()
	must[lifecycle.Quota](t)(s.Lifecycle.SetQuota.Do(t.Context(), operator(t, s), lifecycle.NewQuota{
		On: lifecycle.QuotaName{Scope: scope, Kind: kind}, Limit: limit, Period: period, Reason: reason,
	}))
}

// bound sets quotas of every level and state.
func bound(t *testing.T, s *servertest.Server) {
	t.Helper()
	_, p := s.Agent(t, "bounded")
	setQuota(t, s, lifecycle.QuotaNetwork, "acts", 10, lifecycle.Daily, "what we can look at <b>in a day</b> \u202eereh")
	setQuota(t, s, lifecycle.QuotaNetwork, "tokens", 12_000_000_000, lifecycle.Once, "what was bought")
	setQuota(t, s, lifecycle.QuotaTeam+"pricing", "money_micros", 200_000_000, lifecycle.Hourly, "their part")
	setQuota(t, s, lifecycle.QuotaTeam+"a-team-whose-name-is-as-long-as-names-of-teams-may-be", "cpu_ms", 0, lifecycle.Once, "until the audit is over, nobody of them uses any, whatever they say that they need it for")
	setQuota(t, s, lifecycle.QuotaClass+"price-monitor", "tokens", 5_000_000, lifecycle.Daily, "for the trial")
	must[[]lifecycle.Budget](t)(s.Lifecycle.Report.Do(t.Context(), p, lifecycle.Usage{Tokens: 4_321_000_000}))
	text := "x"
	for range 7 {
		must[network.Profile](t)(s.Network.UpdateProfile.Do(t.Context(), p, network.ProfileChange{Description: &text}))
	}
}

// Operators read at a glance how much is used of each quota, in every form; others see none.
func TestQuotasPage(t *testing.T) {
	s := open(t, store.SQLite)
	boss, watcher := enter(t, s, "ada", gate.OperatorAdmin, time.Now()), enter(t, s, "otto", gate.OperatorResponder, time.Now())
	if page := read(t, boss.send(http.MethodGet, "/quotas", nil)); !strings.Contains(page, "There is no quota") {
		t.Errorf("without quotas: %s", page)
	}
	bound(t, s)
	for path, want := range map[string][]string{
		"/quotas": {
			"▲ 80 % used", "● 36 % used", "■ used up", `<rect class="part" width="80"`, "4,321,000,000", "12,000,000,000", "price-monitor", "their part",
			"&lt;b&gt;in a day&lt;/b&gt;", "U+202E", `href="./quotas" aria-current="page"`, `href="./controls"`,
		},
		"/quotas.json": {`"scope":"network","kind":"acts","state":"low","limit":10,"used":8,"left":2`, `"state":"spent"`, `"name":"price-monitor"`, `\u202e`},
		"/quotas.md":   {"` network ` acts", "state: low", "used: 8 of 10", "renews: never", "` class:price-monitor ` tokens"},
		"/quotas.atom": {"low: 8 of 10 are used, 2 are left.", "class:price-monitor tokens"},
	} {
		r := boss.send(http.MethodGet, path, nil)
		page := read(t, r)
		if r.StatusCode != http.StatusOK || path != "/quotas.md" && strings.Contains(page, "<b>in a day") || strings.Contains(page, "\u202e") || !strings.Contains(r.Header.Get("Cache-Control"), "no-store") {
			t.Errorf("%s: %d, %s", path, r.StatusCode, r.Header.Get("Cache-Control"))
		}
		for _, text := range want {
			if !strings.Contains(page, text) {
				t.Errorf("%s has no %q: %s", path, text, page)
			}
		}
	}
	if page := read(t, watcher.send(http.MethodGet, "/quotas", nil)); !strings.Contains(page, "▲ 80 % used") || strings.Contains(page, `href="./controls"`) {
		t.Error("a responder does not see the quotas, or is led to what auditors see")
	}
	for name, b := range map[string]*browser{
		"an observer": enter(t, s, "nemo", gate.OperatorObserver, time.Now()), "an owner": enter(t, s, "mara", gate.OperatorOwner, time.Now()), "a stranger": newBrowser(t, s),
	} {
		for _, path := range append(twins("/quotas"), twins("/controls")...) {
			r := b.send(http.MethodGet, path, nil)
			want := http.StatusForbidden
			if name == "a stranger" {
				want = http.StatusUnauthorized // who could sign in
			}
			if page := read(t, r); r.StatusCode != want || strings.Contains(page, "their part") || strings.Contains(page, "ASI01") || strings.Contains(page, `href="./quotas"`) {
				t.Errorf("%s sees %s: %d", name, path, r.StatusCode)
			}
		}
	}
	if r := watcher.send(http.MethodGet, "/controls", nil); r.StatusCode != http.StatusForbidden {
		t.Errorf("a responder sees what auditors see: %d", r.StatusCode)
	}
}

// Auditors find every rule of the control map with its figures as they are now.
func TestControlsPage(t *testing.T) {
	s := open(t, store.SQLite)
	_, p := s.Agent(t, "shark")
	must[lifecycle.Agent](t)(s.Lifecycle.Kill.Do(t.Context(), operator(t, s), lifecycle.Order{Agent: p.ID, Reason: "it bites"}))
	b := enter(t, s, "ada", gate.OperatorAuditor, time.Now())
	var whole struct {
		Controls struct {
			Frameworks []struct {
				ID    string
				Rules []struct {
					Item    string
					Figures []struct {
						Name, Text string
						Value      int64
					}
					Links []struct{ Route, URL string }
				}
			}
		}
	}
	html := read(t, b.send(http.MethodGet, "/controls", nil))
	md, atom := read(t, b.send(http.MethodGet, "/controls.md", nil)), read(t, b.send(http.MethodGet, "/controls.atom", nil))
	decode(t, servertest.Answer{Raw: []byte(read(t, b.send(http.MethodGet, "/controls.json", nil)))}, &whole)
	frameworks := export.Frameworks()
	if len(whole.Controls.Frameworks) != len(frameworks) {
		t.Fatalf("%d frameworks", len(whole.Controls.Frameworks))
	}
	kills := int64(-1)
	for i, f := range frameworks {
		for j, r := range f.Rules {
			got := whole.Controls.Frameworks[i].Rules[j]
			if got.Item != r.Item || len(got.Figures) != len(r.Figures) || len(got.Links) != len(r.Links) {
				t.Errorf("%s: %+v", r.Item, got)
			}
			for _, one := range got.Figures {
				if one.Text == "" {
					t.Errorf("%s: the figure %q says nothing", r.Item, one.Name)
				}
				if one.Name == "kills" {
					kills = one.Value
				}
			}
			for _, form := range []string{html, md, atom} {
				if !strings.Contains(form, strings.ReplaceAll(r.Item, "&", "&amp;")) {
					t.Errorf("a form has no %s", r.Item)
				}
			}
		}
	}
	if kills != 1 || !strings.Contains(html, fmt.Sprintf("<dt>agents ever killed</dt><dd>%d</dd>", kills)) || !strings.Contains(md, "- 1 agents ever killed") {
		t.Errorf("%d kills: %s", kills, html)
	}
	if !strings.Contains(html, `href="./quotas">quotas</a>`) || !strings.Contains(html, "No authority has said") {
		t.Errorf("the page: %s", html)
	}
}
