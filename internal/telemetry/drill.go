package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Drill is what came of a control the last time that it was tried.
type Drill struct {
	Control   string
	Held      bool
	Stop, Ack time.Duration
	At        time.Time
}

// WatchDrills sets where scrapes read the last drill of each control.
func (m *Metrics) WatchDrills(list func() []Drill) { m.drills.list.Store(&list) }

// drills tells on scrapes how the controls held that were tried.
type drills struct {
	list atomic.Pointer[func() []Drill]
}

var (
	drillHeld = prometheus.NewDesc("reef_drill_held", "1 if the control held the last time that it was tried on a canary, 0 if it failed.", []string{"control"}, nil)
	drillStop = prometheus.NewDesc("reef_drill_stop_seconds", "From the order to the canary's last act, the last time.", []string{"control"}, nil)
	drillAck  = prometheus.NewDesc("reef_drill_ack_seconds", "From the order to its answer, the last time.", []string{"control"}, nil)
	drillAt   = prometheus.NewDesc("reef_drill_time_seconds", "When the control was tried, as a Unix time.", []string{"control"}, nil)
)

func (d *drills) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{drillHeld, drillStop, drillAck, drillAt} {
		to <- desc
	}
}

func (d *drills) Collect(to chan<- prometheus.Metric) {
	list := d.list.Load()
	if list == nil {
		return
	}
	for _, x := range (*list)() {
		for desc, value := range map[*prometheus.Desc]float64{
			drillHeld: oneIf(x.Held), drillStop: x.Stop.Seconds(), drillAck: x.Ack.Seconds(), drillAt: float64(x.At.Unix()),
		} {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, label(x.Control))
		}
	}
}
