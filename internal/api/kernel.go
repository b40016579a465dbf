package api

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// Limits of a request unless Config says otherwise.
const (
	MaxBody        = 1 << 20          // bytes of a body, after decompression
	BodyTime       = 10 * time.Second // for a body to arrive
	ActTime        = 20 * time.Second // for an act to be done
	Slots          = 512              // requests that are in an act at once
	SlotsPerCaller = 128              // of which one caller may hold
	Reserved       = 32               // slots beside these, for operators
	BodyMemory     = 64 << 20         // bytes of bodies held at once
)

// Config says what a kernel is made of. Zero limits take the defaults above.
type Config struct {
	Gate    *gate.Gate
	Auth    *identity.Service
	URL     func() string            // public URL of the network, without a slash at the end
	Nonce   func() string            // for the DPoP-Nonce header; nil offers none
	Source  func(addr string) string // the keyed hash that stands for an address
	Codec   *act.Codec               // for the doors
	Metrics *telemetry.Metrics
	Clock   act.Clock
	Log     *slog.Logger

	// TrustedProxy lists addresses and CIDRs of peers whose X-Forwarded-For is
	// believed.
	TrustedProxy []string
	// Anonymous lets requests without a credential read, as observers.
	Anonymous bool
	// Fresh is how long operators may do what cannot be undone after they have proved
	// who they are; it is told to those who may not any more.
	Fresh time.Duration
	// Ready says why this node should get no requests; nil when it should.
	Ready func(context.Context) error
	// Behind says why the policies in force are not those of this release; "" when they
	// are, and nil asks nobody.
	Behind func() string

	BodyTime, ActTime, PushTime     time.Duration
	Slots, SlotsPerCaller, Reserved int
	Streams, StreamsPerCaller       int
	BodyMemory                      int64
}

// Kernel serves doors.
type Kernel struct {
	Config
	proxies            []netip.Prefix
	doors              []*Door // written only before Handler
	ordinary, reserved *lane
	herd               herd          // of those who were sent away
	streams            *lane         // requests that wait for what happens
	ending             chan struct{} // closed when the server begins to stop
	endOnce            sync.Once
	held               atomic.Int64 // bytes of bodies in memory
	bodies, answers    sync.Pool    // *[]byte
	unzips             sync.Pool    // *gzip.Reader
	fixed              map[string][]string
	metrics            http.Handler
}

