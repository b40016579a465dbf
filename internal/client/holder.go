package client

import (
	"context"
	"errors"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

const (
	schemeBearer = "Bearer" // of a token that a certificate binds
	schemeDPoP   = "DPoP"

	tokenLeast = 5 * time.Second  // a token that ends sooner is not sent any more
	tokenTries = 15 * time.Second // for one answer of the token endpoint
	refusedFor = time.Second      // for which a refusal of the token endpoint stands for all who ask
)

// Holder acts for an agent with its key: it has an access token at hand and sends every
// request with it. By https the token is bound to a certificate that the holder's
// connections have (RFC 8705); where the network does not see that, and for operators,
// to the key, and each request has a proof of its own (RFC 9449). It is an http.RoundTripper for requests to its network and refuses all others. Safe
// for concurrent use.
type Holder struct {
	me    atomic.Pointer[Member]
	scope string
	file  string // of the key, "" unless Follow was called
	mint  func(ctx context.Context, refused string) (Token, error)
	clock act.Clock
	conn  conn   // without a credential
	thumb string // of the certificate that binds tokens, "" without one

	unseen atomic.Bool // the network does not see that certificate

	life context.Context //nolint:containedctx // of the holder: requests for tokens are nobody's alone
	end  context.CancelFunc
	work sync.WaitGroup // requests for tokens

	mu     sync.Mutex
	held   Token     // the newest token; guarded by mu
	bad    string    // the last token that the network did not take; guarded by mu
	renew  time.Time // when it is time for another one; guarded by mu
	flight *flight   // a request for a token that is under way, nil otherwise; guarded by mu
	nonce  string    // the last one that the network gave; guarded by mu
	failed error     // what the token endpoint said last, unless it gave a token; guarded by mu
	again  time.Time // before which it is not asked again after failed; guarded by mu
}

// flight is one request for a token, whoever waits for it.
type flight struct {
	done  chan struct{} // closed when token and err are there
	token Token
	err   error
}

// Token is an access token. It is good with a proof of its holder's key, or on its
// holder's connections, only.
type Token struct {
	Text    string
	Type    string // DPoP or Bearer
	Scope   string
	Expires time.Time // by the holder's clock
}

// NewHolder returns the holder of a member's key. It asks for what scope says, or for
// all that the key may ask for if it is "". Requests for tokens live no longer than
// ctx; Close ends them.
func NewHolder(ctx context.Context, m Member, scope string, clock act.Clock) (*Holder, error) {
	if err := checkAddress(m.URL); err != nil {
		return nil, err
	}
	c, err := open(m.URL, "")
	if err != nil {
		return nil, err
	}
	// What passes through is passed on as it is; how long an answer may take is up to
	// the request.
	t := c.http.Transport.(*http.Transport).Clone() //nolint:forcetypeassert // open made it
	t.DisableCompression = true
	t.ExpectContinueTimeout = expectFor
	t.ResponseHeaderTimeout = requestTime
	t.MaxResponseHeaderBytes = maxHeader
	c.http.Transport = t
	h := &Holder{scope: scope, clock: clock, conn: c}
	h.me.Store(&m)
	h.mint = h.byKey
	if m.ID != "" && strings.HasPrefix(m.URL, "https:") {
		if err := h.certify(); err != nil {
			return nil, err
		}
	}
	h.life, h.end = context.WithCancel(ctx)
	return h, nil
}

// Close ends what is under way. A request after it fails.
func (h *Holder) Close() {
	h.mu.Lock() // nothing is launched after it
	h.end()
	h.mu.Unlock()
	h.work.Wait()
	h.conn.http.CloseIdleConnections()
}

// Member is whose key the holder has.
func (h *Holder) Member() Member { return *h.me.Load() }

// Follow has the key file read again when the network does not take the key any more:
// it may have been replaced meanwhile. It is called before the first request.
func (h *Holder) Follow(file string) { h.file = file }

// byKey gets a token with the key of an agent.
func (h *Holder) byKey(ctx context.Context, _ string) (Token, error) {
	t, err := h.own(ctx)
	if act.CodeOf(err) == act.Unauthenticated && h.reread() {
		t, err = h.own(ctx)
	}
	return t, err
}

// own gets a token of the agent's own, bound to the certificate of the connections if
// the network sees it.
func (h *Holder) own(ctx context.Context) (Token, error) {
	r := TokenRequest{Scope: h.scope}
	if h.thumb != "" && !h.unseen.Load() {
		t, err := h.certified(ctx, r.form())
		if e, ok := errors.AsType[*act.Error](err); err == nil || !ok || e.Rule != ruleUnbound {
			return t, err
		}
		h.unseen.Store(true)
	}
	return h.Mint(ctx, r)
}

// reread takes another key of the same agent from the file, and reports whether there
// was one.
func (h *Holder) reread() bool {
	if h.file == "" {
		return false
	}
	m, err := ReadMember(h.file)
	old := h.me.Load()
	if err != nil || m.ID != old.ID || m.Issuer != old.Issuer || m.Key.Public().Thumbprint() == old.Key.Public().Thumbprint() {
		return false
	}
	h.me.Store(&m)
	return true
}

// Client is a client of the native API in the agent's name.
func (h *Holder) Client() *Client {
	c := h.conn
	c.http = &http.Client{Timeout: requestTime, Transport: h, CheckRedirect: c.http.CheckRedirect}
	return &Client{conn: c}
}

// Token returns an access token that is good for a while.
func (h *Holder) Token(ctx context.Context) (Token, error) { return h.token(ctx, "") }

// token returns an access token, but not the one that was refused. All who want one
// wait for the same request; while the old one is good, nobody waits.
func (h *Holder) token(ctx context.Context, refused string) (Token, error) {
	now := h.clock()
	h.mu.Lock()
	if h.held.Text != "" && h.held.Text == refused {
		h.held, h.bad = Token{}, refused
	}
	if h.held.Text != "" && now.Add(tokenLeast).Before(h.held.Expires) {
		t := h.held
		if now.After(h.renew) && (h.failed == nil || now.After(h.again)) {
			h.launch()
		}
		h.mu.Unlock()
		return t, nil
	}
	if h.failed != nil && now.Before(h.again) && h.flight == nil {
		err := h.failed
		h.mu.Unlock()
		return Token{}, err
	}
	f := h.launch()
	h.mu.Unlock()
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
}

// launch asks for a token unless somebody does. h.mu is held.
func (h *Holder) launch() *flight {
	if h.flight != nil {
		return h.flight
	}
	f := &flight{done: make(chan struct{})}
	if err := h.life.Err(); err != nil {
		f.err = err
		close(f.done)
		return f
	}
	h.flight = f
	bad := h.bad
	h.work.Go(func() {
		ctx, cancel := context.WithTimeout(h.life, tokenTries)
		defer cancel()
		f.token, f.err = h.mint(ctx, bad)
		now := h.clock()
		h.mu.Lock()
		if h.flight = nil; f.err == nil {
			left := f.token.Expires.Sub(now)
			// Holders that began together do not come back together.
			h.held, h.renew = f.token, now.Add(max(left, 0)*3/5+mathrand.N(max(left, 0)/5+1)) //nolint:gosec // spreading load is no secret
			h.failed = nil
		} else {
			h.failed, h.again = f.err, now.Add(pause(f.err))
		}
		h.mu.Unlock()
		close(f.done)
	})
	return f
}

// pause is for how long a failure stands.
func pause(err error) time.Duration {
	if e, ok := errors.AsType[*act.Error](err); ok && e.RetryAfter > 0 {
		return min(e.RetryAfter, patience)
	}
	return refusedFor
}

// hear keeps the nonce that an answer gives.
func (h *Holder) hear(head http.Header) {
	if n := head.Get("Dpop-Nonce"); n != "" && len(n) <= maxNonce {
		h.mu.Lock()
		h.nonce = n
		h.mu.Unlock()
	}
}

const maxNonce = 512

// prove makes the proof for one request.
func (h *Holder) prove(method, path, access string) (string, error) {
	h.mu.Lock()
	nonce := h.nonce
	h.mu.Unlock()
	m := h.me.Load()
	return m.Key.Prove(token.Prove{Method: method, URL: m.Issuer + path, AccessToken: access, Nonce: nonce, Now: h.clock()})
}

// path returns the path of a request's address under the network's, and fails for an
// address anywhere else: a token is shown to its own network only.
func (h *Holder) path(u *url.URL) (string, error) {
	base, err := url.Parse(h.conn.base)
	if err == nil && u.Scheme == base.Scheme && u.Host == base.Host && u.User == nil {
		if path, ok := strings.CutPrefix(u.EscapedPath(), base.EscapedPath()); ok && strings.HasPrefix(path, "/") {
			return path, nil
		}
	}
	return "", act.Errorf(act.Denied, "the token is for %s and goes nowhere else", h.conn.base).WithRule("token.host").
		WithHint("send requests for other hosts without this credential")
}
