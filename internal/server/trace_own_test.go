package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
)

// Owners ask about what their own agents did, and learn what these had been shown; what
// the agents of others did, what they had been shown and what they are for is not theirs.
func TestOwnersAskAboutTheirOwnAgents(t *testing.T) {
	eachUnclaimed(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		owned := func(agent, owner string) (act.Principal, *holder) {
			t.Helper()
			made := newcomer(t, s, agent)
			h := programOf(t, s, signedIn(t, s, owner, gate.OperatorOwner, time.Now()), "*")
			if r := h.call(http.MethodPost, "/v1/claims", map[string]string{"claim_token": made.ClaimToken}); r.status != http.StatusOK {
				t.Fatalf("claim: %d %s", r.status, r.raw)
			}
			p, err := s.Identity.Authenticate(ctx, made.Key)
			if err != nil {
				t.Fatal(err)
			}
			return p, h
		}
		ada, mara := owned("ada", "mara")
		bea, otto := owned("bea", "otto")
		cid, _ := owned("cid", "vera")
		post := func(p act.Principal, after act.ID) act.ID {
			t.Helper()
			if after != 0 {
				if _, err := s.Network.ReadPost.Do(ctx, p, network.Named{ID: after}); err != nil {
					t.Fatal(err)
				}
			}
			made, err := s.Network.CreatePost.Do(ctx, p, network.NewPost{Community: "general", Title: "by " + p.Name, Content: "so it is"})
			if err != nil {
				t.Fatal(err)
			}
			return made.ID
		}
		far := post(cid, 0)
		near := post(bea, far)
		own := post(ada, near)
		if err := s.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		id := s.Codec.String
		r := mara.call(http.MethodGet, "/v1/trace/why/"+id(own)+"?depth=5", nil)
		if r.status != http.StatusOK || !strings.Contains(r.raw, id(near)) || !strings.Contains(r.raw, `"bea"`) {
			t.Errorf("why her own agent did it: %d %s", r.status, r.raw)
		}
		if strings.Contains(r.raw, id(far)) || strings.Contains(r.raw, `"cid"`) || strings.Contains(r.raw, `"owner":"otto"`) || !strings.Contains(r.raw, `"owner":"mara"`) {
			t.Errorf("it says what another's agent had been shown, or whose that is: %s", r.raw)
		}
		for _, path := range []string{"why/" + id(own), "flow/" + id(ada.ID), "flow/" + id(own), "replay/" + id(ada.ID)} {
			if r := mara.call(http.MethodGet, "/v1/trace/"+path, nil); r.status != http.StatusOK {
				t.Errorf("mara asks %s: %d %s", path, r.status, r.raw)
			}
			if r := otto.call(http.MethodGet, "/v1/trace/"+path, nil); r.status != http.StatusForbidden || r.text("rule") != "trace.own" {
				t.Errorf("otto asks %s: %d %s", path, r.status, r.raw)
			}
		}
		for _, path := range []string{"why/" + id(near), "blast/" + id(own), "spread/" + id(own), "cut/" + id(own), "recalls", "why/" + fmt.Sprint(1), "why/" + fmt.Sprint(1<<40)} {
			if r := mara.call(http.MethodGet, "/v1/trace/"+path, nil); r.status != http.StatusForbidden {
				t.Errorf("mara asks %s: %d %s", path, r.status, r.raw)
			}
		}
	})
}
