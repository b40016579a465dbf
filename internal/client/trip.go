package client

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	maxKept   = 1 << 20  // bytes of a body that are kept to be sent again
	maxHeader = 64 << 10 // bytes of an answer's header
	maxRest   = 64 << 10 // bytes of a refusal that are read to keep the connection
	expectFor = 2 * time.Second
)

// RoundTrip sends a request with a token, and a proof if the token wants one. Authorization and DPoP headers
// that it has are replaced. When the network wants another nonce, or does not take the
// token any more, it is sent once more for each: a request that was refused so has done
// nothing. Every other answer comes back as it is.
func (h *Holder) RoundTrip(req *http.Request) (*http.Response, error) {
	body := keep(req.Body)
	defer body.close()
	path, err := h.path(req.URL)
	if err != nil {
		return nil, err
	}
	var refused string
	var newNonce, newToken bool
	for {
		t, err := h.token(req.Context(), refused)
		if err != nil {
			return nil, err
		}
		resp, err := h.send(req, body, path, t)
		if err != nil {
			return nil, err
		}
		switch fault := challenged(resp, t.Type); {
		case fault == "use_dpop_nonce" && !newNonce:
			newNonce = true
		case fault == "invalid_token" && !newToken:
			newToken, refused = true, t.Text
			if _, err := h.token(req.Context(), refused); act.CodeOf(err) == act.Unavailable {
				discard(resp)
				return nil, err // it could not be asked whether the agent is refused
			} else if err != nil && h.Member().ID != "" {
				return resp, nil // what the network says of the request is nearer to the truth
			} else if err != nil {
				discard(resp)
				return nil, err // the session is over, which is what its operator has to know
			}
		default:
			return resp, nil
		}
		discard(resp) // before the wait: it ends a body that is still being sent
		if !body.rewind(req.Context()) {
			return nil, act.Errorf(act.Unavailable, "the network wanted another proof when the body had been sent").WithRule("proxy.body").
				WithRetry(time.Second).WithHint("nothing was done: send the request again")
		}
	}
}

// send sends a request once.
func (h *Holder) send(req *http.Request, body *kept, path string, t Token) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.Header["Authorization"] = []string{t.Type + " " + t.Text}
	delete(out.Header, "Dpop")
	if t.Type == schemeDPoP {
		proof, err := h.prove(req.Method, path, t.Text)
		if err != nil {
			return nil, err
		}
		out.Header["Dpop"] = []string{proof}
	}
	if req.Body != nil && req.Body != http.NoBody {
		out.Body, out.GetBody = body.attempt(), nil
		if req.ContentLength > maxKept {
			// It is sent when the network has taken the proof, as it can be sent once only.
			out.Header["Expect"] = []string{"100-continue"}
		}
	}
	resp, err := h.conn.http.Transport.RoundTrip(out)
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			return nil, cause
		}
		return nil, away(h.conn.base, err)
	}
	h.hear(resp.Header)
	return resp, nil
}

// challenged returns the error of a 401 by which the network asks for another proof
// or token of a scheme (RFC 9449 §9, RFC 6750 §3.1).
func challenged(resp *http.Response, scheme string) string {
	if resp.StatusCode != http.StatusUnauthorized {
		return ""
	}
	for _, line := range resp.Header["Www-Authenticate"] {
		if of, rest, ok := strings.Cut(line, " "); ok && strings.EqualFold(of, scheme) {
			if _, rest, ok = strings.Cut(rest, `error="`); ok {
				fault, _, _ := strings.Cut(rest, `"`)
				return fault
			}
		}
	}
	return ""
}

// discard ends an answer that nobody wants, so that its connection can be used again
// if little of it is left.
func discard(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxRest)) // what breaks off is closed below
	_ = resp.Body.Close()
}

// kept is a body that can be sent more than once as long as what was read of it is
// small: it is kept while it passes, so nothing waits for its end.
type kept struct {
	src   io.ReadCloser
	read  []byte // what was read of src; owned by the attempt that is open
	over  bool   // more was read than is kept; owned like read
	last  *attempt
	ended atomic.Bool // no attempt comes any more: who is done last closes src
}

func keep(src io.ReadCloser) *kept { return &kept{src: src} }

// attempt returns the body from its beginning. The one before has to be closed.
func (k *kept) attempt() *attempt {
	k.last = &attempt{k: k, done: make(chan struct{})}
	return k.last
}

// rewind waits until nobody reads the body any more and reports whether it can be
// sent again.
func (k *kept) rewind(ctx context.Context) bool {
	if k.last == nil {
		return true
	}
	select {
	case <-k.last.done:
		return !k.over
	case <-ctx.Done():
		return false
	}
}

// close closes the body when nobody reads it any more.
func (k *kept) close() {
	if k.src == nil {
		return
	}
	k.ended.Store(true)
	if k.last != nil {
		select {
		case <-k.last.done:
		default:
			return // Close of the attempt does it
		}
	}
	_ = k.src.Close() // it was read, or nobody wants it
}

// attempt is one reading of a body. Transports may read it after they have answered,
// until they close it.
type attempt struct {
	k    *kept
	at   int // how much of k.read was given
	once sync.Once
	done chan struct{} // closed by Close
}

func (a *attempt) Read(p []byte) (int, error) {
	k := a.k
	if a.at < len(k.read) {
		n := copy(p, k.read[a.at:])
		a.at += n
		return n, nil
	}
	n, err := k.src.Read(p)
	switch {
	case k.over:
	case len(k.read)+n > maxKept:
		k.over, k.read, a.at = true, nil, 0
	default:
		k.read = append(k.read, p[:n]...)
		a.at = len(k.read)
	}
	return n, err
}

func (a *attempt) Close() error {
	a.once.Do(func() { close(a.done) })
	if a.k.ended.Load() {
		return a.k.src.Close()
	}
	return nil
}
