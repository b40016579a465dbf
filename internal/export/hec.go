package export

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	hecBytes   = 900_000 // of one request, before compression
	hecAckWait = 30 * time.Second
	hecAckPoll = 250 * time.Millisecond
)

// hec sends events to Splunk's HTTP Event Collector. Its URL's query may say:
//
//	index=NAME       the index of all events; the token's own without it
//	index.3002=NAME  that of one class
//	sourcetype=NAME  ocsf:json if it says nothing
//	ack=1            events are taken when they are indexed, not when they have arrived
type hec struct {
	name       string // of the sink
	send, ack  string // URLs; ack is "" when receipt is enough
	token      string
	channel    string // under which acknowledgements are asked for
	sourcetype string
	index      string
	byClass    map[int64]string
	client     *http.Client
}

func newHEC(u *url.URL, token string) (*hec, error) {
	if token == "" {
		return nil, refused("hec: wants ocsf-key-file, a file with the token")
	}
	q := u.Query()
	h := &hec{token: token, sourcetype: "ocsf:json", byClass: map[int64]string{}, client: client()}
	acks := false
	for key := range q {
		value := q.Get(key)
		class, err := strconv.ParseInt(trimmed(key, "index."), 10, 64)
		switch {
		case key == "index":
			h.index = value
		case key == "sourcetype":
			h.sourcetype = value
		case key == "ack":
			acks = value == "1"
		case err == nil && classNames[class] != "":
			h.byClass[class] = value
		default:
			return nil, refused("hec: has no option %q; there are index, index.CLASS, sourcetype and ack", key)
		}
	}
	base := *u
	base.RawQuery = ""
	if base.Path == "" || base.Path == "/" {
		base.Path = "/services/collector"
	}
	h.name = "hec:" + base.String()
	h.send = base.JoinPath("event").String()
	if acks {
		h.channel = channel()
		h.ack = base.JoinPath("ack").String() + "?channel=" + h.channel
	}
	return h, nil
}

func trimmed(s, prefix string) string {
	if len(s) > len(prefix) && s[:len(prefix)] == prefix {
		return s[len(prefix):]
	}
	return ""
}

// channel makes the name of a channel: a UUID (RFC 9562 §5.4).
func channel() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (h *hec) Name() string { return h.name }

func (h *hec) Close() error {
	h.client.CloseIdleConnections()
	return nil
}

// packed is one event as the collector wants it.
type packed struct {
	Time       json.Number     `json:"time"` // seconds
	Source     string          `json:"source"`
	Sourcetype string          `json:"sourcetype"`
	Index      string          `json:"index,omitempty"`
	Event      json.RawMessage `json:"event"`
}

func (h *hec) Take(ctx context.Context, events []Event) error {
	var body bytes.Buffer
	for i, e := range events {
		p := packed{
			Time: json.Number(fmt.Sprintf("%d.%06d", e.At/1e6, e.At%1e6)), Source: "reefwarden", Sourcetype: h.sourcetype, Index: h.index, Event: e.Line,
		}
		if index := h.byClass[e.Class]; index != "" {
			p.Index = index
		}
		line, err := json.Marshal(p)
		if err != nil {
			return err
		}
		body.Write(line)
		body.WriteByte('\n')
		if i == len(events)-1 || body.Len()+2*len(line) > hecBytes {
			if err := h.post(ctx, body.Bytes()); err != nil {
				return err
			}
			body.Reset()
		}
	}
	return nil
}

func (h *hec) post(ctx context.Context, body []byte) error {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(body) // a buffer takes everything
	_ = z.Close()
	req, err := h.request(ctx, h.send, packed.Bytes())
	if err != nil {
		return err
	}
	req.Header.Set("Content-Encoding", "gzip")
	raw, err := answered(h.client, req)
	if err != nil {
		return err
	}
	var said struct {
		Code  int64  `json:"code"`
		AckID *int64 `json:"ackId"`
	}
	if err := json.Unmarshal(raw, &said); err != nil || said.Code != 0 {
		return fmt.Errorf("the event collector answers code %d", said.Code)
	}
	switch {
	case h.ack == "":
		return nil
	case said.AckID == nil:
		return refused("the event collector gives no acknowledgements: enable them for the token, or leave ack=1 out")
	}
	return h.acknowledged(ctx, *said.AckID)
}

// acknowledged returns when what was sent is indexed.
func (h *hec) acknowledged(ctx context.Context, id int64) error {
	ctx, cancel := context.WithTimeout(ctx, hecAckWait)
	defer cancel()
	tick := time.NewTicker(hecAckPoll)
	defer tick.Stop()
	for {
		req, err := h.request(ctx, h.ack, fmt.Appendf(nil, `{"acks":[%d]}`, id))
		if err != nil {
			return err
		}
		raw, err := answered(h.client, req)
		if err != nil {
			return err
		}
		var said struct {
			Acks map[string]bool `json:"acks"`
		}
		if err := json.Unmarshal(raw, &said); err != nil {
			return fmt.Errorf("the event collector's acknowledgement: %w", err)
		}
		if said.Acks[strconv.FormatInt(id, 10)] {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the event collector has not indexed what it has taken: %w", ctx.Err())
		}
	}
}

func (h *hec) request(ctx context.Context, to string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Splunk "+h.token)
	req.Header.Set("Content-Type", "application/json")
	if h.channel != "" {
		req.Header.Set("X-Splunk-Request-Channel", h.channel)
	}
	return req, nil
}
