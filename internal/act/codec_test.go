package act_test

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
)

func codec(t testing.TB, seed byte) *act.Codec {
	t.Helper()
	key := make([]byte, act.CodecKeySize)
	for i := range key {
		key[i] = seed ^ byte(i*37)
	}
	c, err := act.NewCodec(key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// full returns n, or many times more under REEF_SOAK=1.
func full(n, soak int) int {
	if os.Getenv("REEF_SOAK") == "1" {
		return soak
	}
	return n
}

func TestCodecKeySize(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, act.CodecKeySize - 1, act.CodecKeySize + 1} {
		if _, err := act.NewCodec(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes was taken", n)
		}
	}
}

// A codec keeps its own copy of the key: a caller may wipe the slice.
func TestCodecCopiesTheKey(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{7}, act.CodecKeySize)
	c, err := act.NewCodec(key)
	if err != nil {
		t.Fatal(err)
	}
	id, cur := c.String(42), c.SealCursor(act.Cursor{List: "l", Keys: []int64{1}})
	clear(key)
	if c.String(42) != id || c.SealCursor(act.Cursor{List: "l", Keys: []int64{1}}) != cur {
		t.Error("wiping the key changed the codec")
	}
}

// RFC 9562 §5.4: version 4, variant 10.
var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestCodecRoundTrip(t *testing.T) {
	t.Parallel()
	c, other := codec(t, 1), codec(t, 2)
	rapid.Check(t, func(t *rapid.T) {
		id := act.ID(rapid.OneOf(rapid.Int64Range(1, 1<<63-1), rapid.Int64Range(1, 5000)).Draw(t, "id"))
		s := c.String(id)
		if !uuid4.MatchString(s) {
			t.Fatalf("%d is %q, not a version 4 UUID", id, s)
		}
		if got, err := c.Parse(s); err != nil || got != id {
			t.Fatalf("%d came back as %d, %v", id, got, err)
		}
		if got, err := c.Parse(strings.ToUpper(s)); err != nil || got != id {
			t.Fatalf("%d in upper case came back as %d, %v", id, got, err)
		}
		if got := string(c.Append([]byte("x:"), id)); got != "x:"+s {
			t.Fatalf("Append gave %q, String %q", got, s)
		}
		if _, err := other.Parse(s); act.CodeOf(err) != act.NotFound {
			t.Fatalf("another network took %q: %v", s, err)
		}
	})
}

func TestCodecZero(t *testing.T) {
	t.Parallel()
	c := codec(t, 1)
	if got := c.String(0); got != "" {
		t.Errorf("the zero id is %q", got)
	}
	if id, err := c.Parse(string(c.Append(nil, 0))); act.CodeOf(err) != act.NotFound {
		t.Errorf("the sealed zero id parsed as %d, %v", id, err)
	}
}

// The mapping is what links what other systems keep to what is stored here.
// These strings may never change for this key.
func TestCodecIsStable(t *testing.T) {
	t.Parallel()
	key := make([]byte, act.CodecKeySize)
	for i := range key {
		key[i] = byte(i)
	}
	c, err := act.NewCodec(key)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[act.ID]string{
		1:                  "2828c03d-e4d0-4850-8346-139595c0b41e",
		73_183_493_944_770: "49d22ba3-6abe-4cd2-b1f2-225a1f035f08",
		1<<63 - 1:          "7a7484dd-9fab-4d3f-bf42-20498b045fd3",
	} {
		if got := c.String(id); got != want {
			t.Errorf("%d is %s, was %s", id, got, want)
		}
	}
}

// T01: an id that was not handed out names nothing. A bit of a real id is
// flipped, 10,000 times; none may pass.
func TestCodecRefusesFlippedBits(t *testing.T) {
	t.Parallel()
	c := codec(t, 1)
	r := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range full(10_000, 5_000_000) {
		s := c.String(act.ID(r.Int64N(1<<63-1) + 1))
		raw, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
		if err != nil {
			t.Fatal(err)
		}
		bit := r.IntN(128)
		raw[bit/8] ^= 1 << (bit % 8)
		h := hex.EncodeToString(raw)
		forged := h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
		if id, err := c.Parse(forged); act.CodeOf(err) != act.NotFound || id != 0 {
			accepted++
			t.Errorf("%s from %s parsed as %d, %v", forged, s, id, err)
		}
	}
	if accepted != 0 {
		t.Errorf("%d forged ids were accepted", accepted)
	}
}

