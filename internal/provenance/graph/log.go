package graph

import (
	"slices"
	"sort"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/store"
)

const qActs store.Q = `SELECT seq, act, ref, actor, at FROM event WHERE seq > $1 AND seq <= $2 AND outcome = 0 ORDER BY seq`

// log is what was done and what it named, as columns. It belongs to the graph's lock.
type log struct {
	through int64 // number of the last act that was read
	waiting int64 // acts that had no number then

	// Of each act that was done, in the order of their numbers.
	seq   []int64
	at    []int64
	actor []uint32
	item  []uint32 // what it is about
	deed  []uint16

	// Of each derivation, in the order of their acts.
	stated []uint32 // its act's place above
	source []uint32
	level  []uint8
	how    []gate.EdgeKind

	namers map[uint32][]uint32 // by actor: its derivations, by their places
	likely int64               // how many of the derivations were found afterwards (level L2)
	wrong  int64               // and how many of a million of those are wrong at most

	handed map[uint32]bool // items: tokens from which others' were carved
	deeds  []deed
	named  map[string]uint16
	made   []uint32            // by item: 1 + the place of the first act that made it
	again  map[uint32][]uint32 // by item: the places of those after it
}

func newLog() log {
	return log{named: make(map[string]uint16), again: make(map[uint32][]uint32), namers: make(map[uint32][]uint32), handed: make(map[uint32]bool)}
}

func (l *log) bytes() int64 {
	return 26*int64(len(l.seq)) + 14*int64(len(l.stated)) + 4*int64(len(l.made))
}

// deed is what an act does, as far as influence goes.
type deed struct {
	name  string
	kind  string // for counting: post, comment, vote
	makes bool   // what it is about says something else afterwards, so who is shown it may be influenced by its actor
	births
	grants
}

// grants says that what an act is about is a token. It is of use to others only where
// somebody was given it to act by.
type grants bool

// births says that what an act is about is an agent, which does from then on what its
// maker wanted.
type births bool

// deedOf tells by an act's name. What is not known counts as made where it is about
// something that agents read: better once too often.
func deedOf(name string, about act.Kind) deed {
	d := deed{name: name, kind: "other"}
	noun, verb, _ := strings.Cut(name, ".")
	switch noun {
	case "vote":
		d.kind = "vote"
	case "dm":
		d.kind, d.makes = "message", verb == "send" || verb == "request"
	case "task":
		d.kind, d.makes = "task", true
	case "post", "comment":
		d.kind, d.makes = noun, verb == "create" || !slices.Contains([]string{"delete", "pin", "unpin"}, verb)
		if verb != "create" {
			d.kind = "other"
		}
	case "agent":
		switch verb {
		case "follow", "unfollow":
			d.kind = "follow"
		case "spawn":
			d.kind, d.makes, d.births = "agent", true, true
		case "update":
			d.kind, d.makes = "profile", true
		}
	case "token":
		d.kind, d.makes, d.grants = noun, true, true
	case "avatar", "community", "label":
		d.kind, d.makes = noun, slices.Contains([]string{"create", "define", "prompt", "set", "update", "picture"}, verb)
	case "content", "notification", "approval", "report", "queue", "webhook", "trace":
	default:
		switch about {
		case act.KindPost, act.KindComment, act.KindMessage, act.KindTask:
			d.kind, d.makes = about.String(), true
		}
	}
	return d
}

// follow reads the acts up to a number, and what they named.
func (l *log) follow(v *store.View, g *Graph, through int64) error {
	if through <= l.through {
		return l.follows(v, g)
	}
	if err := v.All(qActs, func(r *store.Row) error {
		l.add(g, r.Int(0), r.Text(1), r.ID(2), r.ID(3), r.Int(4))
		return nil
	}, l.through, through); err != nil {
		return err
	}
	err := provenance.DerivationsIn(v, l.through, through, func(d provenance.NumberedDerivation) error {
		if d.Kind != gate.EdgeGain {
			l.state(g, d.Seq, d.Source.ID, uint8(d.Level), d.Kind) //nolint:gosec // 1 to 4
		}
		return nil
	})
	l.through = through
	if err != nil {
		return err
	}
	return l.follows(v, g)
}

// follows takes in what was found afterwards of acts that were read before (level L2), if
// there is more of it. All derivations are then put in order anew.
func (l *log) follows(v *store.View, g *Graph) error {
	known, err := provenance.LikenessOf(v)
	l.wrong = known.Rate
	if err != nil || known.Found == l.likely {
		return err
	}
	old := *l
	l.stated, l.source, l.level, l.how = nil, nil, nil, nil
	for i := range old.stated {
		if old.how[i] != gate.EdgeGain {
			l.stated, l.source, l.level, l.how = append(l.stated, old.stated[i]), append(l.source, old.source[i]), append(l.level, old.level[i]), append(l.how, old.how[i])
		}
	}
	l.likely = 0
	if err := provenance.Likely(v, l.through, func(d provenance.NumberedDerivation) error {
		l.likely++
		l.state(g, d.Seq, d.Source.ID, uint8(d.Level), d.Kind) //nolint:gosec // 2
		return nil
	}); err != nil {
		return err
	}
	sort.Stable(byAct{l})
	l.namers = make(map[uint32][]uint32, len(old.namers))
	for i, place := range l.stated {
		l.namers[l.actor[place]] = append(l.namers[l.actor[place]], uint32(i)) //nolint:gosec // four billion derivations
	}
	return nil
}

