package token_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// soak returns full under REEF_SOAK=1 and small otherwise.
func soak(full, small int) int {
	if os.Getenv("REEF_SOAK") == "1" {
		return full
	}
	return small
}

// hand is a clock that stands until it is set.
type hand struct{ at atomic.Int64 }

func newHand() *hand {
	h := &hand{}
	h.set(now)
	return h
}

func (h *hand) set(t time.Time)      { h.at.Store(t.UnixNano()) }
func (h *hand) add(d time.Duration)  { h.at.Add(int64(d)) }
func (h *hand) now() time.Time       { return time.Unix(0, h.at.Load()).UTC() }
func (h *hand) in(d int64) time.Time { return h.now().Add(time.Duration(d) * time.Second) }

func seen(t testing.TB, r *token.Replay, owner, id string, until time.Time) bool {
	t.Helper()
	was, err := r.Seen(owner, id, until)
	must(t, err)
	return was
}

// T15: of a hundred identical proofs at once exactly one is taken.
func TestReplayTakesOneOfMany(t *testing.T) {
	t.Parallel()
	h := newHand()
	r := token.NewReplay(h.now, 1000)
	for round := range 20 {
		key := newKey(t, token.EdDSA)
		text, err := key.Prove(token.Prove{Method: "GET", URL: resource, Now: now})
		must(t, err)
		var taken atomic.Int64
		var crowd sync.WaitGroup
		start := make(chan struct{})
		for range 100 {
			crowd.Go(func() {
				<-start
				p, err := token.ReadProof(text, token.Request{Method: "GET", URL: resource, Now: now})
				if err != nil {
					t.Error(err)
					return
				}
				was, err := r.Seen(p.JKT, p.JTI, p.Until)
				if err != nil {
					t.Error(err)
				} else if !was {
					taken.Add(1)
				}
			})
		}
		close(start)
		crowd.Wait()
		if n := taken.Load(); n != 1 {
			t.Fatalf("round %d: %d of 100 identical proofs were taken", round, n)
		}
	}
}

// What was seen is remembered to the last instant at which it could be taken,
// and is somebody's own.
func TestReplayRemembersToTheEnd(t *testing.T) {
	t.Parallel()
	for _, life := range []int64{1, 9, 10, 11, 30, 60, 600} {
		h := newHand()
		r := token.NewReplay(h.now, 1000)
		until := h.in(life)
		if seen(t, r, "a", "one", until) || !seen(t, r, "a", "one", until) {
			t.Fatalf("%d s: the first is not first, or the second is", life)
		}
		if seen(t, r, "b", "one", until) || seen(t, r, "a", "two", until) || seen(t, r, "ao", "ne", until) || seen(t, r, "", "aone", until) {
			t.Errorf("%d s: what others showed counts", life)
		}
		if !seen(t, r, "a", "one", h.in(life+20)) {
			t.Errorf("%d s: the same id with another end is new", life)
		}
		h.set(until.Add(-time.Nanosecond))
		if !seen(t, r, "a", "one", until) {
			t.Errorf("%d s: forgotten before its end", life)
		}
		h.set(until)
		if !seen(t, r, "a", "three", until) {
			t.Errorf("%d s: what is over is taken", life)
		}
		h.add(20 * time.Second)
		for i := range 400 { // every shard is visited
			seen(t, r, "c", strconv.Itoa(i), h.in(5))
		}
		if n := r.Len(); n != 400 {
			t.Errorf("%d s: %d remembered after their end", life, n-400)
		}
	}
}

// A full set refuses and forgets nothing, and has room again when time is over.
func TestReplayIsFull(t *testing.T) {
	t.Parallel()
	h := newHand()
	const capacity = 1600
	r := token.NewReplay(h.now, capacity)
	until := h.in(30)
	var taken []string
	full := 0
	for i := range 4 * capacity {
		id := strconv.Itoa(i)
		was, err := r.Seen("a", id, until)
		switch {
		case err != nil:
			full++
			if e := act.AsError(err); e.Code != act.Unavailable || e.Rule != "dpop.full" || e.RetryAfter <= 0 || was {
				t.Fatalf("full says %v, %+v", was, e)
			}
		case was:
			t.Fatalf("%s was never shown", id)
		default:
			taken = append(taken, id)
		}
	}
	if len(taken) != capacity || full != 3*capacity || r.Len() != capacity {
		t.Errorf("took %d, refused %d, remembers %d; capacity %d", len(taken), full, r.Len(), capacity)
	}
	for _, id := range taken {
		if !seen(t, r, "a", id, until) {
			t.Fatalf("%s was forgotten to make room", id)
		}
	}
	h.add(41 * time.Second)
	if seen(t, r, "a", "again", h.in(30)) {
		t.Error("no room after all is over")
	}
	if _, err := r.Seen("a", "far", h.in(86400)); ruleOf(err) != "dpop.full" {
		t.Errorf("what has to be remembered for a day: %v", err)
	}
}

// T16: a clock that jumps ahead and back has nothing accepted again.
func TestReplayAndJumpingClocks(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{time.Minute, 10 * time.Minute, 24 * time.Hour} {
		h := newHand()
		r := token.NewReplay(h.now, 100_000)
		shown := map[string]time.Time{}
		show := func(n int) {
			for range n {
				id := strconv.Itoa(len(shown))
				until := h.in(int64(len(shown)%60) + 1)
				if !seen(t, r, "a", id, until) {
					shown[id] = until
				}
			}
		}
		show(1000)
		h.add(jump)
		show(1000)
		h.add(-jump)
		for id, until := range shown {
			if !seen(t, r, "a", id, until) {
				t.Fatalf("%s, good until %s, was taken again after a jump of %s", id, until, jump)
			}
		}
		h.add(-jump)
		for id, until := range shown {
			if until.Sub(h.now()) < time.Hour && !seen(t, r, "a", id, until) {
				t.Fatalf("%s was taken again after a jump back of %s", id, jump)
			}
		}
		// Two minutes later everything is as it was.
		h.set(now.Add(2 * time.Minute))
		if seen(t, r, "b", "late", h.in(30)) {
			t.Errorf("nothing is taken two minutes after a jump of %s", jump)
		}
	}
}

