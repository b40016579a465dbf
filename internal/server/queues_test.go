package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// eachAhead runs fn against a server on each database whose clock the test can
// put forward.
func eachAhead(t *testing.T, fn func(t *testing.T, s *servertest.Server, ahead *atomic.Int64)) {
	t.Helper()
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) {
			var ahead atomic.Int64
			cfg := servertest.Config(t, d)
			cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			fn(t, servertest.Start(t, cfg), &ahead)
		})
	}
}

func queue(t *testing.T, s *servertest.Server, p act.Principal, in network.NewQueue) network.Queue {
	t.Helper()
	q, err := s.Network.CreateQueue.Do(t.Context(), p, in)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// take receives without waiting, when all that was done has its number.
func take(t *testing.T, s *servertest.Server, p act.Principal, name string, most int) []network.Item {
	t.Helper()
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	items, err := s.Network.Receive(t.Context(), p, network.Receive{Queue: name, Max: most}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func ackOf(items ...network.Item) network.Receipts {
	in := network.Receipts{Queue: "q"}
	for _, i := range items {
		in.List = append(in.List, i.Receipt)
	}
	return in
}

func vote(t *testing.T, s *servertest.Server, p act.Principal, post network.Post, up bool) {
	t.Helper()
	v := network.NewVote{Target: network.Named{ID: post.ID}, On: act.KindPost, Up: up}
	if _, err := s.Network.CastVote.Do(t.Context(), p, v); err != nil {
		t.Fatal(err)
	}
}

func wantItems(t *testing.T, what string, items []network.Item, want ...int64) {
	t.Helper()
	var got []int64
	for _, i := range items {
		got = append(got, i.Event.Seq)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got the events %v, want %v", what, got, want)
	}
}

// Of each subject one item is under way, the oldest; the others go on.
func TestQueueKeepsOrderOfSubjects(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		_, author := s.Agent(t, "author")
		_, owner := s.Agent(t, "holder")
		queue(t, s, owner, network.NewQueue{Name: "q", Filter: network.EventFilter{Acts: []string{"vote.cast"}}, After: network.FromNow})
		one, two := post(t, s, author, "one"), post(t, s, author, "two")
		for i := range 6 {
			vote(t, s, author, one, i%2 == 0)
		}
		vote(t, s, author, two, true)
		first := take(t, s, owner, "q", 10)
		if len(first) != 2 || first[0].Event.Ref.ID != one.ID || first[1].Event.Ref.ID != two.ID || first[0].Receives != 1 {
			t.Fatalf("%+v", first)
		}
		seq := first[0].Event.Seq
		wantItems(t, "while both are under way", take(t, s, owner, "q", 10))
		if q, err := s.Network.ShowQueue.Do(t.Context(), owner, network.QueueName{Name: "q"}); err != nil || q.Ready || q.InFlight != 2 || q.Waiting != 7 {
			t.Fatalf("%+v, %v", q, err)
		}
		if _, err := s.Network.AckItems.Do(t.Context(), owner, ackOf(first[1])); err != nil {
			t.Fatal(err)
		}
		wantItems(t, "while the first is under way", take(t, s, owner, "q", 10))
		for i := range int64(6) {
			if _, err := s.Network.AckItems.Do(t.Context(), owner, ackOf(first[0])); err != nil {
				t.Fatal(err)
			}
			if i < 5 {
				first = take(t, s, owner, "q", 10)
				wantItems(t, "the next of the subject", first, seq+i+1)
			}
		}
		wantItems(t, "when all is done", take(t, s, owner, "q", 10))
	})
}

// An item whose time is over is given again under another receipt, the first is
// refused then, and after its last time it is dead until it is redriven.
func TestQueueGivesAgainUntilDead(t *testing.T) {
	eachAhead(t, func(t *testing.T, s *servertest.Server, ahead *atomic.Int64) {
		ctx := t.Context()
		_, author := s.Agent(t, "author")
		_, owner := s.Agent(t, "holder")
		_, other := s.Agent(t, "other")
		queue(t, s, owner, network.NewQueue{
			Name: "q", Filter: network.EventFilter{Acts: []string{"vote.cast"}}, After: network.FromNow, Visibility: 6 * time.Second, MaxReceives: 3,
		})
		made := post(t, s, author, "t")
		vote(t, s, author, made, true)
		vote(t, s, author, made, false)
		var given []network.Item
		for i := range int64(3) {
			items := take(t, s, owner, "q", 10)
			if len(items) != 1 || items[0].Receives != i+1 {
				t.Fatalf("giving %d: %+v", i+1, items)
			}
			given = append(given, items[0])
			wantItems(t, "before the time is over", take(t, s, owner, "q", 10))
			ahead.Add(int64(6 * time.Second))
		}
		// Late, and nobody has it yet: it counts. Late, and another has it: it does not.
		if _, err := s.Network.AckItems.Do(ctx, owner, ackOf(given[0])); act.CodeOf(err) != act.Conflict || act.AsError(err).Rule != "queue.receipt.late" || act.AsError(err).Hint == "" {
			t.Errorf("a late receipt: %v", err)
		}
		if _, err := s.Network.ExtendItems.Do(ctx, owner, ackOf(given[1])); act.CodeOf(err) != act.Conflict {
			t.Errorf("a late extension: %v", err)
		}
		// Another agent's receipt is worth nothing, in its own queue and in this one.
		queue(t, s, other, network.NewQueue{Name: "q", After: network.FromNow})
		if _, err := s.Network.AckItems.Do(ctx, other, ackOf(given[2])); act.CodeOf(err) != act.Gone {
			t.Errorf("another's receipt: %v", err)
		}
		second := take(t, s, owner, "q", 10)
		wantItems(t, "after the first is dead", second, given[0].Event.Seq+1)
		page, err := s.Network.DeadItems.Do(ctx, owner, network.DeadQuery{Queue: "q"})
		if err != nil || len(page.Items) != 1 || page.Items[0].Event.Seq != given[0].Event.Seq || page.Items[0].Receives != 3 || page.Items[0].DeadAt == 0 {
			t.Fatalf("the dead: %+v, %v", page, err)
		}
		if _, err := s.Network.AckItems.Do(ctx, owner, ackOf(given[2])); act.CodeOf(err) != act.Conflict || act.AsError(err).Rule != "queue.receipt.dead" {
			t.Errorf("a dead item's receipt: %v", err)
		}
		if out, err := s.Network.AckItems.Do(ctx, owner, ackOf(given[2], second[0])); err != nil || out.Done != 1 || len(out.Refused) != 1 {
			t.Errorf("one good receipt of two: %+v, %v", out, err)
		}
		if n, err := s.Network.RedriveQueue.Do(ctx, owner, network.Redrive{Queue: "q", Seqs: []int64{page.Items[0].Event.Seq, page.Items[0].Event.Seq, 1}}); err != nil || n != 1 {
			t.Fatalf("redriven %d, %v", n, err)
		}
		again := take(t, s, owner, "q", 10)
		wantItems(t, "redriven", again, given[0].Event.Seq)
		ahead.Add(int64(6 * time.Second))
		if _, err := s.Network.AckItems.Do(ctx, owner, ackOf(again[0])); err != nil {
			t.Errorf("late, and nobody has it: %v", err)
		}
		if _, err := s.Network.AckItems.Do(ctx, owner, ackOf(again[0])); act.CodeOf(err) != act.Gone {
			t.Errorf("acknowledged twice: %v", err)
		}
		wantItems(t, "in the end", take(t, s, owner, "q", 10))
	})
}

// A queue tells its owner what the owner may know of now, and a paused or killed
// agent nothing; nobody else knows of it but operators, who see how it stands.
func TestQueueTellsItsOwnerOnly(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		op := operator(t, s)
		_, author := s.Agent(t, "author")
		_, owner := s.Agent(t, "holder")
		q := queue(t, s, owner, network.NewQueue{Name: "q", Filter: network.EventFilter{Acts: []string{"post.create", "agent.*", "webhook.*"}}, After: network.FromNow})
		order := lifecycle.Order{Agent: owner.ID, Reason: "test"}
		if _, err := s.Network.Receive(ctx, author, network.Receive{Queue: "q"}, nil); act.CodeOf(err) != act.NotFound {
			t.Errorf("another receives: %v", err)
		}
		for name, err := range map[string]error{
			"ack":    failed(s.Network.AckItems.Do(ctx, author, network.Receipts{Queue: "q", List: []network.Receipt{{Seq: 1, ID: 1}}})),
			"dead":   failed(s.Network.DeadItems.Do(ctx, author, network.DeadQuery{Queue: "q"})),
			"update": failed(s.Network.UpdateQueue.Do(ctx, author, network.QueueChange{Name: "q"})),
			"delete": failed(s.Network.DeleteQueue.Do(ctx, author, "q")),
			"show":   failed(s.Network.ShowQueue.Do(ctx, author, network.QueueName{Owner: owner.ID, Name: "q"})),
		} {
			if act.CodeOf(err) != act.NotFound {
				t.Errorf("another's %s: %v", name, err)
			}
		}
		if _, err := s.Lifecycle.Pause.Do(ctx, op, order); err != nil {
			t.Fatal(err)
		}
		made := post(t, s, author, "while paused")
		if err := s.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		if items, err := s.Network.Receive(ctx, owner, network.Receive{Queue: "q"}, nil); act.CodeOf(err) != act.Denied || len(items) > 0 {
			t.Errorf("a paused agent receives %+v, %v", items, err)
		}
		if got, err := s.Network.ShowQueue.Do(ctx, op, network.QueueName{Owner: owner.ID, Name: "q"}); err != nil || got.ID != q.ID || !got.Ready {
			t.Errorf("an operator sees %+v, %v", got, err)
		}
		if page, err := s.Network.ListQueues.Do(ctx, op, network.QueueQuery{}); err != nil || len(page.Items) != 1 || page.Items[0].Owner != owner.ID {
			t.Errorf("an operator lists %+v, %v", page, err)
		}
		if page, err := s.Network.ListQueues.Do(ctx, author, network.QueueQuery{Owner: owner.ID}); err != nil || len(page.Items) != 0 {
			t.Errorf("another lists %+v, %v", page, err)
		}
		if _, err := s.Lifecycle.Resume.Do(ctx, op, order); err != nil {
			t.Fatal(err)
		}
		items := take(t, s, owner, "q", 10)
		var acts []string
		for _, i := range items {
			acts = append(acts, i.Event.Act)
			if i.Event.Act == "post.create" && (i.Event.Ref.ID != made.ID || i.Event.Actor != 0) {
				t.Errorf("%+v", i.Event)
			}
		}
		// Its own pausing is told to it, and nothing of what others do for themselves.
		slices.Sort(acts)
		if !slices.Equal(acts, []string{"agent.pause", "post.create"}) { // the resume waits behind the pause
			t.Errorf("got %v", acts)
		}
		if _, err := s.Lifecycle.Kill.Do(ctx, op, order); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Network.AckItems.Do(ctx, owner, ackOf(items...)); act.CodeOf(err) != act.Denied {
			t.Errorf("a killed agent acknowledges: %v", err)
		}
	})
}

