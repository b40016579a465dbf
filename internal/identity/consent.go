package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// CodeLife is how long a code is good for: a browser carries it straight back
	// (RFC 6749 §4.1.2 has ten minutes as the most).
	CodeLife = time.Minute
	// HumanLife is how long a human's consent lasts; tokens are refreshed until then.
	HumanLife = 8 * time.Hour

	minVerifier = 43 // characters, RFC 7636 §4.1
	maxVerifier = 128
)

// The grant types that humans' clients use at the token endpoint.
const (
	TypeCode   = "authorization_code"
	TypeDevice = "urn:ietf:params:oauth:grant-type:device_code"
)

// The states of a consent. Numbers are stored.
const (
	consentAsked = iota
	consentGiven
	consentRefused
	consentSpent
)

// Clients are the public clients that humans may let in: their redirect addresses
// by client id. Public means that they have no key of their own that we know, so
// what they get is bound to the key that they prove.
type Clients map[string][]string

// CommandLine is the client that every network has: `reef login`.
const CommandLine = "reef"

// Add adds a redirect address of a client: https, or http on the loopback interface
// by its number (RFC 8252 §7.3), without a fragment.
func (c Clients) Add(id, redirect string) error {
	bad := func(why string) error {
		return act.Errorf(act.Invalid, "the client %q %s", id, why).WithRule("client.redirect").
			WithHint("write NAME=https://app.example/callback, or http://127.0.0.1/callback for one on the user's machine")
	}
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return bad("has another character than a-z, 0-9 and -")
		}
	}
	u, err := url.Parse(redirect)
	switch {
	case id == "" || len(id) > MaxName:
		return bad("has no name, or too long a one")
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || strings.Contains(redirect, "#"):
		return bad("has a redirect that is no plain address")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopbackHost(u.Hostname())):
		return bad("has a redirect that others could listen to")
	}
	c[id] = append(c[id], redirect)
	return nil
}

func loopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Redirects reports whether an address is one of the client's, character by
// character; only the port of one on the loopback interface is free (RFC 9700
// §2.1, RFC 8252 §7.3).
func (c Clients) Redirects(id, redirect string) bool {
	return slices.ContainsFunc(c[id], func(known string) bool {
		if known == redirect {
			return true
		}
		k, err := url.Parse(known)
		if err != nil || k.Scheme != "http" {
			return false
		}
		u, err := url.Parse(redirect)
		if err != nil || u.Port() == "" || u.Hostname() != k.Hostname() {
			return false
		}
		rest, ok := strings.CutPrefix(redirect, "http://"+u.Host)
		own, _ := strings.CutPrefix(known, "http://"+k.Host)
		return ok && rest == own && !strings.ContainsAny(u.Host, "@")
	})
}

// NewConsent is what a client asks a human for.
type NewConsent struct {
	Client    string
	Redirect  string   // of a code; "" for devices
	Challenge string   // of a code: S256 (RFC 7636 §4.2)
	JKT       string   // the key that the code is bound to, "" for whichever redeems it (RFC 9449 §10)
	Scope     string   // scope words
	Audience  []string // the network if empty; an agent's id makes it the delegate
}

// Code is a human's consent on its way to the client. It is in it and nowhere else.
type Code struct{ Code string }

// Redemption shows that a consent was given.
type Redemption struct {
	Consent act.ID
	Confirm token.Confirm // what the tokens will be bound to
}

// RedeemRequest is a request at the token endpoint with a code or a device code.
type RedeemRequest struct {
	Type     string // TypeCode or TypeDevice
	Client   Client
	Code     string // or the device code
	Redirect string
	Verifier string // RFC 7636 §4.5
}

