package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/lifecycle/trust"
	"github.com/reefwarden/reefwarden/internal/network"
)

const (
	minePage = 50 // agents on a page
	mostHeld = 20 // acts that wait, shown with what would be done
)

// mineView is what a person sees of the agents that they answer for.
type mineView struct {
	Owner  string // as whom they answer; "" as long as they have no agent
	Agents []mineAgent
	Held   []mineHeld
	Asked  []mineAsked
	Fresh  *freshToken // of a recovery that was just made
	Once   string      // names the forms of this page, each of which does one thing once
}

type mineAgent struct {
	ID, Name, Standing string
	Reason             string // an operator's, for the last order
	Claimed            time.Time
	Keys               []mineKey
	Final              bool
}

// mineKey is a key with which an agent comes in.
type mineKey struct {
	Kind    string
	Made    time.Time
	Used    time.Time // zero for never
	Expires time.Time // zero for never
}

// mineHeld is an act of an agent that waits.
type mineHeld struct {
	ID, Act, Agent string
	Since, Expires time.Time
	Mine           bool // it is the owner who is asked
	Fields         []mineField
}

type mineField struct{ Name, Value string }

// mineAsked is a request for a conversation with one of the agents.
type mineAsked struct {
	ID, From, To string
	Since        time.Time
}

// freshToken is what a recovery gives, once.
type freshToken struct {
	Agent, Token string
	Until        time.Time
}

// GET /mine
func (d *door) mine(ctx context.Context, c *api.Call) (*page, error) {
	p := &page{Page: "mine", Title: "Your agents", alone: true}
	after, err := d.codec.OpenCursor(lifecycle.ListCursor, asked(c).Get("after"))
	if err != nil {
		return nil, err
	}
	list, err := d.Lifecycle.List.Do(ctx, c.Principal, lifecycle.Query{Mine: true, Limit: minePage, Cursor: after})
	if err != nil {
		return nil, err
	}
	d.follow(p, c, list.Next)
	p.Mine = &mineView{Once: rand.Text()}
	for _, a := range list.Items {
		v := mineAgent{
			ID: d.codec.String(a.ID), Name: a.Name, Standing: a.Standing.String(), Reason: a.Reason, Claimed: moment(a.ClaimedAt), Final: a.Standing.Final(),
		}
		if v.Keys, err = d.keysOf(ctx, c.Principal, a.ID); err != nil {
			return nil, err
		}
		p.Mine.Owner = a.OwnerName
		p.Mine.Agents = append(p.Mine.Agents, v)
	}
	if len(list.Items) == 0 {
		return p, nil // nothing waits for who has no agent
	}
	return p, d.waiting(ctx, c.Principal, p.Mine)
}

// keysOf lists the keys with which an agent comes in, oldest first.
func (d *door) keysOf(ctx context.Context, p act.Principal, agent act.ID) (keys []mineKey, err error) {
	list, err := d.Issuer.Inventory.Do(ctx, p, identity.InventoryQuery{Agent: agent})
	for _, k := range list.Items {
		switch k.Kind {
		case "agent-key":
			keys = append(keys, mineKey{"bootstrap key", moment(k.CreatedAt), moment(k.UsedAt), moment(k.ExpiresAt)})
		case "public-key":
			keys = append(keys, mineKey{"key of its own", moment(k.CreatedAt), moment(k.UsedAt), moment(k.ExpiresAt)})
		}
	}
	return keys, err
}

