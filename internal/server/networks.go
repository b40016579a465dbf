package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/reefwarden/reefwarden/internal/act"
)

// A process serves a default network and any number of named ones. Each has a
// store, keys, audit log and trust domain of its own: they share the listener
// and nothing else. A named network is reached by its host name, if it has one,
// and below /n/NAME/.

// DefaultNetwork is the name of the network that is reached without a name.
const DefaultNetwork = "default"

// networkForm keeps names apart as host labels, paths and, with "_" for "-", as
// PostgreSQL schemas.
var networkForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

const (
	maxNetworkName = 30
	settingsFile   = "network.yaml"
	networkPath    = "/n/"
)

// CheckNetworkName checks the name of a named network.
func CheckNetworkName(name string) error {
	if len(name) < 2 || len(name) > maxNetworkName || !networkForm.MatchString(name) || name == DefaultNetwork {
		return act.Errorf(act.Invalid, "%q cannot be the name of a network", name).WithRule("network.name").
			WithHint(`use 2 to 30 of a-z, 0-9 and single "-", beginning with a letter; "default" is taken`)
	}
	return nil
}

// NetworkDir is where a network's files are.
func NetworkDir(data, name string) string { return filepath.Join(data, "networks", name) }

// NetworkInfo is a network of a data directory.
type NetworkInfo struct {
	Name string `json:"name"`
	Host string `json:"host"` // "" when it is reached by its path alone
	Dir  string `json:"dir"`
}

// CreateNetwork makes the directory of a named network. A process that serves the
// data directory opens it within seconds, and makes its key.
func CreateNetwork(data, name, host string) (NetworkInfo, error) {
	out := NetworkInfo{Name: name, Host: host, Dir: NetworkDir(data, name)}
	if err := CheckNetworkName(name); err != nil {
		return out, err
	}
	if err := checkHost(host); err != nil {
		return out, err
	}
	list, err := ListNetworks(data)
	if err != nil {
		return out, err
	}
	for _, n := range list {
		switch {
		case n.Name == name:
			return out, act.Errorf(act.Conflict, "the network %q exists", name).WithRule("network.name").WithHint("choose another name")
		case host != "" && strings.EqualFold(n.Host, host):
			return out, act.Errorf(act.Conflict, "the host %q belongs to the network %q", host, n.Name).WithRule("network.host").WithHint("choose another host")
		}
	}
	if err := os.MkdirAll(out.Dir, 0o700); err != nil {
		return out, err
	}
	// The settings come last: a directory without them is not opened.
	text := fmt.Sprintf("# Settings of the network %s: any of reef serve's that is not about the process.\nhost: %q\n", name, host)
	draft := filepath.Join(out.Dir, "."+settingsFile)
	if err := os.WriteFile(draft, []byte(text), 0o600); err != nil {
		return out, err
	}
	return out, os.Rename(draft, filepath.Join(out.Dir, settingsFile))
}

