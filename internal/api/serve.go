package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// Call is one request on its way to an act. It belongs to the goroutine of its
// request and ends with the handler.
type Call struct {
	W         http.ResponseWriter
	R         *http.Request
	Route     *Route
	Principal act.Principal
	Key       gate.Key // of a write: its Idempotency-Key and what went into it, as far as they were sent
	Body      []byte   // decompressed; gone when the handler returns

	kernel *Kernel
	door   *Door
	proves bool // the credential came with the scheme DPoP
	began  time.Time
	trace  string
	status int // sent; 0 before
	lane   *lane
	who    caller
	body   *[]byte // the pooled buffer behind Body
	held   int64   // bytes of it that count against the budget
	answer *[]byte // the pooled buffer that Buffer gave out
}

// serve is the life of a request.
func (k *Kernel) serve(d *Door, r *Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx, trace := telemetry.StartTrace(req.Context(), req.Header.Get("Traceparent"))
		c := &Call{W: w, R: req, Route: r, kernel: k, door: d, began: k.Clock(), trace: trace}
		defer k.end(ctx, c)
		head := w.Header()
		for name, value := range k.fixed {
			head[name] = value
		}
		head["X-Request-Id"] = []string{trace}
		if err := k.run(ctx, c); err != nil {
			k.fail(c, late(err))
		}
	})
}

func (k *Kernel) run(ctx context.Context, c *Call) error {
	if err := k.authenticate(ctx, c); err != nil {
		return err
	}
	if err := k.readBody(c); err != nil {
		return err
	}
	var err error
	if c.Key, err = idempotencyKey(c); err != nil {
		return err
	}
	if c.Key.Context, err = k.stated(c); err != nil {
		return err
	}
	if c.Route.Act != "" {
		l := k.laneOf(c)
		if c.who, err = l.enter(c.Principal); err != nil {
			return err
		}
		c.lane = l
	}
	if !c.waits() {
		limited := &deadline{Context: ctx, at: time.Now().Add(k.ActTime)} //arch:allow contexts end at real times
		defer limited.cancel()
		ctx = limited
	}
	err = c.Route.Handle(ctx, c)
	if err != nil && c.Principal.Kind == act.Observer && !c.Route.Anonymous && act.CodeOf(err) == act.Denied {
		return k.refuse(ctx, c, "key.missing", "this is not for anonymous readers")
	}
	return err
}

// end gives back what the call held, whatever happened. A panic becomes an error
// without detail, or a broken connection if bytes have left already.
func (k *Kernel) end(ctx context.Context, c *Call) {
	cause := recover()
	abort := false
	if cause != nil {
		k.Log.ErrorContext(ctx, "panic in a request", slog.String("route", c.door.Pattern(*c.Route)),
			slog.String("panic", fmt.Sprint(cause)), slog.String("stack", string(debug.Stack())))
		if abort = c.status != 0; !abort {
			k.fail(c, panicked())
		}
	}
	if c.lane != nil {
		c.lane.leave(c.who)
		if c.status < http.StatusInternalServerError {
			k.herd.count(k.Clock())
		}
	}
	k.releaseBody(c)
	if c.answer != nil && cap(*c.answer) <= keepAnswer {
		k.answers.Put(c.answer)
	}
	k.Metrics.HTTP(c.door.Name, c.Route.Path, c.status, k.Clock().Sub(c.began))
	if abort {
		panic(http.ErrAbortHandler)
	}
}

func panicked() *act.Error {
	return act.Errorf(act.Internal, "the server failed to do this").WithRule("http.panic").
		WithHint("if it goes on, tell the operator the request id")
}

// fail sets the headers that errors have in common in every protocol and lets
// the door write the rest.
func (k *Kernel) fail(c *Call, e *act.Error) {
	if c.status != 0 {
		return // the answer has left
	}
	head := c.W.Header()
	if e.Code == act.Unauthenticated || e.Code == act.Denied && c.Principal.Grant != 0 {
		k.challenge(c, e)
	}
	if e.Code == act.Unavailable {
		again := *e
		again.RetryAfter = k.again(c, e)
		e = &again
	}
	if e.RetryAfter > 0 {
		head.Set("Retry-After", strconv.FormatInt(Seconds(e.RetryAfter), 10))
	}
	if c.body == nil && c.R.ContentLength != 0 {
		head.Set("Connection", "close") // what was not read is not waited for
	}
	c.door.Fail(c, e)
}

// again says when a caller should come back that could not be served. Operators
// need not wait for a crowd, and who sends too many requests at once waits only
// for its own.
func (k *Kernel) again(c *Call, e *act.Error) time.Duration {
	least := e.RetryAfter
	if least <= 0 {
		least = fullRetry
	}
	if c.Principal.Kind == act.Operator || c.Route.Act == "" || e.Rule == ruleConcurrency {
		return least
	}
	return k.herd.again(k.Clock(), least)
}

// Seconds rounds a time to wait up to whole seconds, at least one.
func Seconds(d time.Duration) int64 { return max(1, int64((d+time.Second-1)/time.Second)) }

const (
	firstAnswer = 16 << 10
	keepAnswer  = 256 << 10 // larger buffers are not kept
)

// Buffer returns an empty buffer to build an answer in. It is valid until the
// handler returns, one for each call; Send takes it back.
func (c *Call) Buffer() []byte {
	if c.answer == nil {
		c.answer = c.kernel.answers.Get().(*[]byte)
	}
	return (*c.answer)[:0]
}

// Send sends the whole answer. A second one is not sent.
func (c *Call) Send(status int, contentType []string, body []byte) {
	if c.status != 0 {
		return
	}
	c.status = status
	head := c.W.Header()
	if len(body) > 0 {
		head["Content-Type"] = contentType
	}
	if status != http.StatusNotModified { // it would be that of the answer which is not sent
		head["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	c.W.WriteHeader(status)
	_, _ = c.W.Write(body) // a client that has gone needs no answer
	if c.answer != nil && cap(body) > cap(*c.answer) {
		*c.answer = body[:0] // it grew: keep the larger one
	}
}

// Limit returns the state of the quota that governs the call's act, or that of
// reading or writing in general when the call has no act or the act no rate. ok
// is false when nothing limits the caller.
func (c *Call) Limit() (act.LimitState, bool) {
	if c.Route.Act != "" {
		if l, ok := c.kernel.Gate.Limit(c.Principal, c.Route.Act); ok {
			return l, true
		}
	}
	class := gate.QuotaWrite
	if c.R.Method == http.MethodGet || c.R.Method == http.MethodHead {
		class = gate.QuotaRead
	}
	return c.kernel.Gate.LimitOf(c.Principal, class)
}

// Trace returns the request's trace id, for error bodies.
func (c *Call) Trace() string { return c.trace }

// text makes what a stranger wrote fit to be said back: short and printable.
func text(s string, limit int) string {
	quoted := strconv.QuoteToGraphic(s)
	quoted = quoted[1 : len(quoted)-1]
	if len(quoted) > limit {
		cut := limit
		for cut > 0 && quoted[cut]&0xC0 == 0x80 {
			cut--
		}
		quoted = quoted[:cut] + "…"
	}
	return quoted
}
