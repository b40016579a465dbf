package policy

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/gowebpki/jcs"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Schema is the vocabulary and bundle form that this engine knows. A bundle of
// another schema is refused.
const Schema = 1

// Limits of a bundle. Beyond them it is refused before anything is parsed.
const (
	MaxBundle   = 16 << 20 // bytes of the signed form
	MaxFiles    = 1024
	MaxPolicies = 20_000
	maxVersion  = 1<<53 - 1 // numbers are IEEE doubles in canonical JSON (RFC 8785 §3.2.2.3)
)

// Bundle is a versioned set of policy files. It is the unit that is signed,
// activated and named in decisions. Digest and Signature are set by [Sign] and
// [Parse].
type Bundle struct {
	Version   int64     // grows with every change; 1 or more
	Schema    int       // the vocabulary the policies are written in
	CreatedAt time.Time // to the millisecond
	Files     []File
	Tests     []File // cases that must hold before it is in force, see case.go

	// What it is made of, see compose.go. All are empty in bundles of before there
	// was such a thing, which are the defaults of their version.
	Defaults int64    // version of the defaults that are in it
	Own      []string // names of the files that are the operators'
	Without  []string // ids of default policies that operators have left out
	Replaced []string // default policies, files and test cases that give way to the operators'

	Digest    [sha256.Size]byte // SHA-256 of the canonical unsigned form
	Signature []byte            // Ed25519 over the digest, see signed
}

// File is one Cedar text of a bundle.
type File struct {
	Name string // "content.cedar"; unique in the bundle, stands in places
	Text string
}

// The wire form: RFC 8785 canonical JSON, so that equal bundles are equal bytes
// and a stored bundle can be compared with cmp.
type body struct {
	CreatedAt string     `json:"created_at"`
	Defaults  int64      `json:"defaults,omitempty"`
	Own       []string   `json:"own,omitempty"`
	Policies  []wireFile `json:"policies"`
	Replaced  []string   `json:"replaced,omitempty"`
	Schema    int        `json:"schema"`
	Tests     []wireFile `json:"tests,omitempty"`
	Version   int64      `json:"version"`
	Without   []string   `json:"without,omitempty"`
}

type envelope struct {
	body
	Digest    string `json:"digest"`
	Signature string `json:"signature"`
}

type wireFile struct {
	File string `json:"file"`
	Text string `json:"text"`
}

var (
	fileName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]{0,99}\.cedar$`)
	testName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]{0,99}\.(yaml|json)$`)
)

// Sign completes the bundle with its digest and a signature by key, and returns
// its wire form. It fails with Invalid when the bundle could not be parsed back.
func Sign(b *Bundle, key ed25519.PrivateKey) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, refuse("bundle.key", "the signing key has %d bytes, want %d", len(key), ed25519.PrivateKeySize)
	}
	b.CreatedAt = b.CreatedAt.UTC().Truncate(time.Millisecond)
	if err := b.form(); err != nil {
		return nil, err
	}
	digest, err := b.digest()
	if err != nil {
		return nil, err
	}
	b.Digest = digest
	b.Signature = ed25519.Sign(key, signed(digest))
	raw, err := b.wire()
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxBundle {
		return nil, tooLarge(len(raw))
	}
	return raw, nil
}

// Parse reads a bundle's wire form and verifies its signature by pub. Whatever
// Sign did not write byte for byte is Invalid, with the rule that it breaks
// (bundle.size, bundle.schema, bundle.form, bundle.signature). The policies
// themselves are checked by [Engine.Activate].
func Parse(raw []byte, pub ed25519.PublicKey) (*Bundle, error) {
	if len(raw) > MaxBundle {
		return nil, tooLarge(len(raw))
	}
	var peek struct {
		Schema *int `json:"schema"`
	}
	if err := json.Unmarshal(raw, &peek); err != nil || peek.Schema == nil {
		return nil, refuse("bundle.form", "the bundle is not a policy bundle in JSON")
	}
	if *peek.Schema != Schema {
		return nil, unknownSchema(*peek.Schema)
	}
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, refuse("bundle.form", "the bundle has a field of the wrong type")
	}
	b := &Bundle{
		Version: e.Version, Schema: e.Schema, Files: make([]File, len(e.Policies)),
		Defaults: e.Defaults, Own: e.Own, Without: e.Without, Replaced: e.Replaced,
	}
	for i, f := range e.Policies {
		b.Files[i] = File{Name: f.File, Text: f.Text}
	}
	for _, f := range e.Tests {
		b.Tests = append(b.Tests, File{Name: f.File, Text: f.Text})
	}
	created, err := time.Parse(act.WireTime, e.CreatedAt)
	if err != nil {
		return nil, refuse("bundle.form", "created_at is not a time with milliseconds in UTC")
	}
	b.CreatedAt = created.UTC()
	digest, err := hex.DecodeString(e.Digest)
	if err != nil || len(digest) != sha256.Size {
		return nil, refuse("bundle.form", "digest is not %d bytes in hex", sha256.Size)
	}
	copy(b.Digest[:], digest)
	if b.Signature, err = base64.StdEncoding.Strict().DecodeString(e.Signature); err != nil {
		return nil, refuse("bundle.form", "signature is not base64")
	}
	if err := b.form(); err != nil {
		return nil, err
	}
	if err := b.verify(pub); err != nil {
		return nil, err
	}
	// Duplicate or unknown fields, other spellings of a name or number, and
	// bytes before or after the object all show here.
	again, err := b.wire()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(raw, again) {
		return nil, refuse("bundle.form", "the bundle is not in canonical form")
	}
	return b, nil
}

