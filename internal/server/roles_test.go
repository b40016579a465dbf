package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// ownAlone are the acts that operators may do with what is their own, whatever their
// roles, and the only ones.
var ownAlone = []string{"credential.revoke", "session.close", "token.assert", "token.refresh", "token.revoke"}

// operatorMay reports what operators with given roles may do by the policy in force:
// the act at all, on any kind of thing that it can be about.
func operatorMay(s *servertest.Server, i gate.Info, roles gate.OperatorRoles, own, fresh bool) bool {
	return operatorMayOn(s, i, roles, gate.Facts{Own: own}, fresh)
}

func operatorMayOn(s *servertest.Server, i gate.Info, roles gate.OperatorRoles, f gate.Facts, fresh bool) bool {
	p := act.Principal{Kind: act.Operator, ID: 1, Roles: uint8(roles), Binding: act.BindingSession}
	if fresh {
		p.AuthAt = act.Micros(time.Now())
	}
	return slices.ContainsFunc(append([]act.Kind{i.On, act.KindNetwork}, i.Also...), func(k act.Kind) bool {
		f.Kind = k
		return s.Policy.Decide(p, gate.Question{Act: i.Name, Resource: f}).Allow
	})
}

// Every act of the registry has operators' roles, or is for no operator. The roles stand
// in docs/roles.md, which is made from the policy in force.
func TestEveryOperatorActHasItsRoles(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	var page, none strings.Builder
	page.WriteString("# Roles\n\nGenerated from the gate's registry and the default policies: what operators of each\nrole may do. *again* wants somebody who has proved who they are within `step-up-within`\n(the policy `step-up`); *own* is for what is one's own, whatever the role; *theirs* is for\nagents that one answers for, and for what these wait for. An operator with several roles\nmay do what any of them may.\n\n| act |")
	for _, name := range gate.OperatorRoleNames() {
		page.WriteString(" " + name + " |")
	}
	page.WriteString("  |\n|---|" + strings.Repeat("---|", len(gate.OperatorRoleNames())+1) + "\n")
	all := gate.OperatorRoles(0)
	for _, name := range gate.OperatorRoleNames() {
		role, err := gate.ParseOperatorRole(name)
		if err != nil {
			t.Fatal(err)
		}
		all |= role
	}
	governed := 0
	for _, i := range s.Gate.Acts() {
		own := slices.Contains(ownAlone, i.Name)
		switch {
		case operatorMay(s, i, 0, false, true):
			t.Errorf("%s: operators without any role may do it", i.Name)
		case operatorMay(s, i, 0, true, true) != own:
			t.Errorf("%s: operators without any role may do it to what is their own: %v, want %v", i.Name, !own, own)
		}
		if !operatorMay(s, i, all, false, true) && !own {
			fmt.Fprintf(&none, "`%s` ", i.Name)
			if operatorMay(s, i, all, true, true) {
				t.Errorf("%s: is for operators of what is their own, and not on the list of those acts", i.Name)
			}
			continue
		}
		governed++
		var who []string
		fmt.Fprintf(&page, "| `%s` |", i.Name)
		for n, name := range gate.OperatorRoleNames() {
			may := operatorMay(s, i, 1<<n, false, true)
			if may {
				who = append(who, name)
				page.WriteString(" yes |")
				continue
			}
			if operatorMayOn(s, i, 1<<n, gate.Facts{Answered: true}, true) {
				if 1<<n != gate.OperatorOwner {
					t.Errorf("%s: is for %s who answer for an agent", i.Name, name)
				}
				page.WriteString(" theirs |")
				continue
			}
			page.WriteString("  |")
		}
		if len(who) == 0 && !own {
			t.Errorf("%s: no single role lets an operator do it", i.Name)
		}
		if len(who) > 0 && who[0] != "admin" {
			t.Errorf("%s: is for %v, and not for admins", i.Name, who)
		}
		var notes []string
		if len(who) > 0 && !operatorMay(s, i, all, false, false) {
			notes = append(notes, "again")
		}
		if own {
			notes = append(notes, "own")
		}
		page.WriteString(" " + strings.Join(notes, ", ") + " |\n")
	}
	if governed < 50 {
		t.Errorf("%d acts for operators", governed)
	}
	page.WriteString("\nFor no operator: " + strings.TrimSpace(none.String()) + "\n")
	generated(t, "roles.md", page.String())
}

