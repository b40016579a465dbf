package identity_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

const endpoint = "/oauth/token"

// desk is a running network as those see it who ask it for tokens.
type desk struct {
	*servertest.Server
	t        testing.TB
	operator act.Principal
}

func newDesk(t testing.TB, s *servertest.Server) *desk {
	t.Helper()
	p, err := s.Identity.Present(context.Background(), identity.Presented{Scheme: "Bearer", Credential: s.Token})
	if err != nil {
		t.Fatalf("the operator: %v", err)
	}
	return &desk{Server: s, t: t, operator: p}
}

// eachDesk runs fn on both databases.
func eachDesk(t *testing.T, fn func(t *testing.T, d *desk)) {
	t.Helper()
	servertest.Each(t, func(t *testing.T, s *servertest.Server) { fn(t, newDesk(t, s)) })
}

func (d *desk) now() time.Time { return d.DB.Clock()() }

// holder is an agent with a key pair of its own, and one to bind its tokens to.
type holder struct {
	id        act.ID
	name      string
	key, dpop token.Private
	member    lifecycle.Member
}

func newKey(t testing.TB) token.Private {
	t.Helper()
	k, err := token.NewKey(token.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// invite makes an enrolment token.
func (d *desk) invite(in identity.NewEnrollment) string {
	d.t.Helper()
	out, err := d.Issuer.Invite.Do(context.Background(), d.operator, in)
	if err != nil {
		d.t.Fatalf("enrolment token: %v", err)
	}
	return out.Token
}

// proof is a key's proof of possession for an enrolment.
func (d *desk) proof(k token.Private, voucher string) string {
	d.t.Helper()
	text, err := k.Assert(voucher, d.URL, d.now())
	if err != nil {
		d.t.Fatal(err)
	}
	return text
}

func (d *desk) enroll(k token.Private, enrolment, name string) (lifecycle.Member, error) {
	return d.Lifecycle.Enroll.Do(context.Background(), act.Principal{Source: "test"}, lifecycle.NewMember{
		Token: enrolment, Key: string(k.Public().JWK()), Proof: d.proof(k, identity.Voucher(enrolment)), Name: name,
	})
}

// agent enrols a new agent of the owner "owner".
func (d *desk) agent(name string) *holder {
	d.t.Helper()
	return d.scoped(name, "")
}

func (d *desk) scoped(name, scope string) *holder {
	d.t.Helper()
	h := &holder{name: name, key: newKey(d.t), dpop: newKey(d.t)}
	var err error
	if h.member, err = d.enroll(h.key, d.invite(identity.NewEnrollment{Owner: "owner", Scope: scope}), name); err != nil {
		d.t.Fatalf("enrol %s: %v", name, err)
	}
	h.id = h.member.Agent
	return h
}

// client is how h authenticates at the token endpoint.
func (d *desk) client(h *holder) identity.Client {
	d.t.Helper()
	assertion, err := h.key.Assert(d.Codec.String(h.id), d.URL, d.now())
	if err != nil {
		d.t.Fatal(err)
	}
	return identity.Client{Assertion: assertion, Proof: d.prove(h.dpop, "POST", endpoint, ""), Method: "POST", URL: d.URL + endpoint}
}

func (d *desk) prove(k token.Private, method, path, access string) string {
	d.t.Helper()
	proof, err := k.Prove(token.Prove{Method: method, URL: d.URL + path, AccessToken: access, Nonce: d.Issuer.Nonce(), Now: d.now()})
	if err != nil {
		d.t.Fatal(err)
	}
	return proof
}

func (d *desk) ask(h *holder, r identity.TokenRequest) (identity.TokenAnswer, error) {
	if r.Client.Assertion == "" && r.Client.Secret == "" {
		r.Client = d.client(h)
	}
	r.Source = "test"
	return d.Issuer.Token(context.Background(), r)
}

// issue gets h a token of its own.
func (d *desk) issue(h *holder, scope string, audience ...string) identity.TokenAnswer {
	d.t.Helper()
	a, err := d.ask(h, identity.TokenRequest{Type: identity.TypeClient, Scope: scope, Audience: audience})
	if err != nil {
		d.t.Fatalf("a token for %s: %v (%s)", h.name, err, ruleOf(err))
	}
	return a
}

func (d *desk) exchange(h *holder, subject identity.TokenAnswer, scope string, audience ...string) (identity.TokenAnswer, error) {
	return d.ask(h, identity.TokenRequest{Type: identity.TypeExchange, Subject: subject.AccessToken, Scope: scope, Audience: audience})
}

// delegate has from hand its authority on to the other, which gets a token for it.
func (d *desk) delegate(from *holder, subject *identity.TokenAnswer, to *holder, scope string) identity.TokenAnswer {
	d.t.Helper()
	var handed identity.TokenAnswer
	var err error
	if subject == nil {
		handed = d.issue(from, scope, d.Codec.String(to.id))
	} else if handed, err = d.exchange(from, *subject, scope, d.Codec.String(to.id)); err != nil {
		d.t.Fatalf("%s hands on: %v (%s)", from.name, err, ruleOf(err))
	}
	out, err := d.exchange(to, handed, scope)
	if err != nil {
		d.t.Fatalf("%s takes over: %v (%s)", to.name, err, ruleOf(err))
	}
	return out
}

// present shows a token at a door, with a proof by the key.
func (d *desk) present(k token.Private, access string) (act.Principal, error) {
	d.t.Helper()
	p, err := d.Identity.Present(context.Background(), identity.Presented{
		Scheme: "DPoP", Credential: access, Proof: d.prove(k, "GET", "/v1/x", access), Method: "GET", URL: d.URL + "/v1/x",
	})
	p.Source = "test"
	return p, err
}

// reads and writes try acts with a token.
func (d *desk) reads(k token.Private, access string) error {
	p, err := d.present(k, access)
	if err == nil {
		_, err = d.Network.Me.Do(context.Background(), p, network.Nothing{})
	}
	return err
}

func (d *desk) writes(k token.Private, access string) error {
	p, err := d.present(k, access)
	if err == nil {
		err = d.writesAs(p)
	}
	return err
}

func (d *desk) writesAs(p act.Principal) error {
	text := "still here"
	_, err := d.Network.UpdateProfile.Do(context.Background(), p, network.ProfileChange{Description: &text})
	return err
}

func (d *desk) posts(p act.Principal) error {
	_, err := d.Network.CreatePost.Do(context.Background(), p, network.NewPost{Community: "general", Title: "A title", Content: "Some words " + time.Now().String()})
	return err
}

// refusedAs fails the test unless err has the rule.
func refusedAs(t testing.TB, what string, err error, rules ...string) {
	t.Helper()
	for _, r := range rules {
		if ruleOf(err) == r {
			return
		}
	}
	t.Errorf("%s: %v (rule %q), want %s", what, err, ruleOf(err), strings.Join(rules, " or "))
}

// clocked is a network whose clock the test sets.
func clocked(t *testing.T, fn func(t *testing.T, d *desk, jump func(time.Duration))) {
	t.Helper()
	for _, dialect := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(dialect.String(), func(t *testing.T) {
			cfg := servertest.Config(t, dialect)
			clock := newHand()
			cfg.Clock = clock.now
			d := newDesk(t, servertest.Start(t, cfg))
			fn(t, d, func(by time.Duration) {
				clock.jump(by)
				if err := d.DB.Reserve(context.Background(), clock.now()); err != nil { // as the node's lease would in time
					t.Fatal(err)
				}
			})
		})
	}
}

func legacyOff(t testing.TB, d store.Dialect) server.Config {
	cfg := servertest.Config(t, d)
	cfg.LegacyKeys = server.LegacyOff
	return cfg
}

// consents is a human's consent that the agent acts for them, as a token that the
// agent can carve its own out of.
func (d *desk) consents(t testing.TB, agent *holder) (out identity.TokenAnswer) {
	t.Helper()
	err := d.DB.Write(context.Background(), func(tx *store.Tx) (err error) {
		out, err = d.Issuer.ConsentForTest(tx, d.operator, agent.id, newKey(t).Public().Thumbprint())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
