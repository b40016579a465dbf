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

// Commanded is what came of a command.
type Commanded struct {
	ID    string // of the command
	Act   string
	Agent Agent // as it is now
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
	order, do, err := l.ordered(c)
	if err != nil {
		l.gate.Refuse(ctx, p, commandName(c.Act), err)
		return out, err
	}
	out.ID, out.Act = c.ID, c.Act
	out.Agent, err = do.DoSpending(ctx, p, order, func(tx *store.Tx) error { return l.ids.SpendCommand(tx, c) })
	return out, err
}

// commandName keeps what a command calls its act from becoming a name in the record.
func commandName(name string) string {
	if slices.Contains(identity.CommandActs(), name) {
		return name
	}
	return strangersCommand
}

// ordered finds the act that a command orders and its input. The kinds of targets beside
// one agent have their place here.
func (l *Lifecycle) ordered(c identity.Command) (in Order, do *gate.WriteAct[Order, Agent], err error) {
	do = map[string]*gate.WriteAct[Order, Agent]{
		"agent.kill": l.Kill, "agent.pause": l.Pause, "agent.quarantine": l.Quarantine, "agent.release": l.Release, "agent.resume": l.Resume,
	}[c.Act]
	if do == nil || !c.Scope.Has(c.Act) {
		return in, nil, act.Errorf(act.Denied, "the key of this command may not order that").WithRule("command.scope").
			WithHint("it is registered for " + string(c.Scope) + "; register another key for more (reef command key)")
	}
	switch {
	case c.Target.Kind != token.TargetAgent:
		return in, nil, act.Errorf(act.Denied, "commands are aimed at one agent").WithRule("command.target").
			WithHint(`name it by its id: "target":{"agent":"…"}; lineages, classes, owners and whole networks cannot be named yet`)
	case c.Agent == 0:
		return in, nil, act.Errorf(act.Denied, "the command is aimed at no agent of this network").WithRule("command.target").
			WithHint("name the agent by its id, as reef agent show prints it")
	}
	return Order{Agent: c.Agent, Reason: c.Reason}, do, nil
}
