package native

import (
	"context"
	"mime"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/span"
)

// otlpBody stands in a route for a body in the form of OpenTelemetry's protocol.
type otlpBody struct{}

const otlpType = "application/x-protobuf"

// telemetryRoutes take what agents report of their own work, at the paths that exporters
// add to a base address (OTLP/HTTP), and show it.
func (d *door) telemetryRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/otlp/v1/traces", Act: "telemetry.report", MaxBody: span.MaxBody, Handle: d.takeReport(span.ParseTraces), Takes: otlpBody{}, Gives: otlpBody{}},
		{Method: http.MethodPost, Path: "/otlp/v1/logs", Act: "telemetry.report", MaxBody: span.MaxBody, Handle: d.takeReport(span.ParseLogs), Takes: otlpBody{}, Gives: otlpBody{}},
		{Method: http.MethodGet, Path: "/otlp/traces/{trace}", Act: "telemetry.read", Handle: d.readTrace, Gives: wireTrace{}},
	}
}

// takeReport takes a request of an exporter. Its answer is the protocol's, an error that of
// this door: exporters look at the status only.
func (d *door) takeReport(parse func([]byte) (span.Report, error)) func(context.Context, *api.Call) error {
	return func(ctx context.Context, c *api.Call) error {
		if kind, _, err := mime.ParseMediaType(c.R.Header.Get("Content-Type")); err != nil || kind != otlpType {
			return act.Errorf(act.Invalid, "reports are taken as %s", otlpType).WithRule("http.type").WithHint("set the exporter's protocol to http/protobuf")
		}
		in, err := parse(c.Body)
		if err != nil {
			return err
		}
		receipt, err := d.spans.Report.Do(ctx, c.Principal, in)
		if err != nil {
			return err
		}
		c.Send(http.StatusOK, []string{otlpType}, receipt.Answer())
		return nil
	}
}

// wireTrace is what is known of a caller's trace.
type wireTrace struct {
	Trace   string       `json:"trace"`
	Records []wireRecord `json:"records"`
	Acts    []tracedAct  `json:"acts"`
}

// wireRecord is a span or log record as its agent reported it.
type wireRecord struct {
	Kind    string            `json:"kind"` // span or log
	AgentID string            `json:"agent_id"`
	Span    string            `json:"span"`
	Parent  string            `json:"parent"`
	Name    string            `json:"name"`
	At      *string           `json:"at"`
	Took    int64             `json:"took_us"`
	Failed  bool              `json:"failed"`
	Attrs   map[string]string `json:"attributes"`
	Links   []wireLink        `json:"links"`
}

type wireLink struct {
	Trace string            `json:"trace"`
	Span  string            `json:"span"`
	Attrs map[string]string `json:"attributes"`
}

// tracedAct is an act that was asked for under a span of the trace.
type tracedAct struct {
	Seq     int64   `json:"seq"`
	Act     string  `json:"act"`
	Outcome string  `json:"outcome"`
	AgentID string  `json:"agent_id"`
	Ref     string  `json:"ref"`
	Under   string  `json:"under"` // the caller's span
	Trace   string  `json:"trace"` // the act's own: X-Request-Id of its answer
	At      *string `json:"at"`
}

// GET /otlp/traces/{trace}
func (d *door) readTrace(ctx context.Context, c *api.Call) error {
	t, err := d.spans.Read.Do(ctx, c.Principal, c.R.PathValue("trace"))
	if err != nil {
		return err
	}
	out := wireTrace{Trace: t.ID, Records: make([]wireRecord, 0, len(t.Records)), Acts: make([]tracedAct, 0, len(t.Acts))}
	for _, r := range t.Records {
		x := wireRecord{
			Kind: "span", AgentID: d.codec.String(r.Agent), Span: r.Span, Parent: r.Parent, Name: r.Name, At: wireTime(r.Begin), Took: r.Took,
			Failed: r.Failed, Attrs: r.Attrs, Links: []wireLink{},
		}
		if r.Log {
			x.Kind = "log"
		}
		for _, l := range r.Links {
			x.Links = append(x.Links, wireLink(l))
		}
		out.Records = append(out.Records, x)
	}
	for _, a := range t.Acts {
		out.Acts = append(out.Acts, tracedAct{
			Seq: a.Seq, Act: a.Name, Outcome: a.Outcome, AgentID: a.Agent, Ref: a.Thing, Under: a.Under, Trace: a.Trace, At: wireTime(a.At),
		})
	}
	return d.send(c, http.StatusOK, out)
}