// T15: 10 million distinct proofs in soak. Memory stays under its bound, and
// none is taken again inside its window.
func TestReplayOfMillions(t *testing.T) {
	total, capacity := soak(10_000_000, 200_000), soak(1_000_000, 20_000)
	h := newHand()
	r := token.NewReplay(h.now, capacity)
	jkt := strings.Repeat("k", 43)
	type shown struct {
		id    string
		until time.Time
	}
	var recent []shown // a sample of what is inside its window
	var before, most runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	perSecond := capacity / 52 // ends lie 30 s ahead on average, a generation ends up to 10 s later, and shards differ
	replays := 0
	for i := range total {
		until := h.in(int64(i%60) + 1)
		id := "jti-" + strconv.Itoa(i)
		if seen(t, r, jkt, id, until) {
			t.Fatalf("%s was never shown", id)
		}
		if i%97 == 0 {
			recent = append(recent, shown{id, until})
		}
		if i%perSecond == perSecond-1 {
			h.add(time.Second)
			keep := recent[:0]
			for j, s := range recent {
				if s.until.After(h.now()) {
					keep = append(keep, s)
					if j%7 == i/perSecond%7 {
						replays++
						if !seen(t, r, jkt, s.id, s.until) {
							t.Fatalf("%s was taken again %s before its end", s.id, s.until.Sub(h.now()))
						}
					}
				}
			}
			recent = keep
		}
		if i%(total/10) == total/10-1 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			if m.HeapAlloc > most.HeapAlloc {
				most = m
			}
		}
	}
	grown := int64(most.HeapAlloc) - int64(before.HeapAlloc) - int64(cap(recent))*64
	t.Logf("%d distinct, %d replays refused, %d remembered at the end, %d bytes a place", total, replays, r.Len(), grown/int64(capacity))
	if bound := int64(capacity)*64 + 1<<20; grown > bound {
		t.Errorf("%d bytes for a capacity of %d, want %d at the most", grown, capacity, bound)
	}
	if replays < total/1000 || r.Len() > capacity {
		t.Errorf("%d replays tried, %d remembered", replays, r.Len())
	}
}

func newNonces(t testing.TB, node int) *token.Nonces {
	t.Helper()
	n, err := token.NewNonces([]byte("a key that all the nodes have"), node)
	must(t, err)
	return n
}

// A nonce names its node to every node, for two windows and no longer.
func TestNonces(t *testing.T) {
	t.Parallel()
	one, two := newNonces(t, 1), newNonces(t, 2)
	begin := time.Unix(now.Unix()/120*120, 0)
	nonce := one.Make(begin)
	if again := one.Make(begin.Add(token.NonceWindow - 1)); again != nonce {
		t.Errorf("two nonces of one window: %s, %s", nonce, again)
	}
	if next := one.Make(begin.Add(token.NonceWindow)); next == nonce || two.Make(begin) == nonce {
		t.Error("another window or node has the same nonce")
	}
	for _, c := range []struct {
		after time.Duration
		good  bool
	}{
		{-31 * time.Second, false}, {-30 * time.Second, true}, {0, true}, {token.NonceWindow, true},
		{2*token.NonceWindow - 1, true}, {2 * token.NonceWindow, false}, {24 * time.Hour, false},
	} {
		for _, at := range []*token.Nonces{one, two} {
			if node, err := at.Check(nonce, begin.Add(c.after)); (err == nil) != c.good || c.good && node != 1 || !c.good && ruleOf(err) != "dpop.nonce" {
				t.Errorf("%s after: node %d, %v", c.after, node, err)
			}
		}
	}
	// A node that starts again takes none from before; other nodes, which cannot
	// know, send to it.
	restarted := newNonces(t, 1)
	if _, err := restarted.Check(nonce, begin); ruleOf(err) != "dpop.nonce" {
		t.Errorf("a nonce from before the start: %v", err)
	}
	stranger, err := token.NewNonces([]byte("the key of another network"), 1)
	must(t, err)
	for name, text := range map[string]string{
		"nothing": "", "text": "nonce", "another network's": stranger.Make(begin), "cut": nonce[:31], "long": nonce + "A",
		"padded": nonce[:31] + "=", "line break": nonce[:31] + "\n", "zeros": strings.Repeat("A", 32),
	} {
		if _, err := one.Check(text, begin); ruleOf(err) != "dpop.nonce" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range nonce { // every character counts
		other := byte('A')
		if nonce[i] == other {
			other = 'B'
		}
		if _, err := two.Check(nonce[:i]+string(other)+nonce[i+1:], begin); err == nil {
			t.Errorf("character %d of a nonce does not matter", i)
		}
	}
	for _, bad := range []struct {
		key  string
		node int
	}{{"short", 1}, {"a key that all the nodes have", -1}, {"a key that all the nodes have", 1 << 16}} {
		if _, err := token.NewNonces([]byte(bad.key), bad.node); err == nil {
			t.Errorf("nonces with %+v", bad)
		}
	}
}
