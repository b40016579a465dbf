package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// Enrolling asks for the enrolment of a key.
type Enrolling struct {
	URL         string // where the network is reached
	Token       string // an enrolment token, or the bootstrap key of an agent
	Name        string // of the agent: a new one's, or whom the token is expected to be for
	Description string // of a new agent
	Key         token.Private
	Now         time.Time
}

// Enroll enrols a key pair and shows that its private half is at hand. No secret
// comes back: the private key stays where it was made.
func Enroll(ctx context.Context, in Enrolling) (Member, error) {
	m := Member{URL: strings.TrimRight(in.URL, "/"), Key: in.Key}
	var err error
	if m.Issuer, err = Issuer(ctx, m.URL); err != nil {
		return m, err
	}
	proof, err := in.Key.Assert(voucher(in.Token), m.Issuer, in.Now)
	if err != nil {
		return m, err
	}
	ask := struct {
		Token       string `json:"token"`
		Key         string `json:"key"`
		Proof       string `json:"proof"`
		Name        string `json:"name"`
		Description string `json:"description"`
	}{in.Token, string(in.Key.Public().JWK()), proof, in.Name, in.Description}
	var out struct {
		ID        string    `json:"id"`
		Name      string    `json:"name"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	c, err := open(m.URL, "")
	if err != nil {
		return m, err
	}
	if err := c.call(ctx, http.MethodPost, "/v1/enroll", nil, ask, &out); err != nil {
		return m, err
	}
	m.ID, m.Name, m.Until = out.ID, out.Name, out.ExpiresAt
	return m, nil
}

// voucher is what the proof of possession is made over; it tells nothing of the token.
func voucher(enrolment string) string {
	sum := sha256.Sum256([]byte("reefwarden enrolment\n" + enrolment))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// NewEnrollment asks for a token under which one key can be enrolled.
type NewEnrollment struct {
	Agent    string // id of an agent that is there, or "" for a new one
	Owner    string // of a new agent
	Scope    string // what the key may ask for; everything if ""
	ValidFor time.Duration
}

// Enrollment is an enrolment token. It is shown once.
type Enrollment struct {
	ID        string    `json:"id"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
}

// NewEnrollment makes an enrolment token.
func (c *Client) NewEnrollment(ctx context.Context, n NewEnrollment) (out Enrollment, err error) {
	in := struct {
		Agent    string `json:"agent,omitempty"`
		Owner    string `json:"owner,omitempty"`
		Scope    string `json:"scope,omitempty"`
		ValidFor int64  `json:"valid_for,omitempty"`
	}{n.Agent, n.Owner, n.Scope, int64(n.ValidFor.Round(time.Second) / time.Second)}
	err = c.conn.call(ctx, http.MethodPost, "/v1/enrollments", nil, in, &out)
	return out, err
}

// Recovered is what an agent begins again with after its keys were ended. Both secrets
// are shown once.
type Recovered struct {
	ID        string    `json:"id"`
	Token     string    `json:"token"` // enrols a new key
	ExpiresAt time.Time `json:"expires_at"`
	Key       *string   `json:"key"`   // bootstrap key, nil unless asked for
	Ended     int64     `json:"ended"` // credentials that were good until now
}

// Recover ends all credentials and tokens of the agent with the id at its owner's word
// and lets it enrol a new key; it stays who it is.
func (c *Client) Recover(ctx context.Context, id, owner, reason string) (out Recovered, err error) {
	in := struct {
		Owner  string `json:"owner,omitempty"`
		Reason string `json:"reason"`
	}{owner, reason}
	err = c.conn.call(ctx, http.MethodPost, "/v1/agents/"+url.PathEscape(id)+"/recover", nil, in, &out)
	return out, err
}

// NewKey replaces the holder's key by another one, which the two vouch for. The old
// key and every token that was got with it end. It returns the member with the new
// key.
func (h *Holder) NewKey(ctx context.Context, fresh token.Private) (Member, error) {
	m := h.Member()
	now := h.clock()
	old, err := m.Key.Assert(fresh.Public().Thumbprint(), m.Issuer, now)
	if err != nil {
		return m, err
	}
	proof, err := fresh.Assert(m.Key.Public().Thumbprint(), m.Issuer, now)
	if err != nil {
		return m, err
	}
	in := struct {
		Key   string `json:"key"`
		Proof string `json:"proof"`
		Old   string `json:"old"`
	}{string(fresh.Public().JWK()), proof, old}
	var out struct {
		KeyID     string    `json:"key_id"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := h.Client().conn.call(ctx, http.MethodPost, "/v1/me/keys/rotate", nil, in, &out); err != nil {
		return m, err
	}
	if out.KeyID != fresh.Public().Thumbprint() {
		return m, act.Errorf(act.Internal, "the server has taken another key than the one that was sent").WithRule("key.other").
			WithHint("have the agent's keys replaced by its owner")
	}
	m.Key, m.Until = fresh, out.ExpiresAt
	return m, nil
}
