package network

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A role's prompt is text of one agent that other agents get again and again: a
// channel for injections (T21). So it comes into force only when a human has
// approved it (the default policy holds label.prompt), it is told as data with
// its author and approval, and every delivery is an edge on record.

// NewPrompt asks for a prompt of a role.
type NewPrompt struct {
	Label   act.ID
	Text    string
	Cadence int64 // minutes between two deliveries to one holder; DefaultCadence if 0
}

// Briefing is the delivery of a role's prompt to one holder of the role.
type Briefing struct {
	Label     act.ID
	Version   int64
	Role      string // the label's name
	Place     Place
	Prompt    string // what Author wrote: data, never the server's word
	Author    Author // id, name and standing
	Approval  act.ID // 0 when the policy in force held nothing
	InForce   int64  // Unix microseconds: since when
	Cadence   int64  // minutes
	Delivered int64  // Unix microseconds
}

const (
	// MaxPrompt bounds a prompt, in characters.
	MaxPrompt = 4_000
	// MaxCadence bounds the minutes between two deliveries: a week.
	MaxCadence = 7 * 24 * 60
	// DefaultCadence is a usual heartbeat.
	DefaultCadence = 30

	maxBriefings = 20  // of one delivery,
	maxDue       = 200 // from among so many that are due

	qPromptSet store.Q = `UPDATE label SET prompt = $2, prompt_author = $3, approval = $4, prompted_at = $5, cadence_minutes = $6,
version = version + 1, epoch = epoch + 1 WHERE id = $1 RETURNING version`
	qPromptFresh store.Q = `UPDATE attachment SET delivered_at = 0 WHERE label = $1`

	promptDue = `t.target = $1 AND l.kind = 3 AND l.prompt <> '' AND t.delivered_at + l.cadence_minutes * 60000000 <= $2`

	qBriefings store.Q = `SELECT t.id, t.delivered_at, l.id, l.version, l.name, l.prompt, l.prompt_author, a.name, l.approval, l.prompted_at, l.cadence_minutes,
c.id, c.name, c.display_name FROM attachment AS t JOIN label AS l ON l.id = t.label JOIN community AS c ON c.id = l.community
JOIN profile AS a ON a.id = l.prompt_author WHERE ` + promptDue + ` ORDER BY t.id LIMIT $3`
	qBriefed store.Q = `UPDATE attachment SET delivered_at = $2 WHERE id = $1 AND delivered_at = $3`
)

func (n *Network) registerBriefing(g *gate.Gate) {
	n.PromptRole = gate.RegisterWrite(g, gate.Write[NewPrompt, Label]{
		Info: gate.Info{Name: "label.prompt", Doc: "Give a role a prompt that its holders are told, when a human has approved it.", On: act.KindCommunity, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, in NewPrompt) (gate.Resource, error) {
			if err := CheckPrompt(in.Text, in.Cadence); err != nil {
				return gate.Resource{}, err
			}
			return n.promptTarget(v, p, in.Label)
		},
		Run: n.promptRole,
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Label, error) {
			return n.label(v, made.ID)
		},
		Told: n.toldLabel,
	})
	n.RevokePrompt = gate.RegisterWrite(g, gate.Write[act.ID, Label]{
		Info: gate.Info{Name: "label.revoke", Doc: "Withdraw a role's prompt: nobody is told it any more.", On: act.KindCommunity, Quota: gate.QuotaWrite},
		Resolve: func(_ context.Context, v *store.View, p act.Principal, label act.ID) (gate.Resource, error) {
			return n.promptTarget(v, p, label)
		},
		Run: func(_ context.Context, tx *store.Tx, _ act.Principal, label act.ID) (Label, gate.Effects, error) {
			return n.setPrompt(tx, label, "", 0, 0, 0)
		},
		Replay: func(_ context.Context, v *store.View, _ act.Principal, made act.Ref) (Label, error) {
			return n.label(v, made.ID)
		},
		Told: n.toldLabel,
	})
	n.TakeBriefings = gate.RegisterWrite(g, gate.Write[Nothing, []Briefing]{
		Info: gate.Info{Name: "briefing.take", Doc: "Take the prompts of one's roles that are due.", On: act.KindAgent, Also: []act.Kind{act.KindLabel}, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, p act.Principal, _ Nothing) (gate.Resource, error) {
			return own(p), nil
		},
		Run: n.takeBriefings,
		Told: func(_ act.Principal, list []Briefing) (told []gate.Told) {
			for i := range list {
				told = append(told, n.toldBriefing(&list[i]))
			}
			return told
		},
	})
}

// CheckPrompt applies the rules for a role's prompt.
func CheckPrompt(text string, cadence int64) error {
	if err := checkWritten("prompt", text, MaxPrompt, true); err != nil {
		return err
	}
	if cadence < 0 || cadence > MaxCadence {
		return act.Errorf(act.Invalid, "cadence_minutes is not a number from 1 to %d", MaxCadence).
			WithRule("label.cadence").WithHint("leave cadence_minutes out for half an hour")
	}
	return nil
}

