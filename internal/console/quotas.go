package console

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// quotasView is what all agents of the network, of a team or of a class may use up together.
type quotasView struct {
	At     string       `json:"counted_at"`
	Levels []quotaLevel `json:"levels"` // the widest first
	at     time.Time
}

type quotaLevel struct {
	Name   string      `json:"level"` // network, team, class
	Quotas []quotaView `json:"quotas"`
}

type quotaView struct {
	Scope    string `json:"scope"`
	Name     string `json:"name,omitempty"` // of the team or class
	Kind     string `json:"kind"`
	State    string `json:"state"` // open, low: most of it is used up, spent: nothing is left
	Limit    int64  `json:"limit"`
	Used     int64  `json:"used"`
	Left     int64  `json:"left"` // below 0 where the limit was set below what was used
	Given    int64  `json:"given"`
	Period   string `json:"period"` // hour, day, "" for good
	RenewsAt string `json:"renews_at,omitempty"`
	WarnedAt string `json:"warned_at,omitempty"` // when operators were told
	Reported bool   `json:"reported"`
	Reason   string `json:"reason"`

	renews, warned time.Time
}

// Percent is how much of it is used, between 0 and 100.
func (v quotaView) Percent() int64 {
	if v.Left <= 0 {
		return 100
	}
	return min(99, v.Used*100/v.Limit)
}

// Unit is what is counted.
func (v quotaView) Unit() string {
	switch v.Kind {
	case "money_micros":
		return "millionths of money"
	case "cpu_ms":
		return "ms of processor time"
	}
	return v.Kind
}

// Renews and Warned are moments, zero for never.
func (v quotaView) Renews() time.Time { return v.renews }
func (v quotaView) Warned() time.Time { return v.warned }
func (v *quotasView) When() time.Time { return v.at }

// Any reports whether there is a quota.
func (v *quotasView) Any() bool {
	return slices.ContainsFunc(v.Levels, func(l quotaLevel) bool { return len(l.Quotas) > 0 })
}

// In says how long it is until something is, short.
func (p *page) In(t time.Time) string {
	switch d := t.Sub(p.now); {
	case d < time.Minute:
		return "within a minute"
	case d < time.Hour:
		return fmt.Sprintf("in %d min", d/time.Minute)
	default:
		return fmt.Sprintf("in %d h", d/time.Hour)
	}
}

// GET /quotas
func (d *door) quotas(ctx context.Context, c *api.Call, _ string) (*page, error) {
	list, err := d.Lifecycle.ListQuotas.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return nil, err
	}
	v := &quotasView{at: d.Kernel.Clock(), Levels: []quotaLevel{{"network", []quotaView{}}, {"team", []quotaView{}}, {"class", []quotaView{}}}}
	v.At = wire(v.at)
	for i := range list {
		level, name, _ := strings.Cut(list[i].On.Scope, ":")
		for at := range v.Levels {
			if v.Levels[at].Name == level {
				v.Levels[at].Quotas = append(v.Levels[at].Quotas, quotaOf(&list[i], name))
			}
		}
	}
	return &page{Page: "quotas", Title: "Quotas", Quotas: v}, nil
}

func quotaOf(q *lifecycle.Quota, name string) quotaView {
	v := quotaView{
		Scope: q.On.Scope, Name: name, Kind: q.On.Kind, State: "open", Limit: q.Limit, Used: q.Used, Left: q.Left(), Given: q.Given,
		Period: string(q.Period), Reported: q.Reported(), Reason: q.Reason, renews: moment(q.RenewsAt()), warned: moment(q.WarnedAt),
	}
	v.RenewsAt, v.WarnedAt = wire(v.renews), wire(v.warned)
	switch {
	case v.Left <= 0:
		v.State = "spent"
	case q.Low():
		v.State = "low"
	}
	return v
}
