package trust

import (
	"strings"
	"testing"
	"time"
)

const (
	begin = 20_000 * microsOfADay // a midnight
	hour  = int64(time.Hour / time.Microsecond)
)

// lived counts days, on each of which an agent acts and is refused so often.
func lived(m *Merit, from, days int64, refused int64) (now int64) {
	for day := range days {
		at := from + day*microsOfADay
		m.Act(at + hour)
		if refused > 0 {
			m.Refuse(at+2*hour, refused)
		}
	}
	now = from + days*microsOfADay + hour
	m.Act(now)
	return now
}

// A level takes all that it asks for, and one that is missing keeps it away.
func TestLevelsAreEarned(t *testing.T) {
	for _, c := range []struct {
		name    string
		has     Level
		days    int64
		refused int64
		support int
		claimed int64 // days before
		to      Level
		rule    string
	}{
		{"a week", Unknown, 7, 0, 0, 7, Normal, RuleEarned},
		{"six days", Unknown, 6, 0, 0, 6, Unknown, ""},
		{"a week that nobody answered for", Unknown, 7, 0, 0, 3, Unknown, ""},
		{"a week that was refused a little", Unknown, 7, MaxRefusals - 1, 0, 7, Normal, RuleEarned},
		{"a week after low", Low, 7, 0, 0, 30, Low, ""},
		{"two weeks after low", Low, 14, 0, 0, 30, Normal, RuleEarned},
		{"a month that nobody values", Normal, 31, 0, 2, 31, Normal, ""},
		{"a month that is valued", Normal, 31, 0, 3, 31, High, RuleSupported},
		{"three weeks that are valued", Normal, 21, 0, 9, 21, Normal, ""},
		{"high stays with two", High, 1, 0, 2, 60, High, ""},
		{"high does not stay with one", High, 1, 0, 1, 60, Normal, RuleUnsupported},
		{"refused for two days", Normal, 2, MaxRefusals, 0, 60, Normal, ""},
		{"refused for three days", Normal, 3, MaxRefusals, 0, 60, Low, RuleRefused},
		{"high and refused for three days", High, 3, MaxRefusals, 5, 60, Normal, RuleRefused},
		{"low and refused for three days", Low, 3, MaxRefusals, 0, 60, Low, ""},
	} {
		m := Merit{Earned: c.has}
		now := lived(&m, begin, c.days, c.refused)
		v, changed := m.Judge(now, now-c.claimed*microsOfADay, c.support)
		if changed != (c.to != c.has) || changed && (v.Level != c.to || v.Rule != c.rule || v.Evidence == "") {
			t.Errorf("%s: %+v (%t), want %s by %s", c.name, v, changed, c.to, c.rule)
		}
	}
}

// What was found against an agent counts from then on: the day of it is no good one, and
// the days before are gone.
func TestFallsBeginAnew(t *testing.T) {
	m := Merit{Earned: Unknown}
	now := lived(&m, begin, 6, 0)
	m.Fall(now)
	if now = lived(&m, now, 5, 0); m.Days != 4 {
		t.Errorf("%d good days, want the 4 whole ones after the fall", m.Days)
	}
	if v, changed := m.Judge(now, begin, 0); changed {
		t.Errorf("after a fall: %+v", v)
	}
	if now = lived(&m, now+microsOfADay, 3, 0); m.Days != 8 {
		t.Errorf("%d good days, want 8", m.Days)
	}
	v, changed := m.Judge(now, begin, 0)
	if !changed || v.Level != Normal || !strings.Contains(v.Evidence, "active on 8 days, nothing against it for 9 days") {
		t.Errorf("nine days after a fall: %+v", v)
	}
}

// What somebody is found to have done ends what was said in their favour, and not what was
// said against them; being refused costs one level at a time.
func TestWhatIsFoundOutlastsWhatIsSaid(t *testing.T) {
	vouched, limited := Merit{Earned: Normal, Said: High}, Merit{Earned: High, Said: Low}
	if !vouched.Take(Low, RuleStopped, begin) || vouched.Level() != Low || vouched.Said != Unknown {
		t.Errorf("vouched for and stopped: %+v", vouched)
	}
	if vouched.Take(Low, RuleStopped, begin) {
		t.Error("stopped twice")
	}
	if !limited.Take(Unknown, RuleAdopted, begin) || limited.Level() != Low || limited.Earned != Unknown {
		t.Errorf("limited and adopted: %+v", limited)
	}
	refused := Merit{Earned: High}
	now := lived(&refused, begin, MaxBadDays, MaxRefusals)
	v, _ := refused.Judge(now, begin, HighSupport)
	if refused.Take(v.Level, v.Rule, now); refused.Earned != Normal {
		t.Errorf("refused: %+v", refused)
	}
	if v, changed := refused.Judge(now, begin, HighSupport); changed {
		t.Errorf("for the same days again: %+v", v)
	}
}

// What is counted twice on a day counts once, and what comes late counts in the day of now.
func TestDaysCountOnce(t *testing.T) {
	var m Merit
	for range 3 {
		m.Act(begin + hour)
	}
	if m.Act(begin+microsOfADay) != true || m.Days != 1 {
		t.Errorf("after a day of three acts: %+v", m)
	}
	if m.Act(begin) || m.Days != 1 || !m.Acted {
		t.Errorf("after what came late: %+v", m)
	}
	m.Said = High
	if m.Level() != High {
		t.Errorf("what an operator says is not in force: %+v", m)
	}
}

func TestLevelsAreOrdered(t *testing.T) {
	order := []Level{Low, Unknown, Normal, High}
	for i, a := range order {
		for j, b := range order {
			if a.Above(b) != (i > j) || Least(a, b) != order[min(i, j)] {
				t.Errorf("%s and %s are not in order", a, b)
			}
		}
		if l, ok := Parse(a.String()); !ok || l != a {
			t.Errorf("%s is read as %s", a, l)
		}
	}
	if _, ok := Parse("best"); ok {
		t.Error("a level that is none is read")
	}
	if Inherited(Low) != Low || Inherited(High) != Unknown || Inherited(Unknown) != Unknown {
		t.Error("a child begins with more than nothing, or a low one's with more than low")
	}
}
