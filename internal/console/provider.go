package console

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
	"github.com/reefwarden/reefwarden/internal/identity/idp"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// callback is where the identity provider sends the browser back to.
const callback = "/sign-in/callback"

// Callback is the address that the network is registered with at its identity
// provider, below the network's public URL.
const Callback = callback

func (d *door) providerRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodPost, Path: "/sign-in/provider", Act: "session.open", Anonymous: true, MaxBody: maxForm, Handle: d.sendOff},
		{Method: http.MethodGet, Path: callback, Act: "session.open", Also: []string{"session.lapse"}, Anonymous: true, Handle: d.receive},
	}
}

// signInCookie is the name of the cookie of a sign-in that is at the provider. It comes
// along from the provider's pages, which a session's cookie does not.
func (d *door) signInCookie() string {
	if d.sessions.Secure() {
		return "__Host-" + d.SignIn
	}
	return d.SignIn
}

// POST /sign-in/provider. Only our own form sends anybody off, so that nobody is made
// to sign in by another site.
func (d *door) sendOff(ctx context.Context, c *api.Call) error {
	values, had, err := d.signingIn(ctx, c)
	if err != nil {
		return err
	}
	return d.sendTo(ctx, c, idp.Begun{Next: here(values.Get("next"))[1:], Session: had})
}

// sendTo sends the browser to the provider: by a page of ours and not by a redirect,
// because a form of ours leads nowhere else (form-action).
func (d *door) sendTo(ctx context.Context, c *api.Call, b idp.Begun) error {
	if d.Provider == nil {
		return act.Errorf(act.NotFound, "this network has no identity provider").WithRule("sign-in.none").WithHint("sign in with the operator's token")
	}
	stranger := act.Principal{Source: c.Principal.Source}
	if err := d.Kernel.Gate.Knock(ctx, stranger, "session.open", gate.QuotaTry); err != nil {
		return err
	}
	address, cookie, err := d.Provider.Begin(ctx, b)
	if err != nil {
		return err
	}
	d.setCookie(c, d.signInCookie(), cookie, idp.Life, http.SameSiteLaxMode)
	return d.send(ctx, c, http.StatusOK, &page{Page: "onward", Title: "To " + d.Provider.Host(), form: formHTML, Onward: address})
}

// lapse ends what somebody has open here who has no role any more, and returns why they are
// refused.
func (d *door) lapse(ctx context.Context, c *api.Call, who identity.Person, why error) error {
	if act.AsError(why).Rule != identity.RuleRole {
		return why
	}
	_, err := d.Lifecycle.LapseSession.Do(ctx, act.Principal{Source: c.Principal.Source}, who)
	if code := act.CodeOf(err); code == act.Unavailable || code == act.Internal {
		return err // they are still in: the next try ends it
	}
	return why
}

// GET /sign-in/callback. It comes from the provider's page, so the session's cookie,
// which is Strict, would not come along if this were a redirect to where the human
// goes on: our own page leads there.
func (d *door) receive(ctx context.Context, c *api.Call) error {
	if err := d.Kernel.Gate.Knock(ctx, c.Principal, "session.open", gate.QuotaTry); err != nil {
		return err
	}
	cookie := ""
	if sent := c.R.CookiesNamed(d.signInCookie()); len(sent) == 1 {
		cookie = sent[0].Value
	}
	query, err := url.ParseQuery(c.R.URL.RawQuery)
	if err != nil {
		return act.Errorf(act.Invalid, "the answer of the identity provider cannot be read").WithRule("sign-in.answer").WithHint("begin again")
	}
	who, begun, err := d.Provider.Finish(ctx, cookie, query)
	if err != nil {
		if code := act.CodeOf(err); code == act.Denied || code == act.Unauthenticated {
			d.Kernel.Gate.Refuse(ctx, c.Principal, "session.open", err)
		}
		return err
	}
	if err := d.open(ctx, c, lifecycle.NewSession{Person: &who, Ends: begun.Session, Again: begun.Operator}); err != nil {
		return d.lapse(ctx, c, who, err)
	}
	d.setCookie(c, d.signInCookie(), "", -time.Second, http.SameSiteLaxMode)
	return d.send(ctx, c, http.StatusOK, &page{
		Page: "onward", Title: "Signed in", form: formHTML, Onward: "./" + strings.TrimPrefix(here(begun.Next), "./"), onHere: true,
	})
}
