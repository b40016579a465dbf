package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/secret"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Ring returns where the network's ring of keys is kept.
func (c Config) Ring(ctx context.Context) (identity.KeyStore, error) {
	if c.KeyStore != "" {
		place, err := secret.ReadPlace(c.KeyStore)
		if err != nil {
			return nil, fmt.Errorf("--key-store: %w", err)
		}
		return place.Open(ctx, cmp.Or(c.Network, DefaultNetwork), c.clock())
	}
	unlock, err := c.unlock()
	if err != nil {
		return nil, err
	}
	return secret.NewFile(c.KeyPath(), unlock), nil
}

// OpenKeys reads the network's keys, and makes them if there are none and create is
// set.
func (c Config) OpenKeys(ctx context.Context, create bool) (*identity.Keys, error) {
	kept, err := c.Ring(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := identity.OpenKeys(ctx, kept, create)
	if err != nil || c.KeyStore == "" {
		return keys, err
	}
	place, err := secret.ReadPlace(c.KeyStore)
	if err == nil {
		keys.Bound(place.GoOn(), c.clock()())
	}
	return keys, err
}

func (c Config) clock() act.Clock {
	if c.Clock != nil {
		return c.Clock
	}
	return act.RealClock
}

// KeyForm says how the network's ring is kept: secret.Plain or secret.Sealed in a file,
// InStore, or "" for nowhere.
func (c Config) KeyForm() (string, error) {
	if c.KeyStore != "" {
		return InStore, nil
	}
	return secret.Form(c.KeyPath())
}

// InStore is the form of a ring that no file of the network has.
const InStore = "store"

// KeyPlace says where the network's ring is: its file, or the store's name.
func (c Config) KeyPlace() string {
	if c.KeyStore == "" {
		return c.KeyPath()
	}
	place, err := secret.ReadPlace(c.KeyStore)
	if err != nil {
		return c.KeyStore
	}
	return place.String()
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
		if form, err := one.KeyForm(); err == nil && form == "" && name != DefaultNetwork {
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
	if c.KeyStore != "" {
		return false, errors.New("the key is in a store, which seals it itself")
	}
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

// CopyKey keeps the network's ring in the store of another configuration, too.
func (c Config) CopyKey(ctx context.Context, next Config) error {
	from, err := c.Ring(ctx)
	if err != nil {
		return err
	}
	to, err := next.Ring(ctx)
	if err != nil {
		return err
	}
	return identity.CopyRing(ctx, from, to)
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
	if dir == "" || c.KeyUnlock != "" || c.KeyStore != "" {
		return
	}
	if _, err := os.Stat(filepath.Join(dir, defaultCredential)); err == nil {
		c.KeyUnlock = "credential:" + defaultCredential
	}
}

// checkKeys refuses keys that lie in the clear on a machine that can be reached from
// outside, unless that is said, and what opens a file beside the file.
func (c Config) checkKeys() error {
	if c.KeyStore != "" {
		if c.KeyFile != "" || c.KeyUnlock != "" {
			return errors.New("--key-store and --key-file or --key-unlock exclude each other: the key is in a store, or in a file")
		}
		if _, err := secret.ReadPlace(c.KeyStore); err != nil {
			return fmt.Errorf("--key-store: %w", err)
		}
		return nil
	}
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
	opener := secret.Resolve(u.Path())
	for _, dir := range []string{c.Data, filepath.Dir(c.KeyPath())} {
		rel, err := filepath.Rel(secret.Resolve(dir), opener)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return fmt.Errorf("--key-unlock %s lies in %s, with the key that it opens: whoever copies one has both; put it elsewhere", u, dir)
		}
	}
	return nil
}

// How often a node reads the ring of keys again, and how often the chore looks for a
// renewal that was asked for.
const (
	keyRefresh = 20 * time.Second
	keysEvery  = 5 * time.Second
	keyLimit   = 30 * time.Second
)

// heldKeys says why this node may not use the network's keys any more, nil while it may.
func (s *Server) heldKeys() error { return s.Keys.Lapsed(s.DB.Clock()) }

// refreshKeys reads the ring again. What is wrong is said once, and so is its end.
func (s *Server) refreshKeys(ctx context.Context) error {
	err := s.Keys.Refresh(ctx, s.DB.Clock()())
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	if trouble == s.keyTrouble {
		return nil
	}
	s.keyTrouble = trouble
	if err == nil {
		s.log.InfoContext(ctx, "the network's key is read again")
	}
	return err
}

// renewKeys does what is left of a renewal of the wrapping key. Several nodes read the
// ring at times of their own: a version is used when each has had time for three.
func (s *Server) renewKeys(ctx context.Context) error {
	var spread time.Duration
	if s.DB.Dialect() == store.Postgres {
		spread = 3 * cmp.Or(s.Config.KeyRefresh, keyRefresh)
	}
	if err := s.Issuer.RenewDue(ctx, spread); err != nil {
		return err
	}
	return s.Network.Rewrap(ctx)
}

func (s *Server) closeKeys() {
	if s.Keys == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), keyLimit)
	defer cancel()
	if err := s.Keys.Close(ctx); err != nil {
		s.log.Warn("give back what the store of the network's key holds for this node", "err", err)
	}
}
