package server

import (
	"fmt"
	"slices"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/export"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/span"
	"github.com/reefwarden/reefwarden/internal/store"
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
	if s.ocsf != nil {
		list = append(list, telemetry.Export{Name: "ocsf", Behind: s.ocsf.Behind()})
	}
	return list
}

// recorder puts acts on record, and beside them under which span of its own their caller
// asked, if it says so.
type recorder struct {
	*audit.Log
	spans *span.Keeper
}

func (r recorder) Record(tx *store.Tx, e gate.Entry) error {
	if err := r.Log.Record(tx, e); err != nil || e.Caller == (telemetry.Caller{}) || e.Principal.Kind != act.Agent {
		return err
	}
	return r.spans.Called(tx, e)
}

// actAt tells span of an act on record.
func actAt(v *store.View, pos int64) (span.Act, error) {
	f, found, err := audit.At(v, pos)
	if err == nil && !found {
		err = fmt.Errorf("nothing is on record at %d", pos)
	}
	if err != nil {
		return span.Act{}, err
	}
	a := span.Act{Seq: f.Seq, Name: f.Leaf.Act, At: f.Leaf.At, Outcome: f.Leaf.Outcome, Agent: f.Leaf.Principal.ID, Thing: f.Leaf.Out.ID, Trace: f.Leaf.Trace}
	if a.Thing == "" {
		a.Thing = f.Leaf.Target.ID
	}
	return a, nil
}

const ocsfEvery = time.Second

// ocsfChore gives the record to the sinks of the settings; without any there is none.
func (s *Server) ocsfChore() ([]chore, error) {
	if len(s.Config.OCSF) == 0 {
		return nil, nil
	}
	key, err := export.Key(s.Config.OCSFKey)
	if err != nil {
		return nil, err
	}
	c := export.OCSFConfig{DB: s.DB, Network: s.Config.PublicURL, Version: s.Config.Program, Log: s.log}
	if c.Network == "" {
		c.Network = "reefwarden:" + networkCode(s.Keys.Check()) // its address may change, and tells two networks apart no better
	}
	for _, text := range s.Config.OCSF {
		sink, err := export.OpenSink(text, key, s.Config.Stdout)
		if err != nil {
			export.NewOCSF(c).Close()
			return nil, err
		}
		c.Sinks = append(c.Sinks, sink)
	}
	s.ocsf = export.NewOCSF(c)
	return []chore{{name: "ocsf", every: ocsfEvery, limit: time.Minute, do: s.ocsf.Pass}}, nil
}

// checkSinks refuses what is no sink, opening none.
func (c Config) checkSinks() error {
	key, err := export.Key(c.OCSFKey)
	for _, text := range slices.Sorted(slices.Values(c.OCSF)) {
		if err == nil {
			err = export.CheckSink(text, key)
		}
	}
	return err
}