// Nobody gets more by being signed in than their roles: through every door, with a
// session's consent, and after a role was taken away.
func TestRolesHoldAtTheDoors(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		_, ada := s.Agent(t, "ada")
		n := 0
		enter := func(roles gate.OperatorRoles, auth time.Time) act.Principal {
			t.Helper()
			n++
			out, err := s.Lifecycle.OpenSession.Do(ctx, act.Principal{Source: "test"}, lifecycle.NewSession{Person: &identity.Person{
				Issuer: "https://idp.example", Subject: "mara", Name: "mara", Roles: roles, AuthAt: act.Micros(auth), Once: fmt.Sprint(n), Until: time.Now().Add(time.Minute),
			}})
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.Identity.Session(ctx, out.Key)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		order := lifecycle.Order{Agent: ada.ID, Reason: "a test"}
		rule := func(err error) string {
			if err == nil {
				return ""
			}
			return act.AsError(err).Rule
		}
		observer := enter(gate.OperatorObserver|gate.OperatorAuditor, time.Now())
		if _, err := s.Lifecycle.Pause.Do(ctx, observer, order); rule(err) != "default-deny" || !strings.Contains(act.AsError(err).Hint, "responder") {
			t.Errorf("an auditor pauses: %v", err)
		}
		responder := enter(gate.OperatorResponder, time.Now().Add(-time.Hour))
		if observer.ID != responder.ID {
			t.Fatal("one person is two operators")
		}
		if _, err := s.Lifecycle.Pause.Do(ctx, responder, order); err != nil {
			t.Errorf("a responder pauses: %v", err)
		}
		// What was opened as auditor has lost that role, and gained none.
		again := func(p act.Principal) act.Principal {
			roles, err := gate.OperatorRoles(0), error(nil)
			if err = s.DB.View(ctx, func(v *store.View) error { roles, err = s.Identity.OperatorRoles(v, p.ID); return err }); err != nil {
				t.Fatal(err)
			}
			p.Roles &= uint8(roles)
			return p
		}
		if _, err := s.Lifecycle.Pause.Do(ctx, again(observer), order); rule(err) != "default-deny" {
			t.Errorf("who was an auditor pauses: %v", err)
		}

		// Signed in an hour ago she contains, and kills nobody; having proved again who she
		// is, she does. So it is with a token of a program that she lets act for her.
		program := func(p act.Principal) *holder { t.Helper(); return programOf(t, s, p, "*") }
		send := func(h *holder, what, agent string) *httptest.ResponseRecorder {
			t.Helper()
			path := "/v1/agents/" + agent + "/" + what
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{"reason":"a test"}`))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "DPoP "+h.token)
			r.Header.Set("DPoP", h.proof(http.MethodPost, path))
			w := httptest.NewRecorder()
			s.API.Handler().ServeHTTP(w, r)
			return w
		}
		if _, err := s.Lifecycle.Kill.Do(ctx, responder, order); rule(err) != "step-up" || act.CodeOf(err) != act.Denied {
			t.Errorf("signed in an hour ago she kills: %v", err)
		}
		h := program(responder)
		id := s.Codec.String(ada.ID)
		if w := send(h, "kill", id); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), `"step-up"`) ||
			!strings.Contains(w.Header().Get("WWW-Authenticate"), `error="insufficient_user_authentication", max_age="300"`) {
			t.Errorf("her program kills: %d %s %s", w.Code, w.Header(), w.Body)
		}
		if w := send(h, "resume", id); w.Code != http.StatusOK {
			t.Errorf("her program resumes: %d %s", w.Code, w.Body)
		}
		// It lets in no other program, which would outlast it.
		asked, err := s.Consents.Start.Do(ctx, act.Principal{Source: "a terminal"}, identity.NewConsent{Client: identity.CommandLine, Scope: "*"})
		if err != nil {
			t.Fatal(err)
		}
		form := url.Values{"user_code": {asked.User}, "answer": {"allow"}}
		r := httptest.NewRequest(http.MethodPost, "/oauth/device", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", s.URL)
		r.Header.Set("Authorization", "DPoP "+h.token)
		r.Header.Set("DPoP", h.proof(http.MethodPost, "/oauth/device"))
		r.Host = strings.TrimPrefix(s.URL, "http://")
		w := httptest.NewRecorder()
		s.API.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "a program cannot consent") {
			t.Errorf("her program lets another in: %d %s", w.Code, w.Body)
		}

		now := enter(gate.OperatorResponder, time.Now())
		fresh := program(now)
		_, bob := s.Agent(t, "bob")
		if w := send(fresh, "kill", s.Codec.String(bob.ID)); w.Code != http.StatusOK {
			t.Errorf("her program kills after she has proved who she is: %d %s", w.Code, w.Body)
		}
		if _, err := s.Lifecycle.Kill.Do(ctx, now, order); err != nil {
			t.Errorf("she kills after she has proved who she is: %v", err)
		}
		// A role that is taken is taken from the programs, too.
		enter(gate.OperatorObserver, time.Now())
		_, carol := s.Agent(t, "carol")
		if w := send(fresh, "pause", s.Codec.String(carol.ID)); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "default-deny") {
			t.Errorf("her program pauses after she has lost the role: %d %s", w.Code, w.Body)
		}
		if w := send(fresh, "kill", s.Codec.String(carol.ID)); w.Code != http.StatusForbidden {
			t.Errorf("her program kills after she has lost the role: %d %s", w.Code, w.Body)
		}
		// The network's own token is an admin's, and proves who sends it with each call.
		if a := s.Call(t, http.MethodPost, "/v1/agents/"+s.Codec.String(carol.ID)+"/kill", s.Token, map[string]string{"reason": "a test"}); a.Status != http.StatusOK {
			t.Errorf("the local admin kills: %d %s", a.Status, a.Raw)
		}
		a := s.Call(t, http.MethodGet, "/v1/whoami", s.Token, nil)
		if roles := fmt.Sprint(a.JSON["roles"]); roles != "[admin]" {
			t.Errorf("the local admin is %s", a.Raw)
		}
	})
}

// What a program may do shrinks with its operator's roles and does not grow with them.
func TestAProgramGainsNoRoles(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		has := func(when string, h *holder, want string) {
			t.Helper()
			w := httptest.NewRecorder()
			s.API.Handler().ServeHTTP(w, h.request(http.MethodGet, "/v1/whoami"))
			var who struct{ Roles []string }
			if err := json.Unmarshal(w.Body.Bytes(), &who); err != nil || fmt.Sprint(who.Roles) != want {
				t.Errorf("%s: a program has the roles %v, want %s (%d %s)", when, who.Roles, want, w.Code, w.Body)
			}
		}
		first := programOf(t, s, signedIn(t, s, "mara", gate.OperatorAuditor|gate.OperatorApprover, time.Now()), "*")
		has("at first", first, "[approver auditor]")
		second := programOf(t, s, signedIn(t, s, "mara", gate.OperatorAuditor|gate.OperatorAdmin, time.Now()), "*")
		has("after she lost one and was made admin", first, "[auditor]")
		has("after she was made admin, one that she let in then", second, "[admin auditor]")
		signedIn(t, s, "mara", gate.OperatorAdmin, time.Now())
		has("after she lost what she had at first", first, "[]")
		has("after she lost the other", second, "[admin]")
		signedIn(t, s, "mara", gate.OperatorAuditor|gate.OperatorApprover, time.Now())
		has("after she has them again", first, "[approver auditor]")
	})
}

// Whoever has lost every role at the identity provider is out when it says so: of their
// sessions, and of what programs do for them, on every node.
func TestWhoHasLostEveryRoleIsOut(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		opened := func(roles gate.OperatorRoles) (key string, p act.Principal) {
			t.Helper()
			out, err := s.Lifecycle.OpenSession.Do(ctx, act.Principal{Source: "test"}, lifecycle.NewSession{Person: &identity.Person{
				Issuer: "https://idp.example", Subject: "mara", Name: "mara", Roles: roles, AuthAt: act.Micros(time.Now()),
				Once: fmt.Sprint(time.Now().UnixNano()), Until: time.Now().Add(time.Minute),
			}})
			if err != nil {
				t.Fatal(err)
			}
			if p, err = s.Identity.Session(ctx, out.Key); err != nil {
				t.Fatal(err)
			}
			return out.Key, p
		}
		key, mara := opened(gate.OperatorAdmin)
		other, _ := opened(gate.OperatorAdmin)
		h := programOf(t, s, mara, "*")
		_, ada := s.Agent(t, "ada")
		c := command(t, s, mara, token.EdDSA, "agent.pause")
		text := c.sign(t, "agent.pause", ada.ID, 0, 0)
		lapse := func(subject string) error {
			_, err := s.Lifecycle.LapseSession.Do(ctx, act.Principal{Source: "test"}, identity.Person{Issuer: "https://idp.example", Subject: subject})
			return err
		}
		if err := lapse("nobody"); act.CodeOf(err) != act.NotFound {
			t.Errorf("somebody who was never here: %v", err)
		}
		if _, err := s.Identity.Session(ctx, key); err != nil {
			t.Errorf("another's end is hers: %v", err)
		}
		if err := lapse("mara"); err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{key, other} {
			if _, err := s.Identity.Session(ctx, k); act.CodeOf(err) != act.Unauthenticated || act.AsError(err).Rule != "session.over" {
				t.Errorf("a session goes on: %v", err)
			}
		}
		w := httptest.NewRecorder()
		s.API.Handler().ServeHTTP(w, h.request(http.MethodGet, "/v1/agents"))
		if w.Code != http.StatusForbidden {
			t.Errorf("her program goes on: %d %s", w.Code, w.Body)
		}
		if status, rule := deliver(t, s, text); status != http.StatusForbidden || rule != "default-deny" || standingOf(t, s, ada.ID) != act.Active {
			t.Errorf("her command is executed: %d %s", status, rule)
		}
		if list := leaves(t, s); !slices.ContainsFunc(list, func(l audit.Leaf) bool {
			return l.Act == "session.lapse" && l.Outcome == "done" && l.Target.ID == s.Codec.String(mara.ID)
		}) {
			t.Error("no leaf says that she lost her roles")
		}
		// With a role again she comes in again, as who she was.
		if _, p := opened(gate.OperatorObserver); p.ID != mara.ID || p.Roles != uint8(gate.OperatorObserver) {
			t.Errorf("she comes back as %+v", p)
		}
	})
}
