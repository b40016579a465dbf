package client_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// A key file comes back as it was written, is its owner's alone, and is refused when
// others may have read it or it is not whole. No error tells of the key.
func TestKeyFile(t *testing.T) {
	key, err := token.NewKey(token.ES256)
	check(t, err)
	m := client.Member{URL: "https://reef.example", Issuer: "https://reef.example", ID: "id", Name: "ada", Key: key, Until: time.Unix(2_000_000_000, 0).UTC()}
	file := filepath.Join(t.TempDir(), "agents", "ada", "key.json")
	check(t, m.Write(file))
	back, err := client.ReadMember(file)
	if err != nil || back.Key.Public().Thumbprint() != key.Public().Thumbprint() || back.URL != m.URL || back.Issuer != m.Issuer || back.ID != m.ID || back.Name != m.Name || !back.Until.Equal(m.Until) {
		t.Errorf("read %+v, %v", back, err)
	}
	for path, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700 | os.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has the mode %v, %v", path, info.Mode(), err)
		}
	}
	list, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(list) != 1 {
		t.Errorf("beside it are %v, %v", list, err)
	}
	_, err = client.ReadMember(file + ".not")
	wants(t, err, act.NotFound, "key.file")
	check(t, os.Chmod(file, 0o640))
	_, err = client.ReadMember(file)
	wants(t, err, act.Denied, "key.mode")
	_, err = client.ReadMember(filepath.Dir(file))
	wants(t, err, act.Invalid, "key.file")
	whole, err := os.ReadFile(file)
	check(t, err)
	for what, text := range map[string][]byte{
		"empty": nil, "cut short": whole[:len(whole)/2], "another key": bytes.Replace(whole, []byte(key.Public().Thumbprint()), []byte("other"), 1),
		"no agent": bytes.Replace(whole, []byte(`"id"`), []byte(`""`), 1), "not JSON": []byte("key"), "long": make([]byte, 1<<20),
	} {
		bad := filepath.Join(t.TempDir(), "key.json")
		check(t, os.WriteFile(bad, text, 0o600))
		if _, err = client.ReadMember(bad); act.CodeOf(err) != act.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	plain := m
	plain.URL = "http://reef.example"
	check(t, plain.Write(file))
	_, err = client.ReadMember(file)
	wants(t, err, act.Denied, "issuer.plain")
}

// A server elsewhere may not say that it is another one, and nothing is asked over a
// wire that others can read.
func TestIssuerIsWhoWasAsked(t *testing.T) {
	said := "https://reef.example"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":"` + said + `"}`))
	}))
	defer s.Close()
	if got, err := client.Issuer(t.Context(), s.URL); err != nil || got != said { // what stands behind the public address
		t.Errorf("on this machine: %q, %v", got, err)
	}
	for _, said = range []string{"", "reef.example", "ftp://reef.example"} {
		_, err := client.Issuer(t.Context(), s.URL)
		wants(t, err, act.Invalid, "issuer.url")
	}
	_, err := client.Issuer(t.Context(), "http://reef.example")
	wants(t, err, act.Denied, "issuer.plain")
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.8.9.10:1": true, "[::1]:80": true, "::1": true, "localhost": true, "LocalHost:7333": true, "[::ffff:127.0.0.1]:1": true,
		"": false, ":80": false, "0.0.0.0:1": false, "localhost.example": false, "127.0.0.1.example": false, "10.0.0.1": false, "2130706433": false, "127.1": false, "[::]:1": false,
	} {
		if client.Loopback(host) != want {
			t.Errorf("%q is this machine: %v", host, !want)
		}
	}
}
