package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Trusted is another issuer whose word is taken for some agents (RFC 7523 §2.1): an
// enterprise's identity provider with identity assertion grants, or one that gives
// workloads their identity.
type Trusted struct {
	Name     string            `json:"name"`     // in the record and the inventory
	Issuer   string            `json:"issuer"`   // its iss
	Audience string            `json:"audience"` // what it calls this network; the public URL if ""
	KeysFile string            `json:"jwks_file"`
	KeysURL  string            `json:"jwks_url"` // one of the two
	Claim    string            `json:"claim"`    // that tells who it speaks of; sub if ""
	Agents   map[string]string `json:"agents"`   // value of the claim → the agent's outside id
	// Services are the machines that govern: value of the claim → an operator of their own.
	Services map[string]ServiceAccount `json:"services"`
	Scope    string                    `json:"scope"`    // the most that is given; "*" if ""
	Once     bool                      `json:"once"`     // an assertion is good for one token
	Revision string                    `json:"revision"` // another one takes up again what was revoked
}

// Check reports what is wrong with it.
func (t *Trusted) Check() error {
	switch {
	case t.Name == "" || t.Issuer == "":
		return fmt.Errorf("a trusted issuer has a name and an issuer")
	case (t.KeysFile == "") == (t.KeysURL == ""):
		return fmt.Errorf("trusted issuer %q: give jwks_file or jwks_url", t.Name)
	case t.KeysURL != "" && !strings.HasPrefix(t.KeysURL, "https://"):
		return fmt.Errorf("trusted issuer %q: jwks_url is not https", t.Name)
	case len(t.Agents) == 0 && len(t.Services) == 0:
		return fmt.Errorf("trusted issuer %q: it speaks for no agent and no service", t.Name)
	}
	for subject, account := range t.Services {
		if _, both := t.Agents[subject]; both || subject == "" {
			return fmt.Errorf("trusted issuer %q: %q is an agent and a service, or nobody", t.Name, subject)
		}
		if err := account.check(); err != nil {
			return fmt.Errorf("trusted issuer %q: %q: %w", t.Name, subject, err)
		}
	}
	if t.Scope != "" {
		if _, err := token.ParseScope(t.Scope); err != nil {
			return fmt.Errorf("trusted issuer %q: scope %q is not one", t.Name, t.Scope)
		}
	}
	return nil
}

// Fetch gets a document from the outside, through the guarded client.
type Fetch func(ctx context.Context, url string) ([]byte, error)

const (
	keysKept  = time.Hour // how long fetched keys are used
	keysWait  = 10 * time.Second
	keysPause = time.Minute    // between two fetches, whatever is asked
	keysUsed  = 24 * time.Hour // how long keys are used on that cannot be fetched anew

	kindFederated = "federated"

	qFederatedAdd store.Q = `INSERT INTO credential (id, subject, kind, hash, created_at, expires_at, revoked_at, scope)
VALUES ($1, $2, '` + kindFederated + `', $3, $4, 0, 0, $5) ON CONFLICT (hash) DO NOTHING`
)

// trustedIssuer is a Trusted with its keys.
type trustedIssuer struct {
	Trusted
	fetch Fetch
	clock act.Clock

	mu      sync.Mutex
	keys    *token.KeySet // guarded by mu
	fetched time.Time     // guarded by mu: when keys were had last
	tried   time.Time     // guarded by mu: when keys were asked for last
	failed  error         // guarded by mu: of the last try, nil if it went well
}

