package trust

import (
	"fmt"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/lifecycle/charter"
)

// Asker is who asks for an agent. The zero value is a person of whom nothing is known that
// speaks against them.
type Asker struct {
	Agent  bool  // not a person
	Trust  Level // of an agent
	Denied int64 // how often such a request of theirs was denied within 30 days
	Deaths int64 // how many of its children have lost their leases within an hour (T35)
	Asked  int64 // how many of its acts were held for people within an hour (T42)
}

// Score is how much a request for an agent risks: 0 to MaxScore, the sum of its parts.
type Score struct {
	Points int
	Parts  []Part // those that count, in the order of the table in docs/workloads.md
}

// Part is what one thing that is asked for, or is known of who asks, adds to a score.
type Part struct {
	Name   string
	Points int
	Why    string
}

// What the parts add at most. Together they are MaxScore.
const (
	MaxScore = 100

	maxActs      = 15
	maxClearance = 10
	maxEgress    = 12
	maxLife      = 8
	maxSpawn     = 12
	maxTrust     = 12
	maxDenied    = 6
	maxDeaths    = 8
	maxPressing  = 4

	longLife   = 30 * Day
	manyAsked  = 10
	oneAct     = 3
	generation = 4
	oneDenied  = 2
	oneDeath   = 4
)

// weighty are acts by which an agent steers others, or makes them.
var weighty = []string{"agent.spawn", "community.appoint", "dm.request", "label.prompt", "task.post"}

// unbounded are what a part of a budget adds that has no bound, in the order of
// charter.BudgetKinds.
var unbounded = [...]int{4, 3, 4, 2}

// Risk scores a request for an agent that would be granted so much.
func Risk(g charter.Grant, by Asker) (s Score) {
	s.asks(g)
	s.asked(by)
	return s
}

func (s *Score) add(name string, points int, why string) {
	if points > 0 {
		s.Points += points
		s.Parts = append(s.Parts, Part{name, points, why})
	}
}

// asks adds what is asked for.
func (s *Score) asks(g charter.Grant) {
	if g.Acts.All() {
		s.add("acts", maxActs, "any act")
	} else {
		var may []string
		for _, name := range weighty {
			if g.Acts.Has(name) {
				may = append(may, name)
			}
		}
		s.add("acts", oneAct*len(may), strings.Join(may, ", "))
	}
	switch g.Clearance {
	case charter.Confidential:
		s.add("clearance", maxClearance, "confidential")
	case charter.Internal:
		s.add("clearance", maxClearance/2, "internal")
	case charter.AnyClearance, charter.Unclassified:
	}
	if n := len(g.Egress.Members()); g.Egress.All() {
		s.add("egress", maxEgress, "any destination")
	} else {
		s.add("egress", min(2*n, maxEgress/2), counted(int64(n), "1 destination", "%d destinations"))
	}
	points, open := 0, []string(nil)
	for i, limit := range g.Budget.Limits() {
		if limit == nil {
			points, open = points+unbounded[i], append(open, charter.BudgetKinds()[i])
		}
	}
	s.add("budget", points, "no bound of "+strings.Join(open, ", "))
	switch life := time.Duration(g.Life); {
	case life == 0:
		s.add("life", maxLife, "no end")
	case life > longLife:
		s.add("life", maxLife/2, life.String())
	}
	if g.Spawn.FanOut > 0 {
		s.add("spawn", min(generation*g.Spawn.Depth, maxSpawn), counted(int64(g.Spawn.Depth), "1 generation", "%d generations")+" of "+counted(int64(g.Spawn.FanOut), "1 child", "%d children")+" each")
	}
}

// asked adds what is known of who asks.
func (s *Score) asked(by Asker) {
	if by.Agent {
		s.add("trust", [...]int{Unknown: maxTrust / 2, Low: maxTrust, Normal: maxTrust / 6, High: 0}[by.Trust&High], "an agent of trust "+by.Trust.String())
	}
	s.add("denied", int(min(oneDenied*by.Denied, maxDenied)), counted(by.Denied, "1 such request was denied within 30 days", "%d such requests were denied within 30 days"))
	s.add("deaths", int(min(oneDeath*by.Deaths, maxDeaths)), counted(by.Deaths, "1 of its children has lost its lease within an hour", "%d of its children have lost their leases within an hour"))
	if by.Asked >= manyAsked {
		s.add("pressing", maxPressing, fmt.Sprintf("%d of its acts were held for people within an hour", by.Asked))
	}
}

// counted is how something is said of one, or of many.
func counted(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return fmt.Sprintf(many, n)
}
