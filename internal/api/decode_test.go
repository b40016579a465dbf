package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
)

type wire struct {
	Title string          `json:"title"`
	Count int             `json:"count"`
	Meta  json.RawMessage `json:"meta"`
}

func TestDecodeJSON(t *testing.T) {
	for _, c := range []struct{ body, rule string }{
		{`{"title":"x"}`, ""},
		{" \r\n{\"title\":\"x\"}\t\n", ""},
		{`{"TITLE":"x"}`, ""},
		{`{"title":"\ud83e\udd9e"}`, ""},
		{`{"meta":{"a":{"a":1},"b":[{"a":1},{"a":2}]}}`, ""},
		{`{}`, ""},
		{``, "http.json"},
		{`[]`, "http.json"},
		{`null`, "http.json"},
		{`{"title":"x"}x`, "http.json"},
		{`{"title":"x"}]`, "http.json"},
		{`{"title":"x",}`, "http.json"},
		{`{"title":"x","title":"y"}`, "http.json.twice"},
		{`{"title":"x","tit\u006ce":"y"}`, "http.json.twice"},
		{`{"title":"x","TITLE":"y"}`, "http.json.twice"},
		{`{"count":1,"\u017fount":2}`, "http.json.field"},
		{`{"meta":{"s":1,"ſ":2}}`, "http.json.twice"},
		{`{"meta":{"k":1,"K":2}}`, "http.json.twice"},
		{`{"other":1}`, "http.json.field"},
		{`{"title":1}`, "http.json.type"},
		{`{"count":"1"}`, "http.json.type"},
		{`{"count":1.5}`, "http.json.type"},
		{`{"count":1e400}`, "http.json.type"},
		{`{"title":"\u0000"}`, "text.encoding"},
		{"{\"title\":\"\x00\"}", "text.encoding"},
		{`{"title":"\ud83e"}`, "text.encoding"},
		{`{"title":"\udd9e\ud83e"}`, "text.encoding"},
		{`{"title":"\ud83e\u0041"}`, "text.encoding"},
		{"{\"title\":\"\xc3\"}", "text.encoding"},
		{`{"title":"` + "\x01" + `"}`, "http.json"},
		{`{"meta":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, ""},
		{`{"meta":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, "http.json.depth"},
	} {
		var into wire
		err := DecodeJSON([]byte(c.body), &into)
		if c.rule == "" {
			if err != nil {
				t.Errorf("%.60q: %v", c.body, err)
			}
			continue
		}
		e := act.AsError(err)
		if err == nil || e.Code != act.Invalid || e.Rule != c.rule || e.Hint == "" {
			t.Errorf("%.60q: %v (rule %q, hint %q), want rule %s and a hint", c.body, err, e.Rule, e.Hint, c.rule)
		}
	}
}

// A name that stands twice is found among few and among many, wherever it is.
func TestDecodeFindsTwins(t *testing.T) {
	for _, n := range []int{2, fewFields - 1, fewFields, fewFields + 1, fewFields + 2, 500} {
		var b strings.Builder
		b.WriteString(`{"meta":{`)
		for i := range n {
			b.WriteString(`"` + strings.Repeat("a", i+1) + `":{"x":1,"y":2},`)
		}
		once, twice := b.String()+`"z":1}}`, b.String()+`"A":1}}`
		var into wire
		if err := DecodeJSON([]byte(once), &into); err != nil {
			t.Errorf("%d names: %v", n, err)
		}
		if err := DecodeJSON([]byte(twice), &into); err == nil {
			t.Errorf("%d names: a twin of the first is let through", n)
		}
	}
}

// FuzzDecodeJSON: what is let through means the same to any other reader of the
// body, and what is not is refused with a hint.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{"title":"x","count":3,"meta":{"a":[1,2,{"b":null}]}}`, `{"title":"x","Title":"y"}`, `{"meta":{"a":1,"\u0061":2}}`,
		`{"title":"\ud83e\udd9e\\\"\u2028"}`, `{"a`, `{"title":"x"}{`, `[[[[`, "{\"title\":\"\xff\"}", `{"title":"\u000`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var into wire
		err := DecodeJSON(body, &into)
		if err != nil {
			e := act.AsError(err)
			if e.Code != act.Invalid || e.Hint == "" || e.Rule == "" || len(e.Message) > 400 || !utf8.ValidString(e.Message) {
				t.Fatalf("refused with %#v", e)
			}
			return
		}
		if !json.Valid(body) || !utf8.Valid(body) || strings.ContainsRune(into.Title, 0) {
			t.Fatalf("let through: %q", body)
		}
		// Decoding token by token, every object's names differ.
		var again map[string]json.RawMessage
		if err := json.Unmarshal(body, &again); err != nil {
			t.Fatal(err)
		}
		for name, value := range again {
			if strings.EqualFold(name, "title") && string(value) != "null" {
				var title string
				if json.Unmarshal(value, &title) != nil || title != into.Title {
					t.Fatalf("title is %q here and %s there", into.Title, value)
				}
			}
		}
	})
}

