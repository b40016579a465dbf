package native

import (
	"context"
	"net/http"
	"strings"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// whoami is the caller as the server sees it: who acts, on whose behalf, with what,
// how far, and until when.
type whoami struct {
	Kind      string    `json:"kind"`
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Subject   string    `json:"subject"` // whose authority it is in the end: the id of the first of the chain, or one's own
	Chain     []string  `json:"chain"`   // ids of those on whose behalf the caller acts, outermost first
	Binding   string    `json:"binding"`
	Grant     *string   `json:"grant"`      // behind the access token; null for other credentials
	Scopes    *[]string `json:"scopes"`     // null where nothing but policy bounds the caller
	ExpiresAt *string   `json:"expires_at"` // of what was shown; null if it does not expire
}

// GET /whoami
func (d *door) whoami(ctx context.Context, c *api.Call) error {
	p := c.Principal
	if err := d.kernel.Gate.Knock(ctx, p, "", gate.QuotaRead); err != nil {
		return err
	}
	out := whoami{
		Kind: p.Kind.String(), ID: d.codec.String(p.ID), Name: p.Name, Subject: d.codec.String(p.ID), Chain: []string{},
		Binding: p.Binding.String(), ExpiresAt: wireTime(p.Until),
	}
	for _, id := range p.Chain {
		out.Chain = append(out.Chain, d.codec.String(id))
	}
	if len(out.Chain) > 0 {
		out.Subject = out.Chain[0]
	}
	if p.Grant != 0 {
		grant, scopes := d.codec.String(p.Grant), strings.Fields(p.Scope)
		out.Grant, out.Scopes = &grant, &scopes
	}
	return d.send(c, http.StatusOK, out)
}
