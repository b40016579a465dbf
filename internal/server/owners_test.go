package server_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
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
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// signedIn is a person of an identity provider in a session of their own.
func signedIn(t testing.TB, s *servertest.Server, name string, roles gate.OperatorRoles, auth time.Time) act.Principal {
	t.Helper()
	out, err := s.Lifecycle.OpenSession.Do(t.Context(), act.Principal{Source: "test"}, lifecycle.NewSession{Person: &identity.Person{
		Issuer: "https://idp.example", Subject: name, Name: name, Roles: roles, AuthAt: act.Micros(auth), Once: fmt.Sprint(name, time.Now().UnixNano()), Until: time.Now().Add(time.Minute),
	}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Identity.Session(t.Context(), out.Key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// programOf is a program that a person, or another operator, lets act for them within a
// scope: it gets its token over the wire.
func programOf(t testing.TB, s *servertest.Server, p act.Principal, scope string) *holder {
	t.Helper()
	key, err := token.NewKey(token.ES256)
	if err != nil {
		t.Fatal(err)
	}
	const verifier = "a-verifier-of-forty-three-characters-or-more"
	sum := sha256.Sum256([]byte(verifier))
	code, err := s.Consents.Give.Do(t.Context(), p, identity.NewConsent{
		Client: identity.CommandLine, Redirect: "http://127.0.0.1:1/callback", Scope: scope, Challenge: base64.RawURLEncoding.EncodeToString(sum[:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &holder{t: t, s: s, key: key}
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {identity.CommandLine}, "code": {code.Code},
		"redirect_uri": {"http://127.0.0.1:1/callback"}, "code_verifier": {verifier},
	}
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("DPoP", h.proof(http.MethodPost, "/oauth/token"))
	w := httptest.NewRecorder()
	s.API.Handler().ServeHTTP(w, r)
	var out struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK {
		t.Fatalf("token: %d %s (%v)", w.Code, w.Body, err)
	}
	h.token = out.Token
	return h
}

// reply is what came back to a holder.
type reply struct {
	status int
	raw    string
	JSON   map[string]any
}

func (r reply) text(name string) string { text, _ := r.JSON[name].(string); return text }

// items are the values of one field of a list's items.
func (r reply) items(name string) (values []string) {
	list, _ := r.JSON["items"].([]any)
	for _, x := range list {
		item, _ := x.(map[string]any)
		values = append(values, fmt.Sprint(item[name]))
	}
	return values
}

// call sends a request with the holder's token and a body, nil for none.
func (h *holder) call(method, path string, body any) (out reply) {
	h.t.Helper()
	r := h.request(method, path)
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			h.t.Fatal(err)
		}
		fresh := httptest.NewRequest(method, path, bytes.NewReader(raw))
		fresh.Header = r.Header
		fresh.Header.Set("Content-Type", "application/json")
		r = fresh
	}
	w := httptest.NewRecorder()
	h.s.API.Handler().ServeHTTP(w, r)
	out.status, out.raw = w.Code, w.Body.String()
	_ = json.Unmarshal(w.Body.Bytes(), &out.JSON) // what is no object has no fields
	return out
}

// newcomer registers an agent that waits to be claimed.
func newcomer(t testing.TB, s *servertest.Server, name string) lifecycle.Registered {
	t.Helper()
	out, err := s.Lifecycle.Register.Do(t.Context(), act.Principal{Source: "test"}, lifecycle.NewAgent{Name: name, Description: "says hello"})
	if err != nil || out.ClaimToken == "" {
		t.Fatalf("register %s: %v", name, err)
	}
	return out
}

// eachUnclaimed runs fn against servers on which agents wait for their owners.
func eachUnclaimed(t *testing.T, fn func(t *testing.T, s *servertest.Server)) {
	t.Helper()
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.AutoClaim, cfg.Claim = "", true
			fn(t, servertest.Start(t, cfg))
		})
	}
}

// who is the principal behind an agent's key.
func who(t testing.TB, s *servertest.Server, key string) act.Principal {
	t.Helper()
	p, err := s.Identity.Authenticate(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// People with the role owner claim by the token that their agent sent them. They become
// nobody else's owner by that, and nobody becomes one without the role.
func TestPeopleClaimTheirAgents(t *testing.T) {
	eachUnclaimed(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		op := operator(t, s)
		now := time.Now()
		// A team of mara's name is there before her.
		team := newcomer(t, s, "team-bot")
		if a, err := s.Lifecycle.Claim.Do(ctx, op, lifecycle.NewClaim{Agent: team.Agent, Owner: "mara"}); err != nil || a.OwnerName != "mara" {
			t.Fatalf("%+v, %v", a, err)
		}
		mara, otto := programOf(t, s, signedIn(t, s, "mara", gate.OperatorOwner, now), "*"), programOf(t, s, signedIn(t, s, "otto", gate.OperatorOwner, now), "*")
		ada, bea := newcomer(t, s, "ada"), newcomer(t, s, "bea")

		claim := func(token, owner string) map[string]string {
			return map[string]string{"claim_token": token, "owner": owner}
		}
		for what, c := range map[string]struct {
			h    *holder
			path string
			body any
			want int
		}{
			"by id alone":      {mara, "/v1/agents/" + s.Codec.String(ada.Agent) + "/claim", map[string]string{}, http.StatusForbidden},
			"for a namesake":   {mara, "/v1/claims", claim(ada.ClaimToken, "mara"), http.StatusForbidden},
			"for another":      {mara, "/v1/claims", claim(ada.ClaimToken, "otto"), http.StatusForbidden},
			"by another token": {mara, "/v1/claims", claim(strings.Replace(ada.ClaimToken, ada.ClaimToken[20:24], "aaaa", 1), ""), http.StatusNotFound},
		} {
			if r := c.h.call(http.MethodPost, c.path, c.body); r.status != c.want {
				t.Errorf("%s: %d %s", what, r.status, r.raw)
			}
		}
		observer := programOf(t, s, signedIn(t, s, "nemo", gate.OperatorObserver, now), "*")
		approver := programOf(t, s, signedIn(t, s, "anna", gate.OperatorApprover, now), "*")
		for name, h := range map[string]*holder{"observer": observer, "approver": approver} {
			if r := h.call(http.MethodPost, "/v1/claims", claim(ada.ClaimToken, "")); r.status != http.StatusForbidden || h == approver && r.text("rule") != "owner-role" {
				t.Errorf("an %s becomes an owner: %d %s", name, r.status, r.raw)
			}
		}

		r := mara.call(http.MethodPost, "/v1/claims", claim(ada.ClaimToken, ""))
		if r.status != http.StatusOK || r.text("owner") != "mara (2)" || r.text("standing") != "active" {
			t.Fatalf("mara claims ada: %d %s", r.status, r.raw)
		}
		if again := mara.call(http.MethodPost, "/v1/claims", claim(ada.ClaimToken, "mara (2)")); again.status != http.StatusOK || again.text("owner_id") != r.text("owner_id") {
			t.Errorf("mara claims ada again: %d %s", again.status, again.raw)
		}
		if r := otto.call(http.MethodPost, "/v1/claims", claim(ada.ClaimToken, "")); r.status != http.StatusConflict || r.text("rule") != "claim.state" {
			t.Errorf("otto claims ada with her link: %d %s", r.status, r.raw)
		}
		if r := otto.call(http.MethodPost, "/v1/claims", claim(bea.ClaimToken, "")); r.status != http.StatusOK || r.text("owner") != "otto" {
			t.Errorf("otto claims bea: %d %s", r.status, r.raw)
		}
		// Who was invited for a team is not somebody's by the way; an approver may say so.
		invite, err := s.Lifecycle.Invite.Do(ctx, op, lifecycle.NewInvite{Owner: "pricing"})
		if err != nil {
			t.Fatal(err)
		}
		cara, err := s.Lifecycle.Register.Do(ctx, act.Principal{Source: "test"}, lifecycle.NewAgent{Name: "cara", Invite: invite.Code})
		if err != nil {
			t.Fatal(err)
		}
		if r := otto.call(http.MethodPost, "/v1/claims", claim(cara.ClaimToken, "")); r.status != http.StatusForbidden {
			t.Errorf("otto claims the team's agent: %d %s", r.status, r.raw)
		}
		if r := approver.call(http.MethodPost, "/v1/claims", claim(cara.ClaimToken, "")); r.status != http.StatusOK || r.text("owner") != "pricing" {
			t.Errorf("an approver claims it for the team: %d %s", r.status, r.raw)
		}

		// Each sees their own, and only that.
		for _, c := range []struct {
			h     *holder
			query string
			want  string
		}{{mara, "", "[ada]"}, {otto, "", "[bea]"}, {mara, "?owner=otto", "[]"}, {mara, "?standing=paused", "[]"}, {mara, "?owner=mara+(2)&standing=active", "[ada]"}} {
			if r := c.h.call(http.MethodGet, "/v1/agents"+c.query, nil); r.status != http.StatusOK || fmt.Sprint(r.items("name")) != c.want {
				t.Errorf("agents%s: %d %s, want %s", c.query, r.status, r.raw, c.want)
			}
		}
		if r := mara.call(http.MethodGet, "/v1/agents/ada", nil); r.status != http.StatusOK {
			t.Errorf("her own: %d %s", r.status, r.raw)
		}
		for _, path := range []string{"/v1/agents/bea", "/v1/agents/team-bot", "/v1/identity/inventory", "/v1/identity/inventory?agent=" + s.Codec.String(bea.Agent), "/v1/kills", "/v1/owners", "/v1/network"} {
			if r := mara.call(http.MethodGet, path, nil); r.status != http.StatusForbidden {
				t.Errorf("%s: %d %s", path, r.status, r.raw)
			}
		}
		if r := mara.call(http.MethodGet, "/v1/identity/inventory?agent="+s.Codec.String(ada.Agent), nil); r.status != http.StatusOK || fmt.Sprint(r.items("kind")) != "[agent-key]" {
			t.Errorf("the keys of her own: %d %s", r.status, r.raw)
		}

		// She may stop her own, and lets nothing go on.
		order := map[string]string{"reason": "a test"}
		for _, c := range []struct {
			agent, what string
			want        int
		}{
			{"bea", "pause", http.StatusForbidden}, {"ada", "pause", http.StatusOK}, {"ada", "resume", http.StatusForbidden},
			{"ada", "quarantine", http.StatusForbidden}, {"ada", "release", http.StatusForbidden}, {"ada", "kill", http.StatusForbidden},
		} {
			id := s.Codec.String(map[string]act.ID{"ada": ada.Agent, "bea": bea.Agent}[c.agent])
			if r := mara.call(http.MethodPost, "/v1/agents/"+id+"/"+c.what, order); r.status != c.want {
				t.Errorf("%s %s: %d %s, want %d", c.what, c.agent, r.status, r.raw, c.want)
			}
		}
		if _, err := s.Lifecycle.Resume.Do(ctx, op, lifecycle.Order{Agent: ada.Agent, Reason: "a test"}); err != nil {
			t.Fatal(err)
		}

		// Who has lost the role owns nothing from the next sign-in on; the agents stay.
		signedIn(t, s, "mara", gate.OperatorObserver, now)
		if r := mara.call(http.MethodPost, "/v1/agents/"+s.Codec.String(ada.Agent)+"/pause", order); r.status != http.StatusForbidden {
			t.Errorf("without the role: %d %s", r.status, r.raw)
		}
		if f := s.Lifecycle.Facts(ada.Agent); f.Standing != act.Active || f.Owner == 0 {
			t.Errorf("ada is %+v", f)
		}
	})
}

// What waits for the owner is decided by the owner of the agent that it waits for, and
// by no other one.
func TestOwnersDecideWhatWaitsForThem(t *testing.T) {
	eachUnclaimed(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		now := time.Now()
		mara, otto := programOf(t, s, signedIn(t, s, "mara", gate.OperatorOwner, now), "*"), programOf(t, s, signedIn(t, s, "otto", gate.OperatorOwner, now), "*")
		ada, bea := newcomer(t, s, "ada"), newcomer(t, s, "bea")
		for h, one := range map[*holder]lifecycle.Registered{mara: ada, otto: bea} {
			if r := h.call(http.MethodPost, "/v1/claims", map[string]string{"claim_token": one.ClaimToken}); r.status != http.StatusOK {
				t.Fatalf("claim %s: %d %s", one.Name, r.status, r.raw)
			}
		}
		maker, talker := who(t, s, ada.Key), who(t, s, bea.Key)

		// A role's prompt of ada's waits for her owner.
		s.Community(t, maker, "pricing")
		role, err := s.Network.DefineLabel.Do(ctx, maker, network.NewLabel{Community: "pricing", Key: "watch", Name: "Watch", Color: "red", Kind: "role"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Network.PromptRole.Do(ctx, maker, network.NewPrompt{Label: role.ID, Text: "Look at the prices.", Cadence: 30}); act.CodeOf(err) != act.Held {
			t.Fatalf("the prompt does not wait: %v", err)
		}
		waits := mara.call(http.MethodGet, "/v1/approvals?state=pending", nil)
		ids := waits.items("id")
		if waits.status != http.StatusOK || len(ids) != 1 {
			t.Fatalf("what waits for mara: %d %s", waits.status, waits.raw)
		}
		if r := otto.call(http.MethodGet, "/v1/approvals", nil); r.status != http.StatusOK || len(r.items("id")) != 0 {
			t.Errorf("what waits for otto: %d %s", r.status, r.raw)
		}
		if r := otto.call(http.MethodGet, "/v1/approvals?agent="+s.Codec.String(ada.Agent), nil); r.status != http.StatusOK || len(r.items("id")) != 0 {
			t.Errorf("what of ada's waits, to otto: %d %s", r.status, r.raw)
		}
		at := "/v1/approvals/" + ids[0]
		if r := mara.call(http.MethodGet, at, nil); r.status != http.StatusOK || !strings.Contains(r.raw, "Look at the prices.") {
			t.Errorf("mara looks: %d %s", r.status, r.raw)
		}
		say := map[string]string{"reason": "a test"}
		for what, r := range map[string]reply{
			"looks": otto.call(http.MethodGet, at, nil), "approves": otto.call(http.MethodPost, at+"/approve", say), "denies": otto.call(http.MethodPost, at+"/deny", say),
			"approves as mara": otto.call(http.MethodPost, at+"/approve", map[string]string{"reason": "a test", "owner": "mara"}),
		} {
			if r.status != http.StatusForbidden || !strings.Contains(r.text("hint"), "wners") && r.text("rule") != "passkey" {
				t.Errorf("otto %s: %d %s", what, r.status, r.raw)
			}
		}
		// A prompt is of high risk: being its owner is not enough without a passkey, and a
		// passkey is not without being its owner.
		if r := mara.call(http.MethodPost, at+"/approve", say); r.status != http.StatusForbidden || r.text("rule") != "passkey" {
			t.Errorf("mara approves without a passkey: %d %s", r.status, r.raw)
		}
		held, err := s.Codec.ParseKind(ids[0], act.KindApproval)
		if err != nil {
			t.Fatal(err)
		}
		proved := func(name string) (lifecycle.Approval, error) {
			p := signedIn(t, s, name, gate.OperatorOwner, now)
			p.PasskeyAt = act.Micros(now)
			return s.Lifecycle.Approve(ctx, p, gate.Key{}, lifecycle.Verdict{Approval: held, Reason: "a test"})
		}
		if _, err := proved("otto"); act.CodeOf(err) != act.Denied || !strings.Contains(act.AsError(err).Hint, "wners") {
			t.Errorf("otto approves with a passkey: %v", err)
		}
		if a, err := proved("mara"); err != nil || a.OwnerName != "mara" {
			t.Errorf("mara approves with a passkey: %+v %v", a, err)
		}

		// So with a conversation: bea asks ada.
		asked, err := s.Network.RequestConversation.Do(ctx, talker, network.NewRequest{To: "ada", Text: "May I ask about the prices?"})
		if err != nil {
			t.Fatal(err)
		}
		list := mara.call(http.MethodGet, "/v1/conversations?status=pending", nil)
		if list.status != http.StatusOK || fmt.Sprint(list.items("id")) != "["+s.Codec.String(asked.Conversation)+"]" || strings.Contains(list.raw, "prices") {
			t.Fatalf("mara's conversations: %d %s", list.status, list.raw)
		}
		at = "/v1/conversations/" + s.Codec.String(asked.Conversation)
		if r := otto.call(http.MethodPost, at+"/approve", map[string]string{"reason": "a test", "owner": "mara"}); r.status != http.StatusForbidden {
			t.Errorf("otto approves as mara: %d %s", r.status, r.raw)
		}
		if r := otto.call(http.MethodPost, at+"/approve", say); r.status == http.StatusOK {
			t.Errorf("otto approves what his own agent has asked: %d %s", r.status, r.raw)
		}
		if r := mara.call(http.MethodPost, at+"/approve", say); r.status != http.StatusOK {
			t.Errorf("mara approves: %d %s", r.status, r.raw)
		}
		if _, err := s.Network.SendMessage.Do(ctx, talker, network.NewMessage{Conversation: asked.Conversation, Text: "Thank you."}); err != nil {
			t.Errorf("bea writes: %v", err)
		}
		if r := otto.call(http.MethodPost, at+"/reject", say); r.status != http.StatusOK {
			t.Errorf("otto ends what his agent does: %d %s", r.status, r.raw)
		}
		third := newcomer(t, s, "cara")
		stranger := programOf(t, s, signedIn(t, s, "vera", gate.OperatorOwner, now), "*")
		if r := stranger.call(http.MethodPost, "/v1/claims", map[string]string{"claim_token": third.ClaimToken}); r.status != http.StatusOK {
			t.Fatalf("claim: %d %s", r.status, r.raw)
		}
		if r := stranger.call(http.MethodGet, "/v1/conversations?status=rejected", nil); r.status != http.StatusOK || len(r.items("id")) != 0 {
			t.Errorf("a stranger's conversations: %d %s", r.status, r.raw)
		}
	})
}

// An admin makes a person answer as an owner that is there, and no longer.
func TestOwnersAreLinked(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		_, ada := s.Agent(t, "ada") // of the owner "tests"
		mara := programOf(t, s, signedIn(t, s, "mara", gate.OperatorOwner, time.Now()), "*")
		link := func(owner, who string) reply {
			t.Helper()
			a := s.Call(t, http.MethodPost, "/v1/owners/link", s.Token, map[string]string{"owner": owner, "operator": who, "reason": "a test"})
			return reply{a.Status, string(a.Raw), a.JSON}
		}
		if r := mara.call(http.MethodGet, "/v1/agents/ada", nil); r.status != http.StatusForbidden {
			t.Fatalf("before: %d %s", r.status, r.raw)
		}
		for what, r := range map[string]reply{"no owner": link("nobody", "mara"), "no person": link("tests", "nobody")} {
			if r.status != http.StatusNotFound {
				t.Errorf("%s: %d %s", what, r.status, r.raw)
			}
		}
		if r := mara.call(http.MethodPost, "/v1/owners/link", map[string]string{"owner": "tests", "operator": "mara", "reason": "mine"}); r.status != http.StatusForbidden {
			t.Errorf("mara links herself: %d %s", r.status, r.raw)
		}
		stale := programOf(t, s, signedIn(t, s, "otto", gate.OperatorAdmin, time.Now().Add(-time.Hour)), "*")
		if r := stale.call(http.MethodPost, "/v1/owners/link", map[string]string{"owner": "tests", "operator": "mara", "reason": "a test"}); r.text("rule") != "step-up" {
			t.Errorf("an admin who signed in an hour ago: %d %s", r.status, r.raw)
		}
		if r := link("tests", "mara"); r.status != http.StatusOK || r.text("operator") != "mara" || r.JSON["agents"] != 1.0 {
			t.Fatalf("link: %d %s", r.status, r.raw)
		}
		person := link("tests", "mara").text("operator_id")
		if r := mara.call(http.MethodGet, "/v1/agents/ada", nil); r.status != http.StatusOK || person == "" {
			t.Errorf("linked: %d %s", r.status, r.raw)
		}
		if r := stale.call(http.MethodGet, "/v1/owners", nil); fmt.Sprint(r.items("name"), r.items("operator")) != "[tests] [mara]" {
			t.Errorf("owners: %d %s", r.status, r.raw)
		}
		// A person answers as one owner.
		if _, err := s.Lifecycle.Invite.Do(ctx, operator(t, s), lifecycle.NewInvite{Owner: "others"}); err != nil {
			t.Fatal(err)
		}
		if r := link("others", "mara"); r.status != http.StatusConflict || r.text("rule") != "owner.taken" {
			t.Errorf("a second owner: %d %s", r.status, r.raw)
		}
		if r := link("tests", ""); r.status != http.StatusOK || r.JSON["operator"] != nil {
			t.Errorf("unlink: %d %s", r.status, r.raw)
		}
		if r := mara.call(http.MethodPost, "/v1/agents/"+s.Codec.String(ada.ID)+"/pause", map[string]string{"reason": "a test"}); r.status != http.StatusForbidden {
			t.Errorf("unlinked: %d %s", r.status, r.raw)
		}
		// The record names the person with each.
		if err := s.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		var named int
		if err := s.DB.View(ctx, func(v *store.View) error {
			return v.All(qTestLeavesOf, func(r *store.Row) error {
				if strings.Contains(string(r.Bytes(0)), `"target":{"id":"`+person+`"`) && strings.Contains(string(r.Bytes(0)), `"reason":"a test"`) {
					named++
				}
				return nil
			}, "owner.link", 0)
		}); err != nil || named != 3 {
			t.Errorf("%d links that name her, want 3 (%v)", named, err)
		}
	})
}

// Leaves of an act by how it ended.
const qTestLeavesOf store.Q = `SELECT l.body FROM leaf AS l JOIN event AS e ON e.pos = l.pos WHERE e.act = $1 AND e.outcome = $2 ORDER BY l.pos`
