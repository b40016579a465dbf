package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/reefwarden/reefwarden/internal/identity"
)

// Unlock says how the file of a network's key is opened. The zero value is a file in
// the clear.
type Unlock struct {
	kind  string // wayKey, wayPassphrase; "" in the clear
	path  string // of the file with the key or passphrase; "" when it is asked for
	ask   func() ([]byte, error)
	words string // as it was configured
}

// Words of the configuration and of what is told about files.
const (
	Plain  = "plain"  // in the clear
	Sealed = "sealed" // encrypted
	Prompt = "prompt" // opened by a passphrase that is asked for
)

// Least is how much a key or passphrase must have, in bytes. A key is not stretched
// like a passphrase, and so must be hard to guess by itself.
const (
	LeastKey        = 32
	LeastPassphrase = 12
)

// ParseUnlock reads how a key file is opened:
//
//	plain              it is in the clear
//	key:FILE           FILE holds a long random key (LeastKey bytes)
//	credential:NAME    the same, a credential of the service manager in directory credentials
//	passphrase:FILE    FILE holds a passphrase
//	prompt             ask returns a passphrase
func ParseUnlock(words, credentials string, ask func() ([]byte, error)) (Unlock, error) {
	form, rest, _ := strings.Cut(words, ":")
	u := Unlock{path: rest, words: words}
	switch {
	case words == Plain:
		u.path = ""
	case words == Prompt && ask == nil:
		return u, errors.New("nobody can be asked for a passphrase here")
	case words == Prompt:
		u.kind, u.ask = wayPassphrase, ask
	case form == "key" && rest != "":
		u.kind = wayKey
	case form == "passphrase" && rest != "":
		u.kind = wayPassphrase
	case form == "credential" && rest != "" && rest == filepath.Base(rest) && rest != "..":
		if credentials == "" {
			return u, errors.New("the service manager has passed no credentials (CREDENTIALS_DIRECTORY is not set)")
		}
		u.kind, u.path = wayKey, filepath.Join(credentials, rest)
	default:
		return u, fmt.Errorf("%q is none of plain, key:FILE, credential:NAME, passphrase:FILE, prompt", words)
	}
	return u, nil
}

// String returns the configuration's words, which hold no secret.
func (u Unlock) String() string { return u.words }

// Path is the file that opens the key, "" if there is none.
func (u Unlock) Path() string { return u.path }

// Sealed reports whether the key's file is expected to be sealed.
func (u Unlock) Sealed() bool { return u.kind != "" }

// secret reads the key or passphrase.
func (u Unlock) secret() ([]byte, error) {
	var text []byte
	var err error
	if u.ask != nil {
		text, err = u.ask()
	} else {
		text, err = identity.ReadSecretFile(u.path)
	}
	if err != nil {
		return nil, err
	}
	text = bytes.TrimRight(text, "\r\n")
	from := u.path
	if from == "" {
		from = "what was typed"
	}
	switch {
	case u.kind == wayKey && len(text) < LeastKey:
		return nil, fmt.Errorf("%s has %d bytes: a key has %d or more, and must be random; for a passphrase say passphrase:FILE", from, len(text), LeastKey)
	case u.kind == wayPassphrase && len(text) < LeastPassphrase:
		return nil, fmt.Errorf("%s has %d bytes: a passphrase has %d or more", from, len(text), LeastPassphrase)
	}
	return text, nil
}

// MakeKey puts a random key into the unlock's file unless there is one, and reports
// whether it did.
func (u Unlock) MakeKey() (made bool, err error) {
	if u.kind != wayKey {
		return false, nil
	}
	fresh := make([]byte, LeastKey)
	_, _ = rand.Read(fresh) // never fails (crypto/rand)
	text := []byte(base64.RawStdEncoding.EncodeToString(fresh) + "\n")
	stored, err := identity.MakeSecretFile(u.path, text)
	return err == nil && bytes.Equal(stored, text), err
}
