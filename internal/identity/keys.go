package identity

import (
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
)

// MasterKeySize is the length in bytes of a network's master key.
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
	infoCheck   = "reefwarden/1/check value"
	infoHeld    = "reefwarden/1/held acts"
	infoProof   = "reefwarden/1/held acts digest"
	infoBackup  = "reefwarden/1/backup"
	infoNonce   = "reefwarden/1/dpop nonce"
	infoSignIn  = "reefwarden/1/sign-in"
	infoLog     = "reefwarden/1/log checkpoints"
	infoLeaf    = "reefwarden/1/log marks"
	infoCanary  = "reefwarden/1/marks of views"
)

// Keys are the keys of one network: those that its master key gives, which are
// permanent, and the versions of the wrapping key, of which the newest is in use. They
// are safe for concurrent use and are never logged or stored.
type Keys struct {
	codec   []byte
	index   []byte
	policy  ed25519.PrivateKey
	outside *signer
	check   []byte
	pepper  *mac
	tag     *mac
	source  *mac
	backup  []byte
	held    cipher.AEAD // seals acts that wait
	proof   *mac        // their digests, questions and answers
	nonce   []byte      // of the DPoP nonces
	signIn  []byte
	log     ed25519.PrivateKey
	mark    []byte
	canary  []byte
	wrap    wraps
	kept    keeping
}

func deriveKeys(from ring) (*Keys, error) {
	master := from.Root
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
		backup: derive(infoBackup, 32),
		nonce:  derive(infoNonce, 32),
		signIn: derive(infoSignIn, 32),
		mark:   derive(infoLeaf, 32),
		canary: derive(infoCanary, 64),
		pepper: newMAC(derive(infoPepper, sha256.Size)),
		tag:    newMAC(derive(infoTag, sha256.Size)),
		source: newMAC(derive(infoSource, sha256.Size)),
		proof:  newMAC(derive(infoProof, sha256.Size)),
	}
	seed, held := derive(infoPolicy, ed25519.SeedSize), derive(infoHeld, sealKeySize)
	if failed == nil {
		k.held, failed = newSeal(held)
	}
	outside, log := derive(infoOutside, ed25519.SeedSize), derive(infoLog, ed25519.SeedSize)
	if failed != nil {
		return nil, fmt.Errorf("identity: derive keys: %w", failed)
	}
	k.policy, k.log = ed25519.NewKeyFromSeed(seed), ed25519.NewKeyFromSeed(log)
	if k.outside, failed = newSigner(ed25519.NewKeyFromSeed(outside)); failed != nil {
		return nil, fmt.Errorf("identity: signing key: %w", failed)
	}
	if err := k.wrap.take(from); err != nil {
		return nil, fmt.Errorf("identity: wrapping key: %w", err)
	}
	return k, nil
}

// CodecKey returns the key for act.NewCodec.
func (k *Keys) CodecKey() []byte { return slices.Clone(k.codec) }

// IndexKey returns the key under which the search index keeps the hashes of words.
func (k *Keys) IndexKey() []byte { return slices.Clone(k.index) }

// PolicyKey returns the key that signs policy bundles made here.
func (k *Keys) PolicyKey() ed25519.PrivateKey { return slices.Clone(k.policy) }

// LogKey returns the key that signs the checkpoints of the record.
func (k *Keys) LogKey() ed25519.PrivateKey { return slices.Clone(k.log) }

// MarkKey returns the key of the marks that the record's tree has beside its hashes.
func (k *Keys) MarkKey() []byte { return slices.Clone(k.mark) }

// CanaryKey returns the key, of 64 bytes, under which the marks in what agents are shown say
// whose view it was.
func (k *Keys) CanaryKey() []byte { return slices.Clone(k.canary) }

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
