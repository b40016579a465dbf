package charter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Class is what a version of a class says.
type Class struct {
	Model  string   `json:"model,omitempty"`  // for the runtime and for whoever reads it
	Skills []string `json:"skills,omitempty"` // digests ("sha256:…") of what instances run

	Grant Grant `json:"grant,omitzero"`

	Heartbeat Duration `json:"heartbeat,omitempty"` // how often an instance acts at least; 0 asks for nothing
	Tolerance int      `json:"tolerance,omitempty"` // heartbeats that may be missed; DefaultTolerance if 0
	Grace     Duration `json:"grace,omitempty"`     // from the pause of who is late to its end; Lease if 0

	Approval Approval `json:"approval,omitzero"`

	Health Health `json:"health,omitzero"`
	Rates  []Rate `json:"rates,omitempty"`
	WarnAt []int  `json:"warn_at,omitempty"` // percent of a budget at which owner and operators are told; DefaultWarning if empty
}

// Grant is what an agent may do at most. Policy decides within it.
type Grant struct {
	Acts        Set `json:"acts,omitzero"`
	Communities Set `json:"communities,omitzero"` // by name; what is outside any community is not bounded
	Tools       Set `json:"tools,omitzero"`
	Skills      Set `json:"skills,omitzero"`
	Egress      Set `json:"egress,omitzero"` // "https://api.example.com/v1/*"

	Clearance Clearance `json:"clearance,omitempty"`
	Budget    Budget    `json:"budget,omitzero"`
	Life      Duration  `json:"life,omitempty"` // 0 is for ever
	Spawn     Spawn     `json:"spawn,omitzero"`
}

// Budget is what an agent may use up in its life, what its children get included. nil
// is no bound.
type Budget struct {
	Acts   *int64 `json:"acts,omitempty"`         // changes it makes, counted by the network
	Tokens *int64 `json:"tokens,omitempty"`       // as reported
	Money  *int64 `json:"money_micros,omitempty"` // millionths of the unit of account, as reported
	CPU    *int64 `json:"cpu_ms,omitempty"`       // as reported
}

// Spawn says which children an agent may have. The zero value is none.
type Spawn struct {
	Classes Set      `json:"classes,omitzero"` // by name
	Depth   int      `json:"depth,omitempty"`  // generations below it
	FanOut  int      `json:"fan_out,omitempty"`
	Rate    int      `json:"rate,omitempty"`   // births in Window; 0 is no bound
	Window  Duration `json:"window,omitempty"` // an hour if 0
}

// Approval says who decides about a new instance.
type Approval struct {
	Quorum int    `json:"quorum,omitempty"` // how many different people; 0 is nobody
	Asks   string `json:"asks,omitempty"`   // the role that is asked; "" any that may approve
	Risk   string `json:"risk,omitempty"`   // normal or high

	Raise []Raise `json:"raise,omitempty"` // what more is wanted for a request that risks much
}

// Raise says what a request takes from some risk on. What it leaves out stays as it is.
type Raise struct {
	AtLeast int    `json:"risk_at_least"` // of trust.MaxScore
	Quorum  int    `json:"quorum,omitempty"`
	Asks    string `json:"asks,omitempty"`
	Risk    string `json:"risk,omitempty"`
}

// At is what a request of a risk takes: nothing that is raised is ever lowered.
func (a Approval) At(risk int) Approval {
	for _, r := range a.Raise {
		if risk < r.AtLeast {
			continue
		}
		a.Quorum = max(a.Quorum, r.Quorum)
		if r.Asks != "" {
			a.Asks = r.Asks
		}
		if r.Risk == "high" {
			a.Risk = r.Risk
		}
	}
	return a
}

// check reports what is wrong with who decides.
func (a Approval) check() error {
	if len(a.Raise) > maxRaises {
		return fmt.Errorf("approval: raise has %d steps; %d are allowed", len(a.Raise), maxRaises)
	}
	steps := append([]Raise{{AtLeast: 1, Quorum: a.Quorum, Asks: a.Asks, Risk: a.Risk}}, a.Raise...)
	for i, r := range steps {
		switch {
		case r.Quorum < 0 || r.Quorum > MaxQuorum:
			return fmt.Errorf("approval: a quorum has 0 to %d people", MaxQuorum)
		case r.Risk != "" && r.Risk != "normal" && r.Risk != "high":
			return fmt.Errorf("approval: risk is normal or high, not %.40q", r.Risk)
		case r.Asks != "" && r.Asks != "approver" && r.Asks != "owner":
			return fmt.Errorf("approval: asks is approver or owner, not %.40q", r.Asks)
		case r.AtLeast < 1 || r.AtLeast > maxRisk:
			return fmt.Errorf("approval: risk_at_least is 1 to %d, not %d", maxRisk, r.AtLeast)
		case i > 1 && r.AtLeast <= steps[i-1].AtLeast:
			return fmt.Errorf("approval: the steps of raise go from a lower risk_at_least to a higher one")
		}
	}
	return nil
}

// Clearance is the most confidential class of things that an agent may touch: 0
// confidential (not bounded), else one more than what gate.Classification has. So the
// zero value bounds nothing and the smaller of two bounds is the narrower.
type Clearance uint8

// The clearances.
const (
	AnyClearance Clearance = iota
	Unclassified
	Internal
	Confidential
)

var clearances = []string{"", "unclassified", "internal", "confidential"}

// Duration is a time.Duration that documents write as "90s" or "24h".
type Duration time.Duration