func bodyKernel() *Kernel {
	k := &Kernel{Config: Config{BodyTime: BodyTime, BodyMemory: BodyMemory}}
	k.bodies.New = func() any { b := make([]byte, 0, firstBody); return &b }
	k.unzips.New = func() any { return new(gzip.Reader) }
	return k
}

// FuzzGzipBody: whatever arrives as gzip becomes what any other reader makes of
// it, or is refused; memory comes back.
func FuzzGzipBody(f *testing.F) {
	for _, s := range []string{`{"title":"x"}`, "", strings.Repeat("a", 300_000)} {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(s))
		_ = w.Close()
		f.Add(b.Bytes())
		f.Add(b.Bytes()[:b.Len()/2])
		f.Add(append(b.Bytes(), b.Bytes()...))
	}
	f.Add([]byte("\x1f\x8b"))
	k := bodyKernel()
	f.Fuzz(func(t *testing.T, packed []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(packed))
		r.Header.Set("Content-Encoding", "gzip")
		c := &Call{W: httptest.NewRecorder(), R: r, Route: &Route{Act: "post.create"}, kernel: k}
		err := k.readBody(c)
		if err == nil && len(packed) > 0 {
			z, zerr := gzip.NewReader(bytes.NewReader(packed))
			if zerr != nil {
				t.Fatalf("let through: %v", zerr)
			}
			want, zerr := io.ReadAll(z)
			if zerr != nil || !bytes.Equal(want, c.Body) {
				t.Fatalf("%d bytes here, %d there (%v)", len(c.Body), len(want), zerr)
			}
		}
		if err != nil {
			if e := act.AsError(err); e.Code != act.Invalid && e.Code != act.TooLarge || e.Hint == "" {
				t.Fatalf("refused with %v", err)
			}
		}
		if len(c.Body) > MaxBody {
			t.Fatalf("a body of %d bytes", len(c.Body))
		}
		k.releaseBody(c)
		if held := k.held.Load(); held != 0 {
			t.Fatalf("%d bytes are still held", held)
		}
	})
}

func proxied(t testing.TB, proxies ...string) *Kernel {
	t.Helper()
	k := &Kernel{}
	for _, p := range proxies {
		prefix, err := parsePrefix(p)
		if err != nil {
			t.Fatal(err)
		}
		k.proxies = append(k.proxies, prefix)
	}
	return k
}

