package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// query is one package-level constant of type store.Q.
type query struct {
	pkg, name, text string
	file            *source
	pos             token.Pos
}

// id names the query in the lists of tables_test.go.
func (q query) id() string { return q.pkg + "." + q.name }

// only returns the database the query's name restricts it to, or "".
func (q query) only() string {
	switch {
	case strings.HasSuffix(q.name, "SQLite"):
		return "sqlite"
	case strings.HasSuffix(q.name, "Postgres"):
		return "postgres"
	}
	return ""
}

// isQ reports whether a type expression means store.Q.
func isQ(f *source, names map[string]string, typ ast.Expr) bool {
	switch typ := typ.(type) {
	case *ast.Ident:
		return f.pkg == "store" && typ.Name == "Q"
	case *ast.SelectorExpr:
		id, ok := typ.X.(*ast.Ident)
		return ok && typ.Sel.Name == "Q" && names[id.Name] == module+"/internal/store"
	}
	return false
}

// repeats makes of a constant that inserts one row the ones that insert several.
const repeats = "internal/store/rows.go"

// collect reads every query of the product off the sources. A query that is
// made in any other way than by a package-level constant is a finding.
func collect(tr *tree) (all []query, found []finding) {
	constants := map[string]ast.Expr{} // "pkg.name" to its value
	eachConstant(tr, func(f *source, name *ast.Ident, _, value ast.Expr) {
		constants[f.pkg+"."+name.Name] = value
	})
	eachConstant(tr, func(f *source, name *ast.Ident, typ, value ast.Expr) {
		if typ == nil || !isQ(f, localNames(f.file), typ) {
			return
		}
		text, err := evaluate(f.pkg, constants, value, 0)
		if err != nil {
			found = append(found, tr.at(f, name.Pos(), "query %s: %v", name.Name, err))
			return
		}
		all = append(all, query{pkg: f.pkg, name: name.Name, text: text, file: f, pos: name.Pos()})
	})
	for _, f := range tr.files {
		if f.inTests() {
			continue
		}
		names := localNames(f.file)
		ast.PreorderStack(f.file, nil, func(n ast.Node, stack []ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if isQ(f, names, n.Fun) && f.path != repeats {
					found = append(found, tr.at(f, n.Pos(), "a query made at run time: declare it as a constant, const qName store.Q = `…`"))
				}
			case *ast.GenDecl:
				for _, spec := range n.Specs {
					v, ok := spec.(*ast.ValueSpec)
					if !ok || len(v.Values) == 0 || v.Type == nil || !isQ(f, names, v.Type) {
						continue
					}
					if n.Tok == token.VAR || len(stack) > 1 {
						found = append(found, tr.at(f, v.Pos(), "query %s is not a package-level constant", v.Names[0].Name))
					}
				}
			}
			return true
		})
	}
	return all, found
}

// eachConstant calls fn with every package-level constant of the product.
func eachConstant(tr *tree, fn func(f *source, name *ast.Ident, typ, value ast.Expr)) {
	for _, f := range tr.files {
		if f.inTests() {
			continue
		}
		for _, d := range f.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if i < len(v.Values) {
						fn(f, name, v.Type, v.Values[i])
					}
				}
			}
		}
	}
}

// evaluate returns the text of a constant made of literals and of constants of
// the same package.
func evaluate(pkg string, constants map[string]ast.Expr, e ast.Expr, depth int) (string, error) {
	if depth > 100 {
		return "", fmt.Errorf("its constants go round in a circle")
	}
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			return strconv.Unquote(e.Value)
		}
	case *ast.ParenExpr:
		return evaluate(pkg, constants, e.X, depth+1)
	case *ast.BinaryExpr:
		left, err := evaluate(pkg, constants, e.X, depth+1)
		if err != nil {
			return "", err
		}
		right, err := evaluate(pkg, constants, e.Y, depth+1)
		return left + right, err
	case *ast.Ident:
		if value, ok := constants[pkg+"."+e.Name]; ok {
			return evaluate(pkg, constants, value, depth+1)
		}
	}
	return "", fmt.Errorf("its text must be literals and constants of this package, so that it can be read without running it")
}

