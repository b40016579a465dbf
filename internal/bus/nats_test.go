package bus_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/reefwarden/reefwarden/internal/bus"
)

// natsServer starts a real NATS server on 127.0.0.1; port -1 takes a free one.
func natsServer(t *testing.T, port int, user, password string) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, Username: user, Password: password,
		NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatalf("NATS server: %v", err)
	}
	go s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS server does not start")
	}
	t.Cleanup(func() { stop(s) })
	return s
}

func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func portOf(s *server.Server) int { return s.Addr().(*net.TCPAddr).Port }

func connected(t *testing.T, buses ...*bus.Bus) {
	t.Helper()
	for i, b := range buses {
		eventually(t, fmt.Sprintf("bus %d connected", i), b.Connected)
	}
}

func TestNATSDelivery(t *testing.T) {
	s := natsServer(t, -1, "", "")
	a, b := open(t, bus.Config{URL: s.ClientURL(), Name: "a"}), open(t, bus.Config{URL: s.ClientURL(), Name: "b"})
	connected(t, a, b)
	own, other := listen(t, a, "post.created"), listen(t, b, "post.created")
	publish(t, a, "post.created", "1")
	expect(t, own, "1")
	expect(t, other, "1")
	publish(t, b, "post.created", "2")
	expect(t, own, "2") // once: "1" did not come back to its sender
	expect(t, other, "2")
	publish(t, a, "post.created", "")
	expect(t, other, "")
	if n := a.Dropped() + b.Dropped(); n != 0 {
		t.Errorf("%d signals dropped", n)
	}
}

func TestNATSPrefixIsolation(t *testing.T) {
	s := natsServer(t, -1, "", "")
	var nodes [2][2]*bus.Bus
	for i, prefix := range []string{"one", "one-b"} {
		for j := range nodes[i] {
			nodes[i][j] = open(t, bus.Config{URL: s.ClientURL(), Prefix: prefix})
		}
		connected(t, nodes[i][:]...)
	}
	first, second := listen(t, nodes[0][1], "s"), listen(t, nodes[1][1], "s")
	publish(t, nodes[0][0], "s", "of one")
	expect(t, first, "of one") // so the server has handed it out
	publish(t, nodes[1][0], "s", "of one-b")
	expect(t, second, "of one-b")
}

