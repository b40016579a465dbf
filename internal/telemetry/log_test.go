package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// needle is planted into values; it must never reach the output. It is made of
// characters that every credential's alphabet has.
const needle = "NeedleInTheHay4711"

const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ" + needle + "In0." + needle

// credentials are texts of every shape that must be recognized by itself.
var credentials = []string{
	"moltbook_sk_" + needle,
	"moltbook_claim_" + needle,
	"MOLTBOOK_SK_" + needle,
	"reef_op_" + needle,
	"reef_inv_" + needle + "-_" + needle,
	jwt,
	"eyJhbGciOiJSU0EtT0FFUCJ9." + needle + "." + needle + "." + needle + "." + needle, // JWE
	"Bearer " + needle,
	"bearer   " + needle,
	"DPoP " + needle + needle,
	"postgres://reef:" + needle + "@db:5432/reef",
	"postgres://reef:a/b?" + needle + "#@x@db:5432/reef",
	"nats://" + needle + "@127.0.0.1:4222",
	"https://h/claim?a=1&access_token=" + needle + "&b=2",
	"host=db password=" + needle + " user=reef",
	"password = '" + needle + " " + needle + "'",
	`{"client_secret": "a\"b` + needle + `"}`,
	`{\"token\": \"` + needle + `\"}`,
	`{"Cookie":["` + needle + `"]}`,
	"map[Authorization:[Basic " + needle + "] Accept:[x]]",
	"Authorization: Basic " + needle,
	"Cookie: a=b; session=" + needle,
	"X-Api-Key: " + needle,
	"{Name:x Token:" + needle + "}",
}

type secretStringer struct{ s string }

func (s secretStringer) String() string { return s.s }

type secretValuer struct{ s string }

func (s secretValuer) LogValue() slog.Value {
	return slog.GroupValue(slog.String("inner", s.s), slog.Any("deeper", secretStringer(s)))
}

type secretText struct{ s string }

func (s secretText) MarshalText() ([]byte, error) { return []byte(s.s), nil }

type panicking struct{}

func (panicking) MarshalJSON() ([]byte, error) { panic(needle) }

// places puts a text everywhere a log line can hold one.
func places(ctx context.Context, l *slog.Logger, text string) {
	l.LogAttrs(ctx, slog.LevelInfo, text)
	l.LogAttrs(ctx, slog.LevelInfo, "m", slog.String("v", "before "+text+" after"))
	l.LogAttrs(ctx, slog.LevelInfo, "m", slog.String(text, "v"))
	l.LogAttrs(ctx, slog.LevelInfo, "m", slog.Any("v", errors.New(text)))
	l.LogAttrs(ctx, slog.LevelInfo, "m", slog.Any("v", act.Errorf(act.Internal, "hidden: %w", fmt.Errorf("in: %w", errors.New(text)))))
	l.LogAttrs(ctx, slog.LevelInfo, "m", slog.Any("v", secretStringer{text}), slog.Any("w", &secretStringer{text}))
	l.LogAttrs(ctx, slog.LevelInfo, "m", slog.Any("v", secretValuer{text}), slog.Any("w", secretText{text}))
	l.LogAttrs(ctx, slog.LevelInfo, "m", slog.Group("g", slog.Group("h", slog.String("v", text))))
	l.LogAttrs(ctx, slog.LevelInfo, "m", slog.Any("v", []string{text}), slog.Any("w", map[string]any{"a": []any{text}, text: 1}))
	l.LogAttrs(ctx, slog.LevelInfo, "m", slog.Any("v", struct{ A, B any }{text, &struct{ C string }{text}}))
	l.LogAttrs(ctx, slog.LevelInfo, "m", slog.Any("v", []byte(text)), slog.Any("w", json.RawMessage(text)))
	l.With(slog.String("v", text)).LogAttrs(ctx, slog.LevelInfo, "m")
	l.WithGroup("g").With(slog.String("v", text)).WithGroup(text).LogAttrs(ctx, slog.LevelInfo, "m", slog.String("w", text))
	l.LogAttrs(act.WithTrace(ctx, text), slog.LevelInfo, "m")
}

