package telemetry_test

import (
	"fmt"
	"io"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/telemetry"
)

func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	s := httptest.NewServer(m.Handler())
	defer s.Close()
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("scrape: %v, status %d\n%s", err, resp.StatusCode, body)
	}
	return string(body)
}

func wantLines(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(page, "\n"+l+"\n") {
			name, _, _ := strings.Cut(l, "{")
			t.Errorf("no line %q; there is:\n%s", l, strings.Join(regexp.MustCompile(`(?m)^`+name+`.*$`).FindAllString(page, 20), "\n"))
		}
	}
}

func TestMetrics(t *testing.T) {
	m := telemetry.NewMetrics()
	m.ActDone("post.create", "done", time.Millisecond)
	m.ActDone("post.create", "done", time.Second)
	m.ActDone("post.create", "denied", 0)
	m.ActDone("post.create", "failed", 0)
	m.ActDone("post.create", "exploded", 0)
	m.ActDone("", "done", 0)
	m.Denied("post.create", "quota.post")
	m.Denied("post.create", "quota.post")
	m.Denied("post.vote", "standing.paused")
	m.HTTP("native", "GET /v1/posts/{id}", 200, 2*time.Millisecond)
	m.HTTP("native", "GET /v1/posts/{id}", 404, 2*time.Millisecond)
	m.HTTP("native", "GET /v1/posts/{id}", 4711, 2*time.Millisecond)
	page := scrape(t, m)
	wantLines(t, page,
		`reef_acts_total{act="post.create",outcome="done"} 2`,
		`reef_acts_total{act="post.create",outcome="denied"} 1`,
		`reef_acts_total{act="post.create",outcome="failed"} 1`,
		`reef_acts_total{act="post.create",outcome="other"} 1`,
		`reef_acts_total{act="none",outcome="done"} 1`,
		`reef_act_seconds_count{act="post.create"} 5`,
		`reef_act_seconds_sum{act="post.create"} 1.001`,
		`reef_denials_total{act="post.create",rule="quota.post"} 2`,
		`reef_denials_total{act="post.vote",rule="standing.paused"} 1`,
		`reef_http_requests_total{door="native",route="GET /v1/posts/{id}",status="200"} 1`,
		`reef_http_requests_total{door="native",route="GET /v1/posts/{id}",status="404"} 1`,
		`reef_http_requests_total{door="native",route="GET /v1/posts/{id}",status="other"} 1`,
		`reef_http_seconds_count{door="native",route="GET /v1/posts/{id}"} 3`,
		`reef_write_queue NaN`, `reef_fence_age_seconds NaN`, `reef_bus_connected NaN`,
	)
	if !strings.Contains(page, "go_goroutines") || !strings.Contains(page, "process_open_fds") {
		t.Error("the runtime's and the process's own figures are missing")
	}
	depth, age, up := 3, 1500*time.Millisecond, true
	m.WatchWriteQueue(func() int { return depth })
	m.WatchFenceAge(func() time.Duration { return age })
	m.WatchBus(func() bool { return up }, func() int64 { return 9 })
	wantLines(t, scrape(t, m), `reef_write_queue 3`, `reef_fence_age_seconds 1.5`, `reef_bus_connected 1`, `reef_bus_dropped_total 9`)
	held := []string{"sequencer", "webhooks"}
	m.WatchLeases(func() []string { return held })
	wantLines(t, scrape(t, m), `reef_leads{lease="sequencer"} 1`, `reef_leads{lease="webhooks"} 1`)
	held = held[1:]
	if page := scrape(t, m); strings.Contains(page, `lease="sequencer"`) {
		t.Error("a lease that was lost is still told of")
	}
	m.WatchContained(func() int64 { return 3 }, func() int64 { return 1 })
	m.WatchDrift(func() int64 { return 2 })
	m.WatchDrills(func() []telemetry.Drill {
		return []telemetry.Drill{{Control: "kill", Held: true, Stop: 2 * time.Millisecond, Ack: 5 * time.Millisecond, At: time.Unix(7, 0)}, {Control: "halt"}}
	})
	wantLines(t, scrape(t, m), `reef_manifest_drift 2`, `reef_contained 3`, `reef_sweeping 1`, `reef_drill_held{control="kill"} 1`, `reef_drill_held{control="halt"} 0`,
		`reef_drill_stop_seconds{control="kill"} 0.002`, `reef_drill_ack_seconds{control="kill"} 0.005`, `reef_drill_time_seconds{control="kill"} 7`)
	m.WatchQuotas(func() []telemetry.Quota {
		list := []telemetry.Quota{{Scope: "network", Kind: "acts", Limit: 100, Used: 90, Given: 95, Low: true}}
		for i := range 300 {
			list = append(list, telemetry.Quota{Scope: fmt.Sprint("team:", i), Kind: "acts", Limit: 10})
		}
		return list
	})
	page = scrape(t, m)
	wantLines(t, page, `reef_quotas 301`, `reef_quotas_low 1`, `reef_quota_limit{kind="acts",scope="network"} 100`,
		`reef_quota_used{kind="acts",scope="network"} 90`, `reef_quota_given{kind="acts",scope="network"} 95`)
	if n := strings.Count(page, "\nreef_quota_used{"); n != 256 {
		t.Errorf("%d quotas have figures of their own", n)
	}
	depth, age, up = 4, 2*time.Second, false
	wantLines(t, scrape(t, m), `reef_write_queue 4`, `reef_fence_age_seconds 2`, `reef_bus_connected 0`)

	if page := scrape(t, telemetry.NewMetrics()); strings.Contains(page, "post.create") {
		t.Error("two networks share their metrics")
	}
}

