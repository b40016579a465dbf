package console

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/identity/passkey"
)

// maxCeremony bounds a form with an authenticator's answer: as long as it may be, and
// written with escapes.
const maxCeremony = 2 * passkey.MaxAnswer

// passkeysView is what operators see of their passkeys.
type passkeysView struct {
	List    []passkeyView
	Options string // for the script of the page, JSON; "" where there is nothing to do
	Why     string // there is nothing to do
}

type passkeyView struct {
	ID          string
	Name        string
	Added, Used time.Time // Used is zero when it was not
	Synced      bool
}

// passkeys lists the caller's passkeys, with what a script needs for what comes next.
func (d *door) passkeys(ctx context.Context, c *api.Call, options func(act.Principal, []passkey.Passkey) (string, error)) (*passkeysView, error) {
	have, err := d.Passkeys.List.Do(ctx, c.Principal, passkey.Nothing{})
	if err != nil {
		return nil, err
	}
	v := &passkeysView{}
	for _, one := range have {
		v.List = append(v.List, passkeyView{d.codec.String(one.ID), one.Name, moment(one.CreatedAt), moment(one.UsedAt), one.Synced})
	}
	if v.Options, err = options(c.Principal, have); err != nil {
		e := act.AsError(err)
		v.Why = e.Message + ": " + e.Hint
	}
	return v, nil
}

// POST /passkeys
func (d *door) addPasskey(ctx context.Context, c *api.Call) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	if _, err := d.Passkeys.Add.Do(ctx, c.Principal, passkey.NewPasskey{Name: strings.TrimSpace(values.Get("name")), Answer: []byte(values.Get("answer"))}); err != nil {
		return err
	}
	seeOther(c, "./account")
	return nil
}

// POST /passkeys/remove
func (d *door) removePasskey(ctx context.Context, c *api.Call) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	id, err := d.codec.ParseKind(values.Get("passkey"), act.KindCredential)
	if err != nil {
		return act.Errorf(act.NotFound, "you have no such passkey").WithRule("passkey.unknown").WithHint("load the page /account again")
	}
	if _, err := d.Passkeys.Remove.Do(ctx, c.Principal, passkey.Removal{Passkey: id}); err != nil {
		return err
	}
	seeOther(c, "../account")
	return nil
}

// POST /passkeys/prove. The session gets a new key, as with every way of stepping up.
func (d *door) provePasskey(ctx context.Context, c *api.Call) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	out, err := d.Passkeys.Prove.Do(ctx, c.Principal, passkey.Answer{Answer: []byte(values.Get("answer"))})
	if err != nil {
		return err
	}
	d.setCookie(c, d.sessions.Cookie(), out.Key, act.FromMicros(out.ExpiresAt).Sub(d.Kernel.Clock()), http.SameSiteStrictMode)
	seeOther(c, "."+here(values.Get("next")))
	return nil
}