func failed[T any](_ T, err error) error { return err }

// A receive that waits is answered when something happens, when an item's time is
// over, and when the server stops.
func TestQueueWakes(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		_, author := s.Agent(t, "author")
		key, owner := s.Agent(t, "holder")
		queue(t, s, owner, network.NewQueue{Name: "q", Filter: network.EventFilter{Acts: []string{"post.create"}}, After: network.FromNow})
		looks := func() (n int) {
			for line := range strings.Lines(string(s.Call(t, http.MethodGet, "/metrics", s.Token, nil).Raw)) {
				if count, ok := strings.CutPrefix(line, `reef_acts_total{act="queue.show",outcome="done"} `); ok {
					n, _ = strconv.Atoi(strings.TrimSpace(count))
				}
			}
			return n
		}
		type answer struct {
			items []wireItem
			at    time.Time
		}
		ask := func() chan answer {
			got := make(chan answer, 1)
			go func() {
				a := s.Call(t, http.MethodPost, "/v1/queues/q/receive?wait=50&visibility=1", key, nil)
				got <- answer{itemsIn(t, a.Raw), time.Now()}
			}()
			return got
		}
		wait := func(got chan answer) answer {
			select {
			case a := <-got:
				return a
			case <-time.After(30 * time.Second):
				t.Fatal("the receiver sleeps")
			}
			return answer{}
		}
		var took []time.Duration
		var last wireItem
		for i := range 10 {
			if err := s.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := looks()
			got := ask()
			eventually(t, "the receiver has looked", func() bool { return looks() > before })
			made := post(t, s, author, fmt.Sprint("t", i))
			began := time.Now()
			a := wait(got)
			if len(a.items) != 1 || a.items[0].Event.Ref != s.Codec.String(made.ID) {
				t.Fatalf("%+v", a.items)
			}
			took = append(took, a.at.Sub(began))
			last = a.items[0]
			if i < 9 {
				s.Call(t, http.MethodPost, "/v1/queues/q/ack", key, map[string]any{"receipts": []string{last.Receipt}})
			}
		}
		slices.Sort(took)
		t.Logf("from commit to the receiver: min %s, median %s, max %s", took[0], took[len(took)/2], took[len(took)-1])
		again := wait(ask()) // nothing happens but that time passes
		if len(again.items) != 1 || again.items[0].Event.Seq != last.Event.Seq || again.items[0].Receives != 2 {
			t.Fatalf("%+v, want event %d again", again.items, last.Event.Seq)
		}
		s.Call(t, http.MethodPost, "/v1/queues/q/ack", key, map[string]any{"receipts": []string{again.items[0].Receipt}})
		before := looks()
		got := ask()
		eventually(t, "the receiver has looked", func() bool { return looks() > before })
		s.API.EndStreams()
		if a := wait(got); len(a.items) != 0 {
			t.Fatalf("%+v", a.items)
		}
	})
}

