package idp

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// Finish reads the provider's answer, which is the query of the address that the browser
// came back to, and redeems its code. It fails with Denied or Unauthenticated when the
// answer is not good, and with Unavailable when the provider cannot say. Whether who it
// names has a role here is not its to say: bindings may give one.
func (p *Provider) Finish(ctx context.Context, cookie string, answer url.Values) (who identity.Person, b Begun, err error) {
	if b, err = p.open(cookie); err != nil {
		return who, b, err
	}
	for name, values := range answer {
		if len(values) > 1 {
			return who, b, refuse(act.Denied, "answer", "the answer of the identity provider has "+strconv.Quote(printable(name))+" twice", beginAgain)
		}
	}
	if subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(b.State)) != 1 {
		return who, b, refuse(act.Denied, "state", "this answer belongs to another sign-in", beginAgain)
	}
	k, err := p.discover(ctx)
	if err != nil {
		return who, b, err
	}
	// An answer of another provider must not be taken for this one's (RFC 9207 §2.4).
	if iss := answer.Get("iss"); iss != p.Issuer && (iss != "" || k.Iss) {
		return who, b, refuse(act.Denied, "issuer", "this answer comes from another issuer", "begin again, and tell an operator if it happens again")
	}
	if fault := answer.Get("error"); fault != "" {
		return who, b, refuse(act.Denied, "denied", "the identity provider says no: "+printable(fault), "begin again, or ask who runs it")
	}
	if answer.Get("code") == "" {
		return who, b, refuse(act.Denied, "answer", "the answer of the identity provider has no code", beginAgain)
	}
	claims, err := p.redeem(ctx, k, b, answer.Get("code"))
	if err != nil {
		return who, b, err
	}
	who = identity.Person{Issuer: p.Issuer, Subject: claims.Subject, Name: claims.name(), Once: b.once(), Until: b.until()}
	at, err := p.authenticated(claims, b)
	if err != nil {
		return identity.Person{}, b, err
	}
	if who.Groups, err = p.groups(claims); err != nil {
		return identity.Person{}, b, err
	}
	for _, group := range who.Groups {
		who.Roles |= p.Roles[group]
	}
	who.Team = p.team(claims)
	if !at.IsZero() {
		who.AuthAt = act.Micros(at)
	}
	return who, b, nil
}

// redeem gets the ID token for a code, verifies it, and adds what the provider tells at
// its userinfo endpoint when the claim that matters is not in it.
func (p *Provider) redeem(ctx context.Context, k *known, b Begun, code string) (c claims, err error) {
	ctx = oidc.ClientContext(ctx, p.client)
	got, err := p.flow(k).Exchange(ctx, code, oauth2.VerifierOption(b.Verifier))
	if err != nil {
		if said, ok := errors.AsType[*oauth2.RetrieveError](err); ok && said.Response != nil && said.Response.StatusCode < 500 {
			return c, refuse(act.Denied, "code", "the identity provider does not take its code back: "+printable(said.ErrorCode), beginAgain)
		}
		return c, down(err)
	}
	bad := func(why string) error {
		return refuse(act.Denied, "token", "the ID token is not good: "+why, "begin again, and tell an operator if it happens again")
	}
	raw, _ := got.Extra("id_token").(string)
	if raw == "" {
		return c, bad("there is none")
	}
	keys := &signatures{KeySet: k.keys}
	token, err := oidc.NewVerifier(p.Issuer, keys, &oidc.Config{
		ClientID: p.ClientID, SupportedSigningAlgs: algorithms, Now: p.Clock,
	}).Verify(ctx, raw)
	switch {
	case keys.missing != nil:
		return c, down(keys.missing)
	case err != nil:
		return c, bad(printable(err.Error()))
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(b.Nonce)) != 1 {
		return c, refuse(act.Denied, "nonce", "the ID token belongs to another sign-in", beginAgain)
	}
	if age := p.Clock().Sub(token.IssuedAt); age > Life+Skew || age < -Skew {
		return c, bad("it was issued at another time")
	}
	if token.AccessTokenHash != "" {
		if err := token.VerifyAccessToken(got.AccessToken); err != nil {
			return c, bad("its access token is another")
		}
	}
	if err := token.Claims(&c.raw); err != nil {
		return c, bad("its claims cannot be read")
	}
	// Several audiences are one too many unless it was made for us (Core §3.1.3.7).
	if azp := c.text("azp"); azp != p.ClientID && (azp != "" || len(token.Audience) > 1) {
		return c, bad("it was made for another client")
	}
	c.Subject = token.Subject
	if c.Subject == "" || len(c.Subject) > 255 {
		return c, bad("it names nobody")
	}
	if (c.value(p.Claim) == nil || p.Team != "" && c.value(p.Team) == nil) && k.oidc.UserInfoEndpoint() != "" {
		return c, p.more(ctx, k, got, &c)
	}
	return c, nil
}

