package server

import (
	"fmt"
	"strings"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/api/oauth"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// clients reads the programs that operators may let act for them.
func (c Config) clients() (identity.Clients, error) {
	out := identity.Clients{}
	for _, text := range c.OAuthClients {
		name, redirect, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("--oauth-clients %q is not NAME=REDIRECT", text)
		}
		if err := out.Add(name, redirect); err != nil {
			return nil, fmt.Errorf("--oauth-clients: %w", err)
		}
	}
	return out, nil
}

// oauth makes the authorization server's door. sessions is nil where no pages are
// served: nobody could sign in to say yes.
func (s *Server) oauth(kernel *api.Kernel, sessions *api.Sessions) (*api.Door, error) {
	return oauth.New(oauth.Config{
		Kernel: kernel, Issuer: s.Issuer, Consents: s.Consents, URL: s.URL, Algorithms: api.ProofAlgorithms(), Sessions: sessions,
	})
}
