package identity

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/svid"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

const kindSVID = "x509-svid"

const (
	qSVIDAdd store.Q = `INSERT INTO credential (id, subject, kind, hash, created_at, expires_at, revoked_at, jwk, scope, parent, instance)
VALUES ($1, $2, '` + kindSVID + `', $3, $4, $5, 0, $6, $7, $8, $9)`
	qSVIDOf       store.Q = `SELECT parent, instance FROM credential WHERE id = $1 AND kind = '` + kindSVID + `'`
	qSVIDInstance store.Q = `SELECT id FROM credential WHERE subject = $1 AND instance = $2 AND kind = '` + kindSVID + `' ORDER BY id LIMIT 1`
	qSVIDsEnd     store.Q = `UPDATE credential SET revoked_at = $2 WHERE parent = $1 AND kind = '` + kindSVID + `' AND revoked_at = 0`
	// The SVIDs that may have been got by another one, directly or not: those of the same
	// key from then on, clocks of nodes allowed for.
	qSVIDsAfter store.Q = `SELECT s.id FROM credential AS c JOIN credential AS s ON s.parent = c.parent AND s.kind = '` + kindSVID + `' AND s.revoked_at = 0 AND s.created_at >= c.created_at - $2
WHERE c.id = $1 AND c.kind = '` + kindSVID + `' AND s.id <> c.id ORDER BY s.id`
	qSVIDsOver store.Q = `DELETE FROM credential WHERE id IN
(SELECT id FROM credential WHERE kind = '` + kindSVID + `' AND expires_at < $1 ORDER BY expires_at, id LIMIT $2)`

	// QOldestSVID asks when the first SVID ends, or ended.
	QOldestSVID store.Q = `SELECT expires_at FROM credential WHERE kind = '` + kindSVID + `' ORDER BY expires_at, id LIMIT 1`
)

// NewSVID asks for an X.509-SVID of the caller's own, for the key of a signing request.
type NewSVID struct {
	Request  []byte        // PKCS #10, PEM or DER, signed by the key
	Instance string        // outside id, as an earlier SVID of the same instance has it; a new one if ""
	Life     time.Duration // MinSVIDLife to the network's; the network's if 0
}

// SVID is an X.509-SVID.
type SVID struct {
	ID         spiffeid.ID
	Instance   act.ID
	Credential act.ID
	Cert       *x509.Certificate
}

// NewTokenSVID asks for a JWT-SVID of the caller's own.
type NewTokenSVID struct {
	Audience []string // to whom it will be shown
	Instance string   // as in NewSVID; that of the caller's SVID where it calls with one
}

// TokenSVID is a JWT-SVID. The text is in it and nowhere else.
type TokenSVID struct {
	ID      spiffeid.ID
	Token   string
	Expires time.Time
}

func (i *Issuer) registerSVIDs(g *gate.Gate) {
	i.Certify = gate.RegisterWrite(g, gate.Write[NewSVID, SVID]{
		Info: gate.Info{Name: "svid.issue", Doc: "Get an X.509-SVID for a key that you have made: a certificate of hours that says who you are.", On: act.KindCredential, Quota: gate.QuotaToken},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewSVID) (r gate.Resource, err error) {
			if in.Life != 0 && (in.Life < MinSVIDLife || in.Life > i.svidLife()) {
				return r, act.Errorf(act.Invalid, "an SVID is good for %s to %s", MinSVIDLife, i.svidLife()).WithRule("svid.life").WithHint("leave it out for the longest")
			}
			if _, err := svid.ReadRequest(in.Request); err != nil {
				return r, err
			}
			return i.ownSVID(v, p, in.Instance)
		},
		Attenuate: func(in NewSVID, by gate.Attenuation) NewSVID {
			if in.Life == 0 || by.TTL < in.Life {
				in.Life = by.TTL
			}
			return in
		},
		Run: i.certify,
	})
	i.Vouch = gate.RegisterWrite(g, gate.Write[NewTokenSVID, TokenSVID]{
		Info: gate.Info{Name: "svid.sign", Doc: "Get a JWT-SVID for a named audience: a token of minutes that says who you are.", On: act.KindCredential, Quota: gate.QuotaToken},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewTokenSVID) (r gate.Resource, err error) {
			if err := svid.CheckAudience(in.Audience); err != nil {
				return r, err
			}
			return i.ownSVID(v, p, in.Instance)
		},
		Run: i.vouch,
	})
}

