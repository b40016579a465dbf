package arch

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// TestPrepare prepares every query on the databases it is for, and looks in
// SQLite's plans for whole tables being read.
func TestPrepare(t *testing.T) {
	all, _ := collect(repository(t))
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		dialect := db.Dialect().String()
		prepared := 0
		needed := map[string]bool{}
		for _, q := range all {
			if only := q.only(); q.pkg == "bench" || only != "" && only != dialect {
				continue
			}
			plan, err := db.Prepare(t.Context(), store.Q(q.text))
			if err != nil {
				// What the database said is the innermost error: act.Error hides it from callers.
				for cause := err; cause != nil; cause = errors.Unwrap(cause) {
					err = cause
				}
				t.Errorf("%s %s: %v", q.file.path, q.name, err)
				continue
			}
			prepared++
			for _, name := range scanned(q.text, plan) {
				key := q.id() + " " + name
				needed[key] = true
				if scans[key] == "" && !strings.HasPrefix(q.name, checkPrefix) {
					t.Errorf("%s %s reads all of %s: add an index, or list it in scans (internal/arch/tables_test.go) with the reason\n\t%s",
						q.file.path, q.name, name, strings.Join(plan, "\n\t"))
				}
			}
		}
		if prepared == 0 {
			t.Error("no query was prepared")
		}
		for key := range scans {
			if dialect == "sqlite" && !needed[key] {
				t.Errorf("scans lists %s, which no longer happens", key)
			}
		}
	})
}

// scanned returns the tables that grow and that the plan reads from end to end,
// by row or by index.
func scanned(sql string, plan []string) (names []string) {
	t := tablesOf(lex(sql))
	for _, line := range plan {
		if m := scanLine.FindStringSubmatch(line); m != nil {
			name := t.alias[strings.ToLower(m[1])]
			if name != "" && !isCatalogue(name) && tables[name].small == "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

var scanLine = regexp.MustCompile(`^SCAN (\w+)`)

func TestScannedSelf(t *testing.T) {
	const q = "WITH hot AS (SELECT id FROM post) SELECT p.id FROM post AS p, node, hot, json_each($1) AS j JOIN profile ON true"
	for _, c := range []struct{ plan, want string }{
		{"SCAN p", "post"},
		{"SCAN p USING COVERING INDEX post_new", "post"},
		{"SCAN profile", "profile"},
		{"SEARCH p USING INDEX post_author (author=?)", ""},
		{"SCAN node", ""},
		{"SCAN hot", ""},
		{"SCAN j VIRTUAL TABLE INDEX 1:", ""},
		{"SCAN CONSTANT ROW", ""},
		{"USE TEMP B-TREE FOR ORDER BY", ""},
	} {
		if got := strings.Join(scanned(q, []string{c.plan}), " "); got != c.want {
			t.Errorf("%q reads all of %q, want %q", c.plan, got, c.want)
		}
	}
}

// A real plan of a real query that scans, so that the wording of the plan the
// rule looks for is the one this SQLite has.
func TestScanWording(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		if db.Dialect() != store.SQLite {
			return
		}
		for sql, want := range map[string]string{
			"SELECT id FROM post AS p WHERE content = $1": "post",
			"SELECT id FROM post WHERE id = $1":           "",
		} {
			plan, err := db.Prepare(t.Context(), store.Q(sql))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(scanned(sql, plan), " "); got != want {
				t.Errorf("%s: plan %q reads all of %q, want %q", sql, plan, got, want)
			}
		}
		if _, err := db.Prepare(t.Context(), "SELECT no_such_column FROM post"); err == nil {
			t.Error("a query on a column that does not exist was prepared")
		}
	})
}

// TestSchema compares what the two sets of migrations made, and the list of
// tables with it.
func TestSchema(t *testing.T) {
	made := map[string][]store.Column{}
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		columns, err := db.Schema(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		made[db.Dialect().String()] = columns
		for _, complaint := range unlike(columns) {
			t.Error(complaint)
		}
	})
	lite, pg := made["sqlite"], made["postgres"]
	if lite == nil || pg == nil {
		t.Log("the schemas were not compared: one database is missing")
		return
	}
	for _, complaint := range differences(lite, pg) {
		t.Error(complaint)
	}
}

