package native

import (
	"context"
	"net/http"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// Message renders an event for a webhook, in the form of Standard Webhooks 1.0,
// and the message's id.
func Message(codec *act.Codec, webhook act.ID, e network.Event) (id string, body []byte, err error) {
	data := wireEvent(codec, e)
	body, err = encode(struct {
		Type      string `json:"type"`
		Timestamp string `json:"timestamp"`
		Data      event  `json:"data"`
	}{data.Act, data.At, data})
	return "evt_" + codec.String(webhook) + "_" + strconv.FormatInt(e.Seq, 10), body, err
}

type webhook struct {
	ID         string   `json:"id"`
	URL        string   `json:"url"`
	Acts       []string `json:"acts"`
	Subjects   []string `json:"subjects"`
	Seq        int64    `json:"seq"` // all events up to here are delivered
	Failures   int64    `json:"failures"`
	NextAt     *string  `json:"next_at"`
	DisabledAt *string  `json:"disabled_at"`
	Reason     string   `json:"reason,omitempty"`
	CreatedAt  *string  `json:"created_at"`
	Secret     string   `json:"secret,omitempty"` // shown once
}

func (d *door) webhook(w network.Webhook) webhook {
	out := webhook{
		ID: d.codec.String(w.ID), URL: w.URL, Acts: append([]string{}, w.Filter.Acts...), Subjects: []string{}, Seq: w.Seq, Failures: w.Failures,
		NextAt: wireTime(w.NextAt), DisabledAt: wireTime(w.Disabled), Reason: w.Reason, CreatedAt: wireTime(w.CreatedAt), Secret: w.Secret,
	}
	for _, id := range w.Filter.Subjects {
		out.Subjects = append(out.Subjects, d.codec.String(id))
	}
	return out
}

// GET /webhooks
func (d *door) webhooks(ctx context.Context, c *api.Call) error {
	all, err := d.network.ListWebhooks.Do(ctx, c.Principal, network.Nothing{})
	if err != nil {
		return err
	}
	out := list[webhook]{Items: make([]webhook, 0, len(all))}
	for _, w := range all {
		out.Items = append(out.Items, d.webhook(w))
	}
	return d.send(c, http.StatusOK, out)
}

type newWebhook struct {
	URL      string   `json:"url"`
	Acts     []string `json:"acts"`
	Subjects []string `json:"subjects"`
	After    *int64   `json:"after"` // from now on without it
}

func since(after *int64) (int64, error) {
	if after == nil {
		return network.FromNow, nil
	}
	if *after < 0 {
		return 0, act.Errorf(act.Invalid, "after is not a sequence number").WithRule("event.after").WithHint("leave it out, or send 0 for all")
	}
	return *after, nil
}

// POST /webhooks
func (d *door) newWebhook(ctx context.Context, c *api.Call) error {
	var in newWebhook
	if err := c.Decode(&in); err != nil {
		return err
	}
	filter, err := d.filter(in.Acts, in.Subjects)
	if err != nil {
		return err
	}
	after, err := since(in.After)
	if err != nil {
		return err
	}
	w, err := d.network.CreateWebhook.DoOnce(ctx, c.Principal, c.Key, network.NewWebhook{URL: in.URL, Filter: filter, After: after})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.webhook(w))
}

func (d *door) webhookID(c *api.Call) (act.ID, error) {
	id, err := d.codec.ParseKind(c.R.PathValue("webhook"), act.KindWebhook)
	if err != nil {
		return 0, act.Errorf(act.NotFound, "you have no such webhook").WithRule("webhook.id").WithHint("GET /v1/webhooks lists yours")
	}
	return id, nil
}

// gone names what there was.
type gone struct {
	ID string `json:"id"`
}

// DELETE /webhooks/{webhook}
func (d *door) deleteWebhook(ctx context.Context, c *api.Call) error {
	id, err := d.webhookID(c)
	if err != nil {
		return err
	}
	if _, err := d.network.DeleteWebhook.DoOnce(ctx, c.Principal, c.Key, id); err != nil {
		return err
	}
	return d.send(c, http.StatusOK, gone{d.codec.String(id)})
}

// POST /webhooks/{webhook}/rotate
func (d *door) rotateWebhook(ctx context.Context, c *api.Call) error {
	id, err := d.webhookID(c)
	if err != nil {
		return err
	}
	w, err := d.network.RotateWebhook.DoOnce(ctx, c.Principal, c.Key, id)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.webhook(w))
}

type newReplay struct {
	After *int64 `json:"after"` // where it stands without it
}

// POST /webhooks/{webhook}/replay
func (d *door) replayWebhook(ctx context.Context, c *api.Call) error {
	var in newReplay
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	id, err := d.webhookID(c)
	if err != nil {
		return err
	}
	after, err := since(in.After)
	if err != nil {
		return err
	}
	w, err := d.network.ReplayWebhook.DoOnce(ctx, c.Principal, c.Key, network.Replay{Webhook: id, After: after})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.webhook(w))
}

type delivery struct {
	ID      string  `json:"id"`
	Seq     int64   `json:"seq"`
	Attempt int64   `json:"attempt"`
	Status  int64   `json:"status"` // of the answer, 0 without one
	Error   string  `json:"error,omitempty"`
	At      *string `json:"at"`
}

// GET /webhooks/{webhook}/deliveries: the last ones, newest first.
func (d *door) deliveries(ctx context.Context, c *api.Call) error {
	id, err := d.webhookID(c)
	if err != nil {
		return err
	}
	all, err := d.network.ListDeliveries.Do(ctx, c.Principal, id)
	if err != nil {
		return err
	}
	out := list[delivery]{Items: make([]delivery, 0, len(all))}
	for _, a := range all {
		out.Items = append(out.Items, delivery{d.codec.String(a.ID), a.Seq, a.Attempt, a.Status, a.Error, wireTime(a.At)})
	}
	return d.send(c, http.StatusOK, out)
}
