package otlp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/telemetry"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp/otlptest"
)

// env sets variables for the exporters, which read them themselves, and returns how to
// read them.
func env(t *testing.T, list map[string]string) func(string) string {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
	for name, value := range list {
		t.Setenv(name, value)
	}
	return os.Getenv
}

func open(t *testing.T, c otlp.Config, list map[string]string) *otlp.Out {
	t.Helper()
	if c.Service == "" {
		c.Service = "reefwarden"
	}
	plan, err := otlp.Read(c, env(t, list))
	if err != nil {
		t.Fatal(err)
	}
	o, err := otlp.Open(t.Context(), plan, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func keyFile(t *testing.T, key string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func spanOf(n uint64, links int) *otlp.Span {
	s := &otlp.Span{Name: "post.create", Begin: time.Unix(1_800_000_000, 0), Took: time.Millisecond,
		Attrs: []slog.Attr{slog.String(otlp.PrincipalKind, "agent"), slog.Int64(otlp.PolicyBundle, 7), slog.Bool("b", true), slog.Any("chain", []string{"a", "b"})}}
	binary.BigEndian.PutUint64(s.Trace[8:], n+1)
	binary.BigEndian.PutUint64(s.Span[:], n+1)
	for i := range links {
		l := otlp.Link{Context: s.Context, Attrs: []slog.Attr{slog.String(otlp.LinkLevel, "L1"), slog.String(otlp.LinkItem, "0000"+fmt.Sprint(i))}}
		s.Links = append(s.Links, l)
	}
	return s
}

// all sends a span, a line and figures.
func all(t *testing.T, o *otlp.Out) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "reef_acts_total"}, []string{"act"})
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "reef_act_seconds", Buckets: []float64{1, 2}})
	registry.MustRegister(c, h)
	c.WithLabelValues("post.create").Add(3)
	h.Observe(0.5)
	h.Observe(7)
	o.Emit(spanOf(1, 2))
	if h := o.Handler(); h != nil {
		log := telemetry.NewLogger(&bytes.Buffer{}, telemetry.Options{Also: h})
		ctx, _ := telemetry.StartTrace(t.Context(), "")
		log.InfoContext(ctx, "one line", "token", "moltbook_sk_secret", "n", 1)
	}
	o.Push(registry, "")
	return registry
}

// One variable is enough, over HTTP and over gRPC.
func TestOneVariable(t *testing.T) {
	for name, r := range map[string]*otlptest.Receiver{"http/protobuf": otlptest.Start(t, otlptest.Rules{}), "grpc": otlptest.StartGRPC(t)} {
		t.Run(strings.ReplaceAll(name, "/", " "), func(t *testing.T) {
			vars := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": r.URL, "OTEL_METRIC_EXPORT_INTERVAL": "100", "OTEL_SERVICE_NAME": "reef-test"}
			if name == "grpc" {
				vars["OTEL_EXPORTER_OTLP_PROTOCOL"] = name
			}
			o := open(t, otlp.Config{}, vars)
			all(t, o)
			otlptest.Wait(t, "all three come", func() bool {
				return len(r.Spans("post.create")) > 0 && len(r.Metrics("reef_acts_total")) > 0 && len(r.Records()) > 0
			})
			s := r.Spans("")[0]
			level, _ := s.Links().At(1).Attributes().Get(otlp.LinkLevel)
			if s.Kind() != ptrace.SpanKindServer || s.Links().Len() != 2 || level.Str() != "L1" || s.SpanID() != [8]byte{7: 2} || s.EndTimestamp()-s.StartTimestamp() != 1_000_000 {
				t.Errorf("the span came as %v %v with %d links", s.SpanID(), s.Attributes().AsRaw(), s.Links().Len())
			}
			x := r.Metrics("reef_acts_total")[0].Sum()
			if x.AggregationTemporality() != pmetric.AggregationTemporalityCumulative || x.DataPoints().At(0).DoubleValue() != 3 {
				t.Errorf("the counter came as %v", x.DataPoints().At(0).DoubleValue())
			}
			line := r.Records()[0]
			if token, _ := line.Attributes().Get("token"); line.Body().Str() != "one line" || line.TraceID().IsEmpty() || token.Str() != "[redacted]" {
				t.Errorf("the line came as %q %v in trace %s", line.Body().Str(), line.Attributes().AsRaw(), line.TraceID())
			}
			if w := r.Wrong(); len(w) > 0 {
				t.Error(w)
			}
		})
	}
}

