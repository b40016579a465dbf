package lifecycle

import (
	"context"
	"slices"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/identity/token"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Commanded is what came of a command: an agent or a scope as it is now.
type Commanded struct {
	ID    string // of the command
	Act   string
	Agent Agent     // zero for an order about a scope
	Scope Contained // zero for an order about one agent
}

// strangersCommand is the name under which commands are refused that nobody's key has
// signed: it is not known which act they would be.
const strangersCommand = "command.execute"

// Command executes a signed command, whoever has brought it from source (a keyed hash).
// It is done once, through the gate, as the operator who signed it and with what they
// may do now; what is refused is put on record and uses nothing up. text is a compact
// JWS. It fails by a rule command.* or by that which the act itself fails by.
func (l *Lifecycle) Command(ctx context.Context, source, text string) (out Commanded, err error) {
	stranger := act.Principal{Source: source}
	if err := l.gate.Knock(ctx, stranger, strangersCommand, gate.QuotaTry); err != nil {
		return out, err
	}
	c, err := l.ids.ReadCommand(ctx, text)
	if err != nil {
		if act.CodeOf(err) != act.Unavailable {
			l.gate.Refuse(ctx, stranger, strangersCommand, err)
		}
		return out, err
	}
	p := c.Operator
	p.Source = source
	out.ID, out.Act = c.ID, c.Act
	if err := l.ordered(c); err != nil {
		l.gate.Refuse(ctx, p, commandName(c.Act), err)
		return out, err
	}
	spend := func(tx *store.Tx) error { return l.ids.SpendCommand(tx, c) }
	if do := l.scopeOrders()[c.Act]; do != nil {
		order := ScopeOrder{On: ScopeName{Kind: c.Target.Kind, Agent: c.Agent, Name: c.Target.ID}, Reason: c.Reason}
		if c.Agent != 0 || c.Target.Kind == ScopeAll.String() {
			order.On.Name = ""
		}
		out.Scope, err = do.DoSpending(ctx, p, order, spend)
		return out, err
	}
	out.Agent, err = l.orders()[c.Act].DoSpending(ctx, p, Order{Agent: c.Agent, Reason: c.Reason}, spend)
	return out, err
}

// commandName keeps what a command calls its act from becoming a name in the record.
func commandName(name string) string {
	if slices.Contains(identity.CommandActs(), name) {
		return name
	}
	return strangersCommand
}

func (l *Lifecycle) orders() map[string]*gate.WriteAct[Order, Agent] {
	return map[string]*gate.WriteAct[Order, Agent]{
		"agent.kill": l.Kill, "agent.pause": l.Pause, "agent.quarantine": l.Quarantine, "agent.release": l.Release, "agent.resume": l.Resume,
	}
}

func (l *Lifecycle) scopeOrders() map[string]*gate.WriteAct[ScopeOrder, Contained] {
	return map[string]*gate.WriteAct[ScopeOrder, Contained]{
		"scope.kill": l.KillScope, "scope.pause": l.PauseScope, "scope.quarantine": l.QuarantineScope, "scope.release": l.ReleaseScope,
		"scope.resume": l.ResumeScope,
	}
}

// ordered checks that a command orders something that its key may order, of something that
// it can be ordered of.
func (l *Lifecycle) ordered(c identity.Command) error {
	_, ofScope := l.scopeOrders()[c.Act]
	if _, known := l.orders()[c.Act]; !known && !ofScope || !c.Scope.Has(c.Act) {
		return act.Errorf(act.Denied, "the key of this command may not order that").WithRule("command.scope").
			WithHint("it is registered for " + string(c.Scope) + "; register another key for more (reef command key)")
	}
	of, one := c.Target.Kind, c.Target.Kind == token.TargetAgent
	switch {
	case ofScope == one:
		return act.Errorf(act.Denied, "%s is not ordered of that kind of thing", c.Act).WithRule("command.target").
			WithHint(`agent.… is aimed at {"agent":"…"}, scope.… at one of {"lineage":"…"}, {"class":"…"}, {"skill":"…"}, {"owner":"…"}, {"community":"…"} and {"all":"all"}`)
	case (one || of == token.TargetLine) && c.Agent == 0:
		return act.Errorf(act.Denied, "the command is aimed at no agent of this network").WithRule("command.target").
			WithHint("name the agent by its id, as reef agent show prints it")
	case of == ScopeAll.String() && c.Target.ID != of, ofScope && !named(of):
		return act.Errorf(act.Denied, "the command is aimed at nothing that can be stopped").WithRule("command.target").
			WithHint("name one of " + scopeKinds + `; the whole network is {"all":"all"}`)
	}
	return nil
}
