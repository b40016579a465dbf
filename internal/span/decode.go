package span

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/telemetry"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp"
)

// Bounds of one report and of one record.
const (
	MaxBody    = 1 << 20 // bytes of a report, decompressed
	MaxRecords = 2000    // of one report
	maxAttrs   = 64      // of one record; the others are left out
	maxLinks   = 128     // of one span; the others are left out
	maxName    = 200     // bytes
	maxValue   = 1000    // bytes of an attribute's value, or of a log record's text
	maxDepth   = 4       // of values within values
)

// Record is a span or a log record as an agent reports it.
type Record struct {
	Log    bool
	Trace  string // 32 hex digits
	Span   string // 16 hex digits; of a log record the span it was written in, "" for none
	Parent string // of a span; "" for none
	Name   string // of a span, or what a log record says
	Begin  int64  // Unix microseconds
	Took   int64  // microseconds
	Failed bool   // by its status, or its severity
	Attrs  map[string]string
	Links  []Link
}

// Link is a span that another one has to do with.
type Link struct {
	Trace, Span string
	Attrs       map[string]string `json:",omitempty"`
}

// Report is what one request brings.
type Report struct {
	Records []Record
	Refused int // records that could not be taken
}

func malformed(format string, args ...any) error {
	return act.Errorf(act.Invalid, format, args...).WithRule("telemetry.form").
		WithHint("send ExportTraceServiceRequest or ExportLogsServiceRequest as http/protobuf, gzip or not; exporters named \"proto\" do")
}

// ParseTraces reads an ExportTraceServiceRequest. Its one field is that of TracesData.
func ParseTraces(body []byte) (r Report, err error) {
	var in tracepb.TracesData
	if err := proto.Unmarshal(body, &in); err != nil {
		return r, malformed("the body is no OTLP traces")
	}
	for _, rs := range in.GetResourceSpans() {
		service := serviceOf(rs.GetResource())
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				r.add(spanRecord(s, service))
			}
		}
	}
	return r, nil
}

// ParseLogs reads an ExportLogsServiceRequest. Its one field is that of LogsData.
func ParseLogs(body []byte) (r Report, err error) {
	var in logspb.LogsData
	if err := proto.Unmarshal(body, &in); err != nil {
		return r, malformed("the body is no OTLP logs")
	}
	for _, rl := range in.GetResourceLogs() {
		service := serviceOf(rl.GetResource())
		for _, sl := range rl.GetScopeLogs() {
			for _, l := range sl.GetLogRecords() {
				r.add(logRecord(l, service))
			}
		}
	}
	return r, nil
}

func (r *Report) add(x Record, ok bool) {
	if !ok || len(r.Records) >= MaxRecords {
		r.Refused++
		return
	}
	r.Records = append(r.Records, x)
}

func spanRecord(s *tracepb.Span, service string) (x Record, ok bool) {
	x = Record{
		Trace: hex.EncodeToString(s.GetTraceId()), Span: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Name: clip(s.GetName(), maxName), Begin: micros(s.GetStartTimeUnixNano()), Failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
		Attrs: attributes(s.GetAttributes()),
	}
	x.Took = max(0, micros(s.GetEndTimeUnixNano())-x.Begin)
	if service != "" {
		x.Attrs["service.name"] = service
	}
	for _, l := range s.GetLinks() {
		link := Link{Trace: hex.EncodeToString(l.GetTraceId()), Span: hex.EncodeToString(l.GetSpanId()), Attrs: attributes(l.GetAttributes())}
		if named(link.Trace, traceDigits) && named(link.Span, spanDigits) && len(x.Links) < maxLinks {
			x.Links = append(x.Links, link)
		}
	}
	return x, named(x.Trace, traceDigits) && named(x.Span, spanDigits) && (x.Parent == "" || named(x.Parent, spanDigits))
}

// logRecord keeps what belongs to a trace: lines without one are joined to nothing.
func logRecord(l *logspb.LogRecord, service string) (x Record, ok bool) {
	x = Record{
		Log: true, Trace: hex.EncodeToString(l.GetTraceId()), Span: hex.EncodeToString(l.GetSpanId()),
		Begin: micros(l.GetTimeUnixNano()), Failed: l.GetSeverityNumber() >= logspb.SeverityNumber_SEVERITY_NUMBER_ERROR, Attrs: attributes(l.GetAttributes()),
	}
	if x.Begin == 0 {
		x.Begin = micros(l.GetObservedTimeUnixNano())
	}
	x.Name = value(l.GetBody(), maxDepth)
	if strings.HasPrefix(l.GetEventName(), "gen_ai.") || strings.HasPrefix(x.Attrs["event.name"], "gen_ai.") {
		x.Name = hashed(x.Name) // the bodies of these events are messages
	}
	x.Name = clip(x.Name, maxValue)
	if severity := l.GetSeverityText(); severity != "" {
		x.Attrs["severity"] = clip(severity, maxName)
	}
	if service != "" {
		x.Attrs["service.name"] = service
	}
	return x, named(x.Trace, traceDigits) && (x.Span == "" || named(x.Span, spanDigits))
}

const (
	traceDigits = 32
	spanDigits  = 16
)

// named reports whether an id has its length and is not all zero.
func named(id string, digits int) bool {
	return len(id) == digits && strings.Trim(id, "0") != ""
}

func micros(nanos uint64) int64 { return int64(min(nanos/1000, math.MaxInt64/1000)) }

func serviceOf(r *resourcepb.Resource) string {
	for _, a := range r.GetAttributes() {
		if a.GetKey() == "service.name" {
			return clip(value(a.GetValue(), 1), maxName)
		}
	}
	return ""
}

// attributes keeps the first of a record's attributes; those that are content as a hash.
func attributes(list []*commonpb.KeyValue) map[string]string {
	out := make(map[string]string, min(len(list), maxAttrs))
	for _, a := range list {
		if len(out) >= maxAttrs {
			break
		}
		text := value(a.GetValue(), maxDepth)
		if otlp.Content(a.GetKey()) {
			text = hashed(text)
		}
		out[clip(a.GetKey(), maxName)] = clip(text, maxValue)
	}
	return out
}

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// value writes a value as text; lists and maps as deep as depth.
func value(v *commonpb.AnyValue, depth int) string {
	switch x := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return x.StringValue
	case *commonpb.AnyValue_BoolValue:
		return strconv.FormatBool(x.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return strconv.FormatInt(x.IntValue, 10)
	case *commonpb.AnyValue_DoubleValue:
		return strconv.FormatFloat(x.DoubleValue, 'g', -1, 64)
	case *commonpb.AnyValue_BytesValue:
		return hex.EncodeToString(x.BytesValue)
	case *commonpb.AnyValue_ArrayValue:
		if depth == 0 {
			return "…"
		}
		parts := make([]string, 0, len(x.ArrayValue.GetValues()))
		for _, one := range x.ArrayValue.GetValues() {
			parts = append(parts, value(one, depth-1))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *commonpb.AnyValue_KvlistValue:
		if depth == 0 {
			return "…"
		}
		parts := make([]string, 0, len(x.KvlistValue.GetValues()))
		for _, one := range x.KvlistValue.GetValues() {
			parts = append(parts, one.GetKey()+": "+value(one.GetValue(), depth-1))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return ""
}

// clip makes a text fit to be kept: on one line, without credentials, and short.
func clip(s string, most int) string {
	if s = telemetry.Clean(s); len(s) <= most {
		return s
	}
	cut := most - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
