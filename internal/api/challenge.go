package api

import (
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Where a client that was refused finds out how to get a token (RFC 9728 §3).
const resourceMetadata = "/.well-known/oauth-protected-resource"

// challenge says in WWW-Authenticate what would do: a token with a proof of its key,
// or a credential that needs none (an operator's token, a bootstrap key, a token that
// the connection's certificate binds). The scheme that was used carries the error
// (RFC 6750 §3, RFC 9449 §7.1).
func (k *Kernel) challenge(c *Call, e *act.Error) {
	var fault strings.Builder
	if len(c.R.Header["Authorization"]) > 0 {
		switch {
		case e.Rule == "dpop.nonce":
			fault.WriteString(`, error="use_dpop_nonce"`)
		case strings.HasPrefix(e.Rule, "dpop."):
			fault.WriteString(`, error="invalid_dpop_proof"`)
		case e.Rule == RuleStepUp: // RFC 9470 §3
			fault.WriteString(`, error="insufficient_user_authentication", max_age="` + strconv.FormatInt(int64(k.Fresh/time.Second), 10) + `"`)
		case e.Rule == rulePasskey:
			fault.WriteString(`, error="insufficient_user_authentication", acr_values="` + ByPasskey + `", max_age="` + strconv.FormatInt(int64(k.Fresh/time.Second), 10) + `"`)
		case e.Rule == ruleScope:
			fault.WriteString(`, error="insufficient_scope", scope="` + c.Route.Act + `"`)
		case e.Code == act.Unauthenticated:
			fault.WriteString(`, error="invalid_token"`)
		}
	}
	rest := `, resource_metadata="` + k.URL() + resourceMetadata + `"`
	bearer, proof := `Bearer realm="reef"`, `DPoP realm="reef", algs="`+strings.Join(ProofAlgorithms(), " ")+`"`
	if c.proves {
		c.W.Header()["Www-Authenticate"] = []string{proof + fault.String() + rest, bearer + rest}
	} else {
		c.W.Header()["Www-Authenticate"] = []string{bearer + fault.String() + rest, proof + rest}
	}
}

const (
	ruleScope = "token.scope"
	// RuleStepUp is the name of the policy that wants operators to prove again who they
	// are, rulePasskey of the one that wants them to do so by a passkey. A network with
	// policies of its own keeps the names.
	RuleStepUp  = "step-up"
	rulePasskey = "passkey"
)

// ByPasskey is how a client asks for a human who has proved by a passkey who they are:
// phishing-resistant (OpenID EAP ACR Values 1.0 §2).
const ByPasskey = "phr"

// ProofAlgorithms are the algorithms by which clients may sign proofs and assertions
// (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2).
func ProofAlgorithms() []string { return []string{"ES256", "EdDSA", "Ed25519"} }

// offerNonce gives the caller what its next proof has to hold (RFC 9449 §8).
func (k *Kernel) offerNonce(c *Call) {
	if k.Nonce != nil {
		c.W.Header()["Dpop-Nonce"] = []string{k.Nonce()}
	}
}
