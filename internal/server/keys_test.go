package server_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// What opens the key must not lie beside it, and a key in the clear on an outside
// address has to be meant.
func TestKeySettings(t *testing.T) {
	data, away := t.TempDir(), t.TempDir()
	link := filepath.Join(away, "link")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	base := func() server.Config {
		c, err := server.Load(map[string]any{"data": data})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	outside := func(c *server.Config) { c.Addr, c.TLSCert, c.TLSKey = "0.0.0.0:7333", "cert", "key" }
	for _, c := range []struct {
		what, want string
		change     func(*server.Config)
	}{
		{"on loopback", "", func(*server.Config) {}},
		{"nonsense", "none of plain", func(c *server.Config) { c.KeyUnlock = "sesame" }},
		{"nobody to ask", "nobody can be asked", func(c *server.Config) { c.KeyUnlock = "prompt" }},
		{"no credentials", "no credentials", func(c *server.Config) { c.KeyUnlock = "credential:reef-key" }},
		{"away", "", func(c *server.Config) { c.KeyUnlock = "key:" + filepath.Join(away, "unlock") }},
		{"in the data directory", "put it elsewhere", func(c *server.Config) { c.KeyUnlock = "key:" + filepath.Join(data, "unlock") }},
		{"deep in it", "put it elsewhere", func(c *server.Config) { c.KeyUnlock = "passphrase:" + filepath.Join(data, "a", "b", "unlock") }},
		{"by way of it", "", func(c *server.Config) { c.KeyUnlock = "key:" + filepath.Join(data, "..", filepath.Base(away), "..x") }},
		{"by a link", "put it elsewhere", func(c *server.Config) { c.KeyUnlock = "key:" + filepath.Join(link, "unlock") }},
		{"beside the key", "put it elsewhere", func(c *server.Config) {
			c.KeyFile, c.KeyUnlock = filepath.Join(away, "network.key"), "key:"+filepath.Join(away, "unlock")
		}},
		{"outside", "lies in the clear", outside},
		{"outside, and meant", "", func(c *server.Config) { outside(c); c.KeyUnlock = "plain" }},
		{"outside, and sealed", "", func(c *server.Config) { outside(c); c.KeyUnlock = "key:" + filepath.Join(away, "unlock") }},
	} {
		cfg := base()
		c.change(&cfg)
		if err := cfg.Check(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	// The service manager's credential is used without being named.
	t.Setenv("CREDENTIALS_DIRECTORY", away)
	if c := base(); c.KeyUnlock != "" {
		t.Errorf("without a credential: %q", c.KeyUnlock)
	}
	if err := os.WriteFile(filepath.Join(away, "reef-key"), []byte(rand.Text()+rand.Text()), 0o400); err != nil {
		t.Fatal(err)
	}
	c := base()
	outside(&c)
	if err := c.Check(); c.KeyUnlock != "credential:reef-key" || err != nil {
		t.Errorf("with a credential: %q, %v", c.KeyUnlock, err)
	}
	keys, err := c.OpenKeys(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(c.KeyPath()); err != nil || !strings.HasPrefix(string(raw), "reefwarden-sealed/1\n") {
		t.Errorf("the key that was made is not sealed (%v)", err)
	}
	again, err := c.OpenKeys(t.Context(), false)
	if err != nil || string(again.Check()) != string(keys.Check()) {
		t.Errorf("opened again: %v", err)
	}
}

// A network lives with a sealed key from its first start, and its named ones with it.
func TestSealedNetwork(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	opener := filepath.Join(t.TempDir(), "unlock")
	if err := os.WriteFile(opener, []byte(rand.Text()+rand.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.KeyUnlock = "key:" + opener
	if _, err := server.CreateNetwork(cfg.Data, "pricing", ""); err != nil {
		t.Fatal(err)
	}
	s := servertest.Start(t, cfg)
	for _, n := range []*server.Server{s.Server, s.Named("pricing")} {
		if n == nil {
			t.Fatal("a network is not served")
		}
		raw, err := os.ReadFile(n.Config.KeyPath())
		if err != nil || !strings.HasPrefix(string(raw), "reefwarden-sealed/1\n") {
			t.Errorf("the key of %q is not sealed (%v)", n.Config.Network, err)
		}
	}
	if string(s.Keys.Check()) == string(s.Named("pricing").Keys.Check()) {
		t.Error("two networks have one key")
	}
}
