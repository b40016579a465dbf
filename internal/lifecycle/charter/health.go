package charter

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Health says by what an instance is known to have gone wrong, beside its heartbeats. A
// rule that is left out is not looked at.
type Health struct {
	Errors    *Rule `json:"errors,omitempty"`    // percent of what it does that is refused or fails
	Denials   *Rule `json:"denials,omitempty"`   // refusals by one and the same rule
	Burn      *Rule `json:"burn,omitempty"`      // percent of a part of its budget
	Turns     *Rule `json:"turns,omitempty"`     // answers to and fro with one agent in one thread
	Deviation *Rule `json:"deviation,omitempty"` // percent of its changes that others of its version hardly make
}

// Rule is one of them: what is counted reaches Limit within Window.
type Rule struct {
	Limit  int64    `json:"limit"`
	Window Duration `json:"window"`
	Least  int64    `json:"least,omitempty"` // of a share: the acts that it takes to speak of one; DefaultLeast if 0
	Does   Response `json:"does"`
}

// Response is what a rule does about it.
type Response string

// The responses, mildest first.
const (
	Alert      Response = "alert"      // owner and operators are told
	Pause      Response = "pause"      // it may do nothing until somebody lets it
	Quarantine Response = "quarantine" // the same, and what it wrote is marked
	Terminate  Response = "terminate"  // it is paused, and ended when its grace is over
)

// Rate is at most Limit acts in Window, spread out: Burst of them at once.
type Rate struct {
	Acts   Set      `json:"acts"`
	Limit  int64    `json:"limit"`
	Window Duration `json:"window"`
	Burst  int64    `json:"burst,omitempty"` // Limit if 0
}

// The bounds of rules and rates.
const (
	DefaultLeast   = 20
	DefaultWarning = 80
	MaxWindow      = 24 * time.Hour
	minWindow      = 10 * time.Second
	maxLimit       = 1_000_000
	maxRates       = 20
	maxWarnings    = 4
)

// named is a rule with its name in documents.
type named struct {
	name  string
	rule  *Rule
	share bool // its limit is a percentage
	least bool // it speaks of a share of acts
}

func (h Health) rules() []named {
	return []named{
		{"errors", h.Errors, true, true}, {"denials", h.Denials, false, false}, {"burn", h.Burn, true, false},
		{"turns", h.Turns, false, false}, {"deviation", h.Deviation, true, true},
	}
}

// Longest is the longest window of the rules, 0 without any.
func (h Health) Longest() (longest time.Duration) {
	for _, n := range h.rules() {
		if n.rule != nil {
			longest = max(longest, time.Duration(n.rule.Window))
		}
	}
	return longest
}

// Enough is how many acts it takes to speak of a share.
func (r Rule) Enough() int64 {
	if r.Least == 0 {
		return DefaultLeast
	}
	return r.Least
}

// Warnings are the percentages of a budget at which somebody is told, lowest first.
func (c Class) Warnings() []int {
	if len(c.WarnAt) == 0 {
		return []int{DefaultWarning}
	}
	return slices.Sorted(slices.Values(c.WarnAt))
}

// AtOnce is how many acts of a rate fit in a moment.
func (r Rate) AtOnce() int64 {
	if r.Burst == 0 {
		return r.Limit
	}
	return r.Burst
}

// checkConduct reports what is wrong with health, rates and warnings.
func (c Class) checkConduct() error {
	for _, n := range c.Health.rules() {
		if n.rule == nil {
			continue
		}
		if err := n.check(); err != nil {
			return fmt.Errorf("health: %s: %w", n.name, err)
		}
	}
	if len(c.Rates) > maxRates {
		return fmt.Errorf("rates: there are %d; %d are allowed", len(c.Rates), maxRates)
	}
	for i, r := range c.Rates {
		if err := r.check(); err != nil {
			return fmt.Errorf("rates: number %d: %w", i+1, err)
		}
	}
	if len(c.WarnAt) > maxWarnings {
		return fmt.Errorf("warn_at: there are %d; %d are allowed", len(c.WarnAt), maxWarnings)
	}
	for _, percent := range c.WarnAt {
		if percent < 1 || percent > 99 {
			return fmt.Errorf("warn_at: %d is no percentage from 1 to 99", percent)
		}
	}
	return nil
}

func (n named) check() error {
	r, most := n.rule, int64(maxLimit)
	if n.share {
		most = 100
	}
	switch {
	case r.Limit < 1 || r.Limit > most:
		return fmt.Errorf("limit is %d; 1 to %d are allowed", r.Limit, most)
	case n.name == "turns" && r.Limit < 2:
		return fmt.Errorf("limit is %d; an answer is no loop, say 2 or more", r.Limit)
	case time.Duration(r.Window) < minWindow || time.Duration(r.Window) > MaxWindow:
		return fmt.Errorf("window is %s; %s to %s are allowed", time.Duration(r.Window), minWindow, MaxWindow)
	case r.Least != 0 && !n.least:
		return errors.New("least is for shares of acts")
	case r.Least < 0 || r.Least > maxLimit:
		return fmt.Errorf("least is %d", r.Least)
	}
	switch r.Does {
	case Alert, Pause, Quarantine, Terminate:
		return nil
	}
	return fmt.Errorf("does is alert, pause, quarantine or terminate, not %.40q", string(r.Does))
}

func (r Rate) check() error {
	switch {
	case r.Acts.IsZero():
		return errors.New(`acts is missing; ["*"] is all`)
	case r.Limit < 1 || r.Limit > maxLimit:
		return fmt.Errorf("limit is %d; 1 to %d are allowed", r.Limit, maxLimit)
	case time.Duration(r.Window) < time.Second || time.Duration(r.Window) > MaxWindow:
		return fmt.Errorf("window is %s; 1s to %s are allowed", time.Duration(r.Window), MaxWindow)
	case r.Burst < 0 || r.Burst > r.Limit:
		return fmt.Errorf("burst is %d; at most the limit fits at once", r.Burst)
	}
	return r.Acts.check("acts")
}
