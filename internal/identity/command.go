package identity

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// DefaultCommandKeyLife and MaxCommandKeyLife are how long a command key is good for.
	DefaultCommandKeyLife = 90 * 24 * time.Hour
	MaxCommandKeyLife     = 366 * 24 * time.Hour
	// MaxCommandKeys bounds the command keys of one operator that are good at a time.
	MaxCommandKeys = 8

	kindCommandKey = "command-key"
	registerAct    = "command.register"

	// A command key is good while it and what it was registered with are.
	qCommandKey store.Q = `SELECT c.id, c.subject, o.name, c.jwk, c.scope, c.roles, o.roles, c.expires_at, c.revoked_at, p.expires_at, p.revoked_at, c.used_at
FROM credential AS c JOIN credential AS p ON p.id = c.parent JOIN operator AS o ON o.id = c.subject WHERE c.hash = $1 AND c.kind = '` + kindCommandKey + `'`
	qCommandKeyByID store.Q = `SELECT c.id, c.subject, o.name, c.jwk, c.scope, c.roles, o.roles, c.expires_at, c.revoked_at, p.expires_at, p.revoked_at, c.used_at
FROM credential AS c JOIN credential AS p ON p.id = c.parent JOIN operator AS o ON o.id = c.subject WHERE c.id = $1 AND c.kind = '` + kindCommandKey + `'`
	qCommandKeyAdd store.Q = `INSERT INTO credential (id, subject, kind, hash, created_at, expires_at, revoked_at, jwk, scope, parent, roles)
VALUES ($1, $2, '` + kindCommandKey + `', $3, $4, $5, 0, $6, $7, $8, $9)`
	qCommandKeysEnd store.Q = `UPDATE credential SET revoked_at = $2 WHERE parent = $1 AND kind = '` + kindCommandKey + `' AND revoked_at = 0`
)

var commandActs = []string{
	"agent.kill", "agent.pause", "agent.quarantine", "agent.release", "agent.resume",
	"scope.kill", "scope.pause", "scope.quarantine", "scope.release", "scope.resume",
}

// CommandActs lists the acts that commands can order.
func CommandActs() []string { return slices.Clone(commandActs) }

// NewCommandKey registers the public half of a key with which the caller, an operator,
// signs commands away from the network.
type NewCommandKey struct {
	Key      string        // the public key (JWK)
	Proof    string        // an assertion by it over the operator's outside id
	Acts     []string      // what it may order, of CommandActs
	ValidFor time.Duration // MaxCommandKeyLife at the most; DefaultCommandKeyLife if 0
}

// Command is a command whose signature is good: what it orders, and how to use it up.
type Command struct {
	token.Command
	Operator act.Principal // who has signed it, with the roles of now and of the key
	Scope    token.Scope   // what the key may order
	Agent    act.ID        // whom, or whose line, it is aimed at; 0 for another kind of target, or nobody of this network
}

func (i *Issuer) registerCommands(g *gate.Gate) {
	i.Commander = gate.RegisterWrite(g, gate.Write[NewCommandKey, Credential]{
		Info: gate.Info{Name: registerAct, Doc: "Register the public half of a key of one's own that signs commands away from the network, for some acts.", On: act.KindCredential, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in NewCommandKey) (gate.Resource, error) {
			return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindCredential, Own: true}}, in.check()
		},
		Run: i.addCommandKey,
	})
}

func (in *NewCommandKey) check() error {
	if in.ValidFor < 0 || in.ValidFor > MaxCommandKeyLife {
		return act.Errorf(act.Invalid, "a command key is good for a year at the most").WithRule("command.life").WithHint("leave it out for ninety days")
	}
	for n, name := range in.Acts {
		if !slices.Contains(commandActs, name) || slices.Contains(in.Acts[:n], name) {
			return act.Errorf(act.Invalid, "the key's acts name one that commands cannot order, or one twice").WithRule("command.scope").WithHint("name some of " + strings.Join(commandActs, ", "))
		}
	}
	if len(in.Acts) == 0 {
		return act.Errorf(act.Invalid, "the key may order nothing").WithRule("command.scope").WithHint("name some of " + strings.Join(commandActs, ", "))
	}
	return nil
}

