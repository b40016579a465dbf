package secret

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// File keeps the ring in a file, sealed or in the clear. What opens a sealed file is
// needed once: until it is sealed anew the file key is remembered. It is safe for concurrent
// use, also by several processes: who writes holds a lock on the directory.
type File struct {
	path   string
	unlock Unlock
	either bool // a file in the clear is taken, too

	mu      sync.Mutex
	opened  string // guarded by mu: header of the sealed file that was opened last
	fileKey []byte // guarded by mu: its file key, which opens later contents under that header
}

// NewFile returns the store of the file at path. What is there must be in the form
// that unlock says.
func NewFile(path string, unlock Unlock) *File { return &File{path: Resolve(path), unlock: unlock} }

// NewCopy returns the store of a file that somebody brings: in the clear, or sealed
// for unlock.
func NewCopy(path string, unlock Unlock) *File {
	return &File{path: Resolve(path), unlock: unlock, either: true}
}

// Resolve makes a path absolute and follows links as far as it is there: what is replaced
// is a file and not a link to it.
func Resolve(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if followed, err := filepath.EvalSymlinks(abs); err == nil {
		return followed
	}
	return filepath.Join(Resolve(filepath.Dir(abs)), filepath.Base(abs))
}

// Read implements identity.KeyStore.
func (f *File) Read(context.Context) (identity.Kept, error) {
	text, err := identity.ReadSecretFile(f.path)
	if err != nil {
		return identity.Kept{}, err
	}
	content, _, _, err := f.open(text)
	return identity.Kept{Ring: content, Revision: revision(text)}, err
}

// Write implements identity.KeyStore.
func (f *File) Write(_ context.Context, ring []byte, over string) error {
	return f.change(over, func(text []byte) ([]byte, error) {
		if text == nil {
			return f.make(ring, f.unlock)
		}
		_, s, fileKey, err := f.open(text)
		if err != nil || s == nil {
			return ring, err
		}
		defer clear(fileKey)
		if err := s.fill(fileKey, ring); err != nil {
			return nil, err
		}
		return s.encode(), nil
	})
}

// Reseal gives the file another form, or has something else open it.
func (f *File) Reseal(ctx context.Context, to Unlock) error {
	kept, err := f.Read(ctx)
	if err != nil {
		return err
	}
	defer clear(kept.Ring)
	if err := f.change(kept.Revision, func([]byte) ([]byte, error) { return f.make(kept.Ring, to) }); err != nil {
		return err
	}
	f.unlock = to
	return nil
}

// make encodes a new file.
func (f *File) make(ring []byte, u Unlock) ([]byte, error) {
	if !u.Sealed() {
		return ring, nil
	}
	key, err := u.secret()
	if err != nil {
		return nil, cannotOpen(f.path, err)
	}
	defer clear(key)
	s, err := seal(ring, u.kind, key, defaultCost)
	if err != nil {
		return nil, err
	}
	return s.encode(), nil
}

// open reads a file's content; s and fileKey are those of a sealed one.
func (f *File) open(text []byte) (content []byte, s *sealed, fileKey []byte, err error) {
	switch shut := isSealed(text); {
	case shut && !f.unlock.Sealed():
		return nil, nil, nil, act.Errorf(act.Invalid, "%s is sealed", f.path).WithRule("key.sealed").
			WithHint("say with --key-unlock what opens it: key:FILE, credential:NAME, passphrase:FILE or prompt")
	case !shut && f.unlock.Sealed() && !f.either:
		return nil, nil, nil, act.Errorf(act.Invalid, "%s is in the clear, and --key-unlock says that it is sealed", f.path).WithRule("key.plain").
			WithHint("somebody may have put another key there; if it is yours, seal it: reef key seal")
	case !shut:
		return text, nil, nil, nil
	}
	parsed, err := parseSealed(text)
	if err != nil {
		return nil, nil, nil, act.Errorf(act.Invalid, "%s: %s", f.path, err).WithRule("key.spoiled").
			WithHint("restore the file from its copy")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if head := parsed.header(); head == f.opened {
		if content, err := decrypt(f.fileKey, parsed.body, []byte(head)); err == nil {
			return content, &parsed, bytes.Clone(f.fileKey), nil
		}
	}
	key, err := f.unlock.secret()
	if err != nil {
		return nil, nil, nil, cannotOpen(f.path, err)
	}
	defer clear(key)
	if content, fileKey, err = parsed.open(f.unlock.kind, key); err != nil {
		return nil, nil, nil, act.Errorf(act.Denied, "%s does not open with %s", f.path, f.unlock).WithRule("key.unlock").
			WithHint("it was sealed for something else, or was changed; nothing else opens it")
	}
	f.opened, f.fileKey = parsed.header(), bytes.Clone(fileKey)
	return content, &parsed, fileKey, nil
}

func cannotOpen(path string, why error) error {
	return act.Errorf(act.Invalid, "what opens %s: %s", path, why).WithRule("key.unlock").
		WithHint("--key-unlock names it; the file must be readable by the server only")
}

// change replaces the file if its revision is over, "" for none. become gets what is
// there, nil for nothing.
func (f *File) change(over string, become func(text []byte) ([]byte, error)) error {
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	text, err := identity.ReadSecretFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = nil, nil
	}
	if err != nil {
		return err
	}
	if have := revision(text); have != over {
		return act.Errorf(act.Conflict, "another key is in %s by now", f.path).WithRule("key.conflict").WithHint("read it again")
	}
	defer clear(text)
	next, err := become(text)
	if err != nil {
		return err
	}
	return replaceFile(f.path, next)
}

func revision(text []byte) string {
	if text == nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// lockDir keeps other writers away until the returned function is called.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), d.Close())
	}
	return func() { _ = d.Close() }, nil // which ends the lock
}

// replaceFile puts a new file in the place of another: written under another name,
// synced, renamed. What the old one held is then written over, as far as the disk
// does that in place.
func replaceFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	draft := filepath.Join(dir, "."+filepath.Base(path)+"."+rand.Text())
	file, err := os.OpenFile(draft, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	old, _ := os.OpenFile(path, os.O_WRONLY, 0) // there may be none, or one that may only be read
	if err := os.Rename(draft, path); err != nil {
		if old != nil {
			_ = old.Close()
		}
		return errors.Join(err, os.Remove(draft))
	}
	if old != nil {
		wipe(old)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// wipe writes zeros over a file that has lost its name, unless it has another one:
// an operator's copy by a hard link stays.
func wipe(f *os.File) {
	defer f.Close() //nolint:errcheck // nobody can do anything about it
	var info unix.Stat_t
	if unix.Fstat(int(f.Fd()), &info) != nil || info.Nlink != 0 {
		return
	}
	if _, err := f.WriteAt(make([]byte, info.Size), 0); err == nil {
		_ = f.Sync()
	}
}

// Form says what is at path: Plain, Sealed, or "" for nothing.
func Form(path string) (string, error) {
	text, err := identity.ReadSecretFile(path)
	defer clear(text)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case isSealed(text):
		return Sealed, nil
	}
	return Plain, nil
}
