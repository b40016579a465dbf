package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// commander is a command key that its operator has taken offline.
type commander struct {
	s          *servertest.Server
	key        token.Private
	credential act.ID
}

// newCommandKey asks for the registration of a key for an operator.
func newCommandKey(t *testing.T, s *servertest.Server, p act.Principal, key token.Private, acts ...string) identity.NewCommandKey {
	t.Helper()
	proof, err := key.Assert(s.Codec.String(p.ID), s.Server.URL(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return identity.NewCommandKey{Key: string(key.Public().JWK()), Proof: proof, Acts: acts}
}

func command(t *testing.T, s *servertest.Server, p act.Principal, alg token.Algorithm, acts ...string) *commander {
	t.Helper()
	key, err := token.NewKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Issuer.Commander.Do(t.Context(), p, newCommandKey(t, s, p, key, acts...))
	if err != nil {
		t.Fatal(err)
	}
	return &commander{s: s, key: key, credential: out.ID}
}

// sign signs an order as it was given some time ago.
func (c *commander) sign(t *testing.T, name string, agent act.ID, life, ago time.Duration) string {
	t.Helper()
	text, _, err := c.key.Command(token.Command{
		Audience: c.s.Server.URL(), Act: name, Target: token.Target{Kind: token.TargetAgent, ID: c.s.Codec.String(agent)}, Reason: "it went astray",
	}, life, time.Now().Add(-ago))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// deliver brings a command to a node as nobody in particular.
func deliver(t *testing.T, s *servertest.Server, text string) (status int, rule string) {
	t.Helper()
	a := s.Call(t, http.MethodPost, "/v1/commands", "", map[string]string{"command": text})
	rule, _ = a.JSON["rule"].(string)
	return a.Status, rule
}

func standingOf(t *testing.T, s *servertest.Server, agent act.ID) act.Standing {
	t.Helper()
	standing, _ := s.Lifecycle.Standing(agent)
	return standing
}

// T37: a valid command is executed exactly once, as its operator and marked as what it
// was, whoever carries it and however often.
func TestT37_ACommandIsExecutedOnce(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		op := operator(t, s)
		for _, alg := range []token.Algorithm{token.EdDSA, token.ES256} {
			c := command(t, s, op, alg, identity.CommandActs()...)
			_, victim := s.Agent(t, "victim-"+strings.ToLower(alg.String()))
			for _, step := range []struct {
				act  string
				want act.Standing
			}{
				{"agent.pause", act.Paused}, {"agent.quarantine", act.Quarantined}, {"agent.release", act.Paused}, {"agent.resume", act.Active}, {"agent.kill", act.Killed},
			} {
				text := c.sign(t, step.act, victim.ID, 0, 0)
				a := s.Call(t, http.MethodPost, "/v1/commands", "", map[string]string{"command": text})
				agent, _ := a.JSON["agent"].(map[string]any)
				if a.Status != http.StatusOK || a.JSON["act"] != step.act || agent["standing"] != step.want.String() || standingOf(t, s, victim.ID) != step.want {
					t.Fatalf("%s: %d %s", step.act, a.Status, a.Raw)
				}
				if status, rule := deliver(t, s, text); status != http.StatusForbidden || rule != "command.replayed" {
					t.Errorf("%s again: %d %s", step.act, status, rule)
				}
				var done, replayed int
				for _, l := range leaves(t, s) {
					if l.Act != step.act || l.Principal.Binding != "command" || l.Principal.Credential != s.Codec.String(c.credential) || l.Principal.ID != s.Codec.String(op.ID) {
						continue
					}
					switch {
					case l.Outcome == "done" && l.Reason == "it went astray" && l.Target.ID == s.Codec.String(victim.ID):
						done++
					case l.Outcome == "denied" && l.Rule == "command.replayed":
						replayed++
					}
				}
				if done != 1 || replayed != 1 {
					t.Errorf("%s: %d leaves say that it was done, %d that it was shown again", step.act, done, replayed)
				}
			}
		}

		// A hundred at once, of which none but one does anything.
		c := command(t, s, op, token.EdDSA, "agent.pause")
		_, busy := s.Agent(t, "busy")
		text := c.sign(t, "agent.pause", busy.ID, 0, 0)
		if got := atOnce(t, text, s); got["200"] != 1 || got["command.replayed"] != 99 {
			t.Errorf("a hundred deliveries: %v", got)
		}
		if n := doneByCommand(t, s, "agent.pause", busy.ID); n != 1 {
			t.Errorf("executed %d times", n)
		}
	})
}

// inside is Call for a server whose public URL cannot be reached.
func inside(t *testing.T, s *servertest.Server, method, path, token string, body any) (a servertest.Answer) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, path, nil)
	if body != nil {
		r = httptest.NewRequest(method, path, bytes.NewReader(raw))
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.API.Handler().ServeHTTP(w, r)
	a = servertest.Answer{Status: w.Code, Header: w.Header(), Raw: w.Body.Bytes()}
	_ = json.Unmarshal(a.Raw, &a.JSON)
	return a
}

