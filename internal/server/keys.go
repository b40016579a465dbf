package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/secret"
)

// KeyStore returns where the network's ring of keys is kept.
func (c Config) KeyStore() (identity.KeyStore, error) {
	unlock, err := c.unlock()
	if err != nil {
		return nil, err
	}
	return secret.NewFile(c.KeyPath(), unlock), nil
}

// OpenKeys reads the network's keys, and makes them if there are none and create is
// set.
func (c Config) OpenKeys(ctx context.Context, create bool) (*identity.Keys, error) {
	kept, err := c.KeyStore()
	if err != nil {
		return nil, err
	}
	return identity.OpenKeys(ctx, kept, create)
}

// KeyCopy returns the store of a file with the network's ring that somebody brings:
// in the clear, or sealed like the network's own.
func (c Config) KeyCopy(path string) (identity.KeyStore, error) {
	unlock, err := c.unlock()
	if err != nil {
		return nil, err
	}
	return secret.NewCopy(path, unlock), nil
}

// WithKeys returns the configurations of all networks of the data directory that have
// a key, the default one first.
func (c Config) WithKeys() (with []Config, err error) {
	list, err := ListNetworks(c.Data)
	if err != nil {
		return nil, err
	}
	names := []string{DefaultNetwork}
	for _, n := range list {
		if n.Name != DefaultNetwork {
			names = append(names, n.Name)
		}
	}
	for _, name := range names {
		one, err := c.For(name)
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(one.KeyPath()); errors.Is(err, fs.ErrNotExist) && name != DefaultNetwork {
			continue // nobody has opened it yet
		}
		with = append(with, one)
	}
	return with, nil
}

// ResealKey gives the key's file the form that next says, or has something else open
// it, and reports whether it made a key to open it with. A file that has that form
// already is left.
func (c Config) ResealKey(ctx context.Context, next Config) (made bool, err error) {
	now, err := c.unlock()
	if err != nil {
		return false, err
	}
	then, err := next.unlock()
	if err == nil {
		err = next.checkOpener(then)
	}
	if err != nil {
		return false, err
	}
	file := secret.NewFile(c.KeyPath(), now)
	if _, err := file.Read(ctx); err != nil {
		if _, again := secret.NewFile(c.KeyPath(), then).Read(ctx); again == nil {
			return false, nil
		}
		return false, err
	}
	if made, err = then.MakeKey(); err != nil {
		return false, err
	}
	return made, file.Reseal(ctx, then)
}

func (c Config) unlock() (secret.Unlock, error) {
	words := c.KeyUnlock
	if words == "" {
		words = secret.Plain
	}
	unlock, err := secret.ParseUnlock(words, c.credentials, c.Ask)
	if err != nil {
		return unlock, fmt.Errorf("--key-unlock: %w", err)
	}
	return unlock, nil
}

// defaultCredential is the service manager's credential that opens the key's file
// when nothing else is said.
const defaultCredential = "reef-key"

// findCredential makes a credential that is there the default of key-unlock.
func (c *Config) findCredential(dir string) {
	c.credentials = dir
	if dir == "" || c.KeyUnlock != "" {
		return
	}
	if _, err := os.Stat(filepath.Join(dir, defaultCredential)); err == nil {
		c.KeyUnlock = "credential:" + defaultCredential
	}
}

// checkKeys refuses keys that lie in the clear on a machine that can be reached from
// outside, unless that is said, and what opens a file beside the file.
func (c Config) checkKeys() error {
	unlock, err := c.unlock()
	if err != nil {
		return err
	}
	if err := c.checkOpener(unlock); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(c.Addr)
	if !loopback(host) && c.KeyUnlock == "" {
		return fmt.Errorf("--addr %s is reachable from outside, and the network's key lies in the clear: seal it (reef key seal) and say with --key-unlock what opens it, or accept it with --key-unlock %s", c.Addr, secret.Plain)
	}
	return nil
}

// checkOpener refuses what lies where the key lies: whoever copies the one has both.
func (c Config) checkOpener(u secret.Unlock) error {
	if u.Path() == "" {
		return nil
	}
	opener := resolve(u.Path())
	for _, dir := range []string{c.Data, filepath.Dir(c.KeyPath())} {
		rel, err := filepath.Rel(resolve(dir), opener)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return fmt.Errorf("--key-unlock %s lies in %s, with the key that it opens: whoever copies one has both; put it elsewhere", u, dir)
		}
	}
	return nil
}

// resolve follows links as far as the path is there.
func resolve(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	return filepath.Join(resolve(filepath.Dir(abs)), filepath.Base(abs))
}
