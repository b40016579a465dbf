package act_test

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
)

// The layout is part of what is stored: these numbers may never change.
const (
	epoch     = 1767225600000 // 2026-01-01T00:00:00Z
	timeShift = 22
	kindShift = 17
	nodeShift = 10
	lastSeq   = 1<<nodeShift - 1
)

// hand is a clock that stands still until it is set.
type hand struct{ at time.Time }

func (h *hand) now() time.Time { return h.at }

func at(millis int64) *hand { return &hand{time.UnixMilli(epoch + millis)} }

func mint(t testing.TB, m *act.Minter, kind act.Kind) act.ID {
	t.Helper()
	id, err := m.New(kind)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIDLayout(t *testing.T) {
	t.Parallel()
	const millis, node = 123_456_789, 93
	h := at(millis)
	m := act.NewMinter(h.now, node, 0, millis+1)
	for seq := range int64(3) {
		id := mint(t, m, act.KindComment)
		want := act.ID(millis<<timeShift | int64(act.KindComment)<<kindShift | node<<nodeShift | seq)
		if id != want {
			t.Errorf("id %d = %#x, want %#x", seq, int64(id), int64(want))
		}
		if id.Kind() != act.KindComment {
			t.Errorf("kind of %#x = %v", int64(id), id.Kind())
		}
		if !id.Time().Equal(h.at) {
			t.Errorf("time of %#x = %v, want %v", int64(id), id.Time(), h.at)
		}
	}
	if got := act.IDMillis(h.at); got != millis {
		t.Errorf("IDMillis = %d, want %d", got, millis)
	}
}

// Ids stay positive and keep their parts up to the last millisecond, the
// highest node and the highest kind that fit.
func TestIDLayoutAtItsEnds(t *testing.T) {
	t.Parallel()
	const end = 1<<41 - 1
	for _, millis := range []int64{0, 1, end} {
		for node := range act.MaxNode + 1 {
			for kind := act.Kind(1); kind < 1<<5; kind++ {
				id := mint(t, act.NewMinter(at(millis).now, node, 0, end+1), kind)
				if id <= 0 || id.Kind() != kind || act.IDMillis(id.Time()) != millis || int(id>>nodeShift)&act.MaxNode != node {
					t.Fatalf("millis %d, kind %d, node %d gave %#x", millis, kind, node, int64(id))
				}
			}
		}
	}
}

func TestMinterBeforeTheEpoch(t *testing.T) {
	t.Parallel()
	h := &hand{time.Unix(0, 0)}
	m := act.NewMinter(h.now, 0, 0, 10)
	last := act.ID(0)
	for range 3 {
		id := mint(t, m, act.KindPost)
		if id <= last {
			t.Fatalf("%d after %d", id, last)
		}
		last = id
	}
}

// Whatever the clock does, ids of one minter grow strictly and stay at or above
// its floor and below its ceiling.
func TestMinterNeverGoesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		floor := rapid.Int64Range(0, 5000).Draw(t, "floor")
		ceiling := floor + rapid.Int64Range(0, 5000).Draw(t, "window")
		h := at(rapid.Int64Range(0, 10_000).Draw(t, "start"))
		m := act.NewMinter(h.now, 5, floor, ceiling)
		var last act.ID
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			h.at = h.at.Add(time.Duration(rapid.Int64Range(-3000, 3000).Draw(t, "step")) * time.Millisecond)
			if rapid.Bool().Draw(t, "raise") {
				to := ceiling + rapid.Int64Range(-2000, 2000).Draw(t, "to")
				m.Raise(to)
				ceiling = max(ceiling, to)
			}
			for range rapid.SampledFrom([]int{1, 3, 1500}).Draw(t, "burst") {
				id, err := m.New(act.KindPost)
				if err != nil {
					if act.CodeOf(err) != act.Unavailable || act.AsError(err).RetryAfter <= 0 {
						t.Fatalf("at the ceiling: %v", err)
					}
					if act.IDMillis(h.at) < ceiling && (last == 0 && floor < ceiling || last != 0 && act.IDMillis(last.Time()) < ceiling-1) {
						t.Fatalf("refused at %d, last %v, ceiling %d", act.IDMillis(h.at), last.Time(), ceiling)
					}
					break
				}
				if id <= last {
					t.Fatalf("%#x after %#x", int64(id), int64(last))
				}
				if ms := act.IDMillis(id.Time()); ms < floor || ms >= ceiling {
					t.Fatalf("minted in millisecond %d, reserved %d to %d", ms, floor, ceiling)
				}
				last = id
			}
		}
	})
}