// Every single character of an id matters, to every other byte.
func TestCodecRefusesChangedCharacters(t *testing.T) {
	t.Parallel()
	c := codec(t, 1)
	s := c.String(123_456_789_012)
	for i := range s {
		for b := range 256 {
			forged := s[:i] + string([]byte{byte(b)}) + s[i+1:]
			if strings.EqualFold(forged, s) {
				continue
			}
			if id, err := c.Parse(forged); act.CodeOf(err) != act.NotFound || id != 0 {
				t.Fatalf("%q parsed as %d, %v", forged, id, err)
			}
		}
	}
	for _, forged := range []string{"", s[:35], s + "0", " " + s[1:], "{" + s + "}", strings.ReplaceAll(s, "-", ""), "urn:uuid:" + s} {
		if _, err := c.Parse(forged); act.CodeOf(err) != act.NotFound {
			t.Errorf("%q: %v, want not found", forged, err)
		}
	}
}

func TestParseKind(t *testing.T) {
	t.Parallel()
	c := codec(t, 1)
	post := mint(t, act.NewMinter(at(5).now, 1, 0, 100), act.KindPost)
	if id, err := c.ParseKind(c.String(post), act.KindComment, act.KindPost); err != nil || id != post {
		t.Errorf("a post among comments and posts: %d, %v", id, err)
	}
	if id, err := c.ParseKind(c.String(post), act.KindAgent); act.CodeOf(err) != act.NotFound || id != 0 || act.AsError(err).Hint == "" {
		t.Errorf("a post as an agent: %d, %v", id, err)
	}
	if _, err := c.ParseKind("nonsense", act.KindPost); act.CodeOf(err) != act.NotFound {
		t.Errorf("nonsense: %v", err)
	}
}

func TestCursorRoundTrip(t *testing.T) {
	t.Parallel()
	c := codec(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		cur := act.Cursor{
			List: rapid.String().Draw(t, "list"),
			Keys: rapid.SliceOfN(rapid.Int64(), 1, 4).Draw(t, "keys"),
		}
		text := c.SealCursor(cur)
		if len(text) > act.MaxCursor {
			t.Fatalf("a cursor of %d keys has %d characters, read are %d", len(cur.Keys), len(text), act.MaxCursor)
		}
		got, err := c.OpenCursor(cur.List, text)
		if err != nil || got.List != cur.List || len(got.Keys) != len(cur.Keys) {
			t.Fatalf("%v came back as %v, %v", cur, got, err)
		}
		for i := range got.Keys {
			if got.Keys[i] != cur.Keys[i] {
				t.Fatalf("%v came back as %v", cur, got)
			}
		}
	})
}

func TestCursorStart(t *testing.T) {
	t.Parallel()
	c := codec(t, 1)
	if got := c.SealCursor(act.Cursor{List: "l"}); got != "" {
		t.Errorf("the start is %q", got)
	}
	if cur, err := c.OpenCursor("l", ""); err != nil || !cur.IsZero() || cur.List != "l" {
		t.Errorf("no text is %v, %v", cur, err)
	}
}

