package identity_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A token that was caught on its way is of no use to whoever has it (T11).
func TestT11_StolenToken(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		a, thief := d.agent("ada"), d.agent("mallory")
		tok := d.issue(a, "").AccessToken
		_, err := d.present(thief.dpop, tok)
		refusedAs(t, "with another key", err, "token.binding")
		for _, scheme := range []string{"Bearer", "bearer"} {
			_, err = d.Identity.Present(ctx, identity.Presented{Scheme: scheme, Credential: tok, Method: "GET", URL: d.URL + "/v1/x"})
			refusedAs(t, "as a bearer token", err, "token.binding")
		}
		shown := identity.Presented{Scheme: "DPoP", Credential: tok, Proof: d.prove(a.dpop, "GET", "/v1/x", tok), Method: "GET", URL: d.URL + "/v1/x"}
		for what, change := range map[string]func(*identity.Presented){
			"for another path":   func(p *identity.Presented) { p.URL = d.URL + "/v1/y" },
			"for another method": func(p *identity.Presented) { p.Method = "POST" },
			"at another host":    func(p *identity.Presented) { p.URL = "http://elsewhere.example/v1/x" },
			"without a proof":    func(p *identity.Presented) { p.Proof = "" },
			"with another token": func(p *identity.Presented) { p.Credential = d.issue(thief, "").AccessToken },
		} {
			p := shown
			if change(&p); what == "with another token" {
				_, err = d.Identity.Present(ctx, p)
				refusedAs(t, what, err, "dpop.token")
				continue
			}
			_, err := d.Identity.Present(ctx, p)
			refusedAs(t, what, err, "dpop.url", "dpop.method", "dpop.malformed")
		}
		if _, err := d.Identity.Present(ctx, shown); err != nil {
			t.Fatalf("its holder: %v", err)
		}
		_, err = d.Identity.Present(ctx, shown)
		refusedAs(t, "the same proof again", err, "dpop.replayed")
		// Nor can it be turned into another one.
		_, err = d.exchange(thief, identity.TokenAnswer{AccessToken: tok}, "agent.me")
		refusedAs(t, "exchanged by who stole it", err, "exchange.delegate")
	})
}

// words are scopes that tokens are asked for with.
var words = []string{"*", "agent.*", "agent.me", "agent.update", "post.*", "post.create", "feed.read", "comment.create", "agent.kill", "key.rotate"}

// No token carries more, or lasts longer, than any that it came from, whoever asks
// for what and however often it is handed on (T13).
func TestT13_NothingBeyondOnesOwn(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		pairs := 60
		if os.Getenv("REEF_SOAK") != "" {
			pairs = 10_000
		}
		r := rand.New(rand.NewPCG(13, uint64(pairs)))
		some := func() string {
			var list []string
			for range 1 + r.IntN(3) {
				list = append(list, words[r.IntN(len(words))])
			}
			return strings.Join(list, " ")
		}
		var all []*holder
		for _, name := range []string{"a0", "a1", "a2", "a3", "a4", "a5", "a6"} {
			all = append(all, d.scoped(name, some()))
		}
		deepest := 0
		for n := 0; n < pairs; {
			at := all[r.IntN(len(all))]
			held, err := token.ParseScope(at.member.Scope)
			if err != nil {
				t.Fatal(err)
			}
			next := all[r.IntN(len(all))]
			tok, err := d.ask(at, identity.TokenRequest{Type: identity.TypeClient, Scope: some(), Audience: []string{d.Codec.String(next.id)}})
			n++
			for hops := 0; err == nil; hops++ {
				got := token.Scope(tok.Scope)
				if !held.Covers(got) {
					t.Fatalf("%q was granted out of %q", got, held)
				}
				deepest, held = max(deepest, hops), got
				if n >= pairs {
					break
				}
				at, next = next, all[r.IntN(len(all))]
				ended := tok.Expires
				tok, err = d.ask(at, identity.TokenRequest{Type: identity.TypeExchange, Subject: tok.AccessToken, Scope: some(), Audience: []string{d.Codec.String(next.id)}})
				n++
				if mine, _ := token.ParseScope(at.member.Scope); err == nil && !mine.Covers(token.Scope(tok.Scope)) {
					t.Fatalf("%q was granted to a key with %q", tok.Scope, mine)
				}
				if err == nil && tok.Expires.Sub(ended) > identity.DelegationLife {
					t.Fatalf("a token lasts longer than what it came from")
				}
			}
			if code := act.CodeOf(err); err != nil && code != act.Denied && code != act.Invalid {
				t.Fatalf("asked for: %v (%s)", err, ruleOf(err))
			}
		}
		if deepest > token.MaxDepth {
			t.Errorf("handed on %d times", deepest)
		}
		// What is for operators is not reached by any scope.
		p, err := d.present(all[0].dpop, d.issue(all[0], "").AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		p.Scope = "*"
		if _, err := d.Lifecycle.Kill.Do(context.Background(), p, lifecycle.Order{Agent: all[1].id, Reason: "because"}); act.CodeOf(err) != act.Denied {
			t.Errorf("an agent's token kills: %v", err)
		}
		// Every grant that was made, one under the other: servertest checks them all.
	})
}

