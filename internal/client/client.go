package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	maxAnswer   = 64 << 20 // bytes of an answer that are read
	maxTries    = 5        // of one request
	patience    = 10 * time.Second
	requestTime = 2 * time.Minute
	agentName   = "reef-client/1"
)

// conn is a server and a credential for it.
type conn struct {
	base  string
	token string
	http  *http.Client
}

func open(base, token string) (conn, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return conn{}, act.Errorf(act.Invalid, "the server's address is not a plain http(s) URL").
			WithHint("it looks like http://127.0.0.1:7333")
	}
	return conn{
		base:  strings.TrimRight(base, "/"),
		token: token,
		http: &http.Client{
			Timeout: requestTime,
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, MaxIdleConns: 512, MaxIdleConnsPerHost: 512,
				IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// call sends one request, again if the server asks for it, and decodes the
// answer into out unless that is nil.
func (c conn) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return act.Errorf(act.Invalid, "the request cannot be encoded: %w", err)
		}
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	key := ""
	if method != http.MethodGet {
		key = rand.Text()
	}
	for try := 1; ; try++ {
		err := c.once(ctx, method, target, key, body, out)
		e, failed := errors.AsType[*act.Error](err)
		if !failed || try == maxTries || !repeatable(e) {
			return err
		}
		if !wait(ctx, e.RetryAfter) {
			return err
		}
	}
}

// repeatable reports whether the server said that the same request may succeed
// soon.
func repeatable(e *act.Error) bool {
	return (e.Code == act.Unavailable || e.Code == act.RateLimited) && e.RetryAfter > 0 && e.RetryAfter <= patience
}

// wait waits a little longer than d, so that those who were sent away together
// do not come back together.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d + mathrand.N(d/4+1)) //nolint:gosec // spreading load is no secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c conn) once(ctx context.Context, method, target, key string, body []byte, out any) error {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, r)
	if err != nil {
		return act.Errorf(act.Invalid, "the request cannot be made: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	req.Header.Set("User-Agent", agentName)
	resp, err := c.http.Do(req)
	if e, ok := errors.AsType[*act.Error](err); ok { // a Holder has told already
		return e
	}
	if err != nil {
		return act.Errorf(act.Unavailable, "the server does not answer: %w", err).
			WithHint("check that it runs and that the address is right: " + c.base)
	}
	defer resp.Body.Close() //nolint:errcheck // it is read to its end or given up
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(raw) > maxAnswer {
		return act.Errorf(act.Unavailable, "the answer broke off or is too long: %w", cmpErr(err)).
			WithHint("a write may have been done: look before you repeat it")
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return failure(resp, raw)
	}
	if out == nil {
		return nil
	}
	if plain, ok := out.(*[]byte); ok { // a file, not JSON
		*plain = raw
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return act.Errorf(act.Internal, "the answer is not what this client expects: %w", err).
			WithHint("check that the address is a Reefwarden server of the same version")
	}
	return nil
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("too long")
	}
	return err
}

// failure reads the error of either door.
func failure(resp *http.Response, raw []byte) *act.Error {
	var told struct {
		Code       string `json:"code"`
		Detail     string `json:"detail"` // native
		Error      string `json:"error"`  // Moltbook
		Hint       string `json:"hint"`
		Rule       string `json:"rule"`
		RetryAfter int64  `json:"retry_after"`         // native, seconds
		RetrySecs  int64  `json:"retry_after_seconds"` // Moltbook
	}
	e := &act.Error{}
	if json.Unmarshal(raw, &told) == nil && told.Code != "" {
		e.Code, e.Hint, e.Rule = codeNamed(told.Code, resp.StatusCode), told.Hint, told.Rule
		e.Message = told.Detail
		if e.Message == "" {
			e.Message = told.Error
		}
	} else {
		e.Code = codeOf(resp.StatusCode)
		e.Message = fmt.Sprintf("the server answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
		e.Hint = "something in front of the server may have answered"
	}
	secs, err := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 32)
	if err != nil || secs <= 0 {
		secs = max(told.RetryAfter, told.RetrySecs, 0)
	}
	e.RetryAfter = time.Duration(min(secs, 1<<31)) * time.Second
	if limit, err := strconv.Atoi(resp.Header.Get("X-RateLimit-Limit")); err == nil {
		left, _ := strconv.Atoi(resp.Header.Get("X-RateLimit-Remaining"))
		reset, _ := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64)
		e.Limit = &act.LimitState{Limit: limit, Remaining: left, Reset: time.Unix(reset, 0), Daily: -1}
	}
	return e
}

func codeNamed(name string, status int) act.Code {
	for _, c := range act.Codes() {
		if c.String() == name {
			return c
		}
	}
	return codeOf(status)
}

// codeOf is for answers that do not come from this server.
func codeOf(status int) act.Code {
	switch status {
	case http.StatusUnauthorized:
		return act.Unauthenticated
	case http.StatusForbidden:
		return act.Denied
	case http.StatusNotFound:
		return act.NotFound
	case http.StatusMethodNotAllowed:
		return act.Method
	case http.StatusConflict:
		return act.Conflict
	case http.StatusGone:
		return act.Gone
	case http.StatusRequestEntityTooLarge:
		return act.TooLarge
	case http.StatusTooManyRequests:
		return act.RateLimited
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return act.Unavailable
	}
	if status >= 500 {
		return act.Internal
	}
	return act.Invalid
}

func number(q url.Values, name string, n int) {
	if n > 0 {
		q.Set(name, strconv.Itoa(n))
	}
}

func word(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}
