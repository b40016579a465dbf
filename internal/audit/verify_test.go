package audit_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const (
	qTestLeaves  store.Q = `SELECT l.body FROM leaf l JOIN event e ON e.pos = l.pos ORDER BY l.pos`
	qTestDrop    store.Q = `DELETE FROM leaf WHERE pos = (SELECT pos FROM event WHERE seq = $1)`
	qTestSurplus store.Q = `INSERT INTO leaf (pos, body) VALUES ($1, $2)`
	qTestBody    store.Q = `UPDATE leaf SET body = $2 WHERE pos = (SELECT pos FROM event WHERE seq = $1)`
	qTestAct     store.Q = `UPDATE event SET act = $2 WHERE seq = $1`
	qTestRef     store.Q = `UPDATE event SET ref = $2 WHERE seq = $1`
	qTestVersion store.Q = `UPDATE event SET version = version + $2 WHERE seq = $1`
	qTestActor   store.Q = `UPDATE event SET actor = $2 WHERE seq = $1`
	qTestAt      store.Q = `UPDATE event SET at = at + $2 WHERE seq = $1`
	qTestGap     store.Q = `UPDATE event SET seq = seq + $2 WHERE seq = $1`
)

func newCodec(t testing.TB) *act.Codec {
	t.Helper()
	c, err := act.NewCodec(bytes.Repeat([]byte{9}, act.CodecKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mint(t testing.TB, db *store.DB, kind act.Kind) act.ID {
	t.Helper()
	id, err := db.Mint(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func write(t testing.TB, db *store.DB, fn func(*store.Tx) error) {
	t.Helper()
	if err := db.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func number(t testing.TB, db *store.DB) {
	t.Helper()
	lease, ok, err := db.Lead(t.Context(), store.SequencerLease)
	if err != nil || !ok {
		t.Fatalf("lead: %v %v", ok, err)
	}
	if _, err := db.SequencePass(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	if err := db.Resign(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
}

func verify(t testing.TB, db *store.DB, c *act.Codec) audit.Report {
	t.Helper()
	r, err := audit.Verify(t.Context(), db, audit.Verifying{Codec: c, Key: testKey(1)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// entries are acts of every kind of principal and outcome.
func entries(t testing.TB, db *store.DB) []gate.Entry {
	agent := act.Principal{Kind: act.Agent, ID: mint(t, db, act.KindAgent), Name: "ada", Epoch: 1, Binding: act.BindingBootstrap}
	operator := act.Principal{Kind: act.Operator, ID: mint(t, db, act.KindOperator), Name: "o\x00p\xff\"", Binding: act.BindingOperator}
	system := act.Principal{Kind: act.System, ID: mint(t, db, act.KindSystem), Name: "import"}
	post, comment := act.Ref{ID: mint(t, db, act.KindPost), Version: 1}, act.Ref{ID: mint(t, db, act.KindComment), Version: 3}
	return []gate.Entry{
		{Act: "post.create", At: 10, Principal: agent, Out: post, In: [32]byte{1}, Count: 1, Decision: gate.Decision{Policy: "p", Bundle: 1}},
		{Act: "comment.create", At: 11, Principal: agent, Target: post, Out: comment, Count: 1},
		{Act: "agent.pause", At: 12, Principal: operator, Target: act.Ref{ID: agent.ID}, Reason: "x\u2028", Count: 1},
		{Act: "post.create", At: 13, Principal: agent, Outcome: gate.Refused, Code: act.RateLimited, Rule: "quota.post", Count: 41},
		{Act: "post.read", At: 14, Principal: act.Principal{Source: "s"}, Outcome: gate.Refused, Code: act.Denied, Count: 2},
		{Act: "import.run", At: 15, Principal: system, Out: act.Ref{Version: 9}, Count: 1},
		{Act: "import.run", At: 16, Principal: act.SystemPrincipal("import"), Outcome: gate.Failed, Code: act.Internal, Count: 1},
	}
}

func TestRecordAndVerify(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		codec := newCodec(t)
		log := audit.New(audit.Config{Codec: codec})
		if r := verify(t, db, codec); !r.OK() || r.Leaves != 0 {
			t.Fatalf("an empty record: %+v", r)
		}
		list := entries(t, db)
		// Several leaves in one transaction, several transactions at once, and
		// some that are rolled back: a buffer used twice too early would show.
		undone := errors.New("undone")
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				err := db.Write(context.WithoutCancel(t.Context()), func(tx *store.Tx) error {
					for _, e := range list {
						if err := log.Record(tx, e); err != nil {
							return err
						}
					}
					if i%4 == 0 {
						return undone
					}
					return nil
				})
				if err != nil && !errors.Is(err, undone) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		const kept = 15
		r := verify(t, db, codec)
		if all := r.Leaves + r.Waiting; !r.OK() || all != int64(kept*len(list)) {
			t.Fatalf("before numbering: %+v, want %d rows", r, kept*len(list))
		}
		number(t, db)
		if r = verify(t, db, codec); !r.OK() || r.Leaves != int64(kept*len(list)) || r.Waiting != 0 {
			t.Fatalf("after numbering: %+v, want %d leaves", r, kept*len(list))
		}
		seen := map[string]int{}
		if err := db.View(t.Context(), func(v *store.View) error {
			return v.All(qTestLeaves, func(row *store.Row) error { seen[string(row.Bytes(0))]++; return nil })
		}); err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if n := seen[string(audit.AppendLeaf(nil, codec, &e))]; n != kept {
				t.Errorf("leaf of %s stands there %d times, want %d", e.Act, n, kept)
			}
		}
	})
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		codec := newCodec(t)
		log := audit.New(audit.Config{Codec: codec})
		list := entries(t, db)
		other := mint(t, db, act.KindPost)
		// Each row damages a round of entries of its own: nth of the round, what
		// to do to it, and what must be said of it.
		damages := []struct {
			nth  int64
			q    store.Q
			arg  any
			want string
		}{
			{3, qTestDrop, nil, "without a leaf"},
			{2, qTestBody, []byte(`{"act":"post.create"}`), "not a leaf"},
			{2, qTestBody, []byte{}, "not a leaf"},
			{1, qTestAct, "post.delete", "act"},
			{1, qTestRef, other, "thing"},
			{4, qTestRef, other, "thing"},
			{1, qTestRef, 0, "thing"},
			{2, qTestVersion, 1, "thing"},
			{1, qTestActor, other, "actor"},
			{5, qTestActor, other, "actor"},
			{1, qTestAt, 1, "time"},
			{7, qTestGap, 1, "follows"}, // last: it moves the end
		}
		for range damages {
			for _, e := range list {
				write(t, db, func(tx *store.Tx) error { return log.Record(tx, e) })
			}
			number(t, db)
		}
		round := int64(len(list))
		if r := verify(t, db, codec); !r.OK() || r.Leaves != round*int64(len(damages)) {
			t.Fatalf("undamaged: %+v", r)
		}
		for i, d := range damages {
			seq := int64(i)*round + d.nth
			args := []any{seq, d.arg}
			if d.arg == nil {
				args = args[:1]
			}
			write(t, db, func(tx *store.Tx) error {
				if n, err := tx.Exec(d.q, args...); err != nil || n != 1 {
					t.Errorf("%s changed %d rows: %v", d.q, n, err)
				}
				return nil
			})
			r := verify(t, db, codec)
			if r.Bad != int64(i+1) || len(r.Problems) != i+1 {
				t.Fatalf("%s at %d: %+v, want %d problems", d.q, seq, r, i+1)
			}
			if p := r.Problems[i]; p.Seq != seq || !strings.Contains(p.What, d.want) {
				t.Errorf("%s at %d: found %+v, want %q", d.q, seq, p, d.want)
			}
		}
		write(t, db, func(tx *store.Tx) error { _, err := tx.Exec(qTestSurplus, 1<<40, []byte("{}")); return err })
		r := verify(t, db, codec)
		if p := r.Problems[len(r.Problems)-1]; r.Bad != int64(len(damages)+1) || p.Pos != 1<<40 || p.Seq != 0 {
			t.Errorf("a leaf too many: %+v", r)
		}
	})
}

func TestRecordRefusesInexactNumbers(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	log := audit.New(audit.Config{Codec: newCodec(t)})
	for _, e := range []gate.Entry{
		{Act: "a.b", At: 1 << 53}, {Act: "a.b", At: -1}, {Act: "a.b", Out: act.Ref{ID: 1, Version: 1 << 60}},
	} {
		err := db.Write(t.Context(), func(tx *store.Tx) error { return log.Record(tx, e) })
		if act.CodeOf(err) != act.Internal {
			t.Errorf("%+v: %v, want a refusal", e, err)
		}
	}
	if r := verify(t, db, newCodec(t)); r.Leaves != 0 || !r.OK() {
		t.Errorf("something was stored: %+v", r)
	}
}

// BenchmarkVerify prints leaves a second over a record of 100,000.
func BenchmarkVerify(b *testing.B) {
	db := storetest.Open(b, store.SQLite)
	codec := newCodec(b)
	log := audit.New(audit.Config{Codec: codec})
	list := entries(b, db)
	const size = 100_000
	for done := 0; done < size; {
		if err := db.Write(b.Context(), func(tx *store.Tx) error {
			for range 10_000 {
				if err := log.Record(tx, list[done%len(list)]); err != nil {
					return err
				}
				done++
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := newTree(db).Integrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r := verify(b, db, codec); !r.OK() || r.Tree != size {
			b.Fatalf("%+v", r)
		}
	}
	b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
}
