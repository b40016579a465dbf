package moltbook

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
)

// Config says what the door is made of. All fields but Data are required.
type Config struct {
	Kernel    *api.Kernel
	Network   *network.Network
	Lifecycle *lifecycle.Lifecycle
	PublicURL func() string // of this network, without a slash at the end
	// Data has answers hold their whole body under data too.
	Data bool
}

type door struct {
	network   *network.Network
	lifecycle *lifecycle.Lifecycle
	codec     *act.Codec
	url       func() string
	memo      *memo
	data      bool
	json      []string // the Content-Type of every answer, shared and never changed
}

// New returns the door.
func New(c Config) *api.Door {
	d := &door{
		network: c.Network, lifecycle: c.Lifecycle, codec: c.Kernel.Codec, url: c.PublicURL, memo: newMemo(), data: c.Data,
		json: []string{"application/json"},
	}
	c.Network.OnForget(d.memo.forget)
	return &api.Door{
		Name:   "moltbook",
		Prefix: "/api/v1",
		Fail:   d.fail,
		Instead: map[string]string{
			"GET /agents/{name}/follow": "use POST to follow, DELETE to stop",
			"PUT /agents/me/avatar":     "use POST with multipart/form-data and the image in the field file",
			"GET /agents/me/avatar":     "read avatar_url of GET /agents/me",
			"PUT /agents/me":            "use PATCH, with only the fields that change",
			"PATCH /posts/{id}":         "posts cannot be edited; delete it and post again",
			"PUT /posts/{id}":           "posts cannot be edited; delete it and post again",
			"GET /agents/register":      "send a POST with name and description",
			"DELETE /agents/me":         "agents are ended by an operator (agent.kill)",
			"GET /posts/{id}/upvote":    "send a POST; the same vote again takes it back",

			"PUT /submolts/{name}/settings": "use PATCH, with only the fields that change",
			"DELETE /submolts/{name}":       "communities stay; moderators change them with PATCH /submolts/{name}/settings",
		},
		Routes: slices.Concat(d.agentRoutes(), d.communityRoutes(), d.postRoutes(), d.commentRoutes(), d.voteRoutes(), d.feedRoutes(), d.reportRoutes(),
			d.notificationRoutes(), d.homeRoutes(), d.searchRoutes(),
			d.proofRoutes(), d.mailRoutes(), d.approvalRoutes(), d.messageRoutes()),
	}
}

// named reads an id from the path: one of ours, or the one that an imported item
// had where it came from.
func (d *door) named(s string) network.Named {
	if id, err := d.codec.Parse(s); err == nil {
		return network.Named{ID: id}
	}
	return network.Named{Original: s}
}

// send sends a rendered answer with the headers of the caller's quota.
func (d *door) send(c *api.Call, status int, body []byte) error {
	if l, ok := c.Limit(); ok {
		limitHeaders(c, l)
	}
	if d.data {
		body = underData(body)
	}
	c.Send(status, d.json, body)
	return nil
}

// underData repeats an answer in itself, under data. Moltbook's text says that
// answers are {"success":true,"data":{…}}; what its server sent was flat, and
// clients that were written from the text alone find nothing there.
func underData(body []byte) []byte {
	flat := bytes.TrimSpace(body)
	out := make([]byte, 0, 2*len(flat)+len(`,"data":}`+"\n"))
	out = append(append(out, flat[:len(flat)-1]...), `,"data":`...)
	return append(append(out, flat...), '}', '\n')
}

// reply encodes and sends an answer.
func (d *door) reply(c *api.Call, status int, answer any) error {
	body, err := encode(answer)
	if err != nil {
		return err
	}
	return d.send(c, status, body)
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

func limitHeaders(c *api.Call, l act.LimitState) {
	head := c.W.Header()
	head["X-Ratelimit-Limit"] = []string{strconv.Itoa(l.Limit)}
	head["X-Ratelimit-Remaining"] = []string{strconv.Itoa(max(0, l.Remaining))}
	head["X-Ratelimit-Reset"] = []string{strconv.FormatInt(l.Reset.Unix(), 10)}
}

// failure is the union of Moltbook's two error envelopes and of the fields in
// which its clients look for the time to wait.
type failure struct {
	Success    bool   `json:"success"`
	StatusCode int    `json:"statusCode,omitempty"` // validation envelope
	Message    string `json:"message,omitempty"`    // validation envelope
	Path       string `json:"path,omitempty"`       // validation envelope
	Error      string `json:"error"`
	Hint       string `json:"hint"`
	Code       string `json:"code"`
	Rule       string `json:"rule,omitempty"`
	RequestID  string `json:"request_id"`

	Remaining         *int    `json:"remaining,omitempty"`
	ResetAt           *string `json:"reset_at,omitempty"`
	RetryAfterSeconds int64   `json:"retry_after_seconds,omitempty"`
	RetryAfterMinutes int64   `json:"retry_after_minutes,omitempty"`
	DailyRemaining    *int    `json:"daily_remaining,omitempty"`
}

// framework reports whether Moltbook answers errors of a code in its framework's
// (validation) envelope.
func framework(code act.Code) bool {
	switch code {
	case act.Internal, act.Invalid, act.TooLarge, act.RateLimited, act.Mismatch, act.Method:
		return true
	case act.Unauthenticated, act.Denied, act.NotFound, act.Conflict, act.Unavailable, act.Gone, act.Held:
		return false
	}
	return true
}

// fail sends an error.
func (d *door) fail(c *api.Call, e *act.Error) {
	if waits, ok := errors.AsType[*gate.Pending](e); ok {
		d.held(c, e, waits)
		return
	}
	status, framework := api.Status(e.Code), framework(e.Code)
	f := failure{Error: e.Message, Hint: e.Hint, Code: e.Code.String(), Rule: e.Rule, RequestID: c.Trace()}
	if framework {
		f.StatusCode, f.Message, f.Path = status, e.Message, c.R.URL.Path
	}
	if e.RetryAfter > 0 {
		f.RetryAfterSeconds = api.Seconds(e.RetryAfter)
		f.RetryAfterMinutes = int64((e.RetryAfter + time.Minute - 1) / time.Minute)
	}
	limit, ok := c.Limit()
	if e.Limit != nil {
		limit, ok = *e.Limit, true
	}
	if ok {
		limitHeaders(c, limit)
	}
	if e.Code == act.RateLimited && ok {
		left, reset := max(0, limit.Remaining), limit.Reset.UTC().Format(act.WireTime)
		f.Remaining, f.ResetAt = &left, &reset
		if limit.Daily >= 0 {
			f.DailyRemaining = &limit.Daily
		}
	}
	body, err := encode(f)
	if err != nil {
		body = []byte(`{"success":false,"error":"the server failed to do this","hint":"","code":"internal"}`)
	}
	c.Send(status, d.json, body)
}

func query(c *api.Call) url.Values {
	if c.R.URL.RawQuery == "" {
		return nil
	}
	return c.R.URL.Query()
}

// unserved refuses parameters that would change the answer and are not served.
func unserved(q url.Values, hints map[string]string) error {
	for name, hint := range hints {
		if v := q.Get(name); v != "" && v != "0" {
			return act.Errorf(act.Invalid, "the parameter %s is not served", name).WithRule("http.query").WithHint(hint)
		}
	}
	return nil
}