// atOnce delivers a command a hundred times at the same moment, to the nodes in turn.
func atOnce(t *testing.T, text string, nodes ...*servertest.Server) map[string]int {
	t.Helper()
	body, err := json.Marshal(map[string]string{"command": text})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := make(map[string]int)
	for n := range 100 {
		handler := nodes[n%len(nodes)].API.Handler()
		wg.Go(func() {
			r := httptest.NewRequest(http.MethodPost, "/v1/commands", strings.NewReader(string(body)))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			what := fmt.Sprint(w.Code)
			if w.Code != http.StatusOK {
				var told struct{ Rule string }
				_ = json.Unmarshal(w.Body.Bytes(), &told)
				what = told.Rule
			}
			mu.Lock()
			answers[what]++
			mu.Unlock()
		})
	}
	wg.Wait()
	return answers
}

// doneByCommand counts how often a command has done an act to an agent.
func doneByCommand(t *testing.T, s *servertest.Server, name string, agent act.ID) (n int) {
	t.Helper()
	for _, l := range leaves(t, s) {
		if l.Act == name && l.Outcome == "done" && l.Principal.Binding == "command" && l.Target.ID == s.Codec.String(agent) {
			n++
		}
	}
	return n
}

// T37 on two nodes: one command, delivered to both a hundred times at once, kills once
// and has one number; and what is decided on one node is so on the other.
func TestT37_TwoNodes(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		cfg := servertest.Config(t, store.Postgres)
		cfg.KeyFile, cfg.NATS, cfg.PublicURL = filepath.Join(t.TempDir(), "network.key"), servertest.NATS(t).ClientURL(), "https://reef.example"
		a := servertest.Start(t, cfg)
		cfg.Data = t.TempDir()
		b := servertest.Open(t, cfg)
		c := command(t, a, operator(t, a), token.EdDSA, "agent.kill", "agent.pause")
		for round := range 3 {
			_, victim := a.Agent(t, fmt.Sprint("victim", round))
			name := []string{"agent.kill", "agent.pause", "agent.kill"}[round]
			if got := atOnce(t, c.sign(t, name, victim.ID, 0, 0), a, b); got["200"] != 1 || got["command.replayed"] != 99 {
				t.Errorf("%s: %v", name, got)
			}
			if n := doneByCommand(t, a, name, victim.ID); n != 1 {
				t.Errorf("%s: executed %d times", name, n)
			}
		}
		kills := inside(t, a, http.MethodGet, "/v1/kills", a.Token, nil)
		if items, _ := kills.JSON["items"].([]any); len(items) != 2 {
			t.Errorf("kills: %s", kills.Raw)
		}
		// The key is revoked at one node: the other executes nothing after the answer.
		_, other := a.Agent(t, "other")
		text := c.sign(t, "agent.pause", other.ID, 0, 0)
		if r := inside(t, a, http.MethodPost, "/v1/credentials/"+a.Codec.String(c.credential)+"/revoke", a.Token, map[string]string{"reason": "lost"}); r.Status != http.StatusOK {
			t.Fatalf("revoke: %d %s", r.Status, r.Raw)
		}
		if got := atOnce(t, text, b, a); got["command.key"] != 100 {
			t.Errorf("after the key was revoked: %v", got)
		}
	})
}