func TestMinterOverflowsIntoTheNextMillisecond(t *testing.T) {
	t.Parallel()
	h := at(1000)
	m := act.NewMinter(h.now, 1, 0, 1002)
	for seq := range 2 * (lastSeq + 1) {
		id := mint(t, m, act.KindPost)
		if ms, want := act.IDMillis(id.Time()), int64(1000+seq/(lastSeq+1)); ms != want {
			t.Fatalf("id %d is in millisecond %d, want %d", seq, ms, want)
		}
	}
	if _, err := m.New(act.KindPost); act.CodeOf(err) != act.Unavailable {
		t.Fatalf("beyond the ceiling: %v, want unavailable", err)
	}
	m.Raise(900) // lowers nothing, raises nothing
	if _, err := m.New(act.KindPost); act.CodeOf(err) != act.Unavailable {
		t.Fatalf("after a lower ceiling: %v, want unavailable", err)
	}
	m.Raise(1003)
	if id := mint(t, m, act.KindPost); act.IDMillis(id.Time()) != 1002 {
		t.Fatalf("after a higher ceiling: %v", id.Time())
	}
}

// A new holder of a node number starts at the old one's ceiling, though its
// clock is behind.
func TestMinterStartsAboveTheOldHolder(t *testing.T) {
	t.Parallel()
	h := at(5000)
	before := act.NewMinter(h.now, 7, 0, 5001)
	var last act.ID
	for range lastSeq + 1 {
		last = mint(t, before, act.KindPost)
	}
	late := at(0)
	if id := mint(t, act.NewMinter(late.now, 7, 5001, 9000), act.KindAgent); id <= last {
		t.Fatalf("the new holder minted %#x, the old one had %#x", int64(id), int64(last))
	}
}

func TestMinterUnderConcurrency(t *testing.T) {
	t.Parallel()
	h := at(1000)
	m := act.NewMinter(h.now, 3, 0, 1<<40)
	const minters, each = 8, 5000
	lists := make([][]act.ID, minters)
	var wg sync.WaitGroup
	for i := range minters {
		wg.Go(func() {
			for range each {
				id, err := m.New(act.KindPost)
				if err != nil {
					t.Error(err)
					return
				}
				lists[i] = append(lists[i], id)
			}
		})
	}
	wg.Wait()
	seen := make(map[act.ID]bool, minters*each)
	for _, list := range lists {
		for i, id := range list {
			if seen[id] || i > 0 && id <= list[i-1] {
				t.Fatalf("id %#x is repeated or goes back", int64(id))
			}
			seen[id] = true
		}
	}
	if len(seen) != minters*each {
		t.Fatalf("%d ids, want %d", len(seen), minters*each)
	}
}

// Every kind has a name of its own: names stand in leaves and policies.
func TestKindNames(t *testing.T) {
	t.Parallel()
	seen := map[string]act.Kind{}
	for k := act.KindNone; k < act.KindCount; k++ {
		name := k.String()
		if other, taken := seen[name]; taken || name == "unknown" || name == "" {
			t.Errorf("kind %d is %q, as is %d", k, name, other)
		}
		seen[name] = k
	}
	if got := act.KindCount.String(); got != "unknown" {
		t.Errorf("a kind without a name is %q: list it in this test", got)
	}
}