func bothFormats(t *testing.T, f func(t *testing.T, l *slog.Logger, out *bytes.Buffer)) {
	for _, asJSON := range []bool{false, true} {
		t.Run(map[bool]string{false: "text", true: "json"}[asJSON], func(t *testing.T) {
			var out bytes.Buffer
			f(t, telemetry.NewLogger(&out, telemetry.Options{JSON: asJSON}), &out)
		})
	}
}

func TestRedactsShapes(t *testing.T) {
	bothFormats(t, func(t *testing.T, l *slog.Logger, out *bytes.Buffer) {
		for _, c := range credentials {
			out.Reset()
			places(t.Context(), l, c)
			for line := range strings.Lines(out.String()) {
				if strings.Contains(line, needle) {
					t.Errorf("%q leaks:\n%s", c, line)
				}
			}
			if n := strings.Count(out.String(), "[redacted]"); n < 14 {
				t.Errorf("%q was redacted in %d places only:\n%s", c, n, out)
			}
		}
	})
}

func TestRedactsNames(t *testing.T) {
	for _, name := range []string{
		"token", "Token", "access_token", "accessToken", "refreshtoken", "id_token", "key", "api_key", "apiKey", "APIKey",
		"X-API-Key", "apikey", "private-key", "secret", "client_secret", "clientSecret", "authorization", "Proxy-Authorization",
		"password", "dbPassword", "passwd", "passphrase", "cookie", "Set-Cookie", "reef.token", "jwt", "signing_key",
	} {
		bothFormats(t, func(t *testing.T, l *slog.Logger, out *bytes.Buffer) {
			ctx := t.Context()
			header := http.Header{name: {needle}}
			l.LogAttrs(ctx, slog.LevelInfo, "m", slog.String(name, needle), slog.Any(name, errors.New(needle)), slog.Any(name, []byte(needle)))
			l.LogAttrs(ctx, slog.LevelInfo, "m", slog.Group("g", slog.String(name, needle)), slog.Any("h", header))
			l.LogAttrs(ctx, slog.LevelInfo, "m", slog.Group(name, slog.String("v", needle)), slog.Any(name, map[string]string{"a": needle}))
			l.With(slog.String(name, needle)).WithGroup(name).WithGroup("g").With(slog.String("v", needle)).
				LogAttrs(ctx, slog.LevelInfo, "m", slog.String("w", needle))
			if strings.Contains(out.String(), needle) {
				t.Errorf("the value of %q leaks:\n%s", name, out)
			}
		})
	}
	bothFormats(t, func(t *testing.T, l *slog.Logger, out *bytes.Buffer) {
		l.LogAttrs(t.Context(), slog.LevelInfo, "m", slog.Int("password", 471147), slog.Any("v", map[string]int{"secret": 471147}))
		if strings.Contains(out.String(), "471147") {
			t.Errorf("a sealed number leaks:\n%s", out)
		}
	})
}

// TestKeepsWhatIsNoSecret guards against a net so fine that logs say nothing.
func TestKeepsWhatIsNoSecret(t *testing.T) {
	bothFormats(t, func(t *testing.T, l *slog.Logger, out *bytes.Buffer) {
		u, _ := url.Parse("https://example.org:8443/u/@nemo?page=2")
		keep := []slog.Attr{
			slog.String("monkey", "banana"), slog.Int("tokens", 12), slog.String("key_id", "k-17"), slog.String("key_file", "/etc/reef/key"),
			slog.Duration("token_ttl", 5*time.Minute), slog.String("author", "nemo"), slog.String("keyboard", "qwerty"),
			slog.String("a", "a token: is fine in prose"), slog.String("b", "reef_network moltbook_import"), slog.String("c", "https://example.org/a:b"),
			slog.String("d", "mail a@b.c"), slog.String("e", "Grüße, 世界 🐟"), slog.Float64("f", 1.5), slog.Bool("g", true), slog.Any("nothing", nil),
			slog.Any("list", []int{1, 2}), slog.String("h", "the DPoP proof is late"),
		}
		l.LogAttrs(t.Context(), slog.LevelInfo, "token rotated", keep...)
		l.LogAttrs(t.Context(), slog.LevelInfo, "url", slog.String("host", u.Host), slog.Any("cause", act.Errorf(act.Internal, "hidden: %w", errors.New("disk full"))))
		text := out.String()
		if strings.Contains(text, "[redacted]") {
			t.Errorf("redacted too much:\n%s", text)
		}
		for _, want := range []string{"token rotated", "banana", "12", "k-17", "/etc/reef/key", "nemo", "qwerty", "reef_network", "a@b.c", "Grüße, 世界 🐟", "1.5", "[1,2]", "disk full"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing:\n%s", want, text)
			}
		}
	})
}

