package network

import (
	"context"
	"slices"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Event says that an act happened to a thing. It holds no content: who wants
// that reads it, by an act of its own that goes on record.
type Event struct {
	Seq     int64 // its place in the network's one sequence, without gaps
	Act     string
	Ref     act.Ref // what the act made or changed
	Target  act.ID  // what it was aimed at; 0 if nothing
	Actor   act.ID  // shown to operators only; 0 otherwise
	Outcome gate.Outcome
	Origin  act.Origin // of what ref points at
	Marked  bool       // ref points at something that has an origin
	At      int64      // Unix microseconds
}

// EventFilter chooses events. Empty lists choose all.
type EventFilter struct {
	Acts     []string // names, or "post.*"
	Subjects []act.ID // that the event's ref or target must be among
}

// Limits of a filter.
const (
	MaxFilterActs     = 50
	MaxFilterSubjects = 100
)

// check refuses filters that can never choose anything, which are mistakes.
func (f EventFilter) check(g *gate.Gate) error {
	if len(f.Acts) > MaxFilterActs || len(f.Subjects) > MaxFilterSubjects {
		return act.Errorf(act.Invalid, "a filter has up to %d acts and %d subjects", MaxFilterActs, MaxFilterSubjects).
			WithRule("event.filter").WithHint("leave the list out to get all")
	}
	for _, name := range f.Acts {
		if !matches(name, gate.NotifyAct) && !slices.ContainsFunc(g.Acts(), func(i gate.Info) bool { return matches(name, i.Name) }) {
			return act.Errorf(act.Invalid, "the filter names an act that there is not").
				WithRule("event.filter").WithHint("acts look like post.create, or post.* for all that is done with posts")
		}
	}
	return nil
}

func matches(pattern, name string) bool {
	if noun, all := strings.CutSuffix(pattern, ".*"); all {
		return strings.HasPrefix(name, noun+".")
	}
	return pattern == name
}

// takes reports whether the filter chooses an event.
func (f EventFilter) takes(name string, ref, target act.ID) bool {
	if len(f.Acts) > 0 && !slices.ContainsFunc(f.Acts, func(pattern string) bool { return matches(pattern, name) }) {
		return false
	}
	return len(f.Subjects) == 0 || slices.Contains(f.Subjects, ref) || target != 0 && slices.Contains(f.Subjects, target)
}

// EventQuery asks for the events after a sequence number.
type EventQuery struct {
	After  int64 // FromNow for none of what has happened so far
	Limit  int   // 100 if 0, at most MaxEvents
	Filter EventFilter
}

const (
	// FromNow as EventQuery.After means: only what happens from now on.
	FromNow int64 = -1
	// MaxEvents bounds a page of events.
	MaxEvents = 500

	eventScan = 1000 // rows that one page looks at
)

// EventPage is a part of the sequence as one reader may see it.
type EventPage struct {
	Items []Event
	Next  int64 // how far the page has looked: ask for what is after it
	More  bool  // there is more to look at now
	// Reset says that the reader's number is none of this sequence: older than
	// what is kept, or newer than what has happened. Next is where to go on.
	Reset bool
}

func (n *Network) registerEvent(g *gate.Gate) {
	n.ReadEvents = gate.RegisterRead(g, gate.Read[EventQuery, EventPage]{
		Info: gate.Info{Name: "event.read", Doc: "Follow what happens, by sequence number.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run:  n.readEvents,
	})
}

func (n *Network) readEvents(_ context.Context, v *store.View, p act.Principal, in EventQuery) (page EventPage, err error) {
	if err := in.Filter.check(n.gate); err != nil {
		return page, err
	}
	limit := in.Limit
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, MaxEvents)
	last, err := v.LastSequence()
	if err != nil {
		return page, err
	}
	if in.After == FromNow {
		return EventPage{Next: last}, nil
	}
	first, err := v.FirstSequence()
	switch {
	case err != nil:
		return page, err
	case in.After > last:
		return EventPage{Next: last, Reset: true}, nil
	case in.After < first-1 && in.After != 0:
		return EventPage{Next: first - 1, Reset: true, More: true}, nil
	}
	page.Next = in.After
	rows, err := v.EventsAfter(in.After, eventScan)
	if err != nil {
		return page, err
	}
	for i, row := range rows {
		if len(page.Items) == limit {
			page.More = true
			return page, nil
		}
		page.Next = row.Seq
		page.More = i == eventScan-1
		if !in.Filter.takes(row.Act, row.Ref.ID, row.Target) {
			continue
		}
		sees, err := n.sees(v, p, row)
		if err != nil {
			return page, err
		}
		if !sees {
			continue
		}
		e, err := n.event(v, p, row)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, e)
	}
	return page, nil
}

