package audit_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// Rows of the tables that the record is made of, for somebody with full access to the
// database.
const (
	qTestEventRows store.Q = `SELECT pos, seq, act, ref, version, target, actor, outcome, at FROM event ORDER BY pos`
	qTestLeafRows  store.Q = `SELECT pos, body FROM leaf ORDER BY pos`
	qTestTileRows  store.Q = `SELECT level, n, hashes, marks FROM tile ORDER BY level, n`
	qTestNoteRows  store.Q = `SELECT size, at, witnesses, note FROM checkpoint ORDER BY size`

	qTestNoEvents store.Q = `DELETE FROM event`
	qTestNoLeaves store.Q = `DELETE FROM leaf`
	qTestNoTiles  store.Q = `DELETE FROM tile`
	qTestNoNotes  store.Q = `DELETE FROM checkpoint`

	qTestEventAdd store.Q = `INSERT INTO event (pos, seq, act, ref, version, target, actor, outcome, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	qTestTileAdd  store.Q = `INSERT INTO tile (level, n, hashes, marks) VALUES ($1, $2, $3, $4)`
	qTestNoteAdd  store.Q = `INSERT INTO checkpoint (size, at, witnesses, note) VALUES ($1, $2, $3, $4)`
)

type eventRow struct {
	pos, seq                             int64
	act                                  string
	ref, version, target, actor, out, at int64
}

type tileRow struct {
	level, n      int64
	hashes, marks []byte
}

type noteRow struct {
	size, at, witnesses int64
	note                string
}

// rows is all that the record is.
type rows struct {
	events []eventRow
	leaves map[int64][]byte // by pos
	tiles  []tileRow
	notes  []noteRow
}

func dump(t testing.TB, db *store.DB) (all rows) {
	t.Helper()
	all.leaves = make(map[int64][]byte)
	if err := db.Snapshot(t.Context(), func(v *store.View) error {
		for _, one := range []struct {
			q    store.Q
			scan func(*store.Row)
		}{
			{qTestEventRows, func(r *store.Row) {
				all.events = append(all.events, eventRow{r.Int(0), r.Int(1), r.Text(2), r.Int(3), r.Int(4), r.Int(5), r.Int(6), r.Int(7), r.Int(8)})
			}},
			{qTestLeafRows, func(r *store.Row) { all.leaves[r.Int(0)] = r.Bytes(1) }},
			{qTestTileRows, func(r *store.Row) { all.tiles = append(all.tiles, tileRow{r.Int(0), r.Int(1), r.Bytes(2), r.Bytes(3)}) }},
			{qTestNoteRows, func(r *store.Row) { all.notes = append(all.notes, noteRow{r.Int(0), r.Int(1), r.Int(2), r.Text(3)}) }},
		} {
			if err := v.All(one.q, func(r *store.Row) error { one.scan(r); return nil }); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// clone copies what a mutation may change.
func (a rows) clone() rows {
	b := rows{events: append([]eventRow{}, a.events...), notes: append([]noteRow{}, a.notes...), leaves: make(map[int64][]byte, len(a.leaves))}
	for pos, body := range a.leaves {
		b.leaves[pos] = bytes.Clone(body)
	}
	for _, t := range a.tiles {
		b.tiles = append(b.tiles, tileRow{t.level, t.n, bytes.Clone(t.hashes), bytes.Clone(t.marks)})
	}
	return b
}

// restoreRows puts rows in the place of all there are.
func restoreRows(t testing.TB, db *store.DB, all rows) {
	t.Helper()
	write(t, db, func(tx *store.Tx) error {
		for _, q := range []store.Q{qTestNoEvents, qTestNoLeaves, qTestNoTiles, qTestNoNotes} {
			if _, err := tx.Exec(q); err != nil {
				return err
			}
		}
		for _, e := range all.events {
			if err := tx.Batch(qTestEventAdd, e.pos, e.seq, e.act, e.ref, e.version, e.target, e.actor, e.out, e.at); err != nil {
				return err
			}
		}
		for pos, body := range all.leaves {
			if err := tx.Batch(qTestSurplus, pos, body); err != nil {
				return err
			}
		}
		for _, o := range all.tiles {
			if err := tx.Batch(qTestTileAdd, o.level, o.n, o.hashes, o.marks); err != nil {
				return err
			}
		}
		for _, n := range all.notes {
			if err := tx.Batch(qTestNoteAdd, n.size, n.at, n.witnesses, n.note); err != nil {
				return err
			}
		}
		return nil
	})
}

// body returns the leaf with a number.
func (a *rows) body(seq int64) []byte { return a.leaves[a.events[seq-1].pos] }

// edit changes a leaf into another good one.
func (a *rows) edit(seq int64) {
	a.leaves[a.events[seq-1].pos] = bytes.Replace(a.body(seq), []byte(`"reason":"`), []byte(`"reason":"in`), 1)
}

// anew has somebody without the network's key make the whole tree anew over the changed
// rows, and then put back what the key is needed for, as far as that can be told apart.
func anew(t testing.TB, db *store.DB, was, changed rows, marks, notes bool) {
	t.Helper()
	changed.tiles, changed.notes = nil, nil
	restoreRows(t, db, changed)
	thief := audit.NewTree(audit.TreeConfig{DB: db, Key: testKey(66), Origin: origin})
	integrate(t, thief)
	now := dump(t, db)
	if marks {
		for i := range now.tiles {
			if o := &now.tiles[i]; o.level == 0 && i < len(was.tiles) {
				o.marks = was.tiles[i].marks[:min(len(o.marks), len(was.tiles[i].marks))]
			}
		}
	}
	if notes && len(now.events) == len(was.events) {
		now.notes = was.notes
	}
	restoreRows(t, db, now)
}

// mutation is something that somebody does to a record of size leaves: it changes the rows
// and says which leaf is the first that is wrong then.
type mutation struct {
	name string
	do   func(t testing.TB, db *store.DB, r *rand.Rand, was rows) (first int64)
}

func place(r *rand.Rand, was rows, before int64) int64 {
	return 1 + r.Int64N(int64(len(was.events))-before)
}

var mutations = []mutation{
	{"a bit of a leaf", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		body := now.body(seq)
		body[r.IntN(len(body))] ^= 1 << r.IntN(8)
		restoreRows(t, db, now)
		return seq
	}},
	{"another leaf in its place", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		now.edit(seq)
		restoreRows(t, db, now)
		return seq
	}},
	{"a leaf is gone", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		delete(now.leaves, now.events[seq-1].pos)
		restoreRows(t, db, now)
		return seq
	}},
	{"an event and its leaf are gone", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		delete(now.leaves, now.events[seq-1].pos)
		now.events = append(now.events[:seq-1], now.events[seq:]...)
		restoreRows(t, db, now)
		return seq
	}},
	{"one is gone and the others close up", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		delete(now.leaves, now.events[seq-1].pos)
		now.events = append(now.events[:seq-1], now.events[seq:]...)
		for i := range now.events[seq-1:] {
			now.events[seq-1+int64(i)].seq--
		}
		restoreRows(t, db, now)
		return seq
	}},
	{"one more, and the others make room", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		made := now.events[seq-1]
		made.pos = 1 << 40
		now.leaves[made.pos] = bytes.Replace(now.body(seq), []byte(`"reason":"`), []byte(`"reason":"in`), 1)
		for i := range now.events[seq-1:] {
			now.events[seq-1+int64(i)].seq++
		}
		now.events = append(now.events, made)
		restoreRows(t, db, now)
		return seq
	}},
	{"two change places", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, a := was.clone(), place(r, was, 1)
		b := a + 1 + r.Int64N(int64(len(was.events))-a)
		now.events[a-1].seq, now.events[b-1].seq = b, a
		restoreRows(t, db, now)
		return a
	}},
	{"the end is cut off", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		for _, e := range now.events[seq-1:] {
			delete(now.leaves, e.pos)
		}
		now.events = now.events[:seq-1]
		restoreRows(t, db, now)
		return seq
	}},
	{"a hash of the tree", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		now.tiles[(seq-1)/256].hashes[(seq-1)%256*32+r.Int64N(32)] ^= 1 << r.IntN(8)
		restoreRows(t, db, now)
		return seq
	}},
	{"a mark of the tree", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		now.tiles[(seq-1)/256].marks[(seq-1)%256*8+r.Int64N(8)] ^= 1 << r.IntN(8)
		restoreRows(t, db, now)
		return seq
	}},
	{"a tile above", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now := was.clone()
		top := &now.tiles[len(now.tiles)-1]
		i := r.IntN(len(top.hashes))
		top.hashes[i] ^= 1 << r.IntN(8)
		restoreRows(t, db, now)
		return 0 // any: what is wrong is no leaf
	}},
	{"a tile is gone", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		n := (seq - 1) / 256
		now.tiles = append(now.tiles[:n], now.tiles[n+1:]...)
		restoreRows(t, db, now)
		return n*256 + 1
	}},
	{"all hashes are made anew", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		now.edit(seq)
		anew(t, db, was, now, true, true)
		return seq
	}},
	{"all hashes are made anew, and signed by another key", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now, seq := was.clone(), place(r, was, 0)
		now.edit(seq)
		anew(t, db, was, now, true, false)
		return 0 // the first that the bad signature leaves without a good one, or the leaf
	}},
	{"another key signs the same tree", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		anew(t, db, was, was.clone(), true, false)
		return 1
	}},
	{"a checkpoint is gone", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now := was.clone()
		now.notes = nil
		restoreRows(t, db, now)
		return 1
	}},
	{"a bit of a signature", func(t testing.TB, db *store.DB, r *rand.Rand, was rows) int64 {
		now := was.clone()
		n := &now.notes[0]
		raw := []byte(n.note)
		raw[len(raw)-10] ^= 1
		n.note = string(raw)
		restoreRows(t, db, now)
		return 1
	}},
}

// tampered makes a record of several tiles and returns its rows.
func tampered(t testing.TB, db *store.DB, c *act.Codec, size int) rows {
	t.Helper()
	record(t, db, c, size)
	integrate(t, newTree(db))
	if r := verify(t, db, c); !r.OK() {
		t.Fatalf("%+v", r)
	}
	return dump(t, db)
}

func found(t testing.TB, db *store.DB, c *act.Codec, m mutation, r *rand.Rand, was rows) {
	t.Helper()
	first := m.do(t, db, r, was)
	report := verify(t, db, c)
	switch p := report.First(); {
	case report.OK():
		t.Errorf("%s: not found", m.name)
	case first > 0 && p.Seq != first:
		t.Errorf("%s: %+v, and the first that is wrong is %d", m.name, p, first)
	}
}

// T64: whatever somebody with full access to the database does to the record is found,
// and the first leaf that is wrong is named.
func TestT64_EveryTamperingIsFound(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		codec := newCodec(t)
		was := tampered(t, db, codec, 600)
		r := rand.New(rand.NewPCG(1, 2))
		for _, m := range mutations {
			found(t, db, codec, m, r, was)
		}
		restoreRows(t, db, was)
		if report := verify(t, db, codec); !report.OK() {
			t.Errorf("put right again: %+v", report)
		}
	})
}

// T64: the same at many random places.
func TestT64_RandomTampering(t *testing.T) {
	times := 150
	if os.Getenv("REEF_SOAK") == "1" {
		times = 10_000
	}
	db := storetest.Open(t, store.SQLite)
	codec := newCodec(t)
	was := tampered(t, db, codec, 300)
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range times {
		m := mutations[r.IntN(len(mutations))]
		m.name = fmt.Sprintf("seed %d, mutation %d: %s", seed, i, m.name)
		if found(t, db, codec, m, r, was); t.Failed() {
			return
		}
	}
}
