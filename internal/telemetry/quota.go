package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Quota is what agents may use up together, and what they have used of it.
type Quota struct {
	Scope, Kind        string
	Limit, Used, Given int64
	Low                bool // most of it is used up
}

// maxQuotas bounds the quotas that have figures of their own. All are counted.
const maxQuotas = 256

// WatchQuotas sets where scrapes read the quotas. What it returns is in an order that stays,
// the widest first.
func (m *Metrics) WatchQuotas(list func() []Quota) { m.quotas.list.Store(&list) }

// quotas tells on scrapes what is used of each quota.
type quotas struct {
	list atomic.Pointer[func() []Quota]
}

var (
	quotaCount = prometheus.NewDesc("reef_quotas", "Quotas of the network, of teams and of classes.", nil, nil)
	quotaLow   = prometheus.NewDesc("reef_quotas_low", "Quotas of which most is used up.", nil, nil)
	quotaLimit = prometheus.NewDesc("reef_quota_limit", "How much agents may use up together in a period.", []string{"scope", "kind"}, nil)
	quotaUsed  = prometheus.NewDesc("reef_quota_used", "How much of a quota is used up in its period.", []string{"scope", "kind"}, nil)
	quotaGiven = prometheus.NewDesc("reef_quota_given", "How much of a quota nodes have for their agents, used or not.", []string{"scope", "kind"}, nil)
)

func (q *quotas) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{quotaCount, quotaLow, quotaLimit, quotaUsed, quotaGiven} {
		to <- desc
	}
}

func (q *quotas) Collect(to chan<- prometheus.Metric) {
	watched := q.list.Load()
	if watched == nil {
		return
	}
	list, low := (*watched)(), 0
	for i, one := range list {
		if one.Low {
			low++
		}
		if i >= maxQuotas {
			continue
		}
		for desc, value := range map[*prometheus.Desc]int64{quotaLimit: one.Limit, quotaUsed: one.Used, quotaGiven: one.Given} {
			to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), label(one.Scope), one.Kind)
		}
	}
	to <- prometheus.MustNewConstMetric(quotaCount, prometheus.GaugeValue, float64(len(list)))
	to <- prometheus.MustNewConstMetric(quotaLow, prometheus.GaugeValue, float64(low))
}
