package api_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// bodies are valid bodies for the routes that need one.
var bodies = map[string]any{
	"agent.register":   map[string]any{"name": "newcomer", "description": "x"},
	"agent.update":     map[string]any{"description": "x"},
	"community.create": map[string]any{"name": "place", "display_name": "Place"},
	"post.create":      map[string]any{"submolt": "general", "title": "x"},
	"comment.create":   map[string]any{"content": "x"},
	"agent.pause":      map[string]any{"reason": "x"},
	"agent.resume":     map[string]any{"reason": "x"},
	"agent.quarantine": map[string]any{"reason": "x"},
	"agent.release":    map[string]any{"reason": "x"},
	"agent.kill":       map[string]any{"reason": "x"},
	"scope.pause":      map[string]any{"reason": "x"},
	"scope.resume":     map[string]any{"reason": "x"},
	"scope.quarantine": map[string]any{"reason": "x"},
	"scope.release":    map[string]any{"reason": "x"},
	"scope.kill":       map[string]any{"reason": "x"},
	"trace.contain":    map[string]any{"subject": "1", "level": "likely", "content": true, "reason": "x"},
	"trace.restore":    map[string]any{"reason": "x"},
	"content.unseal":   map[string]any{"reason": "r"},
	"content.erase":    map[string]any{"reason": "r"},
	"agent.claim":      map[string]any{"owner": "x"},
	"app.create":       map[string]any{"owner": "x"},
	"owner.link":       map[string]any{"owner": "x", "reason": "x"},
	"owner.move":       map[string]any{"owner": "x", "reason": "x"},
	"role.bind":        map[string]any{"name": "x", "role": "observer", "service": "x", "reason": "x"},
	"retention.set":    map[string]any{"days": 60, "reason": "x"},
	"retention.reset":  map[string]any{"reason": "x"},
	"role.define":      map[string]any{"name": "x", "roles": []string{"observer"}, "reason": "x"},
	"role.drop":        map[string]any{"reason": "x"},
	"role.unbind":      map[string]any{"reason": "x"},
	"identity.prove":   map[string]any{},
	"owner.mail":       map[string]any{"email": "x@example.org"},
	"claim.mail":       map[string]any{"email": "x@example.org"},
	"approval.approve": map[string]any{"reason": "stop"},
	"approval.deny":    map[string]any{"reason": "stop"},
	"dm.request":       map[string]any{"to": "known", "message": "a long enough text"},
	"dm.send":          map[string]any{"message": "x"},
	"task.post":        map[string]any{"to": "known", "title": "x"},
	"task.progress":    map[string]any{"lease": 1, "note": "x"},
	"dm.inspect":       map[string]any{"reason": "x"},
	"webhook.create":   map[string]any{"url": "https://example.org/hook"},
	"import.write":     map[string]any{"source": "x", "posts": []any{}},
	"queue.create":     map[string]any{"name": "x"},
	"queue.update":     map[string]any{"visibility": 5},

	"label.define":      map[string]any{"key": "x", "label": "X", "color": "red", "kind": "tag"},
	"label.attach":      map[string]any{"label_definition_id": "x", "target_type": "agent", "target_id": "x", "placement": "metadata"},
	"label.prompt":      map[string]any{"prompt": "x"},
	"community.update":  map[string]any{"rules": "x"},
	"community.appoint": map[string]any{"agent_name": "known"},
	"community.dismiss": map[string]any{"agent_name": "known"},
}

// another returns a letter that is not c.
func another(c string) string {
	if c == "x" {
		return "y"
	}
	return "x"
}

