package lifecycle

import (
	"context"
	"net/mail"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Mail is a message to an agent's human. The address is used once and not kept.
type Mail struct {
	To      string // a bare address
	Subject string
	Text    string
}

// OwnerMail asks for a message to the caller's owner.
type OwnerMail struct{ Email string }

// ClaimMail asks for a message with the claim link of an agent that waits.
type ClaimMail struct{ Email, ClaimToken, Name string }

const (
	maxEmail = 254 // bytes (RFC 5321 §4.5.3.1.3)

	qClaimCode store.Q = `SELECT c.agent, c.code, a.name, a.state FROM claim AS c JOIN agent AS a ON a.id = c.agent WHERE c.hash = $1`
)

func (l *Lifecycle) registerMail(g *gate.Gate) {
	l.ownerMail = gate.RegisterWrite(g, gate.Write[OwnerMail, Mail]{
		Info: gate.Info{Name: "owner.mail", Doc: "Send the caller's owner a message that names the agent.", On: act.KindAgent, Quota: gate.QuotaRegister},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, in OwnerMail) (gate.Resource, error) {
			return gate.Resource{Ref: act.Ref{ID: p.ID}, Facts: gate.Facts{Kind: act.KindAgent, Own: true}}, l.mayMail(in.Email)
		},
		Run: func(_ context.Context, _ *store.Tx, p act.Principal, in OwnerMail) (Mail, gate.Effects, error) {
			if !l.Facts(p.ID).Claimed {
				return Mail{}, gate.Effects{}, act.Errorf(act.Invalid, "nobody has claimed you yet").WithRule("owner.unclaimed").
					WithHint("send your human the claim link first")
			}
			return Mail{To: in.Email, Subject: "Your agent " + p.Name, Text: "The agent " + p.Name + " on " + l.cfg.URL() +
					" names you as its owner's contact.\n\nIf you know it, there is nothing to do. If you do not, tell the operator of the network.\n"},
				gate.Effects{Out: act.Ref{ID: p.ID}}, nil
		},
	})
	l.claimMail = gate.RegisterWrite(g, gate.Write[ClaimMail, Mail]{
		Info: gate.Info{Name: "claim.mail", Doc: "Send the human of an agent that waits its claim link.", On: act.KindAgent, Quota: gate.QuotaRegister},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in ClaimMail) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindAgent}}, l.mayMail(in.Email)
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, in ClaimMail) (out Mail, fx gate.Effects, err error) {
			var agent act.ID
			var code, name string
			hash, ok := l.ids.HashSecret(identity.ClaimToken, in.ClaimToken)
			if ok {
				ok, err = tx.One(qClaimCode, func(r *store.Row) error {
					agent, code, name = r.ID(0), r.Text(1), r.Text(2)
					if act.Standing(r.Int(3)) != act.Requested {
						agent = 0
					}
					return nil
				}, hash)
			}
			switch {
			case err != nil:
				return out, fx, err
			case !ok || agent == 0 || in.Name != "" && in.Name != name:
				return out, fx, act.Errorf(act.NotFound, "no agent waits with this claim token").WithRule("claim.token").
					WithHint("check that token and name are whole and that nobody has claimed the agent")
			}
			return Mail{To: in.Email, Subject: "Claim your agent " + name, Text: "The agent " + name + " on " + l.cfg.URL() +
				" says that you answer for it.\n\nIf you do, and the agent has told you this code (" + code + "), open this and sign in:\n\n  " +
				l.cfg.URL() + "/claim/" + in.ClaimToken + "\n\nIf you may not sign in there, give it to an operator of the network. If you do not know the agent, throw this away.\n"}, gate.Effects{Out: act.Ref{ID: agent}}, nil
		},
	})
}

// mayMail checks an address, and that there is somebody who sends mail.
func (l *Lifecycle) mayMail(email string) error {
	if l.cfg.Mail == nil {
		return act.Errorf(act.Unavailable, "this network sends no mail").WithRule("mail.sink").
			WithHint("an operator can set mail-dir; until then send your human the claim link yourself")
	}
	a, err := mail.ParseAddress(email)
	if err != nil || len(email) > maxEmail || a.Address != email || strings.ContainsAny(email, "\r\n") {
		return act.Errorf(act.Invalid, "that is no e-mail address").WithRule("mail.address").WithHint("send a bare address, name@example.org say")
	}
	return nil
}

// MailOwner sends the caller's owner a message that names the agent.
func (l *Lifecycle) MailOwner(ctx context.Context, p act.Principal, in OwnerMail) error {
	m, err := l.ownerMail.Do(ctx, p, in)
	return l.mail(ctx, m, err)
}

// MailClaim sends the human of an agent that waits its claim token.
func (l *Lifecycle) MailClaim(ctx context.Context, p act.Principal, in ClaimMail) error {
	m, err := l.claimMail.Do(ctx, p, in)
	return l.mail(ctx, m, err)
}

// mail sends what an act has made. It is sent after the act is on record: a mail
// that fails can be asked for again, one without a record cannot be explained.
func (l *Lifecycle) mail(ctx context.Context, m Mail, err error) error {
	if err != nil {
		return err
	}
	if err := l.cfg.Mail(ctx, m); err != nil {
		return act.Errorf(act.Unavailable, "the mail could not be sent: %w", err).WithRule("mail.sink").WithHint("try again later")
	}
	return nil
}
