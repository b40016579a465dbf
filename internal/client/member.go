package client

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// Member is an agent's key pair and the network that knows it: what the agent's key
// file holds. The key never leaves the file but into the memory of whoever signs.
type Member struct {
	URL    string // where the network is reached
	Issuer string // the public URL of the network: tokens and proofs are made for it
	ID     string // of the agent
	Name   string
	Key    token.Private
	Until  time.Time // when the key is not good any more
}

// memberFile is the form of a key file.
type memberFile struct {
	URL    string    `json:"url"`
	Issuer string    `json:"issuer"`
	ID     string    `json:"agent"`
	Name   string    `json:"name"`
	KeyID  string    `json:"key_id"`
	Key    []byte    `json:"private_key"` // PKCS #8
	Until  time.Time `json:"expires_at"`
}

const (
	maxKeyFile = 16 << 10
	ruleFile   = "key.file"
)

// ReadMember reads a key file. One that others than its owner could read or change is
// refused: they may have the key.
func ReadMember(path string) (m Member, err error) {
	raw, err := readPrivate(path, ruleFile, "key file", "enrol the agent first (reef agent enroll NAME), or say where its key is (--keys DIR)")
	if err != nil {
		return m, err
	}
	var f memberFile
	if json.Unmarshal(raw, &f) == nil {
		m = Member{URL: f.URL, Issuer: f.Issuer, ID: f.ID, Name: f.Name, Until: f.Until}
		m.Key, err = token.ParsePKCS8(f.Key)
	}
	if err != nil || m.ID == "" || m.URL == "" || m.Issuer == "" || m.Key.Public().Thumbprint() != f.KeyID {
		// The parser's words are left out: they could hold a piece of the key.
		return Member{}, act.Errorf(act.Invalid, "%s is damaged, or no key file", path).WithRule(ruleFile).
			WithHint("take it from a backup of this machine, or have the agent's key replaced by its owner and enrol a new one")
	}
	return m, checkAddress(m.URL)
}

// Write writes a key file that its owner alone can read, whole or not at all, and
// makes its directory. An existing file is replaced.
func (m Member) Write(path string) error {
	der, err := m.Key.PKCS8()
	if err != nil {
		return err
	}
	return writePrivate(path, memberFile{m.URL, m.Issuer, m.ID, m.Name, m.Key.Public().Thumbprint(), der, m.Until.UTC()})
}

// readPrivate reads a file that nobody but its owner may read or change.
func readPrivate(path, rule, what, hint string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, act.Errorf(act.NotFound, "there is no %s %s", what, path).WithRule(rule).WithHint(hint)
	case err != nil:
		return nil, act.Errorf(act.Denied, "the %s cannot be looked at: %w", what, err).WithRule(rule).WithHint("run this as the user whose file it is")
	case !info.Mode().IsRegular() || info.Size() > maxKeyFile:
		return nil, act.Errorf(act.Invalid, "%s is no %s", path, what).WithRule(rule).WithHint(hint)
	case info.Mode().Perm()&0o077 != 0:
		return nil, act.Errorf(act.Denied, "the %s %s has mode %04o: others may have read it", what, path, info.Mode().Perm()).
			WithRule("key.mode").WithHint("chmod 600 it, and have what is in it replaced if others use this machine")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, act.Errorf(act.Denied, "the %s cannot be read: %w", what, err).WithRule(rule).WithHint("run this as the user whose file it is")
	}
	return raw, nil
}

// writePrivate writes a file that its owner alone can read, whole or not at all, and
// makes its directory. An existing file is replaced.
func writePrivate(path string, what any) error {
	raw, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unwritten(err)
	}
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return unwritten(err)
	}
	_, err = f.Write(append(raw, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it is not under its name
		return unwritten(err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the directory was made above
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func unwritten(err error) error {
	return act.Errorf(act.Unavailable, "the key file cannot be written: %w", err).WithRule(ruleFile).
		WithHint("choose a directory that you may write to (--keys DIR)")
}
