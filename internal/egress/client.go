package egress

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Limits of one exchange.
const (
	Time      = 5 * time.Second
	MaxAnswer = 1 << 20 // bytes
	MaxURL    = 2048    // bytes
)

// Config tunes a client. The zero value reaches ports 443 and 80 of the public
// internet.
type Config struct {
	Ports []uint16       // 443 and 80 if empty
	Allow []netip.Prefix // reached on any port though they are not public
	// Resolve finds a name's addresses; the system's resolver if nil.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	Roots   *x509.CertPool // the system's if nil
	Time    time.Duration  // of a whole exchange; Time if 0
}

// Client reaches addresses that strangers name. It is safe for concurrent use.
type Client struct{ Config }

// New returns a client.
func New(c Config) *Client {
	if len(c.Ports) == 0 {
		c.Ports = []uint16{443, 80}
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	c.Time = cmp.Or(c.Time, Time)
	return &Client{c}
}

// Answer is what came back.
type Answer struct {
	Status int
	Body   []byte
}

func refused(why string) error {
	return act.Errorf(act.Invalid, "the URL cannot be used: %s", why).WithRule("egress.url").
		WithHint("give an https URL with a public host name and no user, port or fragment of its own")
}

// Parse reads a URL and refuses every form that could hide where it leads. It
// asks nobody.
func Parse(raw string) (*url.URL, error) {
	if len(raw) > MaxURL {
		return nil, refused("it is too long")
	}
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] > '~' || raw[i] == '\\' {
			return nil, refused("it holds a character that must be escaped")
		}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "":
		return nil, refused("it has no valid form")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, refused("it is not https or http")
	case u.User != nil || strings.Contains(u.Host, "@"):
		return nil, refused("it holds a user name")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, refused("it has a fragment")
	}
	if port := u.Port(); strings.HasSuffix(u.Host, ":") || port != "" && !plainPort(port) {
		return nil, refused("its port is not a number")
	}
	return u, checkHost(u.Hostname(), strings.HasPrefix(u.Host, "["))
}

func plainPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// checkHost takes a dotted IPv4 address, an IPv6 address in brackets, or a name
// that no resolver takes for a number.
func checkHost(host string, bracketed bool) error {
	if bracketed {
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return refused("its address is not one")
		}
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if host == "" || len(host) > 253 {
		return refused("it has no host")
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return refused("its host is no name")
		}
		for i := range len(l) {
			c := l[i] | 0x20
			if (c < 'a' || c > 'z') && (l[i] < '0' || l[i] > '9') && l[i] != '-' {
				return refused("its host is no name")
			}
		}
	}
	// A name that ends in a number is an address in disguise (WHATWG URL §3.5).
	if c := labels[len(labels)-1][0]; c >= '0' && c <= '9' {
		return refused("its host is a number")
	}
	return nil
}

// Check reads a URL, resolves its host and refuses it if any of the addresses
// may not be reached.
func (c *Client) Check(ctx context.Context, raw string) error {
	u, err := Parse(raw)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Time)
	defer cancel()
	_, err = c.pin(ctx, u)
	return err
}

// pin resolves the host once and returns the one address to connect to.
func (c *Client) pin(ctx context.Context, u *url.URL) (netip.AddrPort, error) {
	port := uint16(443)
	if u.Scheme == "http" {
		port = 80
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return netip.AddrPort{}, refused("its port is not a number")
		}
		port = uint16(n)
	}
	var addrs []netip.Addr
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		addrs = []netip.Addr{ip}
	} else {
		if addrs, err = c.Resolve(ctx, u.Hostname()); err != nil || len(addrs) == 0 {
			return netip.AddrPort{}, act.Errorf(act.Invalid, "the URL's host cannot be resolved").WithRule("egress.resolve").
				WithHint("check the host name, and try again later")
		}
		for i := range addrs {
			addrs[i] = addrs[i].Unmap() // resolvers give IPv4 addresses in IPv6 form
		}
	}
	for _, ip := range addrs {
		if err := c.judge(ip, port); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPortFrom(addrs[0], port), nil
}

func (c *Client) judge(ip netip.Addr, port uint16) error {
	if slices.ContainsFunc(c.Allow, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return nil
	}
	if !Public(ip) {
		return refused("its host is not public")
	}
	if !slices.Contains(c.Ports, port) {
		return refused("its port is not one that is reached from here")
	}
	return nil
}

// Post sends a body to a URL. The answer is an error only if there was none: a
// redirect, too, is an answer. Errors of the URL are act.Invalid, others
// act.Unavailable.
func (c *Client) Post(ctx context.Context, raw string, head http.Header, body []byte) (Answer, error) {
	return c.send(ctx, http.MethodPost, raw, head, body)
}

// Get asks for what is at a URL; see Post.
func (c *Client) Get(ctx context.Context, raw string, head http.Header) (Answer, error) {
	return c.send(ctx, http.MethodGet, raw, head, nil)
}

func (c *Client) send(ctx context.Context, method, raw string, head http.Header, body []byte) (Answer, error) {
	u, err := Parse(raw)
	if err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return Answer{}, refused("it has no valid form")
	}
	for name, values := range head {
		req.Header[name] = values
	}
	resp, answer, err := c.exchange(req)
	if err != nil {
		return answer, err
	}
	answer.Status = resp.StatusCode
	return answer, nil
}

// exchange sends a request to the one address that its URL is pinned to, and reads the
// whole answer.
func (c *Client) exchange(req *http.Request) (*http.Response, Answer, error) {
	u, err := Parse(req.URL.String())
	if err != nil {
		return nil, Answer{}, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), c.Time)
	defer cancel()
	to, err := c.pin(ctx, u)
	if err != nil {
		return nil, Answer{}, err
	}
	transport := c.transport(to)
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req.WithContext(ctx)) // follows no redirect
	if err != nil {
		return nil, Answer{}, act.Errorf(act.Unavailable, "the receiver does not answer: %w", err).WithRule("egress.connect")
	}
	defer resp.Body.Close() //nolint:errcheck // the connection is not used again
	answer := Answer{Status: resp.StatusCode}
	if answer.Body, err = io.ReadAll(io.LimitReader(resp.Body, MaxAnswer)); err != nil {
		return nil, answer, act.Errorf(act.Unavailable, "the receiver's answer broke off: %w", err).WithRule("egress.answer")
	}
	return resp, answer, nil
}

// RoundTrip implements http.RoundTripper, for libraries that bring their own idea of an
// exchange. The answer's body has been read.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, answer, err := c.exchange(req)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer.Body))
	return resp, nil
}

var errElsewhere = errors.New("egress: the connection does not go to the pinned address")

// transport connects to one address, whatever the request's host is.
func (c *Client) transport(to netip.AddrPort) *http.Transport {
	dialer := &net.Dialer{Timeout: c.Time, Control: func(_, address string, _ syscall.RawConn) error {
		if at, err := netip.ParseAddrPort(address); err != nil || at.Port() != to.Port() || at.Addr().Unmap() != to.Addr().Unmap() {
			return errElsewhere
		}
		return nil
	}}
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", to.String())
		},
		TLSClientConfig:        &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    c.Time,
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      true, // each exchange is resolved and judged anew
		DisableCompression:     true, // an answer is as large as what was sent
	}
}
