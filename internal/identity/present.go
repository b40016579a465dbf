package identity

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Presented is what a caller shows at a door. URL is the request's, under the
// configured public URL; Cert is the client certificate that the connection has
// verified, nil without one.
type Presented struct {
	Scheme     string // "Bearer" or "DPoP", in any case
	Credential string
	Proof      string // the DPoP header, "" without one
	Method     string
	URL        string
	Cert       *x509.Certificate
}

// shown is what is remembered of an access token that was found good. A token that
// was refused is not remembered.
type shown struct {
	principal act.Principal
	confirm   token.Confirm
	set       *token.Set // that verified it
	expires   int64      // Unix microseconds, the skew included
	stamp     uint32     // forget count of the holder
	used      atomic.Int64
}

// connection is what a connection with a certificate has shown last, and that the one
// binds the other: neither is worked out again while it shows the same. The certificate
// is one connection's, or that of several of the same caller.
type connection struct {
	text  string
	shown *shown
}

// Present returns the principal behind what was presented: an access token bound to
// the caller's key or certificate, an operator's token, or, unless the network has
// switched them off, an agent's bootstrap key. It fails with Unauthenticated when a
// completed check says that it is not good, and with Unavailable when storage cannot
// say. Source of the principal is left to the caller.
func (s *Service) Present(ctx context.Context, c Presented) (act.Principal, error) {
	switch {
	case strings.EqualFold(c.Scheme, "DPoP"):
		return s.presentToken(ctx, c, true)
	case !strings.EqualFold(c.Scheme, "Bearer"):
		return act.Principal{}, refused("key.scheme", "this is no scheme of this network", `send "Authorization: DPoP <token>" with a DPoP header, or "Bearer" with a key`)
	case strings.IndexByte(c.Credential, '.') >= 0: // no key has one, every token has two
		return s.presentToken(ctx, c, false)
	}
	if s.issuer != nil && s.issuer.cfg.NoLegacy && strings.HasPrefix(c.Credential, AgentKey.Prefix()) {
		return act.Principal{}, refused("key.legacy", "bootstrap keys open no door of this network",
			"enrol a key pair with it (agent.enroll), then ask the token endpoint for an access token")
	}
	return s.Authenticate(ctx, c.Credential)
}

// presentToken verifies an access token and that the sender holds its key.
func (s *Service) presentToken(ctx context.Context, c Presented, dpop bool) (p act.Principal, err error) {
	if s.issuer == nil {
		return p, token.Refuse("token.malformed")
	}
	seen := s.fences.Load() // before the slots: see Forget
	if !dpop && c.Cert != nil {
		if last, ok := s.connections.GetIfPresent(c.Cert); ok && last.text == c.Credential {
			switch ok, err := s.stands(last.shown); {
			case err != nil:
				return p, err
			case ok:
				return s.present(last.shown, seen), nil
			}
		}
	}
	t, err := s.known(ctx, c.Credential)
	if err != nil {
		return p, err
	}
	switch {
	case !dpop && t.confirm.JKT != "":
		// The scheme of RFC 9449 §7.1 is asked for: nobody shall think that a bearer is enough.
		return p, token.Refuse("token.binding")
	case !dpop:
		if err := t.confirm.CheckCertificate(c.Cert); err != nil {
			return p, err
		}
		s.connections.Set(c.Cert, connection{strings.Clone(c.Credential), t})
	default:
		proof, err := token.ReadProof(c.Proof, token.Request{Method: c.Method, URL: c.URL, AccessToken: c.Credential, Now: s.clock()})
		if err != nil {
			return p, err
		}
		if err := t.confirm.CheckProof(proof); err != nil {
			return p, err
		}
		if err := s.issuer.proofs.take(ctx, proof); err != nil {
			return p, err
		}
	}
	return s.present(t, seen), nil
}

// present returns the principal of a token that is used now.
func (s *Service) present(t *shown, seen uint64) act.Principal {
	p := t.principal
	p.Seen = seen
	s.uses.note(p.Grant, &t.used, act.Micros(s.clock()))
	return p
}

// stands reports whether what is remembered of a token is true still: nothing of its
// holder was withdrawn since it was read. Grants that are carved out of others end
// with them and raise their holders, so the holder's count tells of all of them. It
// fails when the token is over.
func (s *Service) stands(t *shown) (bool, error) {
	if t.set != s.issuer.keySet() || t.stamp != s.slot(t.principal.ID).Load() {
		return false, nil
	}
	if act.Micros(s.clock()) >= t.expires {
		return false, token.Refuse("token.expired")
	}
	return true, nil
}

// known returns what an access token stands for, from memory where that stands.
func (s *Service) known(ctx context.Context, text string) (*shown, error) {
	if len(text) > maxShown {
		return nil, token.Refuse("token.size")
	}
	set := s.issuer.keySet()
	if set == nil {
		return nil, unchecked(nil)
	}
	var room [maxUsual]byte
	hash := sha256.Sum256(append(room[:0], text...))
	if t, ok := s.tokens.GetIfPresent(hash); ok {
		if ok, err := s.stands(t); ok || err != nil {
			return t, err
		}
	}
	fences := s.fences.Load()
	claims, err := set.Read(text, token.Expect{Issuer: s.issuer.URL(), Audience: s.issuer.URL(), Now: s.clock()})
	if err != nil {
		return nil, err
	}
	t := &shown{confirm: claims.Confirm, set: set, expires: act.Micros(claims.Expires.Add(token.Skew))}
	if t.principal, err = s.holder(ctx, claims); err != nil {
		return nil, err
	}
	t.principal.Until = t.expires
	t.stamp = s.slot(t.principal.ID).Load()
	if s.fences.Load() == fences { // as in lookup
		s.tokens.Set(hash, t)
	}
	return t, nil
}

