//go:build !race

// The race detector makes some things allocate.

package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

func certificate(t *testing.T) *x509.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1)}
	raw, err := x509.CreateCertificate(rand.Reader, form, form, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// What a connection has shown once is not worked out again, and never outlasts what it
// says: not its token, its grant, its agent, nor the key that signed it; and it is that
// connection's and no other's.
func TestConnectionsAreRemembered(t *testing.T) {
	clocked(t, func(t *testing.T, d *desk, jump func(time.Duration)) {
		a, cert := d.agent("ada"), certificate(t)
		fresh := func() identity.TokenAnswer {
			t.Helper()
			c := d.client(a)
			c.Proof, c.Cert = "", cert
			out, err := d.ask(a, identity.TokenRequest{Type: identity.TypeClient, Client: c})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		show := func(on *x509.Certificate, text string) error {
			_, err := d.Identity.Present(t.Context(), identity.Presented{Scheme: "Bearer", Credential: text, Cert: on})
			return err
		}
		good := func(what, text string) {
			t.Helper()
			for range 3 {
				if err := show(cert, text); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		}
		first, second := fresh(), fresh()
		good("the first", first.AccessToken)
		good("another on the same connection", second.AccessToken)
		good("the first again", first.AccessToken)
		refusedAs(t, "on another connection", show(certificate(t), first.AccessToken), "token.binding")
		refusedAs(t, "on none", show(nil, first.AccessToken), "token.binding")
		good("after that", first.AccessToken)
		changed := []byte(first.AccessToken)
		if at := len(changed) - 40; changed[at] == 'A' {
			changed[at] = 'B'
		} else {
			changed[at] = 'A'
		}
		refusedAs(t, "with another signature", show(cert, string(changed)), "token.signature")

		if _, err := d.Issuer.Revoke.Do(t.Context(), d.operator, identity.Revocation{Grant: first.Grant, Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, "when it was revoked", show(cert, first.AccessToken), "token.revoked")
		good("what was not revoked", second.AccessToken)

		if n := testing.AllocsPerRun(200, func() { _ = show(cert, second.AccessToken) }); n >= 1 {
			t.Errorf("%v allocations", n)
		}
		jump(second.Expires.Sub(d.now()) + token.Skew + time.Second)
		refusedAs(t, "when it is over", show(cert, second.AccessToken), "token.expired")

		third := fresh()
		good("a third", third.AccessToken)
		if _, err := d.Issuer.Rotate.Do(t.Context(), d.operator, identity.Rotation{Reason: "a test", Compromised: true}); err != nil {
			t.Fatal(err)
		}
		if err := show(cert, third.AccessToken); act.CodeOf(err) != act.Unauthenticated {
			t.Errorf("signed by a key that was taken out of use: %v", err)
		}
	})
}
