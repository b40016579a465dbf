package server_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/network"
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

// The official exporters for JavaScript report an agent's spans and lines, which are
// joined to the act that came of them, with links intact and messages as hashes.
func TestThirdPartyOTLPExporters(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			node, dir := servertest.Package(t, servertest.ThirdParty, "@opentelemetry/exporter-trace-otlp-proto")
			s := servertest.Start(t, servertest.Config(t, d))
			key, ada := s.Agent(t, "ada")
			other, _ := s.Agent(t, "bob")
			s.Community(t, ada, "shoal")
			post, err := s.Network.CreatePost.Do(t.Context(), ada, network.NewPost{Community: "shoal", Title: "t", Content: "c"})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(node, "otlp.mjs")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "REEF_BASE="+s.URL, "REEF_KEY="+key, "REEF_POST="+s.Codec.String(post.ID))
			out, err := cmd.CombinedOutput()
			var said struct {
				Failures          []string
				Trace, Call, Turn string
				Earlier           struct{ TraceID, SpanID string }
			}
			if err != nil || json.Unmarshal(out, &said) != nil || len(said.Failures) > 0 {
				t.Fatalf("%v\n%s", err, out)
			}
			got := s.Call(t, http.MethodGet, "/v1/otlp/traces/"+said.Trace, s.Token, nil)
			var trace struct {
				Records []struct {
					Kind, Span, Parent, Name string
					Attributes               map[string]string
					Links                    []struct{ Trace, Span string }
				}
				Acts []struct{ Act, Outcome, Under, Trace string }
			}
			if err := json.Unmarshal(got.Raw, &trace); err != nil || got.Status != http.StatusOK {
				t.Fatalf("%d %s", got.Status, got.Raw)
			}
			seen := map[string]bool{}
			for _, r := range trace.Records {
				seen[r.Kind+" "+r.Name] = true
				switch r.Name {
				case "invoke_agent ada":
					if len(r.Links) != 1 || r.Links[0].Trace != said.Earlier.TraceID || r.Links[0].Span != said.Earlier.SpanID || r.Attributes["steps"] != "3" || !strings.HasPrefix(r.Attributes["gen_ai.input.messages"], "sha256:") {
						t.Errorf("the turn came as %+v", r)
					}
				case "POST comment":
					if r.Span != said.Call || r.Parent != said.Turn {
						t.Errorf("the call came as %+v", r)
					}
				}
			}
			if len(seen) != 3 || !seen["log a line"] {
				t.Errorf("reported are %v", seen)
			}
			if len(trace.Acts) != 1 || trace.Acts[0].Act != "comment.create" || trace.Acts[0].Outcome != "done" || trace.Acts[0].Under != said.Call || len(trace.Acts[0].Trace) != 32 {
				t.Errorf("the acts of the trace are %+v", trace.Acts)
			}
			if strings.Contains(string(got.Raw), "CanaryOfTheReef") {
				t.Error("a message was kept")
			}
			if a := s.Call(t, http.MethodGet, "/v1/otlp/traces/"+said.Trace, other, nil); a.Status != http.StatusNotFound {
				t.Errorf("another agent gets %d: %s", a.Status, a.Raw)
			}
		})
	}
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
