package gate

import (
	"context"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Integrity says how far what somebody reads, or has read, is to be relied on.
type Integrity uint8

// The integrities, the best first.
const (
	Trusted      Integrity = iota // the network itself says it
	Organisation                  // an agent of a class wrote it, who had read nothing worse
	Outside                       // anybody could have written it
	Flagged                       // an operator has flagged it, or it came of what was flagged
)

// String returns the integrity's name as policies and wire forms have it.
func (i Integrity) String() string {
	if i > Flagged {
		return "unknown"
	}
	return [...]string{"trusted", "organisation", "public", "flagged"}[i]
}

// String returns the classification's name as policies and wire forms have it.
func (c Classification) String() string {
	if c > Confidential {
		return "unknown"
	}
	return [...]string{"unclassified", "internal", "confidential"}[c]
}

// ParseClassification reads what String writes.
func ParseClassification(s string) (Classification, error) {
	for c := Unclassified; c <= Confidential; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	return 0, act.Errorf(act.Invalid, "%.40q is no classification", s).WithRule("classification").
		WithHint("use unclassified, internal or confidential")
}

// Label is what clings to content, and from it to who is shown it and to what they make
// then: how little it can be relied on and how confidential it is.
type Label struct {
	Integrity Integrity
	Secrecy   Classification
}

// Join is the label of what both labels have gone into.
func (l Label) Join(o Label) Label {
	return Label{max(l.Integrity, o.Integrity), max(l.Secrecy, o.Secrecy)}
}

// Words yields the label as a set of words, each that it has reached, in the order of
// their letters.
func (l Label) Words(yield func(string) bool) {
	for _, w := range [...]struct {
		word string
		in   bool
	}{
		{"confidential", l.Secrecy >= Confidential}, {"flagged", l.Integrity >= Flagged}, {"internal", l.Secrecy >= Internal},
		{"organisation", l.Integrity >= Organisation}, {"public", l.Integrity >= Outside},
	} {
		if w.in && !yield(w.word) {
			return
		}
	}
}

// Labels knows what agents have been shown and how things are labelled (package
// provenance). It errs towards the worse label, never towards the better.
type Labels interface {
	// InForce answers from memory; raised says that the agent has been shown, or was told,
	// more than comes with what it is.
	InForce(agent act.ID) (l Label, raised bool)
	// Marker returns a function that puts what is known of a thing into its facts. things
	// lists what it will be asked about; it is called only where storage has to be asked.
	Marker(ctx context.Context, things func() []act.Ref) (func(act.Ref, Facts) Facts, error)
	// Raise lifts what is in force for an agent to what it is about to be shown, and keeps
	// where that comes from. When it returns, all nodes know; false says that they did.
	Raise(ctx context.Context, agent act.ID, m Meeting) (bool, error)
	// Path names what an agent was shown that its label comes from, the nearest first; ""
	// when nobody can tell. It is for people.
	Path(agent act.ID) string
}

// labels is the label in force for a principal, where it is raised.
func (g *Gate) labels(p act.Principal) (l Label) {
	if g.Labels == nil || p.Kind != act.Agent {
		return l
	}
	if l, raised := g.Labels.InForce(p.ID); raised {
		return l
	}
	return Label{}
}

// marked puts how a thing that an act is aimed at is labelled into its facts. How
// confidential a place is stays as it is: what is written there is read by all who may
// read there.
func (g *Gate) marked(ctx context.Context, t *Resource) error {
	if g.Labels == nil || g.bare {
		return nil
	}
	mark, err := g.Labels.Marker(ctx, func() []act.Ref { return []act.Ref{t.Ref} })
	if err == nil {
		with := mark(t.Ref, t.Facts).Integrity
		t.Facts = mark(act.Ref{}, t.Facts)
		t.Facts.Integrity = with
	}
	return err
}

// placed puts how confidential its place is into the facts that a whole read is decided
// by. Storage is not asked.
func (g *Gate) placed(ctx context.Context, f Facts) (Facts, error) {
	if g.Labels == nil || g.bare {
		return f, nil
	}
	mark, err := g.Labels.Marker(ctx, func() []act.Ref { return nil })
	if err == nil {
		f = mark(act.Ref{}, f)
	}
	return f, err
}

// Meeting is the label of all that somebody is about to be shown.
type Meeting struct {
	Label
	From act.ID // what last made it worse
	Of   []Met  // what is flagged or confidential in it
}

// Met is a thing that somebody is about to be shown, who made it and where it is; 0 is
// nobody and nowhere.
type Met struct{ Thing, Author, Community act.ID }

func (m *Meeting) add(ref act.Ref, f Facts) {
	if now := m.Join(Label{f.Integrity, f.Classification}); now != m.Label {
		m.Label, m.From = now, ref.ID
	}
	if f.Integrity >= Flagged || f.Classification > Unclassified {
		m.Of = append(m.Of, Met{ref.ID, f.Author, f.Community})
	}
}

// raise lifts the label in force for p to what p is about to be shown; true says that it
// was lower, so that a page has to be made again.
func (g *Gate) raise(ctx context.Context, p act.Principal, m Meeting) (bool, error) {
	if p.Kind != act.Agent || g.Labels == nil || g.bare {
		return false, nil
	}
	if have, _ := g.Labels.InForce(p.ID); len(m.Of) == 0 && have.Join(m.Label) == have {
		return false, nil
	}
	return g.Labels.Raise(ctx, p.ID, m)
}

// tell lifts the label in force for p to what the answer of a write holds, before it
// leaves. The act is done and stays so where that fails: then p is told nothing.
func (g *Gate) tell(ctx context.Context, p act.Principal, told []Told) error {
	if len(told) == 0 || g.Labels == nil || g.bare {
		return nil
	}
	mark, err := g.Labels.Marker(ctx, func() (things []act.Ref) {
		for _, t := range told {
			things = append(things, t.Ref)
		}
		return things
	})
	if err != nil {
		return err
	}
	var met Meeting
	for _, t := range told {
		met.add(t.Ref, mark(t.Ref, t.Facts))
	}
	_, err = g.raise(ctx, p, met)
	return err
}

// tellAgain is tell for an answer that is rendered again. Others may have added to it since
// the first, so it is recorded like a page, and withheld like one. before is the fence
// under which it was read.
func (g *Gate) tellAgain(ctx context.Context, p act.Principal, name string, told []Told, before int64) error {
	if len(told) == 0 || g.bare {
		return nil
	}
	items := make([]act.Ref, 0, len(told))
	for _, t := range told {
		if g.withholds(p, t.Ref.ID) {
			return withheldError()
		}
		items = append(items, t.Ref)
	}
	if err := g.tell(ctx, p, told); err != nil {
		return err
	}
	if err := g.Tracer.Expose(ctx, Exposure{Principal: p, Channel: name, Items: items, Trace: act.TraceOf(ctx)}); err != nil {
		return err
	}
	if g.fence.movedSince(before, 0, items) {
		return errMoved
	}
	return nil
}

// MayTell reports whether p may be told what others have made in the answer of a write, as
// an item of a page may be shown.
func (g *Gate) MayTell(p act.Principal, name string, t Told) bool {
	return !g.withholds(p, t.Ref.ID) && g.May(p, name, t.Facts) == nil
}

// whence names what the labels come from that a denial is about.
func (g *Gate) whence(p act.Principal, d *Decision) string {
	if !d.Labels || g.Labels == nil || p.Kind != act.Agent {
		return ""
	}
	if path := g.Labels.Path(p.ID); path != "" {
		return " It comes from what you were shown: " + path + "."
	}
	return ""
}
