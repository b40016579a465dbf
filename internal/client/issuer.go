package client

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	pathMetadata   = "/.well-known/oauth-authorization-server"
	pathToken      = "/oauth/token" //nolint:gosec // a path
	pathIntrospect = "/oauth/introspect"
	pathRevoke     = "/oauth/revoke"
)

// Issuer asks the network at base for its public URL, for which proofs and tokens are
// made. A server that is reached at another place may not claim to be it: what is
// signed for the one could be shown to the other. Only on this machine is it believed,
// because there the address is that of what stands behind the public one.
func Issuer(ctx context.Context, base string) (string, error) {
	if err := checkAddress(base); err != nil {
		return "", err
	}
	c, err := open(base, "")
	if err != nil {
		return "", err
	}
	var said struct {
		Issuer string `json:"issuer"`
	}
	if err := c.call(ctx, http.MethodGet, pathMetadata, nil, nil, &said); err != nil {
		return "", err
	}
	if said.Issuer != c.base && !onThisMachine(c.base) {
		return "", act.Errorf(act.Denied, "the server at %s says that it is another one: %.200q", c.base, said.Issuer).WithRule("issuer.url").
			WithHint("give its public URL with --url; an operator sets it as public-url")
	}
	if u, err := url.Parse(said.Issuer); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", act.Errorf(act.Invalid, "the server at %s names no public URL", c.base).WithRule("issuer.url").
			WithHint("check that the address is a Reefwarden server of the same version")
	}
	return said.Issuer, nil
}

// checkAddress refuses to send what is worth stealing over a wire that others can
// read.
func checkAddress(base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return act.Errorf(act.Invalid, "the server's address is not a plain http(s) URL").WithHint("it looks like http://127.0.0.1:7333")
	}
	if u.Scheme != "https" && !onThisMachine(base) {
		return act.Errorf(act.Denied, "%s is not encrypted and not on this machine", u.Host).WithRule("issuer.plain").
			WithHint("use its https address")
	}
	return nil
}

// onThisMachine reports whether an address is loopback.
func onThisMachine(base string) bool {
	u, err := url.Parse(base)
	return err == nil && Loopback(u.Host)
}

// Loopback reports whether a host, with or without a port, is this machine by name
// or number. Nothing is looked up: localhost is loopback by RFC 6761 §6.3.
func Loopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
