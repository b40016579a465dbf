package trust

import (
	"fmt"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// The rules by which a level changes. They stand in the record with what was found.
const (
	RuleEarned      = "trust.earned"      // days without anything against it
	RuleSupported   = "trust.supported"   // more days, and the word of others who are trusted
	RuleUnsupported = "trust.unsupported" // too few of those are left
	RuleRefused     = "trust.refused"     // it goes on trying what it may not do
	RuleStopped     = "trust.stopped"     // it was quarantined, or stopped by a rule of its class
	RuleFlagged     = "trust.flagged"     // an operator has flagged it, or what it made
	RuleAdopted     = "trust.adopted"     // somebody else answers for it now
	RuleSaid        = "trust.said"        // an operator says so
)

// What a level takes. Who was low waits twice as long; who is high stays so with one
// supporter less than it took, so that nobody goes to and fro.
const (
	NormalAge    = 7 * Day  // since somebody answers for it
	NormalDays   = 5        // on which it acted, and nothing was against it
	NormalClean  = 7 * Day  // since something was against it last
	HighAge      = 30 * Day // the same of high
	HighDays     = 20
	HighClean    = 30 * Day
	HighSupport  = 3 // owners with an agent of high trust that values what it made
	KeepSupport  = 2 // of them, so as to stay high
	MaxRefusals  = 5 // a day with so many is a bad one
	MaxBadDays   = 3 // so many in a row cost a level
	afterLow     = 2 // times as long
	Day          = 24 * time.Hour
	microsOfADay = int64(Day / time.Microsecond)
)

// Merit is what the record says of an agent, as far as its trust goes. Times are Unix
// microseconds, days begin at midnight UTC.
type Merit struct {
	Owner  act.ID // who answered for it while it was earned; 0 nobody yet
	Earned Level
	Said   Level // by an operator, in its place; Unknown says nothing

	Days    int64 // on which it acted and nothing was against it, since it fell last
	Bad     int64 // days in a row on which it was refused too often
	CleanAt int64 // when something was against it last; 0 never

	Day     int64 // the day that is being counted, since 1970; 0 none
	Acted   bool  // on that day
	Refused int64 // on that day
}

// Level is the one in force.
func (m *Merit) Level() Level {
	if m.Said != Unknown {
		return m.Said
	}
	return m.Earned
}

// DayOf is the day that a time is in.
func DayOf(at int64) int64 { return at / microsOfADay }

// Act counts an act. over reports whether that ended a day.
func (m *Merit) Act(at int64) (over bool) {
	over = m.turn(at)
	m.Acted = true
	return over
}

// Refuse counts refusals that were the agent's own fault.
func (m *Merit) Refuse(at, n int64) (over bool) {
	over = m.turn(at)
	m.Refused += n
	return over
}

// turn ends the day that was counted when a later one begins. What comes late counts in
// the day of now: the record has it in its own order.
func (m *Merit) turn(at int64) (over bool) {
	day := DayOf(at)
	if day <= m.Day {
		return false
	}
	begin, end := m.Day*microsOfADay, (m.Day+1)*microsOfADay
	switch {
	case m.Day == 0:
	case m.Refused >= MaxRefusals:
		m.Bad++
		m.CleanAt = max(m.CleanAt, end)
	case m.Acted && begin >= m.CleanAt:
		m.Days++
		m.Bad = 0
	}
	over = m.Day != 0
	m.Day, m.Acted, m.Refused = day, false, 0
	return over
}

// Fall begins anew after something that was found against the agent.
func (m *Merit) Fall(at int64) {
	m.Days, m.Bad, m.CleanAt = 0, 0, max(m.CleanAt, at)
}

// Verdict is a level that what was counted comes to, with its rule and why.
type Verdict struct {
	Level    Level
	Rule     string
	Evidence string
}

// Take gives an agent the level that a rule comes to at a time. changed is false when it has
// that already.
func (m *Merit) Take(to Level, rule string, at int64) (changed bool) {
	was := *m
	switch m.Earned = to; rule {
	case RuleStopped, RuleFlagged, RuleAdopted:
		m.Earned = Least(was.Earned, to)
		if m.Said.Above(to) { // whoever said so did not know of that
			m.Said = Unknown
		}
	case RuleRefused:
		m.Fall(at)
	}
	return *m != was
}

// Asks reports whether Judge has to know who supports the agent.
func (m *Merit) Asks() bool { return m.Earned == Normal || m.Earned == High }

// Judge says to which level an agent comes for whom somebody has answered since a time, 0
// for nobody, and whom so many owners support. changed is false when it stays what it is.
func (m *Merit) Judge(now, claimedAt int64, support int) (v Verdict, changed bool) {
	if m.Bad >= MaxBadDays && m.Earned != Low {
		v = Verdict{Low, RuleRefused, fmt.Sprintf("on each of %d days in a row it was refused %d times or more", m.Bad, MaxRefusals)}
		if m.Earned == High {
			v.Level = Normal
		}
		return v, true
	}
	if m.Earned == High {
		if support >= KeepSupport {
			return v, false
		}
		return Verdict{Normal, RuleUnsupported, fmt.Sprintf("what it made is valued by trusted agents of %d owners; %d are wanted", support, KeepSupport)}, true
	}
	if claimedAt == 0 {
		return v, false
	}
	age, clean := since(claimedAt, now), since(max(claimedAt, m.CleanAt), now)
	evidence := fmt.Sprintf("answered for since %s, active on %d days, nothing against it for %d days", act.FromMicros(claimedAt).Format(time.DateOnly), m.Days, clean/Day)
	times := int64(1)
	switch m.Earned {
	case Low:
		times = afterLow
	case Normal:
		if age < HighAge || m.Days < HighDays || clean < HighClean || support < HighSupport {
			return v, false
		}
		return Verdict{High, RuleSupported, evidence + fmt.Sprintf(", and valued by trusted agents of %d owners", support)}, true
	case Unknown, High:
	}
	if age < NormalAge || m.Days < NormalDays*times || clean < NormalClean*time.Duration(times) {
		return v, false
	}
	return Verdict{Normal, RuleEarned, evidence}, true
}

func since(at, now int64) time.Duration { return time.Duration(now-at) * time.Microsecond }
