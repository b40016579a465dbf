package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/passkey"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T21: what steers other agents is let through by somebody who has just shown a passkey,
// at every door: not by who has signed in or proved otherwise who they are, not by their
// program unless they had shown it before they let it in, and not by what a passkey has
// proved that was removed since.
func TestT21_HighRiskIsApprovedByPasskey(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			s := servertest.Start(t, servertest.Localhost(t, servertest.Config(t, d)))
			ctx := t.Context()
			_, mod := s.Agent(t, "mona")
			s.Community(t, mod, "pricing")
			n := 0
			waits := func() act.ID {
				t.Helper()
				n++
				role, err := s.Network.DefineLabel.Do(ctx, mod, network.NewLabel{Community: "pricing", Key: fmt.Sprintf("watch%d", n), Name: fmt.Sprint("Watch ", n), Color: "red", Kind: "role"})
				if err != nil {
					t.Fatal(err)
				}
				_, err = s.Network.PromptRole.Do(ctx, mod, network.NewPrompt{Label: role.ID, Text: hostilePrompt, Cadence: 30})
				w, ok := errors.AsType[*gate.Pending](err)
				if !ok {
					t.Fatalf("the prompt does not wait: %v", err)
				}
				return w.Approval
			}
			enter := func(name string, roles gate.OperatorRoles) (act.Principal, string) {
				t.Helper()
				n++
				out, err := s.Lifecycle.OpenSession.Do(ctx, act.Principal{Source: "test"}, lifecycle.NewSession{Person: &identity.Person{
					Issuer: "https://idp.example", Subject: name, Name: name, Roles: roles, AuthAt: act.Micros(time.Now()), Once: fmt.Sprint(n), Until: time.Now().Add(time.Minute),
				}})
				if err != nil {
					t.Fatal(err)
				}
				return session(t, s, out.Key), out.Key
			}
			approve := func(p act.Principal, id act.ID) string {
				t.Helper()
				a, err := s.Lifecycle.Approve(ctx, p, gate.Key{}, lifecycle.Verdict{Approval: id, Owner: "tests", Reason: "looked at"})
				if err == nil && a.State != lifecycle.ApprovalExecuted {
					t.Errorf("approved and %s", a.State)
				}
				if err != nil {
					return act.AsError(err).Rule
				}
				return ""
			}
			send := func(h *holder, id act.ID) *httptest.ResponseRecorder {
				t.Helper()
				path := "/v1/approvals/" + s.Codec.String(id) + "/approve"
				r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{"reason":"looked at","owner":"tests"}`))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "DPoP "+h.token)
				r.Header.Set("DPoP", h.proof(http.MethodPost, path))
				w := httptest.NewRecorder()
				s.API.Handler().ServeHTTP(w, r)
				return w
			}
			var device *servertest.Authenticator
			var proof string // the key of the session that was proved last
			prove := func(p act.Principal) act.Principal {
				t.Helper()
				have, err := s.Passkeys.List.Do(ctx, p, passkey.Nothing{})
				if err != nil {
					t.Fatal(err)
				}
				options, err := s.Passkeys.ToProve(p, have)
				if err != nil {
					t.Fatal(err)
				}
				out, err := s.Passkeys.Prove.Do(ctx, p, passkey.Answer{Answer: device.Get(t, options)})
				if err != nil {
					t.Fatal(err)
				}
				proof = out.Key
				return session(t, s, out.Key)
			}
			add := func(p act.Principal) passkey.Passkey {
				t.Helper()
				device = servertest.NewAuthenticator(t, s.URL)
				options, err := s.Passkeys.ToAdd(p, nil)
				if err != nil {
					t.Fatal(err)
				}
				made, err := s.Passkeys.Add.Do(ctx, p, passkey.NewPasskey{Name: "desk", Answer: device.Create(t, options)})
				if err != nil {
					t.Fatal(err)
				}
				return made
			}

			first := waits()
			a := s.Call(t, http.MethodGet, "/v1/approvals/"+s.Codec.String(first), s.Token, nil)
			if a.JSON["risk"] != "high" {
				t.Fatalf("a role's prompt: %s", a.Raw)
			}
			if list := s.Call(t, http.MethodGet, "/v1/approvals?state=pending", s.Token, nil); strings.Count(string(list.Raw), `"risk":"high"`) != 1 {
				t.Errorf("the list: %s", list.Raw)
			}

			mara, key := enter("mara", gate.OperatorApprover)
			if rule := approve(mara, first); rule != "passkey" {
				t.Errorf("signed in just now she approves: %q", rule)
			}
			early := programOf(t, s, mara, "*")
			w := send(early, first)
			if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "/step-up") ||
				!strings.Contains(w.Header().Get("WWW-Authenticate"), `error="insufficient_user_authentication", acr_values="phr", max_age="300"`) {
				t.Errorf("her program approves: %d %v %s", w.Code, w.Header(), w.Body)
			}
			made := add(mara)
			if rule := approve(mara, first); rule != "passkey" {
				t.Errorf("having added a passkey she approves: %q", rule)
			}
			// A program that is told so sends its human to prove it (RFC 9470 §4), and back.
			asks := func(key, words string) (int, string) {
				t.Helper()
				q := url.Values{
					"client_id": {identity.CommandLine}, "redirect_uri": {"http://127.0.0.1:1/callback"}, "response_type": {"code"}, "scope": {"*"},
					"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"},
				}
				if words != "" {
					q.Set("acr_values", words)
				}
				r := httptest.NewRequest(http.MethodGet, "/oauth/authorize?"+q.Encode(), nil)
				r.AddCookie(&http.Cookie{Name: s.Keys.SessionCookie(), Value: key})
				w := httptest.NewRecorder()
				s.API.Handler().ServeHTTP(w, r)
				return w.Code, w.Header().Get("Location")
			}
			for words, want := range map[string]int{"": http.StatusOK, "urn:other": http.StatusOK, "phr": http.StatusSeeOther, "phrh phr": http.StatusSeeOther} {
				if code, to := asks(key, words); code != want || want == http.StatusSeeOther && !strings.HasPrefix(to, "../step-up?next=") {
					t.Errorf("asked for %q: %d to %q", words, code, to)
				}
			}
			proved := prove(mara)
			if code, to := asks(proof, "phr"); code != http.StatusOK {
				t.Errorf("having proved by it she is asked again: %d to %q", code, to)
			}
			if w := send(early, first); w.Code != http.StatusForbidden {
				t.Errorf("the program that she let in before approves: %d %s", w.Code, w.Body)
			}
			if rule := approve(proved, first); rule != "" {
				t.Errorf("having proved by it she does not approve: %q", rule)
			}
			late := programOf(t, s, proved, "*")
			if w := send(late, waits()); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"executed"`) {
				t.Errorf("the program that she let in after approves: %d %s", w.Code, w.Body)
			}
			r := httptest.NewRecorder()
			s.API.Handler().ServeHTTP(r, late.request(http.MethodGet, "/v1/whoami"))
			if strings.Contains(r.Body.String(), `"passkey_at":null`) || !strings.Contains(r.Body.String(), `"passkey_at":"`) {
				t.Errorf("whoami: %s", r.Body)
			}
			// Another person has proved nothing by it, nor has another session of hers.
			other, _ := enter("otto", gate.OperatorAdmin)
			elsewhere, _ := enter("mara", gate.OperatorApprover)
			second := waits()
			for what, p := range map[string]act.Principal{"an admin without a passkey": other, "another session of hers": elsewhere} {
				if rule := approve(p, second); rule != "passkey" {
					t.Errorf("%s approves: %q", what, rule)
				}
			}
			// Once removed it has proved nothing, to the session and to the program.
			if _, err := s.Passkeys.Remove.Do(ctx, proved, passkey.Removal{Passkey: made.ID}); err != nil {
				t.Fatal(err)
			}
			if rule := approve(again(t, s, proved), second); rule != "passkey" {
				t.Errorf("by a passkey that was removed she approves: %q", rule)
			}
			if w := send(late, second); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), `"passkey"`) {
				t.Errorf("by a passkey that was removed her program approves: %d %s", w.Code, w.Body)
			}
			// Who loses the role at the provider approves nothing by any passkey.
			add(elsewhere)
			marked := prove(elsewhere)
			enter("mara", gate.OperatorObserver)
			if rule := approve(rolesNow(t, s, marked), second); rule != "default-deny" {
				t.Errorf("an observer approves: %q", rule)
			}
			// A program is no token, even one that was let in with the token.
			if w := send(programOf(t, s, operator(t, s), "*"), second); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), `"passkey"`) {
				t.Errorf("a program that was let in with the local token approves: %d %s", w.Code, w.Body)
			}
			// To say no wants none; and the network's own token approves, come what may.
			if _, err := s.Lifecycle.Deny.Do(ctx, other, lifecycle.Verdict{Approval: second, Owner: "tests", Reason: "no"}); err != nil {
				t.Errorf("an admin without a passkey denies: %v", err)
			}
			if x := s.Call(t, http.MethodPost, "/v1/approvals/"+s.Codec.String(waits())+"/approve", s.Token, map[string]any{"reason": "looked at", "owner": "tests"}); x.Status != http.StatusOK {
				t.Errorf("the local token: %d %s", x.Status, x.Raw)
			}
		})
	}
}

