package otlp

import (
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Config is what the settings of the server say beside the OTEL_* variables.
type Config struct {
	Preset  string // "" or NAME:WHERE, see Read
	KeyFile string // file with the key of the preset's product
	Service string // service.name unless OTEL_SERVICE_NAME says another
	Version string // service.version
}

// Signal is one of the three kinds of telemetry.
type Signal uint8

// The signals.
const (
	Traces Signal = iota
	Metrics
	Logs
	signals
)

// String returns the signal's name as variables and labels have it.
func (s Signal) String() string { return [...]string{"traces", "metrics", "logs"}[s] }

// Plan says what is sent where. It is what Open does and `reef doctor` shows.
type Plan struct {
	Config
	To       [signals]Target
	Warnings []string // what works but is not as the product's maker advises

	ratio    float64
	links    int // of one span at most
	resource map[string]string
	interval time.Duration // between two pushes of metrics
}

// Target is where one signal goes.
type Target struct {
	On       bool
	GRPC     bool
	Endpoint string            // "" leaves it to the variables, which the exporters read themselves
	Headers  map[string]string // nil leaves them to the variables
	Delta    bool              // metrics tell what was added since the last time
}

// On reports whether anything is sent.
func (p *Plan) On() bool { return p.To[Traces].On || p.To[Metrics].On || p.To[Logs].On }

// Where tells where a signal goes, for people; never a header's value.
func (p *Plan) Where(s Signal, getenv func(string) string) string {
	t := p.To[s]
	switch {
	case !t.On:
		return "nowhere"
	case t.Endpoint != "":
		return t.Endpoint
	}
	for _, name := range []string{variable(s, "ENDPOINT"), "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if u, err := url.Parse(getenv(name)); err == nil && u.Host != "" {
			return u.Redacted()
		}
	}
	return "the collector on this machine"
}

const (
	defaultLinks    = 256 // the SDK's own 128 is less than a context window of 200 items
	defaultInterval = time.Minute
	protocolGRPC    = "grpc"
	protocolHTTP    = "http/protobuf"
)

func variable(s Signal, what string) string {
	return "OTEL_EXPORTER_OTLP_" + strings.ToUpper(s.String()) + "_" + what
}

// Read makes a plan of the standard variables and the settings. A variable counts more
// than a preset. Without either nothing is sent. The presets are:
//
//	datadog:https://HOST  the intake for your site, as Datadog's documents name it
//	splunk:REALM          Splunk Observability Cloud; it takes no logs this way
//	elastic:URL           Elastic's managed endpoint, or https://HOST/_otlp of one's own
func Read(c Config, getenv func(string) string) (Plan, error) {
	p := Plan{Config: c, ratio: 1, links: defaultLinks, interval: defaultInterval, resource: map[string]string{}}
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return p, nil
	}
	named := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != ""
	for s := range signals {
		t := &p.To[s]
		switch exporter := getenv("OTEL_" + strings.ToUpper(s.String()) + "_EXPORTER"); exporter {
		case "":
			t.On = named || getenv(variable(s, "ENDPOINT")) != ""
		case "otlp":
			t.On = true
		case "none":
		default:
			return p, invalid("OTEL_%s_EXPORTER is %q; this program has otlp and none", strings.ToUpper(s.String()), exporter)
		}
		protocol := getenv(variable(s, "PROTOCOL"))
		if protocol == "" {
			protocol = getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
		}
		switch protocol {
		case protocolGRPC:
			t.GRPC = true
		case "", protocolHTTP:
		default:
			return p, invalid("the OTLP protocol is %q; this program has %s and %s", protocol, protocolHTTP, protocolGRPC)
		}
	}
	p.To[Metrics].Delta = strings.EqualFold(getenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"), "delta")
	if err := p.readSampler(getenv); err != nil {
		return p, err
	}
	if v := getenv("OTEL_SPAN_LINK_COUNT_LIMIT"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return p, invalid("OTEL_SPAN_LINK_COUNT_LIMIT is %q, not a number", v)
		}
		p.links = n
	}
	if v := getenv("OTEL_METRIC_EXPORT_INTERVAL"); v != "" {
		ms, err := strconv.Atoi(v)
		if err != nil || ms < 100 {
			return p, invalid("OTEL_METRIC_EXPORT_INTERVAL is %q, not milliseconds from 100 up", v)
		}
		p.interval = time.Duration(ms) * time.Millisecond
	}
	if err := p.preset(getenv); err != nil {
		return p, err
	}
	return p, nil
}

