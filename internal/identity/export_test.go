package identity

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// HeaderOf returns the header of a token.
func HeaderOf(t testing.TB, text string) map[string]string {
	t.Helper()
	head, _, _ := strings.Cut(text, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// ConsentForTest makes the grant that a human's consent is, and signs a token for it.
func (i *Issuer) ConsentForTest(tx *store.Tx, operator act.Principal, agent act.ID, jkt string) (TokenAnswer, error) {
	g := Grant{
		Kind: GrantCode, Holder: operator.ID, Delegate: agent, Credential: operator.Credential, Confirm: token.Confirm{JKT: jkt},
		Authority: i.held(Credential{Scope: string(token.ScopeAll)}, ends(tx, agent, 0)),
	}
	if err := addGrant(tx, &g); err != nil {
		return TokenAnswer{}, err
	}
	return i.Answer(Issued{Grant: g})
}
