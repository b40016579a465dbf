package native

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

const (
	maxWait    = 55 * time.Second // below what proxies bear
	heartbeat  = 15 * time.Second
	streamPage = 200 // events in one piece of a stream
	sseType    = "text/event-stream"
)

// eventRoutes are the routes of what happens.
func (d *door) eventRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: get, Path: "/events", Act: "event.read", Waits: waitsForEvents, Handle: d.events, Gives: eventList{}, Query: []string{"after", "limit", "act", "subject", "wait"}},
		{Method: get, Path: "/events/stream", Act: "event.read", Waits: func(*http.Request) bool { return true }, Handle: d.stream, Query: []string{"after", "act", "subject"}},
		{Method: get, Path: "/webhooks", Act: "webhook.list", Handle: d.webhooks, Gives: list[webhook]{}},
		{Method: post, Path: "/webhooks", Act: "webhook.create", Handle: d.newWebhook, Takes: newWebhook{}, Gives: webhook{}},
		{Method: http.MethodDelete, Path: "/webhooks/{webhook}", Act: "webhook.delete", Handle: d.deleteWebhook, Gives: gone{}},
		{Method: post, Path: "/webhooks/{webhook}/rotate", Act: "webhook.rotate", Handle: d.rotateWebhook, Gives: webhook{}},
		{Method: post, Path: "/webhooks/{webhook}/replay", Act: "webhook.replay", Handle: d.replayWebhook, Takes: newReplay{}, Gives: webhook{}},
		{Method: get, Path: "/webhooks/{webhook}/deliveries", Act: "webhook.deliveries", Handle: d.deliveries, Gives: list[delivery]{}},
	}
}

func wantsStream(r *http.Request) bool {
	return strings.Contains(strings.ToLower(r.Header.Get("Accept")), sseType)
}

func waitsForEvents(r *http.Request) bool { return wantsStream(r) || r.URL.Query().Get("wait") != "" }

// event is an event on the wire.
type event struct {
	Seq     int64   `json:"seq"`
	Act     string  `json:"act"`
	Ref     string  `json:"ref"`  // id of what was made or changed; "" if nothing
	Kind    string  `json:"kind"` // of what ref names
	Version int64   `json:"version,omitempty"`
	Origin  *string `json:"origin"` // class of the one who made what ref names; null if it has none
	Target  string  `json:"target,omitempty"`
	Actor   string  `json:"actor,omitempty"` // for operators, and of one's own acts
	Outcome string  `json:"outcome"`
	At      string  `json:"at"`
}

func (d *door) event(e network.Event) event { return wireEvent(d.codec, e) }

func wireEvent(codec *act.Codec, e network.Event) event {
	out := event{
		Seq: e.Seq, Act: e.Act, Kind: e.Ref.ID.Kind().String(), Version: e.Ref.Version, Outcome: e.Outcome.String(),
		At: act.FromMicros(e.At).Format(act.WireTime),
	}
	if e.Target != 0 {
		out.Target = codec.String(e.Target)
	}
	if e.Ref.ID != 0 {
		out.Ref = codec.String(e.Ref.ID)
	}
	if e.Actor != 0 {
		out.Actor = codec.String(e.Actor)
	}
	if e.Marked {
		origin := e.Origin.String()
		out.Origin = &origin
	}
	return out
}

// eventQuery reads after, limit, act and subject; the header Last-Event-ID stands
// for after when a stream is taken up again.
func (d *door) eventQuery(c *api.Call) (in network.EventQuery, err error) {
	q := c.R.URL.Query()
	if in.After, err = lastEventID(c.R.Header.Get("Last-Event-ID"), q.Get("after")); err != nil {
		return in, err
	}
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, network.MaxEvents); err != nil {
		return in, err
	}
	if in.Filter, err = d.filter(q["act"], q["subject"]); err != nil {
		return in, err
	}
	return in, nil
}

// filter reads the two lists of a filter.
func (d *door) filter(acts, subjects []string) (f network.EventFilter, err error) {
	f.Acts = acts
	for _, text := range subjects {
		id, err := d.codec.Parse(text)
		if err != nil {
			return f, act.Errorf(act.Invalid, "a subject is not an id of this network").WithRule("event.filter").
				WithHint("subjects are ids as lists and events show them")
		}
		f.Subjects = append(f.Subjects, id)
	}
	return f, nil
}

// lastEventID reads where a reader is: the header wins, because a browser's
// EventSource repeats the URL it began with. "" is the beginning, "now" the end.
func lastEventID(header, after string) (int64, error) {
	if header != "" {
		after = header
	}
	switch after {
	case "":
		return 0, nil
	case "now":
		return network.FromNow, nil
	}
	n, err := strconv.ParseInt(after, 10, 64)
	if err != nil || after[0] < '0' || after[0] > '9' { // no sign
		return 0, act.Errorf(act.Invalid, "after is not a sequence number").WithRule("event.after").
			WithHint(`send the seq of the last event you have, 0 for all, or "now"`)
	}
	return n, nil
}

