// Package otlptest has a receiver of OpenTelemetry's protocol, for tests.
//
// It is a double: it decodes with the collector's own codec (pdata) and enforces what
// makers of products document of their intakes, paths, headers, the temporality of
// metrics, the size of a request, but it is none of those products. What was not as it
// should be is refused and listed by [Receiver.Wrong]; the rest is acknowledged as the
// protocol wants it, and kept.
//
// Entry points: [Start], [StartGRPC].
package otlptest
