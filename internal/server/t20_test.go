package server_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// skillFile is the part of skill.json that an agent checks its copies by.
type skillFile struct {
	Version string            `json:"version"`
	Digests map[string]string `json:"digests"`
	Moltbot struct {
		API string `json:"api_base"`
	} `json:"moltbot"`
}

func fetch(t *testing.T, s *servertest.Server, path string) []byte {
	t.Helper()
	rec := httptest.NewRecorder() // the public URL need not be reachable
	s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("%s: status %d", path, rec.Code)
	}
	return rec.Body.Bytes()
}

// checkDocuments is what a careful agent does before it believes a new version.
// It returns what is wrong, "" when all is well.
func checkDocuments(skill []byte, signature string, keys jose.JSONWebKeySet, files map[string][]byte) string {
	jws, err := jose.ParseDetached(signature, skill, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return "signature: " + err.Error()
	}
	known := keys.Key(jws.Signatures[0].Header.KeyID)
	if len(known) != 1 {
		return "signature: unknown key"
	}
	if _, err := jws.Verify(known[0]); err != nil {
		return "signature: " + err.Error()
	}
	var s skillFile
	if err := json.Unmarshal(skill, &s); err != nil {
		return err.Error()
	}
	for name, content := range files {
		sum := sha256.Sum256(content)
		if s.Digests[name] != "sha256:"+hex.EncodeToString(sum[:]) {
			return "digest of " + name
		}
	}
	return ""
}

// T20, the serving half: the documents are signed, versioned and named by their
// digests, so that a changed one with a wrong or missing signature is found out
// before a line of it reaches a prompt; and a stranger's Host header is not in
// them.
func TestT20_DocumentsAreSignedAndPinned(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	cfg.PublicURL = "https://reef.example"
	s := servertest.Start(t, cfg)
	files := make(map[string][]byte)
	for _, name := range []string{"skill.md", "heartbeat.md", "messaging.md", "rules.md"} {
		files[name] = fetch(t, s, "/"+name)
	}
	skill, signature := fetch(t, s, "/skill.json"), strings.TrimSpace(string(fetch(t, s, "/skill.json.jws")))
	var keys, strangers jose.JSONWebKeySet
	if err := json.Unmarshal(fetch(t, s, "/.well-known/jwks.json"), &keys); err != nil || len(keys.Keys) == 0 || !keys.Keys[0].IsPublic() {
		t.Fatalf("the keys: %v, %d of them, public only", err, len(keys.Keys))
	}
	if wrong := checkDocuments(skill, signature, keys, files); wrong != "" {
		t.Fatalf("what is served does not verify: %s", wrong)
	}

	other := servertest.Start(t, servertest.Config(t, store.SQLite))
	if err := json.Unmarshal(fetch(t, other, "/.well-known/jwks.json"), &strangers); err != nil {
		t.Fatal(err)
	}
	changed := func(b []byte) []byte {
		return []byte(strings.Replace(string(b), "reef.example", "reef.example.org", 1))
	}
	one := func(name string) map[string][]byte { return map[string][]byte{name: changed(files[name])} }
	for what, wrong := range map[string]string{
		"a changed file":            checkDocuments(skill, signature, keys, one("skill.md")),
		"a changed skill.json":      checkDocuments(changed(skill), signature, keys, files),
		"no signature":              checkDocuments(skill, "", keys, files),
		"another's signature":       checkDocuments(skill, strings.TrimSpace(string(fetch(t, other, "/skill.json.jws"))), keys, files),
		"another network's keys":    checkDocuments(skill, signature, strangers, files),
		"a signature without proof": checkDocuments(skill, signature[:strings.LastIndexByte(signature, '.')+1], keys, files),
	} {
		if wrong == "" {
			t.Errorf("%s is believed", what)
		}
	}

	req := httptest.NewRequest(http.MethodGet, "http://evil.example/skill.md", nil)
	req.Header.Set("X-Forwarded-Host", "evil.example")
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, req)
	if rec.Code != http.StatusOK || strings.Contains(rec.Body.String(), "evil.example") || !strings.Contains(rec.Body.String(), "https://reef.example/api/v1") {
		t.Error("the documents name another host than the configured one")
	}

	// Whatever changes a text changes the version that agents look at every day.
	var here, there skillFile
	if err := json.Unmarshal(skill, &here); err != nil {
		t.Fatal(err)
	}
	cfg = servertest.Config(t, store.SQLite)
	cfg.PublicURL, cfg.OwnKeyApproval = "https://reef.example", true
	if err := json.Unmarshal(fetch(t, servertest.Start(t, cfg), "/skill.json"), &there); err != nil {
		t.Fatal(err)
	}
	if here.Version == there.Version || here.Moltbot.API != "https://reef.example/api/v1" {
		t.Errorf("versions %q and %q, api_base %q", here.Version, there.Version, here.Moltbot.API)
	}
}
