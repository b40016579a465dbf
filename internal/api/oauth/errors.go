package oauth

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
)

// The errors that the RFCs name and this server uses.
const (
	invalidRequest       = "invalid_request"           // RFC 6749 §5.2
	invalidClient        = "invalid_client"            // RFC 6749 §5.2
	invalidGrant         = "invalid_grant"             // RFC 6749 §5.2
	unauthorizedClient   = "unauthorized_client"       // RFC 6749 §5.2
	unsupportedGrant     = "unsupported_grant_type"    // RFC 6749 §5.2
	unsupportedResponse  = "unsupported_response_type" // RFC 6749 §4.1.2.1
	invalidScope         = "invalid_scope"             // RFC 6749 §5.2
	accessDenied         = "access_denied"             // RFC 6749 §4.1.2.1, RFC 8628 §3.5
	serverError          = "server_error"              // RFC 6749 §4.1.2.1
	unavailable          = "temporarily_unavailable"   // RFC 6749 §4.1.2.1
	invalidTarget        = "invalid_target"            // RFC 8707 §2
	unsupportedToken     = "unsupported_token_type"    // RFC 7009 §2.2.1
	authorizationPending = "authorization_pending"     // RFC 8628 §3.5
	slowDown             = "slow_down"                 // RFC 8628 §3.5
	expiredToken         = "expired_token"             // RFC 8628 §3.5
	invalidProof         = "invalid_dpop_proof"        // RFC 9449 §5
	useNonce             = "use_dpop_nonce"            // RFC 9449 §8
)

// rules maps the rules of errors to what the RFCs call them. A rule is looked for
// whole, then by what stands before its dot; a rule that is not here is mapped by
// its error's code.
var rules = map[string]string{
	"dpop.nonce": useNonce,
	"dpop":       invalidProof,

	"assertion": invalidClient,
	"client":    invalidClient,

	"grant.type":     unsupportedGrant,
	"grant":          invalidGrant,
	"exchange":       invalidRequest, // RFC 8693 §2.2.2
	"scope":          invalidScope,
	"token.scope":    invalidScope,
	"token.audience": invalidTarget,
	"token":          invalidRequest, // a subject or actor token that is no good, RFC 8693 §2.2.2
	"target":         invalidTarget,

	"device.pending": authorizationPending,
	"device.slow":    slowDown,
	"device.denied":  accessDenied,
	"device.expired": expiredToken,
	"device":         invalidGrant,
	"consent.denied": accessDenied,
	"response.type":  unsupportedResponse,
	"revoke.type":    unsupportedToken,
	"session":        accessDenied,
	"standing":       invalidGrant,
}

// codeOf returns what the RFCs call an error.
func codeOf(e *act.Error) string {
	switch e.Code {
	case act.Unavailable, act.RateLimited:
		return unavailable // whatever was asked for, it may work later
	case act.Internal:
		return serverError
	case act.Invalid, act.Unauthenticated, act.Denied, act.NotFound, act.Conflict, act.TooLarge, act.Gone, act.Mismatch, act.Method, act.Held:
	}
	if code, ok := rules[e.Rule]; ok {
		return code
	}
	if family, _, ok := strings.Cut(e.Rule, "."); ok {
		if code, ok := rules[family]; ok {
			return code
		}
	}
	switch e.Code {
	case act.Unauthenticated:
		return invalidClient
	case act.Denied, act.Held:
		return unauthorizedClient // policy does not let this client have it
	case act.Gone:
		return invalidGrant
	case act.Internal:
		return serverError
	case act.RateLimited, act.Unavailable:
		return unavailable
	case act.Invalid, act.NotFound, act.Conflict, act.TooLarge, act.Mismatch, act.Method:
		return invalidRequest
	}
	return serverError
}

// statusOf returns the HTTP status of an error. Bad requests have 400, whatever is
// bad about them (RFC 6749 §5.2). 401 is for clients that used the Authorization
// header, because it must name a scheme that would work there, and none does.
func statusOf(e *act.Error) int {
	switch e.Code {
	case act.Internal, act.Unavailable, act.RateLimited, act.Method, act.TooLarge, act.NotFound:
		return api.Status(e.Code)
	case act.Invalid, act.Unauthenticated, act.Denied, act.Conflict, act.Gone, act.Mismatch, act.Held:
	}
	if e.Rule == ruleHeader {
		return http.StatusUnauthorized
	}
	return http.StatusBadRequest
}

// failure is an error of an endpoint (RFC 6749 §5.2) with what this network says
// of every error beside it.
type failure struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	Rule        string `json:"rule,omitempty"`
	Hint        string `json:"hint,omitempty"`
	RetryAfter  int64  `json:"retry_after,omitempty"` // seconds
	Trace       string `json:"trace"`
}

// fail sends an error.
func (d *door) fail(c *api.Call, e *act.Error) {
	if d.isPage(c) {
		d.failPage(c, e)
		return
	}
	f := failure{Error: codeOf(e), Description: plain(e.Message), Rule: e.Rule, Hint: e.Hint, Trace: c.Trace()}
	if e.RetryAfter > 0 {
		f.RetryAfter = api.Seconds(e.RetryAfter)
	}
	status, head := statusOf(e), c.W.Header()
	head.Del("WWW-Authenticate")
	if status == http.StatusUnauthorized {
		// RFC 6749 §5.2: the scheme that the client used. There are no client secrets
		// here, so it will not do either.
		head.Set("WWW-Authenticate", `Basic realm="reef"`)
	}
	d.nonce(c)
	body, err := encode(f)
	if err != nil {
		body = []byte(`{"error":"server_error"}`)
	}
	c.Send(status, d.json, body)
}

// plain makes a text fit for error_description, which takes printable ASCII without
// quote and backslash (RFC 6749 §5.2).
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\':
			return '/'
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, text)
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}
