package span

import (
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf8"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/reefwarden/reefwarden/internal/act"
)

func text(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

func bytesOf(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func id(n int, b byte) []byte { return []byte(strings.Repeat(string(rune(b)), n)) }

func tracesOf(spans ...*tracepb.Span) *tracepb.TracesData {
	return &tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}}}}}
}

// What is too long is cut, what has no ids is refused and counted, and what was said to
// or by a model is a hash.
func TestParseBounds(t *testing.T) {
	good := &tracepb.Span{
		TraceId: id(16, 'a'), SpanId: id(8, 'b'), Name: strings.Repeat("é", 500) + "\x00", StartTimeUnixNano: 5_000, EndTimeUnixNano: 9_000,
		Attributes: []*commonpb.KeyValue{{Key: "gen_ai.output.messages", Value: text("a secret word")}, {Key: "long", Value: text(strings.Repeat("x", 5000))}, {Key: "note", Value: text("Bearer NeedleInTheHay4711\nsecond line")}},
		Links:      []*tracepb.Span_Link{{TraceId: id(16, 'c'), SpanId: id(8, 'd')}, {TraceId: id(3, 'c')}},
	}
	for range 100 {
		good.Attributes = append(good.Attributes, &commonpb.KeyValue{Key: hex.EncodeToString([]byte{byte(len(good.Attributes))})})
	}
	r, err := ParseTraces(bytesOf(t, tracesOf(good, &tracepb.Span{Name: "no ids"}, &tracepb.Span{TraceId: make([]byte, 16), SpanId: id(8, 'b')})))
	if err != nil || len(r.Records) != 1 || r.Refused != 2 {
		t.Fatalf("%d taken, %d refused, %v", len(r.Records), r.Refused, err)
	}
	x := r.Records[0]
	if len(x.Name) > maxName || !utf8.ValidString(x.Name) || len(x.Attrs) > maxAttrs || len(x.Attrs["long"]) > maxValue || len(x.Links) != 1 || x.Took != 4 {
		t.Errorf("%d bytes of name, %d attributes, %d links, took %d", len(x.Name), len(x.Attrs), len(x.Links), x.Took)
	}
	if got := x.Attrs["gen_ai.output.messages"]; got != hashed("a secret word") || strings.Contains(got, "secret") {
		t.Errorf("a message is kept as %q", got)
	}
	if got := x.Attrs["note"]; strings.Contains(got, "Needle") || strings.Contains(got, "\n") {
		t.Errorf("a credential, or a line end, is kept: %q", got)
	}
	many := make([]*tracepb.Span, MaxRecords+5)
	for i := range many {
		many[i] = good
	}
	if r, err = ParseTraces(bytesOf(t, tracesOf(many...))); err != nil || len(r.Records) != MaxRecords || r.Refused != 5 {
		t.Errorf("%d taken, %d refused, %v", len(r.Records), r.Refused, err)
	}
	var in struct{ Refused int }
	in.Refused = r.Refused
	if answer := (Receipt{Refused: in.Refused}).Answer(); len(answer) == 0 || len((Receipt{Taken: 1}).Answer()) != 0 {
		t.Errorf("answers: %x", answer)
	}
}

// A log record of a model's messages is a hash; one without a trace is joined to nothing
// and refused.
func TestParseLogs(t *testing.T) {
	logs := &logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{ScopeLogs: []*logspb.ScopeLogs{{LogRecords: []*logspb.LogRecord{
		{TraceId: id(16, 'a'), SpanId: id(8, 'b'), Body: text("a line"), SeverityText: "WARN", ObservedTimeUnixNano: 7_000},
		{TraceId: id(16, 'a'), EventName: "gen_ai.user.message", Body: text("a secret word")},
		{Body: text("no trace")},
	}}}}}}
	r, err := ParseLogs(bytesOf(t, logs))
	if err != nil || len(r.Records) != 2 || r.Refused != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if x := r.Records[0]; x.Name != "a line" || x.Attrs["severity"] != "WARN" || x.Begin != 7 {
		t.Errorf("a line came as %+v", x)
	}
	if x := r.Records[1]; x.Name != hashed("a secret word") {
		t.Errorf("a message came as %q", x.Name)
	}
}

// FuzzReport: whatever bytes come, there is a report within its bounds or a clear error.
func FuzzReport(f *testing.F) {
	deep := text("x")
	for range 50 {
		deep = &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: []*commonpb.AnyValue{deep, deep}[:1]}}}
	}
	f.Add(bytesOf(f, tracesOf(&tracepb.Span{TraceId: id(16, 'a'), SpanId: id(8, 'b'), Attributes: []*commonpb.KeyValue{{Key: "deep", Value: deep}}})))
	f.Add([]byte{})
	f.Add([]byte(`{"resourceSpans":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, parse := range []func([]byte) (Report, error){ParseTraces, ParseLogs} {
			r, err := parse(body)
			if err != nil {
				if act.CodeOf(err) != act.Invalid {
					t.Errorf("%v", err)
				}
				continue
			}
			if len(r.Records) > MaxRecords {
				t.Errorf("%d records", len(r.Records))
			}
			for _, x := range r.Records {
				if !named(x.Trace, traceDigits) || len(x.Attrs) > maxAttrs+2 || len(x.Name) > maxValue || !utf8.ValidString(x.Name) || strings.Contains(x.Name, "\x00") || x.Took < 0 {
					t.Errorf("%+v", x)
				}
			}
		}
	})
}
