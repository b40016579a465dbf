package native

import (
	"context"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// credentialRoutes are how keys that agents made come and go, and what operators see
// of all credentials. Tokens are got at the OAuth endpoints.
func (d *door) credentialRoutes() []api.Route {
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: post, Path: "/enrollments", Act: "enrollment.create", Handle: d.makeEnrollment, Takes: newEnrollment{}, Gives: enrollment{}},
		{Method: post, Path: "/enroll", Act: "agent.enroll", Anonymous: true, Handle: d.enroll, Takes: newMember{}, Gives: member{}},
		{Method: post, Path: "/agents/{agent}/recover", Act: "credential.recover", Handle: d.recoverAgent, Takes: newRecovery{}, Gives: recovered{}},
		{Method: post, Path: "/me/keys/rotate", Act: "credential.rotate", Handle: d.rotateOwnKey, Takes: newKey{}, Gives: credential{}},
		{Method: post, Path: "/credentials/{credential}/revoke", Act: "credential.revoke", Handle: d.revokeCredential, Takes: newOrder{}, Gives: revokedCredential{}},
		{Method: get, Path: "/identity/inventory", Act: "identity.inventory", Handle: d.inventory, Gives: list[inventoried]{}, Query: []string{"kind", "agent", "dormant", "unowned", "ended", "limit", "cursor"}},
		{Method: post, Path: "/keys/rotate", Act: "key.rotate", Handle: d.rotateSigningKey, Takes: newRotation{}, Gives: rotated{}},
		{Method: post, Path: "/keys/renew", Act: "key.renew", Handle: d.renewWrappingKey, Takes: newOrder{}, Gives: renewed{}},
	}
}

type newEnrollment struct {
	Agent    string `json:"agent"`     // id; of an agent that is there
	Owner    string `json:"owner"`     // of a new agent
	Scope    string `json:"scope"`     // what the key may ask for; "*" if empty
	ValidFor int64  `json:"valid_for"` // seconds; an hour if 0
}

// enrollment is a token with which one key can be enrolled, shown once.
type enrollment struct {
	ID        string  `json:"id"`
	Token     string  `json:"token"`
	ExpiresAt *string `json:"expires_at"`
}

// POST /enrollments
func (d *door) makeEnrollment(ctx context.Context, c *api.Call) error {
	var in newEnrollment
	if err := c.Decode(&in); err != nil {
		return err
	}
	const most = int64(identity.MaxEnrollmentLife / time.Second)
	if in.ValidFor < 0 || in.ValidFor > most {
		return act.Errorf(act.Invalid, "valid_for is not a number of seconds up to %d", most).
			WithRule("enroll.life").WithHint("leave it out for an hour")
	}
	ask := identity.NewEnrollment{Owner: in.Owner, Scope: in.Scope, ValidFor: time.Duration(in.ValidFor) * time.Second}
	if in.Agent != "" {
		var err error
		if ask.Agent, err = d.codec.ParseKind(in.Agent, act.KindAgent); err != nil {
			return act.Errorf(act.NotFound, "no such agent").WithHint("agent takes the agent's id; GET /v1/agents/{name} shows it")
		}
	}
	out, err := d.issuer.Invite.DoOnce(ctx, c.Principal, c.Key, ask)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, enrollment{d.codec.String(out.ID), out.Token, wireTime(out.ExpiresAt)})
}

type newMember struct {
	Token       string `json:"token"`       // the enrolment token, or the agent's bootstrap key
	Key         string `json:"key"`         // the public key (JWK), as a text
	Proof       string `json:"proof"`       // an assertion by the key over the token
	Name        string `json:"name"`        // of a new agent
	Description string `json:"description"` // of a new agent
}

type member struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	Credential string  `json:"credential"` // id of the key
	Scope      string  `json:"scope"`
	ExpiresAt  *string `json:"expires_at"` // of the key
}