// nativeBodies are those where the native door asks for something else.
var nativeBodies = map[string]any{
	"dm.send":    map[string]any{"content": "x"},
	"dm.approve": map[string]any{"owner": "x", "reason": "x"},
	"dm.reject":  map[string]any{"owner": "x", "reason": "x"},
	"dm.unblock": map[string]any{"owner": "x", "reason": "x"},

	"community.create": map[string]any{"name": "new-place"},
	"post.create":      map[string]any{"community": "general", "title": "x"},
	"vote.cast":        map[string]any{"direction": "up"},
	"agent.update":     map[string]any{"description": "x"},
	"network.confirm":  map[string]any{"kills": "none", "reason": "x"},
	"network.backup":   map[string]any{"reason": "x"},
	"challenge.answer": map[string]any{"answer": "1"},

	"community.appoint": map[string]any{"role": "moderator"},

	"enrollment.create":  map[string]any{"owner": "x"},
	"credential.recover": map[string]any{"owner": "x", "reason": "x"},
	"credential.revoke":  map[string]any{"reason": "x"},
	"command.register":   map[string]any{"acts": []string{"agent.pause"}},
	"key.rotate":         map[string]any{"reason": "x"},
	"key.renew":          map[string]any{"reason": "x"},
	"svid.issue":         map[string]any{"request": signingRequest},
	"svid.sign":          map[string]any{"audience": []string{"x"}},

	"class.put":      map[string]any{"name": "monitor", "spec": map[string]any{}},
	"rollout.start":  map[string]any{"reason": "x"},
	"rollout.pause":  map[string]any{"reason": "x"},
	"rollout.resume": map[string]any{"reason": "x"},
	"rollout.abort":  map[string]any{"reason": "x"},
	"class.retire":   map[string]any{"reason": "x"},
	"mandate.open":   map[string]any{"name": "pricing", "owner": "x", "statement": "x"},
	"mandate.revise": map[string]any{"statement": "x", "reason": "x"},
	"mandate.close":  map[string]any{"reason": "x"},
	"mandate.attest": map[string]any{"reason": "x"},
	"outcome.record": map[string]any{"metric": "x", "value": 1},
	"agent.request":  map[string]any{"name": "another", "class": "monitor", "owner": "x", "reason": "x"},
	"agent.spawn":    map[string]any{"name": "another", "class": "monitor", "reason": "x"},
	"process.open":   map[string]any{"name": "runtime"},
	"agent.appeal":   map[string]any{"reason": "x"},
	"agent.trust":    map[string]any{"level": "high", "reason": "x"},
	"agent.adopt":    map[string]any{"owner": "y", "reason": "x"},
	"budget.report":  map[string]any{"tokens": 1},
	"quota.set":      map[string]any{"limit": 1, "reason": "x"},
	"quota.drop":     map[string]any{"reason": "x"},

	"policy.activate": map[string]any{"reason": "x"},
	"policy.revert":   map[string]any{"reason": "x"},
	"policy.check":    map[string]any{},
	"policy.diff":     map[string]any{},
	"policy.dryrun":   map[string]any{"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z"},
	"policy.shadow":   map[string]any{"reason": "x"},
	"policy.unshadow": map[string]any{"reason": "x"},

	"manifest.plan":     map[string]any{"manager": "x", "files": []any{declared}},
	"manifest.apply":    map[string]any{"manager": "x", "files": []any{declared}, "digest": "x"},
	"community.provide": map[string]any{"name": "provided"},

	"audit.hold":     map[string]any{"everything": true, "reason": "x"},
	"audit.release":  map[string]any{"reason": "x"},
	"audit.define":   map[string]any{"title": "x", "acts": []string{"post."}, "reason": "x"},
	"audit.withdraw": map[string]any{"reason": "x"},

	"community.classify": map[string]any{"classification": "internal", "reason": "x"},
	"taint.flag":         map[string]any{"reason": "x"},
	"taint.clear":        map[string]any{"reason": "x"},
}

// declared is a file with one object.
var declared = map[string]any{"name": "x.yaml", "text": "{apiVersion: reefwarden/v1, kind: Class, metadata: {name: monitor}, spec: {}}"}

// signingRequest is one for a key that nobody has any more.
const signingRequest = `-----BEGIN CERTIFICATE REQUEST-----
MIG5MGICAQAwADBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOSGWzwWL2dgT+LL
FS3wGJvsqLlon65oFnQWQgPRU7HYblXOf1nuVzW3P62n4ZaNawYekwfEK9Lkhq+A
wLpiG6OgADAKBggqhkjOPQQDAgNHADBEAiBZPjdxg+qz/jqPWuakY1h5RBG1tpEi
u9rBSv3nyxm8AgIgZUpETCBtXC2FPurdhUJEuSXeUnrllh7OGDgvld5yLnY=
-----END CERTIFICATE REQUEST-----
`

// T06: when storage stops, nobody is told that a good key is bad.
func TestT06_StoppedStorageIsNeverABadKey(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) { stoppedStorage(t, servertest.Open(t, servertest.Config(t, d))) })
	}
}

