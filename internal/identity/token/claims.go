package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"strconv"
	"time"
)

// Confirm says which key a token is bound to: exactly one of the two is set
// (RFC 7800 cnf).
type Confirm struct {
	JKT string // thumbprint of a DPoP key (RFC 9449 §6.1)
	X5T string // SHA-256 of a client certificate, base64url (RFC 8705 §3.1)
}

// Bound reports whether it names one key, in form.
func (c Confirm) Bound() bool {
	return c.JKT == "" && isThumbprint(c.X5T) || c.X5T == "" && isThumbprint(c.JKT)
}

func isThumbprint(s string) bool {
	var sum [sha256.Size]byte
	return decodeInto(sum[:], []byte(s))
}

// CheckProof fails with token.binding unless the proof is by the key that the
// token is bound to.
func (c Confirm) CheckProof(p Proof) error {
	if len(c.JKT) != thumbprint || subtle.ConstantTimeCompare([]byte(c.JKT), []byte(p.JKT)) != 1 {
		return refuse("token.binding")
	}
	return nil
}

// CheckCertificate fails with token.binding unless cert, which the connection
// has verified, is the one that the token is bound to.
func (c Confirm) CheckCertificate(cert *x509.Certificate) error {
	if cert == nil || len(c.X5T) != thumbprint || subtle.ConstantTimeCompare([]byte(c.X5T), []byte(CertificateThumbprint(cert))) != 1 {
		return refuse("token.binding")
	}
	return nil
}

// CertificateThumbprint returns the x5t#S256 of a certificate.
func CertificateThumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return encode64(sum[:])
}

// Claims are what an access token says (RFC 9068).
type Claims struct {
	Issuer   string // the network's public URL
	Subject  string // the agent on whose behalf, by its outside id
	Client   string // who asked for the token, by its outside id
	ID       string // jti
	Grant    string // the grant that it was issued under, by its outside id
	IssuedAt time.Time
	Actors   []string // who acts, by outside ids: the current one first, then who handed on to it (RFC 8693 §4.1)
	Confirm  Confirm

	// Audience is one URL, and times are whole seconds.
	Authority
}

const (
	maxURL  = 512 // bytes of an issuer or an audience
	maxName = 255 // of an id
)

// ok reports whether the claims make a token.
func (c *Claims) ok() bool {
	names := [...]string{c.Subject, c.Client, c.ID, c.Grant, c.Site}
	for _, s := range names {
		if s == "" || len(s) > maxName {
			return false
		}
	}
	for _, s := range c.Actors {
		if s == "" || len(s) > maxName {
			return false
		}
	}
	if len(c.Audience) != 1 || c.Audience.any() || c.Audience[0] == "" || len(c.Audience[0]) > maxURL {
		return false
	}
	scope, canonical := readScope(string(c.Scope))
	return canonical && scope == c.Scope && c.Issuer != "" && len(c.Issuer) <= maxURL && len(c.Actors) <= MaxDepth &&
		c.Depth >= 0 && c.Depth+len(c.Actors) <= MaxDepth && c.Budget >= 0 && c.Budget <= Unbounded &&
		c.IssuedAt.Unix() > 0 && c.Expires.Unix() > c.IssuedAt.Unix() && c.Expires.Unix() <= lastDate && c.Confirm.Bound()
}

// append appends the claims as JSON.
func (c *Claims) append(b []byte) []byte {
	text := func(name, value string) {
		b = append(b, name...)
		b = appendString(b, value)
	}
	number := func(name string, n int64) {
		b = append(b, name...)
		b = strconv.AppendInt(b, n, 10)
	}
	text(`{"iss":`, c.Issuer)
	text(`,"sub":`, c.Subject)
	text(`,"client_id":`, c.Client)
	text(`,"aud":`, c.Audience[0])
	text(`,"scope":`, string(c.Scope))
	number(`,"exp":`, c.Expires.Unix())
	number(`,"iat":`, c.IssuedAt.Unix())
	text(`,"jti":`, c.ID)
	if c.Confirm.JKT != "" {
		text(`,"cnf":{"jkt":`, c.Confirm.JKT)
	} else {
		text(`,"cnf":{"x5t#S256":`, c.Confirm.X5T)
	}
	b = append(b, '}')
	for _, actor := range c.Actors {
		text(`,"act":{"sub":`, actor)
	}
	for range c.Actors {
		b = append(b, '}')
	}
	text(`,"grant":`, c.Grant)
	if c.Budget != Unbounded {
		number(`,"budget":`, c.Budget)
	}
	if c.Clearance != 0 {
		number(`,"clearance":`, int64(c.Clearance))
	}
	if c.Site != Everywhere {
		text(`,"site":`, c.Site)
	}
	if c.Depth != 0 {
		number(`,"depth":`, int64(c.Depth))
	}
	return append(b, '}')
}