// What an untrusted peer says of itself is never believed.
func TestPeer(t *testing.T) {
	k := proxied(t, "10.0.0.0/8", "127.0.0.1", "fd00::/8")
	for _, c := range []struct{ remote, forwarded, want string }{
		{"203.0.113.9:1", "", "203.0.113.9"},
		{"203.0.113.9:1", "198.51.100.7", "203.0.113.9"},
		{"127.0.0.1:1", "", "127.0.0.1"},
		{"127.0.0.1:1", "198.51.100.7", "198.51.100.7"},
		{"[::ffff:127.0.0.1]:1", "198.51.100.7", "198.51.100.7"},
		{"127.0.0.1:1", "6.6.6.6, 198.51.100.7", "198.51.100.7"},
		{"127.0.0.1:1", "6.6.6.6, 198.51.100.7, 10.1.2.3", "198.51.100.7"},
		{"127.0.0.1:1", "6.6.6.6,198.51.100.7:4711, [fd00::1]:80", "198.51.100.7"},
		{"127.0.0.1:1", "10.1.1.1, 10.2.2.2", "10.1.1.1"},
		{"127.0.0.1:1", "198.51.100.7, nonsense", "127.0.0.1"},
		{"127.0.0.1:1", "198.51.100.7,", "127.0.0.1"},
		{"[fd00::5%eth0]:1", "2001:db8::1", "2001:db8::1"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		got, direct := k.peer(r)
		if got.String() != c.want || direct == (c.forwarded != "") {
			t.Errorf("%s with %q: %s (direct %v), want %s", c.remote, c.forwarded, got, direct, c.want)
		}
	}
	r := &http.Request{RemoteAddr: "127.0.0.1:1", Header: http.Header{"X-Forwarded-For": {"6.6.6.6", "198.51.100.7"}}}
	if got, _ := k.peer(r); got.String() != "198.51.100.7" {
		t.Errorf("of two headers the first is believed: %s", got)
	}
}

// FuzzHeaders: headers that strangers fill are read without harm.
func FuzzHeaders(f *testing.F) {
	f.Add("Bearer moltbook_sk_abc", "1.2.3.4, 10.0.0.1", "key-1")
	f.Add("bearer  x ", "[::1]:80,,", "\x00")
	f.Add("Basic x", strings.Repeat("10.0.0.1,", 100), strings.Repeat("k", 129))
	k := proxied(f, "10.0.0.0/8", "192.0.2.1")
	f.Fuzz(func(t *testing.T, authorization, forwarded, idempotency string) {
		if _, key, ok := credential(authorization); ok && (key == "" || len(key) > maxCredential || strings.ContainsAny(key, " \t\r\n\x00")) {
			t.Fatalf("credential %q", key)
		}
		r := httptest.NewRequest(http.MethodPost, "/x", nil)
		r.Header["X-Forwarded-For"] = []string{forwarded}
		r.Header["Idempotency-Key"] = []string{idempotency}
		addr, direct := k.peer(r)
		if direct || !addr.IsValid() {
			t.Fatalf("peer %v, direct %v", addr, direct)
		}
		r.RemoteAddr = "203.0.113.9:1"
		if addr, _ := k.peer(r); addr != netip.MustParseAddr("203.0.113.9") {
			t.Fatalf("an untrusted peer is believed: %s", addr)
		}
		key, err := idempotencyKey(&Call{R: r, Principal: act.Principal{ID: 1}})
		if (err == nil) != (visible(idempotency) && len(idempotency) <= 128) || err == nil && key.Name != idempotency {
			t.Fatalf("idempotency key %q: %q, %v", idempotency, key.Name, err)
		}
	})
}

// Callers without an identity do not meet in idempotency keys; the hash covers
// all of a request.
func TestIdempotencyKey(t *testing.T) {
	key := func(source, path, body string) string {
		r := httptest.NewRequest(http.MethodPost, path, nil)
		r.Header.Set("Idempotency-Key", "1")
		k, err := idempotencyKey(&Call{R: r, Principal: act.Principal{Source: source}, Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		return k.Name + "\x00" + string(k.Hash[:])
	}
	seen := map[string]string{}
	for _, c := range [][3]string{{"a", "/x", "{}"}, {"b", "/x", "{}"}, {"a", "/y", "{}"}, {"a", "/x", "{ }"}, {"a", "/x?q=1", "{}"}} {
		k := key(c[0], c[1], c[2])
		if other, twice := seen[k]; twice {
			t.Errorf("%v and %v share a key", c, other)
		}
		seen[k] = strings.Join(c[:], " ")
		if k != key(c[0], c[1], c[2]) {
			t.Errorf("%v: two keys for one request", c)
		}
	}
}