func TestRedactionKeepsTheRest(t *testing.T) {
	for in, want := range map[string]string{
		"dial postgres://reef:pw@db:5432/x failed":  "dial postgres://[redacted]@db:5432/x failed",
		"key moltbook_sk_abc is old":                "key [redacted] is old",
		"GET /x?token=abc&page=2":                   "GET /x?token=[redacted]&page=2",
		"GET /x?token=moltbook_sk_abc&page=2":       "GET /x?token=[redacted]&page=2",
		"Authorization: Bearer abc":                 "Authorization: Bearer [redacted]",
		`{"token":"abc","n":1}`:                     `{"token":"[redacted]","n":1}`,
		"no secret here":                            "no secret here",
		"from nats://tok@h:1 to nats://u:p@h:2 now": "from nats://[redacted]@h:1 to nats://[redacted]@h:2 now",
	} {
		var out bytes.Buffer
		telemetry.NewLogger(&out, telemetry.Options{JSON: true}).LogAttrs(t.Context(), slog.LevelInfo, in)
		if got := decode(t, out.Bytes())["msg"]; got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestLinesCannotBeForged(t *testing.T) {
	hostile := []string{
		"a\nlevel=ERROR msg=forged", "a\r\n{\"level\":\"ERROR\"}", "\x1b[2J\x1b]0;title\x07", "\u202egnp.exe", "\u2066x\u2069",
		"a\u2028b\u2029c", "\u200bzero\ufeff", "\u009b31m", "\x7f", "\xff\xfe", "\U000e0041tag", "\u00a0", "\x00", "a\tb", `quote" and \ back`,
	}
	bothFormats(t, func(t *testing.T, l *slog.Logger, out *bytes.Buffer) {
		for _, h := range hostile {
			out.Reset()
			places(t.Context(), l, h)
			checkLines(t, out.String(), 14)
		}
	})
	var out bytes.Buffer
	telemetry.NewLogger(&out, telemetry.Options{JSON: true}).LogAttrs(t.Context(), slog.LevelInfo, "a\n\u202eb\xff\x1b")
	if got, want := decode(t, out.Bytes())["msg"], `a\n\u202eb\xff\x1b`; got != want {
		t.Errorf("escaped as %q, want %q", got, want)
	}
}

// checkLines fails unless the output is so many lines of printable characters.
func checkLines(t *testing.T, out string, lines int) {
	t.Helper()
	if n := strings.Count(out, "\n"); n != lines || !strings.HasSuffix(out, "\n") {
		t.Errorf("%d lines, want %d:\n%q", n, lines, out)
	}
	if !utf8.ValidString(out) {
		t.Errorf("invalid UTF-8: %q", out)
	}
	for _, r := range out {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("raw %U in %q", r, out)
			return
		}
	}
}

func TestLongTextIsCut(t *testing.T) {
	var out bytes.Buffer
	l := telemetry.NewLogger(&out, telemetry.Options{})
	long := strings.Repeat("word ", 3270) // 16,350 bytes: the limit is inside the URL
	l.LogAttrs(t.Context(), slog.LevelInfo, long+"postgres://reef:"+strings.Repeat(needle, 10)+"@db")
	if text := out.String(); strings.Contains(text, needle[:4]) || !strings.Contains(text, "word [cut]") {
		t.Errorf("a cut credential shows: …%s", text[len(text)-100:])
	}
	out.Reset()
	l.LogAttrs(t.Context(), slog.LevelInfo, "m", slog.String("v", strings.Repeat("é", 1<<20)), slog.Any("w", make([]string, 1<<20)))
	if out.Len() > 1000 {
		t.Errorf("%d bytes for a line of unbreakable text", out.Len())
	}
}

func TestStrangeValues(t *testing.T) {
	bothFormats(t, func(t *testing.T, l *slog.Logger, out *bytes.Buffer) {
		var nobody *secretStringer
		var nothing *act.Error
		cycle := map[string]any{}
		cycle["again"] = cycle
		l.LogAttrs(t.Context(), slog.LevelInfo, "m",
			slog.Any("a", nobody), slog.Any("b", error(nothing)), slog.Any("c", make(chan int)), slog.Any("d", func() {}),
			slog.Any("e", panicking{}), slog.Any("f", cycle), slog.Any("g", io.EOF), slog.Any("h", math()))
		if !strings.Contains(out.String(), "EOF") {
			t.Errorf("lost the line: %s", out)
		}
		checkLines(t, out.String(), 1)
	})
}

func math() any { return struct{ V any }{complex(1, 2)} } // JSON has no such number

func TestLevelAndTrace(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	l := telemetry.NewLogger(&out, telemetry.Options{Level: level, JSON: true})
	ctx, trace := telemetry.StartTrace(t.Context(), "")
	l.LogAttrs(ctx, slog.LevelInfo, "unheard")
	if out.Len() != 0 {
		t.Fatalf("Info passed at Warn: %s", &out)
	}
	level.Set(slog.LevelInfo)
	l.WithGroup("g").LogAttrs(ctx, slog.LevelInfo, "heard", slog.Int("n", 1))
	got := decode(t, out.Bytes())
	if got["trace"] != trace || got["g"].(map[string]any)["n"] != 1.0 {
		t.Errorf("trace %s is not at the top: %s", trace, &out)
	}
}

// TestHandlerContract runs the standard library's conformance tests.
func TestHandlerContract(t *testing.T) {
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return telemetry.NewLogger(&out, telemetry.Options{JSON: true}).Handler()
	}, func(t *testing.T) map[string]any { return decode(t, out.Bytes()) })
}

