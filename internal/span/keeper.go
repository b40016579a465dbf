package span

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

const (
	// DefaultKeep is for how long reports are kept when nothing else is said.
	DefaultKeep = 7 * 24 * time.Hour

	maxShown    = 2000 // records and acts of one trace that are shown
	forgetBatch = 1000
)

// Config is what a keeper is made of. Act is required.
type Config struct {
	// Act returns the act at a position of the record.
	Act func(v *store.View, pos int64) (Act, error)
}

// Act is an act that was asked for under a span of its caller's.
type Act struct {
	Seq     int64
	Name    string
	At      int64 // Unix microseconds
	Outcome string
	Agent   string // outside id
	Thing   string // outside id of what it made or was aimed at; "" for none
	Trace   string // of the act: what its answer named as X-Request-Id
	Under   string // the caller's span
}

// Keeper keeps reports and has the acts on them.
type Keeper struct {
	Report *gate.WriteAct[Report, Receipt]
	Read   *gate.ReadAct[string, Trace]

	config Config
	clock  act.Clock
}

// Receipt says what became of a report.
type Receipt struct{ Taken, Refused int }

// Answer is the receipt as the protocol has it: ExportTraceServiceResponse and
// ExportLogsServiceResponse are alike, and empty when everything was taken.
func (r Receipt) Answer() []byte {
	if r.Refused == 0 {
		return nil
	}
	var partial []byte
	partial = protowire.AppendTag(partial, 1, protowire.VarintType)
	partial = protowire.AppendVarint(partial, uint64(r.Refused))
	partial = protowire.AppendTag(partial, 2, protowire.BytesType)
	partial = protowire.AppendString(partial, fmt.Sprintf("records need the ids of a trace, and a report has at most %d", MaxRecords))
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), partial)
}

// Trace is what is known of one trace of callers': what they reported, and the acts that
// they asked for under it, each in the order of time.
type Trace struct {
	ID      string
	Records []Reported
	Acts    []Act
}

// Reported is a record with whose claim it is.
type Reported struct {
	Record
	Agent act.ID
}

