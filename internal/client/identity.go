package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Caller is who sends a request, as the server sees it.
type Caller struct {
	Kind      string     `json:"kind"`
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Subject   string     `json:"subject"` // whose authority it is in the end
	Chain     []string   `json:"chain"`   // on whose behalf the caller acts, outermost first
	Binding   string     `json:"binding"`
	Grant     *string    `json:"grant"`
	Scopes    []string   `json:"scopes"`     // nil where nothing but policy bounds the caller
	ExpiresAt *time.Time `json:"expires_at"` // of the credential
	Roles     []string   `json:"roles"`      // of an operator, by which policy decides; nil for others
	AuthAt    *time.Time `json:"auth_at"`    // when an operator last proved who they are; nil where each call does
	PasskeyAt *time.Time `json:"passkey_at"` // when an operator last did so by a passkey; nil if never
}

// Whoami tells who the server takes the caller for.
func (c *Client) Whoami(ctx context.Context) (out Caller, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/whoami", nil, nil, &out)
	return out, err
}

// Credential is a credential or grant of the inventory.
type Credential struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	Binding   string     `json:"binding"`
	Subject   string     `json:"subject"`
	Name      string     `json:"name"`
	Standing  *string    `json:"standing"` // of an agent
	Owner     *string    `json:"owner"`    // of an agent; nil while nobody owns it
	Scope     string     `json:"scope"`
	KeyID     *string    `json:"key_id"`
	Parent    *string    `json:"parent"`   // grant of which it was carved out
	Delegate  *string    `json:"delegate"` // agent that may carve its own out of it
	CreatedAt *time.Time `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
	RevokedAt *time.Time `json:"revoked_at"`
	UsedAt    *time.Time `json:"used_at"` // to the minute
	Age       int64      `json:"age"`     // seconds
	Dormant   bool       `json:"dormant"`
	Unowned   bool       `json:"unowned"`
}

// CredentialQuery asks for a page of the inventory; zero fields do not filter.
type CredentialQuery struct {
	Kind    string // credential, or grant
	Agent   string // by id
	Dormant bool   // only what was not used for long
	Unowned bool   // only what belongs to agents without an owner
	Ended   bool   // also what was revoked or is over
	Limit   int
	Cursor  string
}

// CredentialPage is a page of the inventory; Next is "" at the end.
type CredentialPage struct {
	Items []Credential `json:"items"`
	Next  string       `json:"next_cursor"`
}

// Inventory lists what lets anybody in, in the order of ids.
func (c *Client) Inventory(ctx context.Context, q CredentialQuery) (out CredentialPage, err error) {
	v := url.Values{}
	word(v, "kind", q.Kind)
	word(v, "agent", q.Agent)
	word(v, "cursor", q.Cursor)
	number(v, "limit", q.Limit)
	for name, on := range map[string]bool{"dormant": q.Dormant, "unowned": q.Unowned, "ended": q.Ended} {
		if on {
			v.Set(name, "true")
		}
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/identity/inventory", v, nil, &out)
	return out, err
}

// SigningKey is a key that signs access tokens from a time on.
type SigningKey struct {
	KeyID    string    `json:"key_id"`
	ActiveAt time.Time `json:"active_at"`
}

// RotateSigningKey makes the next key that signs access tokens. When the present one
// may be in wrong hands, it and all tokens end at once.
func (c *Client) RotateSigningKey(ctx context.Context, compromised bool, reason string) (SigningKey, error) {
	return c.rotate(ctx, compromised, false, reason)
}

// RotateSVIDKeys is RotateSigningKey for the keys that sign SVIDs.
func (c *Client) RotateSVIDKeys(ctx context.Context, compromised bool, reason string) (SigningKey, error) {
	return c.rotate(ctx, compromised, true, reason)
}

func (c *Client) rotate(ctx context.Context, compromised, svids bool, reason string) (out SigningKey, err error) {
	in := struct {
		Compromised bool   `json:"compromised"`
		SVIDs       bool   `json:"svids"`
		Reason      string `json:"reason"`
	}{compromised, svids, reason}
	err = c.conn.call(ctx, http.MethodPost, "/v1/keys/rotate", nil, in, &out)
	return out, err
}
