package identity_test

import (
	"context"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

const qRecovered store.Q = `SELECT COUNT(*) FROM event WHERE act = 'credential.recover' AND outcome = $1`

// A lost key is replaced at the owner's word: the agent stays who it is, and nothing
// that it had before is good any more. Nobody else's word does it (T05).
func TestT05_LostKeyRecovery(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		a := d.agent("ada")
		legacy, err := d.Issuer.Recover.Do(ctx, d.operator, identity.Recovery{Agent: a.id, Owner: "owner", Legacy: true, Reason: "it has an old client, too"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.enroll(newKeyOf(t, a), legacy.Token, ""); err != nil {
			t.Fatal(err)
		}
		tok := d.issue(a, "")
		b := d.agent("bea")
		handed := d.delegate(a, nil, b, "agent.me agent.update")
		p, err := d.present(a.dpop, tok.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.posts(p); err != nil {
			t.Fatal(err)
		}
		before, err := d.Network.ReadProfile.Do(ctx, d.operator, "ada")
		if err != nil {
			t.Fatal(err)
		}

		// Not at anybody else's word.
		stranger, err := d.present(b.dpop, d.issue(b, "").AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		for what, c := range map[string]struct {
			p    act.Principal
			in   identity.Recovery
			rule string
		}{
			"another agent":          {stranger, identity.Recovery{Agent: a.id, Owner: "owner", Reason: "mine"}, "default-deny"},
			"the agent itself":       {p, identity.Recovery{Agent: a.id, Owner: "owner", Reason: "mine"}, "default-deny"},
			"somebody with its mail": {act.Principal{Source: "mail"}, identity.Recovery{Agent: a.id, Owner: "owner", Reason: "mine"}, "default-deny"},
			"another owner":          {d.operator, identity.Recovery{Agent: a.id, Owner: "tests", Reason: "mine"}, "recover.owner"},
			"nobody's owner":         {d.operator, identity.Recovery{Agent: a.id, Owner: "nobody", Reason: "mine"}, "recover.owner"},
			"without a reason":       {d.operator, identity.Recovery{Agent: a.id, Owner: "owner"}, "reason"},
		} {
			_, err := d.Issuer.Recover.Do(ctx, c.p, c.in)
			refusedAs(t, what, err, c.rule)
		}
		if err := d.reads(a.dpop, tok.AccessToken); err != nil {
			t.Fatalf("after refused attempts: %v", err)
		}

		out, err := d.Issuer.Recover.Do(ctx, d.operator, identity.Recovery{Agent: a.id, Owner: "owner", Reason: "lost its key"})
		if err != nil || out.Ended != 2 || out.Key != "" {
			t.Fatalf("recovery: %+v, %v", out.Ended, err)
		}
		refusedAs(t, "the old token", d.reads(a.dpop, tok.AccessToken), "token.revoked")
		refusedAs(t, "what it handed on", d.reads(b.dpop, handed.AccessToken), "token.revoked")
		// A principal that was checked before the recovery does nothing after it.
		refusedAs(t, "a call under way", d.writesAs(p), "token.revoked")
		_, err = d.ask(a, identity.TokenRequest{Type: identity.TypeClient})
		refusedAs(t, "the old key", err, "assertion.key")
		_, err = d.Identity.Present(ctx, identity.Presented{Scheme: "Bearer", Credential: legacy.Key})
		refusedAs(t, "the old bootstrap key", err, "key.revoked")
		_, err = d.ask(b, identity.TokenRequest{Type: identity.TypeRefresh, Refresh: handed.Refresh})
		refusedAs(t, "the refresh token of what it handed on", err, "grant.over")

		m, err := d.enroll(newKeyOf(t, a), out.Token, "")
		if err != nil || m.Agent != a.id || m.Name != "ada" {
			t.Fatalf("the new key: %+v, %v", m, err)
		}
		if err := d.writes(a.dpop, d.issue(a, "").AccessToken); err != nil {
			t.Errorf("with the new key: %v", err)
		}
		after, err := d.Network.ReadProfile.Do(ctx, d.operator, "ada")
		if err != nil || after.ID != before.ID || after.PostCount != before.PostCount {
			t.Errorf("the history: %d posts of %d, before %d of %d (%v)", after.PostCount, after.ID, before.PostCount, before.ID, err)
		}
		if err := d.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		for outcome, want := range map[int64]int64{0: 2, 1: 5} { // done, denied; a missing reason is a failure
			if n := d.count(qRecovered, outcome); n != want {
				t.Errorf("%d recoveries with outcome %d on record, want %d", n, outcome, want)
			}
		}
	})
}

// newKeyOf gives the agent a new key pair.
func newKeyOf(t *testing.T, h *holder) (k token.Private) {
	t.Helper()
	h.key = newKey(t)
	return h.key
}

func (d *desk) count(q store.Q, args ...any) (n int64) {
	d.t.Helper()
	if err := d.DB.View(context.Background(), func(v *store.View) error {
		_, err := v.One(q, func(r *store.Row) error { n = r.Int(0); return nil }, args...)
		return err
	}); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// An agent replaces a key by another one that the old one vouches for.
func TestRotateOwnKey(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		a, b := d.agent("ada"), d.agent("bea")
		tok := d.issue(a, "")
		p, err := d.present(a.dpop, tok.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		fresh := newKey(t)
		vouch := func(old, k token.Private, over, by string) identity.NewKey {
			t.Helper()
			return identity.NewKey{Key: string(k.Public().JWK()), Proof: d.proof(k, over), Old: d.proof(old, by)}
		}
		oldPrint, newPrint := a.key.Public().Thumbprint(), fresh.Public().Thumbprint()
		for what, c := range map[string]struct {
			in   identity.NewKey
			rule string
		}{
			"another agent's key vouches":  {vouch(b.key, fresh, b.key.Public().Thumbprint(), newPrint), "assertion.key"},
			"the new key vouches alone":    {vouch(fresh, fresh, oldPrint, newPrint), "assertion.key"},
			"the old key vouches for none": {vouch(a.key, fresh, oldPrint, oldPrint), "assertion.key"},
			"no proof of the new key":      {identity.NewKey{Key: string(fresh.Public().JWK()), Proof: d.proof(a.key, oldPrint), Old: d.proof(a.key, newPrint)}, "assertion.key"},
		} {
			_, err := d.Issuer.Renew.Do(ctx, p, c.in)
			refusedAs(t, what, err, c.rule)
		}
		in := vouch(a.key, fresh, oldPrint, newPrint)
		c, err := d.Issuer.Renew.Do(ctx, p, in)
		if err != nil || c.KeyID != newPrint || c.Subject != a.id {
			t.Fatalf("rotate: %+v, %v", c.KeyID, err)
		}
		refusedAs(t, "a token of the old key", d.reads(a.dpop, tok.AccessToken), "token.revoked")
		_, err = d.ask(a, identity.TokenRequest{Type: identity.TypeClient})
		refusedAs(t, "the old key", err, "assertion.key")
		a.key = fresh
		tok = d.issue(a, "")
		if p, err = d.present(a.dpop, tok.AccessToken); err != nil {
			t.Fatal(err)
		}
		_, err = d.Issuer.Renew.Do(ctx, p, in)
		refusedAs(t, "the rotation again", err, "assertion.key")

		// It ends one itself, and nobody else's.
		_, err = d.Issuer.End.Do(ctx, p, identity.CredentialEnd{Credential: b.member.Credential})
		refusedAs(t, "another agent's key", err, "credential.unknown")
		if _, err := d.Issuer.End.Do(ctx, p, identity.CredentialEnd{Credential: c.ID}); err != nil {
			t.Fatal(err)
		}
		refusedAs(t, "a token of a key that was ended", d.writes(a.dpop, tok.AccessToken), "token.revoked")
	})
}

// The inventory shows what lets anybody in, how old it is and when it was used.
func TestInventory(t *testing.T) {
	clocked(t, func(t *testing.T, d *desk, jump func(time.Duration)) {
		ctx := context.Background()
		a := d.agent("ada")
		tok := d.issue(a, "agent.me")
		list := func(q identity.InventoryQuery) []identity.Item {
			t.Helper()
			var all []identity.Item
			for q.Limit = 2; ; {
				page, err := d.Issuer.Inventory.Do(ctx, d.operator, q)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, page.Items...)
				if page.Next.IsZero() {
					return all
				}
				q.Cursor = page.Next
			}
		}
		items := list(identity.InventoryQuery{Agent: a.id})
		if len(items) != 1 || items[0].Kind != "public-key" || items[0].Binding != "key" || items[0].Name != "ada" || items[0].OwnerName != "owner" ||
			items[0].KeyID != a.key.Public().Thumbprint() || items[0].UsedAt == 0 || items[0].Dormant || items[0].Unowned || items[0].ExpiresAt == 0 {
			t.Fatalf("%+v", items)
		}
		grants := list(identity.InventoryQuery{Grants: true, Agent: a.id})
		if len(grants) != 1 || grants[0].ID != tok.Grant || grants[0].Scope != "agent.me" || grants[0].Binding != "dpop" || grants[0].UsedAt != 0 {
			t.Fatalf("%+v", grants)
		}
		if err := d.reads(a.dpop, tok.AccessToken); err != nil {
			t.Fatal(err)
		}
		if err := d.Identity.StoreUses(ctx); err != nil {
			t.Fatal(err)
		}
		if grants = list(identity.InventoryQuery{Grants: true}); len(grants) != 1 || grants[0].UsedAt == 0 {
			t.Errorf("the use of a grant is not seen: %+v", grants)
		}
		// The bootstrap key's use is seen, too, and its age.
		key, legacy := d.Server.Agent(t, "old")
		jump(identity.DormantAfter - 1)
		if _, err := d.Identity.Present(ctx, identity.Presented{Scheme: "Bearer", Credential: key}); err != nil {
			t.Fatal(err)
		}
		if err := d.Identity.StoreUses(ctx); err != nil {
			t.Fatal(err)
		}
		jump(1)
		dormant := list(identity.InventoryQuery{Dormant: true})
		for _, item := range dormant {
			if item.Subject == legacy.ID {
				t.Errorf("a key that was just used is dormant: %+v", item)
			}
		}
		if len(dormant) == 0 {
			t.Error("nothing is dormant after a month")
		}
		if over := list(identity.InventoryQuery{Grants: true}); len(over) != 0 {
			t.Errorf("grants that are over: %+v", over)
		}
		if over := list(identity.InventoryQuery{Grants: true, Ended: true}); len(over) != 1 {
			t.Errorf("%d ended grants, want 1", len(over))
		}
		if err := d.Issuer.Housekeep(ctx); err != nil {
			t.Fatal(err)
		}
		if over := list(identity.InventoryQuery{Grants: true, Ended: true}); len(over) != 0 {
			t.Errorf("%d grants are kept after their time", len(over))
		}
		_, err := d.Issuer.Inventory.Do(ctx, legacy, identity.InventoryQuery{})
		refusedAs(t, "an agent asks for the inventory", err, "default-deny")
	})
}
