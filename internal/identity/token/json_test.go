package token

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestReadObject holds the reader to what it takes and what it refuses.
func TestReadObject(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a":-0.5e+10,"b":[],"c":{},"d":[1,"x",null,true,false,{"a":[{}]}]}`, "{\"a\"\t:\r\n\"b\"}",
		`{"":0}`, `{"a":"\u00e9\ud83d\ude00\n\\\"\/"}`, `{"a":{"a":{"a":1}},"b":{"a":1}}`, `{"a":` + strings.Repeat("[", 7) + strings.Repeat("]", 7) + `}`,
	} {
		var o object
		if !o.read([]byte(text)) {
			t.Errorf("%s is refused", text)
		}
	}
	for _, text := range []string{
		``, ` `, `1`, `"a"`, `[]`, `null`, `{`, `}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{a:1}`, `{'a':1}`, `{"a":1}x`, `{"a":1}{}`,
		`{"a":01}`, `{"a":+1}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":0x1}`, `{"a":NaN}`, `{"a":-}`, `{"a":tru}`, `{"a":True}`, `{"a":nullx}`,
		`{"a":"`, `{"a":"\"}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12g4"}`, `{"a":"\u0000"}`, `{"a":"\ud800"}`, `{"a":"\ud800\u0041"}`, `{"a":"\udc00"}`,
		"{\"a\":\"\x00\"}", "{\"a\":\"\n\"}", "{\"a\":\"\xff\"}", "\ufeff{}", `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":[}`,
		`{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `{"\u0061":1,"a":1}`, `{"x":{"a":1,"a":1}}`, `{"x":[{"a":1,"a":1}]}`, `{"x":[[{"y":{"a":1,"\u0061":2}}]]}`,
		`{"a":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`, `{"a":` + strings.Repeat(`{"a":`, 8) + "1" + strings.Repeat("}", 8) + `}`,
		`{"a":"` + strings.Repeat("x", 1<<16) + `"}`,
	} {
		var o object
		if o.read([]byte(text)) {
			t.Errorf("%.80s is taken", text)
		}
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		`0`: 0, `1700000000`: 1700000000, `1700000000.999`: 1700000000, `253402300799`: lastDate,
		`253402300800`: -1, `-1`: -1, `-0`: -1, `1e9`: -1, `1.7e9`: -1, `1.7E9`: -1, `"1700000000"`: -1, `null`: -1, `[1]`: -1,
		`99999999999999999999999999999999`: -1, `1700000000.` + strings.Repeat("0", 30): -1,
	} {
		var o object
		if !o.read([]byte(`{"at":` + text + `}`)) {
			t.Fatalf("%s is refused", text)
		}
		if got, ok := o.date("at"); ok != (want >= 0) || ok && got != want {
			t.Errorf("%s = %d, %v", text, got, ok)
		}
	}
}

// What is taken, encoding/json takes and understands the same; what it takes and
// we do not, we refuse for one of the reasons that we name.
func FuzzReadObject(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, `{"a":"\u00e9","b":[1,{"c":null}]}`, `{"a":1,"\u0061":2}`, `{"exp":1700000000.5,"aud":["x"]}`, "{\"a\":\"\xff\"}", `{"a":{"b":{"c":{}}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var o object
		ok := o.read(text)
		var plain map[string]json.RawMessage
		if err := json.Unmarshal(text, &plain); ok && err != nil {
			t.Fatalf("%q is taken: %v", text, err)
		}
		if !ok {
			return
		}
		if len(plain) != o.count {
			t.Fatalf("%q has %d members, not %d", text, len(plain), o.count)
		}
		for name, raw := range plain {
			m := o.find(name)
			if m == nil {
				t.Fatalf("%q: member %q is not found", text, name)
			}
			var s string
			if json.Unmarshal(raw, &s) == nil && string(raw) != "null" {
				if got, found := o.string(name, maxJSON); found != (s != "") || got != s || !o.is(name, s) {
					t.Fatalf("%q: %q is %q, want %q", text, name, got, s)
				}
			} else if m.kind == jsonString {
				t.Fatalf("%q: %q is no string", text, name)
			}
			var n int64
			if got, found := o.whole(name, 1<<53); found && (json.Unmarshal(raw, &n) != nil || n != got) {
				t.Fatalf("%q: %q is %d", text, name, got)
			}
			var x float64
			if got, found := o.date(name); found && (json.Unmarshal(raw, &x) != nil || int64(x) != got && int64(x) != got+1) { // a float may be rounded up
				t.Fatalf("%q: %q is the date %d, want %v", text, name, got, x)
			}
			var all []string
			if got, list, found := o.strings(name, maxJSON, maxJSON); found && list && (json.Unmarshal(raw, &all) != nil || strings.Join(all, "\x00") != strings.Join(got, "\x00")) {
				t.Fatalf("%q: %q is %q, want %q", text, name, got, all)
			}
			var inside object
			if o.inner(name, &inside) {
				var members map[string]json.RawMessage
				if json.Unmarshal(raw, &members) != nil || len(members) != inside.count {
					t.Fatalf("%q: %q has %d members, not %d", text, name, len(members), inside.count)
				}
			}
		}
	})
}

// What is written is read back.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", `"\`, "é漢😀", "<script>&", "\u2028", "\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil || utf8.ValidString(s) && back != s {
			t.Fatalf("%q came back as %q, %v", s, back, err)
		}
	})
}
