package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewSession asks for a session of the operator whose token it brings, or who is the
// person whom the identity provider has named.
type NewSession struct {
	Token  string
	Person *identity.Person
	Ends   act.ID // the session that the browser had until now; 0 for none
	Again  act.ID // the operator who has to come back; 0 for whoever comes
}

// Session is an operator's session. Its key is in it and nowhere else.
type Session struct {
	Key       string
	Operator  act.ID
	Name      string // the operator's
	ExpiresAt int64  // Unix microseconds
	Roles     gate.OperatorRoles
}

// Nothing is the input of acts that need none.
type Nothing struct{}

func (l *Lifecycle) registerSession(g *gate.Gate) {
	// Whoever signs in is a stranger until the token is checked: the act is counted
	// against the source, and its leaf names the operator as the target. Each sign-in
	// makes a new key, and ends the session that the browser had: nobody goes on with
	// a key that somebody else may have given them.
	l.OpenSession = gate.RegisterWrite(g, gate.Write[NewSession, Session]{
		Info: gate.Info{Name: "session.open", Doc: "Sign an operator in to the pages, with the operator's token or at the identity provider.", On: act.KindOperator, Quota: gate.QuotaSignIn},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in NewSession) (gate.Resource, error) {
			who, err := l.signing(v, in)
			return gate.Resource{Ref: act.Ref{ID: who.ID}, Facts: gate.Facts{Kind: act.KindOperator}}, err
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in NewSession) (out Session, fx gate.Effects, err error) {
			who, err := l.signing(&tx.View, in)
			if err == nil && in.Person != nil {
				who, err = l.ids.EnsurePerson(tx, *in.Person)
			}
			if err != nil {
				return out, fx, err
			}
			if in.Again != 0 && in.Again != who.ID {
				return out, fx, act.Errorf(act.Denied, "somebody else has signed in").WithRule("session.other").
					WithHint("sign out first, or sign in as who you were")
			}
			if in.Ends != 0 {
				if err := l.ids.CloseSession(tx, in.Ends); err != nil {
					return out, fx, err
				}
			}
			if err := l.ownerBack(tx, who); err != nil {
				return out, fx, err
			}
			out.Operator, out.Name, out.Roles = who.ID, who.Name, gate.OperatorRoles(who.Roles)
			out.Key, fx.Out.ID, out.ExpiresAt, err = l.ids.OpenSession(tx, who)
			return out, fx, err
		},
	})
	// The provider's word is what is checked, as when somebody signs in.
	l.LapseSession = gate.RegisterWrite(g, gate.Write[identity.Person, act.Ref]{
		Info: gate.Info{Name: "session.lapse", Doc: "Take the roles of somebody to whom the identity provider gives none any more, and end their sessions.", On: act.KindOperator, Quota: gate.QuotaSignIn},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, who identity.Person) (gate.Resource, error) {
			p, err := l.ids.Person(v, who)
			return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindOperator}}, err
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, who identity.Person) (act.Ref, gate.Effects, error) {
			p, err := l.ids.LosePerson(tx, who)
			ref := act.Ref{ID: p.ID}
			if err == nil {
				err = l.ownerGone(tx, p.ID)
			}
			return ref, gate.Effects{Out: ref}, err
		},
	})
	l.ListSessions = gate.RegisterRead(g, gate.Read[Nothing, []identity.OperatorSession]{
		Info: gate.Info{Name: "session.list", Doc: "List one's own sessions in browsers.", On: act.KindOperator, Quota: gate.QuotaNone},
		Run: func(_ context.Context, v *store.View, p act.Principal, _ Nothing) ([]identity.OperatorSession, error) {
			return l.ids.SessionsOf(v, p.ID)
		},
	})
	l.CloseSession = gate.RegisterWrite(g, gate.Write[Nothing, act.Ref]{
		Info: gate.Info{Name: "session.close", Doc: "Sign out: end the session that the call was made in.", On: act.KindOperator, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, _ Nothing) (gate.Resource, error) {
			if p.Binding != act.BindingSession {
				return gate.Resource{}, act.Errorf(act.Invalid, "this call was made in no session").WithRule("session.none").
					WithHint("sign out in the browser that is signed in")
			}
			return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindOperator, Own: true}}, nil
		},
		Run: func(_ context.Context, tx *store.Tx, p act.Principal, _ Nothing) (act.Ref, gate.Effects, error) {
			ref := act.Ref{ID: p.Credential}
			return ref, gate.Effects{Out: ref}, l.ids.CloseSession(tx, p.Credential)
		},
	})
}

// SignIn is OpenSession for who comes from an identity provider, which may say in which
// team they work: the owner as whom they answer works there before they are let in.
func (l *Lifecycle) SignIn(ctx context.Context, p act.Principal, in NewSession) (Session, error) {
	if in.Person != nil && in.Person.Team != nil {
		if err := l.followTeam(ctx, *in.Person); err != nil {
			return Session{}, err
		}
	}
	return l.OpenSession.Do(ctx, p, in)
}

// provider is the part of the server that speaks for the identity provider.
const provider = "provider"

// followTeam moves the owner as whom somebody answers to the team that the identity provider
// says, with all that comes of a move.
func (l *Lifecycle) followTeam(ctx context.Context, who identity.Person) error {
	var o identity.Owner
	var found bool
	err := l.db.View(ctx, func(v *store.View) error {
		p, err := l.ids.Person(v, who)
		if act.CodeOf(err) == act.Denied { // who is barred is told so when they sign in
			return nil
		}
		if err == nil && p.ID != 0 {
			o, found, err = l.ids.OwnerBy(v, p.ID)
		}
		return err
	})
	if err != nil || !found || o.Team == *who.Team {
		return err
	}
	_, err = l.MoveOwner.Do(ctx, act.SystemPrincipal(provider), OwnerMove{Owner: o.Name, Team: *who.Team, Reason: "the identity provider says so"})
	if act.CodeOf(err) == act.Conflict { // another sign-in of theirs was faster
		return nil
	}
	return err
}

// signing finds the operator who signs in.
func (l *Lifecycle) signing(v *store.View, in NewSession) (act.Principal, error) {
	if in.Person != nil {
		return l.ids.Person(v, *in.Person)
	}
	return l.ids.OperatorOf(v, in.Token)
}
