package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/egress"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// issuer says how the network's issuer of tokens is made.
func (s *Server) issuer() (identity.IssuerConfig, error) {
	c := s.Config
	trusted, err := c.trusted()
	if err != nil {
		return identity.IssuerConfig{}, err
	}
	reach, err := c.egress()
	if err != nil {
		return identity.IssuerConfig{}, err
	}
	client := egress.New(reach)
	return identity.IssuerConfig{
		Codec: s.Codec, URL: s.URL, Agents: s.Lifecycle, Bus: s.Bus,
		Domain: cmp.Or(c.TrustDomain, "reef-"+networkCode(s.Keys.Check())), SVIDLife: c.SVIDLife,
		RotateEvery: c.SigningEvery, KeyLife: c.KeyLife, NoLegacy: c.LegacyKeys == LegacyOff, Trusted: trusted,
		Fetch: func(ctx context.Context, url string) ([]byte, error) {
			answer, err := client.Get(ctx, url, http.Header{"Accept": {"application/jwk-set+json, application/json"}})
			if err == nil && answer.Status != http.StatusOK {
				err = act.Errorf(act.Unavailable, "the key set is answered with status %d", answer.Status).WithRule("egress.answer")
			}
			return answer.Body, err
		},
	}, nil
}

// trusted reads the list of other issuers. Files of keys stand relative to it.
func (c Config) trusted() (list []identity.Trusted, err error) {
	if c.Trusted == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(c.Trusted)
	if err != nil {
		return nil, fmt.Errorf("--trusted-issuers: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("--trusted-issuers %s: %w", c.Trusted, err)
	}
	for i := range list {
		if err := list[i].Check(); err != nil {
			return nil, fmt.Errorf("--trusted-issuers %s: %w", c.Trusted, err)
		}
		if f := list[i].KeysFile; f != "" && !filepath.IsAbs(f) {
			list[i].KeysFile = filepath.Join(filepath.Dir(c.Trusted), f)
		}
	}
	return list, nil
}
