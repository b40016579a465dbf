// Command testreport reads `go test -json` from standard input and prints what
// plain `go test` would: a line for each package and the output of what failed.
// It fails when a test failed or was skipped, when a package did not build or
// never ended, and when no test matched one of the -ran patterns: a green run
// then means that those tests ran.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() {
	var ran patterns
	flag.Var(&ran, "ran", "`regexp` of test names of which at least one must have passed (may be repeated)")
	flag.Parse()
	r := newReport(os.Stdout, ran)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !r.close() {
		os.Exit(1)
	}
}

// patterns is the value of a flag that may be repeated.
type patterns []*regexp.Regexp

func (p *patterns) String() string { return fmt.Sprint(*p) }

func (p *patterns) Set(s string) error {
	re, err := regexp.Compile(s)
	if err == nil {
		*p = append(*p, re)
	}
	return err
}

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Output     string
}

// report collects the events of one run.
type report struct {
	out  io.Writer
	want []*regexp.Regexp

	output  map[test][]string // of tests that have not ended yet
	open    map[string]bool   // packages that have not ended yet
	inner   map[test]bool     // tests that have subtests, which are not counted
	ended   map[test]string   // how each test ended: pass, fail or skip
	broken  bool              // a package failed or did not build
	skipped []string          // for the closing list, with their reasons
}

type test struct{ pkg, name string }

func newReport(out io.Writer, want []*regexp.Regexp) *report {
	return &report{
		out: out, want: want,
		output: map[test][]string{}, open: map[string]bool{},
		inner: map[test]bool{}, ended: map[test]string{},
	}
}

// read consumes the whole stream. A line that is not JSON is passed on as it is
// (the go command prints some of its own complaints that way).
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprintf(r.out, "%s", line)
			} else {
				r.add(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "start":
		r.open[e.Package] = true
	case "run":
		for name := e.Test; ; {
			slash := strings.LastIndexByte(name, '/')
			if slash < 0 {
				break
			}
			name = name[:slash]
			r.inner[test{e.Package, name}] = true
		}
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "build-fail":
		r.broken = true
	case "output":
		if e.Test == "" && summary.MatchString(e.Output) {
			fmt.Fprint(r.out, e.Output)
			return
		}
		r.output[t] = append(r.output[t], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.closePackage(e)
			return
		}
		r.ended[t] = e.Action
		switch e.Action {
		case "fail":
			fmt.Fprint(r.out, strings.Join(r.output[t], ""))
		case "skip":
			r.skipped = append(r.skipped, e.Package+" "+e.Test+"\n"+strings.Join(r.output[t], ""))
		}
		delete(r.output, t)
	}
}

// summary matches the lines with which go test closes a package.
var summary = regexp.MustCompile(`^(ok|FAIL|\?) *\t`)

// closePackage ends a package. What it printed outside any test (a panic, a
// race, a TestMain that gave up) and the output of tests that never ended are
// shown only when it failed.
func (r *report) closePackage(e event) {
	delete(r.open, e.Package)
	if e.Action == "fail" {
		r.broken = true
	}
	for _, t := range slices.SortedFunc(maps.Keys(r.output), func(a, b test) int { return strings.Compare(a.name, b.name) }) {
		if t.pkg != e.Package {
			continue
		}
		if e.Action == "fail" {
			fmt.Fprint(r.out, strings.Join(r.output[t], ""))
		}
		delete(r.output, t)
	}
}

// close prints the closing lines and reports whether the run is good.
func (r *report) close() bool {
	good := !r.broken
	for _, pkg := range slices.Sorted(maps.Keys(r.open)) {
		good = false
		fmt.Fprintf(r.out, "FAIL\t%s\tnever ended\n", pkg)
	}
	count := map[string]int{}
	matched := make([]int, len(r.want))
	for t, how := range r.ended {
		if how == "fail" {
			good = false
		}
		if r.inner[t] {
			continue
		}
		count[how]++
		for i, re := range r.want {
			if how == "pass" && re.MatchString(t.name) {
				matched[i]++
			}
		}
	}
	fmt.Fprintln(r.out)
	for _, s := range r.skipped {
		good = false
		fmt.Fprintf(r.out, "SKIPPED\t%s", s)
	}
	for i, re := range r.want {
		fmt.Fprintf(r.out, "tests named %s: %d passed\n", re, matched[i])
		if matched[i] == 0 {
			good = false
			fmt.Fprintf(r.out, "FAIL\tno test named %s ran and passed\n", re)
		}
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
	return good && count["pass"] > 0
}
