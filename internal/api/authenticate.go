package api

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
)

const (
	maxCredential = 8 << 10 // bytes; longer ones are not looked at
	authRetry     = 2 * time.Second

	schemeBearer = "Bearer"
	schemeDPoP   = "DPoP"
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
	shown := identity.Presented{Method: c.R.Method, Cert: k.Certificate(c.R)}
	var ok bool
	if shown.Scheme, shown.Credential, ok = credential(sent[0]); !ok {
		return k.refuse(ctx, c, "key.malformed", "the Authorization header holds no credential")
	}
	if c.proves = shown.Scheme == schemeDPoP; c.proves {
		switch proofs := c.R.Header["Dpop"]; len(proofs) {
		case 0:
		case 1:
			shown.Proof = proofs[0]
		default:
			return k.refuse(ctx, c, "dpop.twice", "more than one DPoP header was sent")
		}
		// The address is that under the public URL, whatever the Host header says.
		shown.URL = k.URL() + c.R.URL.EscapedPath()
		k.offerNonce(c)
	}
	p, err := k.Auth.Present(ctx, shown)
	return k.admit(ctx, c, p, err)
}

// Certificate returns the client certificate of a request's connection, whose key
// the handshake has shown; nil without one. That of a trusted proxy says who the proxy
// is, and nothing of its callers: a token bound to it would be good for all of them.
func (k *Kernel) Certificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || k.trusted(at.Addr().Unmap().WithZone("")) {
		return nil
	}
	return r.TLS.PeerCertificates[0]
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
	if c.Route.Act == "" && !c.Route.Self && c.Principal.Kind != act.Operator {
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

// credential splits an Authorization header. The scheme comes back as it is
// registered, however it was written.
func credential(value string) (scheme, text string, ok bool) {
	scheme, text, ok = strings.Cut(value, " ")
	switch {
	case !ok:
		return "", "", false
	case strings.EqualFold(scheme, schemeBearer):
		scheme = schemeBearer
	case strings.EqualFold(scheme, schemeDPoP):
		scheme = schemeDPoP
	default:
		return "", "", false
	}
	text = strings.Trim(text, " ")
	return scheme, text, len(text) <= maxCredential && visible(text)
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

// contextHeader is in which an agent says, with a write, what went into it.
const contextHeader = "Reef-Context"

// stated reads what the caller says went into its act: ids with commas between.
func (k *Kernel) stated(c *Call) (things []act.ID, err error) {
	for _, line := range c.R.Header[contextHeader] {
		for text := range strings.SplitSeq(line, ",") {
			if len(things) == gate.MaxContext {
				return nil, act.Errorf(act.TooLarge, "%s names more than %d things", contextHeader, gate.MaxContext).WithRule("context.size").
					WithHint("name what was in the context when you acted, each once")
			}
			id, err := k.Codec.Parse(strings.TrimSpace(text))
			if err != nil {
				return nil, act.Errorf(act.Invalid, "%s holds %.60q, which is no id", contextHeader, text).WithRule("context.id").
					WithHint("send ids as they were shown to you, with commas between")
			}
			things = append(things, id)
		}
	}
	return things, nil
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
