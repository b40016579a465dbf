package server

import (
	"github.com/reefwarden/reefwarden/internal/export"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/telemetry"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp"
)

// witness makes spans of what passes the gate, if spans are sent.
func (s *Server) witness() gate.Witness {
	if s.Config.Out == nil || !s.Config.Out.Traces() {
		return nil
	}
	s.spans = export.NewSpans(export.SpansConfig{Out: s.Config.Out, DB: s.DB, Codec: s.Codec, Network: s.Config.Network, Log: s.log})
	return s.spans
}

// sendMetrics has the metrics tell how exports stand, and sends them out where that is
// asked for.
func (s *Server) sendMetrics() {
	s.Metrics.WatchExports(s.exports)
	if s.Config.Out != nil {
		s.Config.Out.Push(s.Metrics.Registry(), s.Config.Network)
	}
}

// exports tells how what is sent out stands. What is the process's, the default network
// tells.
func (s *Server) exports() (list []telemetry.Export) {
	if s.spans != nil {
		list = append(list, telemetry.Export{Name: "acts", Dropped: s.spans.Dropped(), Behind: -1})
	}
	if s.Config.Out != nil && s.Config.Network == "" {
		for _, x := range []otlp.Signal{otlp.Traces, otlp.Metrics, otlp.Logs} {
			list = append(list, telemetry.Export{Name: x.String(), Dropped: s.Config.Out.Dropped(x), Behind: -1})
		}
	}
	return list
}
