package export

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Figure is a number of the control map as it stands now. Each comes from memory, from
// one row or from an index that has only what is counted.
type Figure struct {
	Name, Text string
	Value      int64
	Note       string // what the number alone does not say; "" without
	At         int64  // of what it is about, Unix microseconds; 0 is now
	Failed     bool   // it is of something that did not hold
}

// Controls is the control map with its figures.
type Controls struct {
	At         int64
	Frameworks []Framework
	Figures    []Figure
}

// ControlsConfig says where figures come from.
type ControlsConfig struct {
	Gate      *gate.Gate
	Tree      *audit.Tree
	Lifecycle *lifecycle.Lifecycle
	Labelled  func() int64 // agents to which labels have come
	Policy    func() int64 // version of the bundle in force
}

const controlsSince = 7 * 24 * time.Hour

// NewControls registers the act that shows the control map.
func NewControls(c ControlsConfig) *gate.ReadAct[struct{}, Controls] {
	return gate.RegisterRead(c.Gate, gate.Read[struct{}, Controls]{
		Info: gate.Info{Name: "audit.controls", Doc: "Show which control has which evidence here, with figures of now.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, _ struct{}) (out Controls, err error) {
			out.At, out.Frameworks = act.Micros(c.Gate.Now()), Frameworks()
			out.Figures, err = c.figures(v)
			return out, err
		},
	})
}

func (c ControlsConfig) figures(v *store.View) (list []Figure, err error) {
	since := c.Gate.Now().Add(-controlsSince)
	counts, err := audit.CountsSince(v, act.Micros(since))
	if err != nil {
		return nil, err
	}
	census, err := c.Lifecycle.Census(v, since)
	if err != nil {
		return nil, err
	}
	st, err := c.Tree.Current(v)
	if err != nil {
		return nil, err
	}
	drills, err := lifecycle.DrillsIn(v)
	if err != nil {
		return nil, err
	}
	list = []Figure{
		{Name: "refusals_week", Text: "refusals and failures on record in the last seven days", Value: counts.Refused, Note: "one that is repeated often is recorded with a count"},
		{Name: "erasures_week", Text: "posts and comments erased in the last seven days", Value: counts.Erased},
		{Name: "holds", Text: "legal holds in force", Value: counts.Holds},
		{Name: "held_week", Text: "acts that waited for a human in the last seven days", Value: census.Held},
		{Name: "waiting", Text: "acts that wait for a human now", Value: census.Waiting},
		{Name: "labelled", Text: "agents to which labels have come", Value: c.Labelled()},
		{Name: "kills", Text: "agents ever killed", Value: c.Lifecycle.KillCount()},
		{Name: "contained", Text: "scopes that are stopped", Value: c.Lifecycle.Contained()},
		{Name: "policy", Text: "version of the policies in force", Value: c.Policy()},
		{Name: "checkpoint", Text: "leaves under the newest checkpoint, each of which was hashed for it", Value: st.Last.Size, At: st.Last.At},
		{Name: "unsigned", Text: "leaves that no checkpoint covers yet", Value: st.Leaves - st.Last.Size},
		{Name: "cosignatures", Text: "witnesses that have cosigned the checkpoint that is given out", Value: int64(st.Served.Witnesses), Note: fmt.Sprintf("%d are wanted", st.Quorum), At: st.Served.At},
	}
	for standing := act.Requested; int(standing) < len(census.Agents); standing++ {
		list = append(list, Figure{Name: "agents_" + standing.String(), Text: "agents whose standing is " + standing.String(), Value: census.Agents[standing]})
	}
	for _, control := range []string{lifecycle.DrillDeny, lifecycle.DrillHalt, lifecycle.DrillKill} {
		f := Figure{Name: "drill_" + control, Text: "microseconds from the order to the last act in the last drill of " + control, Note: "no drill yet"}
		if i := slices.IndexFunc(drills, func(d lifecycle.Drill) bool { return d.Control == control }); i >= 0 {
			f.Value, f.At, f.Note = drills[i].Stop.Microseconds(), drills[i].At, "it held"
			if drills[i].Fault != "" {
				f.Note, f.Failed = "it FAILED: "+drills[i].Fault, true
			}
		}
		list = append(list, f)
	}
	return list, nil
}
