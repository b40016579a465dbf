package telemetry

import (
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Caps on distinct names. Acts and routes come from the program's registries
// and stay far below theirs; the caps are what holds if that ever changes.
const (
	maxActs   = 512
	maxRoutes = 1024
	maxSeries = 4096 // (door, route, status) and (act, rule)
	maxRules  = 256
	maxLabel  = 120 // bytes
	other     = "other"
)

// Metrics counts what the server does, on a registry of its own. It is safe for
// concurrent use. Times are in seconds, as Prometheus wants them.
type Metrics struct {
	registry *prometheus.Registry
	acts     *bounded[string, *actSeries]
	rules    *bounded[string, string] // a rule's label
	denials  *bounded[denial, prometheus.Counter]
	routes   *bounded[route, prometheus.Observer]
	requests *bounded[request, prometheus.Counter]

	writeQueue, fenceAge, busConnected, busDropped atomic.Pointer[func() float64]
	kills, confirmed                               atomic.Pointer[func() float64]
	contained, sweeping, drift                     atomic.Pointer[func() float64]
	certUntil, certCurrent                         atomic.Pointer[func() float64]
	leases                                         leases
	exports                                        exports
	drills                                         drills
	quotas                                         quotas
	record                                         record
}

type (
	actSeries struct {
		label                       string
		done, denied, failed, other prometheus.Counter
		seconds                     prometheus.Observer
	}
	denial  struct{ act, rule string }
	route   struct{ door, route string }
	request struct {
		route
		status int
	}
)

// NewMetrics returns metrics with nothing counted, beside those of the Go
// runtime and the process.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	seconds := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(v)
		return v
	}
	// 50 µs to 3.3 s in factors of 4: nine buckets, because there is one set
	// for each act and each route.
	buckets := prometheus.ExponentialBuckets(50e-6, 4, 9)

	acts := counter("reef_acts_total", "Acts by how they ended.", "act", "outcome")
	actSeconds := seconds("reef_act_seconds", "Time from an act's arrival at the gate to its end.", buckets, "act")
	m.acts = newBounded(maxActs, other, func(name string) *actSeries {
		l := label(name)
		return &actSeries{
			label: l,
			done:  acts.WithLabelValues(l, "done"), denied: acts.WithLabelValues(l, "denied"),
			failed: acts.WithLabelValues(l, "failed"), other: acts.WithLabelValues(l, other),
			seconds: actSeconds.WithLabelValues(l),
		}
	})
	denials := counter("reef_denials_total", "Denied acts by the rule that said no.", "act", "rule")
	m.rules = newBounded(maxRules, other, label)
	m.denials = newBounded(maxSeries, denial{other, other}, func(d denial) prometheus.Counter {
		return denials.WithLabelValues(d.act, d.rule)
	})
	requests := counter("reef_http_requests_total", "HTTP requests by door, route pattern and status.", "door", "route", "status")
	httpSeconds := seconds("reef_http_seconds", "Time from a request's headers to the end of its handler.", buckets, "door", "route")
	m.routes = newBounded(maxRoutes, route{other, other}, func(r route) prometheus.Observer {
		return httpSeconds.WithLabelValues(label(r.door), label(r.route))
	})
	m.requests = newBounded(maxSeries, request{route: route{other, other}}, func(r request) prometheus.Counter {
		status := other
		if r.status != 0 {
			status = strconv.Itoa(r.status)
		}
		return requests.WithLabelValues(label(r.door), label(r.route.route), status)
	})

	m.gauge("reef_write_queue", "Writes waiting for the storage writer.", &m.writeQueue)
	m.gauge("reef_fence_age_seconds", "Time since this node last confirmed its fence epochs.", &m.fenceAge)
	m.gauge("reef_kills", "Agents that the network has ever killed: the number of its kill epoch.", &m.kills)
	m.gauge("reef_manifest_drift", "Things that are not as the files say that keep them.", &m.drift)
	m.gauge("reef_contained", "Scopes that are stopped: lines, owners, communities, the whole network.", &m.contained)
	m.gauge("reef_sweeping", "Scopes that were killed and whose agents have not all ended yet, as the node that ends them knows.", &m.sweeping)
	m.gauge("reef_confirmed", "0 while a restored network waits for its operator and serves no agent.", &m.confirmed)
	m.gauge("reef_bus_connected", "1 while signals travel between nodes.", &m.busConnected)
	m.gauge("reef_certificate_until_seconds", "When the certificate of the doors ends, as a Unix time.", &m.certUntil)
	m.gauge("reef_certificate_current", "0 while what stands in the certificate's files cannot be used and the one before serves.", &m.certCurrent)
	m.registry.MustRegister(
		&m.leases,
		&m.exports,
		&m.drills,
		&m.quotas,
		&m.record,
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "reef_bus_dropped_total", Help: "Signals thrown away on this node."}, pull(&m.busDropped)),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// ActDone counts an act that ended as outcome ("done", "denied", "failed") and
// how long it took.
func (m *Metrics) ActDone(act, outcome string, d time.Duration) {
	s := m.acts.get(act)
	switch outcome {
	case "done":
		s.done.Inc()
	case "denied":
		s.denied.Inc()
	case "failed":
		s.failed.Inc()
	default:
		s.other.Inc()
	}
	s.seconds.Observe(d.Seconds())
}

// Denied counts a denial by the rule that said no ("standing.paused",
// "quota.post", a policy's id). After 256 rules a new one counts as "other".
func (m *Metrics) Denied(act, rule string) {
	m.denials.get(denial{m.acts.get(act).label, m.rules.get(rule)}).Inc()
}