// form checks what can be checked without a key or a parser of policies.
func (b *Bundle) form() error {
	switch {
	case b.Schema != Schema:
		return unknownSchema(b.Schema)
	case b.Version < 1 || b.Version > maxVersion:
		return refuse("bundle.form", "version %d is not between 1 and %d", b.Version, int64(maxVersion))
	case len(b.Files) == 0:
		return refuse("bundle.form", "the bundle has no policies")
	case len(b.Files)+len(b.Tests) > MaxFiles:
		return refuse("bundle.size", "the bundle has %d files; %d are allowed", len(b.Files)+len(b.Tests), MaxFiles)
	case b.Defaults < 0 || b.Defaults > maxVersion:
		return refuse("bundle.form", "the version %d of its defaults is not between 0 and %d", b.Defaults, int64(maxVersion))
	}
	seen := make(map[string]bool, len(b.Files))
	for _, f := range b.Files {
		if err := f.form(fileName, "content.cedar", seen); err != nil {
			return err
		}
	}
	for _, f := range b.Tests {
		if err := f.form(testName, "tests.yaml", seen); err != nil {
			return err
		}
	}
	for _, name := range b.Own {
		if !seen[name] {
			return refuse("bundle.form", "%q is said to be the operators' and is not there", name)
		}
	}
	return nil
}

// form checks name and text of a file, and that no other has its name.
func (f File) form(names *regexp.Regexp, like string, seen map[string]bool) error {
	switch {
	case !names.MatchString(f.Name):
		return refuse("bundle.form", "%.100q is not a file name like %s", f.Name, like)
	case seen[f.Name]:
		return refuse("bundle.form", "file %s is there twice", f.Name)
	case !utf8.ValidString(f.Text):
		return refuse("bundle.form", "file %s is not UTF-8", f.Name)
	}
	seen[f.Name] = true
	return nil
}

// verify checks digest and signature against the contents as they are now.
func (b *Bundle) verify(pub ed25519.PublicKey) error {
	digest, err := b.digest()
	if err != nil {
		return err
	}
	if digest != b.Digest || len(pub) != ed25519.PublicKeySize || !ed25519.Verify(pub, signed(digest), b.Signature) {
		return refuse("bundle.signature", "the bundle is not signed by this network's policy key, or was changed after signing")
	}
	return nil
}

func (b *Bundle) body() body {
	w := body{CreatedAt: b.CreatedAt.Format(act.WireTime), Schema: b.Schema, Version: b.Version, Policies: make([]wireFile, len(b.Files))}
	w.Defaults, w.Own, w.Without, w.Replaced = b.Defaults, b.Own, b.Without, b.Replaced
	for i, f := range b.Files {
		w.Policies[i] = wireFile{File: f.Name, Text: f.Text}
	}
	for _, f := range b.Tests {
		w.Tests = append(w.Tests, wireFile{File: f.Name, Text: f.Text})
	}
	return w
}

func (b *Bundle) digest() ([sha256.Size]byte, error) {
	raw, err := canonical(b.body())
	return sha256.Sum256(raw), err
}

func (b *Bundle) wire() ([]byte, error) {
	return canonical(envelope{
		body: b.body(), Digest: hex.EncodeToString(b.Digest[:]),
		Signature: base64.StdEncoding.EncodeToString(b.Signature),
	})
}

func canonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, refuse("bundle.form", "the bundle cannot be written as JSON: %w", err)
	}
	raw, err = jcs.Transform(raw)
	if err != nil {
		return nil, refuse("bundle.form", "the bundle cannot be written as canonical JSON: %w", err)
	}
	return raw, nil
}

// signed is what the signature covers: the digest under a name of its own, so
// that a signature made by the same key for something else never fits here.
func signed(digest [sha256.Size]byte) []byte {
	return append([]byte("reefwarden policy bundle 1\x00"), digest[:]...)
}

func refuse(rule, format string, args ...any) *act.Error {
	return act.Errorf(act.Invalid, format, args...).WithRule(rule).
		WithHint("the bundle in force stays; correct the bundle, sign it again and activate it")
}

func unknownSchema(n int) *act.Error {
	return refuse("bundle.schema", "the bundle is of schema %d; this engine knows %d", n, Schema).
		WithHint("the bundle in force stays; write the bundle for this version of the server, or update the server")
}

func tooLarge(n int) *act.Error {
	return act.Errorf(act.TooLarge, "the bundle has %d bytes; %d are allowed", n, MaxBundle).
		WithRule("bundle.size").WithHint("the bundle in force stays; make the bundle smaller")
}