// ListNetworks lists the networks of a data directory by name, the default first
// if it has been opened.
func ListNetworks(data string) ([]NetworkInfo, error) {
	var out []NetworkInfo
	entries, err := os.ReadDir(filepath.Join(data, "networks"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		dir := NetworkDir(data, e.Name())
		if e.Name() == DefaultNetwork {
			out = slices.Insert(out, 0, NetworkInfo{Name: DefaultNetwork, Dir: dir})
			continue
		}
		if CheckNetworkName(e.Name()) != nil {
			continue
		}
		k, err := networkSettings(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, NetworkInfo{Name: e.Name(), Host: k.String("host"), Dir: dir})
	}
	return out, nil
}

func networkSettings(dir string) (*koanf.Koanf, error) {
	name := filepath.Join(dir, settingsFile)
	if _, err := os.Stat(name); err != nil {
		return nil, err
	}
	k := koanf.New(".")
	if err := k.Load(file.Provider(name), yaml.Parser()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return k, nil
}

func checkHost(host string) error {
	if host == "" {
		return nil
	}
	if h, _, err := net.SplitHostPort(host); err == nil || strings.ContainsAny(host, "/@: ") || h != "" {
		return act.Errorf(act.Invalid, "%q is no host name", host).WithRule("network.host").WithHint("give a bare host name, pricing.example.org say")
	}
	return nil
}

// ofNetwork lists the settings that a network may have of its own. The others
// are the process's.
var ofNetwork = []string{
	"public-url", "registration", "claim-required", "limits", "anonymous-api", "observer-pages", "own-key-approval", "challenge", "mail-dir", "mail-from",
	"keep-deleted", "quotas", "new-agent", "unclaimed-for", "max-per-owner", "max-per-source", "max-agents", "heartbeat", "oauth-clients",
	"oidc-issuer", "oidc-client", "oidc-client-secret-file", "oidc-scopes", "oidc-claim", "oidc-roles", "oidc-team", "oidc-allow", "oidc-ca",
	"trust-domain", "session-life", "session-idle", "step-up-within", "ocsf", "ocsf-key-file",
}

// forNetwork returns the configuration of a named network: the process's, with
// what stands in the network's own file.
func (c Config) forNetwork(name, base string) (Config, error) {
	k, err := networkSettings(NetworkDir(c.Data, name))
	if err != nil {
		return c, err
	}
	// Who governs one network governs no other by that.
	c.OIDCIssuer, c.OIDCClient, c.OIDCSecret, c.OIDCScopes, c.OIDCRoles, c.OIDCTeam, c.OIDCAllow, c.OIDCRoots = "", "", "", nil, nil, "", nil, ""
	c.OCSF, c.OCSFKey = nil, "" // two networks in one file could not be told apart
	own := koanf.New(".")
	for key, value := range k.All() {
		switch {
		case key == "host":
			c.Host = strings.ToLower(k.String("host"))
		case slices.Contains(ofNetwork, key):
			if err := own.Set(key, value); err != nil {
				return c, err
			}
		default:
			return c, fmt.Errorf("%s of the network %s: %q is not a setting of a network", settingsFile, name, key)
		}
	}
	c.PublicURL, c.TrustDomain = base+networkPath+name, "" // a network is a trust domain of its own
	if err := own.Unmarshal("", &c); err != nil {
		return c, err
	}
	c.Network = name
	return c, checkHost(c.Host)
}

// For returns the configuration of one of the data directory's networks, "" or
// DefaultNetwork for the default one, for who opens it without serving it.
func (c Config) For(name string) (Config, error) {
	if name == "" || name == DefaultNetwork {
		return c, nil
	}
	return c.forNetwork(name, "http://"+c.Addr)
}

// networks routes requests to the networks of a process. It belongs to the
// default one, which owns the listener.
type networks struct {
	main *Server

	mu     sync.RWMutex
	byName map[string]*Server // guarded by mu
	byHost map[string]*Server // guarded by mu
	failed map[string]string  // guarded by mu: why a network is not open, so that it is said once
}

func newNetworks(main *Server) *networks {
	return &networks{main: main, byName: make(map[string]*Server), byHost: make(map[string]*Server), failed: make(map[string]string)}
}

// look opens networks that are in the data directory and not open yet. One that
// cannot be opened does not keep the others shut.
func (n *networks) look(ctx context.Context) error {
	list, err := ListNetworks(n.main.Config.Data)
	if err != nil {
		return err
	}
	var failed error
	for _, info := range list {
		if info.Name == DefaultNetwork || n.named(info.Name) != nil {
			continue
		}
		err := n.open(ctx, info.Name)
		if err == nil {
			n.main.log.InfoContext(ctx, "serving a network", "network", info.Name)
			continue
		}
		n.mu.Lock()
		if n.failed[info.Name] != err.Error() {
			n.failed[info.Name] = err.Error()
			failed = errors.Join(failed, fmt.Errorf("network %s: %w", info.Name, err))
		}
		n.mu.Unlock()
	}
	return failed
}

func (n *networks) open(ctx context.Context, name string) error {
	c, err := n.main.Config.forNetwork(name, n.main.URL())
	if err != nil {
		return err
	}
	s, err := open(ctx, c, n.main.log.With("network", name))
	if err != nil {
		return err
	}
	n.main.http.RegisterOnShutdown(s.API.EndStreams)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byName[name] = s
	if c.Host != "" {
		n.byHost[c.Host] = s
	}
	delete(n.failed, name)
	return nil
}

func (n *networks) named(name string) *Server {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.byName[name]
}

// all lists the networks that are open, the default first.
func (n *networks) all() []*Server {
	n.mu.RLock()
	defer n.mu.RUnlock()
	out := []*Server{n.main}
	for _, name := range slices.Sorted(maps.Keys(n.byName)) {
		out = append(out, n.byName[name])
	}
	return out
}

func (n *networks) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.byName {
		s.Close()
	}
}

// ServeHTTP gives a request to the network that it is for. A name that nobody
// has is answered like any other path that leads nowhere.
func (n *networks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s, below := n.of(r)
	if below == "/" && !strings.HasSuffix(r.URL.Path, "/") {
		// The links of the pages are relative, and so need the slash.
		http.Redirect(w, r, r.URL.Path+"/", http.StatusPermanentRedirect)
		return
	}
	if below != "" {
		inner := *r.URL
		inner.Path, inner.RawPath = below, ""
		r2 := *r
		r2.URL, r = &inner, &r2
	}
	s.handler.ServeHTTP(w, r)
}

// of finds the network that a request is for, and the path below its name when
// the path names it.
func (n *networks) of(r *http.Request) (s *Server, below string) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if len(n.byName) == 0 {
		return n.main, ""
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if s := n.byHost[strings.ToLower(host)]; s != nil {
		return s, ""
	}
	// The documents of a network below a path have its name behind their own (RFC 8414
	// §3, RFC 9728 §3).
	if known, name, ok := strings.Cut(r.URL.Path, networkPath); ok && strings.HasPrefix(known, "/.well-known/oauth-") {
		if s := n.byName[name]; s != nil {
			return s, known
		}
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, networkPath); ok {
		name, inner, _ := strings.Cut(rest, "/")
		if s := n.byName[name]; s != nil {
			// Cleaned here: a redirect to the clean path would leave the network.
			return s, path.Clean("/" + inner)
		}
	}
	return n.main, ""
}
