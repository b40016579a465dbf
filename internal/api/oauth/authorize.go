package oauth

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/identity"
)

const (
	responseCode  = "code"
	challengeS256 = "S256"
	maxState      = 1 << 10 // characters that are sent back
	answerAllow   = "allow"
)

func (d *door) authorizeRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodGet, Path: pathAuthorize, Anonymous: true, Exempt: "it asks the human who is there", Handle: d.authorize},
		{Method: http.MethodPost, Path: pathAuthorize, Act: "consent.give", MaxBody: maxForm, Handle: d.consent},
	}
}

// request is a request for a code (RFC 6749 §4.1.1).
type request struct {
	identity.NewConsent
	state string
}

// requestOf reads a request for a code. answerable says that the client and its
// address are known, so that the browser can be sent back with the error; without
// that it stays here (RFC 6749 §4.1.2.1).
func (d *door) requestOf(f url.Values) (r request, answerable bool, err error) {
	r = request{
		NewConsent: identity.NewConsent{
			Client: f.Get("client_id"), Redirect: f.Get("redirect_uri"), Challenge: f.Get("code_challenge"), JKT: f.Get("dpop_jkt"),
			Scope: f.Get("scope"), Audience: append(f["resource"], f["audience"]...),
		},
		state: f.Get("state"),
	}
	clients := d.Consents.Clients
	if _, known := clients[r.Client]; !known || !clients.Redirects(r.Client, r.Redirect) {
		return r, false, d.Consents.Check(r.NewConsent)
	}
	switch {
	case len(r.state) > maxState:
		return r, false, badForm("state is too long", "send a short one and keep the rest with the client")
	case f.Has("request") || f.Has("request_uri"):
		return r, true, badForm("request objects are not read here", "send plain parameters")
	case f.Get("response_type") != responseCode:
		return r, true, act.Errorf(act.Invalid, "this response type is not given here").WithRule("response.type").WithHint("send response_type=code")
	case f.Get("response_mode") != "" && f.Get("response_mode") != "query":
		return r, true, badForm("this response mode is not given here", "leave response_mode out")
	case f.Get("code_challenge_method") != challengeS256:
		return r, true, badForm("the code challenge is not one of S256", "send code_challenge_method=S256 (RFC 7636)")
	}
	return r, true, d.Consents.Check(r.NewConsent)
}

// GET /oauth/authorize
func (d *door) authorize(ctx context.Context, c *api.Call) error {
	f, err := parse(c.R.URL.RawQuery)
	if err != nil {
		return err
	}
	r, answerable, err := d.requestOf(f)
	if err != nil {
		return d.turnBack(c, r, answerable, err)
	}
	p, signed, err := d.Sessions.Of(ctx, c.R)
	switch {
	case err != nil:
		return err
	case !signed:
		return d.comeBack(c)
	}
	if stale, err := d.stale(f, p); err != nil || stale {
		if err == nil {
			seeOther(c, "../step-up?next="+url.QueryEscape(hereOf(c)))
		}
		return err
	}
	return d.show(c, http.StatusOK, view{
		Page: "consent", Title: "Let a program act for you", Who: p.Name, Client: r.Client, Host: hostOf(r.Redirect), Words: strings.Fields(r.Scope), Delegate: d.Consents.Delegate(r.Audience), Fields: fields(f), To: r.Redirect,
	})
}

// POST /oauth/authorize
func (d *door) consent(ctx context.Context, c *api.Call) error {
	if err := d.Sessions.FromHere(c.R); err != nil {
		return err
	}
	f, err := form(c)
	if err != nil {
		return err
	}
	r, answerable, err := d.requestOf(f)
	if err != nil {
		return d.turnBack(c, r, answerable, err)
	}
	if f.Get("answer") != answerAllow {
		return d.turnBack(c, r, true, act.Errorf(act.Denied, "the operator said no").WithRule("consent.denied").WithHint("ask the operator"))
	}
	if stale, err := d.stale(f, c.Principal); err != nil || stale {
		if err == nil {
			err = act.Errorf(act.Denied, "the program asks for somebody who has just proved who they are").WithRule("consent.stale").WithHint("begin again from the program")
		}
		return err
	}
	code, err := d.Consents.Give.Do(ctx, c.Principal, r.NewConsent)
	if err != nil {
		return d.turnBack(c, r, answerable, err)
	}
	d.sendBack(c, r, url.Values{"code": {code.Code}})
	return nil
}

// stale reports whether the client wants the human to have proved more recently who
// they are than they have, or by a passkey (max_age and acr_values, OpenID Connect Core
// §3.1.2.1; RFC 9470 §4).
func (d *door) stale(f url.Values, p act.Principal) (bool, error) {
	most, proved := d.Kernel.Fresh, p.AuthAt
	if f.Has("max_age") {
		n, err := strconv.ParseUint(f.Get("max_age"), 10, 31)
		if err != nil {
			return false, badForm("max_age is no number of seconds", "send a whole number, or leave it out")
		}
		most = max(time.Duration(n)*time.Second, wayBack)
	}
	passkey := slices.Contains(strings.Fields(f.Get("acr_values")), api.ByPasskey)
	if passkey {
		proved = p.PasskeyAt
	}
	if !passkey && !f.Has("max_age") {
		return false, nil
	}
	return proved == 0 || d.Kernel.Clock().Sub(act.FromMicros(proved)) > most, nil
}

// wayBack is how long a human may take from proving who they are to the page that
// wanted it.
const wayBack = 30 * time.Second

// turnBack sends the browser back to the client with an error, if there is a known
// address to send it to.
func (d *door) turnBack(c *api.Call, r request, answerable bool, err error) error {
	if !answerable {
		return err
	}
	e := act.AsError(err)
	d.sendBack(c, r, url.Values{"error": {codeOf(e)}, "error_description": {plain(e.Message)}})
	return nil
}

// sendBack sends the browser back to the client. iss tells it by whom, so that
// nobody can pass one server's answer off as another's (RFC 9207).
func (d *door) sendBack(c *api.Call, r request, answer url.Values) {
	if r.state != "" {
		answer.Set("state", r.state)
	}
	answer.Set("iss", d.URL())
	join := "?"
	if strings.Contains(r.Redirect, "?") {
		join = "&"
	}
	seeOther(c, r.Redirect+join+answer.Encode())
}

func seeOther(c *api.Call, to string) {
	c.W.Header().Set("Location", to)
	c.Send(http.StatusSeeOther, nil, nil)
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// field is a parameter that a form carries on.
type field struct{ Name, Value string }

func fields(f url.Values) (list []field) {
	for _, name := range []string{
		"client_id", "redirect_uri", "response_type", "response_mode", "code_challenge", "code_challenge_method", "scope", "state", "dpop_jkt", "resource", "audience", "max_age", "acr_values",
	} {
		for _, v := range f[name] {
			list = append(list, field{name, v})
		}
	}
	return list
}
