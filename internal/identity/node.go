package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"strconv"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/identity/svid"
)

// nodeCertificate is the certificate that this node shows others, and when it is time
// for the next one.
type nodeCertificate struct {
	mu   sync.Mutex
	cert *tls.Certificate // guarded by mu
	half time.Time        // guarded by mu
	by   *svid.CA         // guarded by mu: who has signed it
}

// NodeCertificate returns the X.509-SVID of this node, which it makes itself: whoever
// runs a node has the network's keys. A new one, with a new key, is made at half of its
// life and when the keys have turned. It fails while there are no keys yet.
func (i *Issuer) NodeCertificate() (tls.Certificate, error) {
	view, err := i.authority()
	if err != nil {
		return tls.Certificate{}, err
	}
	n := &i.node
	n.mu.Lock()
	defer n.mu.Unlock()
	now := i.ids.clock()
	if n.cert != nil && n.by == view.ca && now.Before(n.half) {
		return *n.cert, nil
	}
	id, err := svid.Node(i.authorities.domain, strconv.Itoa(i.ids.db.Node()))
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	text, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	request, err := svid.ReadRequest(text)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := view.ca.Sign(request, id, now, now.Add(i.svidLife()))
	if err != nil {
		return tls.Certificate{}, err
	}
	n.cert, n.by, n.half = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, view.ca, now.Add(i.svidLife()/2)
	return *n.cert, nil
}