// sees reports whether p may know of an event.
func (n *Network) sees(v *store.View, p act.Principal, e store.NumberedEvent) (bool, error) {
	switch {
	case p.Kind == act.Operator:
		return true, nil
	case p.Kind != act.Agent:
		return false, nil
	case gate.Outcome(e.Outcome) != gate.Done:
		return e.Actor == p.ID, nil
	}
	switch n.gate.Audience(e.Act) {
	case gate.AnnouncePublic:
		return true, nil
	case gate.AnnounceActor:
		return e.Actor == p.ID, nil
	case gate.AnnounceParties:
		if e.Actor == p.ID || e.Ref.ID == p.ID || e.Target == p.ID {
			return true, nil
		}
		for _, id := range [...]act.ID{e.Ref.ID, e.Target} {
			if ok, err := n.party(v, p.ID, id); ok || err != nil {
				return ok, err
			}
		}
	case gate.AnnounceNobody:
	}
	return false, nil
}

const (
	qPartyConversation store.Q = `SELECT id FROM conversation WHERE id = $1 AND (low = $2 OR high = $2)`
	qPartyTask         store.Q = `SELECT id FROM task WHERE id = $1 AND (offered_to = 0 OR offered_to = $2 OR poster = $2)`
)

// partyOf tells of things that have members whether an agent is one of them. A task
// that is offered to nobody is everybody's.
var partyOf = map[act.Kind]store.Q{act.KindConversation: qPartyConversation, act.KindTask: qPartyTask}

func (n *Network) party(v *store.View, agent, thing act.ID) (bool, error) {
	q, ok := partyOf[thing.Kind()]
	if !ok {
		return false, nil
	}
	return v.One(q, func(*store.Row) error { return nil }, thing, agent)
}

const (
	qOriginPost      store.Q = `SELECT origin FROM post WHERE id = $1`
	qOriginComment   store.Q = `SELECT origin FROM comment WHERE id = $1`
	qOriginCommunity store.Q = `SELECT origin FROM community WHERE id = $1`
	qOriginProfile   store.Q = `SELECT origin FROM profile WHERE id = $1`
)

// originOf finds the origin class of what can have one.
var originOf = map[act.Kind]store.Q{
	act.KindPost: qOriginPost, act.KindComment: qOriginComment, act.KindCommunity: qOriginCommunity, act.KindAgent: qOriginProfile,
}

// event is a row as p may see it.
func (n *Network) event(v *store.View, p act.Principal, row store.NumberedEvent) (Event, error) {
	e := Event{
		Seq: row.Seq, Act: row.Act, Ref: row.Ref, Target: row.Target, Outcome: gate.Outcome(row.Outcome), At: row.At,
	}
	if p.Kind == act.Operator || row.Actor == p.ID {
		e.Actor = row.Actor
	}
	q, ok := originOf[row.Ref.ID.Kind()]
	if !ok {
		return e, nil
	}
	var err error
	e.Marked, err = v.One(q, func(r *store.Row) error { e.Origin = act.Origin(r.Int(0)); return nil }, row.Ref.ID)
	return e, err
}
