package native

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// svidRoutes are how agents get SPIFFE identities, and how everybody verifies them.
func (d *door) svidRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: post, Path: "/svids", Act: "svid.issue", Handle: d.makeSVID, Takes: newSVID{}, Gives: certificate{}},
		{Method: post, Path: "/svids/token", Act: "svid.sign", Handle: d.makeTokenSVID, Takes: newTokenSVID{}, Gives: tokenSVID{}},
		{Method: get, Path: "/trust-bundle", Anonymous: true, Exempt: "what verifies the network's SVIDs, for everybody who is shown one", Handle: d.trustBundle, Gives: trustBundle{}},
	}
}

type newSVID struct {
	Request  string `json:"request"`  // PKCS #10 (PEM), signed by the key that the SVID is for
	Instance string `json:"instance"` // id of the instance, as the one before has it; a new one if empty
	Life     int64  `json:"life"`     // seconds; the network's if 0
}

// certificate is an X.509-SVID and what verifies those of others.
type certificate struct {
	ID          string   `json:"id"`       // spiffe://…
	Instance    string   `json:"instance"` // id of the instance
	Credential  string   `json:"credential"`
	Certificate string   `json:"certificate"` // PEM
	Bundle      []string `json:"bundle"`      // PEM, those that vouch for certificates of the trust domain
	ExpiresAt   *string  `json:"expires_at"`
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// POST /svids
func (d *door) makeSVID(ctx context.Context, c *api.Call) error {
	var in newSVID
	if err := c.Decode(&in); err != nil {
		return err
	}
	const most = int64(identity.MaxSVIDLife / time.Second)
	if in.Life < 0 || in.Life > most {
		return act.Errorf(act.Invalid, "life is not a number of seconds up to %d", most).WithRule("svid.life").WithHint("leave it out for the network's")
	}
	out, err := d.issuer.Certify.Do(ctx, c.Principal, identity.NewSVID{Request: []byte(in.Request), Instance: in.Instance, Life: time.Duration(in.Life) * time.Second})
	if err != nil {
		return err
	}
	bundle, err := d.issuer.Bundle()
	if err != nil {
		return err
	}
	answer := certificate{
		ID: out.ID.String(), Instance: d.codec.String(out.Instance), Credential: d.codec.String(out.Credential), Certificate: certificatePEM(out.Cert.Raw),
		ExpiresAt: wireTime(out.Cert.NotAfter.UnixMicro()),
	}
	for _, ca := range bundle.X509Authorities() {
		answer.Bundle = append(answer.Bundle, certificatePEM(ca.Raw))
	}
	return d.send(c, http.StatusCreated, answer)
}

type newTokenSVID struct {
	Audience []string `json:"audience"` // to whom it will be shown
	Instance string   `json:"instance"` // id of the instance; that of the SVID that is called with if empty, else a new one
}

// tokenSVID is a JWT-SVID, shown once.
type tokenSVID struct {
	ID        string  `json:"id"` // spiffe://…
	Token     string  `json:"token"`
	ExpiresAt *string `json:"expires_at"`
}

// POST /svids/token
func (d *door) makeTokenSVID(ctx context.Context, c *api.Call) error {
	var in newTokenSVID
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.issuer.Vouch.Do(ctx, c.Principal, identity.NewTokenSVID(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, tokenSVID{out.ID.String(), out.Token, wireTime(out.Expires.UnixMicro())})
}

// trustBundle describes what verifies SVIDs: a SPIFFE bundle, whose keys are JWKs.
type trustBundle struct {
	Keys        []json.RawMessage `json:"keys"`
	Sequence    uint64            `json:"spiffe_sequence,omitempty"`
	RefreshHint int64             `json:"spiffe_refresh_hint,omitempty"` // seconds
}

// GET /trust-bundle
func (d *door) trustBundle(_ context.Context, c *api.Call) error {
	bundle, err := d.issuer.Bundle()
	if err != nil {
		return err
	}
	text, err := bundle.Marshal()
	if err != nil {
		return err
	}
	c.Send(http.StatusOK, d.json, text)
	return nil
}
