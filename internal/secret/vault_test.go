package secret

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/secret/secrettest"
)

const vaultRing = "reefwarden/default"

func byAppRole(t testing.TB, v *secrettest.Vault) VaultSettings {
	return VaultSettings{Address: v.URL, AppRole: &VaultAppRole{RoleIDFile: secretFile(t, v.RoleID+"\n"), SecretIDFile: secretFile(t, v.SecretID+"\n")}}
}

func openVault(t testing.TB, v *secrettest.Vault, set VaultSettings) *Vault {
	t.Helper()
	s, err := NewVault(set, "default", v.Clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.WithoutCancel(t.Context())) })
	return s
}

// vaults are the ways to sign in to the double of Vault, for the conformance test.
func vaults() []peer {
	var list []peer
	for name, set := range map[string]func(*testing.T, *secrettest.Vault) VaultSettings{
		"approle": func(t *testing.T, v *secrettest.Vault) VaultSettings { return byAppRole(t, v) },
		"jwt": func(t *testing.T, v *secrettest.Vault) VaultSettings {
			return VaultSettings{Address: v.URL + "/", JWT: &VaultJWT{Role: "reef", File: secretFile(t, v.JWT)}}
		},
	} {
		list = append(list, peer{name: "double of vault, " + name, start: func(t *testing.T) fixture {
			v := secrettest.NewVault(t)
			settings := set(t, v)
			return fixture{
				open: func(context.Context) (identity.KeyStore, error) { return NewVault(settings, "default", v.Clock) },
				spoil: func(text []byte) {
					v.Put(vaultRing, map[string]any{"ring": base64.StdEncoding.EncodeToString(text)})
				},
				deny: v.Deny, down: v.Down, slow: v.Slow,
				expire:  func() { v.Advance(25 * time.Hour) },
				restart: v.Revoke,
			}
		}})
	}
	return list
}

// The lease is renewed before it ends; when it has come to its greatest length the
// node signs in again, also after an outage that it did not survive.
func TestVaultLease(t *testing.T) {
	v := secrettest.NewVault(t)
	v.Leases(time.Hour, 3*time.Hour)
	s := openVault(t, v, byAppRole(t, v))
	if err := s.Write(t.Context(), ringOf(t), ""); err != nil {
		t.Fatal(err)
	}
	for range 9 { // the lease never runs out, and nobody signs in again
		v.Advance(15 * time.Minute)
		read(t, s)
	}
	if signIns, renewals, _ := v.Counts(); signIns != 1 || renewals < 3 || renewals > 6 {
		t.Errorf("in two hours and a quarter: %d sign-ins, %d renewals", signIns, renewals)
	}
	for range 10 {
		v.Advance(15 * time.Minute)
		read(t, s)
	}
	if signIns, _, _ := v.Counts(); signIns != 2 {
		t.Errorf("after the greatest length: %d sign-ins", signIns)
	}
	v.Advance(30 * time.Hour)
	read(t, s)
	if signIns, _, _ := v.Counts(); signIns != 3 {
		t.Errorf("after the lease has ended: %d sign-ins", signIns)
	}
	v.Revoke() // in the middle of the lease
	read(t, s)
	// What is left of a lease is used when the secret id is no longer good.
	v.Uses(0)
	v.Leases(time.Minute, 2*time.Hour)
	v.Advance(40 * time.Minute) // twenty are left, and a renewal gives one
	read(t, s)
	v.Advance(2 * time.Hour)
	if _, err := s.Read(t.Context()); act.CodeOf(err) != act.Denied {
		t.Errorf("without a lease and without a secret id: %v", err)
	}
	live := v.Live()
	v.Uses(-1)
	v.Leases(time.Hour, 2*time.Hour)
	read(t, s)
	if v.Live() != live+1 {
		t.Fatal("no lease runs")
	}
	if err := s.Close(t.Context()); err != nil || v.Live() != live {
		t.Errorf("after the end %d leases run, %v", v.Live(), err)
	}
}