type eventList struct {
	Items []event `json:"items"`
	Next  *string `json:"next_cursor"` // send it as after; never null, because events go on
}

// GET /events?after&limit&act&subject&wait, and as a stream for who accepts one.
func (d *door) events(ctx context.Context, c *api.Call) error {
	if wantsStream(c.R) {
		return d.stream(ctx, c)
	}
	in, err := d.eventQuery(c)
	if err != nil {
		return err
	}
	wait, err := waitTime(c.R)
	if err != nil {
		return err
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	page, err := d.network.ReadEvents.Do(ctx, c.Principal, in)
	for {
		if err != nil {
			return err
		}
		if page.Reset {
			return act.Errorf(act.Gone, "events after that number are not here").WithRule("event.reset").
				WithHint("go on with after=" + strconv.FormatInt(page.Next, 10) + ", and read anew what you keep a copy of")
		}
		if len(page.Items) > 0 || wait == 0 {
			break
		}
		in.After = page.Next
		changed := d.network.Changed()
		if page, err = d.network.ReadEvents.Again(ctx, c.Principal, in); err != nil || len(page.Items) > 0 || page.More {
			continue
		}
		in.After = page.Next
		if !pause(ctx, c, changed, over.C) {
			wait = 0
		}
	}
	next := strconv.FormatInt(page.Next, 10)
	out := eventList{Items: make([]event, 0, len(page.Items)), Next: &next}
	for _, e := range page.Items {
		out.Items = append(out.Items, d.event(e))
	}
	return d.send(c, http.StatusOK, out)
}

// waitTime reads wait, in seconds.
func waitTime(r *http.Request) (time.Duration, error) {
	n, err := api.Number("wait", r.URL.Query().Get("wait"), 0, int(maxWait/time.Second))
	return time.Duration(n) * time.Second, err
}

// pause waits for a change; false means that the waiting is over.
func pause(ctx context.Context, c *api.Call, changed <-chan struct{}, over <-chan time.Time) bool {
	select {
	case <-changed:
		return true
	case <-over:
	case <-ctx.Done():
	case <-c.Ending():
	}
	return false
}

// GET /events/stream: server-sent events. Standing, policy and what the reader
// may see are checked for every piece, so a stream ends when its agent is paused
// or killed.
func (d *door) stream(ctx context.Context, c *api.Call) error {
	in, err := d.eventQuery(c)
	if err != nil {
		return err
	}
	if c.R.Method == http.MethodHead {
		return act.Errorf(act.Method, "a stream has no head without its body").WithRule("http.method").WithHint("use GET")
	}
	in.Limit = streamPage
	page, err := d.network.ReadEvents.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	if err := c.Begin([]string{sseType}); err != nil {
		return err
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	piece := append(c.Buffer(), ":\n\n"...) // so that the reader knows at once that it is heard
	for {
		if page.Reset {
			piece = append(piece, "event: reset\nid: "...)
			piece = strconv.AppendInt(piece, page.Next, 10)
			piece = append(piece, "\ndata: {\"seq\":"...)
			piece = strconv.AppendInt(piece, page.Next, 10)
			piece = append(piece, "}\n\n"...)
		}
		for _, e := range page.Items {
			if piece, err = appendEvent(piece, d.event(e)); err != nil {
				return err
			}
		}
		if len(piece) > 0 && c.Push(piece) != nil {
			return nil // the reader has gone, or takes nothing: it resumes by seq
		}
		piece = piece[:0]
		in.After = page.Next
		changed := d.network.Changed()
		if page, err = d.network.ReadEvents.Again(ctx, c.Principal, in); err != nil {
			d.endStream(c, err)
			return nil
		}
		if len(page.Items) > 0 || page.More || page.Reset {
			continue
		}
		select {
		case <-changed:
		case <-beat.C:
			piece = append(piece, ":\n\n"...)
		case <-ctx.Done():
			return nil
		case <-c.Ending():
			return nil
		}
	}
}

func appendEvent(dst []byte, e event) ([]byte, error) {
	body, err := encode(e)
	if err != nil {
		return dst, err
	}
	dst = append(dst, "id: "...)
	dst = strconv.AppendInt(dst, e.Seq, 10)
	dst = append(dst, "\ndata: "...)
	dst = append(dst, body...) // ends in a line feed
	return append(dst, '\n'), nil
}

// endStream tells the reader why its stream ends, if that can be told.
func (d *door) endStream(c *api.Call, err error) {
	e := act.AsError(err)
	body, err := encode(struct {
		Code string `json:"code"`
		Rule string `json:"rule,omitempty"`
		Hint string `json:"hint,omitempty"`
	}{e.Code.String(), e.Rule, e.Hint})
	if err == nil {
		_ = c.Push(append(append([]byte("event: end\ndata: "), body...), '\n'))
	}
}
