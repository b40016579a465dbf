package identity

import (
	"bytes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
)

// MasterKeySize is the length in bytes of a key file.
const MasterKeySize = 32

// The names under which keys are derived from the master key (RFC 5869 info).
// They are permanent: another name is another key.
const (
	infoCodec   = "reefwarden/1/id codec"
	infoPepper  = "reefwarden/1/secret hash"
	infoTag     = "reefwarden/1/secret tag"
	infoSource  = "reefwarden/1/network source"
	infoPolicy  = "reefwarden/1/policy signature"
	infoOutside = "reefwarden/1/outside signature"
	infoIndex   = "reefwarden/1/search index"
	infoSeal    = "reefwarden/1/webhook secret"
	infoCheck   = "reefwarden/1/check value"
	infoSealed  = "reefwarden/1/sealed content"
	infoHeld    = "reefwarden/1/held acts"
	infoProof   = "reefwarden/1/held acts digest"
	infoBackup  = "reefwarden/1/backup"
	infoNonce   = "reefwarden/1/dpop nonce"
	infoSignIn  = "reefwarden/1/sign-in"
)

// Keys are the keys of one network, all derived from its master key. They are
// safe for concurrent use and are never logged or stored.
type Keys struct {
	codec   []byte
	index   []byte
	policy  ed25519.PrivateKey
	outside *signer
	check   []byte
	pepper  *mac
	tag     *mac
	source  *mac
	sealed  []byte
	backup  []byte
	held    cipher.AEAD // seals acts that wait
	proof   *mac        // their digests, questions and answers
	wrap    cipher.AEAD
	seal    cipher.AEAD
	nonce   []byte // of the DPoP nonces
	signIn  []byte
}

// LoadKeys reads the master key file at path, or makes one (mode 0600, whole or
// not at all, never over another) when there is none. Nodes of one network use
// copies of one file. A file that others may read is refused.
func LoadKeys(path string) (*Keys, error) {
	master, err := readSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := make([]byte, MasterKeySize)
		_, _ = rand.Read(fresh) // never fails (crypto/rand)
		master, err = makeSecretFile(path, fresh)
	}
	if err != nil {
		return nil, fmt.Errorf("identity: master key: %w", err)
	}
	if len(master) != MasterKeySize {
		return nil, fmt.Errorf("identity: master key: %s has %d bytes, want %d", path, len(master), MasterKeySize)
	}
	return deriveKeys(master)
}

// CopyKey puts the master key of one file into another, whole and readable by its
// owner only. A file that is there already is left if it holds the same key, and an
// error otherwise.
func CopyKey(from, to string) error {
	master, err := readSecretFile(from)
	if err == nil && len(master) != MasterKeySize {
		err = fmt.Errorf("%s has %d bytes, want %d", from, len(master), MasterKeySize)
	}
	if err != nil {
		return fmt.Errorf("identity: master key: %w", err)
	}
	stored, err := makeSecretFile(to, master)
	if err == nil && !bytes.Equal(stored, master) {
		err = fmt.Errorf("%s holds another key than %s", to, from)
	}
	if err != nil {
		return fmt.Errorf("identity: master key: %w", err)
	}
	return nil
}

func deriveKeys(master []byte) (*Keys, error) {
	var failed error
	derive := func(info string, size int) []byte {
		key, err := hkdf.Key(sha256.New, master, nil, info, size)
		failed = errors.Join(failed, err)
		return key
	}
	k := &Keys{
		codec:  derive(infoCodec, act.CodecKeySize),
		index:  derive(infoIndex, 32),
		check:  derive(infoCheck, 16),
		sealed: derive(infoSealed, 32),
		backup: derive(infoBackup, 32),
		nonce:  derive(infoNonce, 32),
		signIn: derive(infoSignIn, 32),
		pepper: newMAC(derive(infoPepper, sha256.Size)),
		tag:    newMAC(derive(infoTag, sha256.Size)),
		source: newMAC(derive(infoSource, sha256.Size)),
		proof:  newMAC(derive(infoProof, sha256.Size)),
	}
	seed, held := derive(infoPolicy, ed25519.SeedSize), derive(infoHeld, sealKeySize)
	if failed == nil {
		k.held, failed = newSeal(held)
	}
	outside := derive(infoOutside, ed25519.SeedSize)
	wrap := derive(infoWrap, 32)
	sealed := derive(infoSeal, 32)
	if failed != nil {
		return nil, fmt.Errorf("identity: derive keys: %w", failed)
	}
	var err error
	if k.seal, err = newSeal(sealed); err != nil {
		return nil, fmt.Errorf("identity: sealing key: %w", err)
	}
	k.policy = ed25519.NewKeyFromSeed(seed)
	if k.outside, failed = newSigner(ed25519.NewKeyFromSeed(outside)); failed != nil {
		return nil, fmt.Errorf("identity: signing key: %w", failed)
	}
	if k.wrap, failed = newWrap(wrap); failed != nil {
		return nil, fmt.Errorf("identity: wrapping key: %w", failed)
	}
	return k, nil
}

// CodecKey returns the key for act.NewCodec.
func (k *Keys) CodecKey() []byte { return slices.Clone(k.codec) }

// IndexKey returns the key under which the search index keeps the hashes of words.
func (k *Keys) IndexKey() []byte { return slices.Clone(k.index) }

// PolicyKey returns the key that signs policy bundles made here.
func (k *Keys) PolicyKey() ed25519.PrivateKey { return slices.Clone(k.policy) }

// SealKey returns the key under which deleted content is kept for responders.
func (k *Keys) SealKey() []byte { return slices.Clone(k.sealed) }

// SignInKey returns the key that seals what a browser carries to an identity provider
// and back.
func (k *Keys) SignInKey() []byte { return slices.Clone(k.signIn) }

// BackupKey returns the key from which those of backups are derived.
func (k *Keys) BackupKey() []byte { return slices.Clone(k.backup) }

// Check returns the value that store.DB.Pin keeps, so that a node with another
// master key refuses to start. It says nothing about the keys.
func (k *Keys) Check() []byte { return slices.Clone(k.check) }

// Source returns a short keyed hash that stands for a network source in counts
// and in the record, so that no address is kept. addr is "host:port" or a bare
// host; an IPv6 address counts as its /64, which is what one subscriber has.
// The empty address gives the empty string.
func (k *Keys) Source(addr string) string {
	if addr == "" {
		return ""
	}
	sum := k.source.sum(sourceOf(addr))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

func sourceOf(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		ap, err := netip.ParseAddrPort(addr)
		if err != nil {
			return addr
		}
		ip = ap.Addr()
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if net, err := ip.Prefix(64); err == nil {
			return net.Masked().String()
		}
	}
	return ip.String()
}

// secretFileMask holds the permissions that a file with a secret may not give:
// anything to everybody, writing to its group. Reading by the group is how
// mounted secrets reach a service.
const (
	secretFileMask fs.FileMode = 0o027
	secretFilePerm fs.FileMode = 0o600
	secretDirPerm  fs.FileMode = 0o700
	maxSecretFile              = 4096
)

func readSecretFile(path string) ([]byte, error) {
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

// makeSecretFile stores content under path unless a file is there already, and
// returns what is there in the end. The file appears complete: it is written
// under another name, synced, and linked to its own.
func makeSecretFile(path string, content []byte) (stored []byte, err error) {
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
			return readSecretFile(path)
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
