package identity_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// An agent enrols a key that it made, gets a bound token with it and acts.
func TestEnrolAndIssue(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		a := d.agent("ada")
		tok := d.issue(a, "")
		if tok.Type != "DPoP" || tok.Scope != "*" || tok.Refresh != "" || tok.Expires.Sub(d.now()) > identity.TokenLife {
			t.Errorf("the token: %+v", tok.Type)
		}
		p, err := d.present(a.dpop, tok.AccessToken)
		if err != nil || p.Kind != act.Agent || p.ID != a.id || p.Name != "ada" || p.Grant != tok.Grant || p.Binding != act.BindingDPoP ||
			p.Credential != a.member.Credential || len(p.Chain) != 0 || p.Until == 0 {
			t.Fatalf("principal %+v, %v", p, err)
		}
		if err := d.writes(a.dpop, tok.AccessToken); err != nil {
			t.Errorf("writes: %v", err)
		}
		if err := d.posts(p); err != nil {
			t.Errorf("posts: %v", err)
		}

		// The scope is what it is good for.
		narrow := d.issue(a, "agent.me post.*")
		if err := d.reads(a.dpop, narrow.AccessToken); err != nil {
			t.Errorf("reads within the scope: %v", err)
		}
		refusedAs(t, "writes outside the scope", d.writes(a.dpop, narrow.AccessToken), "token.scope")

		// A key that is bound to a scope gets no more.
		b := d.scoped("bea", "agent.me feed.*")
		if got := d.issue(b, "").Scope; got != "agent.me feed.*" {
			t.Errorf("scope %q", got)
		}
		if got := d.issue(b, "agent.*").Scope; got != "agent.me" {
			t.Errorf("scope %q", got)
		}
		_, err = d.ask(b, identity.TokenRequest{Type: identity.TypeClient, Scope: "post.create"})
		refusedAs(t, "a scope that the key does not have", err, "scope.beyond")

		// An assertion is good once.
		c := d.client(a)
		if _, err := d.ask(a, identity.TokenRequest{Type: identity.TypeClient, Client: c}); err != nil {
			t.Fatal(err)
		}
		c.Proof = d.prove(a.dpop, "POST", endpoint, "")
		_, err = d.ask(a, identity.TokenRequest{Type: identity.TypeClient, Client: c})
		refusedAs(t, "an assertion for the second time", err, "assertion.replayed")
		// And so is a proof.
		c = d.client(a)
		proof := c.Proof
		if _, err := d.ask(a, identity.TokenRequest{Type: identity.TypeClient, Client: c}); err != nil {
			t.Fatal(err)
		}
		c = d.client(a)
		c.Proof = proof
		_, err = d.ask(a, identity.TokenRequest{Type: identity.TypeClient, Client: c})
		refusedAs(t, "a proof for the second time", err, "dpop.replayed")
		c.Proof = ""
		_, err = d.ask(a, identity.TokenRequest{Type: identity.TypeClient, Client: c})
		refusedAs(t, "nothing to bind to", err, "dpop.missing")
	})
}

// An enrolment is good for one key, once, and only with a proof for it.
func TestEnrolmentIsSingle(t *testing.T) {
	clocked(t, func(t *testing.T, d *desk, jump func(time.Duration)) {
		enrolment := d.invite(identity.NewEnrollment{Owner: "owner"})
		k, other := newKey(t), newKey(t)
		try := func(what, rule string, in lifecycle.NewMember) {
			t.Helper()
			_, err := d.Lifecycle.Enroll.Do(context.Background(), act.Principal{Source: "test"}, in)
			refusedAs(t, what, err, rule)
		}
		jwk := string(k.Public().JWK())
		try("another key's proof", "assertion.key", lifecycle.NewMember{Token: enrolment, Name: "x1", Key: jwk, Proof: d.proof(other, identity.Voucher(enrolment))})
		try("a proof for another enrolment", "assertion.key", lifecycle.NewMember{Token: enrolment, Name: "x2", Key: jwk, Proof: d.proof(k, identity.Voucher("other"))})
		try("no key", "key.form", lifecycle.NewMember{Token: enrolment, Name: "x3", Key: `{"kty":"oct","k":"AAAA"}`, Proof: d.proof(k, identity.Voucher(enrolment))})
		try("no enrolment", "enroll.unknown", lifecycle.NewMember{Token: "reef_enr_x", Name: "x4", Key: jwk})

		m, err := d.enroll(k, enrolment, "once")
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.enroll(other, enrolment, "twice")
		refusedAs(t, "the enrolment for the second time", err, "enroll.used")
		_, err = d.enroll(k, d.invite(identity.NewEnrollment{Owner: "owner"}), "thrice")
		refusedAs(t, "the same key under another name", err, "key.known")

		// Another key of the same agent, by an operator's word and by its bootstrap key.
		second := d.invite(identity.NewEnrollment{Agent: m.Agent})
		if again, err := d.enroll(other, second, ""); err != nil || again.Agent != m.Agent || again.Name != "once" || again.Fresh {
			t.Fatalf("a second key: %+v, %v", again, err)
		}
		key, legacy := d.Server.Agent(t, "legacy")
		if own, err := d.enroll(newKey(t), key, ""); err != nil || own.Agent != legacy.ID {
			t.Fatalf("under the bootstrap key: %+v, %v", own, err)
		}

		late := d.invite(identity.NewEnrollment{Owner: "owner", ValidFor: time.Minute})
		jump(time.Minute)
		_, err = d.enroll(newKey(t), late, "late")
		refusedAs(t, "an enrolment that is over", err, "enroll.expired")
	})
}

