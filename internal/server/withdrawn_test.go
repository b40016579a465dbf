package server_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/gate"
)

// ledger is what a crowd has been told was withdrawn, and every page that its readers
// have seen. All times are of this process's one clock: an answer is noted when it has
// come, a request before it is sent, so a page that begins after a withdrawal's answer
// was asked for by somebody who could have known of it.
type ledger struct {
	mu     sync.Mutex
	gone   map[string]time.Time // guarded by mu: by id of a post or comment, when its deletion was answered
	held   map[string]time.Time // guarded by mu: by title, when the approval was asked for; zero while it was not
	orders map[string][]order   // guarded by mu: by agent's id, one after the other
	lost   map[*node][]span     // guarded by mu: when a node had neither bus nor database
	pages  []page               // guarded by mu: not looked at yet
	deeds  []deed               // guarded by mu: not looked at yet
	sum    count                // guarded by mu: of what was looked at
}

func newLedger() *ledger {
	return &ledger{gone: make(map[string]time.Time), held: make(map[string]time.Time), orders: make(map[string][]order), lost: make(map[*node][]span)}
}

type span struct{ began, ended time.Time }

// order changes an agent's standing.
type order struct {
	standing string // what the agent is after it
	span            // from the request to its answer
}

// page is what somebody was shown.
type page struct {
	node   *node
	reader string // id of an agent; "" is a human who looks at the observers' pages
	what   string
	items  []item
	span
}

// item is a post, comment or agent on a page.
type item struct{ id, title, standing string }

// deed is what an agent did.
type deed struct {
	node  *node
	agent string
	what  string
	span
}

// itemsOf lists everything in an answer that has an id; of what has been deleted a
// tombstone may stay.
func itemsOf(x any, list []item) []item {
	switch x := x.(type) {
	case []any:
		for _, y := range x {
			list = itemsOf(y, list)
		}
	case map[string]any:
		if id, _ := x["id"].(string); id != "" && x["deleted"] != true {
			title, _ := x["title"].(string)
			standing, _ := x["standing"].(string)
			list = append(list, item{id, title, standing})
		}
		for _, y := range x {
			list = itemsOf(y, list)
		}
	}
	return list
}

func (l *ledger) note(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
}

// standings are those that an agent could have somewhere while something was asked and
// answered: the last that was in force everywhere, and what came into force meanwhile.
func (l *ledger) standings(agent string, s span) []string {
	list := []string{"active"}
	for _, o := range l.orders[agent] {
		switch {
		case o.ended.Before(s.began):
			list = []string{o.standing}
		case o.began.Before(s.ended):
			list = append(list, o.standing)
		}
	}
	return list
}

// count is how often there was something to look at.
type count struct{ deeds, pages, items, marked int }

// check looks at every page and every act since the last check, while nobody acts, for
// what the fence forbids: something whose deletion was answered before the page was
// asked for; something held that nobody has allowed; an agent under another standing
// than it has; a page or an act for an agent that may not act; anything of a node that
// has been cut off for longer than the bound.
func (l *ledger) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	may := func(agent string, s span) bool {
		return agent == "" || slices.Contains(l.standings(agent, s), "active")
	}
	cut := func(n *node, s span) bool {
		return slices.ContainsFunc(l.lost[n], func(x span) bool {
			return s.began.After(x.began.Add(gate.FreshBound)) && (x.ended.IsZero() || s.ended.Before(x.ended))
		})
	}
	faults := 0
	fault := func(format string, args ...any) {
		t.Helper()
		if faults++; faults <= 10 {
			t.Errorf(format, args...)
		}
	}
	c := &l.sum
	c.pages += len(l.pages)
	c.deeds += len(l.deeds)
	for _, p := range l.pages {
		c.items += len(p.items)
		if !may(p.reader, p.span) {
			fault("%s was shown to an agent that was %v", p.what, l.standings(p.reader, p.span))
		}
		if cut(p.node, p.span) {
			fault("%s was shown by a node that had neither bus nor database for too long", p.what)
		}
		for _, x := range p.items {
			if when, gone := l.gone[x.id]; gone && when.Before(p.began) {
				fault("%s shows %s %s after its deletion was answered", p.what, x.id, p.began.Sub(when))
			}
			if when, held := l.held[x.title]; held && (when.IsZero() || when.After(p.ended)) {
				fault("%s shows %q, which is held", p.what, x.title)
			}
			if x.standing == "" {
				continue
			}
			if want := l.standings(x.id, p.span); !slices.Contains(want, x.standing) {
				fault("%s shows an agent as %s that was %v", p.what, x.standing, want)
			}
			if x.standing != "active" {
				c.marked++
			}
		}
	}
	for _, d := range l.deeds {
		if !may(d.agent, d.span) {
			fault("%s was done by an agent that was %v", d.what, l.standings(d.agent, d.span))
		}
		if cut(d.node, d.span) {
			fault("%s was done at a node that had neither bus nor database for too long", d.what)
		}
	}
	if faults > 10 {
		t.Errorf("and %d more", faults-10)
	}
	l.pages, l.deeds = nil, nil
}
