package backup_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/backup"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

var key = backup.Key{Secret: bytes.Repeat([]byte{7}, 32), Check: []byte("check value 16 b")}

const (
	qTestPut  store.Q = `INSERT INTO meta (name, value) VALUES ($1, $2)`
	qTestMeta store.Q = `SELECT name, value FROM meta WHERE name >= 'test' AND name < 'tesu' ORDER BY name`
)

// put fills a database with rows of so many bytes.
func put(t *testing.T, db *store.DB, sizes ...int) {
	t.Helper()
	for i, size := range sizes {
		if err := db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(qTestPut, fmt.Sprintf("test-%04d ünïcode", i), bytes.Repeat([]byte{byte(i), 0, 255, 'x'}, size/4))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func list(t *testing.T, db *store.DB) (out []string) {
	t.Helper()
	if err := db.View(t.Context(), func(v *store.View) error {
		return v.All(qTestMeta, func(r *store.Row) error {
			out = append(out, r.Text(0)+string(r.Bytes(1)))
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// taken writes a backup into memory.
func taken(t *testing.T, db *store.DB) ([]byte, backup.Manifest) {
	t.Helper()
	var b bytes.Buffer
	m, err := backup.Write(t.Context(), db, &b, key, backup.About{
		Network: "default", Program: "test", Files: []backup.File{{Name: "reef.yaml", Content: []byte("limits: open\n")}, {Name: "empty", Content: nil}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), m
}

func saved(t *testing.T, raw []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What is written is read, opened and restored, also over a pipe and with rows
// larger than a chunk.
func TestRoundTrip(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		put(t, db, 0, 1, 4, 1000, 3<<20, 17, 900_000, 900_000, 900_000)
		raw, m := taken(t, db)
		if m.Database != db.Dialect().String() || m.Network != "default" || m.Rows == 0 || len(m.Table("meta").Chunks) < 3 || m.Table("meta").Rows != 9 {
			t.Errorf("the manifest says %+v", m)
		}
		pipe, feed := io.Pipe()
		go func() { _, err := io.Copy(feed, bytes.NewReader(raw)); feed.CloseWithError(err) }()
		var seen backup.Progress
		if got, err := backup.Check(t.Context(), pipe, func(p backup.Progress) { seen = p }); err != nil || got.ID != m.ID || seen.Bytes == 0 {
			t.Errorf("checked on its way: %+v, %v", got, err)
		}
		a, err := backup.Open(t.Context(), saved(t, raw), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Read(t.Context(), key, func(p backup.Progress) { seen = p }); err != nil || seen.Rows != m.Rows || seen.Total != m.Rows {
			t.Errorf("read %+v of %d rows, %v", seen, m.Rows, err)
		}
		for _, to := range []store.Dialect{store.SQLite, store.Postgres} {
			cfg := storetest.Config(t, to)
			files, err := a.Restore(t.Context(), cfg, key, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(files) != 2 || files[0].Name != "reef.yaml" || string(files[0].Content) != "limits: open\n" || files[1].Name != "empty" || len(files[1].Content) != 0 {
				t.Errorf("files %q", files)
			}
			cfg.Unfinished = true
			if got, want := list(t, storetest.OpenConfig(t, cfg)), list(t, db); strings.Join(got, "\x00") != strings.Join(want, "\x00") || len(got) != 9 {
				t.Errorf("restored into %s: %d rows, not the %d that there were", to, len(got), len(want))
			}
		}
		other := backup.Key{Secret: bytes.Repeat([]byte{8}, 32), Check: []byte("another's check ")}
		refused(t, "another network's key", a.Read(t.Context(), other, nil), "backup.key")
		other.Check = key.Check
		refused(t, "a forged check value", a.Read(t.Context(), other, nil), "backup.whole")
	})
}

func refused(t *testing.T, what string, err error, rule string) {
	t.Helper()
	if e, ok := errors.AsType[*act.Error](err); !ok || e.Code != act.Invalid || e.Rule != rule || e.Hint == "" {
		t.Errorf("%s: %v, want it refused by %s", what, err, rule)
	}
}

// An archive that ends early, at whatever byte, or differs in one, is refused.
func TestEveryByteCounts(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	put(t, db, 10, 2000)
	raw, _ := taken(t, db)
	if _, err := backup.Check(t.Context(), bytes.NewReader(raw), nil); err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(raw); cut += 97 {
		_, err := backup.Check(t.Context(), bytes.NewReader(raw[:cut]), nil)
		refused(t, fmt.Sprintf("cut at %d of %d", cut, len(raw)), err, "backup.whole")
	}
	accepted := 0
	for at := 0; at < len(raw); at += 31 {
		altered := bytes.Clone(raw)
		altered[at] ^= 1
		a, err := backup.Open(t.Context(), saved(t, altered), nil)
		if err == nil {
			err = a.Read(t.Context(), key, nil)
		}
		if err == nil {
			// Tar has room that means nothing: padding, and what headers fill up with.
			accepted++
			if content(raw, at) {
				t.Errorf("a bit of byte %d was changed, and nobody notices", at)
			}
			continue
		}
		if e, ok := errors.AsType[*act.Error](err); !ok || e.Code != act.Invalid {
			t.Errorf("a bit of byte %d: %v", at, err)
		}
	}
	t.Logf("%d bytes, of %d changed ones %d meant nothing", len(raw), len(raw)/31, accepted)
	_, err := backup.Check(t.Context(), bytes.NewReader(append(bytes.Clone(raw), 0)), nil)
	refused(t, "one byte more", err, "backup.whole")
}

// content reports whether a byte of a tar archive is an entry's.
func content(raw []byte, at int) bool {
	in := bytes.NewReader(raw)
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if err != nil {
			return false
		}
		if from := len(raw) - in.Len(); at >= from && at < from+int(h.Size) {
			return true
		}
	}
}

// rebuilt makes an archive of entries.
func rebuilt(t *testing.T, names []string, entries map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(entries[name])), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(entries[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpacked(t *testing.T, raw []byte) (names []string, entries map[string][]byte) {
	t.Helper()
	entries = make(map[string][]byte)
	r := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, entries
		}
		if err != nil {
			t.Fatal(err)
		}
		if entries[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// Somebody without the key who makes the digests fit is found out by the code;
// with entries of another backup of the same network, too.
func TestForgery(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	put(t, db, 10)
	old, _ := taken(t, db)
	put2 := func(name string) {
		if err := db.Write(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(qTestPut, name, []byte("x")); return err }); err != nil {
			t.Fatal(err)
		}
	}
	put2("tess")
	raw, _ := taken(t, db)
	names, entries := unpacked(t, raw)
	_, earlier := unpacked(t, old)

	read := func(names []string, entries map[string][]byte) error {
		a, err := backup.Open(t.Context(), saved(t, rebuilt(t, names, entries)), nil)
		if err == nil {
			err = a.Read(t.Context(), key, nil)
		}
		return err
	}
	if err := read(names, entries); err != nil {
		t.Fatalf("the same entries again: %v", err)
	}
	with := func(name string, content []byte) map[string][]byte {
		out := make(map[string][]byte)
		for n, c := range entries {
			out[n] = c
		}
		out[name] = content
		return out
	}
	refused(t, "a chunk of an earlier backup", read(names, with("rows/meta/0", earlier["rows/meta/0"])), "backup.whole")

	// The manifest is made to fit.
	var m map[string]any
	if err := json.Unmarshal(entries["manifest.json"], &m); err != nil {
		t.Fatal(err)
	}
	m["seq"] = 1
	forged, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "a manifest made to fit", read(names, with("manifest.json", forged)), "backup.whole")

	m["format"] = "reef-backup/2"
	if forged, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	refused(t, "a form of a later version", read(names, with("manifest.json", forged)), "backup.format")
	refused(t, "an entry less", read(names[1:], entries), "backup.whole")
	refused(t, "no code", read(names[:len(names)-1], entries), "backup.whole")
	swapped := append([]string{names[1], names[0]}, names[2:]...)
	refused(t, "entries in another order", read(swapped, entries), "backup.whole")
	refused(t, "an entry twice", read(append([]string{names[0]}, names...), entries), "backup.whole")
	refused(t, "an entry more", read(append(names[:len(names)-2:len(names)-2], "rows/extra/0", "manifest.json", "manifest.mac"), with("rows/extra/0", []byte("x"))), "backup.whole")
	refused(t, "no archive at all", read([]string{"hello"}, map[string][]byte{"hello": []byte("world")}), "backup.whole")
}

// What is not at the end of its way is no backup: a full disk, a reader who left,
// an operator who has it stopped.
func TestWritingStops(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		put(t, db, 3<<20, 3<<20)
		full := errors.New("no space left on device")
		if _, err := backup.Write(t.Context(), db, &short{left: 1000, err: full}, key, backup.About{}, nil); !errors.Is(err, full) {
			t.Errorf("a full disk: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var b bytes.Buffer
		_, err := backup.Write(ctx, db, &b, key, backup.About{}, func(backup.Progress) { cancel() })
		if err == nil {
			t.Error("a backup that was stopped succeeds")
		}
		_, err = backup.Check(t.Context(), &b, nil)
		refused(t, "a backup that was stopped", err, "backup.whole")
		if _, m := taken(t, db); m.Table("meta").Rows != 2 {
			t.Errorf("the next one has %+v", m.Table("meta"))
		}
	})
}

type short struct {
	left int
	err  error
}

func (s *short) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		return 0, s.err
	}
	return len(p), nil
}

// Nothing of a row stands in the archive's bytes, and neither does the key.
func TestNothingInClear(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	if err := db.Write(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(qTestPut, "test canary", []byte("k4n4ry"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	raw, _ := taken(t, db)
	for _, secret := range []string{"canary", "k4n4ry", "limits", string(key.Secret[:8])} {
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the backup holds %q in clear", secret)
		}
	}
	if !bytes.Contains(raw, []byte(`"network":"default"`)) {
		t.Error("this is not the archive")
	}
}
