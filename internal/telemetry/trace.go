package telemetry

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	traceparentLen = 55  // W3C Trace Context §3.2.2, version 00
	maxTraceparent = 512 // of a later version; longer ones are not looked at
)

// Caller is the span under which a caller says that it asked: what its traceparent
// header named. The zero value is none.
type Caller struct {
	Trace string // 32 hex digits
	Span  string // 16 hex digits
}

type callerKey struct{}

// CallerOf returns the span that the context's request came under, as its caller says.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// StartTrace begins a trace at the trust boundary. It returns the context with
// a new trace id (32 hex digits, [act.TraceOf]), and that id. What the caller's
// traceparent header named, if it is well formed, is in the context beside it
// ([CallerOf]): a link to record, a stranger's claim that is never adopted (W3C
// Trace Context §3.2 "restart"). What came in tracestate and baggage is dropped.
//
// Ids come from the runtime's ChaCha8 generator, seeded by the system; they are
// unguessable in practice, but nothing may rest on that.
func StartTrace(ctx context.Context, traceparent string) (_ context.Context, trace string) {
	trace = newTrace()
	if c, ok := parseTraceparent(traceparent); ok {
		ctx = context.WithValue(ctx, callerKey{}, c)
	}
	return act.WithTrace(ctx, trace), trace
}

func newTrace() string {
	var id [16]byte
	for id == [16]byte{} { // all zero is the one invalid id
		binary.BigEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // a trace id is no secret
		binary.BigEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // a trace id is no secret
	}
	var text [32]byte
	hex.Encode(text[:], id[:])
	return string(text[:])
}

// parseTraceparent returns the ids of a traceparent header, following W3C
// Trace Context §3.2.2 and, for versions after 00, §4.3: such a header is read
// as version 00 when it is longer only behind a dash.
func parseTraceparent(h string) (c Caller, ok bool) {
	if len(h) < traceparentLen || len(h) > maxTraceparent ||
		h[2] != '-' || h[35] != '-' || h[52] != '-' {
		return Caller{}, false
	}
	version, trace, span, flags := h[:2], h[3:35], h[36:52], h[53:55]
	if !lowerHex(version) || !lowerHex(trace) || !lowerHex(span) || !lowerHex(flags) ||
		version == "ff" || allZero(trace) || allZero(span) {
		return Caller{}, false
	}
	if len(h) > traceparentLen && (version == "00" || h[traceparentLen] != '-') {
		return Caller{}, false
	}
	return Caller{Trace: trace, Span: span}, true
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func allZero(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return false
		}
	}
	return true
}