// Consents lets humans let clients act for them: with a browser (RFC 6749 §4.1) or
// from a terminal (RFC 8628). It is safe for concurrent use.
type Consents struct {
	Give    *gate.WriteAct[NewConsent, Code]
	Redeem  *gate.WriteAct[Redemption, Issued]
	Start   *gate.WriteAct[NewConsent, DeviceCode]
	Show    *gate.ReadAct[DeviceQuery, DeviceAsk]
	Approve *gate.WriteAct[DeviceQuery, act.Ref]
	Deny    *gate.WriteAct[DeviceQuery, act.Ref]

	Clients Clients

	issuer *Issuer
	polls  *polls
}

// consent is a row of the table.
type consent struct {
	id                    act.ID
	client, redirect      string
	challenge, jkt, scope string
	audience              []string
	state                 int64
	operator, credential  act.ID
	grant                 act.ID
	created, expires      int64
	auth, passkey         int64 // when the operator had last proved who they are, and by a passkey
	roles                 uint8 // that the operator had when they consented
}

const (
	consentColumns = `id, client, redirect, challenge, jkt, scope, audience, state, operator, credential, granted, created_at, expires_at, auth_at, roles, passkey_at`

	qConsent     store.Q = `SELECT ` + consentColumns + ` FROM consent WHERE id = $1`
	qConsentCode store.Q = `SELECT ` + consentColumns + ` FROM consent WHERE hash = $1`
	qConsentUser store.Q = `SELECT ` + consentColumns + ` FROM consent WHERE user_hash = $1`
	qConsentAdd  store.Q = `INSERT INTO consent (id, client, redirect, challenge, jkt, scope, audience, state, operator, credential, granted, created_at, expires_at, hash, auth_at, roles, passkey_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12, $13, $14, $15, $16)`
	// A code has no code that a human types, which is told from an empty one.
	qConsentAsked   store.Q = `UPDATE consent SET user_hash = $2 WHERE id = $1`
	qConsentSpend   store.Q = `UPDATE consent SET state = 3 WHERE id = $1 AND state = 1 AND expires_at > $2`
	qConsentGranted store.Q = `UPDATE consent SET granted = $2 WHERE id = $1`
	qConsentAnswer  store.Q = `UPDATE consent SET state = $2, operator = $3, credential = $4, auth_at = $6, roles = $7, passkey_at = $8 WHERE id = $1 AND state = 0 AND expires_at > $5`
	qConsentOver    store.Q = `DELETE FROM consent WHERE id IN (SELECT id FROM consent WHERE expires_at < $1 ORDER BY expires_at, id LIMIT $2)`

	qSessionParent store.Q = `SELECT parent FROM credential WHERE id = $1`

	// QOldestConsent is when what has been over for longest was so, for doctor.
	QOldestConsent store.Q = `SELECT expires_at FROM consent ORDER BY expires_at, id LIMIT 1`

	// consentsSwept is how many that are over a new one takes away.
	consentsSwept = 8

	// KeepConsent is how long one that is over stays, so that a code that is shown again
	// ends what it was spent for.
	KeepConsent = 2 * time.Hour
)

func scanConsent(r *store.Row) consent {
	return consent{
		id: r.ID(0), client: r.Text(1), redirect: r.Text(2), challenge: r.Text(3), jkt: r.Text(4), scope: r.Text(5), audience: strings.Fields(r.Text(6)),
		state: r.Int(7), operator: r.ID(8), credential: r.ID(9), grant: r.ID(10), created: r.Int(11), expires: r.Int(12), auth: r.Int(13), roles: rolesOf(r.Int(14)), passkey: r.Int(15),
	}
}

