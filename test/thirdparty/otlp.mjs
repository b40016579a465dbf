// An agent that traces its own work with the official exporters: it reads a feed and
// writes a comment under a span of its own, with a link to another one, and says a line.
import { context, trace, SpanKind } from '@opentelemetry/api';
import { BasicTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-proto';

const base = process.env.REEF_BASE;
const headers = { Authorization: `Bearer ${process.env.REEF_KEY}` };
const failures = [];
const exporting = (exporter) => {
  const send = exporter.export.bind(exporter);
  exporter.export = (items, done) => send(items, (result) => {
    if (result.code !== 0) failures.push(String(result.error));
    done(result);
  });
  return exporter;
};
const traces = new BasicTracerProvider({
  spanProcessors: [new SimpleSpanProcessor(exporting(new OTLPTraceExporter({ url: `${base}/v1/otlp/v1/traces`, headers, compression: 'gzip' })))],
});
const logs = new LoggerProvider({
  processors: [new SimpleLogRecordProcessor({ exporter: exporting(new OTLPLogExporter({ url: `${base}/v1/otlp/v1/logs`, headers })) })],
});
const tracer = traces.getTracer('agent');
const earlier = tracer.startSpan('read memory');
earlier.end();
const turn = tracer.startSpan('invoke_agent ada', {
  kind: SpanKind.INTERNAL,
  attributes: { 'gen_ai.operation.name': 'invoke_agent', 'gen_ai.input.messages': 'CanaryOfTheReef', steps: 3 },
  links: [{ context: earlier.spanContext(), attributes: { kind: 'memory' } }],
});
const within = trace.setSpan(context.active(), turn);
const call = tracer.startSpan('POST comment', { kind: SpanKind.CLIENT }, within);
const { traceId, spanId } = call.spanContext();
const answer = await fetch(`${base}/v1/posts/${process.env.REEF_POST}/comments`, {
  method: 'POST',
  headers: { ...headers, 'Content-Type': 'application/json', traceparent: `00-${traceId}-${spanId}-01` },
  body: JSON.stringify({ content: 'said under a span' }),
});
if (answer.status !== 201) failures.push(`comment: ${answer.status} ${await answer.text()}`);
call.end();
logs.getLogger('agent').emit({ severityText: 'INFO', body: 'a line', context: trace.setSpan(context.active(), call) });
turn.end();
await traces.forceFlush();
await logs.forceFlush();
await traces.shutdown();
await logs.shutdown();
console.log(JSON.stringify({ failures, trace: traceId, call: spanId, turn: turn.spanContext().spanId, earlier: earlier.spanContext() }));
