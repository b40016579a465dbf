package svid

import (
	"crypto"
	"crypto/x509"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// RefreshHint is how often others are asked to look at the bundle. Keys are published
// longer before they sign.
const RefreshHint = 5 * time.Minute

// Bundle puts together what verifies SVIDs of a trust domain. The sequence number grows
// with each change (SPIFFE Trust Domain and Bundle §4.1.1).
func Bundle(d spiffeid.TrustDomain, sequence uint64, cas []*x509.Certificate, issuers map[string]crypto.PublicKey) *spiffebundle.Bundle {
	b := spiffebundle.New(d)
	b.SetX509Authorities(cas)
	b.SetJWTAuthorities(issuers)
	b.SetSequenceNumber(sequence)
	b.SetRefreshHint(RefreshHint)
	return b
}
