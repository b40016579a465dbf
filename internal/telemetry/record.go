package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Record is how far the tamper-evident record has come.
type Record struct {
	Leaves    int64 // there are
	Signed    int64 // of them are under a signed checkpoint
	Served    int64 // and under one that has its witnesses
	Good      bool  // it goes on from what this node has kept of it
	Witnesses []Witness
}

// Witness is whether a witness cosigned what it was asked for last.
type Witness struct {
	Name string
	Good bool
}

// WatchRecord sets where scrapes read how far the record has come.
func (m *Metrics) WatchRecord(state func() Record) { m.record.state.Store(&state) }

// record tells on scrapes how far the record has come.
type record struct {
	state atomic.Pointer[func() Record]
}

var (
	recordLeaves = prometheus.NewDesc("reef_record_leaves", "Leaves of the record.", nil, nil)
	recordSigned = prometheus.NewDesc("reef_record_signed_leaves", "Leaves that a signed checkpoint covers.", nil, nil)
	recordServed = prometheus.NewDesc("reef_record_witnessed_leaves", "Leaves that a checkpoint covers which enough witnesses have cosigned.", nil, nil)
	recordGood   = prometheus.NewDesc("reef_record_good", "0 if the record does not go on from the checkpoint that this node keeps outside the database.", nil, nil)
	witnessGood  = prometheus.NewDesc("reef_witness_good", "0 if the witness did not cosign the last checkpoint that this node asked it for.", []string{"witness"}, nil)
)

func (r *record) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{recordLeaves, recordSigned, recordServed, recordGood, witnessGood} {
		to <- desc
	}
}

func (r *record) Collect(to chan<- prometheus.Metric) {
	state := r.state.Load()
	if state == nil {
		return
	}
	s := (*state)()
	for desc, value := range map[*prometheus.Desc]float64{
		recordLeaves: float64(s.Leaves), recordSigned: float64(s.Signed), recordServed: float64(s.Served), recordGood: oneIf(s.Good),
	} {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	for _, w := range s.Witnesses {
		to <- prometheus.MustNewConstMetric(witnessGood, prometheus.GaugeValue, oneIf(w.Good), label(w.Name))
	}
}
