package audit

import (
	"bytes"
	"log/slog"
	"sync"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Config is what a log needs.
type Config struct {
	Codec *act.Codec   // makes the outside ids that leaves hold; required
	Log   *slog.Logger // nil discards
}

// Log records acts; it is the gate's Recorder. It is safe for concurrent use.
type Log struct {
	codec *act.Codec
	log   *slog.Logger
	pool  sync.Pool // of *[]byte, the buffers leaves are rendered in
}

// New returns a log.
func New(c Config) *Log {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{codec: c.Codec, log: c.Log}
	l.pool.New = func() any { b := make([]byte, 0, leafRoom); return &b }
	return l
}

// leafRoom holds most leaves; a longer one makes its buffer grow. Buffers that
// grew beyond leafKeep are not kept.
const (
	leafRoom = 1 << 10
	leafKeep = 16 << 10
)

const qLeafAdd store.Q = `INSERT INTO leaf (pos, body) VALUES ($1, $2)`

// Record adds the entry's event row and leaf to tx. It fails only if storage
// does, or if a number of the entry has no exact form in JSON (a defect).
func (l *Log) Record(tx *store.Tx, e gate.Entry) error {
	if n, ok := inexact(&e); ok {
		return act.Errorf(act.Internal, "the number %d does not fit into a leaf of %s", n, e.Act)
	}
	ref := e.Out
	if ref.ID == 0 {
		ref = e.Target
	}
	if ref.ID == 0 {
		ref = act.Ref{} // a version of nothing is nothing
	}
	pos, err := tx.Event(store.Event{Act: e.Act, Ref: ref, Target: e.Target.ID, Actor: actor(e.Principal), Outcome: int64(e.Outcome), At: e.At})
	if err != nil {
		return err
	}
	buf := l.pool.Get().(*[]byte)
	body := AppendLeaf((*buf)[:0], l.codec, &e)
	if !utf8.ValidString(e.Reason) || !utf8.ValidString(e.Rule) || !utf8.ValidString(e.Principal.Name) {
		l.log.Warn("text of a leaf was mended", "act", e.Act, "pos", pos)
	}
	sent := body
	if tx.Dialect() == store.Postgres {
		sent = bytes.Clone(body) // it travels with a later statement, when the buffer may be in use again
	}
	err = tx.Batch(qLeafAdd, pos, sent)
	if cap(body) <= leafKeep {
		*buf = body
		l.pool.Put(buf)
	}
	return err
}

// actor is whom the event row names: background work and strangers are 0.
func actor(p act.Principal) act.ID {
	if p.Kind == act.Agent || p.Kind == act.Operator {
		return p.ID
	}
	return 0
}

// maxExact is the largest integer that every JSON reader takes exactly
// (RFC 8785 §3.2.2.3, RFC 7493 §2.2). In microseconds it is the year 2255.
const maxExact = 1<<53 - 1

// inexact returns a number of the entry that is negative or above maxExact.
func inexact(e *gate.Entry) (int64, bool) {
	for _, n := range [...]int64{e.At, e.Count, e.Principal.Epoch, e.Decision.Bundle, e.Target.Version, e.Out.Version} {
		if n < 0 || n > maxExact {
			return n, true
		}
	}
	return 0, false
}
