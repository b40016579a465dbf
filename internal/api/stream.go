package api

import (
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Limits of streams and of requests that wait, unless Config says otherwise.
const (
	Streams          = 2048             // under way at once
	StreamsPerCaller = 8                // of which one caller may hold
	PushTime         = 10 * time.Second // for a piece of a stream to be taken by its reader
)

// lanes: a request that waits for what happens stands in a lane of its own, so
// that waiting takes no slot from those who act, and is not bound by ActTime.
func (k *Kernel) laneOf(c *Call) *lane {
	if c.waits() {
		return k.streams
	}
	return k.lane(c.Principal)
}

// Streaming counts the streams and waits under way of those for whom in is true.
func (k *Kernel) Streaming(in func(act.ID) bool) (n int64) {
	k.streams.mu.Lock()
	defer k.streams.mu.Unlock()
	for who, each := range k.streams.callers {
		if who.id != 0 && in(who.id) {
			n += int64(each)
		}
	}
	return n
}

func (c *Call) waits() bool { return c.Route.Waits != nil && c.Route.Waits(c.R) }

// Ending returns a channel that is closed when the server begins to stop: who
// waits answers then.
func (c *Call) Ending() <-chan struct{} { return c.kernel.ending }

// EndStreams has every stream and every wait end, for a server that stops.
func (k *Kernel) EndStreams() { k.endOnce.Do(func() { close(k.ending) }) }

// Begin sends the head of an answer that goes on until its reader leaves. The
// time limits of the connection end; each piece has its own.
func (c *Call) Begin(contentType []string) error {
	conn := http.NewResponseController(c.W)
	if err := conn.SetWriteDeadline(time.Time{}); err != nil {
		return act.Errorf(act.Internal, "this connection cannot carry a stream: %w", err)
	}
	_ = conn.SetReadDeadline(time.Time{}) // or the reader would be taken for gone after a while
	c.status = http.StatusOK
	head := c.W.Header()
	head["Content-Type"] = contentType
	head["X-Accel-Buffering"] = []string{"no"} // proxies must not hold pieces back
	c.W.WriteHeader(http.StatusOK)
	return conn.Flush()
}

// Push sends a piece of a stream. A reader that does not take it in PushTime is
// cut off: nothing piles up for it here, and it resumes where it was.
func (c *Call) Push(piece []byte) error {
	conn := http.NewResponseController(c.W)
	// As with bodies: a timer sets a deadline in the past, because only timers and
	// the connection know real time.
	timer := time.AfterFunc(c.kernel.PushTime, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer timer.Stop()
	if _, err := c.W.Write(piece); err != nil {
		return err
	}
	return conn.Flush()
}
