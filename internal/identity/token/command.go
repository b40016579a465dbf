package token

import (
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

var commands = family{name: "command", most: maxCommand}

const (
	// DefaultCommandLife is how long a command is good for unless its signer says
	// otherwise: as long as a proof of who one is (policy.DefaultFresh).
	DefaultCommandLife = 5 * time.Minute
	// MaxCommandLife bounds what a signer may say, so that what has to be remembered
	// is bounded, and a sheet that was mislaid is waste paper the day after.
	MaxCommandLife = 24 * time.Hour

	// TargetAgent is the kind of target that is one agent, by its outside id; TargetLine
	// that agent with everybody who descends from it. Other kinds go by a name.
	TargetAgent = "agent"
	TargetLine  = "lineage"

	typCommand    = "reef-command+jwt"
	maxCommand    = 8192 // bytes of the compact form
	maxReason     = 2048 // bytes of a reason; how many characters is its reader's to say
	commandHeader = 3    // members: alg, kid, typ
	commandClaims = 7    // members: aud, do, target, reason, jti, iat, exp
)

// Target is what a command is aimed at: a kind, and which one of it. Kinds that are
// not known are read and shown; whoever executes a command refuses them.
type Target struct {
	Kind string // "agent"
	ID   string // "" where it is no text
}

// Command is an operator's order as a document: signed away from the network, carried
// by anybody, executed once. Its times are whole seconds.
type Command struct {
	KeyID    string // thumbprint of the command key that signs it (RFC 7638)
	Audience string // the network's public URL
	Act      string // "agent.kill"
	Target   Target
	Reason   string
	ID       string // jti
	IssuedAt time.Time
	Expires  time.Time
	Until    time.Time // from then on it is too old for anybody: remember it so long
}

// CommandExpect is what a reader of commands knows.
type CommandExpect struct {
	Audience string // the network's public URL
	Now      time.Time

	// Key returns the command key of a thumbprint. Its error goes to the caller as it
	// is: an unknown one is command.key, storage that is down Unavailable.
	Key func(thumbprint string) (Public, error)
}

// ReadCommand verifies a command. What costs nothing is looked at before its key is
// asked for. Whether the key may order this, and whether it was executed before, is
// not known here.
func ReadCommand(text string, x CommandExpect) (Command, error) {
	e, c, err := openCommand(text)
	if err != nil {
		return Command{}, err
	}
	if err := c.check(x.Audience, x.Now); err != nil {
		return Command{}, err
	}
	key, err := x.Key(c.KeyID)
	switch {
	case err != nil:
		return Command{}, err
	case key.Thumbprint() != c.KeyID:
		return Command{}, refuse("command.key")
	case !key.Algorithm().is(e.alg):
		return Command{}, refuse("command.algorithm")
	case !key.verify(e.input, e.sig):
		return Command{}, refuse("command.signature")
	}
	return c, nil
}

// ShowCommand reads what a command says. Nothing of it is verified: it is for the eyes
// of who has the document before them.
func ShowCommand(text string) (Command, error) {
	_, c, err := openCommand(text)
	if err != nil {
		return Command{}, err
	}
	return c, nil
}

// openCommand takes a command apart. A header or a payload with a member that is not
// known is refused: it may be a condition that this reader would pass over.
func openCommand(text string) (e envelope, c Command, err error) {
	if err := e.open(commands, text); err != nil {
		return e, c, err
	}
	var ok bool
	switch {
	case !e.header.is("typ", typCommand):
		return e, c, refuse("command.type")
	case algorithmOf(e.alg) == 0:
		return e, c, refuse("command.algorithm")
	}
	if c.KeyID, ok = e.header.string("kid", thumbprint); !ok || !isThumbprint(c.KeyID) {
		return e, c, refuse("command.key")
	}
	if e.header.count != commandHeader {
		return e, c, refuse("command.critical")
	}
	return e, c, c.read(e.payload)
}

// read takes the claims, which are not verified yet.
func (c *Command) read(payload []byte) error {
	var o, target object
	if !o.read(payload) || o.count != commandClaims || !o.inner("target", &target) || target.count != 1 {
		return refuse("command.claims")
	}
	for _, claim := range [...]struct {
		name string
		into *string
		most int
	}{{"aud", &c.Audience, maxURL}, {"do", &c.Act, maxWord}, {"reason", &c.Reason, maxReason}, {"jti", &c.ID, maxName}} {
		var ok bool
		if *claim.into, ok = o.string(claim.name, claim.most); !ok {
			return refuse("command.claims")
		}
	}
	c.Target.Kind = target.nameOf(target.members[0])
	if len(c.Target.Kind) > maxWord {
		return refuse("command.claims")
	}
	c.Target.ID, _ = target.string(c.Target.Kind, maxName)
	issued, ok1 := o.date("iat")
	expires, ok2 := o.date("exp")
	if !ok1 || !ok2 {
		return refuse("command.claims")
	}
	c.IssuedAt, c.Expires = time.Unix(issued, 0).UTC(), time.Unix(expires, 0).UTC()
	c.Until = c.Expires.Add(Skew)
	return nil
}

// check looks at whom a command is for and when. Clocks may differ by Skew.
func (c *Command) check(audience string, now time.Time) error {
	switch life := c.Expires.Sub(c.IssuedAt); {
	case c.Audience != audience:
		return refuse("command.audience")
	case life <= 0 || life > MaxCommandLife:
		return refuse("command.life")
	case !now.Before(c.Until):
		return refuse("command.expired")
	case now.Add(Skew).Before(c.IssuedAt):
		return refuse("command.early")
	}
	return nil
}

// Command signs a command, from now on and for as long as life, DefaultCommandLife if
// 0. Key, ID and times of c are set here.
func (k Private) Command(c Command, life time.Duration, now time.Time) (string, Command, error) {
	if life == 0 {
		life = DefaultCommandLife
	}
	c.KeyID, c.ID = k.public.thumb, newID()
	c.IssuedAt = now.UTC().Truncate(time.Second)
	c.Expires = c.IssuedAt.Add(life).Truncate(time.Second)
	c.Until = c.Expires.Add(Skew)
	if err := c.check(c.Audience, now); err != nil {
		return "", Command{}, err
	}
	header := `{"alg":"` + k.public.Algorithm().String() + `","kid":"` + k.public.thumb + `","typ":"` + typCommand + `"}`
	b := make([]byte, 0, 512)
	for _, claim := range [...]struct{ name, value string }{
		{`{"aud":`, c.Audience}, {`,"do":`, c.Act}, {`,"target":{`, c.Target.Kind}, {`:`, c.Target.ID}, {`},"reason":`, c.Reason}, {`,"jti":`, c.ID},
	} {
		b = append(b, claim.name...)
		b = appendString(b, claim.value)
	}
	b = append(b, `,"iat":`...)
	b = strconv.AppendInt(b, c.IssuedAt.Unix(), 10)
	b = append(b, `,"exp":`...)
	b = strconv.AppendInt(b, c.Expires.Unix(), 10)
	text, err := k.seal(encode64([]byte(header)), append(b, '}'))
	if err != nil {
		return "", Command{}, err
	}
	// What cannot be read is not handed out: it would be found out when it is needed.
	if _, err := ShowCommand(text); err != nil {
		return "", Command{}, act.Errorf(act.Invalid, "the command cannot be signed: %w", err).WithRule("command.claims").
			WithHint("say whom it is aimed at and why, in 1 to 500 characters")
	}
	return text, c, nil
}
