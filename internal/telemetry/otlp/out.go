package otlp

import (
	"context"
	"crypto/rand"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// Out sends the telemetry of a process. It is safe for concurrent use.
type Out struct {
	plan    Plan
	log     *slog.Logger
	spans   *spans       // nil when none are sent
	logs    *logs        // nil when none are sent
	metrics sdk.Exporter // nil when none are sent

	lost atomic.Int64 // pushes of metrics that were not taken
	stop chan struct{}
	done sync.WaitGroup
	once sync.Once
}

// Open begins to send what the plan says. It does not wait for any receiver. log is told
// when one does not take anything, and when it does again; it should not be sent by what
// Open returns. The caller must Close it.
func Open(ctx context.Context, p Plan, log *slog.Logger) (o *Out, err error) {
	o = &Out{plan: p, log: log, stop: make(chan struct{})}
	// Without a name of its own the figures of several nodes would be one another's.
	o.plan.resource = maps.Clone(p.resource)
	o.plan.resource["service.instance.id"] = rand.Text()
	// What the libraries have to say, about spans that a receiver took in part for example,
	// would go to standard error past the handler that cleans it.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry", "err", err) }))
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	if p.To[Traces].On {
		if o.spans, err = newSpans(ctx, &o.plan, log); err != nil {
			return nil, err
		}
	}
	if p.To[Logs].On {
		if o.logs, err = newLogs(ctx, &o.plan, log); err != nil {
			return nil, err
		}
	}
	if p.To[Metrics].On {
		if o.metrics, err = metricExporter(ctx, p.To[Metrics]); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// described is what is said of this process with everything that is sent.
func (p *Plan) described() *resource.Resource {
	attrs := []attribute.KeyValue{attribute.String("service.name", p.Service), attribute.String("service.version", p.Version)}
	for key, value := range p.resource {
		attrs = append(attrs, attribute.String(key, value))
	}
	r := resource.NewSchemaless(attrs...)
	if env, err := resource.New(context.Background(), resource.WithFromEnv()); err == nil { //arch:allow reads variables only
		if merged, err := resource.Merge(r, env); err == nil {
			r = merged
		}
	}
	return r
}

// Traces reports whether spans are sent at all.
func (o *Out) Traces() bool { return o.spans != nil }

// Keeps reports whether the span of an act that was done is sent, so that nobody makes
// one in vain.
func (o *Out) Keeps(trace [16]byte) bool { return o.spans != nil && o.spans.samples(trace) }

// Links is how many links a span has at most.
func (o *Out) Links() int { return o.plan.links }

// Emit sends a span. It does not block.
func (o *Out) Emit(s *Span) {
	if o.spans != nil && (s.Keep || o.spans.samples(s.Trace)) {
		o.spans.emit(s)
	}
}

// Handler takes log records that have been cleaned; nil when none are sent.
func (o *Out) Handler() slog.Handler {
	if o.logs == nil {
		return nil
	}
	return o.logs.handler
}

// Push begins to send the metrics of a network's registry again and again, until Close.
// network is "" for the default one.
func (o *Out) Push(from prometheus.Gatherer, network string) {
	if o.metrics == nil {
		return
	}
	f := &figures{exporter: o.metrics, plan: &o.plan, began: time.Now(), network: network} //arch:allow what is sent has real times
	o.done.Go(func() {
		tick := time.NewTicker(o.plan.interval)
		defer tick.Stop()
		for over := false; !over; {
			limit := sendLimit
			select {
			case <-o.stop:
				over, limit = true, lastLimit
			case <-tick.C:
			}
			ctx, cancel := context.WithTimeout(context.Background(), limit) //arch:allow the loop is nobody's request
			if err := f.push(ctx, from, time.Now()); err != nil {           //arch:allow what is sent has real times
				o.lost.Add(1)
				o.log.Warn("metrics are not taken", "err", err)
			}
			cancel()
		}
	})
}

// Dropped tells how many spans and log records were dropped, and how many pushes of
// metrics were not taken.
func (o *Out) Dropped(s Signal) int64 {
	switch {
	case s == Traces && o.spans != nil:
		return o.spans.batch.dropped.Load()
	case s == Logs && o.logs != nil:
		return o.logs.batch.dropped.Load()
	case s == Metrics:
		return o.lost.Load()
	}
	return 0
}

// Close sends what waits, for a short time, and ends.
func (o *Out) Close() {
	o.once.Do(func() {
		close(o.stop)
		o.done.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), lastLimit) //arch:allow Close is nobody's request
		defer cancel()
		if o.spans != nil {
			o.spans.close(ctx)
		}
		if o.logs != nil {
			o.logs.close(ctx)
		}
		if o.metrics != nil {
			_ = o.metrics.Shutdown(ctx)
		}
	})
}