// checkSyntax holds queries to what both databases understand alike.
func checkSyntax(tr *tree) (found []finding) {
	all, _ := collect(tr)
	for _, q := range all {
		for _, complaint := range syntax(q) {
			found = append(found, tr.at(q.file, q.pos, "%s: %s", q.name, complaint))
		}
	}
	return found
}

func syntax(q query) (complaints []string) {
	say := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	all := lex(q.text)
	used := map[int]bool{}
	highest := 0
	for i, tok := range all {
		switch {
		case tok.kind == param:
			if n, err := strconv.Atoi(tok.text[1:]); err == nil && n > 0 && tok.text[0] == '$' {
				used[n] = true
				highest = max(highest, n)
			} else {
				say("parameter %s: parameters are $1, $2, …", tok.text)
			}
		case tok.is("::"):
			say(":: is PostgreSQL's alone: write CAST(x AS type)")
		case tok.in("like", "ilike", "glob", "similar"):
			say("%s matches differently on the two databases: fold in Go and compare the folded column", strings.ToUpper(tok.text))
		case tok.is(";"):
			say("one statement is one query: no ;")
		case tok.is("*") && i > 0 && (all[i-1].in("select", "distinct", "returning") || all[i-1].is(".")):
			say("* follows the order of the migrations, and rows are read by index: name the columns")
		}
	}
	for n := 1; n < highest; n++ {
		if !used[n] {
			say("$%d is used and $%d is not: PostgreSQL cannot tell its type", highest, n)
		}
	}
	if _, listed := orders[q.id()]; listed {
		return complaints
	}
	for _, keys := range orderKeys(all) {
		if !ordered(keys, tablesOf(all), fixed(all)) {
			say("ORDER BY must end in a column that is unique in its table (see tables_test.go), or equal rows come in any order")
		}
	}
	return complaints
}

// ordered reports whether the last key makes the order total: it is a unique
// column of a table of the query, or completes a key of several columns whose
// others are order keys too or compared for equality.
func ordered(keys []column, t touched, fixed map[string]bool) bool {
	last := keys[len(keys)-1]
	from := t.tables
	if name, ok := t.alias[last.table]; ok {
		from = []string{name}
	}
	for _, name := range from {
		for _, key := range tables[name].unique {
			parts := strings.Split(key, ", ")
			if !slices.Contains(parts, last.name) {
				continue
			}
			if !slices.ContainsFunc(parts, func(part string) bool {
				return !fixed[part] && !slices.ContainsFunc(keys, func(c column) bool { return c.name == part })
			}) {
				return true
			}
		}
	}
	return false
}

// checkOwners fails queries on tables of other packages.
func checkOwners(tr *tree) (found []finding) {
	all, _ := collect(tr)
	for _, q := range all {
		if q.pkg == "bench" { // its baselines write the same rows without the house
			continue
		}
		for _, name := range tablesOf(lex(q.text)).tables {
			switch owner := ownerOf(name); {
			case owner == "":
				found = append(found, tr.at(q.file, q.pos, "%s: table %s has no owner: add it to tables in internal/arch/tables_test.go", q.name, name))
			case owner != q.pkg && crossings[q.id()+" "+name] == "":
				found = append(found, tr.at(q.file, q.pos, "%s: table %s belongs to %s: ask that package, or declare a port that it fills", q.name, name, owner))
			}
		}
	}
	return found
}

// statement matches a string that is, or begins, an SQL statement.
var statement = regexp.MustCompile(`^\s*(SELECT\s|INSERT\s|UPDATE\s|DELETE\s+FROM\s|WITH\s+(RECURSIVE\s+)?\w+\s|(?i:select\s.+\sfrom\s|insert\s+into\s|delete\s+from\s|update\s+\w+\s+set\s))`)

// checkLiterals fails SQL that stands anywhere but in a query constant. store
// speaks to its drivers, bench has raw baselines.
func checkLiterals(tr *tree) (found []finding) {
	for _, f := range tr.files {
		if f.inTests() || f.pkg == "store" || f.pkg == "bench" {
			continue
		}
		names := localNames(f.file)
		ast.Inspect(f.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				return n.Type == nil || !isQ(f, names, n.Type) // collect has those
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && statement.MatchString(text) {
					found = append(found, tr.at(f, n.Pos(), "SQL outside a query: declare const qName store.Q = `…`, so that it is checked"))
				}
			}
			return true
		})
	}
	return found
}

