package egress

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

// The bounds of a proxy.
const (
	DefaultRequests = 256      // at a time
	MaxRequestBody  = 16 << 20 // bytes

	maxRequestHeader = 64 << 10 // bytes
	headerFor        = 10 * time.Second
	stallFor         = 30 * time.Second // without a byte of a body
	idleFor          = 2 * time.Minute
	queueFor         = 5 * time.Second // for a place among the requests
	closeFor         = 5 * time.Second // for requests under way when the proxy stops
)

// ProxyConfig says what a proxy is made of. All fields but Requests are required.
type ProxyConfig struct {
	Holder   *client.Holder // whose requests they become
	Listener net.Listener   // of Listen
	Requests int            // at a time; DefaultRequests if 0
	Log      *slog.Logger
}

// Proxy takes requests of programs on this machine and sends them on in an agent's
// name.
type Proxy struct {
	cfg   ProxyConfig
	base  *url.URL
	guard guard
	slots chan struct{}
	via   *httputil.ReverseProxy
}

// NewProxy returns a proxy. It serves when Run is called.
func NewProxy(cfg ProxyConfig) (*Proxy, error) {
	if cfg.Requests <= 0 {
		cfg.Requests = DefaultRequests
	}
	base, err := url.Parse(cfg.Holder.Member().URL)
	if err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, base: base, guard: guardOf(cfg.Listener.Addr()), slots: make(chan struct{}, cfg.Requests)}
	p.via = &httputil.ReverseProxy{
		Rewrite: p.rewrite, Transport: cfg.Holder, ModifyResponse: tidy, ErrorHandler: p.failed,
		FlushInterval: -1, // what comes in pieces goes out in pieces
		ErrorLog:      slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return p, nil
}

// Run serves until ctx ends.
func (p *Proxy) Run(ctx context.Context) error {
	s := &http.Server{
		Handler: p, ReadHeaderTimeout: headerFor, IdleTimeout: idleFor, MaxHeaderBytes: maxRequestHeader,
		ErrorLog: slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
		// OPTIONS * is no request of an agent's.
		DisableGeneralOptionsHandler: true,
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(p.cfg.Listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeFor)
	defer cancel()
	if err := s.Shutdown(grace); err != nil {
		_ = s.Close() // streams do not end by themselves
	}
	<-served
	return nil
}

// ServeHTTP sends a request on.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := p.guard.check(r); err != nil {
		p.cfg.Log.WarnContext(r.Context(), "a request was refused here", slog.String("rule", err.Rule), slog.String("method", r.Method))
		answer(w, r, err)
		return
	}
	if r.ContentLength > MaxRequestBody {
		answer(w, r, tooLarge())
		return
	}
	if !p.enter(r.Context()) {
		answer(w, r, act.Errorf(act.Unavailable, "%d requests are under way, which is all there may be", cap(p.slots)).WithRule("proxy.busy").
			WithRetry(time.Second).WithHint("send fewer requests at a time, or start the proxy with more (--max-requests)"))
		return
	}
	defer func() { <-p.slots }()
	if r.Body != nil && r.Body != http.NoBody {
		control := http.NewResponseController(w)
		if r.ContentLength < 0 { // it may be a conversation: nobody waits for its end to answer
			_ = control.EnableFullDuplex() // of HTTP/1, which is all that is spoken here
		}
		r.Body = &patient{http.MaxBytesReader(w, r.Body, MaxRequestBody), control}
	}
	p.via.ServeHTTP(w, r)
}

// enter waits for a place among the requests under way.
func (p *Proxy) enter(ctx context.Context) bool {
	select {
	case p.slots <- struct{}{}:
		return true
	default:
	}
	wait := time.NewTimer(queueFor)
	defer wait.Stop()
	select {
	case p.slots <- struct{}{}:
		return true
	case <-wait.C:
	case <-ctx.Done():
	}
	return false
}

// foreign are headers that say who somebody is or where a request comes from. What an
// agent writes there is its own invention: the server could believe this machine.
var foreign = []string{
	"Authorization", "Dpop", "Cookie", "Proxy-Authorization", "X-Real-Ip", "Forwarded", "Via",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server",
	"Client-Cert", "Client-Cert-Chain", "X-Forwarded-Client-Cert", "X-Http-Method-Override",
}

// rewrite makes an agent's request one to the network. Hop-by-hop headers are gone
// already.
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme, r.Out.URL.Host = p.base.Scheme, p.base.Host
	r.Out.Host = ""
	if prefix := strings.TrimRight(p.base.EscapedPath(), "/"); prefix != "" {
		whole := prefix + r.In.URL.EscapedPath()
		r.Out.URL.RawPath = whole
		r.Out.URL.Path = strings.TrimRight(p.base.Path, "/") + r.In.URL.Path
	}
	r.Out.URL.RawQuery = r.In.URL.RawQuery // unchanged, whatever it looks like
	for _, name := range foreign {
		delete(r.Out.Header, name)
	}
	// No connection becomes another protocol's here.
	delete(r.Out.Header, "Upgrade")
	delete(r.Out.Header, "Connection")
	if len(r.Out.Header["Traceparent"]) == 0 {
		r.Out.Header["Traceparent"] = []string{traceparent()}
		delete(r.Out.Header, "Tracestate") // it belongs to the other one
	}
}

// traceparent begins a trace (W3C Trace Context §3.2).
func traceparent() string {
	var id [24]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	id[0] |= 1              // all zero is invalid, of the trace and
	id[16] |= 1             // of its span
	return "00-" + hex.EncodeToString(id[:16]) + "-" + hex.EncodeToString(id[16:]) + "-01"
}

// tidy takes out of an answer what was between the network and the proxy.
func tidy(resp *http.Response) error {
	for _, name := range []string{"Dpop-Nonce", "Set-Cookie", "Alt-Svc", "Strict-Transport-Security"} {
		delete(resp.Header, name)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return act.Errorf(act.Unavailable, "the network wants to speak another protocol").WithRule("proxy.upgrade").WithHint("ask for no upgrade")
	}
	return nil
}

// failed answers a request to which no answer came.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody waits for an answer
	}
	e, ok := errors.AsType[*act.Error](err)
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		e, ok = tooLarge(), true
	}
	if !ok {
		e = act.Errorf(act.Unavailable, "the request could not be sent on").WithRule("proxy.away").WithRetry(time.Second).
			WithHint("a write may have been done: look before you repeat it")
	}
	if e.Code == act.Unauthenticated { // said of the key, which is nothing that the agent knows of
		e = act.Errorf(e.Code, "the network does not take the agent's key: %s", e.Message).WithRule(e.Rule).
			WithHint("the agent may have been ended, or its key replaced: its owner or an operator can say")
	}
	p.cfg.Log.WarnContext(r.Context(), "a request was not answered by the network", slog.String("code", e.Code.String()), slog.String("rule", e.Rule), slog.Any("err", err))
	answer(w, r, e)
}

func tooLarge() *act.Error {
	return act.Errorf(act.TooLarge, "the body is longer than %d bytes", MaxRequestBody).WithRule("proxy.size").WithHint("send less at a time")
}

// patient is a body that may come slowly but not stand still.
type patient struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *patient) Read(p []byte) (int, error) {
	// The deadline is the connection's: it is taken away again, for the answer may
	// take as long as it likes.
	timed := b.control.SetReadDeadline(time.Now().Add(stallFor)) == nil //arch:allow a deadline of the network stack
	n, err := b.ReadCloser.Read(p)
	if timed {
		_ = b.control.SetReadDeadline(time.Time{}) // it worked just now
	}
	return n, err
}