type wireItem struct {
	Receipt  string `json:"receipt"`
	Receives int64  `json:"receives"`
	Event    struct {
		Seq int64  `json:"seq"`
		Act string `json:"act"`
		Ref string `json:"ref"`
	} `json:"event"`
}

func itemsIn(t *testing.T, raw []byte) []wireItem {
	t.Helper()
	var out struct {
		Items []wireItem `json:"items"`
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Errorf("%v: %s", err, raw)
	}
	return out.Items
}

// A queue that nobody works on costs nothing: no row, no write, whatever happens;
// and a receiver that finds nothing writes nothing either.
func TestIdleQueueWritesNothing(t *testing.T) {
	servertest.Each(t, func(t *testing.T, s *servertest.Server) {
		ctx := t.Context()
		_, author := s.Agent(t, "author")
		_, owner := s.Agent(t, "holder")
		made := queue(t, s, owner, network.NewQueue{Name: "q", Filter: network.EventFilter{Acts: []string{"agent.kill"}}, After: network.FromNow})
		for i := range 20 {
			post(t, s, author, fmt.Sprint("t", i))
		}
		if err := s.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		last := func() (seq int64) {
			if err := s.DB.View(ctx, func(v *store.View) (err error) { seq, err = v.LastSequence(); return err }); err != nil {
				t.Fatal(err)
			}
			return seq
		}
		before := last()
		for range 20 {
			wantItems(t, "of an idle queue", take(t, s, owner, "q", 10))
		}
		if after := last(); after != before {
			t.Errorf("20 receives that found nothing left %d events", after-before)
		}
		if q, err := s.Network.ShowQueue.Do(ctx, owner, network.QueueName{Name: "q"}); err != nil || q.Seq != made.Seq || q.Looked != before {
			t.Errorf("%+v, %v", q, err)
		}
	})
}

// Much of the sequence is not for the queue: it is passed over, and what comes
// after is found in the same call.
func TestQueuePassesOverWhatIsNotForIt(t *testing.T) {
	s := servertest.Start(t, servertest.Config(t, store.SQLite))
	_, author := s.Agent(t, "author")
	_, owner := s.Agent(t, "holder")
	queue(t, s, owner, network.NewQueue{Name: "q", Filter: network.EventFilter{Acts: []string{"post.create"}}, After: network.FromNow})
	first := post(t, s, author, "first")
	for i := range 1300 {
		vote(t, s, author, first, i%2 == 0)
	}
	later := post(t, s, author, "later")
	items := take(t, s, owner, "q", 1)
	if len(items) != 1 || items[0].Event.Ref.ID != first.ID {
		t.Fatalf("%+v", items)
	}
	if items = take(t, s, owner, "q", 1); len(items) != 1 || items[0].Event.Ref.ID != later.ID {
		t.Fatalf("%+v", items)
	}
}
