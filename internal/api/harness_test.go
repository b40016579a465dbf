package api_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/api/moltbook"
	"github.com/reefwarden/reefwarden/internal/api/native"
	"github.com/reefwarden/reefwarden/internal/api/oauth"
	"github.com/reefwarden/reefwarden/internal/console"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
)

// mount puts a second kernel with a configuration of its own over the parts of a
// running server.
func mount(t testing.TB, s *servertest.Server, change func(*api.Config)) *api.Kernel {
	t.Helper()
	c := api.Config{Gate: s.Gate, Auth: s.Identity, URL: s.Server.URL, Nonce: s.Issuer.Nonce, Source: s.Keys.Source, Codec: s.Codec, Metrics: s.Metrics, Clock: s.DB.Clock()}
	if change != nil {
		change(&c)
	}
	k, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	k.Mount(moltbook.New(moltbook.Config{Kernel: k, Network: s.Network, Lifecycle: s.Lifecycle, PublicURL: s.Server.URL}))
	k.Mount(native.New(native.Config{Kernel: k, Network: s.Network, Lifecycle: s.Lifecycle, Issuer: s.Issuer, Passkeys: s.Passkeys, Roles: s.Roles, Labels: s.Labels, Audit: s.Audit, Traces: s.Traces}))
	pages, err := console.New(console.Config{Kernel: k, Network: s.Network, Lifecycle: s.Lifecycle, Identity: s.Identity, Cookie: s.Keys.SessionCookie(), Claim: s.Keys.ClaimCookie(), Passkeys: s.Passkeys, URL: s.Server.URL})
	if err != nil {
		t.Fatal(err)
	}
	k.Mount(pages)
	grants, err := oauth.New(oauth.Config{
		Kernel: k, Issuer: s.Issuer, Consents: s.Consents, URL: s.Server.URL, Algorithms: api.ProofAlgorithms(),
		Sessions: &api.Sessions{Identity: s.Identity, Name: s.Keys.SessionCookie(), URL: s.Server.URL},
	})
	if err != nil {
		t.Fatal(err)
	}
	k.Mount(grants)
	return k
}

// listen serves on a free port until the test ends and returns the address.
func listen(t testing.TB, server *http.Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return l.Addr().String()
}
