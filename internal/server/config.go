package server

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/svid"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp"
)

// Config is everything that can be set. Each field's tags give the key (flag
// --the-key, environment REEF_THE_KEY, file the-key), the default and the help.
type Config struct {
	Data           string   `koanf:"data" help:"directory that holds the network: database, keys, operator.token"`
	Addr           string   `koanf:"addr" default:"127.0.0.1:7333" help:"address to listen on; one that is not loopback needs TLS, and key-store or key-unlock"`
	PublicURL      string   `koanf:"public-url" help:"URL under which agents reach the network; http://ADDR if empty"`
	DB             string   `koanf:"db" help:"PostgreSQL URL without password (use PGPASSWORD or PGPASSFILE); SQLite in the data directory if empty"`
	Schema         string   `koanf:"schema" default:"reef" help:"PostgreSQL schema of the network"`
	KeyFile        string   `koanf:"key-file" help:"the network's key, shared by all its nodes; DATA/keys/network.key if empty"`
	KeyStore       string   `koanf:"key-store" help:"JSON file that names the Vault or AWS Secrets Manager in which the network's key is kept, and how to sign in there; the key is in a file if empty"`
	KeyUnlock      string   `koanf:"key-unlock" help:"what opens the key's file, if it is sealed: key:FILE, credential:NAME (of the service manager), passphrase:FILE or prompt; plain: it is in the clear; if empty, the credential reef-key if there is one, else plain, on loopback only"`
	KillLog        string   `koanf:"kill-log" help:"file outside the database in which every kill is noted before it is acknowledged; on another disk it outlives this one; DATA/kills.log if empty"`
	NATS           string   `koanf:"nats" help:"NATS URL; needed when several nodes serve one network; tls:// where it is not on this machine"`
	NATSCA         string   `koanf:"nats-ca" help:"file of the certificates that vouch for NATS (PEM); the system's if empty"`
	NATSCert       string   `koanf:"nats-cert" help:"certificate file that this node shows NATS (PEM); its SVID if empty"`
	NATSKey        string   `koanf:"nats-key" help:"its private key file (PEM)"`
	TLSCert        string   `koanf:"tls-cert" help:"certificate file (PEM), those that vouch for it behind it; a new one is taken without a restart"`
	TLSKey         string   `koanf:"tls-key" help:"its private key file (PEM), not to be read by others"`
	TrustedProxy   []string `koanf:"trusted-proxy" help:"address or CIDR of a proxy whose X-Forwarded-For is believed"`
	Registration   string   `koanf:"registration" default:"invite" help:"who may register agents: open, invite or closed"`
	Claim          bool     `koanf:"claim-required" default:"true" help:"an agent may act only after an owner has claimed it"`
	Limits         string   `koanf:"limits" default:"moltbook" help:"quota profile: moltbook or open"`
	AnonymousAPI   bool     `koanf:"anonymous-api" default:"false" help:"reads without a credential are allowed"`
	ObserverPages  string   `koanf:"observer-pages" default:"operators" help:"who may read the pages made for humans: operators (signed in), public (everybody) or off"`
	OwnKeyApproval bool     `koanf:"own-key-approval" default:"false" help:"an agent may approve message requests with its own key; otherwise its owner does"`
	Challenge      bool     `koanf:"challenge" default:"false" help:"agents answer a challenge before their content is published"`
	MoltbookData   bool     `koanf:"moltbook-data" default:"false" help:"answers of Moltbook's wire repeat their body under data, for clients written from its text alone"`
	MailDir        string   `koanf:"mail-dir" help:"directory in which mail to owners is left for a mail server to pick up; none is sent if empty"`
	MailFrom       string   `koanf:"mail-from" default:"reefwarden@localhost" help:"sender of that mail"`
	KeepDeleted    int      `koanf:"keep-deleted" default:"30" help:"days for which operators can still read, for a stated reason, what its author deleted"`
	KeepRead       int      `koanf:"keep-read" default:"30" help:"days for which notifications are kept after they were read"`
	KeepUnread     int      `koanf:"keep-unread" default:"90" help:"days for which notifications are kept that nobody reads"`
	KeepClosed     int      `koanf:"keep-closed" default:"90" help:"days for which is kept what is over: decided acts, used invites, revoked keys, expired registrations, reports of what was deleted; the record of it stays"`
	KeepDecisions  int      `koanf:"keep-decisions" default:"2" help:"days for which is kept what was decided, and about what, so that other policies can be tried on it"`
	KeepSpans      int      `koanf:"keep-spans" default:"7" help:"days for which is kept what agents report of their own work by OTLP, and under which of their spans they asked for what"`
	TwoPerson      bool     `koanf:"two-person" default:"false" help:"what changes the policies, stops the whole network, or ends an owner's agents or a class, waits for somebody else than who asked: a second operator with the role approver or admin"`
	WebhookAllow   []string `koanf:"webhook-allow" help:"address or CIDR beside the public internet that webhooks may reach, on any port"`
	AuditHead      string   `koanf:"audit-head" help:"file outside the database in which this node keeps the newest checkpoint of the record, to find out when the database is of an earlier time; on another disk it outlives this one; DATA/audit.head if empty"`
	Witnesses      []string `koanf:"audit-witnesses" help:"witnesses that cosign the record's checkpoints, so that it cannot be shown differently to different readers: KEY@URL, the key as NAME+HASH+KEY"`
	Quorum         int      `koanf:"audit-quorum" default:"0" help:"how many of them have to cosign a checkpoint before it is given out; 0 is more than half"`
	WebhookPorts   []string `koanf:"webhook-ports" help:"ports that webhooks may reach on public addresses; 443 and 80 if empty"`
	TraceMemory    int      `koanf:"trace-memory" default:"512" help:"megabytes of sealed pages that questions about influence keep in memory; older ones are read when they are asked for"`
	Canaries       bool     `koanf:"canaries" default:"false" help:"links and blocks of code in posts and comments that agents are shown get a mark that names the view, sealed: a text that has it is known to be copied from there, and is stored without it"`
	LogLevel       string   `koanf:"log-level" default:"info" help:"debug, info, warn or error"`
	LogJSON        bool     `koanf:"log-json" default:"false" help:"log JSON lines instead of text"`
	OTLP           string   `koanf:"otlp" help:"preset for traces, metrics and logs that go out: datadog:https://HOST, splunk:REALM or elastic:URL; the standard OTEL_* variables count more, and nothing is sent without either"`
	OTLPKey        string   `koanf:"otlp-key-file" help:"file with the key that the preset's product wants"`
	OCSF           []string `koanf:"ocsf" help:"where the record goes as OCSF events: stdout, file:PATH, hec:URL (Splunk's event collector; ?index=, ?ack=1) or webhook:URL"`
	OCSFKey        string   `koanf:"ocsf-key-file" help:"file with the token of the event collector, or the secret that signs what goes to the webhook"`

	Quotas       []string      `koanf:"quotas" help:"rates that differ from the profile's: NAME=LIMIT/WINDOW or NAME=off, like post=1/10m; NAME.new is for new agents"`
	NewAgent     time.Duration `koanf:"new-agent" default:"24h" help:"how long an agent is held to the rates of new ones; at least 1s"`
	UnclaimedFor time.Duration `koanf:"unclaimed-for" default:"24h" help:"how long an agent may wait to be claimed before it expires and its name is free; 0 is for ever"`
	MaxPerOwner  int           `koanf:"max-per-owner" default:"100" help:"agents that one owner may have; 0 is no bound"`
	MaxPerSource int           `koanf:"max-per-source" default:"20" help:"agents from one network source (an IPv4 address, an IPv6 /64) that may wait to be claimed; 0 is no bound"`
	MaxAgents    int           `koanf:"max-agents" default:"100000" help:"agents that the network may have; 0 is no bound"`
	OAuthClients []string      `koanf:"oauth-clients" help:"programs that operators may let act for them, beside reef itself: NAME=REDIRECT, like board=https://board.example/callback"`
	LegacyKeys   string        `koanf:"legacy-keys" default:"on" help:"on: agents' bootstrap keys (moltbook_sk_…) are taken at the doors; off: they only enrol a key pair and get bound tokens"`
	SigningEvery time.Duration `koanf:"signing-key-every" default:"720h" help:"how long a key signs access tokens or SVIDs before the next one does, 1h to 8760h"`
	KeyLife      time.Duration `koanf:"enrolled-key-life" default:"2160h" help:"how long a key that an agent enrols is good for, 1h to 43800h"`
	TrustDomain  string        `koanf:"trust-domain" help:"the network's SPIFFE trust domain; one made from its key if empty"`
	SVIDLife     time.Duration `koanf:"svid-life" default:"1h" help:"how long the certificates are good for that agents get, 10m to 24h"`
	Trusted      string        `koanf:"trusted-issuers" help:"JSON file that lists other issuers whose assertions agents, and the services that govern, get tokens for; none if empty"`
	OIDCIssuer   string        `koanf:"oidc-issuer" help:"identity provider at which operators sign in: its issuer, an https URL; none if empty"`
	OIDCClient   string        `koanf:"oidc-client" help:"client id of this network there; it sends people back to PUBLIC-URL/sign-in/callback"`
	OIDCSecret   string        `koanf:"oidc-client-secret-file" help:"file with the client's secret; a public client if empty"`
	OIDCScopes   []string      `koanf:"oidc-scopes" help:"scopes to ask for; openid, profile and email if empty"`
	OIDCClaim    string        `koanf:"oidc-claim" default:"groups" help:"claim whose values are roles here, or realm_access.roles for one within another"`
	OIDCRoles    []string      `koanf:"oidc-roles" help:"what a value of the claim is here: VALUE=ROLE with the roles admin, approver, responder, auditor, observer and owner; whoever has no such value, and no role that is bound to them, is refused"`
	OIDCTeam     string        `koanf:"oidc-team" help:"claim that says in which team a person works, whose agents follow them; teams are said by admins alone if empty"`
	OIDCAllow    []string      `koanf:"oidc-allow" help:"address or CIDR beside the public internet at which the identity provider may be, on any port"`
	OIDCRoots    string        `koanf:"oidc-ca" help:"certificates (PEM) that its TLS is verified with; the system's if empty"`
	SessionLife  time.Duration `koanf:"session-life" default:"8h" help:"how long an operator stays signed in to the pages, 5m to 168h"`
	SessionIdle  time.Duration `koanf:"session-idle" default:"30m" help:"how long one stays signed in who does nothing, 5m to session-life"`
	StepUp       time.Duration `koanf:"step-up-within" default:"5m" help:"how long after an operator has proved who they are they may do what cannot be undone, 1m to 1h"`
	DrillEvery   time.Duration `koanf:"drill-every" default:"24h" help:"how often it is tried on an agent of the network's own whether agents can be stopped, at least 1m; 0 is never"`
	Heartbeat    time.Duration `koanf:"heartbeat" default:"30m" help:"how often agents are asked to look in, 1m to 24h; each gets its own second of it"`

	// Network is the name of a network that a process serves beside its default
	// one, "" for the default; see networks.go.
	Network string `koanf:"-"`
	// Host is the host name by which a named network is reached, beside its path.
	Host string `koanf:"-"`
	// Program is the version of the program, which backups name.
	Program string `koanf:"-"`
	// AutoClaim names the owner who claims every registration at once; only
	// `reef dev` sets it.
	AutoClaim string `koanf:"-"`
	// Bare switches decisions, leaves and edges off for the ungoverned side of
	// `reef bench`; nothing else may set it.
	Bare bool `koanf:"-"`
	// Out sends traces, metrics and logs of the process, nil if nothing is sent. Who opened
	// it closes it, after the server.
	Out *otlp.Out `koanf:"-"`
	// Stdout is where events go whose sink is stdout; nowhere if nil.
	Stdout io.Writer `koanf:"-"`
	// Clock and Fault are for tests.
	Clock act.Clock              `koanf:"-"`
	Fault func(store.Step) error `koanf:"-"`

	// Ask asks the operator for the passphrase of the key's file, nil where nobody can
	// be asked.
	Ask func() ([]byte, error) `koanf:"-"`
	// KeyRefresh is how often a node reads the ring of keys again; for tests.
	KeyRefresh time.Duration `koanf:"-"`

	credentials string // directory of the service manager's credentials
	unfinished  bool   // opens a network that is being restored
}