// Each preset does what the maker of the product documents; the receiver is a double.
func TestPresets(t *testing.T) {
	for name, c := range map[string]struct {
		rules  otlptest.Rules
		preset func(url string) string
		vars   func(url string) map[string]string
		noLogs bool
	}{
		"datadog": {
			rules:  otlptest.Rules{Header: map[string]string{"dd-api-key": "k1"}, LogHeader: map[string]string{"dd-protocol": "otlp"}, Delta: true, MaxBody: 1_000_000},
			preset: func(url string) string { return "datadog:" + url },
		},
		"elastic": {
			rules:  otlptest.Rules{Header: map[string]string{"Authorization": "ApiKey k1"}, Traces: "/_otlp/v1/traces", Metrics: "/_otlp/v1/metrics", Logs: "/_otlp/v1/logs"},
			preset: func(url string) string { return "elastic:" + url + "/_otlp" },
		},
		"splunk": { // its host is fixed, so the variables name this one; the paths are checked below
			rules:  otlptest.Rules{Header: map[string]string{"X-SF-Token": "k1"}, Traces: "/v2/trace/otlp", Metrics: "/v2/datapoint/otlp", Logs: "-"},
			preset: func(string) string { return "splunk:eu0" },
			vars: func(url string) map[string]string {
				return map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url + "/v2/trace/otlp", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": url + "/v2/datapoint/otlp"}
			},
			noLogs: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := otlptest.Start(t, c.rules)
			vars := map[string]string{"OTEL_METRIC_EXPORT_INTERVAL": "100"}
			if c.vars != nil {
				maps.Copy(vars, c.vars(r.URL))
			}
			o := open(t, otlp.Config{Preset: c.preset(r.URL), KeyFile: keyFile(t, "k1")}, vars)
			if (o.Handler() == nil) != c.noLogs {
				t.Errorf("logs are sent: %v", o.Handler() != nil)
			}
			all(t, o)
			const many = 200
			for i := range many { // some megabytes, of spans with as many links as a context window has items
				o.Emit(spanOf(uint64(i), 200))
			}
			otlptest.Wait(t, "they are sent", func() bool { return len(r.Spans("post.create")) > many })
			otlptest.Wait(t, "the figures come twice", func() bool { return len(r.Metrics("reef_acts_total")) > 1 })
			if w := r.Wrong(); len(w) > 0 {
				t.Error(w)
			}
			if c.rules.Delta {
				var sum float64
				for _, m := range r.Metrics("reef_acts_total") {
					sum += m.Sum().DataPoints().At(0).DoubleValue()
				}
				var count uint64
				for _, m := range r.Metrics("reef_act_seconds") {
					count += m.Histogram().DataPoints().At(0).Count()
				}
				if sum != 3 || count != 2 {
					t.Errorf("the deltas add up to %v and %d, want 3 and 2", sum, count)
				}
			}
			if o.Dropped(otlp.Traces) != 0 {
				t.Errorf("%d spans were dropped", o.Dropped(otlp.Traces))
			}
		})
	}
	plan, err := otlp.Read(otlp.Config{Preset: "splunk:eu0", KeyFile: keyFile(t, "k1")}, env(t, nil))
	if err != nil || plan.To[otlp.Traces].Endpoint != "https://ingest.eu0.observability.splunkcloud.com/v2/trace/otlp" || plan.To[otlp.Metrics].Endpoint != "https://ingest.eu0.observability.splunkcloud.com/v2/datapoint/otlp" {
		t.Errorf("splunk: %+v, %v", plan.To, err)
	}
}

// While nobody takes anything, nobody waits: the queue is bounded and drops are counted.
func TestReceiverDown(t *testing.T) {
	r := otlptest.Start(t, otlptest.Rules{})
	r.SetDown(true)
	o := open(t, otlp.Config{}, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": r.URL + "/v1/traces"})
	const many = 10_000
	for i := range many {
		o.Emit(spanOf(uint64(i), 0))
	}
	if d := o.Dropped(otlp.Traces); d < many/2 || d > many {
		t.Errorf("%d of %d are dropped", d, many)
	}
	if o.Handler() != nil {
		t.Error("logs are sent though only traces have an endpoint")
	}
}

// Nothing is sent unless it was asked for.
func TestOffByDefault(t *testing.T) {
	for name, vars := range map[string]map[string]string{
		"no variable": nil,
		"disabled":    {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"none":        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
	} {
		if plan, err := otlp.Read(otlp.Config{}, env(t, vars)); err != nil || plan.On() {
			t.Errorf("%s: %+v, %v", name, plan.To, err)
		}
	}
}

func TestWrongSettings(t *testing.T) {
	for name, c := range map[string]struct {
		preset string
		vars   map[string]string
	}{
		"exporter": {vars: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}},
		"protocol": {vars: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}},
		"sampler":  {vars: map[string]string{"OTEL_TRACES_SAMPLER": "jaeger_remote"}},
		"ratio":    {vars: map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}},
		"links":    {vars: map[string]string{"OTEL_SPAN_LINK_COUNT_LIMIT": "many"}},
		"interval": {vars: map[string]string{"OTEL_METRIC_EXPORT_INTERVAL": "1"}},
		"preset":   {preset: "nobody:x"},
		"realm":    {preset: "splunk:https://x"},
		"url":      {preset: "datadog:eu"},
	} {
		if _, err := otlp.Read(otlp.Config{Preset: c.preset, KeyFile: keyFile(t, "k")}, env(t, c.vars)); act.CodeOf(err) != act.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := otlp.Read(otlp.Config{Preset: "datadog:https://x"}, env(t, nil)); act.CodeOf(err) != act.Invalid {
		t.Errorf("a preset without a key: %v", err)
	}
}

// The sampler decides about acts that were done; what must be kept is.
func TestSampler(t *testing.T) {
	r := otlptest.Start(t, otlptest.Rules{})
	o := open(t, otlp.Config{}, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": r.URL, "OTEL_TRACES_SAMPLER": "parentbased_always_off"})
	o.Emit(spanOf(1, 0))
	kept := spanOf(2, 0)
	kept.Keep, kept.Failed, kept.Name = true, "standing.killed", "agent.kill"
	o.Emit(kept)
	o.Close()
	if list := r.Spans(""); len(list) != 1 || list[0].Name() != "agent.kill" || list[0].Status().Message() != "standing.killed" {
		t.Errorf("%d spans are kept", len(list))
	}
	half := open(t, otlp.Config{}, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": r.URL, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"})
	n := 0
	for i := range uint64(1000) {
		c := otlp.Context{}
		binary.BigEndian.PutUint64(c.Trace[8:], i*0x9e3779b97f4a7c15)
		if half.Keeps(c.Trace) {
			n++
		}
	}
	if n < 400 || n > 600 {
		t.Errorf("a half keeps %d of 1000", n)
	}
}
