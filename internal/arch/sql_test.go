package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// lexeme is one word of a statement. Comments and spaces are left out.
type lexeme struct {
	kind lexKind
	text string // words in lower case; quoted names without their quotes
}

type lexKind int

const (
	word lexKind = iota
	name         // a quoted name, which is never a keyword
	literal
	number
	param // $1 and everything else that looks like a parameter
	punct
)

// is reports whether the token is this keyword or punctuation.
func (t lexeme) is(text string) bool { return (t.kind == word || t.kind == punct) && t.text == text }

// in reports whether the token is one of these keywords.
func (t lexeme) in(words ...string) bool { return t.kind == word && slices.Contains(words, t.text) }

// named reports whether the token can name a table or column.
func (t lexeme) named() bool { return t.kind == word || t.kind == name }

// lex splits a statement. It knows what both databases share and the
// PostgreSQL cast, no more.
func lex(sql string) (all []lexeme) {
	letter := func(c byte) bool { return c == '_' || c >= 0x80 || unicode.IsLetter(rune(c)) }
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	for i := 0; i < len(sql); {
		c, start := sql[i], i
		run := func(ok func(byte) bool) string {
			for i < len(sql) && ok(sql[i]) {
				i++
			}
			return sql[start:i]
		}
		// quoted reads up to the closing quote; a doubled quote stands for itself.
		quoted := func() string {
			for i++; i < len(sql); i++ {
				if sql[i] == c && i+1 < len(sql) && sql[i+1] == c {
					i++
				} else if sql[i] == c {
					i++
					break
				}
			}
			return strings.Trim(sql[start:i], string(c))
		}
		rest := sql[i:]
		switch {
		case strings.ContainsRune(" \t\r\n", rune(c)):
			i++
		case strings.HasPrefix(rest, "--"):
			run(func(c byte) bool { return c != '\n' })
		case strings.HasPrefix(rest, "/*"):
			_, after, _ := strings.Cut(rest, "*/")
			i = len(sql) - len(after)
		case c == '\'':
			all = append(all, lexeme{literal, quoted()})
		case c == '"':
			all = append(all, lexeme{name, quoted()})
		case letter(c):
			all = append(all, lexeme{word, strings.ToLower(run(func(c byte) bool { return letter(c) || digit(c) }))})
		case digit(c):
			all = append(all, lexeme{number, run(func(c byte) bool { return digit(c) || letter(c) || c == '.' })})
		case strings.HasPrefix(rest, "::"):
			i += 2
			all = append(all, lexeme{punct, "::"})
		case strings.HasPrefix(rest, "@@"): // PostgreSQL's full-text match
			i += 2
			all = append(all, lexeme{punct, "@@"})
		case strings.ContainsRune("$?:@", rune(c)):
			i++
			all = append(all, lexeme{param, run(func(c byte) bool { return letter(c) || digit(c) })})
		default:
			i++
			all = append(all, lexeme{punct, string(c)})
		}
	}
	return all
}

