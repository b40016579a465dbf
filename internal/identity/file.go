package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// secretFileMask holds the permissions that a file with a secret may not give:
// anything to everybody, writing to its group. Reading by the group is how
// mounted secrets reach a service.
const (
	secretFileMask fs.FileMode = 0o027
	secretFilePerm fs.FileMode = 0o600
	secretDirPerm  fs.FileMode = 0o700
	maxSecretFile              = 16 << 10
)

// ReadSecretFile reads a small file with a secret. One that others may read, or that
// is too large for a secret, is refused; no error repeats what is in it.
func ReadSecretFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if loose := info.Mode().Perm() & secretFileMask; loose != 0 {
		return nil, fmt.Errorf("%s is open to others (mode %04o): chmod 600 it, and replace the secret if others may have read it", path, info.Mode().Perm())
	}
	if info.Size() > maxSecretFile {
		return nil, fmt.Errorf("%s is too large for a secret (%d bytes)", path, info.Size())
	}
	return os.ReadFile(path)
}

// MakeSecretFile stores content under path unless a file is there already, and
// returns what is there in the end. The file appears complete: it is written
// under another name, synced, and linked to its own.
func MakeSecretFile(path string, content []byte) (stored []byte, err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, secretDirPerm); err != nil {
		return nil, err
	}
	draft := filepath.Join(dir, "."+filepath.Base(path)+"."+rand.Text())
	f, err := os.OpenFile(draft, os.O_CREATE|os.O_EXCL|os.O_WRONLY, secretFilePerm)
	if err != nil {
		return nil, err
	}
	defer os.Remove(draft) //nolint:errcheck // a second name of the same file at worst
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(draft, path); err != nil {
		if errors.Is(err, fs.ErrExist) { // another process was faster
			return ReadSecretFile(path)
		}
		return nil, err
	}
	return content, syncDir(dir)
}

// syncDir makes the directory's new entry durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