func TestQueries(t *testing.T) {
	tr := repository(t)
	all, found := collect(tr)
	report(t, found)
	if len(all) < 10 {
		t.Fatalf("found %d queries: the collection must be broken", len(all))
	}
	report(t, checkSyntax(tr))
	report(t, checkOwners(tr))
	report(t, checkLiterals(tr))

	// The lists name what is there.
	ids := map[string]bool{}
	for _, q := range all {
		ids[q.id()] = true
	}
	for id := range orders {
		if !ids[id] {
			t.Errorf("orders lists %s, which is no query", id)
		}
	}
	for crossing := range crossings {
		id, name, _ := strings.Cut(crossing, " ")
		i := slices.IndexFunc(all, func(q query) bool { return q.id() == id })
		if i < 0 || !slices.Contains(tablesOf(lex(all[i].text)).tables, name) {
			t.Errorf("crossings lists %s, which no query does", crossing)
		}
	}
	for name, spec := range tables {
		if _, ok := house[spec.owner]; !ok {
			t.Errorf("table %s belongs to %s, which is no package", name, spec.owner)
		}
	}
}

func TestCollectSelf(t *testing.T) {
	const head = "package network\nimport \"" + module + "/internal/store\"\n"
	rule := func(tr *tree) []finding { _, found := collect(tr); return found }
	find(t, rule, sources{"internal/network/a.go": head + "var q store.Q = `SELECT 1`\n"}, "not a package-level constant")
	find(t, rule, sources{"internal/network/a.go": head + "func f() { const q store.Q = `SELECT 1` }\n"}, "not a package-level constant")
	find(t, rule, sources{"internal/network/a.go": head + "func f(s string) { use(store.Q(s)) }\n"}, "made at run time")
	find(t, rule, sources{"internal/network/a.go": head + "const q store.Q = other.Text\n"}, "without running it")
	find(t, rule, sources{"internal/network/a.go": head + "const q store.Q = q\n"}, "in a circle")
	find(t, rule, sources{"internal/network/a.go": head + "func f(q store.Q) { var p store.Q; _ = p }\n"}, "")

	tr := made(t, sources{
		"internal/network/a.go": head + "const (\n\tqA, qB store.Q = `SELECT ` + columns, (`SELECT 2`)\n\tother = `x`\n)\n",
		"internal/network/b.go": "package network\nimport s \"" + module + "/internal/store\"\nconst columns = \"id\" + `, author`\nconst qC s.Q = qB\n",
		"internal/store/a.go":   "package store\nconst qD Q = `SELECT 4`\n",
		"internal/gate/a.go":    "package gate\nconst q Q = `of another type`\n",
	})
	all, _ := collect(tr)
	var got []string
	for _, q := range all {
		got = append(got, q.id()+" "+q.text)
	}
	want := []string{"network.qA SELECT id, author", "network.qB SELECT 2", "network.qC SELECT 2", "store.qD SELECT 4"}
	if !slices.Equal(got, want) {
		t.Errorf("collected %q, want %q", got, want)
	}
	for name, want := range map[string]string{"qX": "", "qXSQLite": "sqlite", "qXPostgres": "postgres"} {
		if got := (query{name: name}).only(); got != want {
			t.Errorf("%s is for %q, want %q", name, got, want)
		}
	}
}

// asQuery wraps SQL into a source file of a package.
func asQuery(pkg, sql string) sources {
	return sources{"internal/" + pkg + "/a.go": "package x\nimport \"" + module + "/internal/store\"\nconst qX store.Q = `" + sql + "`\n"}
}

