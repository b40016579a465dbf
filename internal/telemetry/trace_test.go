package telemetry_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

const (
	foreign = "0af7651916cd43dd8448eb211c80319c"
	span    = "b7ad6b7169203331"
)

func TestStartTrace(t *testing.T) {
	for header, parent := range map[string]string{
		"":                                                               "",
		"00-" + foreign + "-" + span + "-01":                             foreign,
		"00-" + foreign + "-" + span + "-00":                             foreign,
		"cc-" + foreign + "-" + span + "-01":                             foreign, // a later version
		"cc-" + foreign + "-" + span + "-01-more":                        foreign,
		"cc-" + foreign + "-" + span + "-01more":                         "",
		"00-" + foreign + "-" + span + "-01-more":                        "",
		"ff-" + foreign + "-" + span + "-01":                             "",
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":             "",
		"00-" + foreign + "-" + strings.Repeat("0", 16) + "-01":          "",
		"00-" + strings.ToUpper(foreign) + "-" + span + "-01":            "",
		"00-" + foreign + "-" + span:                                     "",
		"00-" + foreign + "-" + span + "-0":                              "",
		"00-" + foreign + "-" + span + "-0g":                             "",
		"00_" + foreign + "-" + span + "-01":                             "",
		" 00-" + foreign + "-" + span + "-01":                            "",
		"cc-" + foreign + "-" + span + "-01-" + strings.Repeat("a", 999): "",
	} {
		ctx, trace := telemetry.StartTrace(t.Context(), header)
		got := telemetry.CallerOf(ctx)
		if got.Trace != parent || (got.Span == span) != (parent != "") {
			t.Errorf("%q links to %q, want %q", header, got, parent)
		}
		if act.TraceOf(ctx) != trace || trace == foreign || !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(trace) {
			t.Errorf("%q: trace %q, in the context %q", header, trace, act.TraceOf(ctx))
		}
	}
	seen := map[string]bool{}
	for range 10_000 {
		_, trace := telemetry.StartTrace(t.Context(), "")
		if seen[trace] {
			t.Fatal("a trace id came twice")
		}
		seen[trace] = true
	}
}

func FuzzTraceparent(f *testing.F) {
	for _, s := range []string{
		"", "00-" + foreign + "-" + span + "-01", "cc-" + foreign + "-" + span + "-01-x", "ff-" + foreign + "-" + span + "-01",
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01", "00-" + foreign + "-" + span + "-01\n", strings.Repeat("-", 55),
	} {
		f.Add(s)
	}
	// The grammar written a second time, as the standard has it.
	grammar := regexp.MustCompile(`^(?:00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}|([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-(?s:.*))?)$`)
	f.Fuzz(func(t *testing.T, header string) {
		var want telemetry.Caller
		if m := grammar.FindStringSubmatch(header); m != nil && len(header) <= 512 && m[3] != "ff" && m[3] != "00" {
			id, parent := m[1]+m[4], m[2]+m[5]
			if strings.Trim(id, "0") != "" && strings.Trim(parent, "0") != "" {
				want = telemetry.Caller{Trace: id, Span: parent}
			}
		}
		ctx, trace := telemetry.StartTrace(t.Context(), header)
		if got := telemetry.CallerOf(ctx); got != want {
			t.Errorf("%q links to %q, want %q", header, got, want)
		}
		if act.TraceOf(ctx) != trace || len(trace) != 32 {
			t.Errorf("trace %q, in the context %q", trace, act.TraceOf(ctx))
		}
	})
}

func BenchmarkStartTrace(b *testing.B) {
	header := "00-" + foreign + "-" + span + "-01"
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		telemetry.StartTrace(ctx, header)
	}
}
