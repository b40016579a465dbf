package passkey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// Whatever a browser answers, to a challenge that is good: nothing panics, nothing is
// taken that nobody has unlocked, and nothing proves anything without the key.
func FuzzAnswers(f *testing.F) {
	keys, err := identity.LoadKeys(filepath.Join(f.TempDir(), "master"))
	if err != nil {
		f.Fatal(err)
	}
	k := &Keeper{Config: Config{
		Identity: identity.New(storetest.Open(f, store.SQLite), keys, identity.Config{}), Clock: time.Now, URL: func() string { return "https://reef.example" },
	}}
	p := act.Principal{Kind: act.Operator, ID: 1, Credential: 2, Binding: act.BindingSession}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	site := sha256.Sum256([]byte("reef.example"))
	cose := append([]byte{0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20}, point[1:33]...)
	cose = append(append(cose, 0x22, 0x58, 0x20), point[33:]...)
	data := append(site[:], 0x45, 0, 0, 0, 1)
	data = append(append(append(data, make([]byte, 16)...), 0, 4), "abcd"...)
	data = append(data, cose...)
	object := append(append([]byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58"), byte(len(data))), data...)
	f.Add(object, append(site[:], 0x05, 0, 0, 0, 2), []byte("0"))
	f.Add([]byte("\xa0"), []byte{}, []byte{})
	f.Add([]byte("\xa3\x63fmt\x66packed\x67attStmt\xa0\x68authData\x40"), data, []byte("\x30\x06\x02\x01\x01\x02\x01\x01"))
	b64 := base64.RawURLEncoding.EncodeToString
	f.Fuzz(func(t *testing.T, object, data, signature []byte) {
		answer := func(kind, challenge string, response map[string]string) []byte {
			client, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": "https://reef.example"})
			if err != nil {
				t.Fatal(err)
			}
			response["clientDataJSON"] = b64(client)
			raw, err := json.Marshal(map[string]any{"id": b64([]byte("abcd")), "rawId": b64([]byte("abcd")), "type": "public-key", "response": response})
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		now := act.Micros(time.Now())
		made, _, err := k.created(p, NewPasskey{Answer: answer("webauthn.create", k.challenge(toAdd, p), map[string]string{"attestationObject": b64(object)})}, now)
		if err == nil && (made.flags&0x05 != 0x05 || string(made.credential) != "abcd" || len(made.public) == 0) {
			t.Errorf("taken: %+v", made)
		}
		have := []Passkey{{ID: 1, credential: []byte("abcd"), public: cose, counter: 1, flags: 5}}
		if _, _, _, err := k.asserted(p, have, Answer{Answer: answer("webauthn.get", k.challenge(toProve, p), map[string]string{"authenticatorData": b64(data), "signature": b64(signature)})}, now); err == nil {
			t.Error("proved without the key")
		}
		for _, raw := range [][]byte{object, data} {
			if _, _, err := k.created(p, NewPasskey{Answer: raw}, now); err == nil {
				t.Error("bytes are a passkey")
			}
			if _, _, _, err := k.asserted(p, have, Answer{Answer: raw}, now); err == nil {
				t.Error("bytes are a proof")
			}
		}
	})
}
