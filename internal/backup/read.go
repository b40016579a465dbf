package backup

import (
	"archive/tar"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Check reads a backup to its end and refuses one that is not whole: every entry
// must be there, once, in order and with its digest. It needs no key, so it does
// not tell who made the backup; see Archive.Authenticate.
func Check(ctx context.Context, r io.Reader, watch func(Progress)) (Manifest, error) {
	m, _, err := check(ctx, r, watch)
	return m, err
}

// signed is a manifest as it stands in the archive, with its code.
type signed struct {
	raw []byte
	mac string
}

func check(ctx context.Context, from io.Reader, watch func(Progress)) (m Manifest, s signed, err error) {
	r := &reader{from: from}
	in := tar.NewReader(r)
	var seen []Entry
	var progress Progress
	for {
		if err := ctx.Err(); err != nil {
			return m, s, err
		}
		h, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return m, s, broken("it ends before its manifest")
		case err != nil:
			return m, s, torn(err)
		case h.Typeflag != tar.TypeReg || h.Size < 0 || h.Size > maxChunk+1<<20:
			return m, s, broken("it has an entry that is none of a backup's")
		case h.Name == manifestName:
			s.raw, err = io.ReadAll(io.LimitReader(in, maxManifest+1))
			if err != nil || len(s.raw) > maxManifest {
				return m, s, torn(err)
			}
			if m, err = parseManifest(s.raw); err != nil {
				return m, s, err
			}
			if err := matches(m, seen); err != nil {
				return m, s, err
			}
			if s.mac, err = ending(in, r); err == nil && r.n != length(m, s) {
				err = broken("it breaks off in its last bytes")
			}
			return m, s, err
		}
		sum := sha256.New()
		n, err := io.Copy(sum, in)
		if err != nil {
			return m, s, torn(err)
		}
		seen = append(seen, Entry{Name: h.Name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))})
		progress.Bytes += n
		if watch != nil {
			watch(progress)
		}
	}
}

// reader counts what is read through it.
type reader struct {
	from io.Reader
	n    int64
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	r.n += int64(n)
	return n, err
}

// length is how many bytes an archive has: tar works in blocks of 512, one before
// each entry and two at the end.
func length(m Manifest, s signed) int64 {
	const block = 512
	n := int64(2 * block)
	for _, size := range []int64{int64(len(s.raw)), int64(len(s.mac))} {
		n += block + (size+block-1)/block*block
	}
	for _, e := range m.entries() {
		n += block + (e.Size+block-1)/block*block
	}
	return n
}

// torn says that reading broke off: the reader's own error, or the archive's end.
func torn(err error) error {
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) {
		return broken("it breaks off")
	}
	return err
}

// matches compares what was read with what the manifest lists.
func matches(m Manifest, seen []Entry) error {
	listed := m.entries()
	if len(seen) != len(listed) {
		return broken("it has more or fewer entries than its manifest lists")
	}
	for i, e := range listed {
		if seen[i].Name != e.Name || seen[i].Size != e.Size {
			return broken("its entries are not those of its manifest")
		}
		if seen[i].SHA256 != e.SHA256 {
			return broken("the entry " + e.Name + " was altered")
		}
	}
	var rows int64
	for _, t := range m.Tables {
		rows += t.Rows
	}
	if rows != m.Rows {
		return broken("its manifest does not count what it lists")
	}
	return nil
}

// ending reads what follows the manifest: its code, and then nothing.
func ending(in *tar.Reader, r io.Reader) (mac string, err error) {
	h, err := in.Next()
	if err != nil {
		return "", broken("it ends before the code of its manifest")
	}
	if h.Name != macName || h.Size != 2*sha256.Size {
		return "", broken("what follows its manifest is not the code of it")
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		return "", torn(err)
	}
	if _, err := in.Next(); !errors.Is(err, io.EOF) {
		return "", broken("something follows its end")
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(r, 1))
	if err != nil {
		return "", torn(err)
	}
	if rest > 0 {
		return "", broken("something follows its end")
	}
	return string(raw), nil
}

// Archive is a backup in a file that was found whole.
type Archive struct {
	Manifest
	path string
	signed
}

// Open checks the backup in a file.
func Open(ctx context.Context, path string, watch func(Progress)) (*Archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	a := &Archive{path: path}
	a.Manifest, a.signed, err = check(ctx, f, watch)
	return a, err
}