// afterParen returns the index after the parenthesis that all[i] opens.
func afterParen(all []lexeme, i int) int {
	for depth := 0; i < len(all); i++ {
		if all[i].is("(") {
			depth++
		} else if all[i].is(")") {
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return i
}

// touched is what a statement names after FROM, JOIN, INTO and UPDATE.
type touched struct {
	tables []string          // sorted, each once
	alias  map[string]string // alias or table name to table
}

// tablesOf finds the tables a statement touches. Names of WITH queries,
// subqueries and functions are no tables.
func tablesOf(all []lexeme) touched {
	with := map[string]bool{}
	for i, tok := range all {
		if !tok.is("with") {
			continue
		}
		j := i + 1
		if j < len(all) && all[j].is("recursive") {
			j++
		}
		for j < len(all) && all[j].named() {
			with[all[j].text] = true
			if j++; j < len(all) && all[j].is("(") { // its columns
				j = afterParen(all, j)
			}
			for j < len(all) && all[j].in("as", "not", "materialized") {
				j++
			}
			if j = afterParen(all, j); j >= len(all) || !all[j].is(",") {
				break
			}
			j++
		}
	}
	t := touched{alias: map[string]string{}}
	var callers []string // for each open parenthesis, the word before it
	for i, tok := range all {
		before := lexeme{kind: punct}
		if i > 0 {
			before = all[i-1]
		}
		switch {
		case tok.is("("):
			caller := ""
			if before.kind == word {
				caller = before.text
			}
			callers = append(callers, caller)
		case tok.is(")") && len(callers) > 0:
			callers = callers[:len(callers)-1]
		case tok.is("from"):
			inFunction := len(callers) > 0 && slices.Contains([]string{"extract", "substring", "trim", "overlay"}, callers[len(callers)-1])
			if !before.is("distinct") && !inFunction {
				t.list(all, i+1, with, true)
			}
		case tok.is("join"), tok.is("into"):
			t.list(all, i+1, with, tok.is("join"))
		case tok.is("update") && !before.in("for", "key", "do"):
			t.list(all, i+1, with, false)
		}
	}
	slices.Sort(t.tables)
	return t
}

// clauses are the keywords that may follow a table, where an alias could stand.
var clauses = []string{
	"as", "on", "using", "where", "set", "values", "select", "default", "returning", "group", "having", "order", "limit",
	"offset", "fetch", "for", "union", "except", "intersect", "window", "join", "inner", "left", "right", "full", "cross",
	"natural", "lateral", "indexed", "not", "from", "do",
}

// list reads the tables that begin at all[i], with their aliases. A name before
// a parenthesis is a function only where functions can stand.
func (t *touched) list(all []lexeme, i int, with map[string]bool, functions bool) {
	for i < len(all) {
		for i < len(all) && all[i].in("only", "lateral", "or", "ignore", "replace", "rollback", "abort", "fail") {
			i++
		}
		if i >= len(all) {
			return
		}
		table := ""
		if all[i].is("(") {
			i = afterParen(all, i)
		} else if all[i].named() {
			table = all[i].text
			for i++; i+1 < len(all) && all[i].is(".") && all[i+1].named(); i += 2 {
				table = all[i+1].text
			}
			if functions && i < len(all) && all[i].is("(") {
				table, i = "", afterParen(all, i)
			}
		} else {
			return
		}
		alias := table
		if i < len(all) && all[i].is("as") {
			i++
		}
		if i < len(all) && all[i].named() && !all[i].in(clauses...) {
			alias = all[i].text
			i++
		}
		if table != "" && !with[table] {
			t.alias[alias] = table
			if !slices.Contains(t.tables, table) {
				t.tables = append(t.tables, table)
			}
		}
		if i < len(all) && all[i].is("(") { // the columns of an alias
			i = afterParen(all, i)
		}
		if i >= len(all) || !all[i].is(",") {
			return
		}
		i++
	}
}

// orderKeys returns the keys of every ORDER BY as column names ("p.id" becomes
// qualifier p, column id); a key that is no plain column has an empty column.
func orderKeys(all []lexeme) (orders [][]column) {
	for i := 0; i+1 < len(all); i++ {
		if !all[i].is("order") || !all[i+1].is("by") {
			continue
		}
		var keys []column
		var key []lexeme
		end := func() {
			keys = append(keys, asColumn(key))
			key = nil
		}
		for i += 2; i < len(all); {
			if all[i].is(")") || all[i].is(";") || all[i].in("limit", "offset", "fetch", "for", "union", "except", "intersect", "returning", "rows", "range", "groups", "window") {
				break
			}
			next := i + 1
			if all[i].is("(") {
				next = afterParen(all, i)
			}
			if all[i].is(",") {
				end()
			} else {
				key = append(key, all[i:next]...)
			}
			i = next
		}
		end()
		orders = append(orders, keys)
	}
	return orders
}

type column struct{ table, name string }

// asColumn reads "id", "p.id DESC", "name COLLATE "C""; anything else is the
// empty column.
func asColumn(key []lexeme) column {
	for n := len(key); n > 1; n = len(key) {
		switch {
		case key[n-1].in("asc", "desc"):
			key = key[:n-1]
		case n > 2 && key[n-2].is("nulls"), n > 2 && key[n-2].is("collate"):
			key = key[:n-2]
		case n == 3 && key[0].named() && key[1].is(".") && key[2].named():
			return column{key[0].text, key[2].text}
		default:
			return column{}
		}
	}
	if len(key) == 1 && key[0].named() {
		return column{"", key[0].text}
	}
	return column{}
}

// fixed returns the columns that the statement compares with a parameter or a
// constant for equality.
func fixed(all []lexeme) map[string]bool {
	f := map[string]bool{}
	for i := 1; i+1 < len(all); i++ {
		if all[i].is("=") && all[i-1].named() && (all[i+1].kind == param || all[i+1].kind == literal || all[i+1].kind == number) {
			f[all[i-1].text] = true
		}
	}
	return f
}

func TestLex(t *testing.T) {
	got := fmt.Sprint(lex("SELECT a.\"B\", 'it''s -- x' -- note\n FROM t /* $9 */ WHERE x = $1::text AND y >= :z"))
	want := "[{0 select} {0 a} {5 .} {1 B} {5 ,} {2 it''s -- x} {0 from} {0 t} {0 where} {0 x} {5 =} {4 $1} {5 ::} {0 text} {0 and} {0 y} {5 >} {5 =} {4 :z}]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTablesOf(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"SELECT 1", ""},
		{"SELECT x FROM post", "post"},
		{"SELECT x FROM post AS p, comment c WHERE p.id = c.post", "comment post"},
		{"SELECT x FROM post p LEFT JOIN profile ON p.author = profile.id", "post profile"},
		{"SELECT x FROM (SELECT y FROM vote) AS v, post", "post vote"},
		{"SELECT x FROM unnest($1) AS u (id) JOIN post ON post.id = u.id", "post"},
		{"SELECT x FROM public.post", "post"},
		{"SELECT x FROM \"post\" FOR UPDATE", "post"},
		{"SELECT x FROM post FOR NO KEY UPDATE", "post"},
		{"SELECT extract(epoch FROM at) FROM event WHERE a IS NOT DISTINCT FROM b", "event"},
		{"SELECT x FROM post WHERE id IN (SELECT target FROM vote)", "post vote"},
		{"WITH RECURSIVE tree (id) AS (SELECT id FROM comment UNION ALL SELECT c.id FROM comment c JOIN tree ON c.parent = tree.id), more AS (SELECT id FROM tree) SELECT x FROM tree, more", "comment"},
		{"INSERT INTO vote (agent, target) VALUES ($1, $2) ON CONFLICT (agent, target) DO UPDATE SET value = excluded.value", "vote"},
		{"INSERT INTO vote AS v (agent) SELECT id FROM agent", "agent vote"},
		{"INSERT OR IGNORE INTO vote (agent) VALUES ($1)", "vote"},
		{"UPDATE OR REPLACE post SET a = b FROM comment WHERE 1 = 1", "comment post"},
		{"UPDATE post SET score = score + $2 WHERE id = $1", "post"},
		{"DELETE FROM post WHERE id = $1 RETURNING id", "post"},
	} {
		if got := strings.Join(tablesOf(lex(c.sql)).tables, " "); got != c.want {
			t.Errorf("%s\ntables %q, want %q", c.sql, got, c.want)
		}
	}
	alias := tablesOf(lex("SELECT x FROM post AS p JOIN tree t ON true")).alias
	if alias["p"] != "post" || alias["t"] != "tree" || alias["on"] != "" {
		t.Errorf("aliases %v", alias)
	}
}

func TestOrderKeys(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"SELECT id FROM post", "[]"},
		{"SELECT id FROM post ORDER BY hot DESC, p.id DESC LIMIT $1", "[[{ hot} {p id}]]"},
		{"SELECT id FROM post ORDER BY coalesce(a, b), name COLLATE \"C\" NULLS LAST", "[[{ } { name}]]"},
		{"SELECT id FROM post ORDER BY score - 1", "[[{ }]]"},
		{"SELECT id FROM post ORDER BY 1", "[[{ }]]"},
		{"SELECT row_number() OVER (ORDER BY at), x FROM (SELECT id FROM post ORDER BY id) AS p ORDER BY seq", "[[{ at}] [{ id}] [{ seq}]]"},
	} {
		if got := fmt.Sprint(orderKeys(lex(c.sql))); got != c.want {
			t.Errorf("%s\nkeys %s, want %s", c.sql, got, c.want)
		}
	}
}