func stoppedStorage(t *testing.T, s *servertest.Server) {
	known, _ := s.Agent(t, "known")      // its key has been verified, and is remembered
	killed, victim := s.Agent(t, "late") // so has that of one who is killed
	made := s.Call(t, "POST", "/api/v1/posts", known, map[string]any{"submolt": "general", "title": "before"})
	if made.Status != http.StatusCreated {
		t.Fatalf("post: %d %s", made.Status, made.Raw)
	}
	post := made.JSON["post"].(map[string]any)["id"].(string)
	said := s.Call(t, "POST", "/api/v1/posts/"+post+"/comments", known, map[string]any{"content": "before"})
	if said.Status != http.StatusCreated {
		t.Fatalf("comment: %d %s", said.Status, said.Raw)
	}
	comment := said.JSON["comment"].(map[string]any)["id"].(string)
	agent := s.Codec.String(victim.ID)
	if a := s.Call(t, "POST", "/v1/agents/"+agent+"/kill", s.Token, bodies["agent.kill"]); a.Status != http.StatusOK {
		t.Fatalf("kill: %d %s", a.Status, a.Raw)
	}
	fresh := s.Call(t, "POST", "/api/v1/agents/register", "", map[string]any{"name": "fresh"})
	unseen := fresh.JSON["agent"].(map[string]any)["api_key"].(string) // never used: only storage knows it
	nobodys := func(kind act.Kind) string {                            // an id that only storage knows to be nobody's
		id, err := s.DB.Mint(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		return s.Codec.String(id)
	}
	approval, given := nobodys(act.KindApproval), nobodys(act.KindDelivery)
	paths := strings.NewReplacer("{$}", "", "/quotas/{scope}/{kind}", "/quotas/network/acts", "/comments/{id}", "/comments/"+comment, "{comment}", comment, "/approvals/{id}", "/approvals/"+approval,
		"{approval}", approval, "{webhook}", nobodys(act.KindWebhook), "{image}", nobodys(act.KindImage), "{label}", nobodys(act.KindLabel), "{version}", "1",
		"{credential}", nobodys(act.KindCredential), "{process}", nobodys(act.KindProcess), "{mandate}", nobodys(act.KindMandate), "{class}", "monitor", "{kind}", "Class",
		"{path...}", "0/000", "/replay/{subject}", "/replay/"+agent, "/flow/{subject}", "/flow/"+agent, "{subject}", post, "{trace}", strings.Repeat("a", 32), "{recall}", "1", "{hold}", "1", "{term}", "closed", "{query}", "mine", "{id}", post, "{post}", post, "{agent}", agent, "{scope}", "community:general", "{name}", "general", "{community}", "general")
	own := map[string]any{ // of the native door, with ids
		"kill.note":    map[string]any{"agent": agent, "name": "late", "reason": "x"},
		"label.attach": map[string]any{"target": post},
	}
	own["agent.enroll"], own["credential.rotate"] = newKeys(t, s)
	tokens := newTokenForms(t, s)
	maps.Copy(own, nativeBodies)
	receipts := map[string]any{"receipts": []string{"1." + given}}
	if err := s.DB.Close(); err != nil {
		t.Fatal(err)
	}

	rounds := 10
	if os.Getenv("REEF_SOAK") == "1" {
		rounds = 40
	}
	asked := 0
	for range rounds {
		for _, d := range s.API.Doors() {
			for _, r := range d.Routes {
				if r.Act == "" || d.Name == "oauth" || r.Path == "/claim" || r.Act == "policy.schema" {
					continue // the page of a claim without a link is drawn without a query; the schema is the program's
				}
				path := d.Prefix + paths.Replace(r.Path)
				switch r.Act {
				case "agent.profile":
					path += "?name=ada"
				case "search.run":
					path += "?q=word"
				}
				var keys []string
				switch {
				case r.Anonymous:
					keys = []string{""}
				case d.Name == "native":
					keys = []string{s.Token, known}
				default:
					keys = []string{known, unseen}
				}
				var body any
				if r.Method != http.MethodGet && (r.Method != http.MethodDelete || r.Body) {
					body = bodies[r.Act]
					if r.Act == "challenge.answer" {
						body = map[string]any{"verification_code": "moltbook_verify_" + strings.ReplaceAll(approval, "-", ""), "answer": "1"}
					}
					if native, ok := own[r.Act]; ok && d.Name == "native" {
						body = native
					}
					if r.Act == "queue.ack" || r.Act == "queue.extend" {
						body = receipts
					}
					if path == "/v1/claims" || r.Act == "telemetry.report" || path == "/account" || path == "/mine" || r.Act == "identity.verify" || r.Act == "avatar.set" || r.Act == "community.picture" || strings.HasPrefix(r.Act, "session.") || strings.HasPrefix(r.Act, "passkey.") {
						continue // a made-up token or application key, an empty form, or one from no page, is refused without a query
					}
				}
				forOperators := strings.HasPrefix(path, "/quotas") || strings.HasPrefix(path, "/controls") // pages and their twins
				for _, key := range keys {
					a := s.Call(t, r.Method, path, key, body)
					if (d.Name == "native" || forOperators || r.Act == "session.list" || r.Act == "passkey.list" || path == "/mine") && a.Status == http.StatusForbidden {
						continue // an act for agents or for operators: that the other may not do it is known without storage
					}
					asked++
					if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
						t.Fatalf("%s %s answers %d, Retry-After %q, want 503 with one: %s",
							r.Method, path, a.Status, a.Header.Get("Retry-After"), a.Raw)
					}
				}
			}
		}
		for _, send := range tokens {
			asked++
			if a := send(); a.Code != http.StatusServiceUnavailable || a.Header().Get("Retry-After") == "" || !strings.Contains(a.Body.String(), `"temporarily_unavailable"`) {
				t.Fatalf("a request for a token is answered %d, want 503 with Retry-After: %s", a.Code, a.Body)
			}
		}
		if a := s.Call(t, "GET", "/readyz", "", nil); a.Status != http.StatusServiceUnavailable {
			t.Fatalf("/readyz answers %d, want 503", a.Status)
		}
		if a := s.Call(t, "GET", "/healthz", "", nil); a.Status != http.StatusOK {
			t.Fatalf("/healthz answers %d, want 200", a.Status)
		}
		for i, wrong := range []string{"moltbook_sk_" + strings.Repeat("A", 32), known[:len(known)-1] + another(known[len(known)-1:]), "nonsense", known + "A"} {
			a := s.Call(t, "GET", "/api/v1/agents/me", wrong, nil)
			if a.Status != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
				t.Fatalf("wrong key %d answers %d: %s", i, a.Status, a.Raw)
			}
		}
		if a := s.Call(t, "GET", "/api/v1/posts", killed, nil); a.Status < 400 {
			t.Fatalf("the killed agent is answered %d: %s", a.Status, a.Raw)
		}
	}
	t.Logf("%d valid requests on every route: all 503 with Retry-After", asked)
}