// T37: whatever is wrong with a command, it executes nothing and leaves a leaf that says
// what it was.
func TestT37_WhatIsWrongExecutesNothing(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		op := operator(t, s)
		c := command(t, s, op, token.EdDSA, "agent.kill", "agent.pause")
		narrow := command(t, s, op, token.ES256, "agent.pause")
		stranger, err := token.NewKey(token.EdDSA)
		if err != nil {
			t.Fatal(err)
		}
		_, victim := s.Agent(t, "victim")
		id := s.Codec.String(victim.ID)
		good := c.sign(t, "agent.kill", victim.ID, 0, 0)
		by := func(k token.Private, x token.Command, life, ago time.Duration) string {
			text, _, err := k.Command(x, life, time.Now().Add(-ago))
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		order := token.Command{Audience: s.Server.URL(), Act: "agent.kill", Target: token.Target{Kind: token.TargetAgent, ID: id}, Reason: "r"}
		with := func(change func(*token.Command)) token.Command { x := order; change(&x); return x }
		parts := strings.Split(good, ".")
		raw := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
		other := s.Codec.String(op.ID)
		for _, w := range []struct {
			name, text, rule string
			mine             bool // the key has signed it: the leaf names its operator
		}{
			{"nothing", "", "command.malformed", false},
			{"no signature", parts[0] + "." + parts[1] + ".", "command.signature", false},
			{"alg none", raw(`{"alg":"none","kid":"`+c.key.Public().Thumbprint()+`","typ":"reef-command+jwt"}`) + "." + parts[1] + "." + parts[2], "command.algorithm", false},
			{"another typ", raw(`{"alg":"EdDSA","kid":"`+c.key.Public().Thumbprint()+`","typ":"at+jwt"}`) + "." + parts[1] + "." + parts[2], "command.type", false},
			{"another network", by(c.key, with(func(x *token.Command) { x.Audience = "https://other.example" }), 0, 0), "command.audience", false},
			{"expired", by(c.key, order, time.Minute, 10*time.Minute), "command.expired", false},
			{"from the future", by(c.key, order, 0, -10*time.Minute), "command.early", false},
			{"a key that nobody knows", by(stranger, order, 0, 0), "command.key", false},
			{"the payload of another", strings.Join([]string{parts[0], strings.Split(c.sign(t, "agent.pause", victim.ID, 0, 0), ".")[1], parts[2]}, "."), "command.signature", false},
			{"beyond the key", by(narrow.key, order, 0, 0), "command.scope", true},
			{"an act that is no command's", by(c.key, with(func(x *token.Command) { x.Act = "content.erase" }), 0, 0), "command.scope", true},
			{"an act that is none", by(c.key, with(func(x *token.Command) { x.Act = "agent.*" }), 0, 0), "command.scope", true},
			{"an owner's agents", by(c.key, with(func(x *token.Command) { x.Target.Kind = "owner" }), 0, 0), "command.target", true},
			{"all", by(c.key, with(func(x *token.Command) { x.Target = token.Target{Kind: "all", ID: "*"} }), 0, 0), "command.target", true},
			{"what is no agent", by(c.key, with(func(x *token.Command) { x.Target.ID = other }), 0, 0), "command.target", true},
			{"a name", by(c.key, with(func(x *token.Command) { x.Target.ID = "victim" }), 0, 0), "command.target", true},
			{"a kill that was signed long ago", by(c.key, order, time.Hour, 20*time.Minute), "step-up", true},
			{"without a reason that can be read", by(c.key, with(func(x *token.Command) { x.Reason = " " }), 0, 0), "reason", true},
		} {
			before := len(leaves(t, s))
			status, rule := deliver(t, s, w.text)
			if rule != w.rule || status < 400 || status >= 500 {
				t.Errorf("%s: %d %s, want %s", w.name, status, rule, w.rule)
			}
			if !slices.ContainsFunc(leaves(t, s)[before:], func(l audit.Leaf) bool {
				return l.Rule == w.rule && (l.Outcome == "denied" || w.rule == "reason" && l.Outcome == "failed") && w.mine == (l.Principal.ID == s.Codec.String(op.ID))
			}) {
				t.Errorf("%s: no leaf says so", w.name)
			}
			if standingOf(t, s, victim.ID) != act.Active {
				t.Fatalf("%s: it is %s", w.name, standingOf(t, s, victim.ID))
			}
		}

		// One byte of a good one, anywhere, to anything.
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\x00{\"\xff"
		for n := range 1000 {
			at := n % len(good)
			twin := []byte(good)
			for twin[at] == good[at] {
				twin[at] = alphabet[rand.IntN(len(alphabet))]
			}
			switch n % 10 {
			case 8:
				twin = slices.Delete(twin, at, at+1)
			case 9:
				twin = slices.Insert([]byte(good), at, twin[at])
			}
			if status, _ := deliver(t, s, string(twin)); status < 400 || standingOf(t, s, victim.ID) != act.Active {
				t.Fatalf("%q: %d, it is %s", twin, status, standingOf(t, s, victim.ID))
			}
		}
		if n := doneByCommand(t, s, "agent.kill", victim.ID) + doneByCommand(t, s, "agent.pause", victim.ID); n != 0 {
			t.Errorf("%d were executed", n)
		}
		// After all that it is still good: what was refused has used up nothing.
		if status, rule := deliver(t, s, good); status != http.StatusOK || standingOf(t, s, victim.ID) != act.Killed {
			t.Errorf("the good one: %d %s", status, rule)
		}
		// What is reversible may have been signed for the day.
		_, later := s.Agent(t, "later")
		if status, rule := deliver(t, s, c.sign(t, "agent.pause", later.ID, 24*time.Hour, 20*time.Hour)); status != http.StatusOK {
			t.Errorf("a pause that was signed in the morning: %d %s", status, rule)
		}
		// An act that does not suit its target: refused.
		pause := c.sign(t, "agent.pause", victim.ID, 0, 0)
		if status, rule := deliver(t, s, pause); status != http.StatusConflict || rule != "standing.killed" {
			t.Errorf("a pause of who was killed: %d %s", status, rule)
		}
	})
}

