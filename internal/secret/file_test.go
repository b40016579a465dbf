package secret

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// secretFile makes a file with a secret and returns its path.
func secretFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func parse(t testing.TB, words string) Unlock {
	t.Helper()
	u, err := ParseUnlock(words, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func ringOf(t testing.TB) []byte {
	t.Helper()
	ring := make([]byte, identity.MasterKeySize)
	_, _ = rand.Read(ring)
	return ring
}

func TestParseUnlock(t *testing.T) {
	ask := func() ([]byte, error) { return []byte("a passphrase of some length"), nil }
	for words, ok := range map[string]bool{
		"plain": true, "key:/a/b": true, "passphrase:x": true, "credential:reef": true, "prompt": true,
		"": false, "key": false, "key:": false, "passphrase:": false, "credential:": false, "credential:../x": false, "credential:a/b": false,
		"credential:..": false, "Plain": false, "plain:": false, "prompt:x": false, "hunter2": false,
	} {
		u, err := ParseUnlock(words, "/run/credentials/reef.service", ask)
		if (err == nil) != ok || ok && u.String() != words {
			t.Errorf("%q: %v, %v", words, u, err)
		}
	}
	if u, _ := ParseUnlock("credential:reef", "/run/c", nil); u.Path() != "/run/c/reef" || !u.Sealed() {
		t.Errorf("a credential is %+v", u)
	}
	if _, err := ParseUnlock("credential:reef", "", nil); err == nil {
		t.Error("a credential is taken where none is passed")
	}
	if _, err := ParseUnlock(Prompt, "", nil); err == nil {
		t.Error("a prompt is taken where nobody can be asked")
	}
}

// A key or passphrase that can be guessed is refused, and one that others can read.
func TestWeakUnlock(t *testing.T) {
	file := func(u Unlock) error {
		return NewFile(filepath.Join(t.TempDir(), "network.key"), u).Write(t.Context(), ringOf(t), "")
	}
	for words, ok := range map[string]bool{
		"key:" + secretFile(t, strings.Repeat("k", LeastKey)):                      true,
		"key:" + secretFile(t, strings.Repeat("k", LeastKey-1)+"\n"):               false,
		"key:" + secretFile(t, ""):                                                 false,
		"passphrase:" + secretFile(t, strings.Repeat("p", LeastPassphrase)+"\r\n"): true,
		"passphrase:" + secretFile(t, strings.Repeat("p", LeastPassphrase-1)):      false,
		"passphrase:" + filepath.Join(t.TempDir(), "missing"):                      false,
	} {
		if err := file(parse(t, words)); (err == nil) != ok {
			t.Errorf("%s: %v", words, err)
		}
	}
	open := secretFile(t, strings.Repeat("k", LeastKey))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := file(parse(t, "key:"+open)); err == nil || !strings.Contains(err.Error(), "open to others") {
		t.Errorf("a key that others can read: %v", err)
	}
	made := filepath.Join(t.TempDir(), "deep", "unlock.key")
	u := parse(t, "key:"+made)
	if fresh, err := u.MakeKey(); err != nil || !fresh {
		t.Fatalf("make a key: %t, %v", fresh, err)
	}
	if info, err := os.Stat(made); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key that was made: %v, %v", info, err)
	}
	if fresh, err := u.MakeKey(); err != nil || fresh {
		t.Errorf("a key is made over another: %t, %v", fresh, err)
	}
	if err := file(u); err != nil {
		t.Error(err)
	}
}

// A sealed file where one in the clear is expected, and the other way round, is
// refused, but for a copy that is brought.
func TestForms(t *testing.T) {
	unlock := parse(t, "key:"+secretFile(t, rand.Text()+rand.Text()))
	dir := t.TempDir()
	clearPath, shutPath := filepath.Join(dir, "clear"), filepath.Join(dir, "shut")
	ring := ringOf(t)
	for path, u := range map[string]Unlock{clearPath: {}, shutPath: unlock} {
		if err := NewFile(path, u).Write(t.Context(), ring, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what string
		f    *File
		rule string
	}{
		{"clear as clear", NewFile(clearPath, Unlock{}), ""},
		{"sealed as sealed", NewFile(shutPath, unlock), ""},
		{"clear as sealed", NewFile(clearPath, unlock), "key.plain"},
		{"sealed as clear", NewFile(shutPath, Unlock{}), "key.sealed"},
		{"sealed for another", NewFile(shutPath, parse(t, "key:"+secretFile(t, rand.Text()+rand.Text()))), "key.unlock"},
		{"a clear copy", NewCopy(clearPath, unlock), ""},
		{"a sealed copy", NewCopy(shutPath, unlock), ""},
		{"a sealed copy without its key", NewCopy(shutPath, Unlock{}), "key.sealed"},
	} {
		kept, err := c.f.Read(t.Context())
		if c.rule == "" && (err != nil || !bytes.Equal(kept.Ring, ring)) {
			t.Errorf("%s: %v", c.what, err)
		}
		if c.rule != "" && (err == nil || act.AsError(err).Rule != c.rule || kept.Ring != nil) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	for path, want := range map[string]string{clearPath: Plain, shutPath: Sealed, filepath.Join(dir, "none"): ""} {
		if form, err := Form(path); err != nil || form != want {
			t.Errorf("%s has form %q, %v", path, form, err)
		}
	}
}

// A key file changes its form and what opens it without changing what it holds. The
// bytes that lay in the clear are gone from the file, also for who has it open.
func TestReseal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "network.key")
	f, ring := NewFile(path, Unlock{}), ringOf(t)
	if err := f.Write(t.Context(), ring, ""); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	key, phrase := parse(t, "key:"+secretFile(t, rand.Text()+rand.Text())), parse(t, "passphrase:"+secretFile(t, rand.Text()))
	for _, to := range []Unlock{key, phrase, key, {}, key} {
		if err := f.Reseal(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		kept, err := NewFile(path, to).Read(t.Context())
		if err != nil || !bytes.Equal(kept.Ring, ring) {
			t.Fatalf("sealed for %v: %v", to, err)
		}
		raw, err := os.ReadFile(path)
		if err != nil || bytes.Contains(raw, ring) == to.Sealed() {
			t.Fatalf("sealed for %v it shows the key: %v", to, err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the file has mode %v, %v", info, err)
		}
	}
	old := make([]byte, 64)
	if n, _ := held.ReadAt(old, 0); bytes.Contains(old[:n], ring) {
		t.Error("the file that lay in the clear still holds the key")
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("beside the file: %v, %v", left, err)
	}
	// By a link, it is the file that is sealed, where it lies.
	link := filepath.Join(t.TempDir(), "link.key")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := NewFile(link, key).Reseal(t.Context(), phrase); err != nil {
		t.Fatal(err)
	}
	if kept, err := NewFile(path, phrase).Read(t.Context()); err != nil || !bytes.Equal(kept.Ring, ring) {
		t.Errorf("sealed by a link: %v", err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
	// A copy under another name is its owner's business.
	ours := filepath.Join(t.TempDir(), "network.key")
	f = NewFile(ours, Unlock{})
	if err := f.Write(t.Context(), ring, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(ours, ours+".copy"); err != nil {
		t.Fatal(err)
	}
	if err := f.Reseal(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(ours + ".copy"); err != nil || !bytes.Equal(raw, ring) {
		t.Errorf("the copy holds %d bytes, %v", len(raw), err)
	}
}

// A write that fails, at whatever point, leaves the file as it was and no draft.
func TestFailedWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "network.key")
	key := secretFile(t, rand.Text()+rand.Text())
	f, ring := NewFile(path, parse(t, "key:"+key)), ringOf(t)
	if err := f.Write(t.Context(), ring, ""); err != nil {
		t.Fatal(err)
	}
	kept, err := f.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(key, key+".away"); err != nil { // what opens it cannot be read
		t.Fatal(err)
	}
	if err := NewFile(path, parse(t, "key:"+key)).Write(t.Context(), ringOf(t), kept.Revision); err == nil {
		t.Error("a file is written that could not be opened")
	}
	// Who has opened it goes on without.
	if again, err := f.Read(t.Context()); err != nil || !bytes.Equal(again.Ring, ring) {
		t.Errorf("read again without what opened it: %v", err)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	if again, err := f.Read(t.Context()); err != nil || !bytes.Equal(again.Ring, ring) || again.Revision != kept.Revision {
		t.Errorf("after a write that failed: %v", err)
	}
	// No room for a draft: its name is taken by a directory that cannot be written.
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if err := f.Write(t.Context(), ringOf(t), kept.Revision); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a write into a directory without permission: %v", err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("beside the file: %v, %v", left, err)
	}
}

// files are the ways a file is kept, for the conformance test.
func files() []peer {
	var list []peer
	for _, form := range []string{Plain, wayKey, wayPassphrase} {
		list = append(list, peer{name: "file " + form, start: func(t *testing.T) fixture {
			path := filepath.Join(t.TempDir(), "keys", "network.key")
			var u Unlock
			switch form {
			case wayKey:
				u = parse(t, "key:"+secretFile(t, rand.Text()+rand.Text()))
			case wayPassphrase:
				u = parse(t, "passphrase:"+secretFile(t, rand.Text()))
			}
			return fixture{
				open: func(context.Context) (identity.KeyStore, error) { return NewFile(path, u), nil },
				spoil: func(text []byte) {
					if u.Sealed() && len(text) > 0 {
						text = append([]byte(sealedMagic+"\n"), text...)
					}
					if err := os.WriteFile(path, text, 0o600); err != nil {
						t.Fatal(err)
					}
				},
				deny: func(denied bool) {
					mode := fs.FileMode(0o600)
					if denied {
						mode = 0o604 // open to others
					}
					if err := os.Chmod(path, mode); err != nil {
						t.Fatal(err)
					}
				},
			}
		}})
	}
	return list
}
