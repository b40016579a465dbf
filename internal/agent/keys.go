package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// identity is an agent's name on the network and its key.
type identity struct{ name, key string }

func keyFile(dir, wanted string) string { return filepath.Join(dir, wanted+".key") }

// keptKey reads the identity that an earlier run kept.
func keptKey(dir, wanted string) (id identity, ok bool, err error) {
	if dir == "" {
		return id, false, nil
	}
	raw, err := os.ReadFile(keyFile(dir, wanted))
	if errors.Is(err, os.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	name, key, ok := strings.Cut(strings.TrimSpace(string(raw)), " ")
	if !ok {
		return id, false, fmt.Errorf("%s is not the file of a kept key: remove it to register anew", keyFile(dir, wanted))
	}
	return identity{name, key}, true, nil
}

// keepKey writes an identity for later runs.
func keepKey(dir, wanted string, id identity) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(keyFile(dir, wanted), []byte(id.name+" "+id.key+"\n"), 0o600)
}