// NewConsents registers the acts on g. Clients gets the command line's client.
func NewConsents(g *gate.Gate, issuer *Issuer, clients Clients) (*Consents, error) {
	if clients == nil {
		clients = Clients{}
	}
	if len(clients[CommandLine]) == 0 {
		if err := clients.Add(CommandLine, "http://127.0.0.1/callback"); err != nil {
			return nil, err
		}
	}
	c := &Consents{Clients: clients, issuer: issuer, polls: newPolls()}
	c.Give = gate.RegisterWrite(g, gate.Write[NewConsent, Code]{
		Info: gate.Info{Name: "consent.give", Doc: "Let a client act for you, within a scope and for eight hours; it gets a code.", On: act.KindGrant, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in NewConsent) (gate.Resource, error) {
			if err := inPerson(p); err != nil {
				return consentFacts(0), err
			}
			return consentFacts(0), c.check(in, true)
		},
		Run: c.give,
	})
	c.Redeem = gate.RegisterWrite(g, gate.Write[Redemption, Issued]{
		Info: gate.Info{Name: "consent.redeem", Doc: "Turn an operator's consent into tokens that are bound to the client's key, once.", On: act.KindGrant, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in Redemption) (gate.Resource, error) {
			return consentFacts(in.Consent), nil
		},
		Run: c.redeem,
	})
	c.registerDevice(g)
	return c, nil
}

// consentFacts are what policy knows of a consent: it is the operator's own.
func consentFacts(id act.ID) gate.Resource {
	return gate.Resource{Ref: act.Ref{ID: id}, Facts: gate.Facts{Kind: act.KindGrant, Own: true}}
}

// inPerson refuses a program that an operator has let in: it lets in nobody else, or its
// own end and what it may do would be its to choose.
func inPerson(p act.Principal) error {
	if p.Grant == 0 && (p.Binding == act.BindingSession || p.Binding == act.BindingOperator) {
		return nil
	}
	return act.Errorf(act.Denied, "a program cannot consent for whom it acts for").WithRule("consent.person").
		WithHint("sign in to the pages and consent there, or use the operators' token")
}

// Check says whether a client may ask for this, before a human is bothered with it.
func (c *Consents) Check(in NewConsent) error { return c.check(in, true) }

func (c *Consents) check(in NewConsent, browser bool) error {
	switch _, known := c.Clients[in.Client]; {
	case !known:
		return refused("client.unknown", "this network knows no such client", "ask the operator to name it in oauth-clients")
	case browser && !c.Clients.Redirects(in.Client, in.Redirect):
		return refused("client.redirect", "the redirect address is not one of the client's", "send one that is registered, character by character")
	case browser && len(in.Challenge) != base64.RawURLEncoding.EncodedLen(sha256.Size):
		return act.Errorf(act.Invalid, "the code challenge is not one of S256").WithRule("consent.challenge").
			WithHint("send code_challenge_method=S256 and the hash of a verifier of 43 to 128 characters (RFC 7636)")
	case in.JKT != "" && len(in.JKT) != base64.RawURLEncoding.EncodedLen(sha256.Size):
		return act.Errorf(act.Invalid, "dpop_jkt is no thumbprint").WithRule("consent.key").WithHint("send the SHA-256 thumbprint of the key (RFC 7638)")
	case in.Scope == "":
		return token.Refuse("scope.missing")
	}
	if _, err := token.ParseScope(in.Scope); err != nil {
		return err
	}
	urls, delegate := c.issuer.audience(in.Audience)
	for _, u := range urls {
		if u != c.issuer.URL() {
			return act.Errorf(act.Invalid, "tokens for this resource are not given here").WithRule("target.unknown").
				WithHint("leave resource out, or send the network's URL")
		}
	}
	if delegate != 0 {
		if name, _, _ := c.issuer.cfg.Agents.AgentFacts(delegate); name == "" {
			return act.Errorf(act.Invalid, "the audience is no agent of this network").WithRule("target.delegate").WithHint("name an agent by its id")
		}
	}
	return nil
}

// Delegate names the agent that a consent with this audience lets act for the human,
// beside the program that asks; "" for none. Whoever is asked is told.
func (c *Consents) Delegate(audience []string) string {
	_, delegate := c.issuer.audience(audience)
	if delegate == 0 {
		return ""
	}
	name, _, _ := c.issuer.cfg.Agents.AgentFacts(delegate)
	return name
}

