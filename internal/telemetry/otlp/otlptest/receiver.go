package otlptest

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
)

// Rules are what an intake wants. Empty ones are those of the protocol.
type Rules struct {
	Traces, Metrics, Logs string            // paths; "-" takes none
	Header                map[string]string // that every request must have
	LogHeader             map[string]string // that those with logs must have, too
	Delta                 bool              // metrics must be deltas
	MaxBody               int               // bytes, decompressed; no bound if 0
}

// Receiver is an intake that keeps what it has taken.
type Receiver struct {
	URL   string
	rules Rules

	mu       sync.Mutex
	traces   []ptrace.Traces   // guarded by mu
	metrics  []pmetric.Metrics // guarded by mu
	logs     []plog.Logs       // guarded by mu
	raw      [][]byte          // guarded by mu: every body, decompressed
	wrong    []string          // guarded by mu
	down     bool              // guarded by mu
	requests int               // guarded by mu
}

// Start starts a receiver over HTTP.
func Start(t testing.TB, rules Rules) *Receiver {
	t.Helper()
	r := &Receiver{rules: rules}
	s := httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(s.Close)
	r.URL = s.URL
	return r
}

// StartGRPC starts one over gRPC.
func StartGRPC(t testing.TB) *Receiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Receiver{URL: "http://" + l.Addr().String()}
	s := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(s, &traceServer{receiver: r})
	pmetricotlp.RegisterGRPCServer(s, &metricServer{receiver: r})
	plogotlp.RegisterGRPCServer(s, &logServer{receiver: r})
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return r
}

type traceServer struct {
	ptraceotlp.UnimplementedGRPCServer
	receiver *Receiver
}

func (s *traceServer) Export(_ context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	s.receiver.mu.Lock()
	defer s.receiver.mu.Unlock()
	s.receiver.traces = append(s.receiver.traces, r.Traces())
	return ptraceotlp.NewExportResponse(), nil
}

type metricServer struct {
	pmetricotlp.UnimplementedGRPCServer
	receiver *Receiver
}

func (s *metricServer) Export(_ context.Context, r pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	s.receiver.mu.Lock()
	defer s.receiver.mu.Unlock()
	s.receiver.metrics = append(s.receiver.metrics, r.Metrics())
	return pmetricotlp.NewExportResponse(), nil
}

type logServer struct {
	plogotlp.UnimplementedGRPCServer
	receiver *Receiver
}

func (s *logServer) Export(_ context.Context, r plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	s.receiver.mu.Lock()
	defer s.receiver.mu.Unlock()
	s.receiver.logs = append(s.receiver.logs, r.Logs())
	return plogotlp.NewExportResponse(), nil
}

// SetDown has the receiver answer 503 to everything, or end that.
func (r *Receiver) SetDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := read(req)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	if r.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var answer []byte
	if err == nil {
		answer, err = r.take(req, body)
	}
	if err != nil {
		r.wrong = append(r.wrong, fmt.Sprintf("%s %s: %v", req.Method, req.URL.Path, err))
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.raw = append(r.raw, body)
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer)
}

func read(req *http.Request) ([]byte, error) {
	var from io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(req.Body)
		if err != nil {
			return nil, err
		}
		from = z
	}
	return io.ReadAll(from)
}