// The wrapping token that brings the secret id opens once, and only one that was made
// for a secret id is opened at all.
func TestVaultWrapping(t *testing.T) {
	v := secrettest.NewVault(t)
	wrapped := func(token string) *Vault {
		set := byAppRole(t, v)
		set.AppRole.SecretIDFile, set.AppRole.Wrapped = secretFile(t, token), true
		return openVault(t, v, set)
	}
	token := v.Wrap("auth/approle/role/reef/secret-id")
	s := wrapped(token)
	if err := s.Write(t.Context(), ringOf(t), ""); err != nil {
		t.Fatal(err)
	}
	v.Revoke() // signs in again with the secret id that it has
	read(t, s)
	if _, err := wrapped(token).Read(t.Context()); act.CodeOf(err) != act.Denied || !strings.Contains(act.AsError(err).Hint, "somebody else") {
		t.Errorf("a wrapping token that was opened: %v", err)
	}
	for _, path := range []string{"secret/data/x", "auth/approle/role/reef/role-id", "auth/other/role/reef/secret-id", ""} {
		before, _, _ := v.Counts()
		if _, err := wrapped(v.Wrap(path)).Read(t.Context()); act.CodeOf(err) != act.Denied {
			t.Errorf("a wrapping token made for %q: %v", path, err)
		}
		if after, _, _ := v.Counts(); after != before {
			t.Errorf("a node signs in with what came from %q", path)
		}
	}
}

// What Vault answers when it is not in order is told apart, and nothing of what was
// sent or answered is in an error.
func TestVaultErrors(t *testing.T) {
	v := secrettest.NewVault(t)
	s, ring := openVault(t, v, byAppRole(t, v)), ringOf(t)
	if err := s.Write(t.Context(), ring, ""); err != nil {
		t.Fatal(err)
	}
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != "" {
			t.Error("a token was carried to another address")
		}
		_, _ = fmt.Fprint(w, "<html>")
	}))
	defer stranger.Close()
	v.Redirect(stranger.URL)
	if _, err := s.Read(t.Context()); act.CodeOf(err) != act.Unavailable || !strings.Contains(act.AsError(err).Hint, "active node") {
		t.Errorf("a standby that redirects: %v", err)
	}
	v.Redirect("")
	v.Seal(true)
	if _, err := s.Read(t.Context()); act.CodeOf(err) != act.Unavailable || !strings.Contains(act.AsError(err).Hint, "sealed") {
		t.Errorf("a sealed Vault: %v", err)
	}
	v.Seal(false)
	v.Delete(vaultRing)
	if _, err := s.Read(t.Context()); act.CodeOf(err) != act.Unavailable || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a deleted version: %v", err)
	}
	if _, err := identity.OpenKeys(t.Context(), s, true); err == nil {
		t.Error("a key is made over a deleted one")
	}
	v.Put(vaultRing, map[string]any{"password": "CANARY"})
	if _, err := s.Read(t.Context()); act.CodeOf(err) != act.Invalid || strings.Contains(fmt.Sprintf("%+v", err), "CANARY") {
		t.Errorf("another secret in its place: %v", err)
	}
	v.Put(vaultRing, map[string]any{"ring": strings.Repeat("x", maxAnswer)})
	if _, err := s.Read(t.Context()); act.CodeOf(err) != act.Unavailable {
		t.Errorf("an endless answer: %v", err)
	}
	// The double repeats what it was sent, as servers do.
	canary := "CANARY-secret-id"
	set := byAppRole(t, v)
	set.AppRole.SecretIDFile = secretFile(t, canary)
	_, err := openVault(t, v, set).Read(t.Context())
	if act.CodeOf(err) != act.Denied || strings.Contains(fmt.Sprintf("%+v %v", err, errors.Unwrap(err)), canary) {
		t.Errorf("a wrong secret id: %v", err)
	}
	set.Address = stranger.URL
	if _, err := openVault(t, v, set).Read(t.Context()); act.CodeOf(err) != act.Unavailable || !strings.Contains(err.Error(), "does not answer like Vault") {
		t.Errorf("something else at its address: %v", err)
	}
	set.AppRole.SecretIDFile = filepath.Join(t.TempDir(), "none")
	if _, err := openVault(t, v, set).Read(t.Context()); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its secret id a ring is missing: %v", err)
	}
}