func newTrusted(list []Trusted, fetch Fetch, clock act.Clock) ([]*trustedIssuer, error) {
	var all []*trustedIssuer
	services := make(map[string]bool)
	for _, t := range list {
		if err := t.Check(); err != nil {
			return nil, err
		}
		for _, account := range t.Services {
			if services[account.Name] {
				return nil, fmt.Errorf("trusted issuer %q: two service accounts are called %q", t.Name, account.Name)
			}
			services[account.Name] = true
		}
		one := &trustedIssuer{Trusted: t, fetch: fetch, clock: clock}
		if t.KeysFile != "" {
			text, err := os.ReadFile(t.KeysFile)
			if err != nil {
				return nil, fmt.Errorf("trusted issuer %q: %w", t.Name, err)
			}
			if one.keys, err = token.ParseKeySet(text); err != nil {
				return nil, fmt.Errorf("trusted issuer %q: %w", t.Name, err)
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// set returns the issuer's keys. They are fetched when they are old or, with again,
// when one was missing; keys that cannot be fetched anew are used on for a day.
func (t *trustedIssuer) set(ctx context.Context, again bool) (*token.KeySet, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	age := now.Sub(t.fetched)
	if t.KeysFile != "" || t.keys != nil && !again && age < keysKept {
		return t.keys, nil
	}
	if t.fetch == nil {
		return nil, act.Errorf(act.Unavailable, "the keys of %q cannot be fetched", t.Name).WithRule("grant.unchecked").WithRetry(keysPause).
			WithHint("tell the network's operator")
	}
	// Strangers decide how often this is called: whatever came of the last try stands
	// for a while.
	if since := now.Sub(t.tried); since < 0 || since >= keysPause {
		t.tried = now
		t.failed = t.load(ctx, now)
	}
	switch err := t.failed; {
	case err == nil:
	case t.keys == nil || age > keysUsed:
		return nil, act.Errorf(act.Unavailable, "the keys of %q cannot be fetched: %w", t.Name, err).WithRule("grant.unchecked").
			WithRetry(keysPause).WithHint("that says nothing about your assertion; retry")
	}
	return t.keys, nil
}

// load fetches the keys. The caller holds t.mu. A client that goes away does not end
// it: the next one needs the keys, too.
func (t *trustedIssuer) load(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysWait)
	defer cancel()
	text, err := t.fetch(ctx, t.KeysURL)
	if err != nil {
		return err
	}
	keys, err := token.ParseKeySet(text)
	if err == nil {
		t.keys, t.fetched = keys, now
	}
	return err
}

// NewAssertion asks for a grant on the word of another issuer, which has been
// verified.
type NewAssertion struct {
	Issuer   string // its name here
	Subject  string // of whom it speaks, in its words
	ID       string // of the assertion
	Until    int64  // of the assertion, Unix microseconds
	Scope    string
	Audience []string
	Delegate act.ID
	Confirm  token.Confirm
	Life     time.Duration // as in NewGrant
}

func (i *Issuer) registerAssert(g *gate.Gate) {
	i.Assert = gate.RegisterWrite(g, gate.Write[NewAssertion, Issued]{
		Info: gate.Info{Name: "token.assert", Doc: "Get an access token on the word of an issuer that this network trusts.", On: act.KindGrant, Quota: gate.QuotaToken},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in NewAssertion) (gate.Resource, error) {
			return own(p), i.checkAsked(in.Scope, in.Delegate, in.Confirm)
		},
		Attenuate: func(in NewAssertion, by gate.Attenuation) NewAssertion { in.Life = by.TTL; return in },
		Run:       i.runAssert,
	})
}

func (i *Issuer) runAssert(_ context.Context, tx *store.Tx, p act.Principal, in NewAssertion) (out Issued, fx gate.Effects, err error) {
	t := i.trustedBy(func(t *trustedIssuer) bool { return t.Name == in.Issuer })
	if t == nil {
		return out, fx, token.Refuse("grant.issuer")
	}
	scope := token.ScopeAll
	if t.Scope != "" {
		if scope, err = token.ParseScope(t.Scope); err != nil {
			return out, fx, err
		}
	}
	// What the issuer vouches for stands among the agent's credentials: it is seen in
	// the inventory, ends with the agent, and can be revoked.
	sum := t.hashOf(i.ids, in.Subject)
	fresh, err := tx.Mint(act.KindCredential)
	if err != nil {
		return out, fx, err
	}
	if _, err := tx.Exec(qFederatedAdd, fresh, p.ID, sum[:], tx.Now(), string(scope)); err != nil {
		return out, fx, err
	}
	c, found, err := credentialBy(&tx.View, qKeyOf, sum[:])
	if err != nil {
		return out, fx, err
	}
	if !found || c.Subject != p.ID {
		return out, fx, refused("grant.subject", "the issuer spoke of this subject for another agent before", "an operator gives the trusted issuer another revision when agents change")
	}
	// What is wrong with the issuer's word is the grant's fault, not a client's.
	if err := holdCredential(tx, c.ID); act.CodeOf(err) == act.Unauthenticated {
		return out, fx, refused("grant.revoked", "what this issuer's word was good for was revoked", "an operator gives the trusted issuer another revision to take it up again")
	} else if err != nil {
		return out, fx, err
	}
	if t.Once {
		err := i.ids.Once(tx, "issuer "+t.Name, in.ID, act.FromMicros(in.Until))
		if act.CodeOf(err) == act.Unauthenticated {
			err = refused("grant.replayed", "this assertion was shown before", "have the issuer make another one")
		}
		if err != nil {
			return out, fx, err
		}
	}
	want, err := asked(in.Scope, in.Audience)
	if err != nil {
		return out, fx, err
	}
	out.Grant = Grant{Kind: GrantAsserted, Holder: p.ID, Delegate: in.Delegate, Credential: c.ID, Confirm: in.Confirm}
	c.Scope = string(scope) // as it is configured now
	if out.Grant.Authority, err = token.Narrow(i.held(c, ends(tx, in.Delegate, in.Life)), want); err != nil {
		return out, fx, err
	}
	err = addGrant(tx, &out.Grant)
	return out, gate.Effects{Out: act.Ref{ID: out.Grant.ID}}, err
}

func (i *Issuer) trustedBy(is func(*trustedIssuer) bool) *trustedIssuer {
	for _, t := range i.trusted {
		if is(t) {
			return t
		}
	}
	return nil
}

// assert answers a request with the assertion of another issuer.
func (i *Issuer) assert(ctx context.Context, stranger act.Principal, r TokenRequest, confirm token.Confirm) (TokenAnswer, error) {
	p, in, err := i.vouched(ctx, r.Bearer)
	p.Source = stranger.Source
	if err != nil {
		i.refuse(ctx, stranger, "token.assert", err)
		return TokenAnswer{}, err
	}
	in.Scope, in.Confirm = r.Scope, confirm
	in.Audience, in.Delegate = i.audience(r.Audience)
	out, err := i.Assert.Do(ctx, p, in)
	if err != nil {
		return TokenAnswer{}, err
	}
	return i.Answer(out)
}

// vouched verifies an assertion and returns the agent that it speaks of.
func (i *Issuer) vouched(ctx context.Context, text string) (p act.Principal, in NewAssertion, err error) {
	issuer := issuerOf(text)
	t := i.trustedBy(func(t *trustedIssuer) bool { return t.Issuer == issuer && issuer != "" })
	if t == nil {
		return p, in, token.Refuse("grant.issuer")
	}
	audience := t.Audience
	if audience == "" {
		audience = i.URL()
	}
	var f token.Foreign
	for _, again := range [...]bool{false, true} {
		keys, err := t.set(ctx, again)
		if err != nil {
			return p, in, err
		}
		f, err = token.ReadForeign(text, token.ForeignExpect{Issuer: t.Issuer, Audience: audience, Keys: keys, Now: i.ids.clock()})
		if err == nil {
			break
		}
		if again || act.AsError(err).Rule != "grant.key" {
			return p, in, err
		}
	}
	subject, ok := f.Subject, true
	if t.Claim != "" && t.Claim != "sub" {
		subject, ok = f.Claim(t.Claim)
	}
	in = NewAssertion{Issuer: t.Name, Subject: subject, ID: f.ID, Until: act.Micros(f.Until)}
	if account, known := t.Services[subject]; known && ok {
		p, err = i.ids.service(ctx, account, t.hashOf(i.ids, subject))
		return p, in, err
	}
	agent, err := i.cfg.Codec.ParseKind(t.Agents[subject], act.KindAgent)
	if !ok || subject == "" || err != nil {
		return p, in, refused("grant.subject", "the issuer speaks of nobody who is an agent or a service here", "an operator maps its subjects in trusted-issuers")
	}
	p = act.Principal{Kind: act.Agent, ID: agent, Binding: act.BindingAsserted}
	if p.Name, err = i.ids.subjects.Subject(ctx, agent); err != nil {
		return p, in, unchecked(err)
	}
	return p, in, nil
}

// issuerOf reads whose assertion a text says it is, to choose whose keys to verify
// it with. Nothing else is believed of it.
func issuerOf(text string) string {
	parts := strings.SplitN(text, ".", 3)
	if len(text) > maxShown || len(parts) != 3 {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	return claims.Issuer
}
