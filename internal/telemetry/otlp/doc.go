// Package otlp sends traces, metrics and logs out by the OpenTelemetry protocol, as the
// standard OTEL_* variables say or a preset for a product ([Read], [Open]).
//
// What it hides: the OpenTelemetry SDK and its exporters, the names of the semantic
// conventions at one pinned version (names.go), the batching, and what products want
// differently: paths, headers, temporality, the size of a request.
//
// Invariants:
//   - nothing is sent unless an endpoint is configured, and then nothing waits for it:
//     what does not fit into a bounded queue, or is not taken, is counted and dropped;
//   - a span is made when its act has ended, so whether it is kept can depend on how the
//     act ended; its trace and span id are given, never invented here;
//   - no request is larger than its bound, as far as single spans allow;
//   - log records come in cleaned (package telemetry) and are not made richer here.
//
// It owns no tables. Entry points: [Read], [Open], [Out.Emit], [Out.Handler], [Out.Push].
package otlp