// New returns a keeper, with its acts registered.
func New(g *gate.Gate, c Config) *Keeper {
	k := &Keeper{config: c, clock: g.Now}
	k.Report = gate.RegisterWrite(g, gate.Write[Report, Receipt]{
		Info:   gate.Info{Name: "telemetry.report", Doc: "Report spans or log records of your own work by OTLP; they are kept for a time, beside the acts that came of them.", On: act.KindNetwork, Quota: gate.QuotaWrite},
		Shares: true,
		Run:    k.report,
	})
	k.Read = gate.RegisterRead(g, gate.Read[string, Trace]{
		Info: gate.Info{Name: "telemetry.read", Doc: "Show what was reported under a trace of callers', with the acts that it asked for; an agent sees its own.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run:  k.read,
	})
	return k
}

const (
	qSpanAdd store.Q = `INSERT INTO agent_span (trace, agent, id, log, name, began_at, body, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (trace, agent, id) DO NOTHING`
	qSpansOf  store.Q = `SELECT agent, log, name, began_at, body FROM agent_span WHERE trace = $1 AND (CAST($2 AS BIGINT) = 0 OR agent = $2) ORDER BY trace, agent, id LIMIT $3`
	qSpanOver store.Q = `DELETE FROM agent_span WHERE (trace, agent, id) IN (SELECT trace, agent, id FROM agent_span WHERE at < $1 ORDER BY at, trace, agent, id LIMIT $2)`
	qCallAdd  store.Q = `INSERT INTO caller (trace, pos, agent, span, at) VALUES ($1, $2, $3, $4, $5)`
	qCallsOf  store.Q = `SELECT pos, span FROM caller WHERE trace = $1 AND (CAST($2 AS BIGINT) = 0 OR agent = $2) ORDER BY trace, pos LIMIT $3`
	qCallOver store.Q = `DELETE FROM caller WHERE (trace, pos) IN (SELECT trace, pos FROM caller WHERE at < $1 ORDER BY at, trace, pos LIMIT $2)`

	// QPastSpans counts reports that were made before a time, as far as a number.
	QPastSpans store.Q = `SELECT COUNT(*) FROM (SELECT id FROM agent_span WHERE at < $1 ORDER BY at, trace, agent, id LIMIT $2) AS past`
	// QPastCallers counts acts that were done before it.
	QPastCallers store.Q = `SELECT COUNT(*) FROM (SELECT pos FROM caller WHERE at < $1 ORDER BY at, trace, pos LIMIT $2) AS past`

	// QOldestSpan asks when the oldest report that is kept was made.
	QOldestSpan store.Q = `SELECT at FROM agent_span WHERE at > 0 ORDER BY at, trace, agent, id LIMIT 1`
	// QOldestCaller asks when the oldest act was done whose caller's span is kept.
	QOldestCaller store.Q = `SELECT at FROM caller WHERE at > 0 ORDER BY at, trace, pos LIMIT 1`
)

// kept is the part of a record that no question is asked by.
type kept struct {
	Span   string            `json:"span,omitempty"`
	Parent string            `json:"parent,omitempty"`
	Took   int64             `json:"took,omitempty"`
	Failed bool              `json:"failed,omitempty"`
	Attrs  map[string]string `json:"attrs,omitempty"`
	Links  []Link            `json:"links,omitempty"`
}

func (k *Keeper) report(_ context.Context, tx *store.Tx, p act.Principal, in Report) (Receipt, gate.Effects, error) {
	h := sha256.New()
	for i := range in.Records {
		x := &in.Records[i]
		trace, err := hex.DecodeString(x.Trace)
		if err != nil {
			return Receipt{}, gate.Effects{}, malformed("a trace id is not hex")
		}
		body, err := json.Marshal(kept{x.Span, x.Parent, x.Took, x.Failed, x.Attrs, x.Links})
		if err != nil {
			return Receipt{}, gate.Effects{}, err
		}
		id := idOf(x, body)
		h.Write(id)
		if err := tx.Batch(qSpanAdd, trace, p.ID, id, x.Log, x.Name, x.Begin, body, tx.Now()); err != nil {
			return Receipt{}, gate.Effects{}, err
		}
	}
	var fx gate.Effects
	copy(fx.In[:], h.Sum(nil))
	return Receipt{Taken: len(in.Records), Refused: in.Refused}, fx, nil
}

// idOf tells a record of a trace and agent from others: a span by its id, a log record by
// all that it says.
func idOf(x *Record, body []byte) []byte {
	if !x.Log {
		id, _ := hex.DecodeString(x.Span) // Parse has looked at it
		return id
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s", x.Begin, x.Name, body))
	return sum[:]
}

// only is whose reports p sees: 0 for everybody's.
func only(p act.Principal) act.ID {
	if p.Kind == act.Agent {
		return p.ID
	}
	return 0
}

func (k *Keeper) read(_ context.Context, v *store.View, p act.Principal, id string) (t Trace, err error) {
	trace, err := hex.DecodeString(id)
	if err != nil || !named(id, traceDigits) {
		return t, act.Errorf(act.Invalid, "a trace id has %d hex digits", traceDigits).WithRule("telemetry.trace").WithHint("take it from the traceparent that was sent")
	}
	t.ID = id
	if err := v.All(qSpansOf, func(r *store.Row) error {
		var b kept
		if err := json.Unmarshal(r.Bytes(4), &b); err != nil {
			return fmt.Errorf("span: a report of trace %s: %w", id, err)
		}
		t.Records = append(t.Records, Reported{Agent: r.ID(0), Record: Record{
			Trace: id, Log: r.Bool(1), Name: r.Text(2), Begin: r.Int(3),
			Span: b.Span, Parent: b.Parent, Took: b.Took, Failed: b.Failed, Attrs: b.Attrs, Links: b.Links,
		}})
		return nil
	}, trace, only(p), int64(maxShown)); err != nil {
		return t, err
	}
	type call struct {
		pos  int64
		span string
	}
	var calls []call
	if err := v.All(qCallsOf, func(r *store.Row) error {
		calls = append(calls, call{r.Int(0), hex.EncodeToString(r.Bytes(1))})
		return nil
	}, trace, only(p), int64(maxShown)); err != nil {
		return t, err
	}
	for _, c := range calls {
		a, err := k.config.Act(v, c.pos)
		if err != nil {
			return t, err
		}
		a.Under = c.span
		t.Acts = append(t.Acts, a)
	}
	if len(t.Records) == 0 && len(t.Acts) == 0 {
		return t, act.Errorf(act.NotFound, "nothing is known of this trace").WithRule("telemetry.trace").WithHint("reports are kept for some days only, and an agent sees its own")
	}
	return t, nil
}

// Called notes under which span of its caller's an act was asked for, in the act's
// transaction, when its leaf has been added.
func (k *Keeper) Called(tx *store.Tx, e gate.Entry) error {
	trace, err := hex.DecodeString(e.Caller.Trace)
	if err != nil {
		return err
	}
	span, err := hex.DecodeString(e.Caller.Span)
	if err != nil {
		return err
	}
	return tx.Batch(qCallAdd, trace, tx.LastPosition(), e.Principal.ID, span, tx.Now())
}

// Housekeep drops what was reported longer ago than such is kept, by a setting or as
// operators say.
func Housekeep(ctx context.Context, db *store.DB, keep time.Duration) error {
	for _, q := range []store.Q{qSpanOver, qCallOver} {
		for dropped := int64(forgetBatch); dropped == forgetBatch; {
			if err := db.Write(ctx, func(tx *store.Tx) error {
				before, err := tx.Expired(store.TermSpans, keep)
				if err == nil {
					dropped, err = tx.Exec(q, before, int64(forgetBatch))
				}
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}
