package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

const (
	maxCredential = 512 // bytes; longer ones are not looked at
	authRetry     = 2 * time.Second
)

// authenticate sets the call's principal. The credential stands in the
// Authorization header (RFC 6750 §2.1; the scheme in any case, RFC 9110 §11.1);
// one in a query or body is not seen. Without one a door may know who it is
// (Door.Who).
func (k *Kernel) authenticate(ctx context.Context, c *Call) error {
	c.Principal = act.Principal{Source: k.source(c.R)}
	if c.Route.Anonymous {
		return nil
	}
	sent := c.R.Header["Authorization"]
	if len(sent) == 0 {
		if c.door.Who != nil {
			p, err := c.door.Who(ctx, c)
			return k.admit(ctx, c, p, err)
		}
		if k.Anonymous && c.Route.Act != "" && (c.R.Method == http.MethodGet || c.R.Method == http.MethodHead) {
			return nil
		}
		return k.refuse(ctx, c, "key.missing", "no credential was sent")
	}
	if len(sent) > 1 {
		return k.refuse(ctx, c, "key.malformed", "more than one Authorization header was sent")
	}
	key, ok := bearer(sent[0])
	if !ok {
		return k.refuse(ctx, c, "key.malformed", "the Authorization header holds no bearer credential")
	}
	p, err := k.Auth.Authenticate(ctx, key)
	return k.admit(ctx, c, p, err)
}

// admit takes a principal, or says why its credential is not good.
func (k *Kernel) admit(ctx context.Context, c *Call, p act.Principal, err error) error {
	if err == nil {
		p.Source = c.Principal.Source
		c.Principal = p
		return k.mayEnter(c)
	}
	switch e := act.AsError(err); e.Code {
	case act.Unauthenticated, act.Denied:
		k.Gate.Refuse(ctx, c.Principal, c.Route.Act, e)
		return e
	case act.Unavailable:
		return e
	case act.Internal, act.Invalid, act.NotFound, act.Conflict, act.TooLarge, act.RateLimited, act.Gone, act.Mismatch, act.Method, act.Held:
		// Only a completed check may say that a key is bad.
		k.Log.ErrorContext(ctx, "check a credential", slog.Any("err", err))
		return act.Errorf(act.Unavailable, "your credential cannot be checked at the moment: %w", err).
			WithRule("key.unchecked").WithRetry(authRetry).WithHint("keep your credential and retry")
	}
	return err
}

// mayEnter keeps everybody but operators from routes that call no act, where no
// policy is asked.
func (k *Kernel) mayEnter(c *Call) error {
	if c.Route.Act == "" && c.Principal.Kind != act.Operator {
		return act.Errorf(act.Denied, "this is for operators").WithRule("http.operators").WithHint("use an operator's token")
	}
	return nil
}

func (k *Kernel) refuse(ctx context.Context, c *Call, rule, message string) error {
	e := act.Errorf(act.Unauthenticated, "%s", message).WithRule(rule).
		WithHint(`send your key in the header "Authorization: Bearer <key>"`)
	k.Gate.Refuse(ctx, c.Principal, c.Route.Act, e)
	return e
}

// bearer returns the credential of an Authorization header.
func bearer(value string) (key string, ok bool) {
	scheme, key, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	key = strings.Trim(key, " ")
	return key, len(key) <= maxCredential && visible(key)
}

// visible reports whether s is not empty and all visible ASCII.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// idempotencyKey reads the Idempotency-Key header of a write. The hash covers
// method, path, query and body. Callers without an identity share none: their
// keys are kept apart by source.
func idempotencyKey(c *Call) (gate.Key, error) {
	sent := c.R.Header["Idempotency-Key"]
	if len(sent) == 0 || c.R.Method == http.MethodGet || c.R.Method == http.MethodHead {
		return gate.Key{}, nil
	}
	name := sent[0]
	if len(sent) > 1 || len(name) > gate.MaxKey || !visible(name) {
		return gate.Key{}, act.Errorf(act.Invalid, "the Idempotency-Key is not one value of up to %d visible ASCII characters", gate.MaxKey).
			WithRule("idempotency").WithHint("send a fresh UUID for each new request, the same one when you repeat it")
	}
	if c.Principal.ID == 0 {
		sum := sha256.Sum256([]byte(c.Principal.Source + "\x00" + name))
		name = "anonymous." + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	hash := sha256.New()
	for _, part := range []string{c.R.Method, c.R.URL.Path, c.R.URL.RawQuery} {
		hash.Write([]byte(part))
		hash.Write([]byte{0})
	}
	hash.Write(c.Body)
	key := gate.Key{Name: name}
	hash.Sum(key.Hash[:0])
	return key, nil
}

// late turns a deadline that passed inside an act into what it is.
func late(err error) *act.Error {
	e := act.AsError(err)
	if e.Code == act.Internal && errors.Is(err, context.DeadlineExceeded) {
		return act.Errorf(act.Unavailable, "the act took too long: %w", err).WithRule("http.deadline").WithRetry(fullRetry).
			WithHint("it may still have been done: repeat it with the same Idempotency-Key")
	}
	return e
}
