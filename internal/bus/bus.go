package bus

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Limits of one signal.
const (
	MaxSignal  = 32 << 10 // bytes of data in one signal
	MaxSubject = 200      // bytes of a subject, without the prefix
	maxPrefix  = 64       // bytes of a prefix
)

// Config says how a bus is opened.
type Config struct {
	// URL names one NATS server or several, separated by commas
	// (nats://, tls://, ws:// or wss://). Empty means in-process.
	URL string
	// Local is the hub to join when URL is empty; several buses on one hub hear
	// each other. Nil means a hub of its own: a single node.
	Local *Local
	// Prefix keeps networks apart, one for each: a single subject token of
	// letters, digits, '-' and '_', at most 64 bytes.
	Prefix string
	// Name is this node's name as the NATS server's monitoring shows it.
	Name string
	// Log receives connection changes; nil discards them.
	Log *slog.Logger
	// TLS says how servers with tls:// or wss:// are spoken to.
	TLS TLS
	// Fault injects faults, for tests only; see [Fault].
	Fault func(subject string) Fault
}

// TLS is what is shown to NATS servers and believed of them. Both are asked for at each
// connection, so that a new one is made with what is in force then.
type TLS struct {
	Cert  func() (tls.Certificate, error) // shown to a server that asks; nil shows none
	Roots func() (*x509.CertPool, error)  // who vouches for servers; nil is the system's
}

// Check reports what is wrong with the configuration, as [act.Invalid]. Its
// text never holds a part of the URL.
func (c Config) Check() error {
	if !validToken(c.Prefix) || len(c.Prefix) > maxPrefix {
		return act.Errorf(act.Invalid, "the bus prefix %q is not a single subject token", c.Prefix).
			WithRule("bus.prefix").WithHint("use letters, digits, '-' and '_', at most 64 of them, and no dot")
	}
	if c.URL != "" && c.Local != nil {
		return act.Errorf(act.Invalid, "a bus is either in-process or on NATS, not both").WithRule("bus.driver")
	}
	if c.URL != "" {
		if _, err := parseServers(c.URL); err != nil {
			return err
		}
	}
	return nil
}

// Bus is one node's end of the signals of one network. It is safe for
// concurrent use.
type Bus struct {
	prefix string
	fault  func(subject string) Fault // nil outside tests
	hub    *Local
	remote *remote // nil when in-process

	dropped atomic.Int64
	delayed atomic.Int64 // signals that a fault is holding back
	closed  atomic.Bool
	workers sync.WaitGroup // one for each subscription

	mu   sync.RWMutex
	subs map[string][]*subscription // guarded by mu; the slices are never changed in place
}

