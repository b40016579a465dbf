package oauth

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

// named are the errors that the RFCs give to a token endpoint and its neighbours.
var named = []string{
	invalidRequest, invalidClient, invalidGrant, unauthorizedClient, unsupportedGrant, unsupportedResponse, invalidScope, accessDenied, serverError,
	unavailable, invalidTarget, unsupportedToken, authorizationPending, slowDown, expiredToken, invalidProof, useNonce,
}

// Every code of an error has a name in the RFCs and a status, with a rule that
// nobody knows too.
func TestEveryErrorIsNamed(t *testing.T) {
	for _, code := range act.Codes() {
		for _, rule := range []string{"", "unknown", "unknown.rule", "quota.token", "dpop.iat"} {
			e := act.Errorf(code, "no").WithRule(rule)
			if got := codeOf(e); !slices.Contains(named, got) {
				t.Errorf("%s, %q: %q", code, rule, got)
			}
			if status := statusOf(e); status < 400 || status > 503 || status == http.StatusUnauthorized || status == http.StatusForbidden {
				t.Errorf("%s, %q: status %d", code, rule, status)
			}
		}
	}
	for rule, code := range rules {
		if !slices.Contains(named, code) || strings.Count(rule, ".") > 1 {
			t.Errorf("%s: %q", rule, code)
		}
	}
}

func TestRulesByName(t *testing.T) {
	for _, c := range []struct {
		code act.Code
		rule string
		want string
	}{
		{act.Unauthenticated, "dpop.nonce", "use_dpop_nonce"},
		{act.Unauthenticated, "dpop.replay", "invalid_dpop_proof"},
		{act.Unauthenticated, "assertion.audience", "invalid_client"},
		{act.Unauthenticated, "client.unknown", "invalid_client"},
		{act.Unauthenticated, ruleHeader, "invalid_client"},
		{act.Denied, "token.scope", "invalid_scope"},
		{act.Denied, "scope.unknown", "invalid_scope"},
		{act.Denied, "default-deny", "unauthorized_client"},
		{act.Invalid, "grant.type", "unsupported_grant_type"},
		{act.Unauthenticated, "grant.reused", "invalid_grant"},
		{act.Invalid, "exchange.subject", "invalid_request"},
		{act.Invalid, "target.unknown", "invalid_target"},
		{act.Invalid, ruleForm, "invalid_request"},
		{act.Denied, "device.pending", "authorization_pending"},
		{act.Unavailable, "grant.unchecked", "temporarily_unavailable"},
		{act.RateLimited, "quota.token", "temporarily_unavailable"},
		{act.Internal, "grant.anything", "server_error"},
	} {
		if got := codeOf(act.Errorf(c.code, "no").WithRule(c.rule)); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.code, c.rule, got, c.want)
		}
	}
	// 401 is for who used the header, since it must name a scheme (RFC 9110 §15.5.2).
	if got := statusOf(act.Errorf(act.Unauthenticated, "no").WithRule(ruleHeader)); got != http.StatusUnauthorized {
		t.Errorf("status %d", got)
	}
}

// RFC 6749 §5.2 says what a description may hold.
func TestDescriptionsArePlain(t *testing.T) {
	if got := plain("a \"b\" \\ c\nd é"); got != "a 'b' / c?d ?" {
		t.Errorf("%q", got)
	}
}