// The depth of a chain is bounded, and nobody is in it twice.
func TestDepth(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		var all []*holder
		for _, name := range []string{"c0", "c1", "c2", "c3", "c4", "c5", "c6"} {
			all = append(all, d.agent(name))
		}
		tok := d.issue(all[0], "agent.me agent.update", d.Codec.String(all[1].id))
		for n := 1; n <= token.MaxDepth; n++ {
			next, err := d.exchange(all[n], tok, "agent.me agent.update", d.Codec.String(all[n+1].id))
			if err != nil {
				t.Fatalf("hand-over %d: %v (%s)", n, err, ruleOf(err))
			}
			p, err := d.present(all[n].dpop, next.AccessToken)
			if err != nil || p.ID != all[n].id || len(p.Chain) != n || p.Chain[0] != all[0].id || p.Chain[n-1] != all[n-1].id {
				t.Fatalf("hand-over %d: %+v, %v", n, p.Chain, err)
			}
			tok = next
		}
		_, err := d.exchange(all[token.MaxDepth+1], tok, "agent.me")
		refusedAs(t, "one hand-over more", err, "exchange.depth")
		back := d.issue(all[0], "agent.me", d.Codec.String(all[1].id))
		if back, err = d.exchange(all[1], back, "agent.me", d.Codec.String(all[0].id)); err != nil {
			t.Fatal(err)
		}
		_, err = d.exchange(all[0], back, "agent.me")
		refusedAs(t, "back to where it came from", err, "exchange.circle")
		_, err = d.exchange(all[1], d.issue(all[1], "agent.me"), "")
		refusedAs(t, "an exchange without a scope", err, "scope.missing")
		_, err = d.exchange(all[1], d.issue(all[1], "agent.me"), "agent.me", "https://elsewhere.example")
		refusedAs(t, "for another audience", err, "target.beyond")
	})
}

