package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/reefwarden/reefwarden"

// kind says what a source file is part of.
type kind int

const (
	product kind = iota
	inside       // a test of its own package's inside (package x)
	outside      // a test from outside (package x_test)
)

// source is one parsed Go file.
type source struct {
	pkg  string // "network", "api/native", "cmd/reef"
	path string // from the module root, with slashes
	kind kind
	file *ast.File
}

// inTests reports whether the file never becomes part of the product.
func (f *source) inTests() bool { return f.kind != product || house[f.pkg].tests }

// tree is what the rules look at.
type tree struct {
	fset  *token.FileSet
	files []*source
}

// lines returns the number of lines of a file, as wc counts them.
func (tr *tree) lines(f *source) int { return tr.fset.File(f.file.FileStart).LineCount() }

// finding is one place where a rule is broken.
type finding string

func (tr *tree) at(f *source, pos token.Pos, format string, args ...any) finding {
	return finding(fmt.Sprintf("%s:%d: ", f.path, tr.fset.Position(pos).Line) + fmt.Sprintf(format, args...))
}

// report fails the test with every finding.
func report(t *testing.T, found []finding) {
	t.Helper()
	for _, f := range slices.Sorted(slices.Values(found)) {
		t.Error(string(f))
	}
}

// add parses one file into the tree.
func (tr *tree) add(file string, text []byte) error {
	parsed, err := parser.ParseFile(tr.fset, file, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	f := &source{path: file, file: parsed, pkg: strings.TrimPrefix(path.Dir(file), "internal/")}
	switch {
	case !strings.HasSuffix(file, "_test.go"):
		f.kind = product
	case strings.HasSuffix(parsed.Name.Name, "_test"):
		f.kind = outside
	default:
		f.kind = inside
	}
	tr.files = append(tr.files, f)
	return nil
}

// repository returns the sources of this module, whatever their build tags.
func repository(t *testing.T) *tree {
	t.Helper()
	tr, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

var loaded = sync.OnceValues(func() (*tree, error) {
	tr := &tree{fset: token.NewFileSet()}
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	out, err := goCommand("list", "-e", "-json=Dir,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "./...")
	if err != nil {
		return nil, err
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir                                                          string
			GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		for _, name := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles, p.TestGoFiles, p.XTestGoFiles) {
			full := filepath.Join(p.Dir, name)
			text, err := os.ReadFile(full)
			if err != nil {
				return nil, err
			}
			rel, err := filepath.Rel(root, full)
			if err != nil {
				return nil, err
			}
			if err := tr.add(filepath.ToSlash(rel), text); err != nil {
				return nil, err
			}
		}
	}
	if len(tr.files) == 0 {
		return nil, errors.New("go list found no package")
	}
	return tr, nil
})

// moduleRoot is the folder of go.mod, which for a test of this package is two
// folders up.
func moduleRoot() (string, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return "", err
	}
	_, err = os.Stat(filepath.Join(root, "go.mod"))
	return root, err
}

// goCommand runs the go command in the module's root and returns its output.
func goCommand(args ...string) ([]byte, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	var complaint bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, complaint.Bytes())
	}
	return out, nil
}

// sources are the files of a made-up tree: path to text.
type sources map[string]string

// find is the self-test of a rule: on the made-up tree it must find exactly one
// thing that contains want, or nothing if want is empty.
func find(t *testing.T, rule func(*tree) []finding, files sources, want string) {
	t.Helper()
	tr := made(t, files)
	found := rule(tr)
	switch {
	case want == "" && len(found) > 0:
		t.Errorf("%.300q\nfound %q, want nothing", files, found)
	case want != "" && (len(found) != 1 || !strings.Contains(string(found[0]), want)):
		t.Errorf("%.300q\nfound %q, want one finding with %q", files, found, want)
	}
}

func made(t *testing.T, files sources) *tree {
	t.Helper()
	tr := &tree{fset: token.NewFileSet()}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := tr.add(name, []byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

// importPath returns the path an import names.
func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		return spec.Path.Value // the parser lets only string literals through
	}
	return p
}

// projectPackage returns the short name of one of our packages.
func projectPackage(imported string) (name string, ours bool) {
	rel, ours := strings.CutPrefix(imported, module+"/")
	return strings.TrimPrefix(rel, "internal/"), ours
}

// localNames maps the names under which a file knows its imports to their paths.
func localNames(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		p := importPath(spec)
		if spec.Name != nil {
			names[spec.Name.Name] = p
			continue
		}
		name := path.Base(p)
		if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
			name = path.Base(path.Dir(p)) // example.org/thing/v2
		}
		names[name] = p
	}
	return names
}
