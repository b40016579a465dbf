package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		list []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		before := slices.Clone(c.list)
		if got := median(c.list); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.list, got, c.want)
		}
		if !slices.Equal(before, c.list) {
			t.Errorf("median changed %v to %v", before, c.list)
		}
	}
	if got, want := spreadOf([]float64{5, 1, 9}), (spread{5, 1, 9}); got != want {
		t.Errorf("spread %v, want %v", got, want)
	}
}

func TestPercentile(t *testing.T) {
	list := make([]uint32, 200)
	for i := range list {
		list[i] = uint32(i + 1)
	}
	for p, want := range map[float64]uint32{0: 1, 50: 100, 99: 198, 99.5: 199, 100: 200} {
		if got := percentile(list, p); got != want {
			t.Errorf("p%v is %d, want %d", p, got, want)
		}
	}
	if got := percentile(list[:1], 99); got != 1 {
		t.Errorf("p99 of one is %d", got)
	}
	if got := percentile(nil, 50); got != 0 {
		t.Errorf("p50 of none is %d", got)
	}
}

func TestRatios(t *testing.T) {
	if got := ratios([]float64{2, 9, 3, 1}, []float64{4, 0, 3}); !slices.Equal(got, []float64{0.5, 1}) {
		t.Errorf("%v", got)
	}
}

func TestExponent(t *testing.T) {
	size := []float64{1000, 10_000, 100_000}
	for _, e := range []float64{0, 0.5, 1, 2, -0.3} {
		var cost []float64
		for _, n := range size {
			cost = append(cost, 7*math.Pow(n, e))
		}
		if got, ok := exponent(size, cost); !ok || math.Abs(got-e) > 1e-9 {
			t.Errorf("exponent %v (%v), want %v", got, ok, e)
		}
	}
	for _, size := range [][]float64{nil, {5}, {5, 5, 5}, {0, 5}} {
		if e, ok := exponent(size, []float64{1, 2, 3}); ok {
			t.Errorf("exponent %v over sizes %v", e, size)
		}
	}
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]float64{
		0: 0, 1: 1, 12345.6: 12350, 0.123456: 0.1235, 0.00098765432: 0.0009877, -1234.56: -1235, 99999: 100000,
		math.Inf(1): 0, math.NaN(): 0,
	} {
		if got := digits(v); got != want {
			t.Errorf("digits(%v) is %v, want %v", v, got, want)
		}
	}
}

// The keys of a line are the wire of make bench.
func TestFigureJSON(t *testing.T) {
	var out bytes.Buffer
	p := newPress(&out, true, "post")
	f := figure{Metric: "rate", DB: dbSQLite, Side: "governed", Scale: 10, Data: "3 posts"}
	if err := p.put(f.with(spread{1234.56, 1000, 2000}, "1/s", 5, 42).latency(1.23456, 9.87654).against("raw", 0.66666)); err != nil {
		t.Fatal(err)
	}
	if err := p.put(figure{Metric: "empty_ms"}.with(spread{1, 1, 1}, "ms", 1, 1)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %s", len(lines), out.String())
	}
	const head = `{"bench":"post","metric":"rate","value":1235,"unit":"1/s","n":42,"p50":1.235,"p99":9.877,"baseline":"raw","ratio":0.6667,"commit":"`
	if !strings.HasPrefix(lines[0], head) {
		t.Errorf("got  %s\nwant %s…", lines[0], head)
	}
	for _, line := range lines {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"bench", "metric", "value", "unit", "n", "p50", "p99", "baseline", "ratio", "commit", "cpu", "at", "db", "reps", "min", "max"} {
			if _, ok := m[key]; !ok {
				t.Errorf("%s has no %s", line, key)
			}
		}
		if at, err := time.Parse(time.RFC3339, m["at"].(string)); err != nil || at.Location() != time.UTC {
			t.Errorf("at %v: %v", m["at"], err)
		}
	}
	if !strings.Contains(lines[1], `"p50":null,"p99":null,"baseline":"","ratio":null`) {
		t.Errorf("absent numbers are not null: %s", lines[1])
	}
}

func TestFigureTable(t *testing.T) {
	var out bytes.Buffer
	p := newPress(&out, false, "feed")
	f := figure{Metric: "ratio_bare", DB: dbSQLite, Variant: "fresh", Side: "governed", Scale: 10, Data: "3 posts"}
	if err := p.put(f.with(spread{0.5, 0.4, 0.6}, "ratio", 5, 42).against("bare", 0.5)); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		t.Errorf("a table begins before its end: %s", out.String())
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"RATIO TO", "×10: 3 posts", "0.4–0.6", "0.5 bare"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// burn keeps a processor busy for a while.
func burn(d time.Duration) (n int) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		for i := range 10_000 {
			n ^= i * n
		}
	}
	return n
}

func TestProfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpu.prof")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		t.Fatal(err)
	}
	_ = burn(300 * time.Millisecond)
	pprof.StopCPUProfile()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := readProfile(path)
	if err != nil {
		t.Fatal(err)
	}
	if top := p.by(cumulative); !slices.ContainsFunc(top[:min(profileTop, len(top))], func(s share) bool { return s.name == "reef/bench.burn" }) {
		t.Errorf("burn is not among %v", top)
	}
	var sum int64
	for _, s := range p.by(part) {
		sum += s.time
	}
	if sum != p.total {
		t.Errorf("the parts have %d of %d ns", sum, p.total)
	}
	var out strings.Builder
	p.print(&out, "test")
	if !strings.Contains(out.String(), "reef/bench.burn") {
		t.Errorf("printed:\n%s", out.String())
	}
}

func TestPartOf(t *testing.T) {
	for f, want := range map[string]string{
		ours + "gate.(*WriteAct[go.shape.struct { A example.org/x.T },go.shape.int]).once": "gate",
		ours + "api/moltbook.(*door).page":                                                 "api/moltbook",
		ours + "store.guard":                                                               "store",
		"modernc.org/sqlite/lib.Xsqlite3_step":                                             "SQLite",
		"net/http.(*conn).serve":                                                           "net/http",
		"net.(*conn).Write":                                                                "sockets",
		"runtime.mallocgc":                                                                 "",
		"github.com/maypok86/otter/v2/internal/hashmap.(*Map[go.shape.1,go.shape.2[int]]).Get": "otter (caches)",
	} {
		if got := partOf(plainName(f)); got != want {
			t.Errorf("%s belongs to %q, want %q", f, got, want)
		}
	}
}

func TestProfileCorrupt(t *testing.T) {
	for _, b := range [][]byte{
		nil,
		{0x12, 0x04, 0x0a, 0x01, 0x01, 0x12},
		{0x32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		{0x12, 0x02, 0x0a, 0x05},
		{0xff},
	} {
		if p, err := parseProfile(b); err == nil {
			t.Errorf("%x is the profile %+v", b, p)
		}
	}
}
