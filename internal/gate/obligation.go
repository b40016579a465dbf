package gate

import (
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// The obligations beside those that keep an act waiting (hold.go).
const (
	// Redact shows an item with Redacted in the place of what it says. Its argument is
	// RedactContent.
	Redact = "redact"
	// Attenuate makes what is granted end sooner. Its argument is "ttl=60s", see
	// ParseAttenuation.
	Attenuate = "attenuate"
	// Notify tells, by an event of its own in the act's transaction. Its argument says
	// whom: NotifyOperators.
	Notify = "notify"
)

// What obligations may say.
const (
	RedactContent   = "content"
	NotifyOperators = "operators"
)

// Redacted stands where an item said something that its reader may not see.
const Redacted = "[redacted by policy]"

// redactedShown is what follows the reading act's name in the record of a showing in
// which the item was Redacted.
const redactedShown = "/redacted"

// NotifyAct is the name of the event by which a policy tells operators of an act. Nobody
// asks for it: it is what a decision adds to another act.
const NotifyAct = "policy.notify"

// Ability says which obligations an act can honour.
type Ability struct {
	Write      bool
	Redacts    bool // it is a read that can show items without what they say
	Attenuates bool // it is a write whose grant can be made to end sooner
}

// Ability is what the act can honour.
func (i Info) Ability() Ability {
	return Ability{Write: i.Write, Redacts: i.Redacts, Attenuates: i.Attenuates}
}

// Honours returns "" when an act of the ability can do what the obligation demands, or
// why it cannot. An act that cannot is denied.
func (a Ability) Honours(o Obligation) string {
	switch o.Name {
	case Hold, Challenge:
		if !a.Write {
			return "reads cannot wait"
		}
	case Redact:
		switch {
		case !a.Redacts:
			return "it cannot show items without what they say"
		case o.Arg != RedactContent:
			return `its argument is "` + RedactContent + `"`
		}
	case Attenuate:
		if !a.Attenuates {
			return "it grants nothing that could end sooner"
		}
		if _, err := ParseAttenuation(o.Arg); err != "" {
			return err
		}
	case Notify:
		switch {
		case !a.Write:
			return "a read has no transaction in which somebody could be told"
		case o.Arg != NotifyOperators:
			return `its argument is "` + NotifyOperators + `"`
		}
	case riskNote:
	default:
		return "nobody knows it"
	}
	return ""
}

// unable refuses a decision that demands what the act cannot do.
func unable(i Info, d *Decision) error {
	for _, o := range d.Obligations {
		if why := i.Ability().Honours(o); why != "" {
			return act.Errorf(act.Denied, "the policy demands %s of %s, which cannot do it: %s", o.Name, i.Name, why).
				WithRule(d.Policy).WithHint("ask an operator to change the rule")
		}
	}
	return nil
}

// Attenuation is by how much a grant is made smaller.
type Attenuation struct {
	TTL time.Duration // it ends this long from now at the latest
}

// Bounds of a time to live. What is shorter is over before it is used.
const (
	minTTL = time.Second
	maxTTL = 24 * time.Hour
)

// ParseAttenuation reads the argument of Attenuate; why is "" if it is one.
func ParseAttenuation(arg string) (a Attenuation, why string) {
	text, ok := strings.CutPrefix(arg, "ttl=")
	d, err := time.ParseDuration(text)
	if !ok || err != nil || d < minTTL || d > maxTTL {
		return a, `its argument is "ttl=" and a time from 1s to 24h, as in ttl=60s`
	}
	return Attenuation{TTL: d}, ""
}

// attenuation is the smallest of those that a decision demands.
func (d *Decision) attenuation() (least Attenuation, demanded bool) {
	for _, o := range d.Obligations {
		if o.Name != Attenuate {
			continue
		}
		if a, _ := ParseAttenuation(o.Arg); !demanded || a.TTL < least.TTL {
			least, demanded = a, true
		}
	}
	return least, demanded
}

func (d *Decision) redacts() bool {
	return slices.ContainsFunc(d.Obligations, func(o Obligation) bool { return o.Name == Redact })
}

// notify tells whom the decision says, in the act's own transaction: by an event that
// operators' streams, webhooks and queues carry, and by its leaf.
func (g *Gate) notify(tx *store.Tx, e Entry) error {
	if g.bare || !slices.Contains(e.Decision.Obligations, Obligation{Name: Notify, Arg: NotifyOperators}) {
		return nil
	}
	e.Act, e.In, e.Reason, e.Approval = NotifyAct, [32]byte{}, e.Act, 0
	return g.Recorder.Record(tx, e)
}
