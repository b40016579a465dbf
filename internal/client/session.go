package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

const (
	// commandLine is the client that every network knows without a secret.
	commandLine = "reef"

	pathDevice   = "/oauth/device_authorization"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code" // RFC 8628 §3.4
	grantRefresh = "refresh_token"
	slower       = 5 * time.Second // RFC 8628 §3.5
	minInterval  = time.Second
	ruleSession  = "session.file"
)

// Device is what a human has to do so that a terminal may act for them (RFC 8628).
type Device struct {
	At       string // where to go
	Complete string // the same, with the code in it
	User     string // the code to type there
	Until    time.Time

	code     string
	interval time.Duration
	holder   *Holder
}

// Login begins to ask a human to let this terminal act for them at the network at
// base, within a scope (all that they may themselves if ""). The session will be bound to a key
// that is made here.
func Login(ctx context.Context, base, scope string, clock act.Clock) (*Device, error) {
	base = strings.TrimRight(base, "/")
	m := Member{URL: base}
	var err error
	if m.Issuer, err = Issuer(ctx, base); err != nil {
		return nil, err
	}
	if m.Key, err = token.NewKey(token.EdDSA); err != nil {
		return nil, err
	}
	h, err := NewHolder(ctx, m, scope, clock)
	if err != nil {
		return nil, err
	}
	var out struct {
		Device   string `json:"device_code"`
		User     string `json:"user_code"`
		At       string `json:"verification_uri"`
		Complete string `json:"verification_uri_complete"`
		Expires  int64  `json:"expires_in"`
		Interval int64  `json:"interval"`
	}
	if scope == "" {
		scope = string(token.ScopeAll) // who is asked has to see for what
	}
	f := url.Values{"scope": {scope}}
	asked := clock()
	if err := h.ask(ctx, pathDevice, f, &out); err != nil {
		h.Close()
		return nil, err
	}
	if out.Device == "" || out.User == "" || !strings.HasPrefix(out.At, m.Issuer+"/") || !strings.HasPrefix(out.Complete, m.Issuer+"/") {
		h.Close()
		return nil, act.Errorf(act.Invalid, "the network sends you somewhere else to say yes").WithRule("issuer.url").WithHint("check the address with an operator")
	}
	return &Device{
		At: out.At, Complete: out.Complete, User: out.User, Until: asked.Add(time.Duration(out.Expires) * time.Second),
		code: out.Device, interval: max(time.Duration(out.Interval)*time.Second, minInterval), holder: h,
	}, nil
}

// Wait waits for the human's answer and keeps the session in a file.
func (d *Device) Wait(ctx context.Context, file string) error {
	defer d.holder.Close()
	for {
		if !wait(ctx, d.interval) {
			return ctx.Err()
		}
		t, refresh, err := d.holder.redeem(ctx, url.Values{"grant_type": {grantDevice}, "device_code": {d.code}})
		var e *act.Error
		switch {
		case err == nil:
			m := d.holder.Member()
			return writeSession(file, m, refresh, t)
		case !errors.As(err, &e):
			return err
		case e.Rule == "device.pending", e.Code == act.Unavailable, e.Code == act.RateLimited:
		case e.Rule == "device.slow":
			d.interval += slower
		default:
			return err
		}
		if !d.holder.clock().Before(d.Until) {
			return act.Errorf(act.Gone, "nobody has said yes in time").WithRule("device.expired").WithHint("run reef login again")
		}
	}
}

// sessionFile is the form of an operator's session on a terminal.
type sessionFile struct {
	URL     string    `json:"url"`
	Issuer  string    `json:"issuer"`
	KeyID   string    `json:"key_id"`
	Key     []byte    `json:"private_key"` // PKCS #8
	Refresh string    `json:"refresh_token"`
	Access  string    `json:"access_token"`
	Scope   string    `json:"scope"`
	Until   time.Time `json:"expires_at"` // of the access token
}

func writeSession(file string, m Member, refresh string, t Token) error {
	der, err := m.Key.PKCS8()
	if err != nil {
		return err
	}
	return writePrivate(file, sessionFile{m.URL, m.Issuer, m.Key.Public().Thumbprint(), der, refresh, t.Text, t.Scope, t.Expires.UTC()})
}

func readSession(file string) (m Member, s sessionFile, err error) {
	raw, err := readPrivate(file, ruleSession, "session file", "run reef login")
	if err != nil {
		return m, s, err
	}
	if json.Unmarshal(raw, &s) == nil {
		m = Member{URL: s.URL, Issuer: s.Issuer}
		m.Key, err = token.ParsePKCS8(s.Key)
	}
	if err != nil || m.URL == "" || m.Issuer == "" || m.Key.Public().Thumbprint() != s.KeyID {
		return Member{}, sessionFile{}, act.Errorf(act.Invalid, "%s is damaged, or no session file", file).WithRule(ruleSession).WithHint("run reef login")
	}
	return m, s, checkAddress(m.URL)
}

// OpenSession returns the holder of a session that Login has made. Commands that run
// at the same time share it: of its refresh token, which is good once, the one that
// has the file's lock makes the next.
func OpenSession(ctx context.Context, file string, clock act.Clock) (*Holder, error) {
	m, _, err := readSession(file)
	if err != nil {
		return nil, err
	}
	h, err := NewHolder(ctx, m, "", clock)
	if err != nil {
		return nil, err
	}
	h.mint = func(ctx context.Context, refused string) (Token, error) {
		unlock, err := lockFile(ctx, file+".lock")
		if err != nil {
			return Token{}, err
		}
		defer unlock()
		m, s, err := readSession(file)
		if err != nil {
			return Token{}, err
		}
		if s.KeyID != h.Member().Key.Public().Thumbprint() {
			return Token{}, act.Errorf(act.Unauthenticated, "another session was begun meanwhile").WithRule(ruleSession).WithHint("run the command again")
		}
		if t := (Token{s.Access, schemeDPoP, s.Scope, s.Until}); t.Text != refused && clock().Add(tokenLeast).Before(t.Expires) {
			return t, nil
		}
		t, refresh, err := h.redeem(ctx, url.Values{"grant_type": {grantRefresh}, "refresh_token": {s.Refresh}})
		if err != nil {
			if e, ok := errors.AsType[*act.Error](err); ok && e.Code == act.Unauthenticated {
				e.Hint = "the session is over: run reef login"
			}
			return Token{}, err
		}
		return t, writeSession(file, m, refresh, t)
	}
	return h, nil
}

// Logout ends a session: its grant at the network, then its file. A session that is
// over there already is no error.
func Logout(ctx context.Context, file string, clock act.Clock) error {
	m, s, err := readSession(file)
	if err != nil {
		return err
	}
	h, err := NewHolder(ctx, m, "", clock)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.Revoke(ctx, s.Refresh); err != nil && act.CodeOf(err) != act.Unauthenticated {
		return err
	}
	return os.Remove(file)
}

// lockFile waits until nobody else has the lock.
func lockFile(ctx context.Context, file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, unwritten(err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // which gives the lock up
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || !wait(ctx, lockEvery) {
			_ = f.Close() // it was not locked
			return nil, act.Errorf(act.Unavailable, "the session is in use: %w", err).WithRule(ruleSession).WithHint("run the command again")
		}
	}
}

const lockEvery = 20 * time.Millisecond
