package egress

import (
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

// roads are what an agent may ask through a proxy: the doors of agents.
var roads = []string{"/api/v1/", "/v1/", "/mcp/"}

// papers are the documents beside them that agents read.
var papers = []string{"/mcp", "/skill.md", "/heartbeat.md", "/messaging.md", "/rules.md", "/skill.json", "/skill.json.jws", "/.well-known/jwks.json"}

// keys are paths on which credentials come and go. They are the proxy's business and
// its owner's: an agent that holds none has none to give up, and must not end the one
// that acts for it.
var keys = []string{"/v1/enroll", "/v1/me/keys/", "/v1/credentials/", "/v1/svids"}

// guard says which requests a proxy takes.
type guard struct {
	port string // of the address that it listens on; "" for a Unix socket
}

func guardOf(at net.Addr) guard {
	if tcp, ok := at.(*net.TCPAddr); ok {
		return guard{port: strconv.Itoa(tcp.Port)}
	}
	return guard{}
}

// check refuses what is no request of a program on this machine to its own network.
// Browsers run what strangers wrote: a page that knew the port could act for the agent
// (requests with Origin or Sec-Fetch-Site), or be served under a name that resolves to
// this machine (DNS rebinding: the Host header names it).
func (g guard) check(r *http.Request) *act.Error {
	switch {
	case r.Method == http.MethodConnect || !strings.HasPrefix(r.RequestURI, "/"):
		return refuse(act.Denied, "proxy.open", "this is no open proxy", "make it the base URL of the client, not its proxy")
	case !g.fromHere(r.RemoteAddr):
		return refuse(act.Denied, "proxy.remote", "the request comes from another machine", "run a proxy on that machine")
	case len(r.Header["Origin"]) > 0 || len(r.Header["Sec-Fetch-Site"]) > 0:
		return refuse(act.Denied, "proxy.browser", "browsers may not act for the agent", "use the pages of the network")
	case !g.names(r.Host):
		return refuse(act.Denied, "proxy.host", "the Host header names another machine", "use the address that the proxy printed")
	}
	return onRoad(r)
}

func (g guard) fromHere(remote string) bool {
	return g.port == "" || client.Loopback(remote)
}

// names reports whether a Host header means this proxy.
func (g guard) names(host string) bool {
	if !client.Loopback(host) {
		return false
	}
	_, port, err := net.SplitHostPort(host)
	switch {
	case g.port == "": // a Unix socket, at which clients write what they like behind localhost
		return true
	case err != nil: // no port
		return g.port == "80"
	}
	return port == g.port
}

// onRoad checks the path. Only one that means the same to everybody who reads it is
// taken: no dots, no doubled or hidden slashes.
func onRoad(r *http.Request) *act.Error {
	at := r.URL.Path
	plain := at
	if len(at) > 1 {
		plain = strings.TrimSuffix(at, "/")
	}
	escaped := r.URL.EscapedPath()
	begins := func(prefix string) bool { return strings.HasPrefix(at, prefix) && strings.HasPrefix(escaped, prefix) }
	switch {
	case path.Clean(plain) != plain || strings.ContainsAny(at, "\\\x00"):
		return refuse(act.Invalid, "proxy.path", "the path is not in its plain form", "send it without dots and doubled slashes")
	case slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(at+"/", strings.TrimSuffix(k, "/")+"/") }):
		return refuse(act.Denied, "proxy.keys", "the agent's credentials are not the agent's to change here",
			"whoever runs the proxy does that (reef key rotate --agent NAME)")
	case slices.Contains(papers, at) || slices.ContainsFunc(roads, begins):
		return nil
	}
	return refuse(act.NotFound, "proxy.path", "this path is none of an agent's", "the doors are /api/v1 and /v1")
}

func refuse(code act.Code, rule, message, hint string) *act.Error {
	return act.Errorf(code, "%s", message).WithRule(rule).WithHint(hint)
}