// Who may read the observer pages.
const (
	PagesOperators = "operators"
	PagesPublic    = "public"
	PagesOff       = "off"
)

// Whether bootstrap keys are taken at the doors; "" is on.
const (
	LegacyOn  = "on"
	LegacyOff = "off"
)

// Setting describes one field of Config for flags and documents.
type Setting struct {
	Key, Default, Help string
	Kind               reflect.Kind // String, Bool, Slice, Int, or Int64 for a time
}

// Settings lists what can be set, in the order of Config's fields.
func Settings() []Setting {
	t := reflect.TypeFor[Config]()
	var list []Setting
	for f := range t.Fields() {
		if key := f.Tag.Get("koanf"); f.IsExported() && key != "-" {
			list = append(list, Setting{Key: key, Default: f.Tag.Get("default"), Help: f.Tag.Get("help"), Kind: f.Type.Kind()})
		}
	}
	return list
}

// EnvPrefix begins the environment variables that set a key: REEF_PUBLIC_URL.
const EnvPrefix = "REEF_"

// Load merges the settings: flags over environment over DATA/reef.yaml over
// defaults. flags holds only what was given on the command line.
func Load(flags map[string]any) (Config, error) {
	k := koanf.New(".")
	defaults := make(map[string]any)
	known := make(map[string]bool)
	for _, s := range Settings() {
		known[s.Key] = true
		if s.Default != "" {
			defaults[s.Key] = s.Default
		}
	}
	layers := []func() error{
		func() error { return k.Load(confmap.Provider(defaults, "."), nil) },
		func() error {
			data, _ := flags["data"].(string)
			if data == "" {
				data = os.Getenv(EnvPrefix + "DATA")
			}
			path := filepath.Join(data, "reef.yaml")
			if _, err := os.Stat(path); data == "" || errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return nil
		},
		func() error {
			return k.Load(env.Provider(".", env.Opt{Prefix: EnvPrefix, TransformFunc: func(name, value string) (string, any) {
				key := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, EnvPrefix)), "_", "-")
				if !known[key] {
					return "", nil
				}
				return key, value
			}}), nil)
		},
		func() error { return k.Load(confmap.Provider(flags, "."), nil) },
	}
	var c Config
	for _, load := range layers {
		if err := load(); err != nil {
			return c, err
		}
	}
	for _, key := range k.Keys() {
		if !known[key] {
			return c, fmt.Errorf("there is no setting %q: see reef serve --help", key)
		}
	}
	for _, key := range []string{"trusted-proxy", "quotas", "webhook-allow", "webhook-ports", "oauth-clients", "oidc-scopes", "oidc-roles", "oidc-allow", "audit-witnesses", "ocsf"} {
		if list, ok := k.Get(key).(string); ok {
			_ = k.Set(key, strings.Fields(strings.ReplaceAll(list, ",", " ")))
		}
	}
	if err := k.Unmarshal("", &c); err != nil {
		return c, fmt.Errorf("settings: %w", err)
	}
	c.findCredential(os.Getenv("CREDENTIALS_DIRECTORY"))
	return c, nil
}

