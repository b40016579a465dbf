package bus_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/bus"
)

// patience bounds every wait; it is a hang detector, not a performance claim.
const patience = 20 * time.Second

// queued is how many signals a slow subscriber keeps (doc.go: memory is bounded).
const queued = 1024

func open(t *testing.T, cfg bus.Config) *bus.Bus {
	t.Helper()
	if cfg.Prefix == "" {
		cfg.Prefix = "one"
	}
	b, err := bus.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(b.Close)
	return b
}

// listen subscribes and returns the signals as they come, as text.
func listen(t *testing.T, b *bus.Bus, subject string) <-chan string {
	t.Helper()
	heard := make(chan string, 10_000)
	if _, err := b.Subscribe(subject, func(data []byte) { heard <- string(data) }); err != nil {
		t.Fatalf("Subscribe(%q): %v", subject, err)
	}
	return heard
}

func publish(t *testing.T, b *bus.Bus, subject, data string) {
	t.Helper()
	if err := b.Publish(subject, []byte(data)); err != nil {
		t.Fatalf("Publish(%q): %v", subject, err)
	}
}

// expect waits for the given signals, in order and with nothing in between.
func expect(t *testing.T, heard <-chan string, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-heard:
			if got != w {
				t.Fatalf("heard %q, want %q", got, w)
			}
		case <-time.After(patience):
			t.Fatalf("did not hear %q", w)
		}
	}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("never came true: %s", what)
		case <-tick.C:
		}
	}
}

func TestLocalDelivery(t *testing.T) {
	hub := bus.NewLocal()
	a, b := open(t, bus.Config{Local: hub}), open(t, bus.Config{Local: hub})
	own, other, elsewhere := listen(t, a, "post.created"), listen(t, b, "post.created"), listen(t, b, "post")

	buf := []byte("1")
	if err := a.Publish("post.created", buf); err != nil {
		t.Fatal(err)
	}
	buf[0] = 'X' // Publish has copied it
	publish(t, b, "post.created", "2")
	publish(t, a, "post", "3")
	expect(t, own, "1", "2")
	expect(t, other, "1", "2")
	expect(t, elsewhere, "3")
	if !a.Connected() || a.Dropped() != 0 {
		t.Errorf("Connected %v, Dropped %d", a.Connected(), a.Dropped())
	}
}

func TestLocalPrefixIsolation(t *testing.T) {
	hub := bus.NewLocal()
	one, two := open(t, bus.Config{Local: hub, Prefix: "one"}), open(t, bus.Config{Local: hub, Prefix: "two"})
	heard := listen(t, two, "s")
	publish(t, one, "s", "of one")
	publish(t, two, "s", "of two")
	expect(t, heard, "of two")
}