func decode(t *testing.T, line []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatalf("not a JSON line: %v\n%s", err, line)
	}
	return m
}

// FuzzLog: whatever surrounds a credential, the credential does not get out, and
// whatever the text is, a record is one printable line.
func FuzzLog(f *testing.F) {
	for i, c := range credentials {
		f.Add("before ", " after", uint8(i))
		f.Add("", c, uint8(i))
	}
	f.Add("\x1b[31m\u202e", "\n\xff", uint8(0))
	f.Add("token=\"", "\"}", uint8(1))
	f.Add("://", "@", uint8(10))
	f.Fuzz(func(t *testing.T, before, after string, which uint8) {
		c := credentials[int(which)%len(credentials)]
		if strings.Contains(before+after, needle) {
			return // not planted by us, so in no shape
		}
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			l := telemetry.NewLogger(&out, telemetry.Options{JSON: asJSON})
			places(t.Context(), l, before+after)
			checkLines(t, out.String(), 14)
			if asJSON {
				for line := range strings.Lines(out.String()) {
					decode(t, []byte(line))
				}
			}
			out.Reset()
			places(t.Context(), l, before+" "+c+" "+after)
			checkLines(t, out.String(), 14)
			if strings.Contains(out.String(), needle) {
				t.Errorf("leak of %q between %q and %q:\n%s", c, before, after, &out)
			}
		}
	})
}

func BenchmarkLog(b *testing.B) {
	l := telemetry.NewLogger(io.Discard, telemetry.Options{JSON: true})
	ctx := act.WithTrace(b.Context(), "0123456789abcdef0123456789abcdef")
	b.ReportAllocs()
	for b.Loop() {
		l.LogAttrs(ctx, slog.LevelInfo, "request served", slog.String("route", "/v1/posts/{id}"),
			slog.String("act", "post.read"), slog.Int("status", 200), slog.Duration("took", 1234567))
	}
}