func (n *Network) promptTarget(v *store.View, p act.Principal, label act.ID) (gate.Resource, error) {
	l, err := n.label(v, label)
	if err != nil {
		return gate.Resource{}, err
	}
	if l.Kind != LabelRole {
		return gate.Resource{}, act.Errorf(act.Invalid, "only roles have a prompt").WithRule("label.kind").WithHint("send kind as role, or leave prompt out")
	}
	return n.labelTarget(v, p, &l)
}

func (n *Network) promptRole(_ context.Context, tx *store.Tx, p act.Principal, in NewPrompt) (Label, gate.Effects, error) {
	cadence := in.Cadence
	if cadence == 0 {
		cadence = DefaultCadence
	}
	out, fx, err := n.setPrompt(tx, in.Label, in.Text, p.ID, p.Approval, cadence)
	_, fx.In = seal(in.Text)
	return out, fx, err
}

func (n *Network) setPrompt(tx *store.Tx, label act.ID, text string, author, approval act.ID, cadence int64) (Label, gate.Effects, error) {
	at := tx.Now()
	if text == "" {
		at = 0
	}
	if _, err := tx.One(qPromptSet, func(*store.Row) error { return nil }, label, text, author, approval, at, cadence); err != nil {
		return Label{}, gate.Effects{}, err
	}
	if _, err := tx.Exec(qPromptFresh, label); err != nil { // a new text is due at once
		return Label{}, gate.Effects{}, err
	}
	// Deliveries of the old text that are under way end before the answer.
	tx.Fence(act.KindLabel, label)
	out, err := n.label(&tx.View, label)
	return out, gate.Effects{Out: act.Ref{ID: label, Version: out.Version}}, err
}

func (n *Network) toldBriefing(b *Briefing) gate.Told {
	return gate.Told{
		Ref: act.Ref{ID: b.Label, Version: b.Version}, Facts: n.classFacts(act.KindLabel, b.Place.ID, b.Author.ID, act.OriginAgent),
	}
}

// mayBrief reports whether p may be told a prompt: it waits while its place, or what its
// author had been shown, is above what p is cleared for, and while its place is stopped.
func (n *Network) mayBrief(v *store.View, p act.Principal, b *Briefing) (bool, error) {
	t := n.toldBriefing(b)
	t.Facts.Own, t.Facts.Classification = true, n.Classified(b.Place.ID)
	if n.labelOf != nil {
		l, err := n.labelOf(v, b.Label)
		if err != nil {
			return false, err
		}
		t.Facts.Integrity, t.Facts.Classification = l.Integrity, max(t.Facts.Classification, l.Secrecy)
	}
	return n.gate.MayTell(p, "briefing.take", t), nil
}

// takeBriefings delivers what is due and p may be told. A prompt whose author may not act
// is not told while that lasts.
func (n *Network) takeBriefings(_ context.Context, tx *store.Tx, p act.Principal, _ Nothing) (list []Briefing, fx gate.Effects, err error) {
	fx.Out = act.Ref{ID: p.ID}
	due, err := n.briefings(&tx.View, p, tx.Now())
	for _, d := range due {
		if len(list) == maxBriefings {
			break
		}
		if may, err := n.mayBrief(&tx.View, p, &d.Briefing); err != nil || !may {
			if err != nil {
				return nil, fx, err
			}
			continue
		}
		told, err := tx.Exec(qBriefed, d.attachment, tx.Now(), d.last)
		if err != nil {
			return nil, fx, err
		}
		if told == 0 { // another request of the same agent took it
			continue
		}
		list = append(list, d.Briefing)
		fx.Edges = append(fx.Edges, gate.Edge{From: act.Ref{ID: d.Label, Version: d.Version}, Kind: gate.EdgePrompt})
	}
	return list, fx, err
}

// dueBriefing is a briefing that can be delivered.
type dueBriefing struct {
	Briefing
	attachment act.ID
	last       int64
}

func (n *Network) briefings(v *store.View, p act.Principal, now int64) (list []dueBriefing, err error) {
	err = v.All(qBriefings, func(r *store.Row) error {
		d := dueBriefing{attachment: r.ID(0), last: r.Int(1), Briefing: Briefing{
			Label: r.ID(2), Version: r.Int(3), Role: r.Text(4), Prompt: r.Text(5),
			Author:   Author{ID: r.ID(6), Name: r.Text(7), Standing: n.standing(r.ID(6))},
			Approval: r.ID(8), InForce: r.Int(9), Cadence: r.Int(10), Delivered: now,
			Place: Place{ID: r.ID(11), Name: r.Text(12), DisplayName: r.Text(13)},
		}}
		if d.Author.Standing == act.Active {
			list = append(list, d)
		}
		return nil
	}, p.ID, now, int64(maxDue))
	return list, err
}