// ownSVID is an SVID of p's as the target of an act. It is p's own in earnest: who acts
// for somebody has an SVID of itself. What gets one is a bootstrap key, or a token that was
// got by a key or by an SVID: only its scope can be less than what the SVID will get (T13).
func (i *Issuer) ownSVID(v *store.View, p act.Principal, instance string) (r gate.Resource, err error) {
	if instance != "" {
		if _, err := i.cfg.Codec.ParseKind(instance, act.KindCredential); err != nil {
			return r, noInstance()
		}
	}
	if len(p.Chain) > 0 {
		return r, act.Errorf(act.Denied, "an SVID says who you are, not for whom you act").WithRule("svid.chain").WithHint("ask for it with a token of your own")
	}
	if p.Grant != 0 {
		g, found, err := grant(v, p.Grant)
		if err != nil {
			return r, err
		}
		if !found || g.Kind != GrantClient {
			return r, act.Errorf(act.Denied, "the token was not got by your own key").WithRule("svid.grant").WithHint("ask for it with a token that you got by a client assertion or an SVID")
		}
	}
	return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindCredential, Own: true}}, nil
}

func noInstance() error {
	return act.Errorf(act.Invalid, "you have no SVID of such an instance").WithRule("svid.instance").WithHint("leave it out for a new one; an instance that has had no SVID for a day is over")
}

func (i *Issuer) svidLife() time.Duration {
	if i.cfg.SVIDLife == 0 {
		return DefaultSVIDLife
	}
	return i.cfg.SVIDLife
}

// lineOf holds the credential that an SVID is asked for with, and the one that was
// enrolled if that is an SVID itself, so that neither is revoked meanwhile. It returns
// the enrolled one, with what the caller may do at most, and the instance.
func (i *Issuer) lineOf(tx *store.Tx, p act.Principal, instance string) (root Credential, of act.ID, err error) {
	rootID := p.Credential
	if _, err := tx.One(qSVIDOf, func(r *store.Row) error { rootID, of = r.ID(0), r.ID(1); return nil }, p.Credential); err != nil {
		return root, 0, err
	}
	// The enrolled one first, as who ends it does.
	if err := holdCredential(tx, rootID); err != nil {
		return root, 0, err
	}
	if rootID != p.Credential {
		if err := holdCredential(tx, p.Credential); err != nil {
			return root, 0, err
		}
	}
	if root, _, err = credentialBy(&tx.View, qKeyByID, rootID); err != nil {
		return root, 0, err
	}
	if instance != "" {
		if of, err = i.cfg.Codec.ParseKind(instance, act.KindCredential); err != nil {
			return root, 0, noInstance()
		}
		found, err := tx.One(qSVIDInstance, func(*store.Row) error { return nil }, p.ID, of)
		if err == nil && !found {
			err = noInstance()
		}
		return root, of, err
	}
	if of == 0 {
		of, err = tx.Mint(act.KindCredential)
	}
	return root, of, err
}

func (i *Issuer) certify(_ context.Context, tx *store.Tx, p act.Principal, in NewSVID) (out SVID, fx gate.Effects, err error) {
	request, err := svid.ReadRequest(in.Request)
	if err != nil {
		return out, fx, err
	}
	view, err := i.authority()
	if err != nil {
		return out, fx, err
	}
	root, instance, err := i.lineOf(tx, p, in.Instance)
	if err != nil {
		return out, fx, err
	}
	now := act.FromMicros(tx.Now())
	life := in.Life
	if life == 0 {
		life = i.svidLife()
	}
	end := now.Add(min(life, i.svidLife()))
	if root.ExpiresAt != 0 && root.ExpiresAt < act.Micros(end) {
		end = act.FromMicros(root.ExpiresAt)
	}
	out.Instance = instance
	if out.ID, err = svid.Agent(i.authorities.domain, i.cfg.Codec.String(p.ID), i.cfg.Codec.String(instance)); err != nil {
		return out, fx, err
	}
	if out.Cert, err = view.ca.Sign(request, out.ID, now, end); err != nil {
		return out, fx, err
	}
	if out.Credential, err = tx.Mint(act.KindCredential); err != nil {
		return out, fx, err
	}
	_, err = tx.Exec(qSVIDAdd, out.Credential, p.ID, i.svidHash(out.Cert), tx.Now(), act.Micros(out.Cert.NotAfter), string(request.Key.JWK()), string(svidScope(root, p)), root.ID, instance)
	return out, gate.Effects{Out: act.Ref{ID: out.Credential}}, err
}

// svidScope is what an SVID is good for: no more than the key that it comes of, nor than
// the token that it was asked for with.
func svidScope(root Credential, p act.Principal) token.Scope {
	scope := token.Scope(root.Scope)
	if p.Grant != 0 {
		scope = scope.Intersect(token.Scope(p.Scope))
	}
	return scope
}

