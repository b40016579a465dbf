package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"strings"
	"sync"
)

// Secret is a kind of secret that this network hands out. The text of each is a
// prefix and 32 characters: the unpadded base64url of 16 random bytes and an
// 8-byte tag, HMAC-SHA-256 of prefix and random part under a derived key. The
// prefix is under the tag, so that no kind can be turned into another.
type Secret uint8

// The kinds of secret.
const (
	AgentKey      Secret = iota // an agent's bootstrap key (moltbook 1.12: api_key)
	ClaimToken                  // shows that its bearer was sent by the agent
	InviteCode                  // lets one agent register
	OperatorToken               // the operators' local token
	AppKey                      // lets an application check proofs of identity
	SessionKey                  // an operator's browser that is signed in, in a cookie

	EnrollmentToken // lets an agent enrol a key
	RefreshToken    // gets new access tokens of a grant, once
	ConsentCode     // an operator's consent on its way to a client, once
	DeviceSecret    // what a terminal asks with whether an operator has consented
	lastSecret      = DeviceSecret
)

// Prefix returns what the kind's texts begin with.
func (s Secret) Prefix() string {
	switch s {
	case AgentKey:
		return "moltbook_sk_"
	case ClaimToken:
		return "moltbook_claim_"
	case InviteCode:
		return "reef_inv_"
	case OperatorToken:
		return "reef_op_"
	case AppKey:
		return "moltdev_"
	case SessionKey:
		return "reef_ses_"
	case EnrollmentToken:
		return "reef_enr_"
	case RefreshToken:
		return "reef_ref_"
	case ConsentCode:
		return "reef_code_"
	case DeviceSecret:
		return "reef_dev_"
	}
	return ""
}

const (
	secretRandom = 16
	secretTag    = 8
	secretBytes  = secretRandom + secretTag
	secretChars  = secretBytes * 4 / 3
)

// kindOf tells the kind of a text by its prefix and length.
func kindOf(text string) (Secret, bool) {
	for s := AgentKey; s <= lastSecret; s++ {
		if p := s.Prefix(); len(text) == len(p)+secretChars && strings.HasPrefix(text, p) {
			return s, true
		}
	}
	return 0, false
}

func (k *Keys) mint(s Secret) (text string) {
	var b [secretBytes]byte
	_, _ = rand.Read(b[:secretRandom]) // never fails (crypto/rand)
	tag := k.tagOf(s, b[:secretRandom])
	copy(b[secretRandom:], tag[:])
	return s.Prefix() + base64.RawURLEncoding.EncodeToString(b[:])
}

// genuine reports whether this network made the text as a secret of the kind.
func (k *Keys) genuine(s Secret, text string) bool {
	if kind, ok := kindOf(text); !ok || kind != s {
		return false
	}
	// The decoder skips line breaks; the count of bytes tells.
	b, err := base64.RawURLEncoding.DecodeString(text[len(s.Prefix()):])
	if err != nil || len(b) != secretBytes {
		return false
	}
	tag := k.tagOf(s, b[:secretRandom])
	return subtle.ConstantTimeCompare(tag[:], b[secretRandom:]) == 1
}

func (k *Keys) tagOf(s Secret, random []byte) (tag [secretTag]byte) {
	sum := k.tag.sum(s.Prefix() + string(random))
	copy(tag[:], sum[:])
	return tag
}

// hash returns the only form in which a secret is stored.
func (k *Keys) hash(text string) [sha256.Size]byte { return k.pepper.sum(text) }

// NewSecret makes a secret of the kind and the hash to store in its place.
func (s *Service) NewSecret(kind Secret) (text string, hash []byte) {
	text = s.keys.mint(kind)
	sum := s.keys.hash(text)
	return text, sum[:]
}

// HashSecret returns the hash under which a secret of the kind is stored. ok is
// false, and nothing need be looked up, when this network never made the text.
func (s *Service) HashSecret(kind Secret, text string) (hash []byte, ok bool) {
	if !s.keys.genuine(kind, text) {
		return nil, false
	}
	sum := s.keys.hash(text)
	return sum[:], true
}

// claimWords begin claim codes: short, lower case, easy to say on the phone.
var claimWords = [32]string{
	"reef", "coral", "tide", "wave", "shell", "kelp", "pearl", "crab",
	"drift", "cove", "foam", "gull", "harbor", "island", "krill", "lagoon",
	"marlin", "nori", "orca", "plume", "ray", "sand", "shoal", "surf",
	"swell", "tern", "urchin", "whelk", "anchor", "beacon", "current", "delta",
}

// claimLetters are the 32 that are hard to mistake for each other (Crockford).
const claimLetters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewClaimCode makes a code like "reef-X4B2" by which a human tells that the
// agent that asks to be claimed is the one they know. It is no credential.
func NewClaimCode() string {
	var b [5]byte
	_, _ = rand.Read(b[:])
	code := []byte(claimWords[b[0]%32] + "-")
	for _, c := range b[1:] {
		code = append(code, claimLetters[c%32])
	}
	return string(code)
}

// mac is HMAC-SHA-256 under one key, without allocating for short texts.
type mac struct{ pool sync.Pool }

type macState struct {
	hash hash.Hash
	in   [128]byte
	out  [sha256.Size]byte
}

func newMAC(key []byte) *mac {
	return &mac{pool: sync.Pool{New: func() any { return &macState{hash: hmac.New(sha256.New, key)} }}}
}

func (m *mac) sum(text string) [sha256.Size]byte {
	s := m.pool.Get().(*macState)
	s.hash.Reset()
	for len(text) > 0 {
		n := copy(s.in[:], text)
		s.hash.Write(s.in[:n])
		text = text[n:]
	}
	s.hash.Sum(s.out[:0])
	out := s.out
	clear(s.in[:])
	m.pool.Put(s)
	return out
}