// differences compares the schemas of SQLite and PostgreSQL.
func differences(lite, pg []store.Column) (complaints []string) {
	type key struct{ table, name string }
	index := func(columns []store.Column) map[key]store.Column {
		m := map[key]store.Column{}
		for _, c := range columns {
			m[key{c.Table, c.Name}] = c
		}
		return m
	}
	a, b := index(lite), index(pg)
	for k, c := range a {
		switch d, ok := b[k]; {
		case dialects[k.table] != "":
		case !ok:
			complaints = append(complaints, fmt.Sprintf("%s.%s is in SQLite only", k.table, k.name))
		case c != d:
			complaints = append(complaints, fmt.Sprintf("%s.%s differs: SQLite %+v, PostgreSQL %+v", k.table, k.name, c, d))
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok && dialects[k.table] == "" {
			complaints = append(complaints, fmt.Sprintf("%s.%s is in PostgreSQL only", k.table, k.name))
		}
	}
	slices.Sort(complaints)
	return complaints
}

// unlike compares the list of tables with a schema: each table has an owner and
// each listed key of one column is unique and NOT NULL.
func unlike(columns []store.Column) (complaints []string) {
	say := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	unique := map[string]store.Column{}
	there := map[string]bool{}
	for _, c := range columns {
		there[c.Table] = true
		if c.Unique {
			unique[c.Table+"."+c.Name] = c
		}
	}
	for name := range there {
		if ownerOf(name) == "" {
			say("table %s has no owner: add it to tables in internal/arch/tables_test.go", name)
		}
	}
	for name, spec := range tables {
		if dialects[name] != "" {
			continue
		}
		if !there[name] {
			say("table %s is listed and does not exist", name)
			continue
		}
		for _, key := range spec.unique {
			if strings.Contains(key, ",") {
				continue // TestKeys
			}
			c, ok := unique[name+"."+key]
			if !ok {
				say("%s.%s is listed as unique and is not", name, key)
			} else if !c.NotNull && nullable[name+"."+key] == "" {
				say("%s.%s may be NULL, which the databases sort at opposite ends: make it NOT NULL or list it in nullable", name, key)
			}
		}
	}
	slices.Sort(complaints)
	return complaints
}

func TestSchemaSelf(t *testing.T) {
	a := []store.Column{{Table: "post", Name: "id", NotNull: true, Unique: true}, {Table: "post", Name: "title", NotNull: true}}
	if got := differences(a, slices.Clone(a)); len(got) > 0 {
		t.Errorf("a schema differs from itself: %q", got)
	}
	for _, c := range []struct {
		columns []store.Column
		want    string
	}{
		{a[:1], "post.title is in SQLite only"},
		{append(slices.Clone(a), store.Column{Table: "post", Name: "x"}), "post.x is in PostgreSQL only"},
		{[]store.Column{a[0], {Table: "post", Name: "title"}}, "post.title differs"},
		{[]store.Column{a[1], {Table: "post", Name: "id", NotNull: true}}, "post.id differs"},
	} {
		if got := differences(a, c.columns); len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
			t.Errorf("differences %q, want %q", got, c.want)
		}
	}
	got := strings.Join(unlike([]store.Column{
		{Table: "post", Name: "id", NotNull: true},
		{Table: "leaf", Name: "pos", Unique: true},
		{Table: "cellar", Name: "id", NotNull: true, Unique: true},
	}), "\n")
	for _, want := range []string{"post.id is listed as unique and is not", "leaf.pos may be NULL", "table cellar has no owner", "table vote is listed and does not exist"} {
		if !strings.Contains(got, want) {
			t.Errorf("no complaint %q in\n%s", want, got)
		}
	}
}

// TestKeys looks up the keys of several columns in both sets of migrations,
// and compares the sets' files.
func TestKeys(t *testing.T) {
	sets := map[string]string{} // dialect to the text of all its migrations
	files := map[string][]string{}
	for _, dialect := range []string{"sqlite", "postgres"} {
		paths, err := filepath.Glob(filepath.Join("..", "store", "migrations", dialect, "*.sql"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no migrations for %s (%v)", dialect, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sets[dialect] += string(text)
			files[dialect] = append(files[dialect], filepath.Base(path))
		}
	}
	if !slices.Equal(files["sqlite"], files["postgres"]) {
		t.Errorf("migrations differ in number or name: %q and %q", files["sqlite"], files["postgres"])
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		for _, key := range tables[name].unique {
			for dialect, text := range sets {
				if strings.Contains(key, ",") && !hasKey(text, name, key) {
					t.Errorf("%s: table %s has no PRIMARY KEY or UNIQUE (%s)", dialect, name, key)
				}
			}
		}
	}
}

// hasKey reports whether CREATE TABLE name declares the key.
func hasKey(ddl, name, key string) bool {
	_, body, found := strings.Cut(ddl, "CREATE TABLE "+name+" (")
	body, _, _ = strings.Cut(body, ";")
	return found && (strings.Contains(body, "PRIMARY KEY ("+key+")") || strings.Contains(body, "UNIQUE ("+key+")"))
}

func TestKeysSelf(t *testing.T) {
	const ddl = "CREATE TABLE vote (agent INTEGER, target INTEGER, PRIMARY KEY (agent, target));\nCREATE TABLE alias (id INTEGER, UNIQUE (a, b));"
	for _, c := range []struct {
		table, key string
		want       bool
	}{
		{"vote", "agent, target", true}, {"alias", "a, b", true}, {"vote", "a, b", false}, {"alias", "agent, target", false}, {"post", "a, b", false},
	} {
		if hasKey(ddl, c.table, c.key) != c.want {
			t.Errorf("hasKey(%s, %s) = %v", c.table, c.key, !c.want)
		}
	}
}
