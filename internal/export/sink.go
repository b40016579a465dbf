package export

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Event is one leaf as a line of JSON.
type Event struct {
	Seq   int64
	At    int64 // Unix microseconds
	Class int64
	Line  []byte // without a newline
}

// Sink takes events. It is used by one goroutine.
type Sink interface {
	// Name tells sinks apart, also over restarts; it holds no secret.
	Name() string
	// Take returns nil only when the events are where they should be.
	Take(ctx context.Context, events []Event) error
	Close() error
}

const (
	sinkTime  = 15 * time.Second // of one request
	maxAnswer = 64 << 10         // bytes of an answer that are read
)

// OpenSink opens a sink by what the settings say of it:
//
//	stdout               lines on standard output
//	file:PATH            lines in a file, which is rotated
//	hec:URL              Splunk's event collector; see hec for what its query may say
//	webhook:URL          lines in the body of a POST, signed if there is a key
//
// key is the token or secret that the last two want.
func OpenSink(text, key string, stdout io.Writer) (Sink, error) {
	kind, where, _ := strings.Cut(text, ":")
	switch kind {
	case "stdout":
		if where == "" && stdout != nil {
			return &stream{stdout}, nil
		}
	case "file":
		if where != "" {
			return openFile(where)
		}
	case "hec", "webhook":
		u, err := url.Parse(where)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
			return nil, refused("%s: wants an https URL without a user; http is for this machine only", kind)
		}
		if kind == "hec" {
			return newHEC(u, key)
		}
		return &webhook{url: u.String(), key: key, client: client()}, nil
	}
	return nil, refused("%q is no sink; there are stdout, file:PATH, hec:URL and webhook:URL", text)
}

// CheckSink fails where OpenSink would, as far as that can be known without opening
// anything.
func CheckSink(text, key string) error {
	path, is := strings.CutPrefix(text, "file:")
	if !is || path == "" {
		s, err := OpenSink(text, key, io.Discard)
		if err != nil {
			return err
		}
		return s.Close()
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return refused("the directory of %s is not there", path)
	}
	return nil
}

func refused(format string, args ...any) error {
	return act.Errorf(act.Invalid, format, args...).WithRule("ocsf.sink").WithHint("see docs/observability.md")
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Key reads the key of sinks from its file; "" names none.
func Key(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("ocsf-key-file: %w", err)
	}
	key := strings.TrimSpace(string(raw))
	if key == "" || strings.ContainsAny(key, "\r\n") {
		return "", refused("ocsf-key-file holds no key on a single line")
	}
	return key, nil
}

// client reaches what the operator has named. It follows no redirects, which would take
// the key elsewhere.
func client() *http.Client {
	return &http.Client{Timeout: sinkTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// stream writes lines.
type stream struct{ to io.Writer }

func (s *stream) Name() string { return "stdout" }
func (s *stream) Close() error { return nil }

func (s *stream) Take(_ context.Context, events []Event) error {
	_, err := s.to.Write(lines(events))
	return err
}

func lines(events []Event) []byte {
	var b bytes.Buffer
	for _, e := range events {
		b.Write(e.Line)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// webhook posts lines, signed as Standard Webhooks wants it.
type webhook struct {
	url, key string
	client   *http.Client
}

func (w *webhook) Name() string { return "webhook:" + w.url }

func (w *webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

func (w *webhook) Take(ctx context.Context, events []Event) error {
	body := lines(events)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	id, at := "ocsf_"+strconv.FormatInt(events[0].Seq, 10)+"_"+strconv.FormatInt(events[len(events)-1].Seq, 10), strconv.FormatInt(time.Now().Unix(), 10) //arch:allow receivers compare it with their clock
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", at)
	if w.key != "" {
		m := hmac.New(sha256.New, []byte(w.key))
		m.Write([]byte(id + "." + at + "."))
		m.Write(body)
		req.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
	}
	_, err = answered(w.client, req)
	return err
}

// answered sends a request and returns the body of a good answer.
func answered(c *http.Client, req *http.Request) ([]byte, error) {
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it is read as far as it matters
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("%s answers %d", req.URL.Host, resp.StatusCode)
	}
	return body, nil
}