// T01: a cursor is opened only as it was sealed, for the list it belongs to.
func TestCursorRefusesWhatItDidNotSeal(t *testing.T) {
	t.Parallel()
	c := codec(t, 1)
	text := c.SealCursor(act.Cursor{List: "feed\x00hot", Keys: []int64{77, -5, 1 << 60}})
	refused := func(c *act.Codec, list, text string) {
		t.Helper()
		cur, err := c.OpenCursor(list, text)
		if act.CodeOf(err) != act.Invalid || !cur.IsZero() {
			t.Errorf("%q of %q opened as %v, %v", text, list, cur, err)
		} else if e := act.AsError(err); e.Rule != "cursor" || e.Hint == "" {
			t.Errorf("the refusal has rule %q and hint %q", e.Rule, e.Hint)
		}
	}
	for i := range text { // every other byte in every place, line breaks among them
		for b := range 256 {
			if byte(b) != text[i] {
				refused(c, "feed\x00hot", text[:i]+string([]byte{byte(b)})+text[i+1:])
			}
		}
		if i > 0 {
			refused(c, "feed\x00hot", text[:i])
		}
		refused(c, "feed\x00hot", text[:i+1]+"\n"+text[i+1:])
	}
	for _, list := range []string{"", "feed", "feed\x00new", "feed\x00hot\x00"} {
		refused(c, list, text)
	}
	refused(codec(t, 2), "feed\x00hot", text)
	refused(c, "feed\x00hot", text+"=")
	refused(c, "feed\x00hot", strings.Repeat("A", act.MaxCursor+1))
	refused(c, "feed\x00hot", strings.Repeat(text, 100))
	refused(c, "feed\x00hot", c.SealCursor(act.Cursor{List: "feed\x00hot", Keys: []int64{1, 2, 3, 4, 5}}))
}

func FuzzParseID(f *testing.F) {
	c := codec(f, 1)
	for _, id := range []act.ID{1, 1 << 40, 1<<63 - 1} {
		f.Add(c.String(id))
		f.Add(strings.ToUpper(c.String(id)))
	}
	f.Add("")
	f.Add("00000000-0000-4000-8000-000000000000")
	f.Add("ffffffff-ffff-4fff-bfff-ffffffffffff")
	f.Add(strings.Repeat("-", 36))
	f.Fuzz(func(t *testing.T, s string) {
		id, err := c.Parse(s)
		switch {
		case err == nil && (id <= 0 || c.String(id) != strings.ToLower(s)):
			t.Errorf("%q parsed as %d, which is %q", s, id, c.String(id))
		case err != nil && (id != 0 || act.CodeOf(err) != act.NotFound || act.AsError(err).Hint == ""):
			t.Errorf("%q: %d, %v", s, id, err)
		}
	})
}

func FuzzOpenCursor(f *testing.F) {
	c := codec(f, 1)
	f.Add("feed", c.SealCursor(act.Cursor{List: "feed", Keys: []int64{1, 2}}))
	f.Add("feed", "")
	f.Add("", "AQ")
	f.Add("feed", strings.Repeat("_", act.MaxCursor))
	f.Fuzz(func(t *testing.T, list, text string) {
		cur, err := c.OpenCursor(list, text)
		switch {
		case err == nil && (cur.List != list || c.SealCursor(cur) != text):
			t.Errorf("%q opened as %v, which is %q", text, cur, c.SealCursor(cur))
		case err != nil && (!cur.IsZero() || act.CodeOf(err) != act.Invalid || act.AsError(err).Hint == ""):
			t.Errorf("%q: %v, %v", text, cur, err)
		}
	})
}

// The doors turn every id on every page: one allocation each way, which is the
// cipher's buffer.
func TestCodecAllocates(t *testing.T) {
	c := codec(t, 1)
	s, buf := c.String(1<<50), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { buf = c.Append(buf[:0], 1<<50) }); n > 1 {
		t.Errorf("Append allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = c.Parse(s) }); n > 1 {
		t.Errorf("Parse allocates %v times", n)
	}
}

func BenchmarkCodecAppend(b *testing.B) {
	c := codec(b, 1)
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		buf = c.Append(buf[:0], 1<<50)
	}
}

func BenchmarkCodecParse(b *testing.B) {
	c := codec(b, 1)
	s := c.String(1 << 50)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Parse(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCodecParseForged(b *testing.B) {
	c, other := codec(b, 1), codec(b, 2)
	s := other.String(1 << 50)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Parse(s); err == nil {
			b.Fatal("accepted")
		}
	}
}