// With legacy keys off, a bootstrap key opens no door, and still buys bound tokens
// and enrols a key.
func TestLegacyKeysOff(t *testing.T) {
	for _, dialect := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(dialect.String(), func(t *testing.T) {
			d := newDesk(t, servertest.Start(t, legacyOff(t, dialect)))
			key, p := d.Server.Agent(t, "old")
			_, err := d.Identity.Present(context.Background(), identity.Presented{Scheme: "bearer", Credential: key})
			refusedAs(t, "a bootstrap key at a door", err, "key.legacy")
			h := &holder{id: p.ID, name: "old", key: newKey(t), dpop: newKey(t)}
			c := d.client(h)
			c.Assertion, c.Secret = "", key
			tok, err := d.ask(h, identity.TokenRequest{Type: identity.TypeClient, Client: c})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.writes(h.dpop, tok.AccessToken); err != nil {
				t.Errorf("a bound token for a bootstrap key: %v", err)
			}
			if _, err := d.enroll(h.key, key, ""); err != nil {
				t.Errorf("a key enrolled with a bootstrap key: %v", err)
			}
			if _, err := d.Identity.Present(context.Background(), identity.Presented{Scheme: "Bearer", Credential: d.Token}); err != nil {
				t.Errorf("the operator's token: %v", err)
			}
		})
	}
	cfg := servertest.Config(t, store.SQLite)
	cfg.LegacyKeys = "maybe"
	if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), "legacy-keys") {
		t.Errorf("legacy-keys maybe: %v", err)
	}
}

// Refresh tokens come back renewed, and one that comes twice ends the grant.
func TestRefresh(t *testing.T) {
	clocked(t, func(t *testing.T, d *desk, jump func(time.Duration)) {
		a, b := d.agent("ada"), d.agent("bea")
		handed := d.issue(a, "agent.me agent.update", d.Codec.String(b.id))
		got, err := d.exchange(b, handed, "agent.me agent.update")
		if err != nil || got.Refresh == "" {
			t.Fatalf("no refresh token: %v", err)
		}
		refresh := func(h *holder, text, scope string) (identity.TokenAnswer, error) {
			return d.ask(h, identity.TokenRequest{Type: identity.TypeRefresh, Refresh: text, Scope: scope})
		}
		_, err = refresh(a, got.Refresh, "")
		refusedAs(t, "another client's refresh token", err, "grant.binding", "default-deny")
		thief := *b
		thief.dpop = newKey(t)
		_, err = refresh(&thief, got.Refresh, "")
		refusedAs(t, "a refresh with another proof key", err, "grant.binding")
		_, err = refresh(b, got.Refresh+"x", "")
		refusedAs(t, "no refresh token", err, "grant.unknown")

		jump(identity.TokenLife + token.Skew)
		refusedAs(t, "a token that is over", d.reads(b.dpop, got.AccessToken), "token.expired")
		next, err := refresh(b, got.Refresh, "agent.me")
		if err != nil || next.Scope != "agent.me" || next.Refresh == got.Refresh || next.Grant != got.Grant {
			t.Fatalf("refresh: %+v, %v", next.Scope, err)
		}
		if err := d.reads(b.dpop, next.AccessToken); err != nil {
			t.Errorf("the refreshed token: %v", err)
		}
		refusedAs(t, "what a narrower refresh left out", d.writes(b.dpop, next.AccessToken), "token.scope")

		_, err = refresh(b, got.Refresh, "")
		refusedAs(t, "the refresh token for the second time", err, "grant.reused")
		refusedAs(t, "a token of a grant that was reused", d.reads(b.dpop, next.AccessToken), "token.revoked")
		_, err = refresh(b, next.Refresh, "")
		refusedAs(t, "the family", err, "grant.over")
	})
}

