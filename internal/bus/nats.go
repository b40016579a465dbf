package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	wireRoot = "reef." // all our subjects on a NATS server start with it

	dialTimeout  = 2 * time.Second
	writeTimeout = 2 * time.Second // then the connection counts as lost
	pingInterval = time.Second
	maxPingsOut  = 2 // so a silent server is noticed within about 3 s
	firstWait    = 50 * time.Millisecond
	longestWait  = 2 * time.Second
	lastChance   = 500 * time.Millisecond // what Close gives the signals still queued
)

// remote is the NATS side of a bus. One goroutine (run) owns the connection:
// everything that may block on NATS happens there or in the library's
// callbacks, never in a caller of the bus.
type remote struct {
	bus       *Bus
	root      string // "reef.<prefix>."
	log       *slog.Logger
	queue     *queue
	tls       TLS
	secure    bool // a server is spoken to by TLS, so all are
	connected atomic.Bool

	ctx        context.Context // over when the connection must go; bounds dialling
	cancel     context.CancelFunc
	subscribed chan struct{} // closed by run once the subscription exists
	stop       chan struct{} // closed by close
	done       chan struct{} // closed by run
}

func startRemote(ctx context.Context, b *Bus, servers []*url.URL, cfg Config) *remote {
	hosts := make([]string, len(servers))
	urls := make([]string, len(servers))
	for i, u := range servers {
		hosts[i], urls[i] = u.Host, u.String()
	}
	r := &remote{
		bus: b, root: wireRoot + cfg.Prefix + ".", queue: newQueue(), tls: cfg.TLS, secure: slices.ContainsFunc(servers, encrypted),
		log:        cfg.Log.With(slog.Any("bus_servers", hosts), slog.String("bus_prefix", cfg.Prefix)),
		subscribed: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	go r.run(strings.Join(urls, ","), cfg.Name)
	return r
}

// push queues a signal for the other nodes. While NATS is away the newest
// maxQueued signals wait, so that a short break loses nothing.
func (r *remote) push(subject string, data []byte) {
	r.bus.dropped.Add(r.queue.push(signal{subject: r.root + subject, data: data}))
}

func (r *remote) run(urls, name string) {
	defer close(r.done)
	nc, err := nats.Connect(urls, r.options(name)...)
	if err != nil {
		// With RetryOnFailedConnect only options that make no sense get here.
		r.log.LogAttrs(r.ctx, slog.LevelError, "bus cannot use its configuration; nodes hear each other through the database only", slog.String("error", err.Error()))
		return
	}
	defer nc.Close()
	sub, err := nc.Subscribe(r.root+">", r.receive)
	if err == nil {
		err = sub.SetPendingLimits(maxQueued, maxQueuedBytes)
	}
	if err != nil {
		r.log.LogAttrs(r.ctx, slog.LevelError, "bus cannot subscribe; nodes hear each other through the database only", slog.String("error", err.Error()))
		return
	}
	close(r.subscribed)
	for {
		select {
		case <-r.stop:
			r.flush(nc)
			if r.connected.Load() {
				_ = nc.FlushTimeout(lastChance) // best effort: a lost signal is allowed
			}
			return
		case <-r.queue.wake:
			r.flush(nc)
		}
	}
}

// flush hands what is queued to the NATS client while it is connected.
func (r *remote) flush(nc *nats.Conn) {
	for r.connected.Load() && r.ctx.Err() == nil {
		sig, ok := r.queue.pop()
		if !ok {
			return
		}
		if err := nc.Publish(sig.subject, sig.data); err != nil {
			r.bus.dropped.Add(1) // the connection went away under us; its handler logs that
		}
	}
}

// receive runs on the NATS client's goroutine for our one subscription. It
// takes only what a bus of ours could have sent.
func (r *remote) receive(m *nats.Msg) {
	subject := strings.TrimPrefix(m.Subject, r.root)
	if len(m.Data) > MaxSignal || checkSubject(subject) != nil {
		r.bus.dropped.Add(1)
		return
	}
	r.bus.arrive(subject, m.Data)
}

func (r *remote) options(name string) []nats.Option {
	list := []nats.Option{
		nats.Name(name),
		nats.NoEcho(), // a bus hears itself directly
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a credential may be put right on the server
		nats.CustomReconnectDelay(reconnectWait),
		nats.ReconnectBufSize(-1), // our queue holds signals back, and bounds them
		nats.Timeout(dialTimeout),
		nats.FlusherTimeout(writeTimeout),
		nats.ReconnectOnFlusherError(),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPingsOut),
		nats.SkipHostLookup(), // the dialer looks up, and can be cancelled
		nats.SetCustomDialer(dialer{r.ctx}),
		nats.ConnectHandler(r.up),
		nats.ReconnectHandler(r.up),
		nats.DisconnectErrHandler(r.down),
		nats.ErrorHandler(r.complain),
		nats.NoCallbacksAfterClientClose(), // our own Close is no disconnection
	}
	if !r.secure {
		// What a server on this machine says of others must not lead there in the clear.
		return append(list, nats.IgnoreDiscoveredServers())
	}
	list = append(list, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS13}))
	return append(list, func(o *nats.Options) error {
		o.TLSCertCB, o.RootCAsCB = r.tls.Cert, r.tls.Roots
		return nil
	})
}