// Check refuses what cannot work and what would be unsafe.
func (c Config) Check() error {
	if c.Data == "" {
		return errors.New("--data is required: the directory that holds the network")
	}
	if c.DrillEvery < 0 || c.DrillEvery > 0 && c.DrillEvery < time.Minute {
		return errors.New("--drill-every is 1m or more, or 0 for never")
	}
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf("--addr %q is not host:port", c.Addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("--addr %q has no valid port", c.Addr)
	}
	for _, p := range c.TrustedProxy {
		if _, err := parsePrefix(p); err != nil {
			return fmt.Errorf("--trusted-proxy %q is neither an address nor a CIDR", p)
		}
	}
	if err := c.checkKeys(); err != nil {
		return err
	}
	if _, err := c.egress(); err != nil {
		return err
	}
	if err := c.checkSinks(); err != nil {
		return err
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.User != nil {
			return fmt.Errorf("--public-url %q is not a plain http(s) URL", c.PublicURL)
		}
		if u.Scheme == "http" && !loopback(u.Hostname()) {
			return fmt.Errorf("--public-url %s has agents and people send what they sign in with in the clear: write https://%s", c.PublicURL, u.Host)
		}
	}
	if c.DB != "" {
		u, err := url.Parse(c.DB)
		if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
			return errors.New("--db is not a postgres:// URL")
		}
		if _, set := u.User.Password(); set || u.Query().Has("password") {
			return errors.New("--db holds a password, which every user of the machine could read: put it in PGPASSWORD or PGPASSFILE")
		}
	}
	if err := c.checkTransport(host); err != nil {
		return err
	}
	if c.NATS != "" && (c.DB == "" || c.KeyFile == "" && c.KeyStore == "") {
		return errors.New("--nats is for several nodes: they also need --db, and --key-file or --key-store")
	}
	if !slices.Contains([]string{"open", "invite", "closed"}, c.Registration) {
		return fmt.Errorf("--registration %q is none of open, invite, closed", c.Registration)
	}
	if !slices.Contains([]string{PagesOperators, PagesPublic, PagesOff}, c.ObserverPages) {
		return fmt.Errorf("--observer-pages %q is none of operators, public, off", c.ObserverPages)
	}
	if _, err := c.clients(); err != nil {
		return err
	}
	if _, err := c.witnesses(); err != nil {
		return err
	}
	if !slices.Contains([]string{"", LegacyOn, LegacyOff}, c.LegacyKeys) {
		return fmt.Errorf("--legacy-keys %q is none of on, off", c.LegacyKeys)
	}
	if c.SigningEvery != 0 && (c.SigningEvery < time.Hour || c.SigningEvery > 365*24*time.Hour) {
		return fmt.Errorf("--signing-key-every %s is not from 1h to 8760h", c.SigningEvery)
	}
	if c.KeyLife != 0 && (c.KeyLife < time.Hour || c.KeyLife > 5*365*24*time.Hour) {
		return fmt.Errorf("--enrolled-key-life %s is not from 1h to 43800h", c.KeyLife)
	}
	if c.TrustDomain != "" {
		if _, err := svid.Domain(c.TrustDomain); err != nil {
			return fmt.Errorf("--trust-domain: %w", err)
		}
	}
	if c.SVIDLife != 0 && (c.SVIDLife < identity.MinSVIDLife || c.SVIDLife > identity.MaxSVIDLife) {
		return fmt.Errorf("--svid-life %s is not from 10m to 24h", c.SVIDLife)
	}
	if _, err := c.trusted(); err != nil {
		return err
	}
	if err := c.checkSignIn(); err != nil {
		return err
	}
	if !slices.Contains([]string{string(gate.LimitsMoltbook), string(gate.LimitsOpen)}, c.Limits) {
		return fmt.Errorf("--limits %q is none of moltbook, open", c.Limits)
	}
	if c.MailDir != "" {
		if info, err := os.Stat(c.MailDir); err != nil || !info.IsDir() {
			return fmt.Errorf("--mail-dir %q is no directory", c.MailDir)
		}
		if _, err := mail.ParseAddress(c.MailFrom); err != nil {
			return fmt.Errorf("--mail-from %q is no e-mail address", c.MailFrom)
		}
	}
	if c.KeepDeleted < 0 || c.KeepRead < 0 || c.KeepUnread < 0 || c.KeepClosed < 0 || c.KeepDecisions < 0 || c.KeepSpans < 0 {
		return errors.New("--keep-deleted, --keep-read, --keep-unread, --keep-closed, --keep-decisions and --keep-spans are days, none below 0; 0 is the default")
	}
	if err := c.checkQuotas(); err != nil {
		return err
	}
	if !c.Claim && c.Registration == "open" && !loopback(host) {
		return errors.New("open registration without claim on an outside address would let anybody act here")
	}
	if c.Bare && !loopback(host) {
		return errors.New("an ungoverned server listens on loopback only")
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func parsePrefix(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

// Telemetry makes a plan of what is sent out, of the settings and the standard variables.
func (c Config) Telemetry(getenv func(string) string) (otlp.Plan, error) {
	return otlp.Read(otlp.Config{Preset: c.OTLP, KeyFile: c.OTLPKey, Service: "reefwarden", Version: c.Program}, getenv)
}

// KeyPath is where the network's key is. Nodes that share a key file find the
// keys of named networks beside it, as NAME.key.
func (c Config) KeyPath() string {
	switch {
	case c.KeyFile != "" && c.Network != "":
		return filepath.Join(filepath.Dir(c.KeyFile), c.Network+".key")
	case c.KeyFile != "":
		return c.KeyFile
	case c.Network != "":
		return filepath.Join(NetworkDir(c.Data, c.Network), "keys", "network.key")
	}
	return filepath.Join(c.Data, "keys", "network.key")
}

// KillLogPath is where the network's kills are noted. With a configured file those
// of named networks are beside it, as NAME.kills.log.
func (c Config) KillLogPath() string { return c.beside(c.KillLog, "kills.log") }

// beside is where a file of the network is that outlives its database: the one that was
// configured, or one of a name in the network's own directory.
func (c Config) beside(configured, name string) string {
	switch {
	case configured != "" && c.Network != "":
		return filepath.Join(filepath.Dir(configured), c.Network+"."+name)
	case configured != "":
		return configured
	case c.Network != "":
		return filepath.Join(NetworkDir(c.Data, c.Network), name)
	}
	return filepath.Join(c.Data, name)
}

// HeadPath is where this node keeps the newest checkpoint of the record. With a configured
// file those of named networks are beside it, as NAME.audit.head.
func (c Config) HeadPath() string { return c.beside(c.AuditHead, "audit.head") }

// TokenFile is where the operators' token is.
func (c Config) TokenFile() string {
	if c.Network != "" {
		return filepath.Join(NetworkDir(c.Data, c.Network), "operator.token")
	}
	return filepath.Join(c.Data, "operator.token")
}

// Store says how the network's database is opened.
func (c Config) Store() store.Config {
	s := store.Config{Clock: c.Clock, Fault: c.Fault, Unfinished: c.unfinished}
	if c.DB != "" {
		s.URL, s.Schema = c.DB, c.Schema
		if c.Network != "" {
			s.Schema += "_" + strings.ReplaceAll(c.Network, "-", "_")
		}
		return s
	}
	s.Dir = NetworkDir(c.Data, cmp.Or(c.Network, DefaultNetwork))
	return s
}
