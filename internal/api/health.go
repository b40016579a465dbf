package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const readyTime = 2 * time.Second

// health is the door of /healthz, /readyz and /metrics. It stands outside the
// registry: it shows nothing of the network, and must answer when nothing else
// does. It takes no slot.
func (k *Kernel) health() *Door {
	const why = "the process speaks of itself"
	jsonType := []string{"application/json"}
	return &Door{
		Name: "health",
		Routes: []Route{
			{Method: http.MethodGet, Path: "/healthz", Exempt: why, Anonymous: true, Handle: func(_ context.Context, c *Call) error {
				c.Send(http.StatusOK, jsonType, []byte(`{"status":"ok"}`+"\n"))
				return nil
			}},
			{Method: http.MethodGet, Path: "/readyz", Exempt: why, Anonymous: true, Handle: func(ctx context.Context, c *Call) error {
				ctx, cancel := context.WithTimeout(ctx, readyTime)
				defer cancel()
				if k.Ready != nil {
					if err := k.Ready(ctx); err != nil {
						e := *act.AsError(err)
						if e.Code == act.Internal {
							e.Message = "this node is not ready"
						}
						e.Code = act.Unavailable
						return &e
					}
				}
				c.Send(http.StatusOK, jsonType, k.readiness())
				return nil
			}},
			{Method: http.MethodGet, Path: "/metrics", Exempt: why, Anonymous: true, Handle: k.showMetrics},
		},
		Fail: func(c *Call, e *act.Error) {
			status := http.StatusInternalServerError
			switch e.Code {
			case act.Internal:
			case act.Unavailable, act.RateLimited:
				status = http.StatusServiceUnavailable
			case act.Unauthenticated:
				status = http.StatusUnauthorized
			case act.Denied:
				status = http.StatusForbidden
			case act.NotFound, act.Gone:
				status = http.StatusNotFound
			case act.Method:
				status = http.StatusMethodNotAllowed
			case act.Invalid, act.Conflict, act.TooLarge, act.Mismatch, act.Held:
				status = http.StatusBadRequest
			}
			body, _ := json.Marshal(map[string]string{"error": e.Message, "hint": e.Hint}) // strings always marshal
			c.Send(status, jsonType, append(body, '\n'))
		},
	}
}

// readiness is the answer of a node that should get requests. One whose network
// waits for a confirmation should: observers read, operators confirm, and agents
// are told why they wait, which nothing in front of the node could tell them.
func (k *Kernel) readiness() []byte {
	said := map[string]string{"status": "ready"}
	if err := k.Gate.Barred(); err != nil {
		e := act.AsError(err)
		said["agents"], said["rule"], said["detail"] = "refused", e.Rule, e.Message
		said["hint"] = "an operator runs: reef network show, then reef network confirm"
	}
	if k.Behind != nil {
		if why := k.Behind(); why != "" {
			said["policy"] = "the operators' policies do not fit the defaults of this release: " + why
		}
	}
	body, _ := json.Marshal(said) // strings always marshal
	return append(body, '\n')
}

// showMetrics is for the machine itself and for operators. A request that says it
// was forwarded does not come from the machine itself.
func (k *Kernel) showMetrics(ctx context.Context, c *Call) error {
	if addr, direct := k.peer(c.R); !direct || !addr.IsLoopback() {
		guarded := *c.Route
		guarded.Anonymous = false
		c.Route = &guarded
		if err := k.authenticate(ctx, c); err != nil {
			return err
		}
	}
	c.status = http.StatusOK
	k.metrics.ServeHTTP(c.W, c.R)
	return nil
}
