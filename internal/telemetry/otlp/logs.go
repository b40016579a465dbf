package otlp

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	sdk "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/trace"

	"github.com/reefwarden/reefwarden/internal/act"
)

// logs sends log records.
type logs struct {
	provider *sdk.LoggerProvider
	exporter sdk.Exporter
	batch    *batcher[sdk.Record]
	handler  slog.Handler
}

func newLogs(ctx context.Context, p *Plan, log *slog.Logger) (*logs, error) {
	exporter, err := logExporter(ctx, p.To[Logs])
	if err != nil {
		return nil, err
	}
	l := &logs{exporter: exporter}
	l.batch = newBatcher(Logs, log, recordSize, exporter.Export)
	l.provider = sdk.NewLoggerProvider(sdk.WithResource(p.described()), sdk.WithProcessor(written{l.batch}))
	l.handler = traced{otelslog.NewHandler("reefwarden", otelslog.WithLoggerProvider(l.provider), otelslog.WithSchemaURL(Schema))}
	return l, nil
}

func logExporter(ctx context.Context, t Target) (sdk.Exporter, error) {
	if t.GRPC {
		var o []otlploggrpc.Option
		if t.Endpoint != "" {
			o = append(o, otlploggrpc.WithEndpointURL(t.Endpoint))
		}
		if t.Headers != nil {
			o = append(o, otlploggrpc.WithHeaders(t.Headers))
		}
		return otlploggrpc.New(ctx, o...)
	}
	var o []otlploghttp.Option
	if t.Endpoint != "" {
		o = append(o, otlploghttp.WithEndpointURL(t.Endpoint))
	}
	if t.Headers != nil {
		o = append(o, otlploghttp.WithHeaders(t.Headers))
	}
	return otlploghttp.New(ctx, o...)
}

func (l *logs) close(ctx context.Context) {
	l.batch.close()
	_ = l.provider.Shutdown(ctx)
	_ = l.exporter.Shutdown(ctx)
}

// written hands records on.
type written struct{ batch *batcher[sdk.Record] }

func (written) Enabled(context.Context, sdk.EnabledParameters) bool { return true }

func (w written) OnEmit(_ context.Context, r *sdk.Record) error {
	w.batch.add(r.Clone()) // the SDK may use r again
	return nil
}

func (written) Shutdown(context.Context) error   { return nil }
func (written) ForceFlush(context.Context) error { return nil }

// recordSize is about how many bytes a record has on the wire: the cleaning handler
// bounds a line, and most are far below this.
func recordSize(r sdk.Record) int {
	return spanBytes + len(r.Body().String()) + r.AttributesLen()*4*attributeBytes
}

// traced puts the trace of the context where the protocol has a field for it.
type traced struct{ base slog.Handler }

func (t traced) Enabled(ctx context.Context, l slog.Level) bool { return t.base.Enabled(ctx, l) }

func (t traced) Handle(ctx context.Context, r slog.Record) error {
	if id, err := trace.TraceIDFromHex(act.TraceOf(ctx)); err == nil {
		ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id}))
	}
	return t.base.Handle(ctx, r)
}

func (t traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{t.base.WithAttrs(attrs)} }
func (t traced) WithGroup(name string) slog.Handler       { return traced{t.base.WithGroup(name)} }
