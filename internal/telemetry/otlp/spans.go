package otlp

import (
	"context"
	"encoding/hex"
	"log/slog"
	"math"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Context names a span: its trace and itself.
type Context struct {
	Trace [16]byte
	Span  [8]byte
}

// ParseContext reads the hex digits of a trace and a span.
func ParseContext(traceID, spanID string) (c Context, ok bool) {
	if hex.DecodedLen(len(traceID)) != len(c.Trace) || hex.DecodedLen(len(spanID)) != len(c.Span) {
		return c, false
	}
	if _, err := hex.Decode(c.Trace[:], []byte(traceID)); err != nil {
		return c, false
	}
	_, err := hex.Decode(c.Span[:], []byte(spanID))
	return c, err == nil
}

// Span is one act, ended. Attributes have the kinds string, int64, bool and []string.
type Span struct {
	Context
	Name   string
	Begin  time.Time
	Took   time.Duration
	Attrs  []slog.Attr
	Links  []Link
	Failed string // why it was not done, "" when it was: the rule or the code, never a text
	Keep   bool   // it is sent whatever the sampler says
}

// Link says what a span has to do with another one.
type Link struct {
	Context
	Attrs []slog.Attr
}

// spans sends spans.
type spans struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	exporter *otlptrace.Exporter
	batch    *batcher[sdk.ReadOnlySpan]
	sampler  sdk.Sampler
}

func newSpans(ctx context.Context, p *Plan, log *slog.Logger) (*spans, error) {
	exporter, err := traceExporter(ctx, p.To[Traces])
	if err != nil {
		return nil, err
	}
	s := &spans{exporter: exporter, sampler: sdk.TraceIDRatioBased(p.ratio)}
	s.batch = newBatcher(Traces, log, spanSize, exporter.ExportSpans)
	limits := sdk.NewSpanLimits()
	limits.LinkCountLimit = p.links
	s.provider = sdk.NewTracerProvider(
		sdk.WithIDGenerator(given{}), sdk.WithSampler(sdk.AlwaysSample()), sdk.WithRawSpanLimits(limits),
		sdk.WithResource(p.described()), sdk.WithSpanProcessor(ended{s.batch}),
	)
	s.tracer = s.provider.Tracer("reefwarden", trace.WithSchemaURL(Schema))
	return s, nil
}

func traceExporter(ctx context.Context, t Target) (*otlptrace.Exporter, error) {
	if t.GRPC {
		var o []otlptracegrpc.Option
		if t.Endpoint != "" {
			o = append(o, otlptracegrpc.WithEndpointURL(t.Endpoint))
		}
		if t.Headers != nil {
			o = append(o, otlptracegrpc.WithHeaders(t.Headers))
		}
		return otlptracegrpc.New(ctx, o...)
	}
	var o []otlptracehttp.Option
	if t.Endpoint != "" {
		o = append(o, otlptracehttp.WithEndpointURL(t.Endpoint))
	}
	if t.Headers != nil {
		o = append(o, otlptracehttp.WithHeaders(t.Headers))
	}
	return otlptracehttp.New(ctx, o...)
}

// samples reports whether the sampler keeps a trace.
func (s *spans) samples(id [16]byte) bool {
	return s.sampler.ShouldSample(sdk.SamplingParameters{TraceID: id}).Decision == sdk.RecordAndSample
}

func (s *spans) emit(x *Span) {
	ctx := context.WithValue(context.Background(), givenKey{}, x.Context) //arch:allow a span that has ended is nobody's request
	links := make([]trace.Link, len(x.Links))
	for i, l := range x.Links {
		links[i] = trace.Link{SpanContext: l.context(), Attributes: attributes(l.Attrs)}
	}
	_, span := s.tracer.Start(ctx, x.Name, trace.WithNewRoot(), trace.WithTimestamp(x.Begin), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attributes(x.Attrs)...), trace.WithLinks(links...))
	if x.Failed != "" {
		span.SetStatus(codes.Error, x.Failed)
	}
	span.End(trace.WithTimestamp(x.Begin.Add(x.Took)))
}

func (s *spans) close(ctx context.Context) {
	s.batch.close()
	_ = s.provider.Shutdown(ctx)
	_ = s.exporter.Shutdown(ctx)
}

func (c Context) context() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: c.Trace, SpanID: c.Span, TraceFlags: trace.FlagsSampled, Remote: true})
}

type givenKey struct{}

// given gives a span the ids that stand in its context.
type given struct{}

func (given) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	c, _ := ctx.Value(givenKey{}).(Context)
	return c.Trace, c.Span
}

func (g given) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	_, span := g.NewIDs(ctx)
	return span
}

// ended hands spans on that have ended.
type ended struct{ batch *batcher[sdk.ReadOnlySpan] }

func (ended) OnStart(context.Context, sdk.ReadWriteSpan) {}
func (e ended) OnEnd(s sdk.ReadOnlySpan)                 { e.batch.add(s) }
func (ended) Shutdown(context.Context) error             { return nil }
func (ended) ForceFlush(context.Context) error           { return nil }

// attributes turns log attributes into those of spans.
func attributes(list []slog.Attr) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(list))
	for _, a := range list {
		switch a.Value.Kind() {
		case slog.KindString:
			out = append(out, attribute.String(a.Key, a.Value.String()))
		case slog.KindInt64:
			out = append(out, attribute.Int64(a.Key, a.Value.Int64()))
		case slog.KindBool:
			out = append(out, attribute.Bool(a.Key, a.Value.Bool()))
		default:
			if texts, ok := a.Value.Any().([]string); ok {
				out = append(out, attribute.StringSlice(a.Key, texts))
			}
		}
	}
	return out
}

// Sizes of what a span is made of on the wire, a little more than they are.
const (
	spanBytes      = 160
	linkBytes      = 48
	attributeBytes = 16
)

// spanSize is about how many bytes a span has on the wire, rather more than less.
func spanSize(s sdk.ReadOnlySpan) int {
	n := spanBytes + len(s.Name()) + attributesSize(s.Attributes())
	for _, l := range s.Links() {
		n += linkBytes + attributesSize(l.Attributes)
	}
	return n
}

func attributesSize(list []attribute.KeyValue) (n int) {
	for _, a := range list {
		n += attributeBytes + len(a.Key)
		switch a.Value.Type() {
		case attribute.STRING:
			n += len(a.Value.AsString())
		case attribute.STRINGSLICE:
			for _, text := range a.Value.AsStringSlice() {
				n += attributeBytes + len(text)
			}
		default:
			n += math.MaxInt8
		}
	}
	return n
}
