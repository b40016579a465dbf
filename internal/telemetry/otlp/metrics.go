package otlp

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// figures pushes what a registry has. With delta it tells what was added since the last
// push that was taken; it belongs to one goroutine.
type figures struct {
	exporter sdk.Exporter
	plan     *Plan
	network  string // beside the default one; "" for that
	began    time.Time

	last   time.Time           // of the last push that was taken; zero before
	before map[series]counters // as of then; used with delta only
}

type series struct{ name, labels string }

// counters are the growing numbers of one series.
type counters struct {
	value   float64
	count   uint64
	sum     float64
	buckets []uint64 // each for itself, not summed up
}

func metricExporter(ctx context.Context, t Target) (sdk.Exporter, error) {
	if t.GRPC {
		var o []otlpmetricgrpc.Option
		if t.Endpoint != "" {
			o = append(o, otlpmetricgrpc.WithEndpointURL(t.Endpoint))
		}
		if t.Headers != nil {
			o = append(o, otlpmetricgrpc.WithHeaders(t.Headers))
		}
		return otlpmetricgrpc.New(ctx, o...)
	}
	var o []otlpmetrichttp.Option
	if t.Endpoint != "" {
		o = append(o, otlpmetrichttp.WithEndpointURL(t.Endpoint))
	}
	if t.Headers != nil {
		o = append(o, otlpmetrichttp.WithHeaders(t.Headers))
	}
	return otlpmetrichttp.New(ctx, o...)
}

// push reads the registry and sends what it has, in requests below the bound. What a
// failed push had to add is in the next one.
func (f *figures) push(ctx context.Context, from prometheus.Gatherer, now time.Time) error {
	families, err := from.Gather()
	if err != nil {
		return err
	}
	since := f.began
	if f.plan.To[Metrics].Delta && !f.last.IsZero() {
		since = f.last
	}
	seen := make(map[series]counters)
	var list []metricdata.Metrics
	for _, family := range families {
		if m, ok := f.metric(family, seen, since, now); ok {
			list = append(list, m)
		}
	}
	for chunk := range slices.Chunk(list, metricsAtOnce) {
		if err := f.exporter.Export(ctx, &metricdata.ResourceMetrics{
			Resource:     f.plan.described(),
			ScopeMetrics: []metricdata.ScopeMetrics{{Scope: instrumentation.Scope{Name: "reefwarden", SchemaURL: Schema}, Metrics: chunk}},
		}); err != nil {
			return err
		}
	}
	f.last, f.before = now, seen
	return nil
}

// metricsAtOnce is how many families a request has at most. The largest has a few
// thousand series of some hundred bytes, and most have one.
const metricsAtOnce = 8

func (f *figures) metric(family *dto.MetricFamily, seen map[series]counters, since, now time.Time) (m metricdata.Metrics, ok bool) {
	m = metricdata.Metrics{Name: family.GetName(), Description: family.GetHelp()}
	delta, temporality := f.plan.To[Metrics].Delta, metricdata.CumulativeTemporality
	if delta {
		temporality = metricdata.DeltaTemporality
	}
	switch family.GetType() {
	case dto.MetricType_COUNTER:
		sum := metricdata.Sum[float64]{Temporality: temporality, IsMonotonic: true}
		for _, x := range family.GetMetric() {
			set, key := f.labels(family, x)
			value := x.GetCounter().GetValue()
			seen[key] = counters{value: value}
			if before := f.before[key].value; delta && value >= before { // else it began anew
				value -= before
			}
			sum.DataPoints = append(sum.DataPoints, metricdata.DataPoint[float64]{Attributes: set, StartTime: since, Time: now, Value: value})
		}
		m.Data = sum
	case dto.MetricType_GAUGE:
		var gauge metricdata.Gauge[float64]
		for _, x := range family.GetMetric() {
			set, _ := f.labels(family, x)
			if value := x.GetGauge().GetValue(); !math.IsNaN(value) {
				gauge.DataPoints = append(gauge.DataPoints, metricdata.DataPoint[float64]{Attributes: set, Time: now, Value: value})
			}
		}
		if len(gauge.DataPoints) == 0 {
			return m, false
		}
		m.Data = gauge
	case dto.MetricType_HISTOGRAM:
		h := metricdata.Histogram[float64]{Temporality: temporality}
		for _, x := range family.GetMetric() {
			set, key := f.labels(family, x)
			now64 := histogram(x.GetHistogram())
			seen[key] = now64
			if before, was := f.before[key]; delta && was {
				now64 = now64.less(before)
			}
			h.DataPoints = append(h.DataPoints, metricdata.HistogramDataPoint[float64]{
				Attributes: set, StartTime: since, Time: now, Count: now64.count, Sum: now64.sum,
				Bounds: bounds(x.GetHistogram()), BucketCounts: now64.buckets,
			})
		}
		m.Data = h
	default: // summaries of the Go runtime: quantiles add up to nothing
		return m, false
	}
	return m, true
}

func histogram(h *dto.Histogram) (c counters) {
	c.count, c.sum = h.GetSampleCount(), h.GetSampleSum()
	var below uint64
	for _, b := range h.GetBucket() {
		if math.IsInf(b.GetUpperBound(), 1) {
			continue // the last bucket is what the others leave of the count
		}
		c.buckets = append(c.buckets, b.GetCumulativeCount()-below)
		below = b.GetCumulativeCount()
	}
	c.buckets = append(c.buckets, c.count-below)
	return c
}

func bounds(h *dto.Histogram) (out []float64) {
	for _, b := range h.GetBucket() {
		if !math.IsInf(b.GetUpperBound(), 1) {
			out = append(out, b.GetUpperBound())
		}
	}
	return out
}

func (c counters) less(before counters) counters {
	if c.count < before.count || len(c.buckets) != len(before.buckets) {
		return c // it began anew
	}
	out := counters{count: c.count - before.count, sum: c.sum - before.sum, buckets: make([]uint64, len(c.buckets))}
	for i, n := range c.buckets {
		out.buckets[i] = n - before.buckets[i]
	}
	return out
}

func (f *figures) labels(family *dto.MetricFamily, x *dto.Metric) (attribute.Set, series) {
	pairs := make([]attribute.KeyValue, 0, len(x.GetLabel()))
	var text strings.Builder
	for _, l := range x.GetLabel() {
		pairs = append(pairs, attribute.String(l.GetName(), l.GetValue()))
		text.WriteString(l.GetName() + "\x00" + l.GetValue() + "\x00")
	}
	if f.network != "" {
		pairs = append(pairs, attribute.String(Network, f.network))
	}
	return attribute.NewSet(pairs...), series{family.GetName(), text.String()}
}