// MarshalText writes it as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText writes the clearance's name.
func (c Clearance) MarshalText() ([]byte, error) {
	if int(c) >= len(clearances) {
		return nil, fmt.Errorf("no clearance %d", c)
	}
	return []byte(clearances[c]), nil
}

// UnmarshalText reads a clearance's name.
func (c *Clearance) UnmarshalText(text []byte) error {
	i := slices.Index(clearances, string(text))
	if i < 0 {
		return fmt.Errorf("%q is no clearance: unclassified, internal or confidential", text)
	}
	*c = Clearance(i)
	return nil
}

// The bounds of a document.
const (
	DefaultTolerance = 3
	DefaultWindow    = Duration(time.Minute)
	MaxDocument      = 64 << 10 // bytes
	MaxDepth         = 5
	MaxFanOut        = 1000
	MaxQuorum        = 5
	maxRaises        = 5
	maxRisk          = 100
	maxText          = 200
	maxTime          = 10 * 365 * 24 * time.Hour
	minHeartbeat     = 5 * time.Second
	maxTolerance     = 100
)

// Lease is how long an instance may be silent; 0 is for ever.
func (c Class) Lease() time.Duration {
	tolerance := c.Tolerance
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	return time.Duration(c.Heartbeat) * time.Duration(tolerance)
}

// GraceTime is how long after that it may still be brought back.
func (c Class) GraceTime() time.Duration {
	if c.Grace == 0 {
		return c.Lease()
	}
	return time.Duration(c.Grace)
}

// Parse reads a document and checks it. What it does not know it refuses.
func Parse(text []byte) (c Class, err error) {
	if len(text) > MaxDocument {
		return c, fmt.Errorf("the document has %d bytes; %d are allowed", len(text), MaxDocument)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, fmt.Errorf("the document cannot be read: %w", err)
	}
	if d.More() {
		return c, errors.New("something follows the document")
	}
	return c, c.Check()
}

// Text writes a document; equal documents are equal bytes.
func (c Class) Text() ([]byte, error) { return json.Marshal(c) }

// ParseGrant reads a grant as GrantText has written it.
func ParseGrant(text []byte) (g Grant, err error) {
	if err := json.Unmarshal(text, &g); err != nil {
		return g, fmt.Errorf("the grant cannot be read: %w", err)
	}
	return g, g.Check()
}

// Text writes a grant; equal grants are equal bytes.
func (g Grant) Text() ([]byte, error) { return json.Marshal(g) }

// Check reports what is wrong with a document.
func (c Class) Check() error {
	if len(c.Model) > maxText {
		return fmt.Errorf("model has at most %d bytes", maxText)
	}
	for _, digest := range c.Skills {
		if hex, ok := strings.CutPrefix(digest, "sha256:"); !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
			return fmt.Errorf("skills: %.80q is no digest like sha256:…", digest)
		}
	}
	heartbeat, grace := time.Duration(c.Heartbeat), time.Duration(c.Grace)
	switch {
	case heartbeat != 0 && (heartbeat < minHeartbeat || heartbeat > maxTime):
		return fmt.Errorf("heartbeat is %s; at least %s is wanted", heartbeat, minHeartbeat)
	case c.Tolerance < 0 || c.Tolerance > maxTolerance:
		return fmt.Errorf("tolerance is %d; 1 to %d are allowed", c.Tolerance, maxTolerance)
	case grace < 0 || grace > maxTime:
		return fmt.Errorf("grace is %s", grace)
	}
	if err := c.Approval.check(); err != nil {
		return err
	}
	if err := c.checkConduct(); err != nil {
		return err
	}
	return c.Grant.Check()
}

// Check reports what is wrong with a grant.
func (g Grant) Check() error {
	for _, s := range []struct {
		what string
		set  Set
	}{
		{"acts", g.Acts}, {"communities", g.Communities}, {"tools", g.Tools}, {"skills", g.Skills}, {"egress", g.Egress}, {"spawn.classes", g.Spawn.Classes},
	} {
		if err := s.set.check(s.what); err != nil {
			return err
		}
	}
	for _, b := range g.Budget.parts() {
		if *b.limit != nil && **b.limit < 0 {
			return fmt.Errorf("budget: %s is negative", b.name)
		}
	}
	life, window := time.Duration(g.Life), time.Duration(g.Spawn.Window)
	switch {
	case life < 0 || life > maxTime:
		return fmt.Errorf("life is %s", life)
	case g.Spawn.Depth < 0 || g.Spawn.Depth > MaxDepth:
		return fmt.Errorf("spawn: depth is 0 to %d", MaxDepth)
	case g.Spawn.FanOut < 0 || g.Spawn.FanOut > MaxFanOut:
		return fmt.Errorf("spawn: fan_out is 0 to %d", MaxFanOut)
	case g.Spawn.Rate < 0 || window < 0 || window > 30*24*time.Hour:
		return errors.New("spawn: rate or window is out of bounds")
	}
	return nil
}

// part is one of a budget's kinds.
type part struct {
	name  string
	limit **int64
}

func (b *Budget) parts() []part {
	return []part{{"acts", &b.Acts}, {"tokens", &b.Tokens}, {"money_micros", &b.Money}, {"cpu_ms", &b.CPU}}
}

// BudgetKinds are the names of a budget's parts. Their places are stored.
func BudgetKinds() []string { return []string{"acts", "tokens", "money_micros", "cpu_ms"} }

// Limits returns the parts in the order of BudgetKinds, nil for what is not bounded.
func (b Budget) Limits() []*int64 { return []*int64{b.Acts, b.Tokens, b.Money, b.CPU} }
