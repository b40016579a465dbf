package audit

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// About says what a bundle is. The key in it is for comparison: a verifier trusts the one
// that it was given.
type About struct {
	Form   string    `json:"reef_audit_bundle"` // "1"
	Origin string    `json:"origin"`
	Key    string    `json:"key"`
	From   int64     `json:"from"` // numbers of the first and the last leaf
	To     int64     `json:"to"`
	Size   int64     `json:"size"` // of the log under the checkpoint
	MadeAt time.Time `json:"made_at"`
}

const (
	bundleForm = "1"
	aboutName  = "about.json"
	maxFile    = 32 << 20 // 256 leaves of the greatest length, twice over
)

const readme = `This is a part of the record of an agent network, with what proves that it is that.

  about.json      which log, which leaves, and the key of the log
  checkpoint      the head of the log, signed (C2SP signed-note, tlog-checkpoint)
  tile/entries/   leaves: each is two bytes of length and a JSON text (RFC 8785)
  tile/N/         hashes of the Merkle tree over all leaves (RFC 6962, C2SP tlog-tiles)

Check it, on any machine, without the server:

  reef audit verify THIS.zip --key KEY

KEY is the log's public key. Get it from whom you trust, not from this file: the one in
about.json is what the network said of itself when the bundle was made. The check says
that every leaf from the first to the last is there, is the one that was signed, and is
in its place. It does not say that the log is the only one the network has shown: for that
hold it against checkpoints that others have kept (--checkpoint FILE) or that witnesses
have cosigned (--witness KEY).

Leaves are numbered from 1. They hold ids, names and salted hashes, and never content.
`

// Export writes a bundle of some leaves of a log. It checks what it exports on the way, and
// leaves out nothing that the check needs.
func Export(ctx context.Context, fetch Fetch, in Inspection, w io.Writer, now time.Time) (out Inspected, err error) {
	z := zip.NewWriter(w)
	add := func(name string, content []byte) error {
		f, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: now.UTC()})
		if err == nil {
			_, err = f.Write(content)
		}
		return err
	}
	if err := add("README.txt", []byte(readme)); err != nil {
		return out, err
	}
	have := make(map[string]bool)
	out, err = Inspect(ctx, func(ctx context.Context, path string) ([]byte, error) {
		raw, err := fetch(ctx, path)
		if err == nil && !have[path] {
			have[path] = true
			err = add(path, raw)
		}
		return raw, err
	}, in)
	if err != nil {
		return out, err
	}
	about, err := json.MarshalIndent(About{
		Form: bundleForm, Origin: out.Checkpoint.Origin, Key: in.Key, From: out.From, To: out.To, Size: out.Checkpoint.Size, MadeAt: now.UTC().Truncate(time.Second),
	}, "", "  ")
	if err == nil {
		err = add(aboutName, append(about, '\n'))
	}
	return out, errors.Join(err, z.Close())
}

// Bundle is an opened bundle.
type Bundle struct {
	About About
	files *zip.Reader
}

// OpenBundle opens a bundle.
func OpenBundle(r io.ReaderAt, size int64) (*Bundle, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("it is no bundle: %w", err)
	}
	b := &Bundle{files: z}
	raw, err := b.Fetch(context.Background(), aboutName) //arch:allow a file is read
	if err == nil {
		err = json.Unmarshal(raw, &b.About)
	}
	if err != nil || b.About.Form != bundleForm {
		return nil, fmt.Errorf("it is no bundle of form %s: %w", bundleForm, err)
	}
	return b, nil
}

// Fetch reads a file of the bundle.
func (b *Bundle) Fetch(_ context.Context, path string) ([]byte, error) {
	f, err := b.files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the bundle lacks %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("the bundle's %s: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // it is only read
	raw, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("the bundle's %s: %w", path, err)
	}
	return raw, nil
}