// newKeys returns good bodies to enrol a key and to replace one.
func newKeys(t *testing.T, s *servertest.Server) (enroll, rotate map[string]any) {
	t.Helper()
	invite := s.Call(t, "POST", "/v1/enrollments", s.Token, map[string]any{"owner": "x"})
	if invite.Status != http.StatusCreated {
		t.Fatalf("enrolment token: %d %s", invite.Status, invite.Raw)
	}
	voucher, _ := invite.JSON["token"].(string)
	k := newKey(t)
	proof := asserted(t, s, k, identity.Voucher(voucher))
	enroll = map[string]any{"token": voucher, "key": string(k.Public().JWK()), "proof": proof, "name": "enrolled"}
	return enroll, map[string]any{"key": string(k.Public().JWK()), "proof": proof, "old": proof}
}

func newKey(t *testing.T) token.Private {
	t.Helper()
	k, err := token.NewKey(token.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func asserted(t *testing.T, s *servertest.Server, k token.Private, client string) string {
	t.Helper()
	text, err := k.Assert(client, s.Server.URL(), s.DB.Clock()())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// newTokenForms enrols an agent and returns requests that would be answered well: for
// a token by its key, about a token, and to end one.
func newTokenForms(t *testing.T, s *servertest.Server) (list []func() *httptest.ResponseRecorder) {
	t.Helper()
	body, _ := newKeys(t, s)
	k := newKey(t)
	body["key"], body["name"] = string(k.Public().JWK()), "keyed"
	body["proof"] = asserted(t, s, k, identity.Voucher(body["token"].(string)))
	made := s.Call(t, "POST", "/v1/enroll", "", body)
	if made.Status != http.StatusCreated {
		t.Fatalf("enrol: %d %s", made.Status, made.Raw)
	}
	id, _ := made.JSON["id"].(string)
	handler := s.API.Handler()
	for _, path := range []string{"/oauth/token", "/oauth/introspect", "/oauth/revoke"} {
		list = append(list, func() *httptest.ResponseRecorder {
			form := url.Values{
				"grant_type": {identity.TypeClient}, "token": {"x"}, "client_assertion": {asserted(t, s, k, id)},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			}
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			proof, err := k.Prove(token.Prove{Method: http.MethodPost, URL: s.Server.URL() + path, Nonce: s.Issuer.Nonce(), Now: s.DB.Clock()()})
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("DPoP", proof)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			return w
		})
	}
	return list
}
