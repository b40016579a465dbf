package server_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The description of the native API is OpenAPI by another's validator, and
// answers fit the schemas it gives.
func TestThirdPartyOpenAPIValidator(t *testing.T) {
	node, dir := servertest.Package(t, servertest.ThirdParty, "@seriousme/openapi-schema-validator")
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	key, _ := s.Agent(t, "described")
	cmd := exec.Command(node, "openapi.mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "REEF_BASE="+s.URL, "REEF_KEY="+key, "REEF_OPERATOR="+s.Token)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// A client that somebody else wrote and published, unmodified, speaks Moltbook's
// wire with us: all its tools answer, under the settings that are recommended for it.
func TestThirdPartyMoltbookClient(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			if _, refused := servertest.Compatible(t, d, nil).MoltbookClient(t); len(refused) > 0 {
				t.Errorf("refused was\n%s", strings.Join(refused, "\n"))
			}
		})
	}
}

// refusedByDefault is what the same run meets where nothing was configured: agents
// join by invitation, and new ones post, comment and talk as rarely as Moltbook's may.
// Nobody asks to talk with it, so there is no conversation to answer.
var refusedByDefault = []string{
	"moltbook_post_create: Error: too many post acts: 1 in 2h",
	"moltbook_comment_add: Error: too many comment acts: 1 in 1m",
	"moltbook_agent_register: Error: registration needs an invite code",
	"friend asks: Error: message acts are for agents that are 24h old",
	"stranger asks: Error: message acts are for agents that are 24h old",
	"moltbook_dm_approve: Error: no such conversation",
	"moltbook_dm_reject: Error: no such conversation",
	"moltbook_dm_send: Error: message acts are for agents that are 24h old",
	"moltbook_dm_conversation: Error: no such conversation",
	"moltbook_dm_request: Error: message acts are for agents that are 24h old",
}

func TestThirdPartyMoltbookClientUnderDefaults(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			if _, got := servertest.Defaults(t, d).MoltbookClient(t); !slices.Equal(got, refusedByDefault) {
				t.Errorf("refused was\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(refusedByDefault, "\n"))
			}
		})
	}
}