// addCommandKey registers a key for no more than its operator may do now. It ends with
// what the operator has signed in with, as a session does.
func (i *Issuer) addCommandKey(_ context.Context, tx *store.Tx, p act.Principal, in NewCommandKey) (c Credential, fx gate.Effects, err error) {
	// A program that an operator has let in makes nothing that outlasts it, unless the
	// operator has read just that and said yes.
	if p.Grant != 0 && !slices.Contains(strings.Fields(p.Scope), registerAct) {
		return c, fx, act.Errorf(act.Denied, "a program registers a command key only if its consent names %s", registerAct).WithRule("command.person").
			WithHint(`say so to it by name: reef login --scope "` + registerAct + ` ` + strings.Join(in.Acts, " ") + `"`)
	}
	for _, name := range in.Acts {
		if err := i.gate.May(p, name, gate.Facts{Kind: act.KindAgent, AuthorStanding: act.Active}); err != nil {
			return c, fx, act.Errorf(act.Denied, "you may not do %s yourself", name).WithRule("command.scope").WithHint(act.AsError(err).Hint)
		}
	}
	parent, err := lasting(tx, p)
	if err != nil {
		return c, fx, err
	}
	key, err := i.ids.possessed(tx, in.Key, in.Proof, i.cfg.Codec.String(p.ID))
	if err != nil {
		return c, fx, err
	}
	mine := 0
	if err := tx.All(qKeysOf, func(r *store.Row) error {
		if c := scanCredential(r); c.Kind == kindCommandKey && c.live(tx.Now()) {
			mine++
		}
		return nil
	}, p.ID); err != nil {
		return c, fx, err
	}
	if mine >= MaxCommandKeys {
		return c, fx, act.Errorf(act.Conflict, "you have %d command keys", mine).WithRule("key.most").WithHint("revoke one that is not needed (credential.revoke)")
	}
	life := in.ValidFor
	if life == 0 {
		life = DefaultCommandKeyLife
	}
	acts := slices.Sorted(slices.Values(in.Acts))
	scope, err := token.ParseScope(strings.Join(acts, " "))
	if err != nil {
		return c, fx, err
	}
	c = Credential{
		Subject: p.ID, Kind: kindCommandKey, Scope: string(scope), CreatedAt: tx.Now(), ExpiresAt: tx.Now() + life.Microseconds(),
		KeyID: key.Thumbprint(), jwk: string(key.JWK()), hash: i.ids.keyHash(key.Thumbprint()),
	}
	if c.ID, err = tx.Mint(act.KindCredential); err != nil {
		return c, fx, err
	}
	_, err = tx.Exec(qCommandKeyAdd, c.ID, p.ID, c.hash, c.CreatedAt, c.ExpiresAt, c.jwk, c.Scope, parent, int64(p.Roles))
	if act.CodeOf(err) == act.Conflict {
		err = act.Errorf(act.Conflict, "this key is or was registered already").WithRule("key.known").WithHint("make a new key pair; one is registered once")
	}
	return c, gate.Effects{Out: act.Ref{ID: c.ID}}, err
}

// commandKey is a command key as it stands.
type commandKey struct {
	p     act.Principal // its operator
	jwk   string
	scope token.Scope
	used  int64
	good  bool
}

func (s *Service) scanCommandKey(r *store.Row) commandKey {
	return commandKey{
		p: act.Principal{
			Kind: act.Operator, Credential: r.ID(0), ID: r.ID(1), Name: r.Text(2), Binding: act.BindingCommand, Roles: rolesOf(r.Int(5)) & rolesOf(r.Int(6)),
		},
		jwk: r.Text(3), scope: token.Scope(r.Text(4)), used: r.Int(11),
		good: s.live(r.Int(7), r.Int(8)) && s.live(r.Int(9), r.Int(10)),
	}
}

// ReadCommand verifies a command with the key that it names. It fails with
// Unauthenticated by a rule command.*, or with Unavailable when storage cannot say. The
// operator has proved who they are when they signed it, and has the roles that they had
// when they registered the key, as far as they have them still.
func (s *Service) ReadCommand(ctx context.Context, text string) (Command, error) {
	now, seen := s.clock(), s.fences.Load()
	var k commandKey
	c, err := token.ReadCommand(text, token.CommandExpect{Audience: s.issuer.URL(), Now: now, Key: func(thumbprint string) (token.Public, error) {
		if err := s.db.View(ctx, func(v *store.View) error {
			_, err := v.One(qCommandKey, func(r *store.Row) error { k = s.scanCommandKey(r); return nil }, s.keyHash(thumbprint))
			return err
		}); err != nil {
			return token.Public{}, unchecked(err)
		}
		if !k.good {
			return token.Public{}, token.Refuse("command.key")
		}
		return token.ParseJWK([]byte(k.jwk))
	}})
	if err != nil {
		return Command{}, err
	}
	p := k.p
	p.Seen, p.Until, p.AuthAt = seen, act.Micros(c.Until), min(act.Micros(c.IssuedAt), act.Micros(now))
	s.uses.touch(p.Credential, k.used, act.Micros(now))
	out := Command{Command: c, Operator: p, Scope: k.scope}
	if c.Target.Kind == token.TargetAgent || c.Target.Kind == token.TargetLine {
		if agent, err := s.issuer.cfg.Codec.ParseKind(c.Target.ID, act.KindAgent); err == nil {
			out.Agent = agent
		}
	}
	return out, nil
}

// SpendCommand uses a command up in the transaction of the act that it orders: of all
// who show it, on whatever node, one gets through. Its key has to be good still, and the
// operator's roles what they were when it was read.
func (s *Service) SpendCommand(tx *store.Tx, c Command) error {
	var k commandKey
	if _, err := tx.One(qCommandKeyByID, func(r *store.Row) error { k = s.scanCommandKey(r); return nil }, c.Operator.Credential); err != nil {
		return err
	}
	switch {
	case !k.good:
		return token.Refuse("command.key")
	case k.p.Roles != c.Operator.Roles:
		return act.Errorf(act.Denied, "the roles of the operator who signed this have just changed").WithRule("command.roles").WithHint("send it again: it is decided anew with the roles of now")
	case !s.clock().Before(c.Until):
		return token.Refuse("command.expired")
	}
	err := s.Once(tx, "command "+c.KeyID, c.ID, c.Until)
	if act.CodeOf(err) == act.Unauthenticated {
		err = act.Errorf(act.Denied, "this command was executed before").WithRule("command.replayed").
			WithHint("a command is executed once; look at what it was aimed at, and sign another one if that is not enough")
	}
	return err
}
