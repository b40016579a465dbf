package store_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// call is one system call of a trace. The lines where it began and ended differ
// when another thread's line came between.
type call struct {
	began, ended int
	name, file   string // file is the path of its descriptor
	data         string // what was written, as \x bytes
	ok           bool
}

var (
	// PID name(FD</path>, "\x..", …) = RESULT, or cut by <unfinished ...>
	traceHead = regexp.MustCompile(`^(\d+) +(\w+)\(\d+<([^>]*)>`)
	traceTail = regexp.MustCompile(`= (-?\d+)[^=]*$`)
	traceRest = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>.*= (-?\d+)[^=]*$`)
)

// readTrace parses the output of strace -f -y -xx.
func readTrace(t testing.TB, path string) (calls []*call) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	open := map[string]*call{} // by thread
	for n := 0; lines.Scan(); n++ {
		line := lines.Text()
		if m := traceHead.FindStringSubmatch(line); m != nil {
			c := &call{began: n, ended: n, name: m[2], file: unescape(m[3])}
			calls = append(calls, c)
			rest := line[len(m[0]):]
			if parts := strings.SplitN(rest, `"`, 3); len(parts) == 3 {
				c.data, rest = parts[1], parts[2]
			}
			if end := traceTail.FindStringSubmatch(rest); end != nil {
				c.ok = !strings.HasPrefix(end[1], "-")
			} else {
				c.ended, open[m[1]] = 1<<62, c
			}
			continue
		}
		if m := traceRest.FindStringSubmatch(line); m != nil && open[m[1]] != nil && open[m[1]].name == m[2] {
			c := open[m[1]]
			c.ended, c.ok = n, !strings.HasPrefix(m[3], "-")
			delete(open, m[1])
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return calls
}

// unescape turns \x bytes back into text; newer versions print paths so too.
func unescape(s string) string {
	if !strings.HasPrefix(s, `\x`) {
		return s
	}
	if text, err := strconv.Unquote(`"` + s + `"`); err == nil {
		return text
	}
	return s
}

func escape(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\x%02x`, c)
	}
	return s.String()
}

// TestSyncedBeforeAcknowledged traces the system calls of a process that writes:
// between the write of an act's bytes to the log and the act's acknowledgement
// on standard output, a sync of the log began and ended. With one writer,
// moreover, nothing at all is written to the log between the sync and the
// acknowledgement.
func TestSyncedBeforeAcknowledged(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		storetest.Missing(t, "strace is not installed: that writes are synced before they are acknowledged is not shown")
	}
	probe := filepath.Join(t.TempDir(), "probe")
	if out, err := exec.Command(strace, "-o", probe, "-f", "--seccomp-bpf", "-y", "-xx", "true").CombinedOutput(); err != nil {
		storetest.Missing(t, "this machine does not let processes be traced: %v: %s", err, out)
	}
	for _, writers := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d_writers", writers), func(t *testing.T) {
			writes := full(15, 200)
			cfg := storetest.Config(t, store.SQLite)
			trace := filepath.Join(t.TempDir(), "trace")
			p := startWriters(t, "write", cfg, writers, writes, strace, "-f", "--seccomp-bpf", "-y", "-xx", "-s", "20000",
				"-e", "trace=fdatasync,fsync,write,pwrite64", "-o", trace)
			ids, err := p.ids(t, func() {})
			if err != nil {
				t.Fatalf("child: %v: %s", err, p.err.String())
			}
			if len(ids) != writers*writes {
				t.Fatalf("%d acknowledgements, want %d", len(ids), writers*writes)
			}
			synced(t, readTrace(t, trace), filepath.Join(cfg.Dir, "reef.db-wal"), ids, writers == 1)
		})
	}
}

func synced(t *testing.T, calls []*call, log string, ids []act.ID, alone bool) {
	t.Helper()
	var logged, syncs, acks []*call
	for _, c := range calls {
		switch {
		case c.file == log && (c.name == "write" || c.name == "pwrite64"):
			logged = append(logged, c)
		case c.file == log && c.ok:
			syncs = append(syncs, c)
		case strings.HasPrefix(c.file, "pipe:"):
			acks = append(acks, c)
		}
	}
	t.Logf("%d writes to the log, %d syncs, %d acknowledgements", len(logged), len(syncs), len(ids))
	for _, id := range ids {
		line := escape(append(strconv.AppendInt(nil, int64(id), 10), '\n'))
		row := escape(binary.BigEndian.AppendUint64(nil, uint64(id))) // as SQLite stores an integer of this size
		var ack, written *call
		for _, c := range acks {
			if c.data == line {
				ack = c
			}
		}
		for _, c := range logged {
			if written == nil && strings.Contains(c.data, row) {
				written = c
			}
		}
		if ack == nil || written == nil || written.began > ack.began {
			t.Fatalf("the trace does not show act %d: acknowledged %+v, logged %+v", id, ack, written)
		}
		var sync *call
		for _, c := range syncs {
			if c.began > written.ended && c.ended < ack.began {
				sync = c
			}
		}
		if sync == nil {
			t.Errorf("act %d was logged at line %d of the trace and acknowledged at line %d with no sync between", id, written.ended, ack.began)
			continue
		}
		for _, c := range logged {
			if alone && c.ended > sync.began && c.began < ack.began {
				t.Errorf("act %d: the log was written at line %d, between the sync and the acknowledgement at %d", id, c.began, ack.began)
			}
		}
	}
}
