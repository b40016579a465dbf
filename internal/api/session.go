package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// Sessions knows the operators who are signed in with a browser. The doors whose
// pages ask for them share it; one of them signs people in.
type Sessions struct {
	Identity *identity.Service
	Name     string        // of the cookie, see Keys.SessionCookie
	URL      func() string // public URL of this network
}

// Secure reports whether the network is reached by https.
func (s *Sessions) Secure() bool { return strings.HasPrefix(s.URL(), "https://") }

// Cookie is the name of a session's cookie. Under https its prefix makes browsers
// refuse one that another host of the domain, or plain http, has set.
func (s *Sessions) Cookie() string {
	if s.Secure() {
		return "__Host-" + s.Name
	}
	return s.Name
}

// Of returns the operator who is signed in. signed is false when nobody is. It fails
// with Denied when a write was not sent from one of our pages.
func (s *Sessions) Of(ctx context.Context, r *http.Request) (p act.Principal, signed bool, err error) {
	for _, cookie := range r.CookiesNamed(s.Cookie()) {
		p, err = s.Identity.Session(ctx, cookie.Value)
		switch act.CodeOf(err) { //nolint:exhaustive // only a completed check says that nobody is signed in
		case act.None:
			// Whatever is done by a cookie was asked for by a page of ours: every door
			// that knows people by theirs finds that out here.
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				if err := s.FromHere(r); err != nil {
					return act.Principal{}, false, err
				}
			}
			return p, true, nil
		case act.Unauthenticated:
		default:
			return p, false, err
		}
	}
	return act.Principal{}, false, nil
}

// FromHere refuses forms that another site has sent (T56). A browser says where a
// form comes from, and no page can make it say something else.
func (s *Sessions) FromHere(r *http.Request) error {
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	u, err := url.Parse(origin)
	own, _ := url.Parse(s.URL())
	same := err == nil && origin != "" && (u.Host == r.Host || own != nil && u.Host == own.Host)
	if !same || site != "" && site != "same-origin" {
		return act.Errorf(act.Denied, "the form was not sent from one of these pages").WithRule("session.origin").
			WithHint("open the page in a browser tab of its own and send its form again")
	}
	return nil
}
