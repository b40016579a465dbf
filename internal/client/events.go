package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Event says that an act happened to a thing.
type Event struct {
	Seq     int64     `json:"seq"`
	Act     string    `json:"act"`
	Ref     string    `json:"ref"`
	Kind    string    `json:"kind"`
	Origin  string    `json:"origin"` // "" if the thing has none
	Target  string    `json:"target"`
	Actor   string    `json:"actor"` // "" unless it may be known
	Outcome string    `json:"outcome"`
	At      time.Time `json:"at"`
}

// EventQuery says which events are wanted.
type EventQuery struct {
	After    int64         // the last sequence number that is known
	Acts     []string      // names, or "post.*"; all if empty
	Subjects []string      // ids; all if empty
	Wait     time.Duration // of a poll, for the first event; rounded to seconds
}

func (q EventQuery) values() url.Values {
	v := url.Values{"act": q.Acts, "subject": q.Subjects}
	v.Set("after", strconv.FormatInt(q.After, 10))
	number(v, "wait", int(q.Wait.Round(time.Second)/time.Second))
	return v
}

// PollEvents returns the events after q.After, waiting for one if asked to, and
// the number to ask after next. The error Gone says that the number is none of
// the server's sequence.
func (c *Client) PollEvents(ctx context.Context, q EventQuery) (events []Event, next int64, err error) {
	var out struct {
		Items []Event `json:"items"`
		Next  string  `json:"next_cursor"`
	}
	if err := c.conn.call(ctx, http.MethodGet, "/v1/events", q.values(), nil, &out); err != nil {
		return nil, q.After, err
	}
	next, err = strconv.ParseInt(out.Next, 10, 64)
	return out.Items, next, err
}

// ErrReset says that the sequence number a stream was to go on from is none of
// the server's: what was kept of earlier events must be read anew.
var ErrReset = errors.New("client: the event sequence was reset")

const maxEventLine = 1 << 20

// StreamEvents calls take with each event after q.After, in order, until ctx
// ends, take fails, or the server ends the stream; it returns why. The caller
// goes on by calling it again with the last number it has seen.
func (c *Client) StreamEvents(ctx context.Context, q EventQuery, take func(Event) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.conn.base+"/v1/events/stream?"+q.values().Encode(), nil)
	if err != nil {
		return act.Errorf(act.Invalid, "the request cannot be made: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.conn.token)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("User-Agent", agentName)
	endless := *c.conn.http
	endless.Timeout = 0
	resp, err := endless.Do(req)
	if err != nil {
		return act.Errorf(act.Unavailable, "the server does not answer: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // it is given up
	if resp.StatusCode != http.StatusOK {
		raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxEventLine))
		return failure(resp, raw)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEventLine)
	kind := ""
	for lines.Scan() {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
		switch string(name) {
		case "event":
			kind = string(value)
		case "":
			kind = ""
		case "data":
			if err := takeEvent(kind, value, take); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return act.Errorf(act.Unavailable, "the stream broke off: %w", err)
	}
	return act.Errorf(act.Unavailable, "the server ended the stream")
}

func takeEvent(kind string, data []byte, take func(Event) error) error {
	switch kind {
	case "":
		var e Event
		if err := json.Unmarshal(data, &e); err != nil {
			return act.Errorf(act.Internal, "an event is not what this client expects: %w", err)
		}
		return take(e)
	case "reset":
		return ErrReset
	case "end":
		var why struct {
			Code string `json:"code"`
			Rule string `json:"rule"`
			Hint string `json:"hint"`
		}
		_ = json.Unmarshal(data, &why)
		return act.Errorf(codeNamed(why.Code, http.StatusServiceUnavailable), "the server ended the stream").
			WithRule(why.Rule).WithHint(strings.TrimSpace(why.Hint))
	}
	return nil
}
