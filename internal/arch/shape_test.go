package arch

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// Limits of size, in lines as wc counts them. Package budgets stand in house.
const (
	fileWatch   = 600  // a product file longer than this is named in the log
	fileLimit   = 1000 // and longer than this fails
	docMin      = 10   // a doc.go says enough
	docMax      = 40   // and no more than that
	maxMethods  = 4    // of an interface
	watchBudget = 0.8  // the part of a budget from which shape says so
)

// checkLengths fails product files over fileLimit.
func checkLengths(tr *tree) (found []finding) {
	for _, f := range tr.files {
		if n := tr.lines(f); !f.inTests() && n > fileLimit {
			found = append(found, tr.at(f, f.file.Package, "%d lines; a file over %d is several files", n, fileLimit))
		}
	}
	return found
}

// checkDocs wants a doc.go of docMin to docMax lines in every package, with
// the package comment in it and in no other file. Commands have one file and
// their comment there.
func checkDocs(tr *tree) (found []finding) {
	first := map[string]*source{} // a file of each package, to point at
	docs := map[string]bool{}
	for _, f := range tr.files {
		if f.kind != product {
			continue
		}
		isDoc := strings.HasSuffix(f.path, "/doc.go")
		if first[f.pkg] == nil {
			first[f.pkg] = f
		}
		comment := f.file.Doc.Text()
		switch {
		case strings.HasPrefix(f.pkg, "cmd/"):
			docs[f.pkg] = docs[f.pkg] || strings.HasPrefix(comment, "Command ")
		case isDoc:
			docs[f.pkg] = true
			if want := "Package " + f.file.Name.Name + " "; !strings.HasPrefix(comment, want) {
				found = append(found, tr.at(f, f.file.Package, "the comment does not begin with %q", want))
			}
			if n := tr.lines(f); n < docMin || n > docMax {
				found = append(found, tr.at(f, f.file.Package, "%d lines; say in %d to %d what the package hides, its invariants, its tables and its entry point", n, docMin, docMax))
			}
		case comment != "":
			found = append(found, tr.at(f, f.file.Package, "the package comment belongs into doc.go"))
		}
	}
	for pkg, f := range first {
		if !docs[pkg] {
			found = append(found, tr.at(f, f.file.Package, "package %s has no doc.go (a command: no comment \"Command …\")", pkg))
		}
	}
	return found
}

// checkDeclarations fails func init and wide interfaces in product code.
func checkDeclarations(tr *tree) (found []finding) {
	for _, f := range tr.files {
		if f.kind != product {
			continue
		}
		for _, d := range f.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, tr.at(f, fn.Pos(), "func init runs in an order nobody reads: register explicitly in a constructor"))
			}
		}
		ast.Inspect(f.file, func(n ast.Node) bool {
			i, ok := n.(*ast.InterfaceType)
			if !ok {
				return true
			}
			methods := 0
			for _, field := range i.Methods.List {
				if _, isFunc := field.Type.(*ast.FuncType); isFunc {
					methods += max(1, len(field.Names))
				}
			}
			if methods > maxMethods {
				found = append(found, tr.at(f, i.Pos(), "an interface of %d methods; %d at most, declared by the consumer", methods, maxMethods))
			}
			return true
		})
	}
	return found
}

// shape is the size of one package.
type shape struct {
	files, lines, names int
	longest             string // path and lines of the longest file
	longestLines        int
}

// measure counts the product code of every package. names are exported
// package-level names and methods of exported types.
func measure(tr *tree) map[string]shape {
	all := map[string]shape{}
	for _, f := range tr.files {
		if f.kind != product {
			continue
		}
		s, n := all[f.pkg], tr.lines(f)
		s.files++
		s.lines += n
		s.names += exported(f.file)
		if n > s.longestLines {
			s.longest, s.longestLines = f.path[strings.LastIndexByte(f.path, '/')+1:], n
		}
		all[f.pkg] = s
	}
	return all
}

func exported(file *ast.File) (n int) {
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
				n++
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.IsExported() {
						n++
					}
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						if name.IsExported() {
							n++
						}
					}
				}
			}
		}
	}
	return n
}

// receiver returns the name of a method's type.
func receiver(fn *ast.FuncDecl) (name string) {
	ast.Inspect(fn.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return true
	})
	return name
}