// up runs in order with down on the client's callback goroutine. The bus counts
// as connected once the server has answered after our subscription, so that
// whoever sees Connected will be heard and hear.
func (r *remote) up(nc *nats.Conn) {
	select {
	case <-r.subscribed:
	case <-r.ctx.Done():
		return
	}
	if err := nc.FlushTimeout(dialTimeout); err != nil {
		return // the connection is going again; the pings see to the next up
	}
	r.connected.Store(true)
	r.queue.poke()
	r.log.LogAttrs(r.ctx, slog.LevelInfo, "bus connected", slog.String("server", hostOf(nc.ConnectedUrlRedacted())))
}

func (r *remote) down(_ *nats.Conn, err error) {
	was := r.connected.Swap(false)
	if !was || r.ctx.Err() != nil {
		return
	}
	r.log.LogAttrs(r.ctx, slog.LevelWarn, "bus disconnected; nodes hear each other through the database until it is back", slog.String("cause", causeOf(err)))
}

func (r *remote) complain(_ *nats.Conn, sub *nats.Subscription, err error) {
	if sub != nil && errors.Is(err, nats.ErrSlowConsumer) {
		r.bus.dropped.Add(1)
	}
	r.log.LogAttrs(r.ctx, slog.LevelWarn, "bus error", slog.String("error", causeOf(err)))
}

// close lets the queue run dry for a moment if that can succeed, then cuts the
// connection.
func (r *remote) close() {
	if r.connected.Load() {
		defer time.AfterFunc(lastChance, r.cancel).Stop()
	} else {
		r.cancel()
	}
	close(r.stop)
	<-r.done
	r.connected.Store(false)
	r.cancel()
}

// reconnectWait doubles from firstWait to longestWait and draws from the upper
// half, so that nodes that lost one server do not come back in step.
func reconnectWait(attempt int) time.Duration {
	d := longestWait
	if attempt < 8 {
		d = min(d, firstWait<<max(attempt-1, 0))
	}
	return d/2 + rand.N(d/2) //nolint:gosec // jitter is no secret
}

// parseServers splits and checks a list of NATS URLs. Its errors hold nothing
// of the text, which may be a secret.
func parseServers(list string) ([]*url.URL, error) {
	bad := func(i int, why string) error {
		return act.Errorf(act.Invalid, "server %d of the NATS URL %s", i+1, why).
			WithRule("bus.url").WithHint("write nats://host:4222 or tls://host:4222, several separated by commas")
	}
	var servers []*url.URL
	for i, text := range strings.Split(list, ",") {
		text = strings.TrimSpace(text)
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		u, err := url.Parse(text)
		switch {
		case err != nil: // the error quotes the text, so it is left out
			return nil, bad(i, "cannot be parsed")
		case u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss":
			return nil, bad(i, "has an unknown scheme")
		case u.Hostname() == "":
			return nil, bad(i, "has no host")
		}
		servers = append(servers, u)
	}
	return servers, nil
}

// encrypted reports whether a server is spoken to by TLS.
func encrypted(u *url.URL) bool { return u.Scheme == "tls" || u.Scheme == "wss" }

// Plain returns the hosts of a list of NATS URLs that would be spoken to without TLS.
func Plain(list string) (hosts []string, err error) {
	servers, err := parseServers(list)
	for _, u := range servers {
		if !encrypted(u) {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts, err
}

// hostOf returns host and port of a URL, without the user part.
func hostOf(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Host
	}
	return ""
}

// causeOf is an error's text for the log. The client's errors name hosts, not
// credentials; a URL that slips into one is cut off all the same.
func causeOf(err error) string {
	if err == nil {
		return "closed by the server"
	}
	text := err.Error()
	if strings.Contains(text, "://") {
		return "the NATS client failed (its text held a URL)"
	}
	return text
}

// dialer dials under the life of the remote, so that Close never waits for a
// host that does not answer.
type dialer struct{ ctx context.Context }

// Dial connects; the connection closes itself when the remote is over.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	nd := net.Dialer{Timeout: dialTimeout}
	c, err := nd.DialContext(d.ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &boundConn{Conn: c, release: context.AfterFunc(d.ctx, func() { _ = c.Close() })}, nil
}

type boundConn struct {
	net.Conn
	release func() bool
}

// Close closes the connection and forgets its bound.
func (c *boundConn) Close() error {
	c.release()
	return c.Conn.Close()
}
