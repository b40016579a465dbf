package console

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

const (
	claimPath = "/claim"
	// claimLife is how long a browser remembers an agent that its human was sent to
	// claim: long enough to sign in.
	claimLife = 30 * time.Minute
)

// claimView is an agent that waits for its human.
type claimView struct {
	ID, Name, Standing string
	Said               string
	Registered         time.Time
	Owner              string // who answers for it already; "" for nobody
	Wanted             string // whom its invite names; "" for nobody
	Mine               bool   // a claim that names nobody is for the reader
	Waits              bool   // it can be claimed
}

// secretPath reports whether a call's path holds a claim token: nothing that the page
// says, and nothing that the browser says of it, may have that path.
func secretPath(c *api.Call) bool { return strings.HasPrefix(c.R.URL.Path, claimPath+"/") }

// claimCookie is the name of the cookie that holds a claim token until its human has
// signed in.
func (d *door) claimCookie() string {
	if d.sessions.Secure() {
		return "__Host-" + d.Claim
	}
	return d.Claim
}

// GET /claim/{token} is the link that an agent sends to its human. The token goes from
// the address into a cookie, which no page, log or history shows, and the page goes on by
// itself: a redirect of a link in a mail would not bring the session's cookie along.
func (d *door) takeClaim(ctx context.Context, c *api.Call) error {
	token := c.R.PathValue("token")
	if _, ok := d.Identity.HashSecret(identity.ClaimToken, token); ok {
		d.setCookie(c, d.claimCookie(), token, claimLife, http.SameSiteStrictMode)
	}
	return d.send(ctx, c, http.StatusOK, &page{Page: "onward", Title: "Your agent", Onward: "." + claimPath, onHere: true, form: formHTML})
}

// claiming is the claim token that the browser remembers, "" for none.
func (d *door) claiming(c *api.Call) string {
	if sent := c.R.CookiesNamed(d.claimCookie()); len(sent) == 1 {
		return sent[0].Value
	}
	return ""
}

// GET /claim shows who is signed in the agent that waits for them.
func (d *door) claimPage(ctx context.Context, c *api.Call) (*page, error) {
	p := &page{Page: "claim", Title: "Claim an agent", alone: true}
	w, err := d.Lifecycle.ShowClaim.Do(ctx, c.Principal, d.claiming(c))
	if act.CodeOf(err) == act.NotFound {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.Claim = &claimView{
		ID: d.codec.String(w.ID), Name: w.Name, Standing: w.Standing.String(), Said: w.Said, Registered: moment(w.CreatedAt),
		Owner: w.OwnerName, Wanted: w.Wanted, Mine: w.Mine, Waits: w.Owner == 0 && !w.Standing.Final(),
	}
	p.Title = "Claim " + w.Name
	return p, nil
}

// POST /claim. The agent is the one that the page has shown, whatever link was opened
// since.
func (d *door) claim(ctx context.Context, c *api.Call) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	token := d.claiming(c)
	w, err := d.Lifecycle.ShowClaim.Do(ctx, c.Principal, token)
	if err != nil {
		return err
	}
	if values.Get("agent") != d.codec.String(w.ID) {
		return act.Errorf(act.Conflict, "another agent's claim link was opened meanwhile").WithRule("claim.other").
			WithHint("open the link of the agent that you want to claim again")
	}
	owner := strings.TrimSpace(values.Get("owner"))
	a, err := d.Lifecycle.Claim.Do(ctx, c.Principal, lifecycle.NewClaim{ClaimToken: token, Owner: owner})
	if err != nil {
		return err
	}
	d.setCookie(c, d.claimCookie(), "", -time.Second, http.SameSiteStrictMode)
	if owner == "" && w.Mine {
		seeOther(c, "./mine#a-"+d.codec.String(a.ID))
		return nil
	}
	seeOther(c, "./u/"+pathName(a.Name))
	return nil
}
