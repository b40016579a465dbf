package provenance

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/bus"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// open lets every agent act and every act happen, and counts nothing.
type open struct{}

func (open) Standing(act.ID) (act.Standing, int64)                { return act.Active, 1 }
func (open) Expect(tx *store.Tx, _ act.Principal, _ act.ID) error { return allow(tx, nil, nil) }
func (open) Place(act.ID) act.Standing                            { return act.Active }
func (open) Decide(act.Principal, gate.Question) gate.Decision {
	return gate.Decision{Allow: true, Policy: "open"}
}
func (o open) Sit(p act.Principal, name string) gate.Sitting { return sitting{o, p, name} }
func (open) Version() int64                                  { return 0 }
func (open) ActDone(act, outcome string, took time.Duration) {}
func (open) Denied(act, rule string)                         {}

type sitting struct {
	open
	p    act.Principal
	name string
}

func (s sitting) Decide(f gate.Facts) *gate.Decision {
	d := s.open.Decide(s.p, gate.Question{Act: s.name, Resource: f})
	return &d
}

const qTestEventPos store.Q = `SELECT pos FROM event WHERE act = $1 ORDER BY pos`

// A write and a read through the real gate leave their leaf, edges and row.
func TestThroughTheGate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		codec, err := act.NewCodec(bytes.Repeat([]byte{5}, act.CodecKeySize))
		if err != nil {
			t.Fatal(err)
		}
		b, err := bus.Open(t.Context(), bus.Config{Prefix: "test"})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close() //nolint:errcheck // the test is over
		g := gate.New(db, b, gate.Config{Limits: gate.LimitsOpen})
		tr := start(t, db, Config{})
		parent := posts(t, db, 1)[0]
		type replied struct{ out act.Ref }
		reply := gate.RegisterWrite(g, gate.Write[int, replied]{
			Info: gate.Info{Name: "comment.create", Doc: "reply", On: act.KindPost},
			Run: func(_ context.Context, tx *store.Tx, _ act.Principal, edges int) (replied, gate.Effects, error) {
				id, err := tx.Mint(act.KindComment)
				fx := gate.Effects{Out: act.Ref{ID: id, Version: 1}}
				for range edges {
					fx.Edges = append(fx.Edges, gate.Edge{From: parent, Kind: gate.EdgeReply})
				}
				return replied{fx.Out}, fx, err
			},
		})
		read := gate.RegisterRead(g, gate.Read[act.Ref, act.Ref]{
			Info: gate.Info{Name: "post.read", Doc: "read"},
			Run:  func(_ context.Context, _ *store.View, _ act.Principal, in act.Ref) (act.Ref, error) { return in, nil },
			Shown: func(_ act.Principal, out act.Ref, item func(act.Ref, gate.Facts) bool) act.Ref {
				item(out, gate.Facts{})
				return out
			},
		})
		g.Plug(gate.Ports{Standings: open{}, Decider: open{}, Recorder: audit.New(audit.Config{Codec: codec}), Tracer: tr, Meter: open{}})
		if err := g.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer g.Close()

		p := agent(t, db)
		if _, err := read.Do(t.Context(), p, parent); err != nil {
			t.Fatal(err)
		}
		var made []act.Ref
		for _, edges := range []int{2, 0, 1} {
			r, err := reply.Do(t.Context(), p, edges)
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, r.out)
		}
		var events []int64
		var edges []Derivation
		if err := db.View(t.Context(), func(v *store.View) error {
			if err := v.All(qTestEventPos, func(r *store.Row) error { events = append(events, r.Int(0)); return nil }, "comment.create"); err != nil {
				return err
			}
			return DerivedFrom(v, parent.ID, func(d Derivation) error { edges = append(edges, d); return nil })
		}); err != nil {
			t.Fatal(err)
		}
		want := []Derivation{
			{events[0], 0, parent, made[0], 3, gate.EdgeReply},
			{events[0], 1, parent, made[0], 3, gate.EdgeReply},
			{events[2], 0, parent, made[2], 3, gate.EdgeReply},
		}
		if len(events) != 3 || !slices.Equal(edges, want) {
			t.Errorf("edges %+v, want %+v", edges, want)
		}
		got := rows(t, db, p.ID)
		if len(got) != 1 || !slices.Equal(got[0].Items, []act.Ref{parent}) || got[0].Channel != "post.read" || got[0].Pos >= events[0] {
			t.Errorf("rows %+v; the showing comes before the events %v", got, events)
		}
		r, err := audit.Verify(t.Context(), db, audit.Verifying{Codec: codec, Key: audit.Key{Sign: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}})
		if err != nil || !r.OK() || r.Leaves+r.Waiting != 3 {
			t.Errorf("record: %+v %v", r, err)
		}
	})
}

func TestLastPosition(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		tr := New(db, Config{})
		undone := errors.New("undone")
		for _, last := range []error{nil, undone, nil} {
			err := db.Write(t.Context(), func(tx *store.Tx) error {
				if tx.LastPosition() != 0 {
					t.Error("a new transaction has the position of another")
				}
				edges := []gate.Edge{{From: act.Ref{ID: 1}, Kind: gate.EdgeVote}}
				if err := tr.Derive(tx, act.Principal{}, gate.Effects{Edges: edges}); act.CodeOf(err) != act.Internal {
					t.Errorf("edges without an event: %v", err)
				}
				for range 2 {
					pos, err := tx.Event(store.Event{Act: "a.b", At: tx.Now()})
					if err != nil {
						return err
					}
					if _, _, err := tx.Position(); err != nil { // an exposure's position is not an event's
						return err
					}
					if got := tx.LastPosition(); got != pos {
						t.Errorf("last position %d, want %d", got, pos)
					}
				}
				return last
			})
			if !errors.Is(err, last) {
				t.Fatal(err)
			}
		}
	})
}

// Rows that the sequencer has numbered come in the order of the sequence.
func TestOrderOfTheSequence(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		tr := start(t, db, Config{})
		p, items := agent(t, db), posts(t, db, 6)
		for i := range items {
			expose(t, tr, page25(p, items[i:i+1]))
			if i%2 == 0 {
				if err := db.Write(t.Context(), func(tx *store.Tx) error {
					_, err := tx.Event(store.Event{Act: "a.b", At: tx.Now()})
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		lease, ok, err := db.Lead(t.Context(), store.SequencerLease)
		if err != nil || !ok {
			t.Fatalf("lead: %v %v", ok, err)
		}
		if _, err := db.SequencePass(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
		var after []int64
		for i, x := range rows(t, db, p.ID) {
			after = append(after, x.AfterSeq)
			if !slices.Equal(x.Items, items[i:i+1]) {
				t.Errorf("row %d is %+v", i, x)
			}
		}
		if want := []int64{0, 1, 1, 2, 2, 3}; !slices.Equal(after, want) {
			t.Errorf("after_seq %v, want %v", after, want)
		}
	})
}