// add stores a consent under the hash of the code or device code that stands for it.
func (c *Consents) add(tx *store.Tx, in NewConsent, row consent, hash []byte) (act.ID, error) {
	before, err := tx.Droppable(tx.Now() - KeepConsent.Microseconds())
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec(qConsentOver, before, int64(consentsSwept)); err != nil {
		return 0, err
	}
	id, err := tx.Mint(act.KindCredential)
	if err != nil {
		return 0, err
	}
	return id, tx.Batch(qConsentAdd, id, in.Client, in.Redirect, in.Challenge, in.JKT, in.Scope, strings.Join(in.Audience, " "),
		row.state, row.operator, row.credential, tx.Now(), row.expires, hash, row.auth, int64(row.roles), row.passkey)
}

// lasting returns the credential on which an operator's consent rests: the token, not
// the session of a browser that was opened with it.
func lasting(tx *store.Tx, p act.Principal) (id act.ID, err error) {
	id = p.Credential
	if p.Binding == act.BindingSession {
		_, err = tx.One(qSessionParent, func(r *store.Row) error { id = r.ID(0); return nil }, p.Credential)
	}
	if err == nil {
		err = holdCredential(tx, id)
	}
	return id, err
}

// authAt is when the operator who consents had last proved who they are. The
// operators' own token proves it now.
func authAt(tx *store.Tx, p act.Principal) int64 {
	if p.Binding == act.BindingOperator {
		return tx.Now()
	}
	return p.AuthAt
}

func (c *Consents) give(_ context.Context, tx *store.Tx, p act.Principal, in NewConsent) (out Code, fx gate.Effects, err error) {
	row := consent{state: consentGiven, operator: p.ID, auth: authAt(tx, p), passkey: p.PasskeyAt, roles: p.Roles, expires: tx.Now() + CodeLife.Microseconds()}
	if row.credential, err = lasting(tx, p); err != nil {
		return out, fx, err
	}
	var hash []byte
	out.Code, hash = c.issuer.ids.NewSecret(ConsentCode)
	fx.Out.ID, err = c.add(tx, in, row, hash)
	return out, fx, err
}

// Token answers a request at the token endpoint with a code or a device code. What
// is refused before anybody is known is put on record here.
func (c *Consents) Token(ctx context.Context, source string, r RedeemRequest) (TokenAnswer, error) {
	i := c.issuer
	stranger := act.Principal{Source: source}
	fail := func(err error) (TokenAnswer, error) {
		i.refuse(ctx, stranger, "consent.redeem", err)
		return TokenAnswer{}, err
	}
	seen := i.ids.fences.Load()
	confirm, err := i.Confirm(ctx, r.Client)
	if err != nil {
		return fail(err)
	}
	row, err := c.shown(ctx, r)
	if err == nil {
		err = row.redeems(r, confirm)
	}
	if err != nil {
		return fail(err)
	}
	p := act.Principal{Kind: act.Operator, ID: row.operator, Credential: row.credential, Binding: act.BindingDPoP, Source: source, Seen: seen}
	if confirm.X5T != "" {
		p.Binding = act.BindingMTLS
	}
	if err := i.ids.db.View(ctx, func(v *store.View) error { return describeOperator(v, &p) }); err != nil {
		return TokenAnswer{}, unchecked(err)
	}
	p.Roles &= row.roles
	out, err := c.Redeem.Do(ctx, p, Redemption{Consent: row.id, Confirm: confirm})
	if err == nil && out.Reused {
		return fail(refused("grant.reused", "this code was used before; what was given for it has been revoked",
			"somebody else may have had it: ask for consent again"))
	}
	if err != nil {
		return TokenAnswer{}, err
	}
	return i.Answer(out)
}

