package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

const maxForm = 4 << 10 // bytes of a form

// who implements api.Door.Who: an operator who is signed in, else a reader of the
// pages where everybody may read them.
func (d *door) who(ctx context.Context, c *api.Call) (act.Principal, error) {
	p, signed, err := d.sessions.Of(ctx, c.R)
	switch {
	case err != nil || signed:
		return p, err
	case d.Public && c.R.Method != http.MethodPost:
		return act.Principal{Kind: act.Observer, Name: act.PageReader}, nil
	}
	return p, act.Errorf(act.Unauthenticated, "these pages are for the network's operators").WithRule("session.missing").
		WithHint("sign in; programs send an operator's token in the header Authorization")
}

// form reads a small form. A value that stands twice is refused: two programs
// could take another one.
func form(c *api.Call) (url.Values, error) {
	media, _, _ := strings.Cut(c.R.Header.Get("Content-Type"), ";")
	values, err := url.ParseQuery(string(c.Body))
	if err != nil || !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded") {
		return nil, act.Errorf(act.Invalid, "the form cannot be read").WithRule("http.form").WithHint("send the form of the page /sign-in")
	}
	for _, v := range values {
		if len(v) > 1 {
			return nil, act.Errorf(act.Invalid, "the form has a field twice").WithRule("http.form").WithHint("send the form of the page /sign-in")
		}
	}
	return values, nil
}

// here returns where to go on, if it is a page of ours: a path and a query, made
// relative so that it stays below the network's own path.
func here(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") ||
		strings.HasPrefix(u.Path, "/sign-") || u.Path == "/step-up" {
		return "./"
	}
	return "." + (&url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: u.Query().Encode()}).RequestURI()
}

func nextOf(c *api.Call) string {
	values, err := form(c)
	if err != nil {
		return ""
	}
	return values.Get("next")
}

func (d *door) signInPage(_ context.Context, c *api.Call) (*page, error) {
	return &page{Page: "sign-in", Title: "Sign in", Next: here(c.R.URL.Query().Get("next"))[1:]}, nil
}

// open opens a session for who has signed in, in place of the one that the browser
// had, and gives the browser its key.
func (d *door) open(ctx context.Context, c *api.Call, in lifecycle.NewSession) error {
	s, err := d.Lifecycle.SignIn(ctx, act.Principal{Source: c.Principal.Source}, in)
	if err != nil {
		return err
	}
	d.setCookie(c, d.sessions.Cookie(), s.Key, d.Identity.SessionLife(), http.SameSiteStrictMode)
	return nil
}

// signingIn reads a form of somebody who signs in, from a page of ours only, and the
// session that the browser has until now, 0 for none.
func (d *door) signingIn(ctx context.Context, c *api.Call) (values url.Values, had act.ID, err error) {
	if err := d.sessions.FromHere(c.R); err != nil {
		return nil, 0, err
	}
	if values, err = form(c); err != nil {
		return nil, 0, err
	}
	p, signed, err := d.sessions.Of(ctx, c.R)
	if err != nil || !signed {
		return values, 0, err
	}
	return values, p.Credential, nil
}

// POST /sign-in. The token is in the body, where no log and no history keeps it,
// and nowhere in the answer.
func (d *door) signIn(ctx context.Context, c *api.Call) error {
	values, had, err := d.signingIn(ctx, c)
	if err != nil {
		return err
	}
	if err := d.open(ctx, c, lifecycle.NewSession{Token: strings.TrimSpace(values.Get("token")), Ends: had}); err != nil {
		return err
	}
	seeOther(c, here(values.Get("next")))
	return nil
}

// POST /sign-out. Somebody who has signed in at the provider is signed in there still.
func (d *door) signOut(ctx context.Context, c *api.Call) error {
	if _, err := d.Lifecycle.CloseSession.Do(ctx, c.Principal, lifecycle.Nothing{}); err != nil {
		return err
	}
	d.setCookie(c, d.sessions.Cookie(), "", -time.Second, http.SameSiteStrictMode)
	if d.Provider != nil {
		if at := d.Provider.Leave(d.URL() + "/sign-in"); at != "" {
			c.Principal = act.Principal{Source: c.Principal.Source} // who draws the page is nobody now
			return d.send(ctx, c, http.StatusOK, &page{Page: "signed-out", Title: "Signed out", form: formHTML, Away: at})
		}
	}
	seeOther(c, "./")
	return nil
}

// setCookie gives the browser a cookie, or takes it away when life is below 0.
func (d *door) setCookie(c *api.Call, name, value string, life time.Duration, site http.SameSite) {
	http.SetCookie(c.W, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(life / time.Second), HttpOnly: true, Secure: d.sessions.Secure(), SameSite: site,
	})
}

func seeOther(c *api.Call, to string) {
	c.W.Header().Set("Location", to)
	c.Send(http.StatusSeeOther, nil, nil)
}