// What a network's own policies hold without a word about its risk wants no passkey.
func TestHeldActsOfNormalRisk(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	amend(t, s, holdPosts)
	_, ada := s.Agent(t, "ada")
	w := held(t, s, ada, "a title")
	if a := s.Call(t, http.MethodGet, "/v1/approvals/"+s.Codec.String(w.Approval), s.Token, nil); a.JSON["risk"] != "normal" {
		t.Errorf("the approval: %s", a.Raw)
	}
	p := act.Principal{Kind: act.Operator, ID: operator(t, s).ID, Credential: operator(t, s).Credential, Binding: act.BindingSession, Roles: uint8(gate.OperatorAdmin)}
	if _, err := s.Lifecycle.Approve(context.Background(), p, gate.Key{}, yes(w.Approval)); err != nil {
		t.Errorf("without a passkey: %v", err)
	}
}

func session(t *testing.T, s *servertest.Server, key string) act.Principal {
	t.Helper()
	p, err := s.Identity.Session(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// again is the principal of a session as the next request of it would have it.
func again(t *testing.T, s *servertest.Server, p act.Principal) act.Principal {
	t.Helper()
	if err := s.DB.View(t.Context(), func(v *store.View) error {
		list, err := s.Identity.SessionsOf(v, p.ID)
		for _, one := range list {
			if one.ID == p.Credential {
				p.AuthAt, p.PasskeyAt = one.AuthAt, one.PasskeyAt
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// rolesNow takes from a principal the roles that their operator has lost.
func rolesNow(t *testing.T, s *servertest.Server, p act.Principal) act.Principal {
	t.Helper()
	if err := s.DB.View(t.Context(), func(v *store.View) error {
		roles, err := s.Identity.OperatorRoles(v, p.ID)
		p.Roles &= uint8(roles)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return p
}