const (
	maxShown = 8192 // bytes of a token
	maxUsual = 1024 // bytes of a token that are hashed where they cost no allocation
)

// holder finds the grant behind a token's claims and returns who acts with it.
func (s *Service) holder(ctx context.Context, claims token.Claims) (p act.Principal, err error) {
	codec := s.issuer.cfg.Codec
	p.Scope = string(claims.Scope)
	if p.Grant, err = codec.ParseKind(claims.Grant, act.KindGrant); err != nil {
		return p, token.Refuse("token.claims")
	}
	names := append([]string{claims.Subject}, reversed(claims.Actors)...)
	var people []act.ID
	for _, name := range names {
		id, err := codec.Parse(name)
		if err != nil || id.Kind() != act.KindAgent && id.Kind() != act.KindOperator {
			return p, token.Refuse("token.chain")
		}
		people = append(people, id)
	}
	p.ID = people[len(people)-1]
	if len(people) > 1 {
		p.Chain = people[:len(people)-1]
	}
	var g Grant
	var found bool
	err = s.db.View(ctx, func(v *store.View) error {
		if g, found, err = grant(v, p.Grant); err != nil || !found {
			return err
		}
		if p.ID.Kind() == act.KindOperator {
			err, p.AuthAt, p.PasskeyAt = describeOperator(v, &p), g.AuthAt, g.PasskeyAt
			g.within(&p)
		}
		return err
	})
	if err != nil {
		return p, unchecked(err)
	}
	switch {
	case !found || g.RevokedAt != 0:
		return p, refused("token.revoked", "the grant behind this token was revoked or is over", "ask for a new token with your own key; if that is refused too, ask your owner")
	case g.Holder != p.ID || g.Confirm != claims.Confirm || !g.Authority.Scope.Covers(claims.Scope):
		return p, token.Refuse("token.claims") // a defect here: we have signed what we have not granted
	}
	p.Kind, p.Credential, p.Binding = act.Operator, g.Credential, act.BindingDPoP
	if claims.Confirm.X5T != "" {
		p.Binding = act.BindingMTLS
	}
	if p.ID.Kind() == act.KindAgent {
		p.Kind = act.Agent
		if p.Name, err = s.subjects.Subject(ctx, p.ID); err != nil {
			if act.CodeOf(err) == act.NotFound {
				return p, token.Refuse("token.claims")
			}
			return p, unchecked(err)
		}
	}
	return p, nil
}

func reversed(list []string) []string {
	out := make([]string, 0, len(list))
	for n := len(list) - 1; n >= 0; n-- {
		out = append(out, list[n])
	}
	return out
}

func unchecked(cause error) error {
	hint := "storage does not answer; that says nothing about your credential: keep it and retry"
	if cause == nil {
		return act.Errorf(act.Unavailable, "this node has no signing keys yet").WithRule("token.unchecked").WithRetry(retryAfter).WithHint(hint)
	}
	return act.Errorf(act.Unavailable, "your token cannot be checked at the moment: %w", cause).
		WithRule("token.unchecked").WithRetry(retryAfter).WithHint(hint)
}

const (
	qStandsCredential store.Q = `SELECT revoked_at FROM credential WHERE id = $1`
	qStandsGrant      store.Q = `SELECT revoked_at FROM token_grant WHERE id = $1`
)

// Stands implements gate.Credentials. While nothing was withdrawn since p was
// checked it costs one load; a withdrawal of anybody's makes those who are between
// their check and their act ask the database.
func (s *Service) Stands(ctx context.Context, p act.Principal) error {
	if p.Seen == s.fences.Load() {
		return nil
	}
	if err := s.db.View(ctx, func(v *store.View) error { return stands(v.One, p) }); err != nil {
		if act.CodeOf(err) == act.Unauthenticated {
			return err
		}
		return unchecked(err)
	}
	return nil
}

// Expect implements gate.Credentials.
func (s *Service) Expect(tx *store.Tx, p act.Principal) error { return stands(tx.One, p) }

func stands(one func(store.Q, func(*store.Row) error, ...any) (bool, error), p act.Principal) error {
	q, id := qStandsGrant, p.Grant
	if id == 0 {
		q, id = qStandsCredential, p.Credential
	}
	good := false
	if _, err := one(q, func(r *store.Row) error { good = r.Int(0) == 0; return nil }, id); err != nil || good {
		return err
	}
	if p.Grant != 0 {
		return refused("token.revoked", "the grant behind this token was revoked or is over", "ask for a new token with your own key; if that is refused too, ask your owner")
	}
	return refused("key.revoked", "this credential was revoked", "it does not come back; your owner or an operator can say why")
}
