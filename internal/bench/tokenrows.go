package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server"
)

// Agents with a key and a grant, as rows of the form that acts store: each is a copy of
// the first one under ids that are so many milliseconds older. Every other grant is
// bound to a certificate, as the first one is, the others to a key.
const (
	tokenNumbers = `WITH RECURSIVE n (n) AS (SELECT CAST(:from AS BIGINT) UNION ALL SELECT n + 1 FROM n WHERE n < :last) `
	tokenStep    = `((n.n + 3600000) * 4194304)` // bits 22 and up of an id are milliseconds

	tokenAgents = tokenNumbers + `INSERT INTO agent (id, name, skeleton, owner, state, epoch, reason, invite, created_at, claimed_at, changed_at, source, beneath)
SELECT a.id - ` + tokenStep + `, a.name || '-' || n.n, a.skeleton || '-' || n.n, a.owner, a.state, a.epoch, a.reason, a.invite, a.created_at, a.claimed_at, a.changed_at, a.source, a.beneath
FROM n CROSS JOIN agent AS a WHERE a.id = :agent`
	tokenKeys = tokenNumbers + `INSERT INTO credential (id, subject, kind, hash, created_at, expires_at, revoked_at, parent, jwk, scope, used_at)
SELECT c.id - ` + tokenStep + `, c.subject - ` + tokenStep + `, c.kind, :hash, c.created_at, c.expires_at, c.revoked_at, c.parent, c.jwk, c.scope, c.used_at
FROM n CROSS JOIN credential AS c WHERE c.id = :key`
	tokenGrants = tokenNumbers + `INSERT INTO token_grant (id, kind, holder, parent, delegate, credential, confirmation, scope, audience, budget, clearance, site, depth, created_at, expires_at, revoked_at, used_at)
SELECT g.id - ` + tokenStep + `, g.kind, g.holder - ` + tokenStep + `, g.parent, g.delegate, g.credential - ` + tokenStep + `, CASE n.n % 2 WHEN 0 THEN g.confirmation ELSE 'jkt::jkt' END,
g.scope, g.audience, g.budget, g.clearance, g.site, g.depth, g.created_at, g.expires_at + 86400000000, g.revoked_at, g.used_at
FROM n CROSS JOIN token_grant AS g WHERE g.id = :grant`

	tokenHashLite = `randomblob(32)`
	tokenHashPG   = `sha256(convert_to('key ' || n.n, 'UTF8'))`

	officeURL    = "https://reef.example" // every start has another port, which tokens are not to know
	officeAgents = 64                     // that ask for tokens
	officeKnown  = 4096                   // tokens that are in memory
	officeMost   = 4000                   // requests that are committed in two seconds or so
)

// older returns the id of row n of those copied from the one with the id.
func older(id act.ID, n int) act.ID { return id - act.ID(n+3600000)<<22 }

// keyed is an agent with an enrolled key, in this process.
type keyed struct {
	lifecycle.Member
	id string // outside id
	signer
}

// office is a network with agents that have keys, whose tokens are issued and verified.
type office struct {
	r      *runner
	st     *stage
	srv    *server.Server
	agents []keyed
	has    int            // rows
	grant  identity.Grant // the first, of which the rows are copies
	cert   *x509.Certificate

	requests []identity.TokenRequest
	shown    []identity.Presented
	known    []identity.Presented   // with tokens that are in memory, on connections with the certificate
	proved   []identity.TokenAnswer // that are in memory, for calls with a proof
}

func (r *runner) tokensOn(ctx context.Context, db string) error {
	st, err := r.newStage(ctx, db)
	if err != nil {
		return err
	}
	defer st.remove(ctx)
	o := &office{r: r, st: st}
	if o.cert, err = newCertificate(); err != nil {
		return err
	}
	defer o.close()
	grown := make(map[string][]float64)
	var sizes []float64
	for _, scale := range r.scales {
		n := r.base * scale
		if err := o.open(ctx, n); err != nil {
			return err
		}
		f := figure{DB: db, Side: string(governed), Scale: scale, Data: fmt.Sprintf("%d agents, each with a key and a grant", n)}
		got, err := r.deals(f, o.deals(ctx))
		if err != nil {
			return err
		}
		sizes = append(sizes, float64(n))
		for name, t := range got {
			grown[name] = append(grown[name], median(t.ours))
		}
		o.close()
	}
	for _, d := range o.deals(ctx) {
		e, ok := exponent(sizes, grown[d.name])
		if !ok {
			continue
		}
		e = math.Round(e*100) / 100
		f := figure{DB: db, Side: string(governed), Variant: d.name, Metric: "growth_time", Data: fmt.Sprintf("agents %.0f", sizes), Reps: r.reps}
		f.Value, f.Min, f.Max, f.Unit, f.N = e, e, e, "exponent", int64(len(sizes))
		if err := r.press.put(f); err != nil {
			return err
		}
	}
	return nil
}

func (o *office) close() {
	if o.srv != nil {
		o.srv.Close()
		o.srv, o.known, o.proved = nil, nil, nil
	}
}