func TestMetricsAreBounded(t *testing.T) {
	m := telemetry.NewMetrics()
	const n = 6000
	for i := range n {
		m.Denied("post.create", fmt.Sprint("rule-", i))
		m.ActDone(fmt.Sprint("act-", i), "done", 0)
		m.HTTP("native", fmt.Sprint("/path-", i), 200+i%300, 0)
	}
	for i := range n { // pairs of known acts and rules are bounded too
		m.Denied(fmt.Sprint("act-", i%500), fmt.Sprint("rule-", i%250))
	}
	page := scrape(t, m)
	for metric, most := range map[string]int{
		"reef_denials_total": 4097, "reef_act_seconds_count": 513,
		"reef_http_requests_total": 4097, "reef_http_seconds_count": 1025,
	} {
		if got := strings.Count(page, "\n"+metric+"{"); got > most || got < 200 {
			t.Errorf("%d series of %s, want at most %d", got, metric, most)
		}
	}
	wantLines(t, page,
		fmt.Sprintf(`reef_denials_total{act="post.create",rule="other"} %d`, n-256),
		fmt.Sprintf(`reef_acts_total{act="other",outcome="done"} %d`, n-511), // post.create took one place
		fmt.Sprintf(`reef_http_seconds_count{door="other",route="other"} %d`, n-1024),
	)
}

func TestMetricsTakeHostileNames(t *testing.T) {
	m := telemetry.NewMetrics()
	for _, s := range []string{"\xff\xfe", "a\nb", "\u202e", "moltbook_sk_" + needle, "nats://u:" + strings.Repeat(needle, 20) + "@", "", strings.Repeat("é", 500)} {
		m.ActDone(s, s, -1)
		m.Denied(s, s)
		m.HTTP(s, s, -1, 1)
	}
	page := scrape(t, m)
	if strings.Contains(page, needle) {
		t.Error("a credential became a label")
	}
	checkLines(t, page, strings.Count(page, "\n"))
	if longest := regexp.MustCompile(`act="([^"]{130,})"`).FindString(page); longest != "" {
		t.Errorf("unbounded label: %s", longest)
	}
}

func TestMetricsConcurrently(t *testing.T) {
	m := telemetry.NewMetrics()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 700 {
				m.ActDone(fmt.Sprint("act-", i%50), "done", time.Microsecond)
				m.Denied("post.create", fmt.Sprint("rule-", i))
			}
		})
	}
	all.Wait()
	page := scrape(t, m)
	wantLines(t, page,
		`reef_acts_total{act="act-7",outcome="done"} 112`,
		fmt.Sprintf(`reef_denials_total{act="post.create",rule="other"} %d`, 8*700-256*8),
	)
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	m := telemetry.NewMetrics()
	for what, f := range map[string]func(){
		"ActDone": func() { m.ActDone("post.create", "done", time.Millisecond) },
		"Denied":  func() { m.Denied("post.create", "quota.post") },
		"HTTP":    func() { m.HTTP("native", "GET /v1/posts", 200, time.Millisecond) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", what, n)
		}
	}
}

func BenchmarkActDone(b *testing.B) {
	m := telemetry.NewMetrics()
	for i := range 60 { // as many acts as a server has
		m.ActDone(fmt.Sprint("noun.verb-", i), "done", 0)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.ActDone("noun.verb-17", "done", 250*time.Microsecond)
	}
}

func BenchmarkActDoneParallel(b *testing.B) {
	m := telemetry.NewMetrics()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.ActDone("post.create", "done", 250*time.Microsecond)
		}
	})
}

func BenchmarkHTTP(b *testing.B) {
	m := telemetry.NewMetrics()
	b.ReportAllocs()
	for b.Loop() {
		m.HTTP("native", "GET /v1/posts/{id}", 200, 250*time.Microsecond)
	}
}