func invalid(format string, args ...any) error {
	return act.Errorf(act.Invalid, format, args...).WithRule("telemetry.settings").WithHint("see docs/observability.md")
}

// readSampler reads which part of the traces is kept whose acts were done. Callers'
// traces are never continued, so the samplers that ask the parent ask nobody.
func (p *Plan) readSampler(getenv func(string) string) error {
	switch name := strings.TrimPrefix(getenv("OTEL_TRACES_SAMPLER"), "parentbased_"); name {
	case "", "always_on":
	case "always_off":
		p.ratio = 0
	case "traceidratio":
		v := getenv("OTEL_TRACES_SAMPLER_ARG")
		if v == "" {
			return nil
		}
		ratio, err := strconv.ParseFloat(v, 64)
		if err != nil || ratio < 0 || ratio > 1 {
			return invalid("OTEL_TRACES_SAMPLER_ARG is %q, not a number from 0 to 1", v)
		}
		p.ratio = ratio
	default:
		return invalid("OTEL_TRACES_SAMPLER is %q; this program has always_on, always_off and traceidratio", name)
	}
	return nil
}

// preset adds what a product wants. Where a variable names an endpoint, headers or a
// temporality, that stays.
func (p *Plan) preset(getenv func(string) string) error {
	name, where, _ := strings.Cut(p.Preset, ":")
	if name == "" {
		return nil
	}
	if p.KeyFile == "" {
		return invalid("the preset %s needs otlp-key-file, a file with its key", name)
	}
	raw, err := os.ReadFile(p.KeyFile)
	if err != nil {
		return fmt.Errorf("otlp-key-file: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if key == "" || strings.ContainsAny(key, "\r\n") {
		return invalid("otlp-key-file holds no key on a single line")
	}
	paths, headers := [signals]string{"/v1/traces", "/v1/metrics", "/v1/logs"}, [signals]map[string]string{}
	base := strings.TrimSuffix(where, "/")
	switch name {
	case "datadog":
		for s := range signals {
			headers[s] = map[string]string{"dd-api-key": key}
		}
		headers[Logs]["dd-protocol"] = "otlp"
		p.To[Metrics].Delta = true
		p.Warnings = append(p.Warnings, "Datadog's own intake is for where no Agent or Collector can run: prefer one, and name it by OTEL_EXPORTER_OTLP_ENDPOINT; its intake of traces may need to be enabled for your account")
	case "splunk":
		if where == "" || strings.ContainsAny(where, "./: ") {
			return invalid("splunk: wants a realm, like splunk:eu0")
		}
		base = "https://ingest." + where + ".observability.splunkcloud.com"
		paths = [signals]string{"/v2/trace/otlp", "/v2/datapoint/otlp", ""}
		for s := range signals {
			headers[s] = map[string]string{"X-SF-Token": key}
		}
		p.Warnings = append(p.Warnings, "Splunk Observability Cloud takes no logs by OTLP: send them to Splunk's event collector, see ocsf")
	case "elastic":
		for s := range signals {
			headers[s] = map[string]string{"Authorization": "ApiKey " + key}
		}
		p.resource["data_stream.dataset"] = "reefwarden"
		p.Warnings = append(p.Warnings, "where many nodes send to a self-managed Elastic, put a Collector between")
	default:
		return invalid("there is no preset %q; there are datadog, splunk and elastic", name)
	}
	if u, err := url.Parse(base); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return invalid("the preset %s wants an https URL behind the colon", name)
	}
	for s := range signals {
		t := &p.To[s]
		if getenv("OTEL_"+strings.ToUpper(s.String())+"_EXPORTER") == "none" {
			continue
		}
		if paths[s] == "" { // not unless it has an endpoint of its own
			t.On = getenv(variable(s, "ENDPOINT")) != ""
			continue
		}
		t.On, t.GRPC = true, false // none of the three takes gRPC for everything
		if getenv(variable(s, "ENDPOINT")) == "" && getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" {
			t.Endpoint = base + paths[s]
		}
		if getenv(variable(s, "HEADERS")) == "" && getenv("OTEL_EXPORTER_OTLP_HEADERS") == "" {
			t.Headers = headers[s]
		}
	}
	return nil
}