// svidHash is the form in which a certificate is looked up.
func (i *Issuer) svidHash(cert *x509.Certificate) []byte {
	sum := i.ids.keys.hash("x5t\n" + token.CertificateThumbprint(cert))
	return sum[:]
}

func (i *Issuer) vouch(_ context.Context, tx *store.Tx, p act.Principal, in NewTokenSVID) (out TokenSVID, fx gate.Effects, err error) {
	view, err := i.authority()
	if err != nil {
		return out, fx, err
	}
	root, instance, err := i.lineOf(tx, p, in.Instance)
	if err != nil {
		return out, fx, err
	}
	now := act.FromMicros(tx.Now())
	if out.Expires = now.Add(svid.TokenLife); root.ExpiresAt != 0 && root.ExpiresAt < act.Micros(out.Expires) {
		out.Expires = act.FromMicros(root.ExpiresAt)
	}
	out.Expires = out.Expires.Truncate(time.Second)
	if out.ID, err = svid.Agent(i.authorities.domain, i.cfg.Codec.String(p.ID), i.cfg.Codec.String(instance)); err != nil {
		return out, fx, err
	}
	out.Token, err = view.issuer.Sign(svid.Token{ID: out.ID, Audience: in.Audience, Credential: i.cfg.Codec.String(p.Credential), Scope: string(svidScope(root, p)), Expires: out.Expires}, now)
	return out, gate.Effects{Out: act.Ref{ID: p.Credential}}, err
}

// bySVID returns the agent whose X.509-SVID a connection has shown, and the SVID's id.
// It has to be one of the bundle, and one that is on our list: somebody else's with a
// stolen key of ours is on none.
func (i *Issuer) bySVID(ctx context.Context, cert *x509.Certificate) (p act.Principal, name string, err error) {
	view, err := i.authority()
	if err != nil {
		return p, "", err
	}
	id, err := svid.Read(cert, view.bundle, i.ids.clock())
	if err != nil {
		return p, "", err
	}
	var c Credential
	var found bool
	if err := i.ids.db.View(ctx, func(v *store.View) (err error) {
		c, found, err = credentialBy(v, qKeyOf, i.svidHash(cert))
		return err
	}); err != nil {
		return p, "", unchecked(err)
	}
	if !found || c.Kind != kindSVID {
		return p, "", noSVID()
	}
	p, err = i.svidHolder(ctx, id, c)
	return p, id.String(), err
}

// byTokenSVID is bySVID for a JWT-SVID. It is good once: whoever else has it comes late.
func (i *Issuer) byTokenSVID(ctx context.Context, text string) (p act.Principal, shown Shown, err error) {
	view, err := i.authority()
	if err != nil {
		return p, shown, err
	}
	t, err := svid.ReadToken(text, view.bundle, i.URL(), i.ids.clock())
	if err != nil {
		return p, shown, err
	}
	of, err := i.cfg.Codec.ParseKind(t.Credential, act.KindCredential)
	if err != nil {
		return p, shown, noSVID()
	}
	var c Credential
	var found bool
	if err := i.ids.db.View(ctx, func(v *store.View) (err error) { c, found, err = credentialBy(v, qKeyByID, of); return err }); err != nil {
		return p, shown, unchecked(err)
	}
	if !found {
		return p, shown, noSVID()
	}
	p, err = i.svidHolder(ctx, t.ID, c)
	return p, Shown{Client: t.ID.String(), ID: t.Serial, Until: act.Micros(t.Expires.Add(token.Skew)), svid: true, scope: token.Scope(t.Scope)}, err
}

// svidHolder returns the agent of an SVID, whose credential has to be that agent's and
// to stand.
func (i *Issuer) svidHolder(ctx context.Context, id spiffeid.ID, c Credential) (p act.Principal, err error) {
	agent, _, ok := svid.AgentOf(id)
	if !ok || agent != i.cfg.Codec.String(c.Subject) {
		return p, noSVID()
	}
	if !c.live(act.Micros(i.ids.clock())) {
		return p, refused("svid.over", "this SVID, or the key that it was got with, was revoked or has expired", "get another one with a key that is good; your owner can say why it ended")
	}
	p = act.Principal{Kind: act.Agent, ID: c.Subject, Credential: c.ID, Binding: act.BindingKey}
	if c.Kind == kindSVID {
		p.Binding = act.BindingMTLS
	}
	if p.Name, err = i.ids.subjects.Subject(ctx, p.ID); err != nil {
		return p, unchecked(err)
	}
	return p, nil
}

func noSVID() error {
	return refused("svid.unknown", "this network has made no such SVID", "get one with svid.issue, or svid.sign for a JWT-SVID")
}