// T37: a command key gives its operator nothing that they have not themselves, then and
// now, and ends with what they signed in with.
func TestT37_CommandKeysAreTheirOperators(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		rule := func(err error) string {
			if err == nil {
				return ""
			}
			return act.AsError(err).Rule
		}
		_, ada := s.Agent(t, "ada")
		mara := signedIn(t, s, "mara", gate.OperatorResponder, time.Now())
		c := command(t, s, mara, token.EdDSA, identity.CommandActs()...)
		ask := func(p act.Principal, acts ...string) error {
			key, err := token.NewKey(token.EdDSA)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Issuer.Commander.Do(ctx, p, newCommandKey(t, s, p, key, acts...))
			return err
		}
		// Who may register one, and for what.
		long := mara
		long.AuthAt -= time.Hour.Microseconds()
		for name, k := range map[string]struct {
			p    act.Principal
			acts []string
			rule string
		}{
			"an approver":              {signedIn(t, s, "abe", gate.OperatorApprover, time.Now()), []string{"agent.pause"}, "default-deny"},
			"signed in long ago":       {long, []string{"agent.pause"}, "step-up"},
			"nothing":                  {mara, nil, "command.scope"},
			"all by a star":            {mara, []string{"agent.*"}, "command.scope"},
			"an act of other kinds":    {mara, []string{"agent.pause", "content.erase"}, "command.scope"},
			"an act twice":             {mara, []string{"agent.pause", "agent.pause"}, "command.scope"},
			"an agent":                 {ada, []string{"agent.pause"}, "default-deny"},
			"what she may do, and can": {mara, []string{"agent.pause"}, ""},
		} {
			if err := ask(k.p, k.acts...); rule(err) != k.rule {
				t.Errorf("%s: %v, want %q", name, err, k.rule)
			}
		}
		// Another's key, a proof for somebody else, and one key twice.
		in := newCommandKey(t, s, mara, c.key, "agent.pause")
		if _, err := s.Issuer.Commander.Do(ctx, mara, in); rule(err) != "key.known" {
			t.Errorf("one key twice: %v", err)
		}
		key, err := token.NewKey(token.EdDSA)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Issuer.Commander.Do(ctx, mara, newCommandKey(t, s, operator(t, s), key, "agent.pause")); rule(err) != "assertion.key" {
			t.Errorf("a proof for another operator: %v", err)
		}
		in = newCommandKey(t, s, mara, key, "agent.pause")
		in.ValidFor = identity.MaxCommandKeyLife + time.Second
		if _, err := s.Issuer.Commander.Do(ctx, mara, in); rule(err) != "command.life" {
			t.Errorf("a key for longer than a year: %v", err)
		}
		// A program makes one only if its consent says that by name, for what it may itself.
		byProgram := func(scope string, acts ...string) (int, string) {
			h := programOf(t, s, mara, scope)
			key, err := token.NewKey(token.EdDSA)
			if err != nil {
				t.Fatal(err)
			}
			in := newCommandKey(t, s, mara, key, acts...)
			body, err := json.Marshal(map[string]any{"key": in.Key, "proof": in.Proof, "acts": in.Acts})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodPost, "/v1/command-keys", strings.NewReader(string(body)))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "DPoP "+h.token)
			r.Header.Set("DPoP", h.proof(http.MethodPost, "/v1/command-keys"))
			w := httptest.NewRecorder()
			s.API.Handler().ServeHTTP(w, r)
			var told struct{ Rule string }
			_ = json.Unmarshal(w.Body.Bytes(), &told)
			return w.Code, told.Rule
		}
		for _, k := range []struct {
			scope, act string
			status     int
			rule       string
		}{
			{"*", "agent.pause", http.StatusForbidden, "command.person"},
			{"command.*", "agent.pause", http.StatusForbidden, "command.person"},
			{"agent.*", "agent.pause", http.StatusForbidden, "token.scope"},
			{"agent.pause command.register", "agent.kill", http.StatusForbidden, "command.scope"},
			{"agent.pause command.register", "agent.pause", http.StatusCreated, ""},
		} {
			if status, rule := byProgram(k.scope, k.act); status != k.status || rule != k.rule {
				t.Errorf("a program with %q registers a key for %s: %d %s", k.scope, k.act, status, rule)
			}
		}

		// She loses the role: nothing is executed. She has it again: it was not used up.
		text := c.sign(t, "agent.pause", ada.ID, 0, 0)
		signedIn(t, s, "mara", gate.OperatorAuditor, time.Now())
		if status, rule := deliver(t, s, text); status != http.StatusForbidden || rule != "default-deny" || standingOf(t, s, ada.ID) != act.Active {
			t.Errorf("after she lost the role: %d %s", status, rule)
		}
		mara = signedIn(t, s, "mara", gate.OperatorResponder|gate.OperatorAdmin, time.Now())
		if status, rule := deliver(t, s, text); status != http.StatusOK || standingOf(t, s, ada.ID) != act.Paused {
			t.Errorf("after she has it again: %d %s", status, rule)
		}
		// The key stands in the inventory as hers, used, and ends when she is barred.
		shown := s.Call(t, http.MethodGet, "/v1/identity/inventory", s.Token, nil)
		if !strings.Contains(string(shown.Raw), `"kind":"command-key","binding":"key","subject":"`+s.Codec.String(mara.ID)) || !strings.Contains(string(shown.Raw), `"scope":"agent.kill agent.pause agent.quarantine agent.release agent.resume scope.kill scope.pause scope.quarantine scope.release scope.resume"`) {
			t.Errorf("the inventory: %s", shown.Raw)
		}
		text = c.sign(t, "agent.resume", ada.ID, 0, 0)
		var person act.ID
		if err := s.DB.View(ctx, func(v *store.View) error {
			_, err := v.One(`SELECT id FROM credential WHERE subject = $1 AND kind = 'person'`, func(r *store.Row) error { person = r.ID(0); return nil }, mara.ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if a := s.Call(t, http.MethodPost, "/v1/credentials/"+s.Codec.String(person)+"/revoke", s.Token, map[string]string{"reason": "she left"}); a.Status != http.StatusOK {
			t.Fatalf("bar her: %d %s", a.Status, a.Raw)
		}
		if status, rule := deliver(t, s, text); status != http.StatusUnauthorized || rule != "command.key" || standingOf(t, s, ada.ID) != act.Paused {
			t.Errorf("after she was barred: %d %s", status, rule)
		}
		var live int64
		if err := s.DB.View(ctx, func(v *store.View) error {
			_, err := v.One(`SELECT COUNT(*) FROM credential WHERE subject = $1 AND kind = 'command-key' AND revoked_at = 0`, func(r *store.Row) error { live = r.Int(0); return nil }, mara.ID)
			return err
		}); err != nil || live != 0 {
			t.Errorf("%d of her keys stand (%v)", live, err)
		}
	})
}