// New returns a kernel with the door of health.
func New(c Config) (*Kernel, error) {
	if c.Gate == nil || c.Auth == nil || c.URL == nil || c.Source == nil || c.Codec == nil || c.Metrics == nil {
		return nil, errors.New("api: gate, auth, url, source, codec and metrics are required")
	}
	if c.Clock == nil {
		c.Clock = act.RealClock
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.BodyTime, c.ActTime = cmp.Or(c.BodyTime, BodyTime), cmp.Or(c.ActTime, ActTime)
	c.Slots, c.SlotsPerCaller = cmp.Or(c.Slots, Slots), cmp.Or(c.SlotsPerCaller, SlotsPerCaller)
	c.Reserved, c.BodyMemory = cmp.Or(c.Reserved, Reserved), cmp.Or(c.BodyMemory, BodyMemory)
	c.Streams, c.StreamsPerCaller = cmp.Or(c.Streams, Streams), cmp.Or(c.StreamsPerCaller, StreamsPerCaller)
	c.PushTime = cmp.Or(c.PushTime, PushTime)
	k := &Kernel{
		streams: newLane(c.Streams, c.StreamsPerCaller), ending: make(chan struct{}),
		Config: c, ordinary: newLane(c.Slots, c.SlotsPerCaller), reserved: newLane(c.Reserved, c.Reserved),
		metrics: c.Metrics.Handler(),
	}
	for _, p := range c.TrustedProxy {
		prefix, err := parsePrefix(p)
		if err != nil {
			return nil, fmt.Errorf("api: trusted proxy %q is neither an address nor a CIDR", p)
		}
		k.proxies = append(k.proxies, prefix)
	}
	k.bodies.New = func() any { b := make([]byte, 0, firstBody); return &b }
	k.answers.New = func() any { b := make([]byte, 0, firstAnswer); return &b }
	k.unzips.New = func() any { return new(gzip.Reader) }
	// Header values that never change are shared: setting one does not allocate.
	k.fixed = map[string][]string{
		"X-Content-Type-Options":  {"nosniff"},
		"Cache-Control":           {"no-store"},
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
		"Referrer-Policy":         {"no-referrer"},
	}
	k.Mount(k.health())
	return k, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// Mount adds a door. Mounting ends when Handler or Server is called.
func (k *Kernel) Mount(d *Door) { k.doors = append(k.doors, d) }

// Doors returns the doors that are mounted, health first.
func (k *Kernel) Doors() []*Door { return k.doors }

// Door speaks one protocol.
type Door struct {
	Name   string // in metrics
	Prefix string // of every path: "/api/v1"
	Routes []Route
	// Fail writes an error in the door's form. The headers that errors have in
	// common are set.
	Fail func(c *Call, e *act.Error)
	// Who tells whose request it is that was sent without an Authorization header:
	// whose cookie it brings, say. Nil is nobody's.
	Who func(ctx context.Context, c *Call) (act.Principal, error)
	// Rest makes the door answer, with Fail, for paths that no door has.
	Rest bool
	// Instead tells what to use in place of a method that a path does not have;
	// keys are "PUT /agents/me".
	Instead map[string]string
}

// Route is one operation of a door.
type Route struct {
	Method string // GET answers HEAD too
	Path   string // below the prefix, as http.ServeMux writes it: "/posts/{id}"
	Act    string // the registered act it calls
	// Also are other acts that it calls instead, where the body says which.
	Also []string
	// Exempt says why the route calls no act. Such a route shows nothing of the
	// network, and only to operators unless Anonymous is set.
	Exempt string
	// Self says that the route tells callers of nothing but themselves: it needs a
	// good credential, anybody's.
	Self      bool
	Anonymous bool  // needs no credential; one that is sent is not looked at
	Body      bool  // of a DELETE, or of a route without an act: its body says what to do; without Body it is not read
	MaxBody   int64 // bytes after decompression; MaxBody if 0
	// Waits reports whether a request waits for what happens. Nil is never.
	Waits func(*http.Request) bool
	// For the door's description: values of the wire types of body and answer, and
	// the names of the query's parameters.
	Takes, Gives any
	Query        []string
	// Handle calls the act and sends the answer, or returns why not.
	Handle func(ctx context.Context, c *Call) error
}

// Pattern is the route's path as it stands in metrics and documents.
func (d *Door) Pattern(r Route) string { return r.Method + " " + d.Prefix + r.Path }

// Handler returns the handler of every door. What is under no door's prefix is
// not found.
func (k *Kernel) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, d := range k.doors {
		methods := make(map[string][]string)
		for i := range d.Routes {
			r := &d.Routes[i]
			mux.Handle(d.Pattern(*r), k.serve(d, r))
			methods[r.Path] = append(methods[r.Path], r.Method)
			if r.Method == http.MethodGet {
				methods[r.Path] = append(methods[r.Path], http.MethodHead)
			}
		}
		for path, allowed := range methods {
			slices.Sort(allowed)
			mux.Handle(d.Prefix+path, k.serve(d, k.wrongMethod(d, path, allowed)))
		}
		if d.Prefix != "" {
			mux.Handle(d.Prefix+"/", k.serve(d, &Route{Path: "/…", Anonymous: true, Handle: nowhere}))
		}
	}
	rest := k.doors[0]
	if i := slices.IndexFunc(k.doors, func(d *Door) bool { return d.Rest }); i >= 0 {
		rest = k.doors[i]
	}
	mux.Handle("/", k.serve(rest, &Route{Path: "/…", Anonymous: true, Handle: nowhere}))
	return mux
}

func nowhere(_ context.Context, c *Call) error {
	e := act.Errorf(act.NotFound, "there is nothing at this path").WithRule("http.path")
	if p := c.R.URL.Path; len(p) > 1 && strings.HasSuffix(p, "/") {
		return e.WithHint("leave the slash at the end out")
	}
	return e.WithHint("check the path; agents' operations are under /api/v1, operators' under /v1")
}

func (k *Kernel) wrongMethod(d *Door, path string, allowed []string) *Route {
	list := strings.Join(allowed, ", ")
	return &Route{Path: path, Anonymous: true, Handle: func(_ context.Context, c *Call) error {
		c.W.Header().Set("Allow", list)
		hint, ok := d.Instead[c.R.Method+" "+path]
		if !ok {
			hint = "use " + list
		}
		return act.Errorf(act.Method, "%s is not possible here", text(c.R.Method, 16)).WithRule("http.method").WithHint(hint)
	}}
}

// Server returns an HTTP server for the handler, with limits of time and size
// for every connection: the backstop behind the kernel's own.
func (k *Kernel) Server() *http.Server {
	server := &http.Server{
		Handler:           k.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       2 * time.Minute, // an import's body on a slow line
		WriteTimeout:      3 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(k.Log.Handler(), slog.LevelDebug),
	}
	server.RegisterOnShutdown(k.EndStreams)
	return server
}