// shown finds the consent that a code stands for.
func (c *Consents) shown(ctx context.Context, r RedeemRequest) (row consent, err error) {
	kind := ConsentCode
	if r.Type == TypeDevice {
		kind = DeviceSecret
	}
	hash, found := c.issuer.ids.HashSecret(kind, r.Code)
	if found {
		err = c.issuer.ids.db.View(ctx, func(v *store.View) error {
			found, err = v.One(qConsentCode, func(r *store.Row) error { row = scanConsent(r); return nil }, hash)
			return err
		})
		if err != nil {
			return row, unchecked(err)
		}
	}
	if !found || row.client != r.Client.ID {
		return row, refused("grant.unknown", "this code is not good, or not for this client", "ask for consent again")
	}
	if r.Type == TypeDevice {
		return row, c.polled(row)
	}
	return row, nil
}

// redeems reports why a request does not redeem a consent, nil when it does. What
// was spent is told apart later, in the transaction.
func (row *consent) redeems(r RedeemRequest, confirm token.Confirm) error {
	switch {
	case r.Type == TypeCode && r.Redirect != row.redirect:
		return refused("grant.redirect", "the redirect address is not the one that the code was sent to", "send the one of the request for the code")
	case r.Type == TypeCode && !verifies(r.Verifier, row.challenge):
		return refused("grant.verifier", "the code verifier is not the one of the challenge", "send the verifier that the challenge was made of (RFC 7636 §4.5)")
	case row.jkt != "" && row.jkt != confirm.JKT:
		return refused("grant.key", "the code is bound to another key", "send a DPoP proof by the key that dpop_jkt named")
	}
	return nil
}

// verifies checks an S256 challenge (RFC 7636 §4.6).
func verifies(verifier, challenge string) bool {
	if len(verifier) < minVerifier || len(verifier) > maxVerifier {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

func (c *Consents) redeem(_ context.Context, tx *store.Tx, p act.Principal, in Redemption) (out Issued, fx gate.Effects, err error) {
	// First it is spent, then read: of two who show one code, the second waits here
	// and finds what the first has done.
	n, err := tx.Exec(qConsentSpend, in.Consent, tx.Now())
	if err != nil {
		return out, fx, err
	}
	var row consent
	if _, err := tx.One(qConsent, func(r *store.Row) error { row = scanConsent(r); return nil }, in.Consent); err != nil {
		return out, fx, err
	}
	switch {
	case row.operator != p.ID:
		return out, fx, refused("grant.unknown", "this code is not good any more", "ask for consent again")
	case n == 0 && row.state == consentSpent:
		// Two have had it (RFC 6749 §4.1.2). The one that came first loses what it got;
		// that is committed, and the second is told after.
		out.Reused, fx.Reason, fx.Out.ID = true, "a code was used twice", row.grant
		return out, fx, c.issuer.ids.revokeGrants(tx, row.grant, 0)
	case n == 0:
		return out, fx, refused("grant.expired", "the code has expired", "ask for consent again")
	}
	if err := holdCredential(tx, row.credential); err != nil {
		return out, fx, err
	}
	rests, _, err := credentialBy(&tx.View, qKeyByID, row.credential)
	if err != nil {
		return out, fx, err
	}
	rests.Scope = string(token.ScopeAll)
	kind := GrantCode
	if row.redirect == "" {
		kind = GrantDevice
	}
	want, err := asked(row.scope, nil)
	if err != nil {
		return out, fx, err
	}
	_, delegate := c.issuer.audience(row.audience)
	g := Grant{Kind: kind, Holder: row.operator, Delegate: delegate, Credential: row.credential, Confirm: in.Confirm, AuthAt: row.auth, Roles: row.roles, PasskeyAt: row.passkey}
	end := act.FromMicros(tx.Now()).Add(HumanLife).Truncate(time.Second)
	if g.Authority, err = token.Narrow(c.issuer.held(rests, end), want); err != nil {
		return out, fx, err
	}
	if err := addGrant(tx, &g); err != nil {
		return out, fx, err
	}
	if err := tx.Batch(qConsentGranted, row.id, g.ID); err != nil {
		return out, fx, err
	}
	fx.Out.ID, out.Grant = g.ID, g
	out.Refresh, err = c.issuer.addRefresh(tx, &g)
	return out, fx, err
}