// byAct orders derivations by their acts.
type byAct struct{ *log }

func (l byAct) Len() int           { return len(l.stated) }
func (l byAct) Less(i, j int) bool { return l.stated[i] < l.stated[j] }
func (l byAct) Swap(i, j int) {
	l.stated[i], l.stated[j], l.source[i], l.source[j] = l.stated[j], l.stated[i], l.source[j], l.source[i]
	l.level[i], l.level[j], l.how[i], l.how[j] = l.level[j], l.level[i], l.how[j], l.how[i]
}

func (l *log) add(g *Graph, seq int64, name string, about, actor act.ID, at int64) {
	n, known := l.named[name]
	if !known {
		n = uint16(len(l.deeds)) //nolint:gosec // names of acts
		l.named[name] = n
		l.deeds = append(l.deeds, deedOf(name, about.Kind()))
	}
	place := uint32(len(l.seq)) //nolint:gosec // four billion acts
	item := g.items.of(about)
	l.seq, l.at = append(l.seq, seq), append(l.at, at)
	l.actor, l.item, l.deed = append(l.actor, g.agents.of(actor)), append(l.item, item), append(l.deed, n)
	if l.deeds[n].births {
		g.agents.of(about) // it is reached before it has done anything
	}
	if l.deeds[n].makes && item != 0 {
		if grow := int(item) + 1 - len(l.made); grow > 0 {
			l.made = append(l.made, make([]uint32, grow)...)
		}
		if l.made[item] == 0 {
			l.made[item] = place + 1
		} else {
			l.again[item] = append(l.again[item], place)
		}
	}
}

// state takes in what an act named.
func (l *log) state(g *Graph, seq int64, source act.ID, level uint8, how gate.EdgeKind) {
	place, found := l.placeOf(seq)
	if !found {
		return // of an act that failed; there are none
	}
	actor := l.actor[place]
	l.namers[actor] = append(l.namers[actor], uint32(len(l.stated))) //nolint:gosec // four billion derivations
	item := g.items.of(source)
	if how == gate.EdgeDelegation {
		l.handed[item] = true
	}
	l.stated, l.source = append(l.stated, place), append(l.source, item)
	l.level, l.how = append(l.level, level), append(l.how, how)
}

// placeOf returns the place of the act with a number, or where it would be.
func (l *log) placeOf(seq int64) (place uint32, found bool) {
	n, found := slices.BinarySearch(l.seq, seq)
	return uint32(n), found //nolint:gosec // four billion acts
}

// birth returns the place of the act that made an agent, where another agent did, with the
// agent as an item.
func (l *log) birth(g *Graph, agent uint32) (item, place uint32, found bool) {
	if item, found = g.items.number[g.agents.ids[agent]]; !found || int(item) >= len(l.made) || l.made[item] == 0 {
		return 0, 0, false
	}
	place = l.made[item] - 1
	return item, place, bool(l.deeds[l.deed[place]].births)
}

// names returns what the act at a place names: a range of the derivations.
func (l *log) names(place uint32) (from, to int) {
	from = sort.Search(len(l.stated), func(i int) bool { return l.stated[i] >= place })
	for to = from; to < len(l.stated) && l.stated[to] == place; to++ {
	}
	return from, to
}

// maker returns the place of the act that made an item what it was after the act with a
// number; the first one if there was none until then.
func (l *log) maker(item uint32, seq int64) (place uint32, found bool) {
	if int(item) >= len(l.made) || l.made[item] == 0 {
		return 0, false
	}
	acts := l.again[item]
	for i := len(acts) - 1; i >= 0; i-- {
		if l.seq[acts[i]] <= seq {
			return acts[i], true
		}
	}
	return l.made[item] - 1, true
}

// howNames are the ways in which acts name what they came of.
var howNames = map[gate.EdgeKind]string{
	gate.EdgeReply: "reply", gate.EdgeVote: "vote", gate.EdgeMention: "mention", gate.EdgeFollow: "follow",
	gate.EdgeMessage: "message", gate.EdgeTask: "task", gate.EdgePrompt: "prompt",
	gate.EdgeContext: "context", gate.EdgeGain: "said again", gate.EdgeCopied: "copied",
	gate.EdgeDelegation: "delegation", gate.EdgeSkill: "skill", gate.EdgeMemory: "memory", gate.EdgeSecret: "secret", gate.EdgeEgress: "egress",
}

// howName is the name of a way, "named" for one that came later than this list.
func howName(k gate.EdgeKind) string {
	if name, known := howNames[k]; known {
		return name
	}
	return "named"
}
