package egress

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

// forbidden are URLs that must not be reached, in all the forms that one can
// write them in.
func forbidden() (list []string) {
	hosts := []string{
		"127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0.0.0.0", "0", "localhost", "LOCALHOST", "localhost.", "2130706433",
		"0x7f000001", "0x7f.0.0.1", "0X7F.1", "017700000001", "0177.0.0.1", "0177.1", "127.0.0.01", "00000127.0.0.1", "10.0.0.1",
		"10.255.255.255", "012.0.0.1", "0xa.0.0.1", "167772161", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.1.1",
		"0xc0a80101", "3232235777", "169.254.169.254", "169.254.0.1", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "100.64.0.1",
		"100.127.255.255", "192.0.0.1", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.7",
		"203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "1.2.3", "1.2.3.4.5", "256.1.1.1", "999999999999",
		"[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]",
		"[::ffff:8.8.8.8]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::169.254.169.254]", "[64:ff9b:1::1]", "[100::1]",
		"[2001::1]", "[2001:db8::1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[3fff::1]", "[fc00::1]", "[fd00:ec2::254]", "[fdff::1]",
		"[fe80::1]", "[fe80::1%25eth0]", "[fec0::1]", "[ff02::1]", "[ff05::2]", "[5f00::1]", "private.example", "metadata.example",
		"mapped.example", "mixed.example", "v6.example", "nothing.example", "exa_mple.example", "-x.example", "a..example", ".example",
		"xn--.0x7f", "127。0。0。1", "１２７.0.0.1", "%31%32%37.0.0.1", "127.0.0.1%00.example", "example%2ecom@127.0.0.1",
	}
	for _, h := range hosts {
		list = append(list, "http://"+h+"/hook", "https://"+h+"/hook")
	}
	return append(list,
		"http://user@public.example/", "http://user:pass@public.example/", "http://public.example@127.0.0.1/", "http://@public.example/",
		"http://public.example:22/", "http://public.example:0/", "http://public.example:/", "http://public.example:080/", "http://public.example:65536/",
		"http://public.example:-80/", "http://public.example#@127.0.0.1/", "http://public.example\\@127.0.0.1/", "http:\\\\127.0.0.1/",
		"http:/127.0.0.1/", "http:127.0.0.1", "//127.0.0.1/", "ftp://public.example/", "file:///etc/passwd", "gopher://public.example/",
		"unix:///run/x.sock", "javascript:alert(1)", "", " ", "http://", "http:///", "http://[::1", "http://public.example /", "http://public.example/\r\nX: y",
		"http://public.example/"+strings.Repeat("a", MaxURL),
	)
}

// names is what the test's resolver knows.
var names = map[string][]string{
	"public.example":   {"93.184.216.34"},
	"private.example":  {"10.1.2.3"},
	"metadata.example": {"169.254.169.254"},
	"mapped.example":   {"::ffff:127.0.0.1"},
	"mixed.example":    {"93.184.216.34", "127.0.0.1"},
	"v6.example":       {"fd00::1"},
	"localhost":        {"127.0.0.1"},
}

func resolve(_ context.Context, host string) (list []netip.Addr, err error) {
	for _, text := range names[strings.ToLower(host)] {
		list = append(list, netip.MustParseAddr(text))
	}
	if list == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return list, nil
}

// T54: no form of a URL leads to an address that is not public, neither when it
// is checked nor when it is used.
func TestT54_NothingButPublicAddresses(t *testing.T) {
	c := New(Config{Resolve: resolve})
	list := forbidden()
	if len(list) < 100 {
		t.Fatalf("%d forms only", len(list))
	}
	for _, raw := range list {
		if err := c.Check(t.Context(), raw); act.CodeOf(err) != act.Invalid {
			t.Errorf("Check(%q) = %v", raw, err)
		}
		if _, err := c.Post(t.Context(), raw, nil, nil); act.CodeOf(err) != act.Invalid {
			t.Errorf("Post(%q) = %v", raw, err)
		}
	}
	for _, raw := range []string{"https://public.example/a?b=c", "http://public.example", "https://93.184.216.34:443/", "https://[2606:2800:220:1::1]/"} {
		if err := c.Check(t.Context(), raw); err != nil {
			t.Errorf("Check(%q) = %v", raw, err)
		}
	}
}

// T54: a name that changes between check and use is judged again, and the
// connection goes to what was judged.
func TestT54_Rebinding(t *testing.T) {
	var hits, asked atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer inside.Close()
	port := netip.MustParseAddrPort(inside.Listener.Addr().String()).Port()
	c := New(Config{Ports: []uint16{port}, Resolve: func(context.Context, string) ([]netip.Addr, error) {
		if asked.Add(1) == 1 {
			return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}})
	raw := strings.Replace(inside.URL, "127.0.0.1", "rebind.example", 1)
	if err := c.Check(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Post(t.Context(), raw, nil, nil); act.CodeOf(err) != act.Invalid {
		t.Errorf("Post = %v", err)
	}
	if asked.Load() != 2 || hits.Load() != 0 {
		t.Errorf("resolved %d times, want once for each use; %d connections", asked.Load(), hits.Load())
	}
}

// T54: a redirect is an answer, not a way on; an answer is bounded.
func TestT54_RedirectAndSize(t *testing.T) {
	var followed atomic.Int32
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer target.Close()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			_, _ = w.Write(make([]byte, 2*MaxAnswer))
			return
		}
		http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
	}))
	defer receiver.Close()
	c := New(Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	a, err := c.Post(t.Context(), receiver.URL, nil, []byte("{}"))
	if err != nil || a.Status != http.StatusTemporaryRedirect || followed.Load() != 0 {
		t.Errorf("%+v %v, followed %d", a.Status, err, followed.Load())
	}
	if a, err = c.Post(t.Context(), receiver.URL+"/big", nil, nil); err != nil || len(a.Body) > MaxAnswer {
		t.Errorf("%d bytes, %v", len(a.Body), err)
	}
}

// What Parse lets through is a host that is judged as it is connected to.
func FuzzParse(f *testing.F) {
	for _, raw := range forbidden() {
		f.Add(raw)
	}
	f.Add("https://public.example/a")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := Parse(raw)
		if err != nil {
			return
		}
		if u.User != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
			t.Errorf("%q is let through as %q", raw, u)
		}
		again, err := Parse(u.String())
		if err != nil || again.Host != u.Host {
			t.Errorf("%q and %q lead to different hosts (%v)", raw, u, err)
		}
	})
}