// take checks a request and decodes it; r.mu is held.
func (r *Receiver) take(req *http.Request, body []byte) ([]byte, error) {
	or := func(path, usual string) string {
		if path == "" {
			return usual
		}
		return path
	}
	if req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/x-protobuf" {
		return nil, fmt.Errorf("a %s of %q is no export", req.Method, req.Header.Get("Content-Type"))
	}
	if r.rules.MaxBody > 0 && len(body) > r.rules.MaxBody {
		return nil, fmt.Errorf("%d bytes, %d are taken", len(body), r.rules.MaxBody)
	}
	has := func(want map[string]string) error {
		for name, value := range want {
			if req.Header.Get(name) != value {
				return fmt.Errorf("the header %s is %q", name, req.Header.Get(name))
			}
		}
		return nil
	}
	if err := has(r.rules.Header); err != nil {
		return nil, err
	}
	switch req.URL.Path {
	case or(r.rules.Traces, "/v1/traces"):
		x := ptraceotlp.NewExportRequest()
		if err := x.UnmarshalProto(body); err != nil {
			return nil, err
		}
		r.traces = append(r.traces, x.Traces())
		return ptraceotlp.NewExportResponse().MarshalProto()
	case or(r.rules.Metrics, "/v1/metrics"):
		x := pmetricotlp.NewExportRequest()
		if err := x.UnmarshalProto(body); err != nil {
			return nil, err
		}
		if err := r.temporality(x.Metrics()); err != nil {
			return nil, err
		}
		r.metrics = append(r.metrics, x.Metrics())
		return pmetricotlp.NewExportResponse().MarshalProto()
	case or(r.rules.Logs, "/v1/logs"):
		if err := has(r.rules.LogHeader); err != nil {
			return nil, err
		}
		x := plogotlp.NewExportRequest()
		if err := x.UnmarshalProto(body); err != nil {
			return nil, err
		}
		r.logs = append(r.logs, x.Logs())
		return plogotlp.NewExportResponse().MarshalProto()
	}
	return nil, fmt.Errorf("no such path")
}

func (r *Receiver) temporality(m pmetric.Metrics) error {
	want := pmetric.AggregationTemporalityCumulative
	if r.rules.Delta {
		want = pmetric.AggregationTemporalityDelta
	}
	for _, x := range Each(m) {
		got := want
		switch x.Type() {
		case pmetric.MetricTypeSum:
			got = x.Sum().AggregationTemporality()
		case pmetric.MetricTypeHistogram:
			got = x.Histogram().AggregationTemporality()
		case pmetric.MetricTypeEmpty, pmetric.MetricTypeGauge, pmetric.MetricTypeExponentialHistogram, pmetric.MetricTypeSummary:
		}
		if got != want {
			return fmt.Errorf("%s is %s", x.Name(), got)
		}
	}
	return nil
}

// Each lists the metrics of a request.
func Each(m pmetric.Metrics) (list []pmetric.Metric) {
	for _, rm := range m.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, x := range sm.Metrics().All() {
				list = append(list, x)
			}
		}
	}
	return list
}

// Spans lists the spans that were taken, by name if one is given.
func (r *Receiver) Spans(name string) (list []ptrace.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.traces {
		for _, rs := range t.ResourceSpans().All() {
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					if name == "" || s.Name() == name {
						list = append(list, s)
					}
				}
			}
		}
	}
	return list
}

// Metrics lists the metrics of that name, as they came.
func (r *Receiver) Metrics(name string) (list []pmetric.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.metrics {
		list = append(list, slices.DeleteFunc(Each(m), func(x pmetric.Metric) bool { return x.Name() != name })...)
	}
	return list
}

// Records lists the log records.
func (r *Receiver) Records() (list []plog.LogRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.logs {
		for _, rl := range l.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, x := range sl.LogRecords().All() {
					list = append(list, x)
				}
			}
		}
	}
	return list
}

// Has reports whether any body that was taken holds a text.
func (r *Receiver) Has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.raw, func(b []byte) bool { return strings.Contains(string(b), text) })
}

// Wrong lists what was not as the rules want it.
func (r *Receiver) Wrong() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.wrong)
}

// Requests is how many requests have come.
func (r *Receiver) Requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// Largest is the size of the largest body that was taken.
func (r *Receiver) Largest() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.raw {
		n = max(n, len(b))
	}
	return n
}

const (
	waitLimit = 30 * time.Second
	pollEvery = 5 * time.Millisecond
)

// Wait polls until something is so.
func Wait(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick, end := time.NewTicker(pollEvery), time.After(waitLimit)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("it never came about that %s", what)
		}
	}
}
