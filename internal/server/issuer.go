package server

import "github.com/reefwarden/reefwarden/internal/identity"

// issuer says how the network's issuer of tokens is made.
func (c Config) issuer(s *Server) identity.IssuerConfig {
	return identity.IssuerConfig{
		Codec: s.Codec, URL: s.URL, Agents: s.Lifecycle, Bus: s.Bus,
		RotateEvery: c.SigningEvery, KeyLife: c.KeyLife, NoLegacy: c.LegacyKeys == LegacyOff,
	}
}