// Authenticate refuses a backup that another network's key belongs to, or that
// somebody without the key has put together.
func (a *Archive) Authenticate(k Key) error {
	if a.Key != k.name() {
		return act.Errorf(act.Invalid, "the backup is of a network with another key").WithRule("backup.key").
			WithHint("give the key of the network " + a.Network + ", whose check value is " + a.Key)
	}
	want, err := k.mac(a.ID, a.raw)
	if err != nil {
		return err
	}
	if !hmac.Equal([]byte(want), []byte(a.mac)) {
		return broken("its manifest was not written by this network")
	}
	return nil
}

// Read opens every entry and counts the rows, as a restore would.
func (a *Archive) Read(ctx context.Context, k Key, watch func(Progress)) error {
	return a.walk(ctx, k, watch, func(r *reading) error {
		for _, t := range a.Tables {
			next := r.rows(t)
			for {
				if _, err := next(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					return err
				}
			}
		}
		_, err := r.files()
		return err
	})
}

// Restore makes a database of the backup (store.Restore) and returns the files
// that went with it. step is told of what takes long beside loading rows.
func (a *Archive) Restore(ctx context.Context, cfg store.Config, k Key, watch func(Progress), step func(string)) (files []File, err error) {
	what := store.Loading{Schema: a.Schema, Step: step}
	for _, t := range a.Tables {
		what.Tables = append(what.Tables, store.Table{Name: t.Name, Columns: t.Columns})
	}
	err = a.walk(ctx, k, watch, func(r *reading) error {
		what.Rows = func(t store.Table) func() ([]store.Value, error) { return r.rows(a.Table(t.Name)) }
		if err := store.Restore(ctx, cfg, what); err != nil {
			return err
		}
		files, err = r.files()
		return err
	})
	return files, err
}

// reading is a walk through the entries of a backup, in their order.
type reading struct {
	ctx      context.Context
	a        *Archive
	tar      *tar.Reader
	seal     *sealer
	n        uint64
	sealed   []byte
	progress Progress
	watch    func(Progress)
}

func (a *Archive) walk(ctx context.Context, k Key, watch func(Progress), fn func(*reading) error) error {
	if err := a.Authenticate(k); err != nil {
		return err
	}
	f, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	r := &reading{ctx: ctx, a: a, tar: tar.NewReader(f), watch: watch, progress: Progress{Total: a.Rows}}
	if r.seal, err = newSealer(k, a.ID); err != nil {
		return err
	}
	if r.watch == nil {
		r.watch = func(Progress) {}
	}
	return fn(r)
}

// entry reads and opens the next entry, which must still be the one that was
// checked.
func (r *reading) entry(e Entry) ([]byte, error) {
	if err := r.ctx.Err(); err != nil {
		return nil, err
	}
	h, err := r.tar.Next()
	if err != nil || h.Name != e.Name || h.Size != e.Size {
		return nil, broken("it has changed since it was checked")
	}
	r.sealed = slices.Grow(r.sealed[:0], int(e.Size))[:e.Size]
	if _, err := io.ReadFull(r.tar, r.sealed); err != nil {
		return nil, torn(err)
	}
	plain, err := r.seal.unseal(r.n, e, r.sealed)
	r.n++
	r.progress.Bytes += e.Size
	return plain, err
}

// rows returns a function that gives the rows of a table and then io.EOF.
func (r *reading) rows(t Table) func() ([]store.Value, error) {
	row, chunks, seen := make([]store.Value, len(t.Columns)), t.Chunks, int64(0)
	var rest []byte
	r.progress.Table = t.Name
	return func() ([]store.Value, error) {
		for len(rest) == 0 {
			if len(chunks) == 0 {
				if seen != t.Rows {
					return nil, broken("the table " + t.Name + " has another number of rows")
				}
				return nil, io.EOF
			}
			r.watch(r.progress)
			var err error
			if rest, err = r.entry(chunks[0]); err != nil {
				return nil, err
			}
			chunks = chunks[1:]
		}
		var err error
		if rest, err = cutRow(rest, row); err != nil {
			return nil, err
		}
		seen++
		r.progress.Rows++
		return row, nil
	}
}

// files reads what follows the rows.
func (r *reading) files() (list []File, err error) {
	for _, e := range r.a.Files {
		plain, err := r.entry(e)
		if err != nil {
			return nil, err
		}
		list = append(list, File{Name: e.Name[len("files/"):], Content: slices.Clone(plain)})
	}
	r.progress.Table = ""
	r.watch(r.progress)
	return list, nil
}
