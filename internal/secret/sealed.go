package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// A sealed file is text. Its content is encrypted under a key of its own (the file
// key), and each line that begins with an arrow holds that key, wrapped for one way
// to open the file:
//
//	reefwarden-sealed/1
//	-> argon2id SALT TIME MEMORY THREADS WRAPPED
//	-> key SALT WRAPPED
//	---
//	CONTENT
//
// SALT, WRAPPED and CONTENT are base64 without padding. A passphrase becomes a key by
// Argon2id (RFC 9106), a long random key by HKDF-SHA256 (RFC 5869). Both ciphertexts
// are AES-256-GCM with a random nonce in front; the wrapped key is bound to the rest
// of its line, the content to everything above it. Each text has one form only.
const (
	sealedMagic = "reefwarden-sealed/1"
	sealedArrow = "-> "
	sealedRule  = "---"

	wayPassphrase = "argon2id"
	wayKey        = "key"

	fileKeySize = 32
	saltSize    = 16
	maxWays     = 8
	maxSealed   = 15 << 10 // bytes of a file; what secret files may have
)

// cost is what a guess of a passphrase costs.
type cost struct {
	time    uint32 // passes
	memory  uint32 // KiB
	threads uint8
}

// The second recommended option of RFC 9106 §4: it fits in small machines. What a
// file asks for is bounded on both sides: it is read before anything is known of it.
var (
	defaultCost = cost{time: 3, memory: 64 << 10, threads: 4}  // read-only
	leastCost   = cost{time: 1, memory: 19 << 10, threads: 1}  // read-only
	mostCost    = cost{time: 16, memory: 1 << 20, threads: 16} // read-only
)

func (c cost) within() bool {
	return c.time >= leastCost.time && c.time <= mostCost.time && c.memory >= leastCost.memory && c.memory <= mostCost.memory &&
		c.threads >= leastCost.threads && c.threads <= mostCost.threads
}

// way is one way to open a sealed file.
type way struct {
	kind    string // wayPassphrase or wayKey
	salt    []byte
	cost    cost // of a passphrase
	wrapped []byte
}

// head is the line without the wrapped key, which is bound to it.
func (w way) head() string {
	head := sealedArrow + w.kind + " " + base64.RawStdEncoding.EncodeToString(w.salt)
	if w.kind == wayPassphrase {
		head += fmt.Sprintf(" %d %d %d", w.cost.time, w.cost.memory, w.cost.threads)
	}
	return head
}

// kek derives the key that wraps the file key.
func (w way) kek(secret []byte) ([]byte, error) {
	if w.kind == wayPassphrase {
		return argon2.IDKey(secret, w.salt, w.cost.time, w.cost.memory, w.cost.threads, fileKeySize), nil
	}
	return hkdf.Key(sha256.New, secret, w.salt, sealedMagic+" "+wayKey, fileKeySize)
}

// sealed is a sealed file.
type sealed struct {
	ways []way
	body []byte
}

// seal makes a sealed file for one way of opening it.
func seal(content []byte, kind string, secret []byte, c cost) (sealed, error) {
	fileKey := make([]byte, fileKeySize)
	_, _ = rand.Read(fileKey) // never fails (crypto/rand)
	defer clear(fileKey)
	w := way{kind: kind, salt: make([]byte, saltSize), cost: c}
	_, _ = rand.Read(w.salt)
	kek, err := w.kek(secret)
	if err != nil {
		return sealed{}, err
	}
	defer clear(kek)
	if w.wrapped, err = encrypt(kek, fileKey, []byte(w.head())); err != nil {
		return sealed{}, err
	}
	s := sealed{ways: []way{w}}
	return s, s.fill(fileKey, content)
}

// fill encrypts another content for the same ways.
func (s *sealed) fill(fileKey, content []byte) (err error) {
	s.body, err = encrypt(fileKey, content, []byte(s.header()))
	return err
}

// errNoWay says that a sealed file was not sealed for what was tried, or was changed.
var errNoWay = errors.New("it does not open")