// more adds the claims of the userinfo endpoint, if they are of the same person (Core
// §5.3.2). What the ID token says is not changed by them.
func (p *Provider) more(ctx context.Context, k *known, got *oauth2.Token, c *claims) error {
	info, err := k.oidc.UserInfo(ctx, oauth2.StaticTokenSource(got))
	if err != nil {
		return down(err)
	}
	told := make(map[string]json.RawMessage)
	if info.Subject != c.Subject || info.Claims(&told) != nil {
		return refuse(act.Denied, "token", "the identity provider tells of somebody else", "begin again, and tell an operator if it happens again")
	}
	for name, value := range told {
		if _, there := c.raw[name]; !there {
			c.raw[name] = value
		}
	}
	return nil
}

// authenticated is when the human proved who they are. Who has to come back has just
// done so.
func (p *Provider) authenticated(c claims, b Begun) (at time.Time, err error) {
	var stated float64
	if raw, there := c.raw["auth_time"]; there && json.Unmarshal(raw, &stated) == nil && stated > 0 {
		at = time.Unix(int64(stated), 0)
	}
	now := p.Clock()
	switch {
	case b.Operator != 0 && at.Before(act.FromMicros(b.At).Add(-Skew)):
		return at, refuse(act.Denied, "stale", "the identity provider has not asked again who you are", "it has to honour prompt=login and to tell auth_time; tell who runs it")
	case !at.IsZero() && now.Sub(at) > p.MaxAge+Skew:
		return at, refuse(act.Denied, "stale", "you have signed in at the identity provider too long ago", "sign out there and begin again")
	case at.After(now.Add(Skew)):
		return at, refuse(act.Denied, "stale", "the identity provider's clock is ahead", "tell who runs it")
	}
	return at, nil
}

// claims are what the provider says of somebody.
type claims struct {
	Subject string
	raw     map[string]json.RawMessage
}

// value finds a claim: by its whole name, else step by step at the dots.
func (c *claims) value(name string) json.RawMessage {
	if v, ok := c.raw[name]; ok {
		return v
	}
	at := c.raw
	for {
		first, rest, more := strings.Cut(name, ".")
		v, ok := at[first]
		if !ok || !more {
			return v
		}
		at = nil
		if json.Unmarshal(v, &at) != nil {
			return nil
		}
		name = rest
	}
}

func (c *claims) text(name string) string {
	var s string
	if json.Unmarshal(c.raw[name], &s) != nil {
		return ""
	}
	return s
}

// verified reports whether the provider stands for the mail address. One that anybody
// could have typed there is nobody's.
func (c *claims) verified() bool {
	var yes bool
	return json.Unmarshal(c.raw["email_verified"], &yes) == nil && yes
}

// name is how somebody is shown.
func (c *claims) name() string {
	if mail := c.text("email"); mail != "" && c.verified() {
		return mail
	}
	if name := c.text("preferred_username"); name != "" {
		return name
	}
	return c.text("name")
}

// groups are the claim's values.
func (p *Provider) groups(c claims) (values []string, err error) {
	if p.Claim == "email" && !c.verified() {
		return nil, refuse(act.Denied, "mail", "the identity provider has not verified your mail address", "have it verified there")
	}
	raw := c.value(p.Claim)
	var one string
	if json.Unmarshal(raw, &values) != nil && json.Unmarshal(raw, &one) == nil {
		values = []string{one}
	}
	return values, nil
}

// team is the team that the provider says somebody works in: "" where it says none, nil where
// it does not speak of it. A list has one at most: who works in two works in neither more.
func (p *Provider) team(c claims) *string {
	raw := c.value(p.Team)
	if p.Team == "" || raw == nil {
		return nil
	}
	var one string
	var list []string
	switch {
	case json.Unmarshal(raw, &one) == nil:
	case json.Unmarshal(raw, &list) == nil && len(list) < 2:
		one = strings.Join(list, "")
	default:
		return nil
	}
	return &one
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
