package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Export is how it goes with something that is sent out of the network.
type Export struct {
	Name    string // traces, metrics, logs, acts, ocsf
	Dropped int64  // what was not taken and is lost there; the record has it
	Behind  int64  // what waits in the record, -1 where nothing is kept for it
}

// WatchExports sets where scrapes read how exports stand.
func (m *Metrics) WatchExports(list func() []Export) { m.exports.list.Store(&list) }

// exports tells on scrapes how far what is sent out is behind.
type exports struct {
	list atomic.Pointer[func() []Export]
}

var (
	exportDropped = prometheus.NewDesc("reef_export_dropped_total", "Spans, log records and the like that were not taken by their receiver, or came faster than they could be sent.", []string{"export"}, nil)
	exportBehind  = prometheus.NewDesc("reef_export_behind", "Records that an export has not sent yet; none of them is lost.", []string{"export"}, nil)
)

func (e *exports) Describe(to chan<- *prometheus.Desc) {
	to <- exportDropped
	to <- exportBehind
}

func (e *exports) Collect(to chan<- prometheus.Metric) {
	list := e.list.Load()
	if list == nil {
		return
	}
	for _, x := range (*list)() {
		if x.Behind < 0 {
			to <- prometheus.MustNewConstMetric(exportDropped, prometheus.CounterValue, float64(x.Dropped), label(x.Name))
			continue
		}
		to <- prometheus.MustNewConstMetric(exportBehind, prometheus.GaugeValue, float64(x.Behind), label(x.Name))
	}
}
