package identity

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func ringWith(versions int) ring {
	r := newRing()
	for n := range versions {
		r.Wrapping = append(r.Wrapping, ringWrap{Version: int64(n) + 2, Key: bytes.Repeat([]byte{byte(n + 1)}, wrapKeySize)})
	}
	return r
}

// A ring comes back as it was, whatever the number of its versions; all that it may
// have fit into what a store keeps.
func TestRing(t *testing.T) {
	for versions := range maxVersions {
		r := ringWith(versions)
		text, err := r.encode()
		if err != nil || len(text) > MaxRing {
			t.Fatalf("%d versions take %d bytes (%v)", versions, len(text), err)
		}
		again, err := parseRing(text)
		if err != nil || !bytes.Equal(again.Root, r.Root) || again.newest() != int64(versions)+1 {
			t.Fatalf("%d versions: %v", versions, err)
		}
		for n, w := range again.Wrapping {
			if !bytes.Equal(w.Key, r.Wrapping[n].Key) {
				t.Fatalf("version %d differs", w.Version)
			}
		}
	}
}

func TestSpoiledRings(t *testing.T) {
	good := ringWith(3)
	change := func(f func(*ring)) []byte {
		r := good
		r.Wrapping = append([]ringWrap(nil), good.Wrapping...)
		f(&r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	whole := change(func(*ring) {})
	if _, err := parseRing(whole); err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string][]byte{
		"nothing":            {},
		"a short key":        make([]byte, MasterKeySize-1),
		"zeros":              make([]byte, MasterKeySize),
		"cut short":          whole[:len(whole)-1],
		"two":                append(bytes.Clone(whole), whole...),
		"another form":       change(func(r *ring) { r.Form = 2 }),
		"a short root":       change(func(r *ring) { r.Root = r.Root[1:] }),
		"no root":            change(func(r *ring) { r.Root = nil }),
		"a version missing":  change(func(r *ring) { r.Wrapping = append(r.Wrapping[:1], r.Wrapping[2]) }),
		"a version twice":    change(func(r *ring) { r.Wrapping[1] = r.Wrapping[0] }),
		"version 1":          change(func(r *ring) { r.Wrapping[0].Version = 1 }),
		"a short version":    change(func(r *ring) { r.Wrapping[2].Key = r.Wrapping[2].Key[1:] }),
		"too many":           change(func(r *ring) { r.Wrapping = ringWith(maxVersions).Wrapping }),
		"an unknown field":   bytes.Replace(whole, []byte(`"ring":1`), []byte(`"ring":1,"x":2`), 1),
		"far too much of it": append(bytes.Clone(whole), bytes.Repeat([]byte(" "), MaxRing)...),
	} {
		if _, err := parseRing(text); err == nil {
			t.Errorf("%s is taken for a ring", what)
		}
	}
}

func FuzzRing(f *testing.F) {
	for _, versions := range []int{0, 1, 3} {
		text, err := ringWith(versions).encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"ring":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRing(text)
		if err != nil {
			if len(text) > 8 && strings.Contains(err.Error(), string(text)) {
				t.Errorf("the error repeats %q", text)
			}
			return
		}
		again, err := r.encode()
		if err != nil || len(r.Root) != MasterKeySize || len(again) > MaxRing {
			t.Errorf("%q is written as %d bytes (%v)", text, len(again), err)
		}
		if _, err := parseRing(again); err != nil {
			t.Errorf("%q is not read again: %v", again, err)
		}
	})
}

// A file that holds a whole ring gives the keys that its master key gives.
func TestLoadRing(t *testing.T) {
	r := ringWith(2)
	dir := t.TempDir()
	text, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"master": r.Root, "ring": text} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := load(t, filepath.Join(dir, "master")), load(t, filepath.Join(dir, "ring")); !bytes.Equal(a.Check(), b.Check()) || !bytes.Equal(a.CodecKey(), b.CodecKey()) {
		t.Error("a ring changes the network's permanent keys")
	}
}