func TestReadPlace(t *testing.T) {
	const role = `"approle":{"role_id_file":"role","secret_id_file":"/run/secret"}`
	dir := t.TempDir()
	load := func(text string) (Place, error) {
		path := filepath.Join(dir, "store.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return ReadPlace(path)
	}
	p, err := load(`{"vault":{"address":"https://vault.example:8200","ca_file":"ca.pem",` + role + `},"lease":"90m"}`)
	if err != nil || p.GoOn() != 90*time.Minute || p.Vault.CAFile != filepath.Join(dir, "ca.pem") ||
		p.Vault.AppRole.RoleIDFile != filepath.Join(dir, "role") || p.Vault.AppRole.SecretIDFile != "/run/secret" {
		t.Fatalf("%+v, %v", p.Vault, err)
	}
	if p, err := load(`{"vault":{"address":"http://127.0.0.1:8200",` + role + `}}`); err != nil || p.GoOn() != DefaultLease {
		t.Errorf("on this machine: %v", err)
	}
	for what, text := range map[string]string{
		"nothing":             ``,
		"no store":            `{}`,
		"an unknown field":    `{"vault":{"address":"https://v",` + role + `},"token":"x"}`,
		"a token":             `{"vault":{"address":"https://v","token":"hvs.x",` + role + `}}`,
		"two":                 `{"vault":{"address":"https://v",` + role + `}}{}`,
		"no address":          `{"vault":{` + role + `}}`,
		"in the clear":        `{"vault":{"address":"http://vault.example:8200",` + role + `}}`,
		"a password":          `{"vault":{"address":"https://u:p@v",` + role + `}}`,
		"another scheme":      `{"vault":{"address":"ftp://v",` + role + `}}`,
		"no sign-in":          `{"vault":{"address":"https://v"}}`,
		"two sign-ins":        `{"vault":{"address":"https://v",` + role + `,"jwt":{"role":"r","file":"f"}}}`,
		"half a sign-in":      `{"vault":{"address":"https://v","approle":{"role_id_file":"f"}}}`,
		"half another":        `{"vault":{"address":"https://v","jwt":{"role":"r"}}}`,
		"a path out of it":    `{"vault":{"address":"https://v","path":"../sys/raw",` + role + `}}`,
		"a query":             `{"vault":{"address":"https://v","mount":"kv?x=1",` + role + `}}`,
		"a lease of a second": `{"vault":{"address":"https://v",` + role + `},"lease":"1s"}`,
		"a lease for ever":    `{"vault":{"address":"https://v",` + role + `},"lease":"9000h"}`,
		"no lease at all":     `{"vault":{"address":"https://v",` + role + `},"lease":"0"}`,
		"far too long":        `{"lease":"` + strings.Repeat("1", maxPlace) + `"}`,
	} {
		if p, err := load(text); err == nil {
			t.Errorf("%s is taken: %+v", what, p)
		}
	}
}

// Two networks of one process keep their rings apart.
func TestVaultNetworks(t *testing.T) {
	v := secrettest.NewVault(t)
	p := Place{Vault: new(byAppRole(t, v))}
	one, two := ringOf(t), ringOf(t)
	for name, ring := range map[string][]byte{"default": one, "pricing": two} {
		s, err := p.Open(t.Context(), name, v.Clock)
		if err == nil {
			err = s.Write(t.Context(), ring, "")
		}
		if err != nil {
			t.Fatal(err)
		}
		if kept := read(t, s); !bytes.Equal(kept.Ring, ring) {
			t.Errorf("the ring of %s is another's", name)
		}
	}
}
