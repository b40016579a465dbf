package servertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server"
)

// Localhost has a server be reached as http://localhost with its port, where browsers
// have passkeys.
func Localhost(t testing.TB, cfg server.Config) server.Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Addr = l.Addr().String()
	_ = l.Close()
	cfg.PublicURL = "http://localhost" + cfg.Addr[strings.LastIndexByte(cfg.Addr, ':'):]
	return cfg
}

// The flags of an authenticator's data (WebAuthn §6.1).
const (
	UserPresent  = 1 << 0
	UserVerified = 1 << 2
	attested     = 1 << 6
)

// Authenticator is a passkey in software, with the browser around it: it answers what
// passkey.Keeper asks. Whatever it says it can be made to say wrongly.
type Authenticator struct {
	Origin  string // of the page that it is asked by
	Site    string // the relying party's id; "" as asked
	Flags   byte
	Counter uint32 // that it has in its next answer
	Handle  []byte // the user's, in answers; nil for none
	ID      []byte
	Key     *ecdsa.PrivateKey
}

// NewAuthenticator returns one that is asked by pages of an origin.
func NewAuthenticator(t testing.TB, origin string) *Authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Authenticator{Origin: origin, Flags: UserPresent | UserVerified, Counter: 1, ID: []byte(rand.Text()), Key: key}
}

type asked struct {
	Challenge string `json:"challenge"`
	RP        struct {
		ID string `json:"id"`
	} `json:"rp"`
	RPID string `json:"rpId"`
}

// read reads the options of a ceremony.
func (a *Authenticator) read(t testing.TB, options string) (challenge, site string) {
	t.Helper()
	var o asked
	if err := json.Unmarshal([]byte(options), &o); err != nil || o.Challenge == "" {
		t.Fatalf("the options %q: %v", options, err)
	}
	switch {
	case a.Site != "":
		site = a.Site
	case o.RPID != "":
		site = o.RPID
	default:
		site = o.RP.ID
	}
	return o.Challenge, site
}

func (a *Authenticator) client(t testing.TB, kind, challenge string) []byte {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.Origin, "crossOrigin": false})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (a *Authenticator) data(site string, flags byte) []byte {
	sum := sha256.Sum256([]byte(site))
	out := append(sum[:], flags)
	out = binary.BigEndian.AppendUint32(out, a.Counter)
	a.Counter++
	return out
}

// Create answers [passkey.Keeper.ToAdd].
func (a *Authenticator) Create(t testing.TB, options string) []byte {
	t.Helper()
	challenge, site := a.read(t, options)
	point, err := a.Key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	data := a.data(site, a.Flags|attested)
	data = append(data, make([]byte, 16)...) // no model
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.ID)))
	data = append(data, a.ID...)
	// COSE: kty EC2, alg ES256, crv P-256, x, y.
	data = append(data, 0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20)
	data = append(append(data, point[1:33]...), 0x22, 0x58, 0x20)
	data = append(data, point[33:]...)
	// CBOR: {"fmt": "none", "attStmt": {}, "authData": …}
	object := []byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58")
	object = append(append(object, byte(len(data))), data...)
	return a.answer(t, map[string]string{
		"clientDataJSON": text(a.client(t, "webauthn.create", challenge)), "attestationObject": text(object),
	})
}

// Get answers [passkey.Keeper.ToProve].
func (a *Authenticator) Get(t testing.TB, options string) []byte {
	t.Helper()
	challenge, site := a.read(t, options)
	data, client := a.data(site, a.Flags), a.client(t, "webauthn.get", challenge)
	hash := sha256.Sum256(client)
	sum := sha256.Sum256(append(data[:len(data):len(data)], hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.Key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	response := map[string]string{"clientDataJSON": text(client), "authenticatorData": text(data), "signature": text(signature)}
	if a.Handle != nil {
		response["userHandle"] = text(a.Handle)
	}
	return a.answer(t, response)
}

func (a *Authenticator) answer(t testing.TB, response map[string]string) []byte {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"id": text(a.ID), "rawId": text(a.ID), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
