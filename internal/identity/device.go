package identity

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// DeviceLife is how long a human has to type in what the terminal shows.
	DeviceLife = 10 * time.Minute
	// PollEvery is how long a terminal waits between two questions (RFC 8628 §3.5).
	PollEvery = 5 * time.Second

	// userLetters have no vowels, so that codes are no words, and nothing that is
	// mistaken for something else (RFC 8628 §6.1).
	userLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userLength  = 8
	maxUserCode = 32 // characters that are looked at
	pollsMost   = 1 << 14
)

// DeviceCode is what a terminal shows and what it asks with (RFC 8628 §3.2). The
// codes are in it and nowhere else.
type DeviceCode struct {
	Device    string
	User      string
	ExpiresAt int64 // Unix microseconds
}

// DeviceQuery names what a terminal asks for by the code that it shows.
type DeviceQuery struct{ User string }

// DeviceAsk is what a terminal asks a human for.
type DeviceAsk struct {
	Client    string
	Scope     string
	Delegate  string // the agent that will act for the human, too; "" for none
	CreatedAt int64  // Unix microseconds
}

func (c *Consents) registerDevice(g *gate.Gate) {
	// A terminal is a stranger, and its asking costs a row: attempts are counted
	// against the source as those to sign in are.
	c.Start = gate.RegisterWrite(g, gate.Write[NewConsent, DeviceCode]{
		Info: gate.Info{Name: "device.start", Doc: "Ask, from a terminal, for an operator's consent; it shows a code to type in.", On: act.KindNetwork, Quota: gate.QuotaSignIn},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NewConsent) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, c.check(in, false)
		},
		Run: c.start,
	})
	c.Show = gate.RegisterRead(g, gate.Read[DeviceQuery, DeviceAsk]{
		Info: gate.Info{Name: "device.show", Doc: "Show what a terminal asks for, by the code that it shows.", On: act.KindGrant, Quota: gate.QuotaNone},
		Target: func(_ context.Context, _ *store.View, _ act.Principal, _ DeviceQuery) (gate.Resource, error) {
			return consentFacts(0), nil
		},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in DeviceQuery) (DeviceAsk, error) {
			row, err := c.waiting(v, in.User)
			return DeviceAsk{Client: row.client, Scope: row.scope, Delegate: c.Delegate(row.audience), CreatedAt: row.created}, err
		},
	})
	c.Approve = c.registerAnswer(g, "device.approve", "Let the terminal that shows a code act for you, within a scope and for eight hours.", consentGiven)
	c.Deny = c.registerAnswer(g, "device.deny", "Send the terminal that shows a code away.", consentRefused)
}

func (c *Consents) registerAnswer(g *gate.Gate, name, doc string, state int64) *gate.WriteAct[DeviceQuery, act.Ref] {
	return gate.RegisterWrite(g, gate.Write[DeviceQuery, act.Ref]{
		Info: gate.Info{Name: name, Doc: doc, On: act.KindGrant, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in DeviceQuery) (gate.Resource, error) {
			if err := inPerson(p); err != nil {
				return consentFacts(0), err
			}
			row, err := c.waiting(v, in.User)
			return consentFacts(row.id), err
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, in DeviceQuery) (ref act.Ref, fx gate.Effects, err error) {
			row, err := c.waiting(&tx.View, in.User)
			if err != nil {
				return ref, fx, err
			}
			credential, err := lasting(tx, p)
			if err != nil {
				return ref, fx, err
			}
			n, err := tx.Exec(qConsentAnswer, row.id, state, p.ID, credential, tx.Now(), authAt(tx, p), int64(p.Roles), p.PasskeyAt)
			if err == nil && n == 0 {
				err = noDevice() // somebody else was faster
			}
			ref.ID = row.id
			return ref, gate.Effects{Out: ref}, err
		},
	})
}