func TestNATSSlowSubscriber(t *testing.T) {
	s := natsServer(t, -1, "", "")
	a, b := open(t, bus.Config{URL: s.ClientURL()}), open(t, bus.Config{URL: s.ClientURL()})
	connected(t, a, b)
	started, release := make(chan struct{}), make(chan struct{})
	slow := make(chan int, 10_000)
	var once sync.Once
	if _, err := b.Subscribe("s", func(data []byte) {
		once.Do(func() { close(started); <-release })
		slow <- int(binary.BigEndian.Uint32(data))
	}); err != nil {
		t.Fatal(err)
	}
	var fast atomic.Int64
	if _, err := b.Subscribe("s", func([]byte) { fast.Add(1) }); err != nil {
		t.Fatal(err)
	}
	send := func(i int) {
		if err := a.Publish("s", binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
	send(0)
	<-started
	const n = 4000
	for i := 1; i <= n; i++ {
		send(i)
		if i%500 == 0 { // below what a queue holds, so only the slow one drops
			eventually(t, "the fast subscriber keeps up", func() bool { return fast.Load() == int64(i)+1 })
		}
	}
	if a.Dropped() != 0 || b.Dropped() != n-queued {
		t.Errorf("dropped %d at the publisher, %d at the subscriber, want 0 and %d", a.Dropped(), b.Dropped(), n-queued)
	}
	close(release)
	if got := <-slow; got != 0 {
		t.Errorf("first %d, want 0", got)
	}
	if got := <-slow; got != n-queued+1 {
		t.Errorf("second %d, want %d", got, n-queued+1)
	}
}

func TestNATSServerDownAtOpen(t *testing.T) {
	s := natsServer(t, -1, "", "")
	port, url := portOf(s), s.ClientURL()
	stop(s)
	a, b := open(t, bus.Config{URL: url}), open(t, bus.Config{URL: url})
	own, other := listen(t, a, "s"), listen(t, b, "s")
	publish(t, a, "s", "alone")
	expect(t, own, "alone") // a node without NATS still hears itself
	if a.Connected() || b.Connected() {
		t.Fatal("connected to a server that is down")
	}
	natsServer(t, port, "", "")
	connected(t, a, b)
	publish(t, a, "s", "together")
	expect(t, own, "together")
	for got := ""; got != "together"; { // "alone" may have waited for the server
		select {
		case got = <-other:
		case <-t.Context().Done():
			t.Fatal("test ended")
		}
	}
}

func TestNATSServerRestart(t *testing.T) {
	s := natsServer(t, -1, "", "")
	port, url := portOf(s), s.ClientURL()
	a, b := open(t, bus.Config{URL: url}), open(t, bus.Config{URL: url})
	connected(t, a, b)
	own, other := listen(t, a, "s"), listen(t, b, "s")
	for round := range 2 {
		stop(s)
		eventually(t, "both notice", func() bool { return !a.Connected() && !b.Connected() })
		publish(t, a, "s", "down")
		expect(t, own, "down")
		s = natsServer(t, port, "", "")
		connected(t, a, b)
		up := fmt.Sprint("up ", round)
		publish(t, a, "s", up)
		expect(t, own, up)
		for got := range other { // "down" may have waited for the server
			if got == up {
				break
			}
			if got != "down" {
				t.Fatalf("heard %q", got)
			}
		}
	}
}

func TestNATSWaitingSignalsAreBounded(t *testing.T) {
	s := natsServer(t, -1, "", "")
	url := s.ClientURL()
	stop(s)
	a := open(t, bus.Config{URL: url})
	for range 3000 {
		publish(t, a, "s", "x")
	}
	if got := a.Dropped(); got != 3000-queued {
		t.Errorf("Dropped() = %d, want %d", got, 3000-queued)
	}
}

func TestNATSCloseSendsWhatIsQueued(t *testing.T) {
	s := natsServer(t, -1, "", "")
	a, b := open(t, bus.Config{URL: s.ClientURL()}), open(t, bus.Config{URL: s.ClientURL()})
	connected(t, a, b)
	heard := listen(t, b, "s")
	var want []string
	for i := range 500 {
		want = append(want, fmt.Sprint(i))
		publish(t, a, "s", want[i])
	}
	a.Close()
	if a.Connected() {
		t.Error("connected after Close")
	}
	expect(t, heard, want...)
}

func TestNATSFaults(t *testing.T) {
	s := natsServer(t, -1, "", "")
	fault := func(subject string) bus.Fault {
		return bus.Fault{Drop: subject == "lost", Duplicate: subject == "double"}
	}
	a, b := open(t, bus.Config{URL: s.ClientURL(), Fault: fault}), open(t, bus.Config{URL: s.ClientURL()})
	connected(t, a, b)
	atA, atB := make(chan string, 100), make(chan string, 100)
	for _, subject := range []string{"lost", "double", "plain"} {
		for b, heard := range map[*bus.Bus]chan string{a: atA, b: atB} {
			if _, err := b.Subscribe(subject, func([]byte) { heard <- subject }); err != nil {
				t.Fatal(err)
			}
		}
	}
	tally := func(heard chan string) (n map[string]int) { // until the last signal is in
		n = map[string]int{}
		for n["plain"] < 1 || n["double"] < 2 {
			n[<-heard]++
		}
		return n
	}
	for _, from := range []*bus.Bus{a, b} {
		for _, subject := range []string{"lost", "double", "plain"} {
			publish(t, from, subject, "")
		}
		// From a: lost and doubled as they leave. From b: as they arrive.
		if got := tally(atA); fmt.Sprint(got) != "map[double:2 plain:1]" {
			t.Errorf("at a: %v", got)
		}
		if from == a {
			if got := tally(atB); fmt.Sprint(got) != "map[double:2 plain:1]" {
				t.Errorf("at b: %v", got)
			}
		}
	}
	eventually(t, "b hears its own three", func() bool { return len(atB) == 3 })
}

func TestNATSStrangersSignals(t *testing.T) {
	s := natsServer(t, -1, "", "")
	b := open(t, bus.Config{URL: s.ClientURL()})
	connected(t, b)
	heard := listen(t, b, "s")
	raw, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for subject, data := range map[string][]byte{
		"reef.one.s":     make([]byte, bus.MaxSignal+1),
		"reef.one.$x":    nil,
		"reef.one.a\x01": nil,
	} {
		if err := raw.Publish(subject, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.Publish("reef.one.s", []byte("fine")); err != nil {
		t.Fatal(err)
	}
	expect(t, heard, "fine")
	if got := b.Dropped(); got != 3 {
		t.Errorf("Dropped() = %d, want 3", got)
	}
}

// TestNATSStalledServer puts a wire between bus and server that stops carrying
// anything without closing: publishers must not notice.
func TestNATSStalledServer(t *testing.T) {
	s := natsServer(t, -1, "", "")
	w := newWire(t, s.Addr().String())
	a := open(t, bus.Config{URL: "nats://" + w.addr})
	quiet := open(t, bus.Config{URL: "nats://" + w.addr}) // publishes nothing: only its pings can tell
	own := listen(t, a, "own")
	connected(t, a, quiet)
	w.stall()
	big := strings.Repeat("x", bus.MaxSignal)
	for range 1000 { // 32 MiB: more than the sockets and the queue hold
		publish(t, a, "s", big)
	}
	publish(t, a, "own", "still here")
	expect(t, own, "still here")
	if a.Dropped() == 0 {
		t.Error("1000 signals for a stalled server were all kept")
	}
	eventually(t, "the silence is noticed", func() bool { return !a.Connected() && !quiet.Connected() })
	a.Close() // hangs if a dial or a write can hold it
}

// TestNATSSilentServer opens against something that accepts and says nothing.
func TestNATSSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	a := open(t, bus.Config{URL: "nats://" + l.Addr().String()})
	c := <-accepted
	publish(t, a, "s", "x")
	a.Close()
	if _, err := io.Copy(io.Discard, c); err != nil { // ends when the bus let go
		t.Logf("connection ended with %v", err)
	}
	_ = c.Close()
	if a.Connected() {
		t.Error("connected to a silent server")
	}
}

func TestNATSNoSecretInLog(t *testing.T) {
	const password, token = "hunter2-secret", "tok-4711-secret"
	s := natsServer(t, -1, "reef", password)
	addr := s.Addr().String()
	var out lockedBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))

	right := open(t, bus.Config{URL: "nats://reef:" + password + "@" + addr, Log: log})
	connected(t, right)
	wrong := open(t, bus.Config{URL: "nats://" + token + "@" + addr + ",nats://u:" + password + "@127.0.0.1:1", Log: log})
	eventually(t, "the wrong credential is tried again and again", func() bool {
		v, err := s.Varz(nil)
		return err == nil && v.TotalConnections > 3
	})
	if wrong.Connected() {
		t.Error("connected with a wrong credential")
	}
	stop(s)
	eventually(t, "the loss is noticed", func() bool { return !right.Connected() })
	eventually(t, "and logged", func() bool { return strings.Contains(out.String(), "bus disconnected") })
	text := out.String()
	if !strings.Contains(text, addr) || !strings.Contains(text, "bus connected") {
		t.Errorf("the log says nothing of %s:\n%s", addr, text)
	}
	for _, secret := range []string{password, token} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q:\n%s", secret, text)
		}
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// wire forwards TCP connections to an address until it is stalled; then it
// reads nothing more and keeps every connection open.
type wire struct {
	addr    string
	stalled chan struct{}
	mu      sync.Mutex
	conns   []net.Conn
}

func newWire(t *testing.T, target string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: l.Addr().String(), stalled: make(chan struct{})}
	t.Cleanup(func() {
		_ = l.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, c := range w.conns {
			_ = c.Close()
		}
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, in, out)
			w.mu.Unlock()
			go w.carry(in, out)
			go w.carry(out, in)
		}
	}()
	return w
}

func (w *wire) stall() { close(w.stalled) }

func (w *wire) carry(from, to net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		select {
		case <-w.stalled:
			return
		default:
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
