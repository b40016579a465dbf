package server

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api/native"
	"github.com/reefwarden/reefwarden/internal/egress"
	"github.com/reefwarden/reefwarden/internal/export"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/store"
)

// poster lets the network reach the receivers of webhooks through the guarded
// client.
type poster struct{ client *egress.Client }

func (p poster) Check(ctx context.Context, url string) error { return p.client.Check(ctx, url) }

func (p poster) Post(ctx context.Context, url string, head map[string][]string, body []byte) (int, error) {
	answer, err := p.client.Post(ctx, url, head, body)
	return answer.Status, err
}

// push is what the network's delivery of events needs.
func (s *Server) push() network.Push {
	c, _ := s.Config.egress() // Check has looked at it
	return network.Push{
		Bus: s.Bus, Poster: poster{egress.New(c)}, Secrets: s.Keys.WebhookWrapper(),
		Render: func(webhook act.ID, e network.Event) (string, []byte, error) {
			return native.Message(s.Codec, webhook, e)
		},
		Operator: s.Identity.OperatorNow,
		Trace: func(ctx context.Context, seq int64) (parent string, err error) {
			err = s.DB.View(ctx, func(v *store.View) (err error) { parent, err = export.Traceparent(v, seq); return err })
			return parent, err
		},
	}
}

// egress reads where webhooks may go.
func (c Config) egress() (out egress.Config, err error) {
	for _, p := range c.WebhookAllow {
		prefix, err := parsePrefix(p)
		if err != nil {
			return out, fmt.Errorf("--webhook-allow %q is neither an address nor a CIDR", p)
		}
		out.Allow = append(out.Allow, netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()))
	}
	for _, p := range c.WebhookPorts {
		port, err := strconv.ParseUint(p, 10, 16)
		if err != nil || port == 0 {
			return out, fmt.Errorf("--webhook-ports %q is no port", p)
		}
		out.Ports = append(out.Ports, uint16(port))
	}
	return out, nil
}
