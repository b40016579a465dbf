package export

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp/otlptest"
)

// spansTo makes spans of what is on record and of what ends, and sends them to a receiver.
func spansTo(t *testing.T, db *store.DB, vars map[string]string) (*Spans, *otlptest.Receiver) {
	t.Helper()
	r := otlptest.Start(t, otlptest.Rules{})
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", r.URL+"/v1/traces")
	for name, value := range vars {
		t.Setenv(name, value)
	}
	plan, err := otlp.Read(otlp.Config{Service: "reefwarden"}, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	out, err := otlp.Open(t.Context(), plan, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	s := NewSpans(SpansConfig{Out: out, DB: db, Codec: newCodec(t), Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(s.Close)
	return s, r
}

func ended(e gate.Entry, write bool) *gate.Ended {
	return &gate.Ended{Entry: e, Began: time.Unix(1_790_000_000, 0), Took: time.Millisecond, Write: write}
}

// The sampler decides about what was done; denials, failures and what stops somebody are
// kept, each under a span of its own.
func TestT66_DenialsAndContainmentsAreKept(t *testing.T) {
	s, r := spansTo(t, storetest.Open(t, store.SQLite), map[string]string{"OTEL_TRACES_SAMPLER": "always_off"})
	list := entries(t)
	for _, e := range list {
		s.Ended(ended(e, true))
		s.Ended(ended(e, false))
	}
	s.Close()
	want := 0
	for _, e := range list {
		if e.Outcome != gate.Done || contains(e.Act) {
			want += 2
		}
	}
	otlptest.Wait(t, "what must be kept comes", func() bool { return len(r.Spans("")) >= want })
	for _, x := range r.Spans("") {
		if x.Name() == "comment.create" || x.Name() == "class.put" {
			t.Errorf("%s is kept though the sampler is off", x.Name())
		}
	}
	if n := len(r.Spans("")); n != want {
		t.Errorf("%d spans, want %d", n, want)
	}
}

// A thing that another process made is linked to, by what the record says; a span has as
// many links as it may have, those of explicit edges first.
func TestLinksComeFromTheRecord(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const things, most = 200, 128
		id := ids(t)
		writer := act.Principal{Kind: act.Agent, ID: id(act.KindAgent), Name: "writer"}
		reader := act.Principal{Kind: act.Agent, ID: id(act.KindAgent), Name: "reader"}
		var made []act.Ref
		var list []gate.Entry
		for range things {
			made = append(made, act.Ref{ID: id(act.KindPost), Version: 1})
			list = append(list, gate.Entry{Act: "post.create", At: 1, Principal: writer, Out: made[len(made)-1], Count: 1, Trace: trace})
		}
		record(t, db, list)
		s, r := spansTo(t, db, map[string]string{"OTEL_SPAN_LINK_COUNT_LIMIT": "128"})
		for page := range slices.Chunk(made, 25) {
			x := ended(gate.Entry{Act: "feed.read", Principal: reader, Count: 1, Trace: trace}, false)
			x.Shown = page
			s.Ended(x)
		}
		said := ended(gate.Entry{Act: "comment.create", Principal: reader, Target: made[0], Out: act.Ref{ID: id(act.KindComment), Version: 1}, Count: 1, Trace: trace}, true)
		said.Edges = []gate.Edge{{From: made[0], Kind: gate.EdgeReply}}
		s.Ended(said)
		otlptest.Wait(t, "the comment's span comes", func() bool { return len(r.Spans("comment.create")) == 1 })
		comment := r.Spans("comment.create")[0]
		if n := comment.Links().Len(); n != most {
			t.Fatalf("%d links, want %d", n, most)
		}
		for i, l := range comment.Links().All() {
			level, _ := l.Attributes().Get(otlp.LinkLevel)
			item, _ := l.Attributes().Get(otlp.LinkItem)
			at := 0 // first what it answers, then the newest of what was shown
			if i > 0 {
				at = things - i
			}
			want, _ := contextOf(trace, "post.create", made[at])
			if (level.Str() == levelExplicit) != (i == 0) || item.Str() != s.Codec.String(made[at].ID) || [8]byte(l.SpanID()) != want.Span {
				t.Fatalf("link %d is %v to %s", i, l.Attributes().AsRaw(), l.SpanID())
			}
		}
		if comment.Status().Code() == ptrace.StatusCodeError {
			t.Error("an act that was done has a span with an error")
		}
	})
}

// More acts than can become spans are counted, and nobody waits.
func TestTooManyActsAreCounted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s := &Spans{queue: make(chan *gate.Ended, 4), wake: make(chan struct{}, 1), stop: stop}
	for range 10 {
		s.Ended(ended(gate.Entry{Act: "post.create"}, true))
	}
	s.Close()
	if s.Dropped() != 6 || ctx.Err() == nil {
		t.Errorf("%d are dropped, want 6", s.Dropped())
	}
}
