package passkey

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"net/url"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/reefwarden/reefwarden/internal/act"
)

// MaxAnswer bounds what a browser answers, in bytes.
const MaxAnswer = 8 << 10

// algorithms are those by which passkeys may sign, the best first.
func algorithms() []protocol.CredentialParameter {
	var list []protocol.CredentialParameter
	for _, alg := range []webauthncose.COSEAlgorithmIdentifier{webauthncose.AlgES256, webauthncose.AlgEdDSA, webauthncose.AlgRS256} {
		list = append(list, protocol.CredentialParameter{Type: protocol.PublicKeyCredentialType, Algorithm: alg})
	}
	return list
}

// site is whom a passkey is made for: WebAuthn's relying party.
type site struct {
	id     string // the host
	origin string
}

// site fails where browsers have no passkeys: beside https and http on localhost, and
// where the host is an address and not a name (WebAuthn §5.1.3, Secure Contexts §3.1).
func (k *Keeper) site() (site, error) {
	u, err := url.Parse(k.URL())
	if err == nil {
		host := strings.ToLower(u.Hostname())
		_, notAddress := netip.ParseAddr(host)
		local := host == "localhost" || strings.HasSuffix(host, ".localhost")
		port := u.Port()
		if port == map[string]string{"https": "443", "http": "80"}[u.Scheme] {
			port = ""
		}
		if notAddress != nil && host != "" && (u.Scheme == "https" || u.Scheme == "http" && local) {
			s := site{host, u.Scheme + "://" + host}
			if port != "" {
				s.origin += ":" + port
			}
			return s, nil
		}
	}
	return site{}, act.Errorf(act.Conflict, "there are no passkeys at this network's public address").WithRule("passkey.site").
		WithHint("set public-url to https and the name of a host; on the machine itself http://localhost with the port will do")
}

// party is what the library checks answers against.
func (s site) party() (*webauthn.WebAuthn, error) {
	return webauthn.New(&webauthn.Config{RPID: s.id, RPDisplayName: "Reefwarden", RPOrigins: []string{s.origin}})
}

// user is an operator, with the passkeys that they have, as the library sees them.
type user struct {
	handle []byte
	have   []webauthn.Credential
}

// WebAuthnID and the others implement webauthn.User.
func (u *user) WebAuthnID() []byte                         { return u.handle }
func (u *user) WebAuthnName() string                       { return "" }
func (u *user) WebAuthnDisplayName() string                { return "" }
func (u *user) WebAuthnCredentials() []webauthn.Credential { return u.have }

func (k *Keeper) user(p act.Principal, have []Passkey) *user {
	u := &user{handle: k.handle(p)}
	for _, one := range have {
		u.have = append(u.have, webauthn.Credential{
			ID: one.credential, PublicKey: one.public, Flags: webauthn.NewCredentialFlags(protocol.AuthenticatorFlags(one.flags)),
			Authenticator: webauthn.Authenticator{SignCount: one.counter},
		})
	}
	return u
}

// handle is what authenticators know an operator by. It says nothing to anybody else.
func (k *Keeper) handle(p act.Principal) []byte {
	sum := k.Identity.Proof("passkey handle", binary.BigEndian.AppendUint64(nil, uint64(p.ID)))
	return sum[:]
}

// The options of the ceremonies, as scripts take them: PublicKeyCredentialCreationOptionsJSON
// and PublicKeyCredentialRequestOptionsJSON (WebAuthn §5.1.8, §5.1.9).
type (
	creation struct {
		Challenge   string                         `json:"challenge"`
		Site        entity                         `json:"rp"`
		User        entity                         `json:"user"`
		Algorithms  []protocol.CredentialParameter `json:"pubKeyCredParams"`
		Timeout     int64                          `json:"timeout"` // milliseconds
		Exclude     []descriptor                   `json:"excludeCredentials"`
		Selection   selection                      `json:"authenticatorSelection"`
		Attestation string                         `json:"attestation"`
	}
	request struct {
		Challenge    string       `json:"challenge"`
		Site         string       `json:"rpId"`
		Timeout      int64        `json:"timeout"` // milliseconds
		Allow        []descriptor `json:"allowCredentials"`
		Verification string       `json:"userVerification"`
	}
	entity struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		DisplayName string `json:"displayName,omitempty"`
	}
	descriptor struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	}
	selection struct {
		Resident     string `json:"residentKey"`
		Verification string `json:"userVerification"`
	}
)

const required = string(protocol.VerificationRequired)

// ToAdd returns what a script needs to make a passkey for the operator of a session, who
// has some already, as JSON.
func (k *Keeper) ToAdd(p act.Principal, have []Passkey) (options string, err error) {
	s, err := k.site()
	if err == nil {
		err = inSession(p)
	}
	if err != nil {
		return "", err
	}
	return encode(creation{
		Challenge: k.challenge(toAdd, p), Site: entity{ID: s.id, Name: "Reefwarden"},
		User:       entity{ID: base64.RawURLEncoding.EncodeToString(k.handle(p)), Name: p.Name, DisplayName: p.Name},
		Algorithms: algorithms(), Timeout: life.Milliseconds(), Exclude: described(have),
		Selection: selection{Resident: string(protocol.ResidentKeyRequirementDiscouraged), Verification: required}, Attestation: string(protocol.PreferNoAttestation),
	})
}

