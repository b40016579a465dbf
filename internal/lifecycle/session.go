package lifecycle

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// NewSession asks for a session of the operator whose token it brings.
type NewSession struct{ Token string }

// Session is an operator's session. Its key is in it and nowhere else.
type Session struct {
	Key       string
	Operator  act.ID
	Name      string // the operator's
	ExpiresAt int64  // Unix microseconds
}

// Nothing is the input of acts that need none.
type Nothing struct{}

func (l *Lifecycle) registerSession(g *gate.Gate) {
	// Whoever signs in is a stranger until the token is checked: the act is counted
	// against the source, and its leaf names the operator as the target.
	l.OpenSession = gate.RegisterWrite(g, gate.Write[NewSession, Session]{
		Info: gate.Info{Name: "session.open", Doc: "Sign an operator in to the pages with the operator's token, for eight hours.", On: act.KindOperator, Quota: gate.QuotaSignIn},
		Resolve: func(_ context.Context, v *store.View, _ act.Principal, in NewSession) (gate.Resource, error) {
			who, err := l.ids.OperatorOf(v, in.Token)
			return gate.Resource{Ref: act.Ref{ID: who.ID}, Facts: gate.Facts{Kind: act.KindOperator}}, err
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in NewSession) (out Session, fx gate.Effects, err error) {
			who, err := l.ids.OperatorOf(&tx.View, in.Token)
			if err != nil {
				return out, fx, err
			}
			out.Operator, out.Name = who.ID, who.Name
			out.Key, fx.Out.ID, out.ExpiresAt, err = l.ids.OpenSession(tx, who)
			return out, fx, err
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