// Open returns a bus. With a URL it does not wait for the server: it connects
// in the background, tries again for ever, and [Bus.Connected] tells how that
// stands. It fails only with [act.Invalid] for a wrong configuration, or when
// ctx is already over; ctx does not bound the life of the bus.
func Open(ctx context.Context, cfg Config) (*Bus, error) {
	if err := ctx.Err(); err != nil {
		return nil, act.Errorf(act.Unavailable, "the bus was not opened: %w", err)
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Bus{prefix: cfg.Prefix, fault: cfg.Fault, hub: cfg.Local, subs: map[string][]*subscription{}}
	if b.hub == nil {
		b.hub = NewLocal()
	}
	b.hub.join(b)
	if cfg.URL != "" {
		servers, err := parseServers(cfg.URL)
		if err != nil { // cannot happen after Check
			b.hub.leave(b)
			return nil, err
		}
		b.remote = startRemote(context.WithoutCancel(ctx), b, servers, cfg)
	}
	return b, nil
}

// Publish sends a signal to every subscriber of the subject in this network,
// on this node and the others. It copies data and never waits. A nil error
// does not mean that anybody heard it. It fails with [act.Invalid] for a wrong
// subject, [act.TooLarge] above MaxSignal bytes, [act.Unavailable] after Close.
func (b *Bus) Publish(subject string, data []byte) error {
	if err := checkSubject(subject); err != nil {
		return err
	}
	if len(data) > MaxSignal {
		return act.Errorf(act.TooLarge, "a signal of %d bytes is over the limit of %d", len(data), MaxSignal).
			WithRule("bus.size").WithHint("put the content into the database and signal its id")
	}
	if b.closed.Load() {
		return errClosed()
	}
	data = bytes.Clone(data) // the caller may reuse its buffer
	if b.fault == nil {
		b.send(subject, data)
		return nil
	}
	b.suffer(subject, func() { b.send(subject, data) })
	return nil
}

// send hands a signal to this node's subscribers, to the other buses of the
// hub and to NATS. None of the three can block.
func (b *Bus) send(subject string, data []byte) {
	for _, m := range b.hub.members(b.prefix) {
		if m == b {
			b.dispatch(subject, data)
		} else {
			m.arrive(subject, data)
		}
	}
	if b.remote != nil {
		b.remote.push(subject, data)
	}
}

// arrive takes a signal that another bus has sent.
func (b *Bus) arrive(subject string, data []byte) {
	if b.closed.Load() {
		return
	}
	if b.fault == nil {
		b.dispatch(subject, data)
		return
	}
	b.suffer(subject, func() { b.dispatch(subject, data) })
}

func (b *Bus) dispatch(subject string, data []byte) {
	b.mu.RLock()
	subs := b.subs[subject]
	b.mu.RUnlock()
	for _, s := range subs {
		b.dropped.Add(s.queue.push(signal{data: data}))
	}
}

// Subscribe calls fn for each signal on the subject until cancel is called or
// the bus is closed. Subjects match exactly; there are no wildcards. fn runs on
// one goroutine of this subscription, never concurrently with itself, and may
// use the bus except for Close. data is shared and must not be changed. A call
// under way when cancel is called may still finish; none starts after that
// one. cancel may be called from fn, and more than once.
func (b *Bus) Subscribe(subject string, fn func(data []byte)) (cancel func(), err error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	s := &subscription{queue: newQueue(), done: make(chan struct{}), fn: fn}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() { // Close sets it before it takes mu, so no worker is forgotten
		return nil, errClosed()
	}
	b.subs[subject] = append(b.subs[subject][:len(b.subs[subject]):len(b.subs[subject])], s)
	b.workers.Go(s.work)
	return func() { b.unsubscribe(subject, s) }, nil
}

func (b *Bus) unsubscribe(subject string, s *subscription) {
	s.stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	var rest []*subscription
	for _, other := range b.subs[subject] {
		if other != s {
			rest = append(rest, other)
		}
	}
	if len(rest) == 0 {
		delete(b.subs, subject)
		return
	}
	b.subs[subject] = rest
}

// Connected reports whether signals travel between nodes at present: true for
// an open in-process bus, and on NATS while this node's subscription is known
// to the server. It costs one atomic load.
func (b *Bus) Connected() bool {
	if b.closed.Load() {
		return false
	}
	return b.remote == nil || b.remote.connected.Load()
}

// Dropped returns how many signals this bus has thrown away since it was
// opened, because a subscriber was slow, NATS was away or a stranger's signal
// was too large.
func (b *Bus) Dropped() int64 { return b.dropped.Load() }

// Close stops every subscription and waits for the calls under way. Signals
// that were published just before are still given a short chance to leave. A
// second Close does nothing.
func (b *Bus) Close() {
	if b.closed.Swap(true) {
		return
	}
	b.hub.leave(b)
	if b.remote != nil {
		b.remote.close()
	}
	b.mu.Lock()
	for _, subs := range b.subs {
		for _, s := range subs {
			s.stop()
		}
	}
	clear(b.subs)
	b.mu.Unlock()
	b.workers.Wait()
}

// subscription is one subscriber's queue and goroutine.
type subscription struct {
	queue *queue
	fn    func(data []byte)
	done  chan struct{}
	once  sync.Once // closes done
}

func (s *subscription) stop() { s.once.Do(func() { close(s.done) }) }

func (s *subscription) stopped() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *subscription) work() {
	for {
		select {
		case <-s.done:
			return
		case <-s.queue.wake:
		}
		for !s.stopped() {
			sig, ok := s.queue.pop()
			if !ok {
				break
			}
			s.fn(sig.data)
		}
	}
}

func errClosed() error { return act.Errorf(act.Unavailable, "the bus is closed") }

// checkSubject allows tokens of [A-Za-z0-9_-] joined by dots: what NATS takes
// literally, without its wildcards and its reserved '$'.
func checkSubject(subject string) error {
	if len(subject) <= MaxSubject {
		valid := true
		for token := range strings.SplitSeq(subject, ".") {
			valid = valid && validToken(token)
		}
		if valid {
			return nil
		}
	}
	return act.Errorf(act.Invalid, "the bus subject %.80q is not tokens joined by dots", subject).
		WithRule("bus.subject").WithHint("use letters, digits, '-' and '_', joined by single dots, at most 200 bytes")
}

func validToken(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
