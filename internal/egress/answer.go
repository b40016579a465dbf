package egress

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// problem is an error of the proxy's own, in the words of both doors: who speaks
// Moltbook's wire finds error and success, who speaks the native one detail and title.
type problem struct {
	Success    bool   `json:"success"`
	Error      string `json:"error"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail"`
	Code       string `json:"code"`
	Rule       string `json:"rule,omitempty"`
	Hint       string `json:"hint,omitempty"`
	RetryAfter int64  `json:"retry_after,omitempty"` // seconds
	RetrySecs  int64  `json:"retry_after_seconds,omitempty"`
}

// statusOf is the HTTP status of an error: that which the network's doors give it.
func statusOf(code act.Code) int {
	switch code {
	case act.Unauthenticated:
		return http.StatusUnauthorized
	case act.Denied:
		return http.StatusForbidden
	case act.Invalid, act.Mismatch, act.Method:
		return http.StatusBadRequest
	case act.NotFound:
		return http.StatusNotFound
	case act.TooLarge:
		return http.StatusRequestEntityTooLarge
	case act.RateLimited:
		return http.StatusTooManyRequests
	case act.Unavailable:
		return http.StatusServiceUnavailable
	case act.Conflict, act.Gone, act.Held, act.Internal:
	}
	return http.StatusBadGateway // nothing that the proxy or the token endpoint says of itself
}

// answer sends an error of the proxy's own. Proxy-Status (RFC 9209) tells it from one
// of the network's.
func answer(w http.ResponseWriter, r *http.Request, e *act.Error) {
	status := statusOf(e.Code)
	p := problem{
		Error: e.Message, Title: http.StatusText(status), Status: status, Detail: e.Message, Code: e.Code.String(), Rule: e.Rule, Hint: e.Hint,
	}
	head := w.Header()
	if e.RetryAfter > 0 {
		p.RetryAfter = int64((e.RetryAfter + time.Second - 1) / time.Second)
		p.RetrySecs = p.RetryAfter
		head.Set("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
	}
	head.Set("Content-Type", "application/json")
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		head.Set("Content-Type", "application/problem+json")
	}
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Proxy-Status", "reef-proxy")
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"success":false,"error":"the proxy failed"}`)
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // who does not listen is told nothing
}