func TestSlowSubscriberDropsOldest(t *testing.T) {
	b := open(t, bus.Config{})
	started, release := make(chan struct{}), make(chan struct{})
	heard := make(chan int, 10_000)
	var once sync.Once
	if _, err := b.Subscribe("s", func(data []byte) {
		once.Do(func() { close(started); <-release })
		heard <- int(binary.BigEndian.Uint32(data))
	}); err != nil {
		t.Fatal(err)
	}
	fast := listen(t, b, "other")
	send := func(i int) {
		if err := b.Publish("s", binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
	send(0)
	<-started
	const n = 5000
	for i := 1; i <= n; i++ {
		send(i)
	}
	publish(t, b, "other", "not held up")
	expect(t, fast, "not held up")
	if got := b.Dropped(); got != n-queued {
		t.Errorf("Dropped() = %d, want %d", got, n-queued)
	}
	close(release)
	if got := <-heard; got != 0 {
		t.Errorf("first signal %d, want 0", got)
	}
	for want := n - queued + 1; want <= n; want++ {
		if got := <-heard; got != want {
			t.Fatalf("heard %d, want %d: not the newest, or out of order", got, want)
		}
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	b := open(t, bus.Config{})
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	if _, err := b.Subscribe("s", func([]byte) { once.Do(func() { close(started); <-release }) }); err != nil {
		t.Fatal(err)
	}
	defer close(release)
	publish(t, b, "s", "")
	<-started
	big := strings.Repeat("x", bus.MaxSignal)
	for range 100 {
		publish(t, b, "s", big)
	}
	if got := b.Dropped(); got != 100-(1<<20)/bus.MaxSignal {
		t.Errorf("Dropped() = %d: the queue holds another amount than 1 MiB", got)
	}
}

func TestOneCallAtATime(t *testing.T) {
	b := open(t, bus.Config{})
	var inside, calls atomic.Int32
	if _, err := b.Subscribe("s", func([]byte) {
		if inside.Add(1) != 1 {
			t.Error("fn runs concurrently with itself")
		}
		calls.Add(1)
		inside.Add(-1)
	}); err != nil {
		t.Fatal(err)
	}
	var publishers sync.WaitGroup
	for range 8 {
		publishers.Go(func() {
			for range 100 {
				if err := b.Publish("s", nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	publishers.Wait()
	eventually(t, "800 calls", func() bool { return calls.Load() == 800 })
}

func TestCancel(t *testing.T) {
	b := open(t, bus.Config{})
	heard := make(chan string, 10)
	entered, release := make(chan struct{}), make(chan struct{})
	var cancel func()
	cancel, err := b.Subscribe("s", func(data []byte) {
		heard <- string(data)
		close(entered) // a second call would panic
		<-release
		cancel()
		cancel()
	})
	if err != nil {
		t.Fatal(err)
	}
	last := listen(t, b, "s")
	publish(t, b, "s", "1")
	<-entered
	publish(t, b, "s", "2") // queued behind a call that cancels
	close(release)
	publish(t, b, "s", "3")
	expect(t, last, "1", "2", "3")
	b.Close() // waits for the calls under way
	if len(heard) != 1 {
		t.Errorf("heard %d signals, want 1", len(heard))
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine is left over
		hub := bus.NewLocal()
		a, b := open(t, bus.Config{Local: hub}), open(t, bus.Config{Local: hub})
		left := listen(t, b, "s")
		var finished atomic.Bool
		started := make(chan struct{})
		if _, err := a.Subscribe("s", func([]byte) {
			close(started)
			<-time.After(time.Minute) // virtual
			finished.Store(true)
		}); err != nil {
			t.Fatal(err)
		}
		publish(t, b, "s", "1")
		<-started
		a.Close()
		if !finished.Load() {
			t.Error("Close returned during a call")
		}
		a.Close()
		if a.Connected() {
			t.Error("connected after Close")
		}
		if err := a.Publish("s", nil); act.CodeOf(err) != act.Unavailable {
			t.Errorf("Publish after Close: %v", err)
		}
		if _, err := a.Subscribe("s", func([]byte) {}); act.CodeOf(err) != act.Unavailable {
			t.Errorf("Subscribe after Close: %v", err)
		}
		publish(t, b, "s", "2")
		expect(t, left, "1", "2")
		b.Close()
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := func(subject string) bus.Fault {
			switch subject {
			case "lost":
				return bus.Fault{Drop: true, Duplicate: true}
			case "double":
				return bus.Fault{Duplicate: true}
			case "late":
				return bus.Fault{Delay: time.Hour}
			}
			return bus.Fault{}
		}
		hub := bus.NewLocal()
		a, b := open(t, bus.Config{Local: hub, Fault: fault}), open(t, bus.Config{Local: hub})
		heard := make(chan string, 10_000)
		for _, s := range []string{"lost", "double", "late", "plain"} {
			if _, err := b.Subscribe(s, func([]byte) { heard <- s }); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		for _, s := range []string{"late", "lost", "double", "plain"} {
			publish(t, a, s, "")
		}
		synctest.Wait()
		count := map[string]int{}
		for len(heard) > 0 {
			count[<-heard]++
		}
		if fmt.Sprint(count) != "map[double:2 plain:1]" {
			t.Errorf("heard %v at once", count)
		}
		if s := <-heard; s != "late" || time.Since(start) != time.Hour {
			t.Errorf("heard %q after %v", s, time.Since(start))
		}
		if a.Dropped() != 0 {
			t.Error("an injected loss was counted as a drop")
		}
		for range 2000 { // what is held back is bounded
			publish(t, a, "late", "")
		}
		if got := a.Dropped(); got != 2000-1024 {
			t.Errorf("%d delayed signals dropped, want %d", got, 2000-1024)
		}
		<-time.After(2 * time.Hour) // virtual: lets what is held back run out
		a.Close()
		b.Close()
	})
}

func TestFaultCutsANodeOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := bus.NewLocal()
		var cut atomic.Bool
		a := open(t, bus.Config{Local: hub})
		b := open(t, bus.Config{Local: hub, Fault: func(string) bus.Fault { return bus.Fault{Drop: cut.Load()} }})
		atA, atB := listen(t, a, "s"), listen(t, b, "s")
		cut.Store(true)
		publish(t, a, "s", "from a")
		publish(t, b, "s", "from b")
		synctest.Wait()
		if len(atA) != 1 || len(atB) != 0 {
			t.Fatalf("a heard %d, b heard %d", len(atA), len(atB))
		}
		cut.Store(false)
		publish(t, b, "s", "back")
		expect(t, atA, "from a", "back")
		expect(t, atB, "back")
		a.Close()
		b.Close()
	})
}

func TestRefusals(t *testing.T) {
	b := open(t, bus.Config{})
	for _, s := range []string{"", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "$SYS.x", "ä", "a\x00", "a\r\nPUB", strings.Repeat("a", bus.MaxSubject+1)} {
		if err := b.Publish(s, nil); act.CodeOf(err) != act.Invalid {
			t.Errorf("Publish(%q): %v", s, err)
		}
		if _, err := b.Subscribe(s, func([]byte) {}); act.CodeOf(err) != act.Invalid {
			t.Errorf("Subscribe(%q): %v", s, err)
		}
	}
	if err := b.Publish("s", make([]byte, bus.MaxSignal+1)); act.CodeOf(err) != act.TooLarge {
		t.Errorf("oversize: %v", err)
	}
	const secret = "hunter2"
	for _, cfg := range []bus.Config{
		{},
		{Prefix: "a.b"},
		{Prefix: "a*"},
		{Prefix: strings.Repeat("a", 65)},
		{Prefix: "one", URL: "nats://u:" + secret + "@h", Local: bus.NewLocal()},
		{Prefix: "one", URL: "http://u:" + secret + "@h"},
		{Prefix: "one", URL: "nats://u:" + secret + "@ho st:1"},
		{Prefix: "one", URL: "nats://u:" + secret + "@h:port"},
		{Prefix: "one", URL: "nats://u:" + secret + "@"},
		{Prefix: "one", URL: "nats://h,,nats://i"},
	} {
		b, err := bus.Open(t.Context(), cfg)
		if err == nil {
			b.Close()
		}
		if act.CodeOf(err) != act.Invalid || strings.Contains(fmt.Sprintf("%v %+v %v", err, err, act.AsError(err).Unwrap()), secret) {
			t.Errorf("Open(%+v): %v", cfg, err)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bus.Open(over, bus.Config{Prefix: "one"}); act.CodeOf(err) != act.Unavailable {
		t.Errorf("Open with a context that is over: %v", err)
	}
}

func FuzzSubject(f *testing.F) {
	for _, s := range []string{"a", "a.b-c_D9", "a.*", "a.>", "$JS.x", "a..b", "a b", "a\nb", ""} {
		f.Add(s)
	}
	b, err := bus.Open(f.Context(), bus.Config{Prefix: "fuzz"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(b.Close)
	f.Fuzz(func(t *testing.T, s string) {
		if b.Publish(s, nil) != nil {
			return
		}
		if s == "" || len(s) > bus.MaxSubject || strings.ContainsAny(s, " \t\r\n*>$\x00") ||
			strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
			t.Errorf("subject %q passed", s)
		}
	})
}

func BenchmarkPublishLocal(b *testing.B) {
	bb, err := bus.Open(b.Context(), bus.Config{Prefix: "one"})
	if err != nil {
		b.Fatal(err)
	}
	defer bb.Close()
	if _, err := bb.Subscribe("s", func([]byte) {}); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		_ = bb.Publish("s", data)
	}
}
