package policy

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
	"time"
)

func signedRaw(t testing.TB, b *Bundle, key ed25519.PrivateKey) []byte {
	t.Helper()
	raw, err := Sign(b, key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func small(version int64) *Bundle {
	return &Bundle{
		Version: version, Schema: Schema, CreatedAt: created.Add(1234567 * time.Nanosecond),
		Files: []File{{"b.cedar", "@id(\"all\") permit (principal, action, resource); // é \u2028 <&> \"q\""}, {"a/x.cedar", "// nothing"}},
	}
}

func TestBundleRoundTrip(t *testing.T) {
	b := small(3)
	raw := signedRaw(t, b, testKey(1))
	got, err := Parse(raw, testPub(1))
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != 3 || got.Schema != Schema || !got.CreatedAt.Equal(created.Add(time.Millisecond)) ||
		!slices.Equal(got.Files, b.Files) || got.Digest != b.Digest || !bytes.Equal(got.Signature, b.Signature) {
		t.Errorf("read back %+v, want %+v", got, b)
	}
	if again := signedRaw(t, got, testKey(1)); !bytes.Equal(raw, again) {
		t.Errorf("the same bundle has two forms:\n%s\n%s", raw, again)
	}
}

func TestBundleRefused(t *testing.T) {
	good := signedRaw(t, small(3), testKey(1))
	replaced := func(old, new string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("the bundle does not hold %s", old)
		}
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	for name, c := range map[string]struct {
		raw  []byte
		rule string
	}{
		"missing":            {nil, "bundle.form"},
		"empty object":       {[]byte("{}"), "bundle.form"},
		"not json":           {[]byte("permit"), "bundle.form"},
		"null":               {[]byte("null"), "bundle.form"},
		"deep json":          {bytes.Repeat([]byte("["), 1<<20), "bundle.form"},
		"too large":          {bytes.Repeat([]byte(" "), MaxBundle+1), "bundle.size"},
		"unknown schema":     {replaced(`"schema":1`, `"schema":2`), "bundle.schema"},
		"schema of text":     {replaced(`"schema":1`, `"schema":"1"`), "bundle.form"},
		"other version":      {replaced(`"version":3`, `"version":4`), "bundle.signature"},
		"version 0":          {replaced(`"version":3`, `"version":0`), "bundle.form"},
		"version too large":  {replaced(`"version":3`, `"version":9007199254740993`), "bundle.form"},
		"other text":         {replaced(`principal, action`, `principal , action`), "bundle.signature"},
		"other time":         {replaced(`12:00:00.001`, `12:00:00.002`), "bundle.signature"},
		"time, other form":   {replaced(`12:00:00.001Z`, `12:00:00.001+00:00`), "bundle.form"},
		"spaces":             {replaced(`"version":3`, `"version": 3`), "bundle.form"},
		"number, other form": {replaced(`"version":3`, `"version":3.0`), "bundle.form"},
		"other case":         {replaced(`"version"`, `"Version"`), "bundle.form"},
		"extra field":        {replaced(`"version":3`, `"version":3,"zeal":1`), "bundle.form"},
		"field twice":        {replaced(`"version":3`, `"version":9,"version":3`), "bundle.form"},
		"more behind":        {append(slices.Clone(good), ' '), "bundle.form"},
		"other key":          {signedRaw(t, small(3), testKey(2)), "bundle.signature"},
	} {
		if _, err := Parse(c.raw, testPub(1)); ruleOf(err) != c.rule {
			t.Errorf("%s: %v (%s), want %s", name, err, ruleOf(err), c.rule)
		}
	}
	if _, err := Parse(good, nil); ruleOf(err) != "bundle.signature" {
		t.Errorf("without a key: %v", err)
	}
	unsigned := small(3)
	if raw, err := unsigned.wire(); err != nil {
		t.Error(err)
	} else if _, err := Parse(raw, testPub(1)); ruleOf(err) != "bundle.signature" {
		t.Errorf("unsigned: %v", err)
	}
}

// T61: whatever bit is wrong and wherever the file ends, it is no bundle.
func TestT61_EveryBitAndEveryEnd(t *testing.T) {
	raw := signedRaw(t, small(3), testKey(1))
	for i := range raw {
		if _, err := Parse(raw[:i], testPub(1)); err == nil {
			t.Fatalf("the first %d of %d bytes are taken for a bundle", i, len(raw))
		}
		for bit := range 8 {
			bad := slices.Clone(raw)
			bad[i] ^= 1 << bit
			if _, err := Parse(bad, testPub(1)); err == nil {
				t.Fatalf("bit %d of byte %d (%q) does not matter", bit, i, raw[i])
			}
		}
	}
}

func TestSignRefuses(t *testing.T) {
	for name, change := range map[string]func(*Bundle){
		"schema":        func(b *Bundle) { b.Schema = 2 },
		"version":       func(b *Bundle) { b.Version = 0 },
		"no files":      func(b *Bundle) { b.Files = nil },
		"name":          func(b *Bundle) { b.Files[0].Name = "../x.txt" },
		"name twice":    func(b *Bundle) { b.Files[1].Name = b.Files[0].Name },
		"not UTF-8":     func(b *Bundle) { b.Files[0].Text = "\xff" },
		"too many":      func(b *Bundle) { b.Files = make([]File, MaxFiles+1) },
		"too many bits": func(b *Bundle) { b.Files[0].Text = strings.Repeat(" ", MaxBundle) },
	} {
		b := small(1)
		change(b)
		if _, err := Sign(b, testKey(1)); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := Sign(small(1), nil); ruleOf(err) != "bundle.key" {
		t.Errorf("without a key: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	raw := signedRaw(f, small(3), testKey(1))
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add(bytes.Replace(raw, []byte(`"schema":1`), []byte(`"schema":9`), 1))
	f.Add([]byte(`{"schema":1}`))
	f.Add([]byte(`{"schema":1,"policies":[{}],"created_at":"2026-11-25T12:00:00.000Z","version":1e3}`))
	f.Add([]byte(`[[[[`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := Parse(in, testPub(1))
		if err != nil {
			if ruleOf(err) == "" {
				t.Errorf("%v names no rule", err)
			}
			return
		}
		if again := signedRaw(t, b, testKey(1)); !bytes.Equal(in, again) {
			t.Errorf("accepted a form that Sign does not write: %q", in)
		}
	})
}
