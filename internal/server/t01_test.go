package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// T01: no value of the database, in any form a thief would try, is a credential: as a
// secret of each kind it is not genuine, no door lets it in as a key or a token, and the
// token endpoint gives nothing for it, where every eighth form is tried. (lifecycle tries
// the keys of 20 agents, and the files.)
func TestT01_NoValueIsACredential(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			cfg := servertest.Config(t, d)
			cfg.KeyRefresh, cfg.WebhookAllow = 20*time.Millisecond, []string{"127.0.0.0/8"}
			s, err := server.New(t.Context(), cfg, telemetry.NewLogger(new(lines), telemetry.Options{Level: slog.LevelWarn}))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			use(t, s, cfg, make(secrets))
			settled, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := s.Settle(settled); err != nil {
				t.Fatal(err)
			}
			values := storetest.Values(t, cfg.Store())
			if len(values) < 500 {
				t.Fatalf("%d values are not a network", len(values))
			}

			key, err := token.NewKey(token.ES256)
			if err != nil {
				t.Fatal(err)
			}
			// ask sends a request and reports whether it is more than refused.
			ask := func(method, path, authorization string, form url.Values) bool {
				t.Helper()
				r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
				if authorization != "" {
					r.Header.Set("Authorization", authorization)
				}
				if form != nil {
					proof, err := key.Prove(token.Prove{Method: method, URL: s.URL() + path, Nonce: s.Issuer.Nonce(), Now: s.DB.Clock()()})
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					r.Header.Set("DPoP", proof)
				}
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, r)
				if w.Code >= http.StatusInternalServerError {
					t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
				}
				return w.Code < http.StatusBadRequest
			}
			seen := make(map[string]bool)
			asked := 0
			for _, v := range values {
				if len(v) < 16 || seen[string(v)] {
					continue // what is shorter is guessed, not stolen
				}
				seen[string(v)] = true
				for _, text := range []string{string(v), hex.EncodeToString(v), base64.RawURLEncoding.EncodeToString(v), base64.RawURLEncoding.EncodeToString(v[:min(24, len(v))])} {
					for kind := identity.AgentKey; kind.Prefix() != ""; kind++ {
						for _, body := range []string{text, text[:min(32, len(text))], text[max(0, len(text)-32):]} {
							if _, ok := s.Identity.HashSecret(kind, kind.Prefix()+body); ok {
								t.Errorf("%q is genuine as %s", text, kind.Prefix())
							}
						}
						if _, ok := s.Identity.HashSecret(kind, text); ok {
							t.Errorf("%q is genuine as it is", text)
						}
					}
					if bytes.ContainsAny([]byte(text), "\r\n\x00") || len(text) > 4<<10 {
						continue // no header holds it
					}
					asked++
					if ask(http.MethodGet, "/v1/whoami", "Bearer "+text, nil) || ask(http.MethodGet, "/v1/whoami", "DPoP "+text, nil) {
						t.Errorf("%q lets one in", text)
					}
					if asked%8 != 0 {
						continue // a proof costs a signature
					}
					for grant, field := range map[string]string{
						"refresh_token": "refresh_token", "authorization_code": "code", "urn:ietf:params:oauth:grant-type:device_code": "device_code",
					} {
						if ask(http.MethodPost, "/oauth/token", "", url.Values{"grant_type": {grant}, "client_id": {identity.CommandLine}, field: {text}, "code_verifier": {text}, "redirect_uri": {"http://127.0.0.1:1/callback"}}) {
							t.Errorf("%q gets a token as %s", text, field)
						}
					}
				}
			}
			if asked < 200 {
				t.Errorf("only %d forms were tried at the doors", asked)
			}
			t.Logf("%d values, %d forms at the doors, 0 let in", len(values), asked)
		})
	}
}
