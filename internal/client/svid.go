package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// SVID is an X.509-SVID of the caller's: a certificate of hours that says who it is.
type SVID struct {
	ID          string    `json:"id"`       // spiffe://…
	Instance    string    `json:"instance"` // what the next one is asked for with
	Credential  string    `json:"credential"`
	Certificate string    `json:"certificate"` // PEM
	Bundle      []string  `json:"bundle"`      // PEM, those that vouch for certificates of the trust domain
	ExpiresAt   time.Time `json:"expires_at"`
}

// IssueSVID gets an X.509-SVID for the key that has signed a request (PKCS #10, PEM).
// instance is of the one before, "" for the first.
func (c *Client) IssueSVID(ctx context.Context, request, instance string) (out SVID, err error) {
	in := struct {
		Request  string `json:"request"`
		Instance string `json:"instance"`
	}{request, instance}
	err = c.conn.call(ctx, http.MethodPost, "/v1/svids", nil, in, &out)
	return out, err
}

// TokenSVID is a JWT-SVID of the caller's. Whoever has it can show it.
type TokenSVID struct {
	ID        string    `json:"id"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// SignSVID gets a JWT-SVID for named audiences. instance is that of an SVID.
func (c *Client) SignSVID(ctx context.Context, audience []string, instance string) (out TokenSVID, err error) {
	in := struct {
		Audience []string `json:"audience"`
		Instance string   `json:"instance"`
	}{audience, instance}
	err = c.conn.call(ctx, http.MethodPost, "/v1/svids/token", nil, in, &out)
	return out, err
}

// TrustBundle gets what verifies the network's SVIDs (SPIFFE Trust Domain and Bundle §4).
func (c *Client) TrustBundle(ctx context.Context) (out json.RawMessage, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/trust-bundle", nil, nil, &out)
	return out, err
}
