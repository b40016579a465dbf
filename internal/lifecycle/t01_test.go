package lifecycle_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// T01: whoever reads the whole database and its files gets no way in. Every
// value of every column, in every form a thief would try, is tried as a
// credential; and no secret that was handed out is in the files.
func TestT01_DumpIsNoCredential(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		h := open(t, cfg, plan{life: lifecycle.Config{ClaimRequired: true}})
		var secrets []string
		for i := range 20 {
			code := h.invite("team")
			r, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: fmt.Sprintf("nemo-%d", i), Invite: code})
			if err != nil {
				t.Fatal(err)
			}
			h.principal(r.Key)
			secrets = append(secrets, code, r.Key, r.ClaimToken, h.invite(""))
			if i%2 == 0 {
				if _, err := h.life.Claim.Do(t.Context(), h.operator, lifecycle.NewClaim{ClaimToken: r.ClaimToken}); err != nil {
					t.Fatal(err)
				}
			}
		}
		token, err := os.ReadFile(filepath.Join(h.dir, "operator.token"))
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, strings.TrimSpace(string(token)))
		_, err = h.ids.Authenticate(t.Context(), secrets[len(secrets)-1])
		if err != nil {
			t.Fatalf("the token itself does not work: %v", err)
		}
		h.gate.Flush()

		if cfg.Dir != "" {
			for _, file := range []string{"reef.db", "reef.db-wal"} {
				raw, err := os.ReadFile(filepath.Join(cfg.Dir, file))
				if err != nil {
					t.Fatal(err)
				}
				if len(raw) == 0 {
					t.Errorf("%s is empty: nothing was looked at", file)
				}
				for _, s := range secrets {
					for what, form := range forms(t, s) {
						if bytes.Contains(raw, form) {
							t.Errorf("%s holds the %s of a %s…", file, what, s[:12])
						}
					}
				}
			}
		}
		values := storetest.Values(t, cfg)
		if len(values) < 500 {
			t.Fatalf("only %d values in the dump", len(values))
		}
		tried := 0
		for _, v := range values {
			for _, s := range secrets {
				if bytes.Contains(v, []byte(s)) || bytes.Contains(v, []byte(s[len(s)-32:])) {
					t.Errorf("a column holds a secret: %q", v)
				}
			}
			for _, text := range []string{string(v), hex.EncodeToString(v), base64.RawURLEncoding.EncodeToString(v)} {
				for _, prefix := range []string{"", identity.AgentKey.Prefix(), identity.OperatorToken.Prefix()} {
					for _, body := range []string{text, text[:min(32, len(text))], text[max(0, len(text)-32):]} {
						tried++
						if p, err := h.ids.Authenticate(t.Context(), prefix+body); err == nil {
							t.Fatalf("%q works as %+v", prefix+body, p)
						}
					}
				}
			}
			if _, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "thief", Invite: identity.InviteCode.Prefix() + base64.RawURLEncoding.EncodeToString(v)}); err == nil {
				t.Fatalf("%q works as an invite code", v)
			}
		}
		t.Logf("%d values, %d tries, 0 work", len(values), tried)
		h.check()
	})
}

// forms are the ways in which a secret could lie about.
func forms(t *testing.T, secret string) map[string][]byte {
	t.Helper()
	body := secret[len(secret)-32:]
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"text": []byte(secret), "body": []byte(body), "bytes": raw, "random part": raw[:16], "hex": []byte(hex.EncodeToString(raw)),
	}
}
