package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one measured number: one line of output.
type figure struct {
	Bench    string   `json:"bench"`
	Metric   string   `json:"metric"`
	Value    float64  `json:"value"`
	Unit     string   `json:"unit"`
	N        int64    `json:"n"`   // operations, or starts
	P50      *float64 `json:"p50"` // ms
	P99      *float64 `json:"p99"` // ms
	Baseline string   `json:"baseline"`
	Ratio    *float64 `json:"ratio"`
	Commit   string   `json:"commit"`
	CPU      string   `json:"cpu"`
	At       string   `json:"at"`

	DB      string  `json:"db"`
	Variant string  `json:"variant,omitempty"`
	Side    string  `json:"side,omitempty"`
	Scale   int     `json:"scale,omitempty"`
	Data    string  `json:"data,omitempty"`
	Reps    int     `json:"reps"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
}

// with sets value, range and count.
func (f figure) with(s spread, unit string, reps int, n int64) figure {
	f.Value, f.Min, f.Max, f.Unit = digits(s.med), digits(s.low), digits(s.high), unit
	f.Reps, f.N = reps, n
	return f
}

// against names what the value was compared with and how it came out.
func (f figure) against(baseline string, ratio float64) figure {
	if ratio > 0 {
		r := digits(ratio)
		f.Baseline, f.Ratio = baseline, &r
	}
	return f
}

// latency sets the percentiles, in milliseconds.
func (f figure) latency(p50, p99 float64) figure {
	a, b := digits(p50), digits(p99)
	f.P50, f.P99 = &a, &b
	return f
}

// press writes figures: JSON lines as they come, or a table at the end.
type press struct {
	out  io.Writer
	json bool
	env  figure // what every line carries
	rows []figure
}

func newPress(out io.Writer, asJSON bool, bench string) *press {
	return &press{out: out, json: asJSON, env: figure{Bench: bench, Commit: commit(), CPU: cpu()}}
}

// put adds a figure.
func (p *press) put(f figure) error {
	f.Bench, f.Commit, f.CPU = p.env.Bench, p.env.Commit, p.env.CPU
	f.At = time.Now().UTC().Format(time.RFC3339)
	if !p.json {
		p.rows = append(p.rows, f)
		return nil
	}
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "%s\n", line)
	return err
}

// close writes the table.
func (p *press) close() error {
	if p.json || len(p.rows) == 0 {
		return nil
	}
	fmt.Fprintf(p.out, "%s at %s on %s\n\n", p.env.Bench, p.env.Commit, p.env.CPU)
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DB\tDATA\tVARIANT\tSIDE\tMETRIC\tVALUE\tMIN–MAX\tUNIT\tN\tP50 ms\tP99 ms\tRATIO TO")
	for _, f := range p.rows {
		versus := ""
		if f.Ratio != nil {
			versus = short(*f.Ratio) + " " + f.Baseline
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s–%s\t%s\t%d\t%s\t%s\t%s\n", f.DB, f.scaled(), f.Variant, f.Side, f.Metric,
			short(f.Value), short(f.Min), short(f.Max), f.Unit, f.N, optional(f.P50), optional(f.P99), versus)
	}
	return w.Flush()
}

func (f figure) scaled() string {
	if f.Scale == 0 {
		return f.Data
	}
	return fmt.Sprintf("×%d: %s", f.Scale, f.Data)
}

func optional(v *float64) string {
	if v == nil {
		return ""
	}
	return short(*v)
}

func short(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// commit returns the revision this binary was built from.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	return revision + dirty
}

// cpu names the processor and how many of them there are.
func cpu() string {
	name := runtime.GOARCH
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close() //nolint:errcheck // only read
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
				name = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s ×%d", name, runtime.NumCPU())
}
