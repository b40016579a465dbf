package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	grantClient   = "client_credentials"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeAssertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2
	maxForm       = 64 << 10                                                 // bytes of an answer of an endpoint
)

// TokenRequest asks the token endpoint for an access token.
type TokenRequest struct {
	Subject  string   // an access token to carve the new one out of (RFC 8693); "" for one of the agent's own
	Scope    string   // all that there is if "", unless Subject is given
	Audience []string // ids of agents that may carve their own out of it, or URLs
}

// Mint gets an access token that is bound to the holder's key: with an assertion by
// the key (RFC 7523) and a proof (RFC 9449).
func (h *Holder) Mint(ctx context.Context, r TokenRequest) (t Token, err error) {
	t, _, err = h.redeem(ctx, r.form())
	return t, err
}

func (r TokenRequest) form() url.Values {
	f := url.Values{"grant_type": {grantClient}, "audience": r.Audience}
	if r.Subject != "" {
		f.Set("grant_type", grantExchange)
		f.Set("subject_token", r.Subject)
		f.Set("subject_token_type", typeAccess)
	}
	if r.Scope != "" {
		f.Set("scope", r.Scope)
	}
	return f
}

// issued is an answer of the token endpoint (RFC 6749 §5.1).
type issued struct {
	Text      string `json:"access_token"`
	Type      string `json:"token_type"`
	ExpiresIn int64  `json:"expires_in"`
	Scope     string `json:"scope"`
	Refresh   string `json:"refresh_token"`
}

// token returns the token, whose life is counted from when it was asked for.
func (i issued) token(scheme string, sent time.Time) (Token, error) {
	if i.Text == "" || !strings.EqualFold(i.Type, scheme) {
		return Token{}, act.Errorf(act.Internal, "the network gave a token of the type %.20q", i.Type).WithRule("token.type").
			WithHint("check that the server is of the same version")
	}
	return Token{i.Text, scheme, i.Scope, sent.Add(time.Duration(i.ExpiresIn) * time.Second)}, nil
}

// redeem gets tokens for what a form has, bound to the holder's key.
func (h *Holder) redeem(ctx context.Context, f url.Values) (t Token, refresh string, err error) {
	var out issued
	sent := h.clock()
	if err := h.ask(ctx, pathToken, f, &out); err != nil {
		return t, "", err
	}
	t, err = out.token(schemeDPoP, sent)
	return t, out.Refresh, err
}

// Inspect asks the network what a token is good for (RFC 7662). It returns the answer
// as it came.
func (h *Holder) Inspect(ctx context.Context, text string) (out json.RawMessage, err error) {
	err = h.ask(ctx, pathIntrospect, url.Values{"token": {text}}, &out)
	return out, err
}

// Revoke ends a token's grant with everything that was carved out of it (RFC 7009).
// One that is over already, or somebody else's, is no error.
func (h *Holder) Revoke(ctx context.Context, text string) error {
	return h.ask(ctx, pathRevoke, url.Values{"token": {text}}, nil)
}

// ask sends a form to an endpoint with a proof, once more when it wants another nonce.
func (h *Holder) ask(ctx context.Context, path string, f url.Values, out any) error {
	for try := 1; ; try++ {
		if err := h.identify(f); err != nil {
			return err
		}
		proof, err := h.prove(http.MethodPost, path, "")
		if err != nil {
			return err
		}
		fault, err := h.post(ctx, path, proof, f, out)
		if fault != "use_dpop_nonce" || try > 1 {
			return err
		}
	}
}

// identify puts into a form who sends it. An agent authenticates with its key; who acts
// for an operator is the command line, which has no key that the network knows before.
func (h *Holder) identify(f url.Values) error {
	m := h.me.Load()
	if m.ID == "" {
		f.Set("client_id", commandLine)
		return nil
	}
	assertion, err := m.Key.Assert(m.ID, m.Issuer, h.clock())
	if err != nil {
		return err
	}
	f.Set("client_assertion_type", typeAssertion)
	f.Set("client_assertion", assertion)
	return nil
}

// post sends a form, with a proof unless it is "". It returns what the RFCs call the
// error beside the error.
func (h *Holder) post(ctx context.Context, path, proof string, f url.Values, out any) (fault string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.conn.base+path, strings.NewReader(f.Encode()))
	if err != nil {
		return "", act.Errorf(act.Invalid, "the request cannot be made: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", agentName)
	if proof != "" {
		req.Header.Set("DPoP", proof)
	}
	resp, err := h.conn.http.Do(req)
	if err != nil {
		return "", away(h.conn.base, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it is read to its end or given up
	h.hear(resp.Header)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxForm+1))
	if err != nil || len(raw) > maxForm {
		return "", act.Errorf(act.Unavailable, "the answer broke off or is too long: %w", cmpErr(err)).WithRetry(refusedFor).
			WithHint("ask again")
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		fault, e := refusal(resp, raw)
		return fault, e
	}
	if out == nil {
		return "", nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		// The answer may hold a token: nothing of it is told.
		return "", act.Errorf(act.Internal, "the answer is not what this client expects").
			WithHint("check that the address is a Reefwarden server of the same version")
	}
	return "", nil
}

func away(base string, err error) *act.Error {
	return act.Errorf(act.Unavailable, "the network does not answer: %w", err).WithRule("proxy.away").WithRetry(refusedFor).
		WithHint("check that it runs and that the address is right: " + base)
}

// refusal reads an error of an endpoint (RFC 6749 §5.2).
func refusal(resp *http.Response, raw []byte) (fault string, e *act.Error) {
	var told struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Rule        string `json:"rule"`
		Hint        string `json:"hint"`
	}
	if json.Unmarshal(raw, &told) != nil || told.Error == "" {
		e = failure(resp, raw)
		return "", e
	}
	e = act.Errorf(oauthCode(told.Error, told.Rule, resp.StatusCode), "%s", told.Description).WithRule(told.Rule).WithHint(told.Hint)
	if e.Message == "" {
		e.Message = told.Error
	}
	if secs, err := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 32); err == nil && secs > 0 {
		e.RetryAfter = time.Duration(secs) * time.Second
	}
	return told.Error, e
}

// oauthCode is what an error of the endpoints means: their status tells little.
func oauthCode(fault, rule string, status int) act.Code {
	switch {
	case status == http.StatusTooManyRequests:
		return act.RateLimited
	case status >= http.StatusInternalServerError, fault == "temporarily_unavailable", fault == "server_error":
		return act.Unavailable
	case strings.HasPrefix(rule, "standing."), fault == "unauthorized_client", fault == "access_denied", fault == "invalid_scope", fault == "invalid_target":
		return act.Denied
	case fault == "invalid_client", fault == "invalid_grant", fault == "invalid_dpop_proof", fault == "use_dpop_nonce":
		return act.Unauthenticated
	}
	return act.Invalid
}
