package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T05: the owner of an agent that has lost its key, who proves again who they are, has it
// replaced: the agent stays who it is, with its history, and nothing that it had before
// is good any more. Nobody else's word does it, and the claim link of a mail does nothing
// but claim. Each is one leaf.
func TestT05_OwnerRecoversALostKey(t *testing.T) {
	eachUnclaimed(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		now := time.Now()
		ada, bea := newcomer(t, s, "ada"), newcomer(t, s, "bea")
		mara, otto := programOf(t, s, signedIn(t, s, "mara", gate.OperatorOwner, now), "*"), programOf(t, s, signedIn(t, s, "otto", gate.OperatorOwner, now), "*")
		if r := mara.call(http.MethodPost, "/v1/claims", map[string]string{"claim_token": ada.ClaimToken}); r.status != http.StatusOK {
			t.Fatalf("claim: %d %s", r.status, r.raw)
		}
		if r := otto.call(http.MethodPost, "/v1/claims", map[string]string{"claim_token": bea.ClaimToken}); r.status != http.StatusOK {
			t.Fatalf("claim: %d %s", r.status, r.raw)
		}

		// Ada has a key of her own, a token by it, and a past.
		enrol := func(voucher string) *client.Holder {
			t.Helper()
			key, err := token.NewKey(token.EdDSA)
			if err != nil {
				t.Fatal(err)
			}
			m, err := client.Enroll(ctx, client.Enrolling{URL: s.URL, Token: voucher, Name: "ada", Key: key, Now: time.Now()})
			if err != nil || m.ID != s.Codec.String(ada.Agent) {
				t.Fatalf("enrol: %+v, %v", m.ID, err)
			}
			h, err := client.NewHolder(ctx, m, "", time.Now)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(h.Close)
			return h
		}
		lost := enrol(ada.Key)
		held, err := lost.Token(ctx)
		if err != nil {
			t.Fatal(err)
		}
		old := &holder{t: t, s: s, key: lost.Member().Key, token: held.Text}
		posted := old.call(http.MethodPost, "/v1/posts", map[string]string{"community": "general", "title": "What I saw", "content": "c"})
		if posted.status != http.StatusCreated {
			t.Fatalf("post: %d %s", posted.status, posted.raw)
		}
		id, err := s.Codec.Parse(posted.text("id"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Network.CastVote.Do(ctx, who(t, s, bea.Key), network.NewVote{Target: network.Named{ID: id}, On: act.KindPost, Up: true}); err != nil {
			t.Fatal(err)
		}
		before, err := s.Network.ReadProfile.Do(ctx, operator(t, s), "ada")
		if err != nil || before.Karma != 1 || before.PostCount != 1 {
			t.Fatalf("before: karma %d, %d posts, %v", before.Karma, before.PostCount, err)
		}

		at := "/v1/agents/" + s.Codec.String(ada.Agent) + "/recover"
		say := map[string]string{"reason": "the laptop was lost"}
		stale := programOf(t, s, signedIn(t, s, "mara", gate.OperatorOwner, now.Add(-time.Hour)), "*")
		responder := programOf(t, s, signedIn(t, s, "rita", gate.OperatorResponder, now), "*")
		for what, c := range map[string]struct {
			h    *holder
			body map[string]string
			rule string
		}{
			"who answers for another":           {otto, say, "default-deny"},
			"who says to be her":                {otto, map[string]string{"reason": "mine", "owner": "mara"}, "default-deny"},
			"a responder":                       {responder, map[string]string{"reason": "mine", "owner": "mara"}, "default-deny"},
			"the owner, who signed in long ago": {stale, say, "step-up"},
			"the agent itself":                  {old, say, "default-deny"},
		} {
			if r := c.h.call(http.MethodPost, at, c.body); r.status != http.StatusForbidden || r.text("rule") != c.rule {
				t.Errorf("%s: %d %s", what, r.status, r.raw)
			}
		}
		if a := s.Call(t, http.MethodPost, at, "", say); a.Status != http.StatusUnauthorized {
			t.Errorf("nobody: %d %s", a.Status, a.Raw)
		}
		if a := s.Call(t, http.MethodPost, at, ada.ClaimToken, say); a.Status != http.StatusUnauthorized {
			t.Errorf("the link of the mail: %d %s", a.Status, a.Raw)
		}
		if r := otto.call(http.MethodPost, "/v1/claims", map[string]string{"claim_token": ada.ClaimToken}); r.status != http.StatusConflict {
			t.Errorf("the link of the mail, with an account: %d %s", r.status, r.raw)
		}
		if r := old.call(http.MethodGet, "/v1/home", nil); r.status != http.StatusOK {
			t.Fatalf("after refused attempts: %d %s", r.status, r.raw)
		}

		fresh := programOf(t, s, signedIn(t, s, "mara", gate.OperatorOwner, time.Now()), "*")
		out := fresh.call(http.MethodPost, at, say)
		if out.status != http.StatusOK || out.text("token") == "" || out.JSON["key"] != nil {
			t.Fatalf("recover: %d %s", out.status, out.raw)
		}
		// The answer comes after the commit, and from then on nothing old is good.
		if r := old.call(http.MethodPost, "/v1/posts", map[string]string{"community": "general", "title": "Still me", "content": "c"}); r.status != http.StatusUnauthorized {
			t.Errorf("the old token: %d %s", r.status, r.raw)
		}
		if a := s.Call(t, http.MethodGet, "/v1/home", ada.Key, nil); a.Status != http.StatusUnauthorized {
			t.Errorf("the old bootstrap key: %d %s", a.Status, a.Raw)
		}
		again, err := client.NewHolder(ctx, lost.Member(), "", time.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(again.Close)
		if _, err := again.Token(ctx); act.CodeOf(err) != act.Unauthenticated {
			t.Errorf("a new token by the old key: %v", err)
		}

		back := enrol(out.text("token"))
		renewed, err := back.Token(ctx)
		if err != nil {
			t.Fatal(err)
		}
		h := &holder{t: t, s: s, key: back.Member().Key, token: renewed.Text}
		if r := h.call(http.MethodPost, "/v1/posts", map[string]string{"community": "general", "title": "Here again", "content": "c"}); r.status != http.StatusCreated {
			t.Errorf("with the new key: %d %s", r.status, r.raw)
		}
		after, err := s.Network.ReadProfile.Do(ctx, operator(t, s), "ada")
		if err != nil || after.ID != before.ID || after.Karma != before.Karma || after.PostCount != 2 {
			t.Errorf("after: %d with karma %d and %d posts, before %d with %d (%v)", after.ID, after.Karma, after.PostCount, before.ID, before.Karma, err)
		}

		// One leaf each: who asked, for what, and why not.
		s.Gate.Flush()
		if err := s.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		leaves := func(outcome int64) (list []string) {
			t.Helper()
			if err := s.DB.View(ctx, func(v *store.View) error {
				return v.All(qTestLeavesOf, func(r *store.Row) error { list = append(list, string(r.Bytes(0))); return nil }, "credential.recover", outcome)
			}); err != nil {
				t.Fatal(err)
			}
			return list
		}
		if done := leaves(0); len(done) != 1 || !strings.Contains(done[0], `"name":"mara"`) || !strings.Contains(done[0], `"reason":"the laptop was lost"`) || strings.Contains(done[0], out.text("token")) {
			t.Errorf("on record: %v", done)
		}
		refused := strings.Join(leaves(1), "\n")
		for _, name := range []string{"mara", "otto", "rita", "ada"} {
			if !strings.Contains(refused, `"name":"`+name+`"`) {
				t.Errorf("no refusal of %s is on record: %s", name, refused)
			}
		}
	})
}