// task says how nodes of the network are started. They share its key.
func (o *office) task() task {
	t := task{Kind: governed, Data: o.st.dir, Public: officeURL}
	if o.st.db == dbPostgres {
		t.URL, t.NATS, t.KeyFile = o.r.pg.url(o.st.name), o.r.nats, filepath.Join(o.st.dir, "keys", "network.key")
	}
	return t
}

// open starts the network with n agents.
func (o *office) open(ctx context.Context, n int) (err error) {
	t := o.task()
	if len(o.agents) == 0 {
		if o.srv, err = t.product(ctx, o.r.diag); err != nil {
			return err
		}
		if err := o.enrol(ctx); err != nil {
			return err
		}
		o.close()
	}
	if err := o.fill(ctx, n); err != nil {
		return fmt.Errorf("fill %d agents in: %w", n, err)
	}
	began := time.Now()
	if o.srv, err = t.product(ctx, o.r.diag); err != nil {
		return err
	}
	o.r.say("%s: %d agents, started in %.1f s", o.st.db, n, time.Since(began).Seconds())
	return nil
}

// enrol makes the agents that ask for tokens, by acts, and the grant that is copied.
func (o *office) enrol(ctx context.Context) error {
	operator, err := o.governor(ctx)
	if err != nil {
		return err
	}
	for i := range officeAgents {
		k := keyed{}
		if k.signer, err = newSigner(token.EdDSA); err != nil {
			return err
		}
		e, err := o.srv.Issuer.Invite.Do(ctx, operator, identity.NewEnrollment{Owner: "bench"})
		if err != nil {
			return err
		}
		proof, err := k.key.Assert(identity.Voucher(e.Token), o.srv.Issuer.URL(), time.Now())
		if err != nil {
			return err
		}
		k.Member, err = o.srv.Lifecycle.Enroll.Do(ctx, act.Principal{Source: "bench"}, lifecycle.NewMember{
			Token: e.Token, Key: string(k.key.Public().JWK()), Proof: proof, Name: agentName(i),
		})
		if err != nil {
			return err
		}
		k.id = o.srv.Codec.String(k.Agent)
		o.agents = append(o.agents, k)
	}
	first := o.agents[0]
	p := act.Principal{Kind: act.Agent, ID: first.Agent, Name: first.Name, Credential: first.Credential, Binding: act.BindingKey, Source: "bench"}
	out, err := o.srv.Issuer.Issue.Do(ctx, p, identity.NewGrant{Scope: "agent.me feed.read post.*", Confirm: token.Confirm{X5T: token.CertificateThumbprint(o.cert)}})
	o.grant = out.Grant
	return err
}

// governor is the network's first operator.
func (o *office) governor(ctx context.Context) (act.Principal, error) {
	text, err := os.ReadFile(filepath.Join(o.st.dir, "operator.token"))
	if err != nil {
		return act.Principal{}, err
	}
	return o.srv.Identity.Authenticate(ctx, strings.TrimSpace(string(text)))
}

// fill adds rows up to n while no server runs.
func (o *office) fill(ctx context.Context, n int) error {
	if n <= o.has {
		return nil
	}
	hash := tokenHashLite
	if o.st.db == dbPostgres {
		hash = tokenHashPG
	}
	number := func(n act.ID) string { return strconv.FormatInt(int64(n), 10) }
	fill := strings.NewReplacer(":from", strconv.Itoa(o.has), ":last", strconv.Itoa(n-1), ":hash", hash, ":jkt", o.agents[0].key.Public().Thumbprint(),
		":agent", number(o.agents[0].Agent), ":key", number(o.agents[0].Credential), ":grant", number(o.grant.ID))
	list := []string{fill.Replace(tokenAgents), fill.Replace(tokenKeys), fill.Replace(tokenGrants)}
	o.has = n
	return o.change(ctx, append(list, o.settled())...)
}

// settled is the statement that ends a growth, so that what follows does not pay for it.
func (o *office) settled() string {
	if o.st.db == dbPostgres {
		return "VACUUM ANALYZE"
	}
	return "PRAGMA wal_checkpoint(TRUNCATE)"
}

// change runs statements beside the product.
func (o *office) change(ctx context.Context, list ...string) error {
	if o.st.db == dbPostgres {
		return o.r.pg.exec(ctx, o.r.pg.url(o.st.name, "search_path", schema), list...)
	}
	conn, err := sqlite.OpenConn(databaseFile(o.st.dir), sqlite.OpenReadWrite)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // what was not stored is missed at once
	conn.SetBusyTimeout(time.Minute)
	conn.SetInterrupt(ctx.Done())
	for _, q := range list {
		if err := sqlitex.ExecuteTransient(conn, q, nil); err != nil {
			return err
		}
	}
	return nil
}

// token signs a token for a grant among the rows, of which there are twice n.
func (o *office) token(n int, proved bool) (identity.TokenAnswer, error) {
	g := o.grant
	if n *= 2; proved {
		n++
		g.Confirm = token.Confirm{JKT: o.agents[0].key.Public().Thumbprint()}
	}
	g.ID, g.Holder, g.Credential = older(g.ID, n), older(g.Holder, n), older(g.Credential, n)
	g.Authority.Expires = g.Authority.Expires.Add(24 * time.Hour)
	return o.srv.Issuer.Answer(identity.Issued{Grant: g})
}