// A strong agent does for a weak one only what the weak one may do, and a changed
// token does nothing at all (T14).
func TestT14_ConfusedDeputy(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		weak, strong := d.agent("weak"), d.agent("strong")
		own := func(h *holder, scope string) act.Principal {
			t.Helper()
			p, err := d.present(h.dpop, d.issue(h, scope).AccessToken)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		p := own(strong, "")
		if _, err := d.Network.CreateCommunity.Do(ctx, p, network.NewCommunity{Name: "strongs"}); err != nil {
			t.Fatal(err)
		}
		description := "taken over"
		change := func(p act.Principal) error {
			_, err := d.Network.UpdateCommunity.Do(ctx, p, network.CommunityChange{Community: "strongs", Description: &description})
			return err
		}
		if err := change(p); err != nil {
			t.Fatalf("the owner of a community changes it: %v", err)
		}
		tok := d.delegate(weak, nil, strong, "*")
		for_, err := d.present(strong.dpop, tok.AccessToken)
		if err != nil || for_.ID != strong.id || len(for_.Chain) != 1 || for_.Chain[0] != weak.id {
			t.Fatalf("%+v, %v", for_, err)
		}
		if err := change(for_); act.CodeOf(err) != act.Denied {
			t.Errorf("what the weak one may not do was done for it: %v (%s)", err, ruleOf(err))
		}
		if err := d.posts(for_); err != nil {
			t.Errorf("what both may do: %v (%s)", err, ruleOf(err))
		}
		// The weak one's scope bounds what is done for it.
		narrow := d.delegate(weak, nil, strong, "agent.me")
		refusedAs(t, "beyond the scope that was handed on", d.writes(strong.dpop, narrow.AccessToken), "token.scope")
		// What stops the weak one stops what is done for it.
		if _, err := d.Lifecycle.Pause.Do(ctx, d.operator, lifecycle.Order{Agent: weak.id, Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, "for one that is paused", d.posts(for_), "chain.paused")
		if err := d.posts(own(strong, "")); err != nil {
			t.Errorf("for itself: %v", err)
		}

		// A thousand changed tokens.
		tokens := 1000
		r := rand.New(rand.NewPCG(14, 14))
		accepted := 0
		for range tokens {
			text := []byte(tok.AccessToken)
			at := r.IntN(len(text))
			const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
			switch c := alphabet[r.IntN(len(alphabet))]; {
			case r.IntN(4) == 0:
				text = append(text[:at], text[at+1:]...)
			case text[at] == c:
				text[at] = '='
			default:
				text[at] = c
			}
			q := identity.Presented{Scheme: "DPoP", Credential: string(text), Proof: d.prove(strong.dpop, "GET", "/v1/x", string(text)), Method: "GET", URL: d.URL + "/v1/x"}
			if _, err := d.Identity.Present(ctx, q); err == nil {
				accepted++
			}
		}
		if accepted != 0 {
			t.Errorf("%d of %d changed tokens were taken", accepted, tokens)
		}
	})
}

// Clocks that are wrong keep no token alive, and kill none before its time (T16).
func TestT16_ClockSkew(t *testing.T) {
	clocked(t, func(t *testing.T, d *desk, jump func(time.Duration)) {
		a := d.agent("ada")
		tok := d.issue(a, "")
		left := tok.Expires.Sub(d.now())
		jump(left + token.Skew - 5*time.Second)
		if err := d.reads(a.dpop, tok.AccessToken); err != nil {
			t.Errorf("within the skew: %v", err)
		}
		jump(6 * time.Second)
		refusedAs(t, "31 s after its end", d.reads(a.dpop, tok.AccessToken), "token.expired")
		// Ten minutes ahead, and back.
		jump(10 * time.Minute)
		late := d.issue(a, "")
		if err := d.reads(a.dpop, late.AccessToken); err != nil {
			t.Errorf("after a jump ahead: %v", err)
		}
		jump(-10 * time.Minute)
		refusedAs(t, "a dead token after a jump back", d.reads(a.dpop, tok.AccessToken), "token.expired")
		if err := d.reads(a.dpop, d.issue(a, "").AccessToken); err != nil {
			t.Errorf("a new token after a jump back: %v", err)
		}
	})
}

