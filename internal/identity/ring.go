package identity

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/reefwarden/reefwarden/internal/act"
)

// KeyStore keeps a network's ring of keys: package secret has the stores. A ring is
// opaque to a store, at most MaxRing bytes, and in no error, log or trace of it.
type KeyStore interface {
	// Read returns the ring as it is kept now. Where there is none the error is an
	// fs.ErrNotExist; act.Unavailable says that asking again may help.
	Read(ctx context.Context) (Kept, error)
	// Write keeps a ring in place of the one whose revision is over, "" for none, and
	// fails with act.Conflict when another one is kept by now.
	Write(ctx context.Context, ring []byte, over string) error
}

// Kept is a ring as a store keeps it.
type Kept struct {
	Ring     []byte
	Revision string // changes with every Write; says nothing about the ring
}

// MaxRing is the largest ring, in bytes.
const MaxRing = 8 << 10

// A ring is the master key alone, MasterKeySize bytes, as long as the wrapping key
// was never renewed; after that it is the JSON text of a ring.
type ring struct {
	Form     int        `json:"ring"` // ringForm
	Root     []byte     `json:"root"` // the master key; permanent
	Wrapping []ringWrap `json:"wrapping"`
}

// ringWrap is one version of the wrapping key. Version 1 follows from the master key
// and is in no ring.
type ringWrap struct {
	Version int64  `json:"version"`
	Key     []byte `json:"key"`
}

const (
	ringForm    = 1
	wrapKeySize = 32
	maxVersions = 64 // a renewal every month for five years
)

func newRing() ring {
	r := ring{Form: ringForm, Root: make([]byte, MasterKeySize)}
	_, _ = rand.Read(r.Root) // never fails (crypto/rand)
	return r
}

// newest returns the highest version of the wrapping key.
func (r ring) newest() int64 { return int64(len(r.Wrapping)) + 1 }

func (r ring) encode() ([]byte, error) {
	if len(r.Wrapping) == 0 {
		return bytes.Clone(r.Root), nil
	}
	return json.Marshal(r)
}

// parseRing reads a ring. No error repeats any of it.
func parseRing(text []byte) (ring, error) {
	if len(text) == MasterKeySize {
		if bytes.Equal(text, make([]byte, MasterKeySize)) { // what is left of a file that was wiped
			return ring{}, errors.New("it is all zeros")
		}
		return ring{Form: ringForm, Root: bytes.Clone(text)}, nil
	}
	var r ring
	if len(text) > MaxRing {
		return r, fmt.Errorf("it has %d bytes, more than any ring of keys", len(text))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return ring{}, fmt.Errorf("it is neither a master key of %d bytes nor a ring of keys (%d bytes)", MasterKeySize, len(text))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return ring{}, errors.New("something follows the ring of keys")
	}
	switch {
	case r.Form != ringForm:
		return ring{}, fmt.Errorf("the ring of keys has form %d, and this program knows %d", r.Form, ringForm)
	case len(r.Root) != MasterKeySize:
		return ring{}, fmt.Errorf("the master key in the ring has %d bytes, want %d", len(r.Root), MasterKeySize)
	case len(r.Wrapping) >= maxVersions:
		return ring{}, fmt.Errorf("the ring has %d versions of the wrapping key, more than %d", len(r.Wrapping)+1, maxVersions)
	}
	for n, w := range r.Wrapping {
		if w.Version != int64(n)+2 || len(w.Key) != wrapKeySize {
			return ring{}, fmt.Errorf("version %d of the wrapping key in the ring is spoiled", n+2)
		}
	}
	return r, nil
}

// OpenKeys reads a network's keys from a store. Where there are none it makes them,
// if create is set; of several processes that do so at once, one wins. See Refresh for
// what is kept of the store.
func OpenKeys(ctx context.Context, s KeyStore, create bool) (*Keys, error) {
	kept, err := s.Read(ctx)
	if create && errors.Is(err, fs.ErrNotExist) {
		kept, err = makeRing(ctx, s)
	}
	var r ring
	if err == nil {
		r, err = parseRing(kept.Ring)
		clear(kept.Ring)
	}
	if err != nil {
		return nil, fmt.Errorf("identity: the network's key: %w", err)
	}
	k, err := deriveKeys(r)
	if err == nil {
		k.kept.store = s
	}
	return k, err
}

func makeRing(ctx context.Context, s KeyStore) (Kept, error) {
	text, err := newRing().encode()
	if err != nil {
		return Kept{}, err
	}
	if err := s.Write(ctx, text, ""); err != nil && act.CodeOf(err) != act.Conflict {
		return Kept{}, err
	}
	return s.Read(ctx)
}

// CopyRing keeps in one store what is kept in another. What is there already is left
// if it is the same ring, and an act.Conflict otherwise.
func CopyRing(ctx context.Context, from, to KeyStore) error {
	kept, err := from.Read(ctx)
	if err == nil {
		_, err = parseRing(kept.Ring)
	}
	if err != nil {
		return fmt.Errorf("identity: the network's key: %w", err)
	}
	defer clear(kept.Ring)
	err = to.Write(ctx, kept.Ring, "")
	if act.CodeOf(err) != act.Conflict {
		return err
	}
	there, err := to.Read(ctx)
	if err != nil {
		return fmt.Errorf("identity: the network's key: %w", err)
	}
	defer clear(there.Ring)
	if !bytes.Equal(there.Ring, kept.Ring) {
		return act.Errorf(act.Conflict, "another key is kept there").WithRule("key.conflict").
			WithHint("it may be another network's, or this one's with other versions of the wrapping key; nothing was changed")
	}
	return nil
}

// LoadKeys reads the keys from a file in the clear, or makes it (mode 0600, whole or
// not at all, never over another) when there is none.
func LoadKeys(path string) (*Keys, error) {
	text, err := ReadSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = MakeSecretFile(path, newRing().Root)
	}
	var r ring
	if err == nil {
		if r, err = parseRing(text); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("identity: master key: %w", err)
	}
	return deriveKeys(r)
}