// checkBudgets fails packages over their line budget.
func checkBudgets(tr *tree) (found []finding) {
	for pkg, s := range measure(tr) {
		if r, ok := house[pkg]; ok && s.lines > r.budget {
			found = append(found, finding(fmt.Sprintf("%s has %d lines, its budget is %d: move something out, or change the budget in a decision record", pkg, s.lines, r.budget)))
		}
	}
	return found
}

func TestShape(t *testing.T) {
	tr := repository(t)
	report(t, checkLengths(tr))
	report(t, checkDocs(tr))
	report(t, checkDeclarations(tr))
}

// TestBudgets prints what `make shape` shows.
func TestBudgets(t *testing.T) {
	tr := repository(t)
	report(t, checkBudgets(tr))

	all := measure(tr)
	w := tabwriter.NewWriter(t.Output(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "rank\tpackage\tlines\tof budget\texported\tfiles\tlongest\t")
	order := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		if d := house[a].rank - house[b].rank; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, pkg := range order {
		s, r := all[pkg], house[pkg]
		note := ""
		if float64(s.lines) > watchBudget*float64(r.budget) {
			note = "near its budget"
		}
		if s.longestLines > fileWatch {
			note += " look at the longest file again"
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%d\t%s %d\t%s\n", r.rank, pkg, s.lines, r.budget, s.names, s.files, s.longest, s.longestLines, note)
	}
	if err := w.Flush(); err != nil {
		t.Error(err)
	}
}

func TestShapeSelf(t *testing.T) {
	long := func(n int) string { return "package x\n" + strings.Repeat("\n", n-1) }
	doc := "// Package x does\n" + strings.Repeat("// things\n", docMin-2) + "package x\n"

	find(t, checkLengths, sources{"internal/x/a.go": long(fileLimit)}, "")
	find(t, checkLengths, sources{"internal/x/a.go": long(fileLimit + 1)}, "1001 lines")
	find(t, checkLengths, sources{"internal/x/a_test.go": long(fileLimit + 1)}, "")

	find(t, checkDocs, sources{"internal/x/doc.go": doc, "internal/x/a.go": "package x\n"}, "")
	find(t, checkDocs, sources{"internal/x/a.go": "package x\n"}, "no doc.go")
	find(t, checkDocs, sources{"internal/x/doc.go": "// Package x.\npackage x\n" + strings.Repeat("\n", docMin)}, "does not begin")
	find(t, checkDocs, sources{"internal/x/doc.go": "// Package x does.\npackage x\n"}, "2 lines")
	find(t, checkDocs, sources{"internal/x/doc.go": doc + strings.Repeat("\n", docMax)}, "50 lines")
	find(t, checkDocs, sources{"internal/x/doc.go": doc, "internal/x/a.go": "// Package x too.\npackage x\n"}, "belongs into doc.go")
	find(t, checkDocs, sources{"cmd/reef/main.go": "// Command reef is it.\npackage main\n"}, "")
	find(t, checkDocs, sources{"cmd/reef/main.go": "package main\n"}, "no doc.go")

	find(t, checkDeclarations, sources{"internal/x/a.go": "package x\nfunc init() {}\n"}, "func init")
	find(t, checkDeclarations, sources{"internal/x/a.go": "package x\ntype t struct{}\nfunc (t) init() {}\n"}, "")
	find(t, checkDeclarations, sources{"internal/x/a.go": "package x\ntype i interface{ A(); B(); C(); D() }\n"}, "")
	find(t, checkDeclarations, sources{"internal/x/a.go": "package x\ntype i interface{ A(); B(); C(); D(); E() }\n"}, "5 methods")

	find(t, checkBudgets, sources{"internal/act/a.go": long(house["act"].budget)}, "")
	find(t, checkBudgets, sources{"internal/act/a.go": long(500), "internal/act/b.go": long(301)}, "act has 801 lines")
	find(t, checkBudgets, sources{"internal/act/a.go": long(500), "internal/act/b_test.go": long(301)}, "")

	const names = `package x
type A struct{}
func (*A) B() {}
func (A) c() {}
type d struct{}
func (d) E() {}
const F, g = 1, 2
var H = 1
func I[T any]() {}
`
	if got := measure(made(t, sources{"internal/act/a.go": names}))["act"]; got.names != 5 || got.files != 1 {
		t.Errorf("measured %+v, want 5 names (A, B, F, H, I) in 1 file", got)
	}
}
