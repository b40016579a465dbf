package provenance

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
)

// refs are the items with these numbers.
func refs(numbers ...int64) (list []act.Ref) {
	for _, n := range numbers {
		list = append(list, act.Ref{ID: act.ID(n), Version: 1})
	}
	return list
}

// span is n items from a number on.
func span(from, n int) (list []act.Ref) {
	for i := range n {
		list = append(list, act.Ref{ID: act.ID(from + i), Version: 1})
	}
	return list
}

// ask looks what is on record of a page.
func (m *memory) ask(reader act.ID, items []act.Ref, through channel) (s showing, known, ok bool) {
	s = showing{reader: reader, sheet: m.pool.get(items), channel: through}
	known, ok = m.look(&s)
	return s, known, ok
}

// learn remembers a page.
func (m *memory) learn(reader act.ID, items []act.Ref) { m.remember(reader, m.pool.get(items)) }

// held adds up what the memory holds, and says whether its own sum is right.
func (m *memory) held(t testing.TB) (bytes, readers, pages, sheets int64) {
	t.Helper()
	holders := make(map[*sheet]int64)
	for i := range m.shelves {
		sh := &m.shelves[i]
		if len(sh.round) != len(sh.readers) {
			t.Fatalf("%d readers and %d in the round", len(sh.readers), len(sh.round))
		}
		for id, r := range sh.readers {
			if r.id != id || len(r.pages) > maxPages {
				t.Fatalf("reader %d is under %d and has %d pages", r.id, id, len(r.pages))
			}
			readers++
			pages += int64(len(r.pages))
			bytes += readerSize + int64(cap(r.pages))*slotSize
			for _, s := range r.pages {
				holders[s.sheet]++
			}
		}
	}
	for i := range m.pool.racks {
		var idle int64
		for _, s := range m.pool.racks[i].line {
			idle += s.size()
		}
		if r := &m.pool.racks[i]; idle != r.idle || idle > m.pool.idle+sheetSize*1000 {
			t.Fatalf("rack %d has %d idle bytes and thinks %d of %d", i, idle, r.idle, m.pool.idle)
		}
		for _, s := range m.pool.racks[i].sheets {
			for ; s != nil; s = s.next {
				sheets++
				bytes += s.size()
				if s.holders.Load() != holders[s] || !s.pooled || holders[s] == 0 && !s.queued {
					t.Fatalf("a sheet has %d holders, thinks %d, pooled %v, queued %v", holders[s], s.holders.Load(), s.pooled, s.queued)
				}
				delete(holders, s)
			}
		}
	}
	if len(holders) > 0 || bytes != m.bytes.Load() {
		t.Fatalf("%d sheets are held and not in the pool; %d bytes, the memory thinks %d", len(holders), bytes, m.bytes.Load())
	}
	return bytes, readers, pages, sheets
}

// An item is known exactly when it stands on a page that was remembered for this
// reader, at this version, however pages overlap and whatever their hashes are:
// with a hash that cannot tell pages apart nothing changes.
func TestKnownIsWhatWasRemembered(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMemory(1 << 30)
		collide := rapid.Bool().Draw(rt, "collide")
		get := func(items []act.Ref) *sheet {
			if !collide {
				return m.pool.get(items)
			}
			r := m.pool.rack(0) // as pool.get, had all pages the hash 0
			if s := r.find(0, items); s != nil {
				return s
			}
			s := newSheet(0, items)
			m.pool.put(r, s)
			r.queue(s)
			return s
		}
		record := make(map[act.ID]map[act.Ref]bool)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") { // of one reader no more than maxPages pages
			reader := act.ID(rapid.IntRange(0, 2).Draw(rt, "reader"))
			var items []act.Ref
			for range rapid.IntRange(1, 30).Draw(rt, "items") {
				items = append(items, act.Ref{ID: act.ID(rapid.IntRange(1, 60).Draw(rt, "item") << 17), Version: int64(rapid.IntRange(-1, 1).Draw(rt, "version"))})
			}
			s := showing{reader: reader, sheet: get(items)}
			known, ok := m.look(&s)
			var fresh, again []act.Ref
			for _, it := range items {
				if record[reader][it] {
					again = append(again, it)
				} else {
					fresh = append(fresh, it)
				}
			}
			if !ok || known != (len(fresh) == 0) || !known && (!slices.Equal(s.fresh, fresh) || !slices.Equal(s.again, again)) {
				rt.Fatalf("of %v %v is new and %v is not, known %v; want %v and %v", items, s.fresh, s.again, known, fresh, again)
			}
			if rapid.Bool().Draw(rt, "record") {
				m.remember(reader, s.sheet)
				if record[reader] == nil {
					record[reader] = make(map[act.Ref]bool)
				}
				for _, it := range items {
					record[reader][it] = true
				}
			}
		}
		m.held(t)
	})
}

