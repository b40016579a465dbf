package main

import (
	"regexp"
	"strings"
	"testing"
)

// stream turns a compact notation into go test -json: "package action test output".
func stream(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		f := strings.SplitN(line, " ", 4)
		for len(f) < 4 {
			f = append(f, "")
		}
		if f[2] == "-" {
			f[2] = ""
		}
		b.WriteString(`{"Action":"` + f[1] + `","Package":"` + f[0] + `","Test":"` + f[2] + `","Output":"` + f[3] + `"}` + "\n")
	}
	return b.String()
}

func TestReport(t *testing.T) {
	good := []string{
		"p start", "p run TestA", "p run TestA/sqlite", "p run TestA/postgres",
		`p output TestA/sqlite chatter\n`,
		"p pass TestA/sqlite", "p pass TestA/postgres", "p pass TestA",
		`p output - PASS\n`, `p output - ok  \tp\t0.1s\n`, "p pass -",
	}
	for _, c := range []struct {
		name  string
		lines []string
		want  bool
		says  []string
		not   string
	}{
		{"good", good, true, []string{"ok  \tp\t0.1s\n", "2 passed, 0 failed, 0 skipped\n"}, "chatter"},
		{"nothing ran", nil, false, []string{"no test named"}, ""},
		{"no test of the kind", good[:3], false, []string{"no test named /postgres$ ran and passed"}, ""},
		{"never ended", good[:8], false, []string{"FAIL\tp\tnever ended"}, ""},
		{
			"a failure shows its output",
			append([]string{"q start", "q run TestB", `q output TestB boom\n`, "q fail TestB", `q output - FAIL\tq\t1s\n`, "q fail -"}, good...),
			false,
			[]string{"boom\n", "FAIL\tq\t1s\n", "2 passed, 1 failed, 0 skipped"},
			"chatter",
		},
		{
			"a skip fails and gives its reason",
			append([]string{"q start", "q run TestB", `q output TestB no node here\n`, "q skip TestB", "q pass -"}, good...),
			false,
			[]string{"SKIPPED\tq TestB\nno node here\n", "2 passed, 0 failed, 1 skipped"},
			"",
		},
		{
			"a package without tests is no skip",
			append([]string{"q start", `q output - ?   \tq\t[no test files]\n`, "q skip -"}, good...),
			true,
			[]string{"0 skipped"},
			"",
		},
		{
			"a panic outside any test is shown",
			append([]string{"q start", `q output - panic: main\n`, "q fail -"}, good...),
			false,
			[]string{"panic: main\n"},
			"",
		},
		{
			"a test that never ended is shown",
			append([]string{"q start", "q run TestB", `q output TestB half way\n`, "q fail -"}, good...),
			false,
			[]string{"half way\n"},
			"",
		},
		{"a package that does not build", append([]string{`q build-output - q.go:1: no\n`, "q build-fail"}, good...), false, []string{"q.go:1: no\n"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out, []*regexp.Regexp{regexp.MustCompile(`/postgres$`)})
			if err := r.read(strings.NewReader(stream(c.lines...))); err != nil {
				t.Fatal(err)
			}
			if got := r.close(); got != c.want {
				t.Errorf("good = %v, want %v", got, c.want)
			}
			for _, s := range c.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("output lacks %q", s)
				}
			}
			if c.not != "" && strings.Contains(out.String(), c.not) {
				t.Errorf("output has %q", c.not)
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

func TestPassesOnWhatIsNotJSON(t *testing.T) {
	var out strings.Builder
	r := newReport(&out, nil)
	if err := r.read(strings.NewReader("go: cannot find main module\n")); err != nil {
		t.Fatal(err)
	}
	if out.String() != "go: cannot find main module\n" || r.close() {
		t.Errorf("got %q", out.String())
	}
}