// open returns the content, and the file key for a later fill.
func (s sealed) open(kind string, secret []byte) (content, fileKey []byte, err error) {
	for _, w := range s.ways {
		if w.kind != kind {
			continue
		}
		kek, err := w.kek(secret)
		if err != nil {
			return nil, nil, err
		}
		fileKey, err := decrypt(kek, w.wrapped, []byte(w.head()))
		clear(kek)
		if err != nil {
			continue
		}
		content, err := decrypt(fileKey, s.body, []byte(s.header()))
		return content, fileKey, err
	}
	return nil, nil, errNoWay
}

func (s sealed) header() string {
	var b strings.Builder
	b.WriteString(sealedMagic + "\n")
	for _, w := range s.ways {
		b.WriteString(w.head() + " " + base64.RawStdEncoding.EncodeToString(w.wrapped) + "\n")
	}
	b.WriteString(sealedRule + "\n")
	return b.String()
}

func (s sealed) encode() []byte {
	return []byte(s.header() + base64.RawStdEncoding.EncodeToString(s.body) + "\n")
}

// isSealed reports whether a file is meant to be a sealed one.
func isSealed(text []byte) bool { return bytes.HasPrefix(text, []byte("reefwarden-sealed/")) }

// parseSealed reads a sealed file, and takes only what encode writes.
func parseSealed(text []byte) (sealed, error) {
	var s sealed
	if len(text) > maxSealed {
		return s, fmt.Errorf("%d bytes are too many for a sealed file", len(text))
	}
	lines := strings.Split(string(text), "\n")
	if lines[0] != sealedMagic {
		return s, fmt.Errorf("it is not in the form %s", sealedMagic)
	}
	n := 1
	for ; n < len(lines) && strings.HasPrefix(lines[n], sealedArrow); n++ {
		w, err := parseWay(strings.Fields(lines[n][len(sealedArrow):]))
		if err != nil {
			return sealed{}, fmt.Errorf("line %d: %w", n+1, err)
		}
		if s.ways = append(s.ways, w); len(s.ways) > maxWays {
			return sealed{}, fmt.Errorf("it names more than %d ways to open it", maxWays)
		}
	}
	if n+2 >= len(lines) {
		return sealed{}, errors.New("it is cut short")
	}
	var err error
	if s.body, err = base64.RawStdEncoding.DecodeString(lines[n+1]); err != nil {
		return sealed{}, errors.New("its content is not base64")
	}
	if len(s.ways) == 0 || !bytes.Equal(s.encode(), text) {
		return sealed{}, errors.New("it was changed")
	}
	return s, nil
}

func parseWay(parts []string) (w way, err error) {
	bad := errors.New("it names no way to open the file that this program knows")
	var numbers []string
	switch {
	case len(parts) == 3 && parts[0] == wayKey:
	case len(parts) == 6 && parts[0] == wayPassphrase:
		numbers = parts[2:5]
	default:
		return w, bad
	}
	w.kind = parts[0]
	if w.salt, err = base64.RawStdEncoding.DecodeString(parts[1]); err != nil || len(w.salt) != saltSize {
		return w, bad
	}
	if w.wrapped, err = base64.RawStdEncoding.DecodeString(parts[len(parts)-1]); err != nil {
		return w, bad
	}
	if numbers == nil {
		return w, nil
	}
	var n [3]uint64
	for i := range n {
		if n[i], err = strconv.ParseUint(numbers[i], 10, 32); err != nil {
			return w, bad
		}
	}
	w.cost = cost{time: uint32(n[0]), memory: uint32(n[1]), threads: uint8(min(n[2], 255))}
	if !w.cost.within() {
		return w, errors.New("what a passphrase costs there is out of bounds")
	}
	return w, nil
}

func encrypt(key, plain, bound []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, bound), nil
}

func decrypt(key, sealed, bound []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, bound)
	if err != nil {
		return nil, errNoWay
	}
	return plain, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