// read takes the claims from an access token's payload whose signature has been
// verified, and refuses one that is from the future.
func (c *Claims) read(payload []byte, now time.Time) error {
	bad := func() error { return refuse("token.claims") }
	var o object
	if !o.read(payload) {
		return bad()
	}
	for _, claim := range [...]struct {
		name string
		into *string
		most int
	}{
		{"iss", &c.Issuer, maxURL}, {"sub", &c.Subject, maxName}, {"client_id", &c.Client, maxName},
		{"jti", &c.ID, maxName}, {"grant", &c.Grant, maxName},
	} {
		var ok bool
		if *claim.into, ok = o.string(claim.name, claim.most); !ok {
			return bad()
		}
	}
	audience, _, ok := o.strings("aud", maxURL, 1)
	if !ok {
		return bad()
	}
	c.Audience = audience
	expires, ok1 := o.date("exp")
	issued, ok2 := o.date("iat")
	if !ok1 || !ok2 {
		return bad()
	}
	c.Expires, c.IssuedAt = time.Unix(expires, 0).UTC(), time.Unix(issued, 0).UTC()
	begins := c.IssuedAt
	if o.has("nbf") { // we never write it; RFC 7519 §4.1.5
		at, ok := o.date("nbf")
		if !ok {
			return bad()
		}
		begins = time.Unix(at, 0)
	}
	if err := c.readLimits(&o); err != nil {
		return err
	}
	if err := c.readConfirm(&o); err != nil {
		return err
	}
	if err := c.readActors(&o); err != nil {
		return err
	}
	if !c.ok() {
		return bad()
	}
	if now = now.Add(Skew); now.Before(begins) || now.Before(c.IssuedAt) {
		return refuse("token.early")
	}
	return nil
}

// readLimits reads the scope and the private claims. A limit that is not there
// is none for budget and site, and the narrowest for clearance and depth.
func (c *Claims) readLimits(o *object) error {
	bad := func() error { return refuse("token.claims") }
	scope, ok := o.string("scope", maxScopeHeld)
	if !ok {
		return bad()
	}
	c.Scope = Scope(scope) // Claims.ok looks at its form
	c.Budget, c.Site = Unbounded, Everywhere
	if o.has("budget") {
		if c.Budget, ok = o.whole("budget", Unbounded); !ok {
			return bad()
		}
	}
	if o.has("site") {
		if c.Site, ok = o.string("site", maxName); !ok {
			return bad()
		}
	}
	if o.has("clearance") {
		n, ok := o.whole("clearance", MaxClearance)
		if !ok {
			return bad()
		}
		c.Clearance = uint8(n)
	}
	if o.has("depth") {
		n, ok := o.whole("depth", MaxDepth)
		if !ok {
			return bad()
		}
		c.Depth = int(n)
	}
	return nil
}

func (c *Claims) readConfirm(o *object) error {
	var cnf object
	if !o.inner("cnf", &cnf) || cnf.count != 1 {
		return refuse("token.unbound")
	}
	c.Confirm.JKT, _ = cnf.string("jkt", thumbprint)
	c.Confirm.X5T, _ = cnf.string("x5t#S256", thumbprint)
	if !c.Confirm.Bound() {
		return refuse("token.unbound")
	}
	return nil
}

// readActors reads the chain of actors, of which each says who it is and before
// whom it stands, and nothing else.
func (c *Claims) readActors(o *object) error {
	var levels [2]object // one to read from, one to read into
	for level := o; level.has("act"); {
		next := &levels[len(c.Actors)%2]
		if len(c.Actors) == MaxDepth || !level.inner("act", next) {
			return refuse("token.chain")
		}
		actor, ok := next.string("sub", maxName)
		want := 1
		if next.has("act") {
			want++
		}
		if !ok || next.count != want {
			return refuse("token.chain")
		}
		c.Actors, level = append(c.Actors, actor), next
	}
	return nil
}
