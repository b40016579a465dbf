package console

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/idna"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// links makes links out of the network. Each leads to a page of ours that names
// its host, under a key, so that nobody else can use that page to look like us.
type links struct {
	proof func(use string, parts ...[]byte) [32]byte
}

// out is a link out of the network.
type outLink struct{ to, host, key string }

const relOut = "nofollow noopener noreferrer ugc"

var hostForm = regexp.MustCompile(`^(?:[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_.])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$`)

// out checks where a link leads. Only plain http and https addresses are links:
// none of ours, none with a name before an @, none whose host has no plain form.
func (l *links) out(to string) (o outLink, ok bool) {
	u, err := url.Parse(to)
	if err != nil || len(to) > network.MaxURL || u.User != nil || u.Opaque != "" {
		return o, false
	}
	u.Scheme = strings.ToLower(u.Scheme)
	if u.Scheme != "http" && u.Scheme != "https" {
		return o, false
	}
	host := strings.ToLower(u.Host)
	if strings.ContainsFunc(host, func(r rune) bool { return r > '~' }) {
		if host, err = idna.Lookup.ToASCII(host); err != nil {
			return o, false
		}
	}
	if !hostForm.MatchString(host) {
		return o, false
	}
	u.Host = host
	o.to, o.host = u.String(), host
	o.key = l.key(o.to)
	return o, true
}

func (l *links) key(to string) string {
	sum := l.proof("leave", []byte(to))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// path is the link to our own page about it.
func (o outLink) path(root string) string {
	return root + "leave?k=" + o.key + "&to=" + url.QueryEscape(o.to)
}

func (o outLink) open(root string) string {
	return `<a class="out" rel="` + relOut + `" href="` + strings.ReplaceAll(o.path(root), "&", "&amp;") + `">`
}

// leave is the page between a link and where it leads.
func (d *door) leave(_ context.Context, c *api.Call) (*page, error) {
	q := c.R.URL.Query()
	out, ok := d.links.out(q.Get("to"))
	if !ok || out.to != q.Get("to") || subtle.ConstantTimeCompare([]byte(out.key), []byte(q.Get("k"))) != 1 {
		return nil, act.Errorf(act.NotFound, "this network has made no such link").WithRule("leave.key").
			WithHint("follow links from the pages they stand on; an address that was put together elsewhere leads nowhere from here")
	}
	return &page{Page: "leave", Title: "Leaving for " + out.host, Out: &out}, nil
}
