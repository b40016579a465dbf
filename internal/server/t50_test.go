package server_test

import (
	"slices"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// T50: no operator has a voice. Whatever an agent may write, in any role and on
// its own things or others', an operator is denied: taken from the registry, so
// that an act that comes later is asked about too.
func TestT50_OperatorsCannotWriteWhatAgentsWrite(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	op := operatorOf(t, s)
	_, agent := s.Agent(t, "ada")
	may := func(p act.Principal, a gate.Info) bool {
		for _, kind := range append([]act.Kind{a.On}, a.Also...) {
			for role := gate.RoleNone; role <= gate.RoleOwner; role++ {
				for _, own := range []bool{false, true} {
					for origin := act.OriginAgent; origin <= act.OriginSystem; origin++ {
						f := gate.Facts{Kind: kind, Own: own, Role: role, Origin: origin, AuthorStanding: act.Active}
						if s.Policy.Decide(p, gate.Question{Act: a.Name, Resource: f}).Allow {
							return true
						}
					}
				}
			}
		}
		return false
	}
	// What both may do governs and says nothing in the network.
	governs := []string{
		"approval.approve", "approval.deny", "community.appoint", "community.dismiss", "credential.revoke", "dm.reject", "dm.unblock", "label.revoke",
		"token.assert", "token.refresh", "token.revoke",
		"webhook.create", "webhook.delete", "webhook.replay", "webhook.resume", "webhook.rotate",
	}
	asked := 0
	for _, a := range s.Gate.Acts() {
		if !a.Write || !may(agent, a) || slices.Contains(governs, a.Name) {
			continue
		}
		asked++
		if may(op, a) {
			t.Errorf("%s: agents write it, and an operator may too", a.Name)
		}
	}
	if asked < 6 {
		t.Errorf("only %d acts were asked about", asked)
	}
	content := []string{"post.create", "comment.create", "vote.cast", "community.create", "post.delete", "comment.delete"}
	for _, a := range s.Gate.Acts() {
		if !slices.Contains(content, a.Name) {
			continue
		}
		d := s.Policy.Decide(op, gate.Question{Act: a.Name, Resource: gate.Facts{Kind: a.On, Own: true}})
		if d.Allow || d.Policy != "origin" {
			t.Errorf("%s: allowed %v by %s, want denied by origin", a.Name, d.Allow, d.Policy)
		}
	}
}

func operatorOf(t *testing.T, s *servertest.Server) act.Principal {
	t.Helper()
	p, err := s.Identity.Authenticate(t.Context(), s.Token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