func TestSyntaxSelf(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"SELECT id, '$x ? ::' FROM post WHERE id = $1 AND author = $2", ""},
		{"SELECT count(*), 2 * 3 FROM post", ""},
		{"SELECT id FROM post WHERE id = ?", "parameter ?"},
		{"SELECT id FROM post WHERE id = ?1", "parameter ?1"},
		{"SELECT id FROM post WHERE id = :id", "parameter :id"},
		{"SELECT id FROM post WHERE id = @id", "parameter @id"},
		{"SELECT id FROM post WHERE id = $id", "parameter $id"},
		{"SELECT id FROM post WHERE id = $0", "parameter $0"},
		{"SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10", ""},
		{"SELECT $1, $3, $4, $5, $6, $7, $8, $9, $10", "$10 is used and $2 is not"},
		{"SELECT id FROM post WHERE id = $1 AND author = $3", "$3 is used and $2 is not"},
		{"SELECT CAST($1 AS BIGINT), $2::text", "CAST(x AS type)"},
		{"SELECT id FROM post WHERE title like $1", "LIKE matches differently"},
		{"SELECT 1; SELECT 2", "no ;"},
		{"SELECT * FROM post", "name the columns"},
		{"SELECT p.* FROM post p", "name the columns"},
		{"DELETE FROM post WHERE id = $1 RETURNING *", "name the columns"},
		{"SELECT id FROM post ORDER BY created_at, id", ""},
		{"SELECT p.id FROM post p JOIN profile a ON a.id = p.author ORDER BY p.score DESC, p.id DESC LIMIT $1", ""},
		{"SELECT id FROM post ORDER BY id, created_at", "must end in a column that is unique"},
		{"SELECT id FROM post ORDER BY created_at", "must end in a column that is unique"},
		{"SELECT id FROM post ORDER BY 1", "must end in a column that is unique"},
		{"SELECT p.id FROM post p JOIN profile a ON a.id = p.author ORDER BY p.name", "must end in a column that is unique"},
		{"SELECT target FROM vote ORDER BY agent, target", ""},
		{"SELECT target FROM vote WHERE agent = $1 ORDER BY updated_at, target", ""},
		{"SELECT target FROM vote WHERE agent > $1 ORDER BY updated_at, target", "must end in a column that is unique"},
		{"SELECT id FROM post WHERE id IN (SELECT id FROM post ORDER BY hot LIMIT 3) ORDER BY id", "must end in a column that is unique"},
		{"WITH hot (id) AS (SELECT id FROM post) SELECT id FROM hot ORDER BY hot.id", ""},
	} {
		find(t, checkSyntax, asQuery("network", c.sql), c.want)
	}
}

func TestOwnersSelf(t *testing.T) {
	for _, c := range []struct{ pkg, sql, want string }{
		{"network", "SELECT id FROM post", ""},
		{"network", "WITH agent AS (SELECT id FROM post) SELECT id FROM agent", ""},
		{"store", "SELECT name FROM sqlite_schema", ""},
		{"bench", "INSERT INTO post (id) VALUES ($1)", ""},
		{"network", "SELECT p.id FROM post AS p JOIN agent ON agent.id = p.author", "table agent belongs to lifecycle"},
		{"lifecycle", "UPDATE profile SET karma = 0 WHERE id = $1", "table profile belongs to network"},
		{"network", "SELECT relname FROM pg_class", "table pg_class belongs to store"},
		{"network", "SELECT id FROM pots", "table pots has no owner"},
	} {
		find(t, checkOwners, asQuery(c.pkg, c.sql), c.want)
	}
}

func TestLiteralsSelf(t *testing.T) {
	find(t, checkLiterals, asQuery("network", "SELECT id FROM post"), "")
	for text, want := range map[string]string{
		"SELECT 1":                         "SQL outside a query",
		"\\n  UPDATE post SET score = 1":   "SQL outside a query",
		"DELETE FROM post":                 "SQL outside a query",
		"INSERT INTO post (id) VALUES":     "SQL outside a query",
		"WITH x AS (SELECT 1)":             "SQL outside a query",
		"with RECURSIVE":                   "",
		"select id from post":              "SQL outside a query",
		"update post set score = 1":        "SQL outside a query",
		"select a community first":         "",
		"Update your key":                  "",
		"Delete the post or ask its owner": "",
	} {
		find(t, checkLiterals, sources{"internal/network/a.go": "package x\nvar s = f(\"" + text + "\")\n"}, want)
		find(t, checkLiterals, sources{"internal/network/a_test.go": "package x\nvar s = f(\"" + text + "\")\n"}, "")
	}
}