// Every hop of a chain can be revoked alone (T17): human → A → B → C, B is revoked.
func TestT17_OneHopIsRevoked(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		a, b, c := d.agent("ada"), d.agent("bea"), d.agent("cid")
		human := d.consents(t, a)
		ofA, err := d.exchange(a, human, "agent.me agent.update", d.Codec.String(b.id))
		if err != nil {
			t.Fatalf("%v (%s)", err, ruleOf(err))
		}
		ofB, err := d.exchange(b, ofA, "agent.me agent.update", d.Codec.String(c.id))
		if err != nil {
			t.Fatalf("%v (%s)", err, ruleOf(err))
		}
		ofC, err := d.exchange(c, ofB, "agent.me agent.update")
		if err != nil {
			t.Fatalf("%v (%s)", err, ruleOf(err))
		}
		p, err := d.present(c.dpop, ofC.AccessToken)
		if err != nil || len(p.Chain) != 3 || p.Chain[0] != d.operator.ID || p.Chain[1] != a.id || p.Chain[2] != b.id {
			t.Fatalf("the chain: %+v, %v", p.Chain, err)
		}
		if err := d.writesAs(p); err != nil {
			t.Fatalf("at the end of the chain: %v (%s)", err, ruleOf(err))
		}
		if _, err := d.Issuer.Revoke.Do(ctx, d.operator, identity.Revocation{Grant: ofB.Grant, Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, "B", d.writes(b.dpop, ofB.AccessToken), "token.revoked")
		refusedAs(t, "C", d.writes(c.dpop, ofC.AccessToken), "token.revoked")
		refusedAs(t, "a call of C under way", d.writesAs(p), "token.revoked")
		if err := d.writes(a.dpop, ofA.AccessToken); err != nil {
			t.Errorf("A: %v (%s)", err, ruleOf(err))
		}
		if _, err := d.Lifecycle.List.Do(ctx, d.operator, lifecycle.Query{}); err != nil {
			t.Errorf("the human: %v", err)
		}
		// A kill of B ends what C has of it, too, and A goes on.
		if ofB, err = d.exchange(b, ofA, "agent.me agent.update", d.Codec.String(c.id)); err != nil {
			t.Fatal(err)
		}
		if ofC, err = d.exchange(c, ofB, "agent.me agent.update"); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Lifecycle.Kill.Do(ctx, d.operator, lifecycle.Order{Agent: b.id, Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, "C after B was killed", d.writes(c.dpop, ofC.AccessToken), "token.revoked")
		if err := d.writes(a.dpop, ofA.AccessToken); err != nil {
			t.Errorf("A after B was killed: %v", err)
		}
		if err := d.writes(c.dpop, d.issue(c, "").AccessToken); err != nil {
			t.Errorf("C for itself: %v", err)
		}
	})
}

// Revocation is acknowledged when every node has applied it: after that, no node
// takes the token, and a proof is taken once on both of them.
func TestRevocationOnTwoNodes(t *testing.T) {
	t.Run(store.Postgres.String(), func(t *testing.T) {
		cfg := servertest.Config(t, store.Postgres)
		cfg.KeyFile = filepath.Join(t.TempDir(), "network.key")
		cfg.NATS = servertest.NATS(t).ClientURL()
		cfg.PublicURL = "https://network.example"
		one := newDesk(t, servertest.Start(t, cfg))
		cfg.Data = t.TempDir()
		two := newDesk(t, servertest.Open(t, cfg))
		one.URL, two.URL = cfg.PublicURL, cfg.PublicURL
		a := one.agent("ada")
		for range 5 {
			tok := one.issue(a, "")
			var ps []act.Principal
			for _, d := range []*desk{one, two} {
				p, err := d.present(a.dpop, tok.AccessToken)
				if err != nil {
					t.Fatalf("%v (%s)", err, ruleOf(err))
				}
				if err := d.writesAs(p); err != nil {
					t.Fatal(err)
				}
				ps = append(ps, p)
			}
			if _, err := one.Issuer.Revoke.Do(context.Background(), one.operator, identity.Revocation{Grant: tok.Grant, Reason: "a test"}); err != nil {
				t.Fatal(err)
			}
			for n, d := range []*desk{one, two} {
				refusedAs(t, "a revoked token", d.reads(a.dpop, tok.AccessToken), "token.revoked")
				refusedAs(t, "a call under way", d.writesAs(ps[n]), "token.revoked")
			}
		}
		// A proof with the nonce of one node is good once, wherever it is shown.
		tok := one.issue(a, "").AccessToken
		shown := identity.Presented{Scheme: "DPoP", Credential: tok, Proof: one.prove(a.dpop, "GET", "/v1/x", tok), Method: "GET", URL: one.URL + "/v1/x"}
		taken := 0
		for _, d := range []*desk{two, one, two} {
			if _, err := d.Identity.Present(context.Background(), shown); err == nil {
				taken++
			} else {
				refusedAs(t, "a proof again", err, "dpop.replayed", "dpop.nonce")
			}
		}
		if taken != 1 {
			t.Errorf("the proof was taken %d times", taken)
		}
		// A key that begins to sign on one node verifies on the other.
		if _, err := two.Issuer.Rotate.Do(context.Background(), two.operator, identity.Rotation{Compromised: true, Reason: "a drill"}); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, "a token of the key that was compromised", one.reads(a.dpop, tok), "token.key")
		if err := two.reads(a.dpop, one.issue(a, "").AccessToken); err != nil {
			t.Errorf("signed by one node, shown to the other: %v", err)
		}
	})
}
