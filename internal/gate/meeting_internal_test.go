package gate

import (
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Where nothing on a page is confidential or flagged, meeting it allocates nothing; what is
// stands there with who made it and where.
func TestMeetingPlainThingsCostsNothing(t *testing.T) {
	plain := Facts{Kind: act.KindPost, Community: 7, Author: 8, Integrity: Outside}
	if n := testing.AllocsPerRun(100, func() {
		var m Meeting
		for i := range act.ID(25) {
			m.add(act.Ref{ID: i + 1}, plain)
		}
		if m.Label != (Label{Integrity: Outside}) || m.From != 1 || m.Of != nil {
			t.Errorf("it is met as %+v", m)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
	var m Meeting
	worse := plain
	worse.Classification = Confidential
	m.add(act.Ref{ID: 3}, worse)
	if len(m.Of) != 1 || m.Of[0] != (Met{Thing: 3, Author: 8, Community: 7}) || m.From != 3 {
		t.Errorf("it is met as %+v", m)
	}
}

// BenchmarkMeeting is what labels cost a page of 25 on its way to a reader.
func BenchmarkMeeting(b *testing.B) {
	for name, secrecy := range map[string]Classification{"plain": Unclassified, "confidential": Confidential} {
		b.Run(name, func(b *testing.B) {
			f := Facts{Kind: act.KindPost, Community: 7, Author: 8, Integrity: Outside, Classification: secrecy}
			b.ReportAllocs()
			for b.Loop() {
				var m Meeting
				for i := range act.ID(25) {
					m.add(act.Ref{ID: i}, f)
				}
			}
		})
	}
}