// HTTP counts a finished request. route is the pattern that matched, never the
// path; status is the HTTP status sent.
func (m *Metrics) HTTP(door, pattern string, status int, d time.Duration) {
	if status < 100 || status > 599 {
		status = 0
	}
	r := route{door, pattern}
	m.requests.get(request{r, status}).Inc()
	m.routes.get(r).Observe(d.Seconds())
}

// WatchWriteQueue sets where scrapes read the number of waiting writes. The
// functions given to the Watch methods are called on scrapes and must be safe
// for concurrent use; a later call replaces an earlier one; until the first
// the figure is NaN.
func (m *Metrics) WatchWriteQueue(depth func() int) {
	m.writeQueue.Store(new(func() float64 { return float64(depth()) }))
}

// WatchFenceAge sets where scrapes read the time since this node last confirmed
// its fence epochs. It is asked at the scrape, so that a node that hangs shows
// a growing age and not its last good one.
func (m *Metrics) WatchFenceAge(age func() time.Duration) {
	m.fenceAge.Store(new(func() float64 { return age().Seconds() }))
}

// WatchKills sets where scrapes read the number of kills, and whether agents are
// served as far as restores go. The number outlives the database in whatever keeps
// the metrics.
func (m *Metrics) WatchKills(kills func() int64, confirmed func() bool) {
	m.kills.Store(new(func() float64 { return float64(kills()) }))
	m.confirmed.Store(new(func() float64 { return oneIf(confirmed()) }))
}

// WatchContained sets where scrapes read how many scopes are stopped, and how many of those
// that were killed still have agents that have not ended.
func (m *Metrics) WatchContained(contained, sweeping func() int64) {
	m.contained.Store(new(func() float64 { return float64(contained()) }))
	m.sweeping.Store(new(func() float64 { return float64(sweeping()) }))
}

// WatchDrift sets where scrapes read how many things are not as the files say that keep
// them.
func (m *Metrics) WatchDrift(drift func() int64) {
	m.drift.Store(new(func() float64 { return float64(drift()) }))
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// WatchBus sets where scrapes read the state of the bus.
func (m *Metrics) WatchBus(connected func() bool, dropped func() int64) {
	m.busConnected.Store(new(func() float64 { return oneIf(connected()) }))
	m.busDropped.Store(new(func() float64 { return float64(dropped()) }))
}

// WatchCertificate sets where scrapes read until when the certificate of the doors is
// good, and whether it is the one that stands in its files.
func (m *Metrics) WatchCertificate(state func() (until time.Time, current bool)) {
	m.certUntil.Store(new(func() float64 { until, _ := state(); return float64(until.Unix()) }))
	m.certCurrent.Store(new(func() float64 { _, current := state(); return oneIf(current) }))
}

// WatchLeases sets where scrapes read the names of the leases that this node holds.
func (m *Metrics) WatchLeases(held func() []string) { m.leases.held.Store(&held) }

// leases tells on scrapes which of the network's singletons run on this node.
type leases struct {
	held atomic.Pointer[func() []string]
}

var leads = prometheus.NewDesc("reef_leads", "1 for each lease that this node holds: what one node of the network does for all.", []string{"lease"}, nil)

func (l *leases) Describe(to chan<- *prometheus.Desc) { to <- leads }

func (l *leases) Collect(to chan<- prometheus.Metric) {
	if held := l.held.Load(); held != nil {
		for _, name := range (*held)() {
			to <- prometheus.MustNewConstMetric(leads, prometheus.GaugeValue, 1, label(name))
		}
	}
}

// Registry is where the metrics are, for who sends them on.
func (m *Metrics) Registry() prometheus.Gatherer { return m.registry }

// Handler serves the metrics in the Prometheus text format. Who may see them is
// the caller's decision.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	})
}

func (m *Metrics) gauge(name, help string, from *atomic.Pointer[func() float64]) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, pull(from)))
}

func pull(from *atomic.Pointer[func() float64]) func() float64 {
	return func() float64 {
		if f := from.Load(); f != nil {
			return (*f)()
		}
		return math.NaN()
	}
}

// label makes a name fit for a label: bounded, printable, without credentials.
func label(name string) string {
	if name = clean(name); len(name) > maxLabel {
		name = strings.ToValidUTF8(name[:maxLabel], "")
	}
	if name == "" {
		return "none"
	}
	return name
}

// bounded is a map that is read without a lock, grows by copying, and stops
// growing at a limit, after which every new key shares one value.
type bounded[K comparable, V any] struct {
	now   atomic.Pointer[map[K]V]
	build func(K) V
	rest  func() V // what keys over the limit share; made when first needed
	limit int
	mu    sync.Mutex // held while now is replaced
}

func newBounded[K comparable, V any](limit int, rest K, build func(K) V) *bounded[K, V] {
	b := &bounded[K, V]{limit: limit, build: build, rest: sync.OnceValue(func() V { return build(rest) })}
	b.now.Store(&map[K]V{})
	return b
}

func (b *bounded[K, V]) get(k K) V {
	m := *b.now.Load()
	if v, ok := m[k]; ok {
		return v
	}
	if len(m) >= b.limit {
		return b.rest()
	}
	return b.add(k)
}

func (b *bounded[K, V]) add(k K) V {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := *b.now.Load()
	if v, ok := m[k]; ok {
		return v
	}
	if len(m) >= b.limit {
		return b.rest()
	}
	v := b.build(k)
	grown := make(map[K]V, len(m)+1)
	maps.Copy(grown, m)
	grown[k] = v
	b.now.Store(&grown)
	return v
}