// POST /enroll
func (d *door) enroll(ctx context.Context, c *api.Call) error {
	var in newMember
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.lifecycle.Enroll.DoOnce(ctx, c.Principal, c.Key, lifecycle.NewMember(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, member{d.codec.String(out.Agent), out.Name, d.codec.String(out.Credential), out.Scope, wireTime(out.ExpiresAt)})
}

type newRecovery struct {
	Owner     string `json:"owner"`     // who asks for it: the agent's owner; "" is who calls
	Bootstrap bool   `json:"bootstrap"` // hand out a bootstrap key, too
	Reason    string `json:"reason"`
}

// recovered has what is shown once: the token with which the agent enrols a new key,
// and its bootstrap key if one was asked for.
type recovered struct {
	ID        string  `json:"id"`
	Token     string  `json:"token"`
	ExpiresAt *string `json:"expires_at"`
	Key       *string `json:"key"`
	Ended     int64   `json:"ended"` // credentials that were good until now
}

// POST /agents/{agent}/recover
func (d *door) recoverAgent(ctx context.Context, c *api.Call) error {
	var in newRecovery
	if err := c.Decode(&in); err != nil {
		return err
	}
	id, err := d.agentID(c)
	if err != nil {
		return err
	}
	out, err := d.issuer.Recover.DoOnce(ctx, c.Principal, c.Key, identity.Recovery{Agent: id, Owner: in.Owner, Legacy: in.Bootstrap, Reason: in.Reason})
	if err != nil {
		return err
	}
	answer := recovered{ID: d.codec.String(out.Agent), Token: out.Token, ExpiresAt: wireTime(out.ExpiresAt), Ended: out.Ended}
	if out.Key != "" {
		answer.Key = &out.Key
	}
	return d.send(c, http.StatusOK, answer)
}

type newKey struct {
	Key   string `json:"key"`   // the new public key (JWK), as a text
	Proof string `json:"proof"` // an assertion by the new key over the old one's thumbprint
	Old   string `json:"old"`   // an assertion by the old key over the new one's thumbprint
}

type credential struct {
	ID        string  `json:"id"`
	KeyID     string  `json:"key_id"` // thumbprint (RFC 7638)
	Scope     string  `json:"scope"`
	ExpiresAt *string `json:"expires_at"`
}

// POST /me/keys/rotate
func (d *door) rotateOwnKey(ctx context.Context, c *api.Call) error {
	var in newKey
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.issuer.Renew.DoOnce(ctx, c.Principal, c.Key, identity.NewKey(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, credential{d.codec.String(out.ID), out.KeyID, out.Scope, wireTime(out.ExpiresAt)})
}

type revokedCredential struct {
	ID      string `json:"id"`
	Revoked bool   `json:"revoked"`
}

// POST /credentials/{credential}/revoke
func (d *door) revokeCredential(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	id, err := d.codec.ParseKind(c.R.PathValue("credential"), act.KindCredential)
	if err != nil {
		return act.Errorf(act.NotFound, "no such credential").WithRule("credential.unknown").WithHint("GET /v1/identity/inventory shows the ids")
	}
	out, err := d.issuer.End.DoOnce(ctx, c.Principal, c.Key, identity.CredentialEnd{Credential: id, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, revokedCredential{d.codec.String(out.ID), true})
}

// inventoried is a credential or a grant.
type inventoried struct {
	ID        string  `json:"id"`
	Kind      string  `json:"kind"`
	Binding   string  `json:"binding"`
	Subject   string  `json:"subject"`
	Name      string  `json:"name"`
	Standing  *string `json:"standing"` // of an agent
	Owner     *string `json:"owner"`    // of an agent; null while nobody owns it
	Scope     string  `json:"scope"`
	KeyID     *string `json:"key_id"`
	Parent    *string `json:"parent"`   // grant of which it was carved out
	Delegate  *string `json:"delegate"` // agent that may carve its own out of it
	CreatedAt *string `json:"created_at"`
	ExpiresAt *string `json:"expires_at"`
	RevokedAt *string `json:"revoked_at"`
	UsedAt    *string `json:"used_at"` // to the minute
	Age       int64   `json:"age"`     // seconds
	Dormant   bool    `json:"dormant"`
	Unowned   bool    `json:"unowned"`
}

func (d *door) inventoried(i identity.Item) inventoried {
	id := func(id act.ID) *string {
		if id == 0 {
			return nil
		}
		text := d.codec.String(id)
		return &text
	}
	out := inventoried{
		ID: d.codec.String(i.ID), Kind: i.Kind, Binding: i.Binding, Subject: d.codec.String(i.Subject), Name: i.Name, Scope: i.Scope,
		Parent: id(i.Parent), Delegate: id(i.Delegate), CreatedAt: wireTime(i.CreatedAt), ExpiresAt: wireTime(i.ExpiresAt),
		RevokedAt: wireTime(i.RevokedAt), UsedAt: wireTime(i.UsedAt), Age: int64(i.Age / time.Second), Dormant: i.Dormant, Unowned: i.Unowned,
	}
	if i.Subject.Kind() == act.KindAgent {
		standing := i.Standing.String()
		out.Standing = &standing
	}
	if i.Owner != 0 {
		out.Owner = &i.OwnerName
	}
	if i.KeyID != "" {
		out.KeyID = &i.KeyID
	}
	return out
}

// GET /identity/inventory?kind&agent&dormant&unowned&ended&limit&cursor
func (d *door) inventory(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	var in identity.InventoryQuery
	switch q.Get("kind") {
	case "", "credential":
	case "grant":
		in.Grants = true
	default:
		return act.Errorf(act.Invalid, "there is no such kind").WithRule("http.query").WithHint("use credential or grant")
	}
	for name, into := range map[string]*bool{"dormant": &in.Dormant, "unowned": &in.Unowned, "ended": &in.Ended} {
		switch q.Get(name) {
		case "", "false":
		case "true":
			*into = true
		default:
			return act.Errorf(act.Invalid, "%s is neither true nor false", name).WithRule("http.query").WithHint("leave it out for false")
		}
	}
	var err error
	if text := q.Get("agent"); text != "" {
		if in.Agent, err = d.codec.ParseKind(text, act.KindAgent); err != nil {
			return act.Errorf(act.NotFound, "no such agent").WithHint("agent takes the agent's id; GET /v1/agents/{name} shows it")
		}
	}
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, identity.MaxInventory); err != nil {
		return err
	}
	if in.Cursor, err = d.codec.OpenCursor(identity.InventoryCursor, q.Get("cursor")); err != nil {
		return err
	}
	page, err := d.issuer.Inventory.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	out := list[inventoried]{Items: make([]inventoried, 0, len(page.Items)), Next: d.next(page.Next)}
	for _, i := range page.Items {
		out.Items = append(out.Items, d.inventoried(i))
	}
	return d.send(c, http.StatusOK, out)
}

type newRotation struct {
	Compromised bool   `json:"compromised"` // the earlier keys, and all that they signed, end at once
	SVIDs       bool   `json:"svids"`       // of the keys that sign SVIDs, not of those that sign tokens
	Reason      string `json:"reason"`
}

type rotated struct {
	KeyID    string  `json:"key_id"`
	ActiveAt *string `json:"active_at"` // when it begins to sign
}

// POST /keys/rotate
func (d *door) rotateSigningKey(ctx context.Context, c *api.Call) error {
	var in newRotation
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.issuer.Rotate.DoOnce(ctx, c.Principal, c.Key, identity.Rotation{Compromised: in.Compromised, SVIDs: in.SVIDs, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, rotated{out.KeyID, wireTime(out.ActiveAt)})
}

// renewed is a new version of the wrapping key, which is in use when every node has it.
type renewed struct {
	Version int64 `json:"version"`
}

// POST /keys/renew
func (d *door) renewWrappingKey(ctx context.Context, c *api.Call) error {
	var in newOrder
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.issuer.RenewWrapping.DoOnce(ctx, c.Principal, c.Key, identity.Renewal(in))
	if err != nil {
		return err
	}
	return d.send(c, http.StatusAccepted, renewed{out.Version})
}
