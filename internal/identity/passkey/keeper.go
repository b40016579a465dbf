package passkey

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Most is how many passkeys an operator can have.
const Most = 16

// Config says what a keeper is made of. All fields are required.
type Config struct {
	Gate     *gate.Gate
	Identity *identity.Service
	URL      func() string // public URL of the network
	Clock    act.Clock
}

// Keeper keeps the operators' passkeys. It is safe for concurrent use.
type Keeper struct {
	Config
	List   *gate.ReadAct[Nothing, []Passkey]
	Add    *gate.WriteAct[NewPasskey, Passkey]
	Remove *gate.WriteAct[Removal, act.Ref]
	Prove  *gate.WriteAct[Answer, Proved]
}

// Passkey is what an operator can prove with who they are.
type Passkey struct {
	ID        act.ID
	Name      string // the operator's own word for it
	CreatedAt int64  // Unix microseconds
	UsedAt    int64  // Unix microseconds; 0 not since it was added
	Synced    bool   // it may be on several devices of its operator

	credential []byte // as the authenticator calls it
	public     []byte // COSE (RFC 9052 §7)
	counter    uint32
	flags      uint8 // of the authenticator (WebAuthn §6.1)
}

// Nothing is the input of acts that need none.
type Nothing struct{}

// NewPasskey is the answer to [Keeper.ToAdd].
type NewPasskey struct {
	Name   string // 1 to 64 printable characters
	Answer []byte // RegistrationResponseJSON (WebAuthn §5.1)
}

// Answer is the answer to [Keeper.ToProve]: AuthenticationResponseJSON (WebAuthn §5.1).
type Answer struct{ Answer []byte }

// Removal names a passkey of the caller's.
type Removal struct{ Passkey act.ID }

// Proved is a session whose human has proved who they are. Its new key is in it and
// nowhere else.
type Proved struct {
	Key       string
	ExpiresAt int64 // of the session, Unix microseconds: as it was
}

const (
	columns = `id, name, created_at, used_at, credential, public_key, counter, flags`

	qOf  store.Q = `SELECT ` + columns + ` FROM passkey WHERE operator = $1 ORDER BY id LIMIT $2`
	qAdd store.Q = `INSERT INTO passkey (id, operator, credential, public_key, counter, flags, name, created_at, used_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) ON CONFLICT (credential) DO NOTHING`
	qUsed   store.Q = `UPDATE passkey SET counter = $3, flags = $4, used_at = $5 WHERE id = $1 AND counter = $2`
	qRemove store.Q = `DELETE FROM passkey WHERE id = $1 AND operator = $2`
)

// New registers the acts.
func New(c Config) *Keeper {
	k := &Keeper{Config: c}
	k.List = gate.RegisterRead(c.Gate, gate.Read[Nothing, []Passkey]{
		Info: gate.Info{Name: "passkey.list", Doc: "List one's own passkeys.", On: act.KindOperator, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, p act.Principal, _ Nothing) ([]Passkey, error) {
			return of(v, p.ID)
		},
	})
	k.Add = gate.RegisterWrite(c.Gate, gate.Write[NewPasskey, Passkey]{
		Info: gate.Info{Name: "passkey.add", Doc: "Add a passkey to one's own account, with which one can prove who one is.", On: act.KindOperator, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in NewPasskey) (gate.Resource, error) {
			if err := inSession(p); err != nil {
				return gate.Resource{}, err
			}
			return own(p), identity.CheckName("passkey", in.Name)
		},
		Run: k.add,
	})
	k.Remove = gate.RegisterWrite(c.Gate, gate.Write[Removal, act.Ref]{
		Info: gate.Info{Name: "passkey.remove", Doc: "Remove one of one's own passkeys; what it has proved counts no more.", On: act.KindOperator, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, _ Removal) (gate.Resource, error) {
			return own(p), nil
		},
		Run: k.remove,
	})
	k.Prove = gate.RegisterWrite(c.Gate, gate.Write[Answer, Proved]{
		Info: gate.Info{Name: "passkey.prove", Doc: "Prove by a passkey who one is; the session gets a new key and a mark of it.", On: act.KindOperator, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, _ Answer) (gate.Resource, error) {
			return own(p), inSession(p)
		},
		Run: k.prove,
	})
	return k
}

