package audit_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// files makes a log of so many leaves and returns what a server gives out of it, by path,
// with its key.
func files(t testing.TB, size int) (map[string][]byte, string) {
	t.Helper()
	db := storetest.Open(t, store.SQLite)
	record(t, db, newCodec(t), size)
	tree := newTree(db)
	integrate(t, tree)
	all := make(map[string][]byte)
	rows := dump(t, db)
	for _, o := range rows.tiles {
		all[audit.TilePath(fmt.Sprint(o.level), o.n, len(o.hashes)/32)] = o.hashes
	}
	for n := 0; n < size; n += 256 {
		var b []byte
		last := min(size, n+256)
		for seq := n + 1; seq <= last; seq++ {
			body := rows.body(int64(seq))
			b = append(append(b, byte(len(body)>>8), byte(len(body))), body...)
		}
		all[audit.TilePath("entries", int64(n/256), last-n)] = b
	}
	st := current(t, tree)
	all["checkpoint"] = st.Last.Note
	return all, st.Key
}

func fetchOf(all map[string][]byte) audit.Fetch {
	return func(_ context.Context, path string) ([]byte, error) {
		if raw, ok := all[path]; ok {
			return raw, nil
		}
		return nil, fmt.Errorf("there is no %s", path)
	}
}

func inspect(t testing.TB, fetch audit.Fetch, in audit.Inspection) audit.Inspected {
	t.Helper()
	out, err := audit.Inspect(t.Context(), fetch, in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestInspectAndExport(t *testing.T) {
	all, key := files(t, 700)
	for _, r := range [][3]int64{{0, 0, 700}, {1, 1, 1}, {256, 257, 2}, {300, 0, 401}, {700, 700, 1}, {1, 256, 256}} {
		in := audit.Inspection{Key: key, From: r[0], To: r[1]}
		out := inspect(t, fetchOf(all), in)
		if !out.OK() || out.Leaves != r[2] || out.Tree != 700 {
			t.Errorf("%v: %+v", r, out)
		}
		var file bytes.Buffer
		if out, err := audit.Export(t.Context(), fetchOf(all), in, &file, time.Unix(0, 0)); err != nil || !out.OK() {
			t.Fatalf("%v: %+v, %v", r, out, err)
		}
		b, err := audit.OpenBundle(bytes.NewReader(file.Bytes()), int64(file.Len()))
		if err != nil {
			t.Fatal(err)
		}
		in = audit.Inspection{Key: key, From: b.About.From, To: b.About.To}
		if out := inspect(t, b.Fetch, in); !out.OK() || out.Leaves != r[2] || b.About.Key != key {
			t.Errorf("%v from its bundle: %+v", r, out)
		}
		// The bundle under a key of somebody else's, and beyond what it has.
		other, err := testKey(2).Public(origin)
		if err != nil {
			t.Fatal(err)
		}
		if out := inspect(t, b.Fetch, audit.Inspection{Key: other, From: 1, To: 1}); out.OK() || out.First().Seq != 1 {
			t.Errorf("another key: %+v", out)
		}
	}
	if _, err := audit.OpenBundle(strings.NewReader("PK no"), 5); err == nil {
		t.Error("anything is a bundle")
	}
}

func TestSince(t *testing.T) {
	all, key := files(t, 700)
	var times []int64
	inspect(t, fetchOf(all), audit.Inspection{Key: key, Each: func(_ int64, l audit.Leaf) { times = append(times, l.At) }})
	// The test's leaves repeat their times, so only the ends are sure.
	for _, c := range []struct{ at, want int64 }{{0, 1}, {times[0], 1}, {1 << 50, 701}} {
		if n, err := audit.Since(t.Context(), fetchOf(all), 700, c.at); err != nil || n != c.want {
			t.Errorf("since %d: %d, %v, want %d", c.at, n, err, c.want)
		}
	}
}

// T64: whoever changes an exported log is found by somebody who has the key and the file,
// and no server; the first leaf that is wrong is named.
func TestT64_ChangedBundlesAreFound(t *testing.T) {
	all, key := files(t, 600)
	times := 300
	if os.Getenv("REEF_SOAK") == "1" {
		times = 10_000
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range times {
		changed := make(map[string][]byte, len(all))
		for path, raw := range all {
			changed[path] = bytes.Clone(raw)
		}
		n := int64(r.IntN(3))
		w := min(256, 600-int(n)*256)
		entries, hashes := audit.TilePath("entries", n, w), audit.TilePath("0", n, w)
		k := r.IntN(w)
		first := n*256 + int64(k) + 1
		at := 0 // of leaf k in its file
		for range k {
			at += 2 + int(changed[entries][at])<<8 + int(changed[entries][at+1])
		}
		long := int(changed[entries][at])<<8 + int(changed[entries][at+1])
		what := ""
		switch r.IntN(7) {
		case 0:
			what = "a bit of a leaf"
			changed[entries][at+2+r.IntN(long)] ^= 1 << r.IntN(8)
		case 1:
			what = "a leaf and its hash"
			changed[entries][at+3] ^= 1
			changed[hashes][k*32] ^= 1
		case 2:
			what = "a leaf is gone"
			changed[entries] = append(changed[entries][:at], changed[entries][at+2+long:]...)
		case 3:
			what = "the leaves break off"
			changed[entries] = changed[entries][:at+1]
		case 4:
			what = "a file is gone"
			delete(changed, entries)
			first = n*256 + 1
		case 5:
			what = "the checkpoint"
			first = 1
			changed["checkpoint"][r.IntN(len(all["checkpoint"])-3)] ^= 1
		case 6:
			what = "a hash above"
			top := audit.TilePath("1", 0, 2)
			b := r.IntN(64)
			changed[top][b] ^= 1
			first = int64(b/32)*256 + 1
		}
		out := inspect(t, fetchOf(changed), audit.Inspection{Key: key})
		if p := out.First(); out.OK() || p.Seq != first && !(what == "a leaf is gone" && p.Seq >= n*256+1 && p.Seq <= n*256+int64(w)) {
			t.Fatalf("seed %d, %d: %s at leaf %d: found %+v of %d problems", seed, i, what, first, p, out.Bad)
		}
	}
}

// T64: readers who were shown different logs find out by comparing checkpoints.
func TestT64_AForkIsFoundByAKeptCheckpoint(t *testing.T) {
	one, key := files(t, 300)
	two, _ := files(t, 400) // by the same key: its leaves have other ids and times
	for what, c := range map[string]struct {
		log, kept map[string][]byte
		first     int64
	}{
		"a fork": {two, one, 301}, "a roll-back": {one, two, 301},
	} {
		out := inspect(t, fetchOf(c.log), audit.Inspection{Key: key, Kept: [][]byte{c.kept["checkpoint"]}})
		if out.OK() || out.First().Seq != c.first {
			t.Errorf("%s: %+v", what, out)
		}
	}
	if out := inspect(t, fetchOf(one), audit.Inspection{Key: key, Kept: [][]byte{one["checkpoint"]}}); !out.OK() {
		t.Errorf("the same log: %+v", out)
	}
}

func TestTilePath(t *testing.T) {
	for n, path := range map[int64]string{0: "tile/0/000", 999: "tile/0/999", 1000: "tile/0/x001/000", 1234067: "tile/0/x001/x234/067"} {
		for _, width := range []int{256, 1, 255} {
			want := path
			if width < 256 {
				want += fmt.Sprintf(".p/%d", width)
			}
			got := audit.TilePath("0", n, width)
			back, w, err := audit.ParseTilePath(strings.TrimPrefix(got, "tile/0/"))
			if got != want || err != nil || back != n || w != width {
				t.Errorf("tile %d of %d: %s, read as %d of %d: %v", n, width, got, back, w, err)
			}
		}
	}
	for _, bad := range []string{"", "5", "0005", "x001", "001/002", "x000/001", "000.p/0", "000.p/256", "000.p/07", "-01", "x001/x002/x003/x004/x005/006"} {
		if n, w, err := audit.ParseTilePath(bad); err == nil {
			t.Errorf("%q is tile %d of %d", bad, n, w)
		}
	}
}

func FuzzParseTilePath(f *testing.F) {
	f.Add("x001/x234/067.p/5")
	f.Fuzz(func(t *testing.T, path string) {
		if n, w, err := audit.ParseTilePath(path); err == nil && audit.TilePath("0", n, w) != "tile/0/"+path {
			t.Errorf("%q is read as tile %d of %d", path, n, w)
		}
	})
}

// FuzzOpenBundle reads whatever somebody sends an auditor.
func FuzzOpenBundle(f *testing.F) {
	all, key := files(f, 3)
	var file bytes.Buffer
	if _, err := audit.Export(f.Context(), fetchOf(all), audit.Inspection{Key: key}, &file, time.Unix(0, 0)); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := audit.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		_, _ = audit.Inspect(t.Context(), b.Fetch, audit.Inspection{Key: key, From: b.About.From, To: b.About.To})
	})
}

// A proof is checked alone; it is of one leaf, in one place, of one log.
func TestProofs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		codec := newCodec(t)
		log := audit.New(audit.Config{Codec: codec})
		record(t, db, codec, 300)
		on := act.Ref{ID: mint(t, db, act.KindPost), Version: 1}
		write(t, db, func(tx *store.Tx) error {
			for _, name := range []string{"post.create", "post.pin"} {
				if err := log.Record(tx, gate.Entry{Act: name, At: time.Now().UnixMicro(), Principal: act.SystemPrincipal("p"), Target: on, Count: 1}); err != nil {
					return err
				}
			}
			return nil
		})
		number(t, db)
		tree := newTree(db)
		integrate(t, tree)
		key := current(t, tree).Key
		prove := func(in audit.Wanted) (p audit.Proof, err error) {
			err = db.View(t.Context(), func(v *store.View) error { p, err = tree.Prove(v, codec, in); return err })
			return p, err
		}
		for _, in := range []audit.Wanted{{Seq: 1}, {Seq: 257}, {On: on.ID}} {
			p, err := prove(in)
			if err != nil || in.On != 0 && (len(p.Leaves) != 2 || p.Leaves[0].Seq != 301) {
				t.Fatalf("%+v: %+v, %v", in, p, err)
			}
			if c, err := audit.CheckProof(p, key); err != nil || c.Size != 302 {
				t.Errorf("%+v: %v", in, err)
			}
			bad := p
			bad.Leaves = append([]audit.ProvenLeaf{}, p.Leaves...)
			bad.Leaves[0].Seq++
			if _, err := audit.CheckProof(bad, key); err == nil {
				t.Errorf("%+v: good in another place", in)
			}
			bad.Leaves[0] = p.Leaves[0]
			bad.Leaves[0].Leaf = strings.Replace(bad.Leaves[0].Leaf, `"v":1`, `"v": 1`, 1)
			if _, err := audit.CheckProof(bad, key); err == nil {
				t.Errorf("%+v: good with another leaf", in)
			}
		}
		if _, err := prove(audit.Wanted{Seq: 303}); act.CodeOf(err) != act.NotFound {
			t.Errorf("a leaf that is not there: %v", err)
		}
		if _, err := prove(audit.Wanted{On: mint(t, db, act.KindPost)}); act.CodeOf(err) != act.NotFound {
			t.Errorf("a thing that nothing was done to: %v", err)
		}
	})
}

// A bundle has a README and no file twice.
func TestBundleIsAZip(t *testing.T) {
	all, key := files(t, 600)
	var file bytes.Buffer
	if _, err := audit.Export(t.Context(), fetchOf(all), audit.Inspection{Key: key}, &file, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, f := range z.File {
		if seen[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		seen[f.Name] = true
	}
	r, err := z.Open("README.txt")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil || !bytes.Contains(text, []byte("reef audit verify")) {
		t.Errorf("the README says %q, %v", text, err)
	}
}

// FuzzOpenCheckpoint reads whatever stands in a file or comes from a server.
func FuzzOpenCheckpoint(f *testing.F) {
	all, key := files(f, 3)
	v, err := note.NewVerifier(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(all["checkpoint"])
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := audit.OpenCheckpoint(raw, v); err == nil && c.Size != 3 {
			t.Errorf("%q is a checkpoint of %d leaves", raw, c.Size)
		}
		_ = audit.OriginOf(raw)
	})
}
