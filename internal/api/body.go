package api

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	firstBody = 4 << 10  // bytes a body's buffer begins with
	keepBody  = 64 << 10 // larger buffers are not kept
	bombFrom  = 256 << 10
	bombRatio = 200 // beyond bombFrom bytes, text never compresses that well
	maxIdle   = 100 // reads in a row that bring nothing
)

// readBody reads the request's body into c.Body. It holds what has arrived and
// no more, within the budget that all requests share.
func (k *Kernel) readBody(c *Call) error {
	r := c.R
	if r.ContentLength == 0 {
		return nil
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete && !c.Route.Body || c.Route.Act == "" && !c.Route.Body {
		c.W.Header().Set("Connection", "close") // it is not read, so the connection cannot go on
		return nil
	}
	limit := c.Route.MaxBody
	if limit == 0 {
		limit = MaxBody
	}
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	// A body that comes too slowly is cut off by a read deadline in the past; a
	// timer sets it, because only timers and the connection know real time.
	conn := http.NewResponseController(c.W)
	timer := time.AfterFunc(k.BodyTime, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	err := k.takeBuffer(c)
	if err == nil {
		err = k.fill(c, limit)
	}
	if !timer.Stop() {
		c.W.Header().Set("Connection", "close") // the deadline stands or is about to
	}
	if err == nil {
		c.Body = *c.body
		return nil
	}
	c.W.Header().Set("Connection", "close")
	return bodyError(err, limit)
}

var (
	errBomb    = errors.New("compressed beyond what text can be")
	errBudget  = errors.New("no memory for bodies left")
	errTooLong = errors.New("over the limit")
	errCoding  = errors.New("unknown content coding")
)

// takeBuffer gives the call a buffer to begin with. What the buffer has beyond
// the first bytes counts against the budget, like what it grows by.
func (k *Kernel) takeBuffer(c *Call) error {
	c.body = k.bodies.Get().(*[]byte)
	if more := int64(cap(*c.body) - firstBody); more > 0 {
		c.held = more
		if k.held.Add(more) > k.BodyMemory {
			return errBudget
		}
	}
	return nil
}

func (k *Kernel) fill(c *Call, limit int64) error {
	packed := &counter{from: http.MaxBytesReader(c.W, c.R.Body, limit)}
	var src io.Reader = packed
	zipped := false
	switch coding := c.R.Header.Get("Content-Encoding"); {
	case coding == "" || strings.EqualFold(coding, "identity"):
	case strings.EqualFold(coding, "gzip") || strings.EqualFold(coding, "x-gzip"):
		unzip := k.unzips.Get().(*gzip.Reader)
		defer k.unzips.Put(unzip)
		if err := unzip.Reset(packed); err != nil {
			return err
		}
		src, zipped = unzip, true
	default:
		return errCoding
	}
	buf := (*c.body)[:0]
	defer func() { *c.body = buf }()
	idle := 0
	for {
		if len(buf) == cap(buf) {
			size := int64(cap(buf))
			if k.held.Add(size) > k.BodyMemory { // as much again as there is
				k.held.Add(-size)
				return errBudget
			}
			c.held += size
			grown := make([]byte, len(buf), 2*cap(buf))
			copy(grown, buf)
			buf = grown
		}
		n, err := src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			return errTooLong
		case zipped && len(buf) > bombFrom && int64(len(buf)) > bombRatio*packed.n:
			return errBomb
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n > 0:
			idle = 0
		default:
			if idle++; idle > maxIdle {
				return io.ErrNoProgress
			}
		}
	}
}

func (k *Kernel) releaseBody(c *Call) {
	if c.body == nil {
		return
	}
	k.held.Add(-c.held)
	if cap(*c.body) <= keepBody {
		k.bodies.Put(c.body)
	}
	c.body, c.Body, c.held = nil, nil, 0
}

// counter counts what a reader gave.
type counter struct {
	from io.Reader
	n    int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}

func tooLarge(limit int64) *act.Error {
	return act.Errorf(act.TooLarge, "the body is larger than %d bytes", limit).
		WithRule("http.body").WithHint("send less, or in parts")
}

func bodyError(err error, limit int64) *act.Error {
	tooMuch, _ := errors.AsType[*http.MaxBytesError](err)
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	switch {
	case tooMuch != nil || errors.Is(err, errTooLong):
		return tooLarge(limit)
	case errors.Is(err, errBomb):
		return act.Errorf(act.TooLarge, "the body is %v", errBomb).WithRule("http.gzip").WithHint("send the body without compression")
	case errors.Is(err, errBudget):
		return act.Errorf(act.Unavailable, "the server is busy with other bodies").WithRule("http.busy").
			WithRetry(fullRetry).WithHint("retry after the given time; your credential is fine")
	case errors.Is(err, errCoding):
		return act.Errorf(act.Invalid, "the Content-Encoding is not known here").WithRule("http.encoding").WithHint("use gzip or none")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return act.Errorf(act.Invalid, "the body came too slowly").WithRule("http.slow").WithHint("send the body in one go")
	case errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || corrupt:
		return act.Errorf(act.Invalid, "the body is not gzip").WithRule("http.gzip").WithHint("send valid gzip, or no Content-Encoding")
	}
	return act.Errorf(act.Invalid, "the body could not be read to its end").WithRule("http.body").WithHint("send the whole body")
}