// own is the operator as the target of an act about themselves.
func own(p act.Principal) gate.Resource {
	return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindOperator, Own: true}}
}

// inSession refuses who is in no browser: a program that an operator has let in adds no
// key to who it acts for, and has no session to mark.
func inSession(p act.Principal) error {
	if p.Binding == act.BindingSession {
		return nil
	}
	return act.Errorf(act.Invalid, "this call was made in no session").WithRule("session.none").
		WithHint("open the page in the browser that is signed in")
}

// of reads an operator's passkeys, oldest first.
func of(v *store.View, operator act.ID) (list []Passkey, err error) {
	err = v.All(qOf, func(r *store.Row) error {
		list = append(list, Passkey{
			ID: r.ID(0), Name: r.Text(1), CreatedAt: r.Int(2), UsedAt: r.Int(3), credential: r.Bytes(4), public: r.Bytes(5),
			counter: uint32(r.Int(6)), flags: uint8(r.Int(7)), Synced: synced(uint8(r.Int(7))),
		})
		return nil
	}, operator, int64(Most))
	return list, err
}

func (k *Keeper) add(_ context.Context, tx *store.Tx, p act.Principal, in NewPasskey) (out Passkey, fx gate.Effects, err error) {
	// Of two that are added at once, the second counts the first.
	if err := tx.Serialize("passkey"); err != nil {
		return out, fx, err
	}
	have, err := of(&tx.View, p.ID)
	if err != nil {
		return out, fx, err
	}
	if len(have) >= Most {
		return out, fx, act.Errorf(act.Conflict, "you have %d passkeys", len(have)).WithRule("passkey.most").WithHint("remove one that you do not need")
	}
	out, spent, err := k.created(p, in, tx.Now())
	if err != nil {
		return out, fx, err
	}
	if err := k.spend(tx, spent); err != nil {
		return out, fx, err
	}
	if out.ID, err = tx.Mint(act.KindCredential); err != nil {
		return out, fx, err
	}
	out.CreatedAt = tx.Now()
	n, err := tx.Exec(qAdd, out.ID, p.ID, out.credential, out.public, int64(out.counter), int64(out.flags), out.Name, out.CreatedAt)
	if err == nil && n == 0 {
		err = act.Errorf(act.Conflict, "this passkey is known here already").WithRule("passkey.known").WithHint("use another authenticator, or the passkey as it is")
	}
	fx.Out.ID = out.ID
	return out, fx, err
}

func (k *Keeper) remove(_ context.Context, tx *store.Tx, p act.Principal, in Removal) (ref act.Ref, fx gate.Effects, err error) {
	n, err := tx.Exec(qRemove, in.Passkey, p.ID)
	if err != nil {
		return ref, fx, err
	}
	if n == 0 {
		return ref, fx, act.Errorf(act.NotFound, "you have no such passkey").WithRule("passkey.unknown").WithHint("load the page /account again")
	}
	ref.ID = in.Passkey
	return ref, gate.Effects{Out: ref}, k.Identity.DropPasskeyMarks(tx, p.ID)
}

func (k *Keeper) prove(_ context.Context, tx *store.Tx, p act.Principal, in Answer) (out Proved, fx gate.Effects, err error) {
	have, err := of(&tx.View, p.ID)
	if err != nil {
		return out, fx, err
	}
	before, after, spent, err := k.asserted(p, have, in, tx.Now())
	if err != nil {
		return out, fx, err
	}
	if err := k.spend(tx, spent); err != nil {
		return out, fx, err
	}
	n, err := tx.Exec(qUsed, before.ID, int64(before.counter), int64(after.counter), int64(after.flags), tx.Now())
	if err == nil && n == 0 {
		err = gate.Moved() // it was used, or removed, elsewhere at the same moment
	}
	if err != nil {
		return out, fx, err
	}
	fx.Out.ID = before.ID
	out.Key, out.ExpiresAt, err = k.Identity.RenewSession(tx, p.Credential)
	return out, fx, err
}