func (c *Consents) start(_ context.Context, tx *store.Tx, _ act.Principal, in NewConsent) (out DeviceCode, fx gate.Effects, err error) {
	var hash []byte
	out.Device, hash = c.issuer.ids.NewSecret(DeviceSecret)
	out.User = newUserCode()
	out.ExpiresAt = tx.Now() + DeviceLife.Microseconds()
	if fx.Out.ID, err = c.add(tx, in, consent{state: consentAsked, expires: out.ExpiresAt}, hash); err != nil {
		return out, fx, err
	}
	return out, fx, tx.Batch(qConsentAsked, fx.Out.ID, c.userHash(out.User))
}

// newUserCode makes a code like "BCDF-GHJK", of 34 bits.
func newUserCode() string {
	var code strings.Builder
	for n := 0; n < userLength; {
		var b [1]byte
		_, _ = rand.Read(b[:])                                  // never fails (crypto/rand)
		if int(b[0]) >= 256/len(userLetters)*len(userLetters) { // each letter as likely as another
			continue
		}
		if n == userLength/2 {
			code.WriteByte('-')
		}
		code.WriteByte(userLetters[int(b[0])%len(userLetters)])
		n++
	}
	return code.String()
}

// userHash is the form in which a code that a human types is stored, however it was
// typed.
func (c *Consents) userHash(code string) []byte {
	letters := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			r -= 'a' - 'A'
		}
		if r < 'A' || r > 'Z' {
			return -1
		}
		return r
	}, code[:min(len(code), maxUserCode)])
	sum := c.issuer.ids.keys.hash("user code " + letters)
	return sum[:]
}

// waiting finds what waits for a human's answer.
func (c *Consents) waiting(v *store.View, code string) (row consent, err error) {
	found, err := v.One(qConsentUser, func(r *store.Row) error { row = scanConsent(r); return nil }, c.userHash(code))
	if err == nil && (!found || row.state != consentAsked || act.Micros(c.issuer.ids.clock()) >= row.expires) {
		err = noDevice()
	}
	return row, err
}

func noDevice() error {
	return act.Errorf(act.NotFound, "no terminal waits with this code").WithRule("device.unknown").
		WithHint("type the code that the terminal shows; it is good for ten minutes and for one answer")
}

// polled says what a terminal that asks is told, nil when it may have its tokens.
func (c *Consents) polled(row consent) error {
	now := act.Micros(c.issuer.ids.clock())
	switch {
	case row.state == consentSpent:
		return nil // the act finds it spent and ends what it was spent for
	case row.state == consentRefused:
		return act.Errorf(act.Denied, "the operator said no").WithRule("device.denied").WithHint("ask the operator; nothing is wrong with the client")
	case now >= row.expires:
		return act.Errorf(act.Denied, "nobody has answered in time").WithRule("device.expired").WithHint("begin again")
	case c.polls.early(row.id, now):
		return act.Errorf(act.Denied, "the terminal asks too often").WithRule("device.slow").WithRetry(2 * PollEvery).
			WithHint("wait five seconds longer between two questions than before (RFC 8628 §3.5)")
	case row.state == consentAsked:
		return act.Errorf(act.Denied, "the operator has not answered yet").WithRule("device.pending").WithRetry(PollEvery).
			WithHint("show the code, wait, and ask again")
	}
	return nil
}

// polls remembers when terminals last asked, on this node and to slow them down
// only; forgetting some does no harm.
type polls struct {
	mu   sync.Mutex
	last map[act.ID]int64 // guarded by mu
}

func newPolls() *polls { return &polls{last: make(map[act.ID]int64)} }

// early notes a question and reports whether it came too soon after the last.
func (p *polls) early(id act.ID, now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, asked := p.last[id]
	if !asked && len(p.last) >= pollsMost {
		clear(p.last)
	}
	p.last[id] = now
	return asked && now-before < (PollEvery-time.Second).Microseconds() // a second for the way
}