// waiting gathers what waits for the owner.
func (d *door) waiting(ctx context.Context, p act.Principal, v *mineView) error {
	held, err := d.Lifecycle.ListApprovals.Do(ctx, p, lifecycle.ApprovalQuery{Mine: true, State: lifecycle.ApprovalPending})
	if err != nil {
		return err
	}
	for _, h := range held.Items {
		if h.Demand.Name != gate.Hold {
			continue // a question to the agent itself
		}
		one := mineHeld{
			ID: d.codec.String(h.ID), Act: h.Act, Agent: h.AgentName, Since: moment(h.CreatedAt), Expires: moment(h.ExpiresAt),
			Mine: h.Demand.Arg == "owner" && len(v.Held) < mostHeld,
		}
		if one.Mine { // nobody decides about what they have not seen
			whole, err := d.Lifecycle.ShowApproval.Do(ctx, p, h.ID)
			if err != nil {
				return err
			}
			if s := whole.Score; s != nil {
				one.Fields = append(one.Fields, mineField{"risk", fmt.Sprintf("%d of %d", s.Points, trust.MaxScore)})
				for _, part := range s.Parts {
					one.Fields = append(one.Fields, mineField{"risk of " + part.Name, fmt.Sprintf("%d: %s", part.Points, part.Why)})
				}
			}
			for _, f := range whole.Input {
				one.Fields = append(one.Fields, mineField{f.Name, d.value(f.Value)})
			}
		}
		v.Held = append(v.Held, one)
	}
	list, err := d.Network.ConversationMetas.Do(ctx, p, network.ConversationFilter{Mine: true, State: network.ConversationPending})
	if err != nil {
		return err
	}
	for _, m := range list.Items {
		if m.To.Owner == v.Owner {
			v.Asked = append(v.Asked, mineAsked{ID: d.codec.String(m.ID), From: m.From.Name, To: m.To.Name, Since: moment(m.LastAt)})
		}
	}
	return nil
}

func (d *door) value(v any) string {
	if id, ok := v.(act.ID); ok {
		return d.codec.String(id)
	}
	return fmt.Sprint(v)
}

// POST /mine does what one of the page's forms asks for. What it is about is shown again
// after that, but for a new token, which stands in the answer alone.
func (d *door) decideMine(ctx context.Context, c *api.Call) error {
	values, err := form(c)
	if err != nil {
		return err
	}
	p, what, reason := c.Principal, values.Get("do"), values.Get("reason")
	kind := map[string]act.Kind{
		"approve": act.KindApproval, "deny": act.KindApproval, "accept": act.KindConversation, "refuse": act.KindConversation,
		"recover": act.KindAgent, "pause": act.KindAgent,
	}[what]
	id, err := d.codec.ParseKind(values.Get("id"), kind)
	if err != nil || kind == 0 {
		return act.Errorf(act.NotFound, "there is no such thing to decide").WithRule("http.form").WithHint("load the page again")
	}
	key := gate.Key{Name: values.Get("once"), Hash: sha256.Sum256([]byte(what + values.Get("id")))}
	if key.Name != "" {
		key.Name = "mine/" + what + "/" + values.Get("id") + "/" + key.Name
	}
	switch what {
	case "approve":
		_, err = d.Lifecycle.Approve(ctx, p, key, lifecycle.Verdict{Approval: id, Reason: reason})
	case "deny":
		_, err = d.Lifecycle.Deny.DoOnce(ctx, p, key, lifecycle.Verdict{Approval: id, Reason: reason})
	case "accept":
		_, err = d.Network.ApproveConversation.DoOnce(ctx, p, key, network.ConversationOrder{Conversation: id, Reason: reason})
	case "refuse":
		_, err = d.Network.RejectConversation.DoOnce(ctx, p, key, network.ConversationOrder{Conversation: id, Reason: reason})
	case "pause":
		_, err = d.Lifecycle.Pause.DoOnce(ctx, p, key, lifecycle.Order{Agent: id, Reason: reason})
	case "recover":
		return d.recoverMine(ctx, c, key, identity.Recovery{Agent: id, Reason: reason})
	}
	if err != nil {
		return err
	}
	seeOther(c, "./mine")
	return nil
}

// recoverMine ends an agent's lost keys and shows the token under which it enrols a new
// one. Who has not proved for a while who they are does so first.
func (d *door) recoverMine(ctx context.Context, c *api.Call, key gate.Key, in identity.Recovery) error {
	out, err := d.Issuer.Recover.DoOnce(ctx, c.Principal, key, in)
	switch {
	case err != nil && act.AsError(err).Rule == api.RuleStepUp && c.Principal.Binding == act.BindingSession:
		seeOther(c, "./step-up?next=/mine")
		return nil
	case err != nil:
		return err
	}
	p, err := d.mine(ctx, c)
	if err != nil {
		return err
	}
	p.Mine.Fresh = &freshToken{Agent: d.Lifecycle.Name(out.Agent), Token: out.Token, Until: moment(out.ExpiresAt)}
	p.form = formHTML
	return d.send(ctx, c, http.StatusOK, p)
}
