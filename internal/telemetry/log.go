package telemetry

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Options says how a logger writes.
type Options struct {
	Level slog.Leveler // the least level written; nil means Info
	JSON  bool         // one JSON object a line instead of key=value
	Also  slog.Handler // gets every cleaned record too; nil is nobody
}

// NewLogger returns a logger that writes one redacted line for each record to
// w, and adds the context's trace id as "trace". Writes to w are serialized.
func NewLogger(w io.Writer, o Options) *slog.Logger {
	opts := &slog.HandlerOptions{Level: o.Level}
	var base slog.Handler = slog.NewTextHandler(w, opts)
	if o.JSON {
		base = slog.NewJSONHandler(w, opts)
	}
	if o.Also != nil {
		base = slog.NewMultiHandler(base, leveled{o.Also, o.Level})
	}
	return slog.New(&handler{base: base})
}

// leveled lets a handler have no more than the lines of the log.
type leveled struct {
	slog.Handler
	least slog.Leveler // nil means Info
}

func (l leveled) Enabled(ctx context.Context, level slog.Level) bool {
	least := slog.LevelInfo
	if l.least != nil {
		least = l.least.Level()
	}
	return level >= least && l.Handler.Enabled(ctx, level)
}

func (l leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{l.Handler.WithAttrs(attrs), l.least}
}
func (l leveled) WithGroup(name string) slog.Handler {
	return leveled{l.Handler.WithGroup(name), l.least}
}

// handler cleans records before base sees them. Groups opened by WithGroup stay
// here until a record comes, so that the trace id stands outside of them. A
// handler never changes once made.
type handler struct {
	base   slog.Handler
	groups []group
}

type group struct {
	name   string
	sealed bool // it, or a group around it, has a secret-looking name
	attrs  []slog.Attr
}

func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.base.Enabled(ctx, l) }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, clean(r.Message), r.PC)
	if trace := act.TraceOf(ctx); trace != "" {
		out.AddAttrs(slog.String("trace", clean(trace)))
	}
	if len(h.groups) == 0 {
		r.Attrs(func(a slog.Attr) bool {
			out.AddAttrs(cleanAttr(a, open))
			return true
		})
		return h.base.Handle(ctx, out)
	}
	attrs := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, cleanAttr(a, h.within()))
		return true
	})
	for _, g := range slices.Backward(h.groups) {
		attrs = []slog.Attr{{Key: g.name, Value: slog.GroupValue(slices.Concat(g.attrs, attrs)...)}}
	}
	out.AddAttrs(attrs...)
	return h.base.Handle(ctx, out)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	cleaned := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		cleaned[i] = cleanAttr(a, h.within())
	}
	if len(h.groups) == 0 {
		return &handler{base: h.base.WithAttrs(cleaned)}
	}
	groups := slices.Clone(h.groups)
	last := &groups[len(groups)-1]
	last.attrs = slices.Concat(last.attrs, cleaned)
	return &handler{base: h.base, groups: groups}
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	g := group{name: clean(name), sealed: h.within() == sealed || secrecyOf(name) != open}
	return &handler{base: h.base, groups: append(slices.Clone(h.groups), g)}
}

// within is the secrecy that open groups lay on what is added now.
func (h *handler) within() secrecy {
	if n := len(h.groups); n > 0 && h.groups[n-1].sealed {
		return sealed
	}
	return open
}

func cleanAttr(a slog.Attr, around secrecy) slog.Attr {
	if a.Equal(slog.Attr{}) {
		return a // slog leaves empty attributes out
	}
	return slog.Attr{Key: clean(a.Key), Value: cleanValue(a.Value, max(around, secrecyOf(a.Key)))}
}

func cleanValue(v slog.Value, s secrecy) slog.Value {
	v = v.Resolve() // runs LogValuers, survives their panics
	switch v.Kind() {
	case slog.KindGroup:
		if s != open {
			return slog.StringValue(redacted)
		}
		members := v.Group()
		cleaned := make([]slog.Attr, len(members))
		for i, a := range members {
			cleaned[i] = cleanAttr(a, open)
		}
		return slog.GroupValue(cleaned...)
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindFloat64, slog.KindDuration, slog.KindTime:
		if s == sealed {
			return slog.StringValue(redacted)
		}
		return v
	case slog.KindString:
		if s != open {
			return slog.StringValue(redacted)
		}
		return slog.StringValue(clean(v.String()))
	case slog.KindAny, slog.KindLogValuer:
	}
	if v.Any() == nil {
		return v
	}
	if s != open {
		return slog.StringValue(redacted)
	}
	return cleanAny(v.Any())
}

// cleanAny renders a value here, so that base never calls a stranger's method.
func cleanAny(v any) slog.Value {
	switch x := v.(type) {
	case error:
		return slog.StringValue(clean(errorText(x)))
	case fmt.Stringer:
		return slog.StringValue(clean(fmt.Sprintf("%v", x))) // fmt survives panics
	case []byte:
		return slog.StringValue(clean(string(x)))
	}
	raw, err := marshal(v)
	if err != nil {
		return slog.StringValue(clean(fmt.Sprintf("[%T: not printable]", v)))
	}
	if _, ok := v.(encoding.TextMarshaler); !ok && len(raw) > maxText {
		return slog.StringValue(clean(fmt.Sprintf("[%T: %d bytes]", v, len(raw))))
	}
	var tree any
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return slog.StringValue(clean(string(raw)))
	}
	tree = cleanTree(tree, open)
	if s, ok := tree.(string); ok {
		return slog.StringValue(s)
	}
	if raw, err = marshal(tree); err != nil {
		return slog.StringValue(clean(fmt.Sprintf("[%T: not printable]", v)))
	}
	return slog.AnyValue(json.RawMessage(raw)) // both base handlers write it as it is
}

// marshal is json.Marshal without HTML escapes that survives a panicking
// method of the value.
func marshal(v any) (raw []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("marshal %T panicked", v)
		}
	}()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("marshal %T: %w", v, err)
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

func cleanTree(v any, s secrecy) any {
	switch x := v.(type) {
	case nil:
		return nil
	case map[string]any:
		if s != open {
			return redacted
		}
		out := make(map[string]any, len(x))
		for k, member := range x {
			out[clean(k)] = cleanTree(member, secrecyOf(k))
		}
		return out
	case []any:
		if s != open {
			return redacted
		}
		for i := range x {
			x[i] = cleanTree(x[i], open)
		}
		return x
	case string:
		if s != open {
			return redacted
		}
		return clean(x)
	}
	if s == sealed { // numbers and booleans
		return redacted
	}
	return v
}

// errorText is the error and, since act.Error hides its cause from callers, the
// causes that its text does not hold already.
func errorText(err error) string {
	text := fmt.Sprintf("%v", err) // fmt survives a nil pointer's panic
	const deepest = 8
	last := text
	for range deepest {
		if err = unwrap(err); err == nil {
			break
		}
		cause := fmt.Sprintf("%v", err)
		if !strings.Contains(last, cause) {
			text += " <- " + cause
		}
		last = cause
	}
	return text
}

func unwrap(err error) (cause error) {
	defer func() {
		if recover() != nil { // a nil pointer in an error interface
			cause = nil
		}
	}()
	return errors.Unwrap(err)
}
