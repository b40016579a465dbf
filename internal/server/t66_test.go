package server_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp/otlptest"
)

// canary is written into everything that an agent writes, and must not leave.
const canary = "CanaryOfTheReef"

const (
	foreignTrace = "0af7651916cd43dd8448eb211c80319c"
	foreignSpan  = "b7ad6b7169203331"
)

// outTo sends telemetry to a receiver.
func outTo(t *testing.T, r *otlptest.Receiver) *otlp.Out {
	t.Helper()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
	plan, err := otlp.Read(otlp.Config{Service: "reefwarden"}, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	out, err := otlp.Open(t.Context(), plan, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	return out
}

// forged sends a request as a stranger would who wants to steer what others see of it.
func forged(t *testing.T, s *servertest.Server, method, path, key, body string, head bool) servertest.Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if head {
		req.Header.Set("Traceparent", "00-"+foreignTrace+"-"+foreignSpan+"-01")
		req.Header.Set("Tracestate", "reef="+canary)
		req.Header.Set("Baggage", "role=admin,principal=operator,decision=allow,note="+canary)
	}
	return s.Send(t, req)
}

// T66: content is not in what leaves, callers' traces are linked and never continued,
// baggage decides nothing, and an act under a context of 200 things has 200 edges in the
// store whatever becomes of its links.
func TestT66_ContentStaysAndForeignTracesAreLinked(t *testing.T) {
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			r := otlptest.Start(t, otlptest.Rules{})
			cfg := servertest.Config(t, d)
			cfg.Out, cfg.WebhookAllow = outTo(t, r), []string{"127.0.0.0/8"}
			events := filepath.Join(t.TempDir(), "ocsf.jsonl")
			cfg.OCSF = []string{"file:" + events}
			s := servertest.Start(t, cfg)
			var parent atomic.Pointer[string]
			hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { parent.Store(new(req.Header.Get("Traceparent"))) }))
			defer hook.Close()
			_, writer := s.Agent(t, "writer")
			key, reader := s.Agent(t, "reader")
			s.Community(t, writer, "shoal")
			const things = 200
			var last act.ID
			for i := range things {
				ctx, _ := telemetry.StartTrace(t.Context(), "")
				p, err := s.Network.CreatePost.Do(ctx, writer, network.NewPost{Community: "shoal", Title: fmt.Sprint(canary, " title ", i), Content: canary})
				if err != nil {
					t.Fatal(err)
				}
				last = p.ID
			}
			if _, err := s.Network.CreateWebhook.Do(t.Context(), writer, network.NewWebhook{
				URL: hook.URL, Filter: network.EventFilter{Acts: []string{"comment.create"}}, After: network.FromNow,
			}); err != nil {
				t.Fatal(err)
			}
			for cursor, page := "", 0; page == 0 || cursor != ""; page++ {
				a := forged(t, s, http.MethodGet, "/v1/posts?sort=new&community=shoal&limit=100&cursor="+cursor, key, "", true)
				if a.Status != http.StatusOK || page > 4 {
					t.Fatalf("page %d: %d %s", page, a.Status, a.Raw)
				}
				cursor, _ = a.JSON["next_cursor"].(string)
			}
			post := s.Codec.String(last)
			said := forged(t, s, http.MethodPost, "/v1/posts/"+post+"/comments", key, `{"content":"`+canary+` says"}`, true)
			if said.Status != http.StatusCreated {
				t.Fatalf("comment: %d %s", said.Status, said.Raw)
			}
			for _, path := range []string{"/v1/posts/" + post + "/pin", "/v1/agents/" + s.Codec.String(writer.ID) + "/kill", "/v1/policies/revert"} {
				method := http.MethodPost
				if strings.HasSuffix(path, "/pin") {
					method = http.MethodPut
				}
				without, with := forged(t, s, method, path, key, `{"reason":"x"}`, false), forged(t, s, method, path, key, `{"reason":"x"}`, true)
				if without.Status != with.Status || without.Status < 400 || without.JSON["rule"] != with.JSON["rule"] {
					t.Errorf("%s: %d by %v, and with baggage %d by %v", path, without.Status, without.JSON["rule"], with.Status, with.JSON["rule"])
				}
			}
			otlptest.Wait(t, "the spans come", func() bool { return len(r.Spans("comment.create")) == 1 && len(r.Spans("agent.kill")) == 2 })
			otlptest.Wait(t, "the figures come", func() bool { return len(r.Metrics("reef_acts_total")) > 0 })
			otlptest.Wait(t, "the webhook is told", func() bool { return parent.Load() != nil })

			comment := r.Spans("comment.create")[0]
			own := said.Header.Get("X-Request-Id")
			if got := comment.TraceID().String(); got != own {
				t.Errorf("the comment's span is in trace %s, the answer says %s", got, own)
			}
			if want := "00-" + own + "-" + comment.SpanID().String() + "-01"; *parent.Load() != want {
				t.Errorf("the webhook was told under %q, want %q", *parent.Load(), want)
			}
			made := map[string]string{} // trace and span by post
			for _, p := range r.Spans("post.create") {
				id, _ := p.Attributes().Get(otlp.MadeID)
				made[id.Str()] = p.TraceID().String() + p.SpanID().String()
			}
			levels, callers := map[string]int{}, 0
			for _, l := range comment.Links().All() {
				if kind, _ := l.Attributes().Get(otlp.LinkKind); kind.Str() == otlp.LinkCaller {
					callers++
					if l.TraceID().String() != foreignTrace || l.SpanID().String() != foreignSpan {
						t.Errorf("the caller is %s %s", l.TraceID(), l.SpanID())
					}
					continue
				}
				level, _ := l.Attributes().Get(otlp.LinkLevel)
				item, _ := l.Attributes().Get(otlp.LinkItem)
				levels[level.Str()]++
				if made[item.Str()] != l.TraceID().String()+l.SpanID().String() {
					t.Errorf("the link to %s leads to another span than the one that made it", item.Str())
				}
			}
			if levels["L3"] != 1 || levels["L1"] != things-1 || callers != 1 {
				t.Errorf("links by level %v and %d callers, want 1 L3, %d L1, 1 caller", levels, callers, things-1)
			}
			for _, x := range r.Spans("") {
				if x.TraceID().String() == foreignTrace || !x.ParentSpanID().IsEmpty() {
					t.Errorf("%s continues a stranger's trace", x.Name())
				}
			}
			for _, x := range r.Spans("agent.kill") {
				rule, _ := x.Attributes().Get(otlp.Rule)
				if x.Status().Code() != ptrace.StatusCodeError || rule.Str() == "" {
					t.Errorf("a denial's span says %v by %q", x.Status().Code(), rule.Str())
				}
			}
			if r.Has(canary) {
				t.Error("content was sent by OTLP")
			}
			shown := map[act.ID]bool{}
			if err := s.DB.View(t.Context(), func(v *store.View) error {
				return provenance.Exposures(v, reader.ID, func(x provenance.Exposure) error {
					for _, it := range x.Items {
						shown[it.ID] = true
					}
					return nil
				})
			}); err != nil {
				t.Fatal(err)
			}
			if len(shown) != things {
				t.Errorf("%d edges are stored, want %d", len(shown), things)
			}
			if err := s.DB.View(t.Context(), func(v *store.View) error {
				return v.All(`SELECT body FROM leaf ORDER BY pos`, func(row *store.Row) error {
					if body := row.Bytes(0); bytes.Contains(body, []byte(canary)) || bytes.Contains(body, []byte(foreignTrace)) {
						t.Errorf("a leaf has what a stranger sent: %s", body)
					}
					return nil
				})
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			var newest int64
			if err := s.DB.View(t.Context(), func(v *store.View) (err error) { newest, err = v.LastSequence(); return err }); err != nil {
				t.Fatal(err)
			}
			var lines []byte
			otlptest.Wait(t, "every leaf is an event", func() bool {
				lines, _ = os.ReadFile(events)
				return int64(bytes.Count(lines, []byte("\n"))) >= newest
			})
			if bytes.Contains(lines, []byte(canary)) || bytes.Contains(lines, []byte(foreignTrace)) || !bytes.Contains(lines, []byte(comment.SpanID().String())) {
				t.Error("events have content, a stranger's trace, or not the spans of acts")
			}
			if w := r.Wrong(); len(w) > 0 {
				t.Error(w)
			}
		})
	}
}
