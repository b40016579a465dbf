package arch

import (
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// bans are functions and variables that product code names in a few places
// only. A place is a package, a folder ending in a slash, or one file.
var bans = []struct {
	pkg   string
	names []string
	in    []string
	why   string
}{
	{
		"time",
		[]string{"Now", "Sleep"},
		[]string{"act", "cli", "bench"},
		"take an act.Clock, so that a test can set the time; wait with a timer and a context",
	},
	{
		"fmt",
		[]string{"Print", "Printf", "Println"},
		[]string{"cli", "bench"},
		"what reaches the terminal is cli's; log with the *slog.Logger you were given",
	},
	{
		"os",
		[]string{"Stdin", "Stdout", "Exit", "Args"},
		[]string{"cli", "bench", "cmd/"},
		"streams, arguments and the exit status are cli's; return an error or take an io.Writer",
	},
	{
		"os",
		[]string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"},
		[]string{"cli", "server/config.go"},
		"settings come in through server.Config, where they are checked and documented",
	},
	{
		"net/http",
		[]string{"DefaultClient", "DefaultTransport", "DefaultServeMux", "Get", "Head", "Post", "PostForm"},
		nil,
		"the default client has no time-out and no guard; make one with both",
	},
	{
		"net/http",
		[]string{"Client", "Transport", "NewRequest", "NewRequestWithContext"},
		[]string{"egress", "client", "agent", "cli", "bench", "secret", "export"},
		"the server reaches addresses that strangers name through egress, which guards them (T54); secret and export reach what the operator names",
	},
	{
		"context",
		[]string{"Background", "TODO"},
		[]string{"cmd/", "server", "cli", "bench"},
		"pass the caller's context on, or context.WithoutCancel of it for work that must outlive the request",
	},
	{
		"log/slog",
		[]string{"Default", "SetDefault", "Debug", "Info", "Warn", "Error", "Log", "LogAttrs", "DebugContext", "InfoContext", "WarnContext", "ErrorContext"},
		nil,
		"log with the *slog.Logger you were given: the global one does not redact secrets",
	},
}

// allowed reports whether a file stands in one of the places.
func allowed(f *source, places []string) bool {
	return slices.ContainsFunc(places, func(place string) bool {
		return f.pkg == place || strings.HasSuffix(place, "/") && strings.HasPrefix(f.pkg, place) ||
			f.pkg+"/"+path.Base(f.path) == place
	})
}

// allow marks a line that may break a ban, with the reason after it:
//
//	epoch: time.Now(), //arch:allow a monotonic reference; the wall clock is never read off it
const allow = "//arch:allow"

// allowances returns the lines of a file that carry the mark. A mark without a
// reason is a finding.
func allowances(tr *tree, f *source) (lines map[int]bool, found []finding) {
	lines = map[int]bool{}
	for _, group := range f.file.Comments {
		for _, c := range group.List {
			reason, ok := strings.CutPrefix(c.Text, allow)
			if !ok {
				continue
			}
			if len(strings.Fields(reason)) < 2 {
				found = append(found, tr.at(f, c.Pos(), "%s without a reason", allow))
			}
			lines[tr.fset.Position(c.Pos()).Line] = true
		}
	}
	return lines, found
}

// checkCalls applies the bans to product code. Naming a function is as bad as
// calling it: a value is called later.
func checkCalls(tr *tree) (found []finding) {
	for _, f := range tr.files {
		if f.inTests() {
			continue
		}
		names := localNames(f.file)
		marked, complaints := allowances(tr, f)
		found = append(found, complaints...)
		if p, ok := names["."]; ok {
			found = append(found, tr.at(f, f.file.Package, "imports %s with a dot, which hides where names come from", p))
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "print" || id.Name == "println") {
					found = append(found, tr.at(f, n.Pos(), "calls the built-in %s: log with the *slog.Logger you were given", id.Name))
				}
			case *ast.SelectorExpr:
				id, ok := n.X.(*ast.Ident)
				if !ok {
					return true
				}
				for _, b := range bans {
					if names[id.Name] == b.pkg && slices.Contains(b.names, n.Sel.Name) && !allowed(f, b.in) && !marked[tr.fset.Position(n.Pos()).Line] {
						found = append(found, tr.at(f, n.Pos(), "uses %s.%s: %s", b.pkg, n.Sel.Name, b.why))
					}
				}
			}
			return true
		})
	}
	return found
}

func TestCalls(t *testing.T) {
	report(t, checkCalls(repository(t)))
}

func TestCallsSelf(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"internal/gate/a.go", `import "time"; var t = time.Now()`, "uses time.Now: take an act.Clock"},
		{"internal/gate/a.go", `import clock "time"; var t = clock.Now`, "uses time.Now"},
		{"internal/gate/a.go", `import "time"; func f() { time.Sleep(1) }`, "uses time.Sleep"},
		{"internal/gate/a.go", `import "time"; var t = time.Now() //arch:allow it is only compared with itself`, ""},
		{"internal/gate/a.go", `import "time"; var t = time.Now //arch:allow`, "without a reason"},
		{"internal/gate/a.go", "import \"time\" //arch:allow on another line\nvar t = time.Now()", "uses time.Now"},
		{"internal/gate/a.go", `import "time"; const s = time.Second`, ""},
		{"internal/gate/a.go", `import "example.org/time"; var t = time.Now()`, ""}, // another package of that name
		{"internal/act/clock.go", `import "time"; var t = time.Now()`, ""},
		{"internal/gate/a_test.go", `import "time"; var t = time.Now()`, ""},
		{"internal/store/storetest/a.go", `import "time"; var t = time.Now()`, ""},
		{"internal/gate/a.go", `import "fmt"; func f() { fmt.Println() }`, "uses fmt.Println"},
		{"internal/gate/a.go", `import "fmt"; func f() { fmt.Sprint() }`, ""},
		{"internal/gate/a.go", `func f() { println() }`, "built-in println"},
		{"internal/cli/a.go", `import "fmt"; func f() { fmt.Println() }`, ""},
		{"internal/server/a.go", `import "os"; var e = os.Getenv("X")`, "uses os.Getenv"},
		{"internal/server/config.go", `import "os"; var e = os.Getenv("X")`, ""},
		{"internal/server/a.go", `import "os"; func f() { os.Exit(1) }`, "uses os.Exit"},
		{"cmd/reef/main.go", `import "os"; func f() { os.Exit(1) }`, ""},
		{"internal/client/a.go", `import "net/http"; var c = http.DefaultClient`, "uses net/http.DefaultClient"},
		{"internal/client/a.go", `import "net/http"; var c = &http.Client{}`, ""},
		{"internal/network/a.go", `import "net/http"; var c = &http.Client{}`, "through egress"},
		{"internal/server/a.go", `import "net/http"; var c http.Transport`, "through egress"},
		{"internal/bus/a.go", `import "context"; var c = context.Background()`, "uses context.Background"},
		{"internal/server/a.go", `import "context"; var c = context.Background()`, ""},
		{"internal/bus/a.go", `import "log/slog"; func f() { slog.Info("x") }`, "uses log/slog.Info"},
		{"internal/bus/a.go", `import "log/slog"; var a = slog.Int("x", 1)`, ""},
		{"internal/bus/a.go", `import . "fmt"; var a = Sprint()`, "with a dot"},
	} {
		find(t, checkCalls, sources{c.file: "package x\n" + c.text + "\n"}, c.want)
	}
}
