package idp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Begun is a sign-in on its way: what the browser has to bring back.
type Begun struct {
	Next     string // where the browser goes on
	Session  act.ID // the session that the browser has, and loses by it; 0 for none
	Operator act.ID // who has to come back, having proved again who they are; 0 for anybody

	State    string
	Nonce    string
	Verifier string // RFC 7636
	Issuer   string
	At       int64 // Unix microseconds
}

// maxCookie bounds a cookie's value: with its name and attributes browsers keep 4096
// bytes (RFC 6265 §6.1).
const maxCookie = 3800

// Begin sends somebody to the provider: to the address, with the cookie in the browser.
// Who has to come back is asked for a password or a passkey, however they are signed
// in there.
func (p *Provider) Begin(ctx context.Context, b Begun) (address, cookie string, err error) {
	k, err := p.discover(ctx)
	if err != nil {
		return "", "", err
	}
	b.State, b.Nonce, b.Verifier = random(), random(), oauth2.GenerateVerifier()
	b.Issuer, b.At = p.Issuer, act.Micros(p.Clock())
	raw, err := json.Marshal(b)
	if err != nil {
		return "", "", err
	}
	cookie = base64.RawURLEncoding.EncodeToString(p.seal.Seal(nil, nil, raw, []byte(p.ClientID)))
	if len(cookie) > maxCookie {
		return "", "", refuse(act.Invalid, "next", "where you want to go has too long an address", "sign in first, then go there")
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(b.Nonce), oauth2.S256ChallengeOption(b.Verifier)}
	if b.Operator != 0 {
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	} else {
		options = append(options, oauth2.SetAuthURLParam("max_age", seconds(p.MaxAge)))
	}
	return p.flow(k).AuthCodeURL(b.State, options...), cookie, nil
}

// open reads what the browser brought back.
func (p *Provider) open(cookie string) (b Begun, err error) {
	lost := refuse(act.Denied, "state", "this browser has not begun a sign-in, or too long ago", beginAgain)
	if cookie == "" || len(cookie) > maxCookie {
		return b, lost
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		return b, lost
	}
	raw, err := p.seal.Open(nil, nil, sealed, []byte(p.ClientID))
	if err != nil || json.Unmarshal(raw, &b) != nil || b.Issuer != p.Issuer {
		return Begun{}, lost
	}
	if age := p.Clock().Sub(act.FromMicros(b.At)); age < -Skew || age > Life {
		return Begun{}, lost
	}
	return b, nil
}

// once names a sign-in without telling its state.
func (b *Begun) once() string {
	sum := sha256.Sum256([]byte(b.State))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (b *Begun) until() time.Time { return act.FromMicros(b.At).Add(Life + Skew) }