// Introspection and revocation say the truth to those whom it concerns.
func TestInspectAndRevoke(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		a, b, c := d.agent("ada"), d.agent("bea"), d.agent("cid")
		tok := d.delegate(a, nil, b, "agent.me agent.update token.*")
		as := func(h *holder) act.Principal {
			t.Helper()
			p, err := d.present(h.dpop, d.issue(h, "").AccessToken)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		active := func(p act.Principal, text string) bool {
			t.Helper()
			out, err := d.Issuer.Inspect.Do(ctx, p, identity.Inspected{Token: text})
			if err != nil {
				t.Fatal(err)
			}
			if out.Active && (out.Holder != b.id || len(out.Chain) != 1 || out.Chain[0] != a.id) {
				t.Errorf("inspection %+v", out)
			}
			return out.Active
		}
		pa, pb, pc := as(a), as(b), as(c)
		for what, x := range map[string]struct {
			p    act.Principal
			want bool
		}{"its holder": {pb, true}, "on whose behalf": {pa, true}, "an operator": {d.operator, true}, "a stranger": {pc, false}} {
			if got := active(x.p, tok.AccessToken); got != x.want {
				t.Errorf("%s sees the token active: %v", what, got)
			}
			if got := active(x.p, tok.Refresh); got != x.want {
				t.Errorf("%s sees the refresh token active: %v", what, got)
			}
		}
		for _, text := range []string{"", "x", tok.AccessToken + "x", d.Token} {
			if active(pa, text) {
				t.Errorf("%.10s… is active", text)
			}
		}
		_, err := d.Issuer.Revoke.Do(ctx, pc, identity.Revocation{Grant: tok.Grant})
		refusedAs(t, "a stranger revokes", err, "grant.unknown")
		if err := d.writes(b.dpop, tok.AccessToken); err != nil {
			t.Fatal(err)
		}
		id, found, err := d.Issuer.GrantOf(ctx, tok.Refresh)
		if err != nil || !found || id != tok.Grant {
			t.Fatalf("the refresh token's grant: %v %v %v", id, found, err)
		}
		if _, err := d.Issuer.Revoke.Do(ctx, pb, identity.Revocation{Grant: id}); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, "a revoked token", d.writes(b.dpop, tok.AccessToken), "token.revoked")
		if active(d.operator, tok.AccessToken) || active(d.operator, tok.Refresh) {
			t.Error("a revoked token is active")
		}
		if err := d.writes(a.dpop, d.issue(a, "").AccessToken); err != nil {
			t.Errorf("the other one: %v", err)
		}
		// All of an agent's at once; its key stays good.
		tok = d.issue(a, "")
		_, err = d.Issuer.Revoke.Do(ctx, d.operator, identity.Revocation{Agent: a.id})
		refusedAs(t, "an operator without a reason", err, "reason")
		if _, err := d.Issuer.Revoke.Do(ctx, d.operator, identity.Revocation{Agent: a.id, Reason: "a test"}); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, "a token of an agent whose grants were ended", d.reads(a.dpop, tok.AccessToken), "token.revoked")
		if err := d.reads(a.dpop, d.issue(a, "").AccessToken); err != nil {
			t.Errorf("a new token: %v", err)
		}
	})
}

