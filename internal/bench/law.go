package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// law is a policy in no language.
type law struct {
	forbid              bool
	act                 string
	owner, class, place string // what it asks for, the first that is not ""; all that is active without
}

// lawNames are what laws can name.
type lawNames struct{ acts, owners, places []string }

// shape is in what way policies become more.
type shape struct {
	name string
	laws func(n int, names lawNames) []law
}

const courtClass = "researcher" // of every agent that asks

// shapes are the ways: as a network grows, and all about one thing.
var shapes = [...]shape{
	{"over all acts", func(n int, names lawNames) []law {
		list := []law{{act: courtAct}}
		for i := 1; i < n; i++ {
			l := law{act: names.acts[i%len(names.acts)]}
			switch i % 3 {
			case 0:
				l.owner = names.owners[i]
			case 1:
				l.forbid, l.class = true, fmt.Sprintf("class-%d", i)
			case 2:
				l.place = names.places[i]
			}
			list = append(list, l)
		}
		return list
	}},
	{"one act, an owner each", func(n int, names lawNames) []law {
		// Whoever asks has one of the most owners: with fewer, most are let in by the last.
		list := make([]law, n)
		for i := range list {
			list[i] = law{act: courtAct, owner: names.owners[i]}
		}
		if n < len(names.owners) {
			list[n-1] = law{act: courtAct}
		}
		return list
	}},
}

// cedarOf writes laws in Cedar.
func cedarOf(list []law) string {
	var b strings.Builder
	for i, l := range list {
		effect, where, when := "permit", "resource", `principal.standing == "active"`
		if l.forbid {
			effect = "forbid"
		}
		switch {
		case l.owner != "":
			when = fmt.Sprintf("principal.owner == Owner::%q && ", l.owner) + when
		case l.class != "":
			when = fmt.Sprintf("principal.class == %q", l.class)
		case l.place != "":
			where = fmt.Sprintf("resource in Community::%q", l.place)
		}
		fmt.Fprintf(&b, "@id(\"l%d\") %s (principal is Agent, action == Action::%q, %s) when { %s };\n", i, effect, l.act, where, when)
	}
	return b.String()
}

// regoOf writes laws in Rego, in the form that OPA indexes.
func regoOf(list []law) string {
	var b strings.Builder
	b.WriteString("package reef\n\nimport rego.v1\n\ndefault permit := false\ndefault forbid := false\ndefault allowed := false\n\nallowed if {\n\tpermit\n\tnot forbid\n}\n")
	for _, l := range list {
		effect, when := "permit", `input.principal.standing == "active"`
		if l.forbid {
			effect = "forbid"
		}
		switch {
		case l.owner != "":
			when = fmt.Sprintf("input.principal.owner == %q; ", l.owner) + when
		case l.class != "":
			when = fmt.Sprintf("input.principal.class == %q", l.class)
		case l.place != "":
			when = fmt.Sprintf("input.resource == %q; ", l.place) + when
		}
		fmt.Fprintf(&b, "%s if { input.action == %q; %s }\n", effect, l.act, when)
	}
	return b.String()
}

// questions are what the agents ask, as the peer reads it.
func (c *court) questions() []map[string]any {
	list := make([]map[string]any, len(c.askers))
	for i, p := range c.askers {
		f := c.facts[p.ID]
		list[i] = map[string]any{
			"action": c.ask.Act, "resource": c.srv.Codec.String(c.ask.Resource.Community),
			"principal": map[string]any{"owner": c.srv.Codec.String(f.Owner), "class": f.Class, "standing": f.Standing.String()},
		}
	}
	return list
}

// peer is OPA in a process of its own (test/opa).
type peer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// peerOrder and peerAnswer are its lines.
type peerOrder struct {
	Name      string           `json:"name"` // of the rules
	Rules     string           `json:"rules,omitempty"`
	Questions []map[string]any `json:"questions,omitempty"`
	Micros    int64            `json:"micros,omitempty"`
}

type peerAnswer struct {
	Allowed []bool  `json:"allowed"`
	Nanos   []int64 `json:"nanos"`
	N       int64   `json:"n"`
	Error   string  `json:"error"`
}

// openPeer starts the peer, nil where there is none.
func (r *runner) openPeer(ctx context.Context) (*peer, error) {
	if _, err := os.Stat(r.opa); errors.Is(err, os.ErrNotExist) {
		r.say("no OPA peer at %s; tools/peer.sh opa builds one", r.opa)
		return nil, nil //nolint:nilnil // it is not needed
	}
	p := &peer{cmd: exec.CommandContext(ctx, r.opa)} //nolint:gosec // whoever runs the bench names it
	p.cmd.Stderr = r.diag
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

func (p *peer) close() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

func (p *peer) tell(o peerOrder) (a peerAnswer, err error) {
	line, err := json.Marshal(o)
	if err != nil {
		return a, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return a, fmt.Errorf("ask the OPA peer: %w", err)
	}
	if line, err = p.out.ReadBytes('\n'); err != nil {
		return a, fmt.Errorf("hear the OPA peer: %w", err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, err
	}
	if a.Error != "" {
		err = errors.New("the OPA peer: " + a.Error)
	}
	return a, err
}

// load gives the peer rules under a name, and questions, and returns what it says to each.
func (p *peer) load(name, rules string, questions []map[string]any) ([]bool, error) {
	a, err := p.tell(peerOrder{Name: name, Rules: rules, Questions: questions})
	if err == nil && len(a.Allowed) != len(questions) {
		err = fmt.Errorf("the OPA peer answered %d of %d questions", len(a.Allowed), len(questions))
	}
	return a.Allowed, err
}

// again has the peer decide by the rules of a name for some time.
func (p *peer) again(name string, span time.Duration) (t took, err error) {
	a, err := p.tell(peerOrder{Name: name, Micros: span.Microseconds()})
	if err == nil && len(a.Nanos) != 2 {
		err = errors.New("the OPA peer did not say what it took")
	}
	if err != nil {
		return t, err
	}
	return took{p50: float64(a.Nanos[0]), p99: float64(a.Nanos[1]), n: a.N}, nil
}
