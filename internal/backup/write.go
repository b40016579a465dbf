package backup

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// About is what a backup says of itself beside the database's own.
type About struct {
	Network string
	Program string
	Files   []File // settings; sealed like the rows
}

// File is a file that goes with the network.
type File struct {
	Name    string
	Content []byte
}

// Progress is how far writing or reading has come.
type Progress struct {
	Table string // "" between tables
	Rows  int64
	Bytes int64 // of the archive
	Total int64 // rows there will be; 0 when that is not known
}

// Write writes a backup of a database that is in use, and of the files, to w. The
// state is that of one moment after the call: what was acknowledged before is in
// it. watch is told of every chunk; it may
// be nil. When it fails, what was written is no backup and says so to Check.
func Write(ctx context.Context, db *store.DB, w io.Writer, k Key, about About, watch func(Progress)) (m Manifest, err error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	m = Manifest{
		Format: Format, ID: hex.EncodeToString(id[:]), Network: about.Network, Key: k.name(), Program: about.Program,
		Database: db.Dialect().String(), Tables: []Table{}, Files: []Entry{},
	}
	out := &writer{m: &m, watch: watch}
	if out.watch == nil {
		out.watch = func(Progress) {}
	}
	if out.seal, err = newSealer(k, m.ID); err != nil {
		return m, err
	}
	out.count.to = w
	out.tar = tar.NewWriter(&out.count)
	m.TakenAt = db.Clock()().UTC().Truncate(time.Millisecond) // what was answered before is in it
	err = db.Dump(ctx, func(d *store.Dump) error {
		m.Schema, m.Seq, m.Fence = d.Schema, d.Seq, d.Fence
		for _, t := range d.Tables {
			if err := out.table(d, t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return m, err
	}
	for _, f := range about.Files {
		e, err := out.entry("files/"+f.Name, f.Content)
		if err != nil {
			return m, err
		}
		m.Files = append(m.Files, e)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return m, err
	}
	code, err := k.mac(m.ID, raw)
	if err != nil {
		return m, err
	}
	if err := out.put(manifestName, raw); err != nil {
		return m, err
	}
	if err := out.put(macName, []byte(code)); err != nil {
		return m, err
	}
	return m, out.tar.Close()
}

type writer struct {
	m     *Manifest
	tar   *tar.Writer
	count counter
	seal  *sealer
	n     uint64 // entries sealed
	watch func(Progress)
	rows  []byte // of the chunk that is being filled
}

// counter counts what goes through it.
type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// table writes the rows of a table, in chunks of whole rows.
func (w *writer) table(d *store.Dump, t store.Table) error {
	out := Table{Name: t.Name, Columns: t.Columns, Chunks: []Entry{}}
	w.rows = w.rows[:0]
	flush := func() error {
		if len(w.rows) == 0 {
			return nil
		}
		e, err := w.entry(fmt.Sprintf("rows/%s/%d", t.Name, len(out.Chunks)), w.rows)
		if err != nil {
			return err
		}
		out.Chunks = append(out.Chunks, e)
		w.rows = w.rows[:0]
		w.watch(Progress{Table: t.Name, Rows: w.m.Rows, Bytes: w.count.n})
		return nil
	}
	err := d.Rows(t, func(row []store.Value) error {
		out.Rows++
		w.m.Rows++
		if w.rows = appendRow(w.rows, row); len(w.rows) >= chunkSize {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	w.m.Tables = append(w.m.Tables, out)
	return nil
}

// entry seals and writes one entry.
func (w *writer) entry(name string, plain []byte) (Entry, error) {
	if len(plain) > maxChunk {
		return Entry{}, act.Errorf(act.TooLarge, "%s has %d bytes, too many for a backup", name, len(plain))
	}
	sealed, err := w.seal.seal(w.n, name, plain)
	if err != nil {
		return Entry{}, err
	}
	w.n++
	sum := sha256.Sum256(sealed)
	e := Entry{Name: name, Size: int64(len(sealed)), Plain: int64(len(plain)), SHA256: hex.EncodeToString(sum[:])}
	return e, w.put(name, sealed)
}

func (w *writer) put(name string, content []byte) error {
	if err := w.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o600, ModTime: w.m.TakenAt.Truncate(time.Second), Format: tar.FormatUSTAR,
	}); err != nil {
		return err
	}
	_, err := w.tar.Write(content)
	return err
}