// The keys that sign are published before they sign, and verify until the last token
// that they signed has ended; a compromised one ends at once.
func TestSigningKeysRotate(t *testing.T) {
	clocked(t, func(t *testing.T, d *desk, jump func(time.Duration)) {
		ctx := context.Background()
		published := func() (n int, text string) {
			t.Helper()
			raw, err := d.Issuer.PublicKeys()
			if err != nil {
				t.Fatal(err)
			}
			var set struct{ Keys []struct{ Kid string } }
			if err := json.Unmarshal(raw, &set); err != nil {
				t.Fatal(err)
			}
			return len(set.Keys), string(raw)
		}
		if n, _ := published(); n != 2 {
			t.Fatalf("%d keys, want the outside one and the first that signs", n)
		}
		a := d.agent("ada")
		before := d.issue(a, "")
		out, err := d.Issuer.Rotate.Do(ctx, d.operator, identity.Rotation{Reason: "a drill"})
		if err != nil {
			t.Fatal(err)
		}
		if n, text := published(); n != 3 || !strings.Contains(text, out.KeyID) {
			t.Errorf("the coming key is not published: %s", text)
		}
		kid := func(tok identity.TokenAnswer) string {
			t.Helper()
			head := identity.HeaderOf(t, tok.AccessToken)
			return head["kid"]
		}
		if kid(d.issue(a, "")) != kid(before) {
			t.Error("the coming key signs before its time")
		}
		jump(identity.PublishAhead - time.Minute)
		last := d.issue(a, "")
		jump(time.Minute + time.Second)
		after := d.issue(a, "")
		if kid(last) != kid(before) || kid(after) != out.KeyID {
			t.Error("the new key does not take over when it should")
		}
		for what, tok := range map[string]identity.TokenAnswer{"signed by the earlier key": last, "signed by the new key": after} {
			if err := d.reads(a.dpop, tok.AccessToken); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		jump(identity.TokenLife + 2*time.Minute)
		if n, text := published(); n != 2 || strings.Contains(text, kid(before)) {
			t.Errorf("the earlier key is still published: %s", text)
		}
		// On schedule.
		if err := d.Issuer.RotateDue(ctx); err != nil {
			t.Fatal(err)
		}
		if n, _ := published(); n != 2 {
			t.Errorf("%d keys before one is due", n)
		}
		jump(identity.DefaultRotateEvery)
		if err := d.Issuer.RotateDue(ctx); err != nil {
			t.Fatal(err)
		}
		if n, _ := published(); n != 3 {
			t.Errorf("%d keys when one was due", n)
		}
		// Compromised: at once.
		b := d.agent("bea")
		tok := d.issue(b, "")
		if _, err := d.Issuer.Rotate.Do(ctx, d.operator, identity.Rotation{Compromised: true, Reason: "leaked"}); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, "a token of a compromised key", d.reads(b.dpop, tok.AccessToken), "token.key")
		if err := d.reads(b.dpop, d.issue(b, "").AccessToken); err != nil {
			t.Errorf("a token of the new key: %v", err)
		}
		if n, _ := published(); n != 2 {
			t.Errorf("%d keys after a compromise", n)
		}
	})
}

// A token that was narrowed stays narrow, whatever its grant has: who is handed it, or
// shows it as actor, carves out of what it says (T14).
func TestNarrowedTokenStaysNarrow(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		a, b, c := d.agent("ada"), d.agent("bea"), d.agent("cid")
		given := d.issue(a, "agent.me agent.update", d.Codec.String(b.id))
		whole, err := d.exchange(b, given, "agent.me agent.update", d.Codec.String(c.id))
		if err != nil || whole.Refresh == "" {
			t.Fatalf("%v (%s)", err, ruleOf(err))
		}
		narrow, err := d.ask(b, identity.TokenRequest{Type: identity.TypeRefresh, Refresh: whole.Refresh, Scope: "agent.me"})
		if err != nil || narrow.Scope != "agent.me" || narrow.Grant != whole.Grant {
			t.Fatalf("%q, %v", narrow.Scope, err)
		}
		got, err := d.exchange(c, narrow, "agent.me agent.update")
		if err != nil || got.Scope != "agent.me" {
			t.Errorf("carved out of a narrowed token: %q, %v", got.Scope, err)
		}
		_, err = d.exchange(c, narrow, "agent.update")
		refusedAs(t, "what the token had left out", err, "scope.beyond")
		if got, err := d.exchange(c, whole, "agent.me agent.update"); err != nil || got.Scope != "agent.me agent.update" {
			t.Errorf("carved out of the whole token: %q, %v", got.Scope, err)
		}
		handed := d.issue(a, "agent.me agent.update", d.Codec.String(b.id))
		got, err = d.ask(b, identity.TokenRequest{Type: identity.TypeExchange, Subject: handed.AccessToken, Actor: narrow.AccessToken, Scope: "agent.me agent.update"})
		if err != nil || got.Scope != "agent.me" {
			t.Errorf("with a narrowed actor token: %q, %v", got.Scope, err)
		}
	})
}

// Nothing that a key was good for outlasts it.
func TestGrantsEndWithTheKey(t *testing.T) {
	clocked(t, func(t *testing.T, d *desk, jump func(time.Duration)) {
		a, b := d.agent("ada"), d.agent("bea")
		jump(identity.DefaultKeyLife - 2*time.Minute)
		end := act.FromMicros(a.member.ExpiresAt)
		own, handed := d.issue(a, ""), d.issue(a, "", d.Codec.String(b.id))
		carved, err := d.exchange(a, own, "agent.me", d.Codec.String(b.id))
		if err != nil {
			t.Fatalf("%v (%s)", err, ruleOf(err))
		}
		for what, tok := range map[string]identity.TokenAnswer{"its own": own, "for a delegate": handed, "carved out": carved} {
			if tok.Expires.After(end) || !tok.Expires.After(d.now()) {
				t.Errorf("a token %s ends at %s, the key at %s", what, tok.Expires, end)
			}
		}
		jump(2 * time.Minute)
		_, err = d.ask(a, identity.TokenRequest{Type: identity.TypeClient})
		refusedAs(t, "a key that is over", err, "assertion.key")
	})
}