// The memory keeps to its bound, forgets those first that have not been met for
// long, and what it forgets leads to a second row, never to none.
func TestMemoryIsBounded(t *testing.T) {
	const bytes = 1 << 20
	m := newMemory(bytes)
	for i := range 20_000 {
		m.learn(act.ID(i+1), span(i%97*7+1, 25))
		m.learn(0, span(1_000_000+i*25, 25))
		if i%7 == 0 {
			m.learn(act.ID(1), span(i+1, 3)) // who reads on and on is not forgotten
			if _, known, _ := m.ask(1, span(i+1, 3), 0); !known {
				t.Fatalf("the page of a moment ago is forgotten after %d readers", i)
			}
			m.take(false)
		}
	}
	held, readers, pages, _ := m.held(t)
	if held > bytes+100_000 || held < bytes/2 || readers < 100 || pages < readers {
		t.Errorf("holds %d bytes of %d, %d readers with %d pages", held, bytes, readers, pages)
	}
	if n := len(m.crowd.young) + len(m.crowd.old); n > 2*m.crowd.keep {
		t.Errorf("holds %d items of the observers, want %d at most", n, 2*m.crowd.keep)
	}
	if _, known, _ := m.ask(20_000, span(19_999%97*7+1, 25), 0); !known {
		t.Error("the last reader is forgotten")
	}
	if _, known, _ := m.ask(2, span(8, 25), 0); known {
		t.Error("the second reader is remembered")
	}
	if _, known, _ := m.ask(0, span(1_000_000, 25), 0); known {
		t.Error("the observers' first page is remembered")
	}
	// Of one reader it keeps the last pages.
	m = newMemory(bytes)
	for i := range 3 * maxPages {
		m.learn(1, span(i*10+1, 10))
	}
	for i := range 3 * maxPages {
		_, known, _ := m.ask(1, span(i*10+1, 10), 0)
		if known != (i >= 2*maxPages) {
			t.Fatalf("page %d of %d: known %v", i, 3*maxPages, known)
		}
	}
	// A page takes the place of those that are part of it: a thread that grows.
	m = newMemory(bytes)
	for i := range 100 {
		m.learn(1, span(1, i+1))
	}
	if _, _, pages, _ := m.held(t); pages != 1 {
		t.Errorf("a growing thread takes %d pages", pages)
	}
	// With no room for counts a page is as good as new.
	for i := range m.maxCounts {
		m.count(repeat{2, m.pool.get(span(int(i)+1, 1)), 0}, 1)
	}
	if s, known, _ := m.ask(1, span(1, 100), 0); known || !s.whole() || !m.crowded() {
		t.Error("counts beyond the bound")
	}
	if n := len(m.take(false)); int64(n) != m.maxCounts || m.counts.Load() != 0 {
		t.Errorf("took %d counts of %d, %d are left", n, m.maxCounts, m.counts.Load())
	}
	if _, known, ok := m.ask(1, span(1, 100), 0); !known || !ok {
		t.Error("with room again it is not known")
	}
	m.take(true)
	if _, known, ok := m.ask(1, span(1, 100), 0); !known || ok {
		t.Errorf("counted after the last counts were taken: %v %v", known, ok)
	}
}

// Counts are the same whether they stand in slots, have left them because their
// reader or his page was forgotten, or came through several channels.
func TestCountsSurviveForgetting(t *testing.T) {
	type counted struct {
		reader act.ID
		item   act.Ref
		of     channel
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := newMemory(rapid.SampledFrom([]int64{1, 20_000, 1 << 30}).Draw(rt, "bytes"))
		m.maxCounts = 1 << 30
		want, got := make(map[counted]int64), make(map[counted]int64)
		take := func(last bool) {
			for _, r := range m.take(last) {
				items, err := DecodeItems(r.sheet.coded)
				if err != nil {
					rt.Fatal(err)
				}
				for _, it := range items {
					got[counted{r.reader, it, r.channel}] += r.count
				}
			}
		}
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			reader := act.ID(rapid.IntRange(0, 5).Draw(rt, "reader"))
			items := span(rapid.IntRange(1, 40).Draw(rt, "from"), rapid.IntRange(1, 12).Draw(rt, "items"))
			through := channel(rapid.IntRange(0, 1).Draw(rt, "channel"))
			if rapid.IntRange(0, 9).Draw(rt, "take") == 0 {
				take(false)
			}
			s, known, ok := m.ask(reader, items, through)
			if !ok {
				rt.Fatal("not counted")
			}
			if !known {
				m.countPart(reader, through, s.again)
				m.remember(reader, s.sheet)
				items = s.again
			}
			for _, it := range items {
				want[counted{reader, it, through}]++
			}
		}
		m.held(t)
		take(true)
		if !maps.Equal(got, want) || m.counts.Load() != 0 {
			rt.Fatalf("counted %v, want %v; %d counts left over", got, want, m.counts.Load())
		}
	})
}

// What takes memory for each reader and page is what the design allows.
func TestMemoryOfAReader(t *testing.T) {
	const readers, pages = 2000, 32
	m := newMemory(1 << 30)
	for r := range readers {
		for p := range pages {
			m.learn(act.ID(r+1)<<22, span(p*25+1, 25))
		}
	}
	held, n, held25, sheets := m.held(t)
	if n != readers || held25 != readers*pages || sheets != pages {
		t.Fatalf("%d readers, %d pages, %d sheets", n, held25, sheets)
	}
	if each := float64(held) / readers / pages; each > 32 {
		t.Errorf("%.1f bytes for each reader and page, want 32 at most", each)
	}
}