// call is a call with a token: on a connection of its own with the certificate, or with
// a proof.
func (o *office) call(a identity.TokenAnswer, proved bool) (p identity.Presented, err error) {
	p = identity.Presented{Scheme: a.Type, Credential: a.AccessToken, Method: "GET", URL: officeURL + tokenCall}
	if !proved {
		cert := *o.cert // each connection has read its own
		p.Cert = &cert
		return p, nil
	}
	p.Proof, err = o.agents[0].key.Prove(token.Prove{Method: p.Method, URL: p.URL, AccessToken: a.AccessToken, Nonce: o.srv.Issuer.Nonce(), Now: time.Now()})
	return p, err
}

// cold prepares calls with tokens that nobody has shown, of random agents.
func (o *office) cold(proved bool) func(int) error {
	return func(n int) error {
		o.shown = make([]identity.Presented, n)
		for i, at := range someOf(o.has/2, n) {
			a, err := o.token(at, proved)
			if err != nil {
				return err
			}
			if o.shown[i], err = o.call(a, proved); err != nil {
				return err
			}
		}
		return nil
	}
}

// warm shows tokens of random agents once. They live for minutes, so each repetition
// has its own.
func (o *office) warm(ctx context.Context, proved bool) error {
	o.known, o.proved = nil, nil
	for _, at := range someOf(o.has/2, min(officeKnown, o.has/4)) {
		a, err := o.token(at, proved)
		if err != nil {
			return err
		}
		p, err := o.call(a, proved)
		if err != nil {
			return err
		}
		if _, err := o.srv.Identity.Present(ctx, p); err != nil {
			return err
		}
		if proved {
			o.proved = append(o.proved, a)
		} else {
			o.known = append(o.known, p)
		}
	}
	return nil
}

// asks prepares requests at the token endpoint. An exchange narrows an agent's own.
func (o *office) asks(ctx context.Context, exchange bool) func(int) error {
	return func(n int) error {
		o.requests = make([]identity.TokenRequest, n)
		subjects := make([]string, len(o.agents))
		for i := range n + len(subjects) {
			at, k := i%len(o.agents), &o.agents[i%len(o.agents)]
			now := time.Now()
			c := identity.Client{Method: "POST", URL: officeURL + tokenPath}
			var err error
			if c.Assertion, err = k.key.Assert(k.id, officeURL, now); err != nil {
				return err
			}
			if c.Proof, err = k.key.Prove(token.Prove{Method: c.Method, URL: c.URL, Nonce: o.srv.Issuer.Nonce(), Now: now}); err != nil {
				return err
			}
			q := identity.TokenRequest{Type: identity.TypeClient, Source: "bench", Client: c, Scope: "agent.me feed.read post.*"}
			if i < len(subjects) {
				a, err := o.srv.Issuer.Token(ctx, q)
				if err != nil {
					return err
				}
				subjects[at] = a.AccessToken
				continue
			}
			if exchange {
				q.Type, q.Subject, q.Scope = identity.TypeExchange, subjects[at], "agent.me"
			}
			o.requests[i-len(subjects)] = q
		}
		return nil
	}
}

func (o *office) deals(ctx context.Context) []deal {
	k := &o.agents[0]
	present := func(list *[]identity.Presented) func(int) error {
		return func(i int) error {
			_, err := o.srv.Identity.Present(ctx, (*list)[i%len(*list)])
			return err
		}
	}
	ask := func(i int) error {
		_, err := o.srv.Issuer.Token(ctx, o.requests[i])
		return err
	}
	return []deal{
		{name: "issue", most: officeMost, prepare: o.asks(ctx, false), do: ask, signatures: func() { k.verify(); k.verify(); k.sign() }, committed: true},
		{name: "exchange", most: officeMost, prepare: o.asks(ctx, true), do: ask, signatures: func() { k.verify(); k.verify(); k.verify(); k.sign() }, committed: true},
		{name: "verify_cold", most: tokenMost, prepare: o.cold(false), do: present(&o.shown), signatures: k.verify},
		{name: "verify_cold_dpop", most: tokenMost, prepare: o.cold(true), do: present(&o.shown), signatures: func() { k.verify(); k.verify() }},
		{name: "verify_cached", do: present(&o.known), signatures: k.verify, prepare: func(int) error { return o.warm(ctx, false) }},
		{name: "verify_cached_dpop", most: tokenMost, do: present(&o.shown), signatures: k.verify, prepare: func(n int) error {
			if err := o.warm(ctx, true); err != nil {
				return err
			}
			o.shown = make([]identity.Presented, n)
			for i := range n {
				var err error
				if o.shown[i], err = o.call(o.proved[i%len(o.proved)], true); err != nil {
					return err
				}
			}
			return nil
		}},
	}
}

// newCertificate makes a certificate as agents have them. Whose key it is was shown
// when its connection was made.
func newCertificate() (*x509.Certificate, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{{Scheme: "spiffe", Host: "reef.example", Path: "/agent/bench"}}}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(raw)
}
