package oauth

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
)

func (d *door) deviceRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: post, Path: pathDeviceStart, Act: "device.start", Anonymous: true, MaxBody: maxForm, Handle: d.startDevice},
		{Method: get, Path: pathDevice, Act: "device.show", Query: []string{"user_code"}, Handle: d.showDevice},
		{Method: post, Path: pathDevice, Act: "device.approve", Also: []string{"device.deny"}, MaxBody: maxForm, Handle: d.answerDevice},
	}
}

// started is what a terminal gets (RFC 8628 §3.2).
type started struct {
	Device   string `json:"device_code"`
	User     string `json:"user_code"`
	At       string `json:"verification_uri"`
	Complete string `json:"verification_uri_complete"`
	Expires  int64  `json:"expires_in"` // seconds
	Interval int64  `json:"interval"`   // seconds
}

// POST /oauth/device_authorization
func (d *door) startDevice(ctx context.Context, c *api.Call) error {
	f, err := form(c)
	if err != nil {
		return err
	}
	if _, err := clientOf(c, f); err != nil {
		return err
	}
	out, err := d.Consents.Start.Do(ctx, c.Principal, identity.NewConsent{
		Client: f.Get("client_id"), Scope: f.Get("scope"), Audience: append(f["resource"], f["audience"]...),
	})
	if err != nil {
		return err
	}
	at := d.URL() + pathDevice
	return d.send(c, started{
		Device: out.Device, User: out.User, At: at, Complete: at + "?user_code=" + url.QueryEscape(out.User),
		Expires: int64(act.FromMicros(out.ExpiresAt).Sub(d.Kernel.Clock()) / time.Second), Interval: int64(identity.PollEvery / time.Second),
	})
}

// GET /oauth/device
func (d *door) showDevice(ctx context.Context, c *api.Call) error {
	f, err := parse(c.R.URL.RawQuery)
	if err != nil {
		return err
	}
	code := f.Get("user_code")
	v := view{Page: "code", Title: "Let a terminal act for you", Who: c.Principal.Name}
	if code == "" {
		return d.show(c, http.StatusOK, v)
	}
	if err := d.guess(ctx, c); err != nil {
		return err
	}
	ask, err := d.Consents.Show.Do(ctx, c.Principal, identity.DeviceQuery{User: code})
	switch {
	case act.CodeOf(err) == act.NotFound:
		v.Error = act.AsError(err)
		return d.show(c, http.StatusNotFound, v)
	case err != nil:
		return err
	}
	v.Page, v.Client, v.Words, v.Delegate, v.Code = "device", ask.Client, strings.Fields(ask.Scope), ask.Delegate, code
	v.Age = d.Kernel.Clock().Sub(act.FromMicros(ask.CreatedAt)).Truncate(time.Second).String()
	return d.show(c, http.StatusOK, v)
}

// guess counts a code that was typed in against its source, as an attempt to sign in:
// codes are short, and operators are held to no other rate (RFC 8628 §5.1).
func (d *door) guess(ctx context.Context, c *api.Call) error {
	return d.Kernel.Gate.Knock(ctx, act.Principal{Source: c.Principal.Source}, c.Route.Act, gate.QuotaSignIn)
}

// POST /oauth/device
func (d *door) answerDevice(ctx context.Context, c *api.Call) error {
	if err := d.Sessions.FromHere(c.R); err != nil {
		return err
	}
	if err := d.guess(ctx, c); err != nil {
		return err
	}
	f, err := form(c)
	if err != nil {
		return err
	}
	answer, v := d.Consents.Deny, view{Page: "done", Title: "You said no", Who: c.Principal.Name}
	if f.Get("answer") == answerAllow {
		answer, v.Title = d.Consents.Approve, "You said yes"
	}
	if _, err := answer.Do(ctx, c.Principal, identity.DeviceQuery{User: f.Get("user_code")}); err != nil {
		return err
	}
	return d.show(c, http.StatusOK, v)
}