// ToProve returns what a script needs to have one of an operator's passkeys prove, in a
// session, who they are, as JSON.
func (k *Keeper) ToProve(p act.Principal, have []Passkey) (options string, err error) {
	s, err := k.site()
	if err == nil {
		err = inSession(p)
	}
	if err == nil && len(have) == 0 {
		err = unknown()
	}
	if err != nil {
		return "", err
	}
	return encode(request{Challenge: k.challenge(toProve, p), Site: s.id, Timeout: life.Milliseconds(), Allow: described(have), Verification: required})
}

func unknown() error {
	return act.Errorf(act.Denied, "this is no passkey of yours here").WithRule("passkey.unknown").WithHint("add one at /account, or use one that stands there")
}

func described(have []Passkey) []descriptor {
	list := make([]descriptor, 0, len(have))
	for _, one := range have {
		list = append(list, descriptor{string(protocol.PublicKeyCredentialType), base64.RawURLEncoding.EncodeToString(one.credential)})
	}
	return list
}

func encode(options any) (string, error) {
	raw, err := json.Marshal(options)
	return string(raw), err
}

var (
	errLong     = errors.New("it is too long")
	errAttested = errors.New("it says what the authenticator is")
)

func unreadable(cause error) error {
	return act.Errorf(act.Invalid, "the browser's answer cannot be read: %w", cause).WithRule("passkey.answer").
		WithHint("load the page again; a passkey needs the page's own script")
}

// refused is for answers that do not hold: of another site, by another key, or by an
// authenticator that nobody has unlocked.
func refused(cause error) error {
	return act.Errorf(act.Denied, "the passkey does not prove who you are: %w", cause).WithRule("passkey.refused").
		WithHint("load the page again at the network's own address, and unlock the passkey when you are asked")
}

// session is what the library remembers of a ceremony.
func (s site) session(u *user, challenge string) webauthn.SessionData {
	return webauthn.SessionData{
		Challenge: challenge, RelyingPartyID: s.id, Origin: s.origin, UserID: u.handle, UserVerification: protocol.VerificationRequired, CredParams: algorithms(),
	}
}

// created checks the answer to [Keeper.ToAdd]. now is in Unix microseconds.
func (k *Keeper) created(p act.Principal, in NewPasskey, now int64) (out Passkey, s spent, err error) {
	at, err := k.site()
	if err != nil {
		return out, s, err
	}
	if len(in.Answer) > MaxAnswer {
		return out, s, unreadable(errLong)
	}
	answer, err := protocol.ParseCredentialCreationResponseBytes(in.Answer)
	if err != nil {
		return out, s, unreadable(err)
	}
	if s, err = k.answered(toAdd, p, answer.Response.CollectedClientData.Challenge, now); err != nil {
		return out, s, err
	}
	// Nobody asked what the authenticator is. An answer that says it all the same goes no
	// further: there would be certificates in it, to be read for nothing.
	if f := protocol.AttestationFormat(answer.Response.AttestationObject.Format); f != protocol.AttestationFormatNone && f != protocol.AttestationFormatPacked {
		return out, s, unreadable(errAttested)
	}
	party, err := at.party()
	if err != nil {
		return out, s, err
	}
	u := k.user(p, nil)
	made, err := party.CreateCredential(u, at.session(u, s.text), answer)
	if err != nil {
		return out, s, refused(err)
	}
	flags := uint8(answer.Response.AttestationObject.AuthData.Flags)
	return Passkey{
		Name: in.Name, credential: made.ID, public: made.PublicKey, counter: made.Authenticator.SignCount, flags: flags, Synced: synced(flags),
	}, s, nil
}

// asserted checks the answer to [Keeper.ToProve] and returns the passkey as it was and as
// it is after that. now is in Unix microseconds.
func (k *Keeper) asserted(p act.Principal, have []Passkey, in Answer, now int64) (before, after Passkey, s spent, err error) {
	at, err := k.site()
	if err != nil {
		return before, after, s, err
	}
	if len(in.Answer) > MaxAnswer {
		return before, after, s, unreadable(errLong)
	}
	answer, err := protocol.ParseCredentialRequestResponseBytes(in.Answer)
	if err != nil {
		return before, after, s, unreadable(err)
	}
	if s, err = k.answered(toProve, p, answer.Response.CollectedClientData.Challenge, now); err != nil {
		return before, after, s, err
	}
	for _, one := range have {
		if bytes.Equal(one.credential, answer.RawID) {
			before = one
		}
	}
	if before.ID == 0 {
		return before, after, s, unknown()
	}
	party, err := at.party()
	if err != nil {
		return before, after, s, err
	}
	u := k.user(p, have)
	used, err := party.ValidateLogin(u, at.session(u, s.text), answer)
	if err != nil {
		return before, after, s, refused(err)
	}
	if used.Authenticator.CloneWarning {
		return before, after, s, act.Errorf(act.Denied, "the passkey's counter has gone back").WithRule("passkey.counter").
			WithHint("somebody may have a copy of it: remove it at /account and add another, and tell an admin")
	}
	after = before
	after.counter, after.flags = used.Authenticator.SignCount, uint8(answer.Response.AuthenticatorData.Flags)
	return before, after, s, nil
}

// synced reports whether a passkey may be on several devices (WebAuthn §6.1.3).
func synced(flags uint8) bool { return protocol.AuthenticatorFlags(flags).HasBackupEligible() }
