package network

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// SearchQuery asks for what has the words of Text.
type SearchQuery struct {
	Text   string // data, whatever it holds
	Type   SearchType
	Limit  int // 20 if 0, at most 50
	Cursor act.Cursor
}

// SearchType says what is looked for.
type SearchType string

// The types.
const (
	SearchAll         SearchType = "all" // posts and comments
	SearchPosts       SearchType = "posts"
	SearchComments    SearchType = "comments"
	SearchAgents      SearchType = "agents"
	SearchCommunities SearchType = "submolts"
)

// Found is one result.
type Found struct {
	ID         act.ID // of a post, comment, agent or community
	Title      string // the name of an agent or community, "" for a comment
	Content    string // the first MaxFound characters
	Snippet    string // where the words stand
	Similarity int64  // thousandths, 1 to 1000
	Author     Author // id, name and standing; zero for communities
	Place      Place
	Post       act.ID // of a comment
	PostTitle  string // of a comment
	Up, Down   int64
	Origin     act.Origin
	CreatedAt  int64 // Unix microseconds
	version    int64
}

const (
	// MaxQuery bounds the text of a query, in characters.
	MaxQuery = 500
	// MaxFound bounds the content of a result, in characters.
	MaxFound = 2_000

	searchPage    = 20
	searchPageMax = 50
	// searchWindow is how many of the newest matches are ranked against each
	// other; the next as many follow when a reader has seen them all.
	searchWindow = 200
	searchNewest = 2_000 // items that PostgreSQL looks through before it asks the index
	rankedBytes  = 8_192 // of an item that are looked at for its rank
	snippetRunes = 200

	foundColumns = `f.id, COALESCE(p.title, g.name, s.name, ''), COALESCE(p.content, m.content, g.description, s.description, ''),
COALESCE(p.author, m.author, g.id, 0), COALESCE(a.name, g.name, ''), COALESCE(c.id, s.id, 0), COALESCE(c.name, s.name, ''),
COALESCE(c.display_name, s.display_name, ''), COALESCE(q.id, 0), COALESCE(q.title, ''),
COALESCE(p.up + p.legacy_up, m.up + m.legacy_up, 0), COALESCE(p.down + p.legacy_down, m.down + m.legacy_down, 0),
COALESCE(p.origin, m.origin, g.origin, s.origin, 0), COALESCE(p.created_at, m.created_at, g.created_at, s.created_at, 0),
COALESCE(p.version, m.version, 0)
FROM hit AS f LEFT JOIN post AS p ON p.id = f.id LEFT JOIN comment AS m ON m.id = f.id LEFT JOIN post AS q ON q.id = m.post
LEFT JOIN profile AS g ON g.id = f.id LEFT JOIN community AS s ON s.id = f.id
LEFT JOIN community AS c ON c.id = COALESCE(p.community, q.community) LEFT JOIN profile AS a ON a.id = COALESCE(p.author, m.author)
ORDER BY f.id DESC`

	qFindSQLite store.Q = `SELECT rowid FROM findable WHERE findable MATCH $1 AND rowid < $2 ORDER BY rowid DESC LIMIT $3`

	// SQLite's index of words is in the order of ids and is read until the window is
	// full. PostgreSQL's is not: a word that many items have is found sooner among the
	// newest items, any other by the index, where matches are the cost. What its
	// planner makes of words it knows nothing of is not left to it: for a rare one it
	// would walk through all items.
	qNewestPostgres store.Q = `SELECT id FROM (SELECT id, words FROM findable WHERE id < $2 ORDER BY id DESC LIMIT $4) AS newest
WHERE words @@ CAST(CAST($1 AS TEXT) AS tsquery) ORDER BY id DESC LIMIT $3`
	qMatchPostgres store.Q = `WITH matched AS MATERIALIZED (SELECT id FROM findable WHERE words @@ CAST(CAST($1 AS TEXT) AS tsquery))
SELECT id FROM matched WHERE id < $2 ORDER BY id DESC LIMIT $3`

	// What matches are ranked by, each read from where its kind is kept: ids of posts,
	// comments, agents, communities.
	qMatchedSQLite store.Q = `SELECT p.id, p.title, p.content, p.deleted_at, 0 FROM json_each($1) AS f CROSS JOIN post AS p ON p.id = f.value
UNION ALL SELECT m.id, '', m.content, m.deleted_at, q.deleted_at FROM json_each($2) AS f CROSS JOIN comment AS m ON m.id = f.value JOIN post AS q ON q.id = m.post
UNION ALL SELECT g.id, g.name, g.description, 0, 0 FROM json_each($3) AS f CROSS JOIN profile AS g ON g.id = f.value
UNION ALL SELECT s.id, s.name, s.description, 0, 0 FROM json_each($4) AS f CROSS JOIN community AS s ON s.id = f.value`
	qMatchedPostgres store.Q = `SELECT p.id, p.title, p.content, p.deleted_at, 0 FROM unnest(CAST(CAST($1 AS TEXT) AS BIGINT[])) AS f (id) JOIN post AS p ON p.id = f.id
UNION ALL SELECT m.id, '', m.content, m.deleted_at, q.deleted_at FROM unnest(CAST(CAST($2 AS TEXT) AS BIGINT[])) AS f (id) JOIN comment AS m ON m.id = f.id JOIN post AS q ON q.id = m.post
UNION ALL SELECT g.id, g.name, g.description, 0, 0 FROM unnest(CAST(CAST($3 AS TEXT) AS BIGINT[])) AS f (id) JOIN profile AS g ON g.id = f.id
UNION ALL SELECT s.id, s.name, s.description, 0, 0 FROM unnest(CAST(CAST($4 AS TEXT) AS BIGINT[])) AS f (id) JOIN community AS s ON s.id = f.id`

	// All that is shown of what is on the page.
	qFoundSQLite   store.Q = `WITH hit AS (SELECT value AS id FROM json_each($1)) SELECT ` + foundColumns
	qFoundPostgres store.Q = `WITH hit AS (SELECT id FROM unnest(CAST(CAST($1 AS TEXT) AS BIGINT[])) AS fresh (id)) SELECT ` + foundColumns

	qIndexSQLite   store.Q = `INSERT OR REPLACE INTO findable (rowid, words) VALUES ($1, $2)`
	qIndexPostgres store.Q = `INSERT INTO findable (id, words) VALUES ($1, CAST(CAST($2 AS TEXT) AS tsvector)) ON CONFLICT (id) DO UPDATE SET words = excluded.words`

	qUnindexSQLite   store.Q = `DELETE FROM findable WHERE rowid = $1`
	qUnindexPostgres store.Q = `DELETE FROM findable WHERE id = $1`
)

// index makes an item findable by the words of its texts, in the transaction that
// writes them; again when they change.
func (n *Network) index(tx *store.Tx, id act.ID, texts ...string) error {
	q := qIndexSQLite
	if tx.Dialect() == store.Postgres {
		q = qIndexPostgres
	}
	return tx.Batch(q, id, n.marks(id.Kind(), texts...))
}

// unindex takes an item out of the index, in the transaction that withdraws it.
func (n *Network) unindex(tx *store.Tx, id act.ID) error {
	q := qUnindexSQLite
	if tx.Dialect() == store.Postgres {
		q = qUnindexPostgres
	}
	return tx.Batch(q, id)
}

func (n *Network) registerSearch(g *gate.Gate) {
	n.Search = gate.RegisterRead(g, gate.Read[SearchQuery, act.Page[Found]]{
		Info: gate.Info{
			Name: "search.run", Doc: "Find posts, comments, agents or communities by their words.", On: act.KindNetwork,
			Also: []act.Kind{act.KindPost, act.KindComment, act.KindAgent, act.KindCommunity}, Quota: gate.QuotaSearch,
		},
		Target: func(context.Context, *store.View, act.Principal, SearchQuery) (gate.Resource, error) {
			return gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}, nil
		},
		Run:    n.search,
		Shown:  n.shownFound,
		Redact: redactFound,
	})
}

// searchList names the list a search cursor belongs to.
func searchList(q SearchQuery) string { return "search/" + string(q.Type) + "/" + q.Text }

// SearchCursor opens a cursor of the search that q asks for.
func SearchCursor(c *act.Codec, q SearchQuery, text string) (act.Cursor, error) {
	return c.OpenCursor(searchList(q), text)
}

// matching writes a query for the index: the marks of words, all or any of them,
// and of the kind. Marks are made of letters and digits, so it is valid whatever
// was asked.
func (n *Network) matching(d store.Dialect, words []string, kind string, anyWord bool) string {
	quote, and, or := `"`, ` AND `, ` OR `
	if d == store.Postgres {
		quote, and, or = `'`, ` & `, ` | `
	}
	between := and
	if anyWord {
		between = or
	}
	var b strings.Builder
	b.WriteString(quote + kind + quote + and + "(")
	for i, w := range words {
		if i > 0 {
			b.WriteString(between)
		}
		b.WriteString(quote + n.mark(w) + quote)
	}
	b.WriteByte(')')
	return b.String()
}

func checkSearch(in SearchQuery) (words []string, kind string, err error) {
	switch in.Type {
	case SearchAll:
		kind = markItem
	case SearchPosts:
		kind = markPost
	case SearchComments:
		kind = markComment
	case SearchAgents:
		kind = markAgent
	case SearchCommunities:
		kind = markCommunity
	default:
		return nil, "", act.Errorf(act.Invalid, "no such type of results").WithRule("search.type").
			WithHint("use posts, comments, agents, submolts or all")
	}
	if err := checkText("q", in.Text, MaxQuery, true); err != nil {
		return nil, "", err
	}
	if words = queryWords(in.Text); len(words) == 0 {
		return nil, "", act.Errorf(act.Invalid, "q has no word in it").WithRule("search.query").
			WithHint("send words that what you look for may hold")
	}
	return words, kind, nil
}

// IndexQuery returns what the index is asked for all or any of the words of a
// query: for those who measure it with less around it.
func (n *Network) IndexQuery(d store.Dialect, in SearchQuery, anyWord bool) (string, error) {
	words, kind, err := checkSearch(in)
	return n.matching(d, words, kind, anyWord), err
}

// IndexEntry returns what the index holds of an item; see IndexQuery.
func (n *Network) IndexEntry(kind act.Kind, texts ...string) string { return n.marks(kind, texts...) }

// search ranks the newest matches. When nothing has all the words, what has any
// of them is looked for.
func (n *Network) search(_ context.Context, v *store.View, _ act.Principal, in SearchQuery) (page act.Page[Found], err error) {
	words, kind, err := checkSearch(in)
	if err != nil {
		return page, err
	}
	limit := searchPage
	if in.Limit > 0 {
		limit = min(in.Limit, searchPageMax)
	}
	const end = 1<<63 - 1
	// below: the window ends before this id; after: the rank to go on from.
	below, after, anyWord := int64(end), [2]int64{end, end}, false
	if k := in.Cursor.Keys; len(k) == 4 {
		below, after, anyWord = k[0], [2]int64{k[1], k[2]}, k[3] != 0
	} else if !in.Cursor.IsZero() {
		return page, act.Errorf(act.Invalid, "the cursor is not one of this list").WithRule("cursor")
	}
	found, oldest, full, err := n.window(v, words, kind, anyWord, below)
	if err != nil {
		return page, err
	}
	if len(found) == 0 && !full && in.Cursor.IsZero() && len(words) > 1 {
		anyWord = true
		if found, oldest, full, err = n.window(v, words, kind, anyWord, below); err != nil {
			return page, err
		}
	}
	slices.SortFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(b.similarity, a.similarity), cmp.Compare(b.id, a.id))
	})
	page.Next.List = searchList(in)
	var mode int64
	if anyWord {
		mode = 1
	}
	if below == end && len(found) > 0 { // what is written from now on is not of this walk
		below = int64(slices.MaxFunc(found, func(a, b match) int { return cmp.Compare(a.id, b.id) }).id) + 1
	}
	first := slices.IndexFunc(found, func(m match) bool {
		return cmp.Or(cmp.Compare(m.similarity, after[0]), cmp.Compare(int64(m.id), after[1])) < 0
	})
	if first < 0 {
		first = len(found)
	}
	found = found[first:]
	switch {
	case len(found) > limit:
		found = found[:limit]
		last := found[limit-1]
		page.Next.Keys = []int64{below, last.similarity, int64(last.id), mode}
	case full:
		page.Next.Keys = []int64{oldest, end, end, mode}
	}
	page.Items, err = n.whole(v, found)
	return page, err
}

// match is what has the words, and what it is ranked by.
type match struct {
	id         act.ID
	similarity int64 // thousandths, 1 to 1000
	at         int   // byte of the content at which the first word stands
}

// window reads the newest matches below an id, but no more of them than ranks them.
// full says that there may be more below oldest.
func (n *Network) window(v *store.View, words []string, kind string, anyWord bool, below int64) (found []match, oldest int64, full bool, err error) {
	ids := make([]act.ID, 0, searchWindow)
	take := func(r *store.Row) error { ids = append(ids, r.ID(0)); return nil }
	query := n.matching(v.Dialect(), words, kind, anyWord)
	if v.Dialect() == store.SQLite {
		err = v.All(qFindSQLite, take, query, below, int64(searchWindow))
	} else if err = v.All(qNewestPostgres, take, query, below, int64(searchWindow), int64(searchNewest)); err == nil && len(ids) < searchWindow {
		ids = ids[:0]
		err = v.All(qMatchPostgres, take, query, below, int64(searchWindow))
	}
	if err != nil || len(ids) == 0 {
		return nil, 0, false, err
	}
	kinds := [...]act.Kind{act.KindPost, act.KindComment, act.KindAgent, act.KindCommunity}
	var lists [len(kinds)][]act.ID
	for _, id := range ids {
		if i := slices.Index(kinds[:], id.Kind()); i >= 0 {
			lists[i] = append(lists[i], id)
		}
	}
	args := make([]any, len(lists))
	for i, list := range lists {
		args[i] = idList(v.Dialect(), list)
	}
	matched := qMatchedSQLite
	if v.Dialect() == store.Postgres {
		matched = qMatchedPostgres
	}
	err = v.All(matched, func(r *store.Row) error {
		if r.Int(3) != 0 || r.Int(4) != 0 {
			return nil // it was withdrawn, or stands under what was
		}
		found = append(found, rank(r.ID(0), r.Text(1), r.Text(2), words, anyWord))
		return nil
	}, args...)
	return found, int64(ids[len(ids)-1]), len(ids) == searchWindow, err
}

// whole reads all that is shown of matches, in their order.
func (n *Network) whole(v *store.View, list []match) ([]Found, error) {
	if len(list) == 0 {
		return nil, nil
	}
	ids, at := make([]act.ID, len(list)), make(map[act.ID]int, len(list))
	for i, m := range list {
		ids[i], at[m.id] = m.id, i
	}
	found := make([]Found, len(list))
	q := qFoundSQLite
	if v.Dialect() == store.Postgres {
		q = qFoundPostgres
	}
	err := v.All(q, func(r *store.Row) error {
		m := list[at[r.ID(0)]]
		content := r.Text(2)
		f := Found{
			ID: m.id, Title: r.Text(1), Content: firstRunes(content, MaxFound), Snippet: snippet(content, m.at), Similarity: m.similarity,
			Author: Author{ID: r.ID(3), Name: r.Text(4)}, Place: Place{ID: r.ID(5), Name: r.Text(6), DisplayName: r.Text(7)},
			Post: r.ID(8), PostTitle: r.Text(9), Up: r.Int(10), Down: r.Int(11), Origin: act.Origin(r.Int(12)), CreatedAt: r.Int(13), version: r.Int(14),
		}
		if f.Author.ID != 0 {
			f.Author.Standing, f.Author.Owned = n.standing(f.Author.ID), n.owner(f.Author.ID) != 0
		}
		found[at[m.id]] = f
		return nil
	}, idList(v.Dialect(), ids))
	return found, err
}

// idList writes ids as SQLite reads a JSON array and PostgreSQL an array.
func idList(d store.Dialect, list []act.ID) string {
	first, last := byte('['), byte(']')
	if d == store.Postgres {
		first, last = '{', '}'
	}
	b := make([]byte, 1, 2+20*len(list))
	b[0] = first
	for i, id := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	return string(append(b, last))
}

// rank computes how alike an item and the query are: how many of the words it has,
// whether they stand in its title, together, and often. It depends on nothing that
// changes, so that a walk through pages is steady.
func rank(id act.ID, title, content string, words []string, anyWord bool) match {
	var has, titled uint16 // a bit for each word
	hits, row, longest, at := 0, 0, 0, -1
	look := func(text string, bits *uint16, body bool) {
		row = 0
		eachWord(text, func(start, _ int, w string) bool {
			i := slices.Index(words, w)
			if i < 0 {
				row = 0
				return true
			}
			*bits |= 1 << i
			hits++
			if i == row {
				row++
			} else if row = 0; i == 0 {
				row = 1
			}
			longest = max(longest, row)
			if body && at < 0 {
				at = start
			}
			return true
		})
	}
	look(title, &titled, false)
	look(cut(content, rankedBytes), &has, true)
	has |= titled
	total := int64(len(words))
	covered := int64(ones(has))
	if !anyWord {
		covered = total // what the index says of the part that was not looked at
	}
	covered = max(covered, 1)
	score := 450 + 200*int64(ones(titled))/total + 150*int64(hits)/int64(hits+3)
	if longest == len(words) {
		score += 200
	}
	return match{id, max(1, min(1000, score*covered/total)), max(at, 0)}
}

func ones(bits uint16) (n int) {
	for ; bits != 0; bits &= bits - 1 {
		n++
	}
	return n
}

// cut returns at most size bytes of s, whole characters only.
func cut(s string, size int) string {
	if len(s) <= size {
		return s
	}
	for size > 0 && !utf8.RuneStart(s[size]) {
		size--
	}
	return s[:size]
}

func firstRunes(s string, count int) string {
	seen := 0
	for i := range s {
		if seen == count {
			return s[:i] + "…"
		}
		seen++
	}
	return s
}

// snippet returns the part of a text around a position, in whole words where the text
// has some.
func snippet(s string, at int) string {
	lead := ""
	if at > 60 {
		from := at - 60
		for from < at && !utf8.RuneStart(s[from]) {
			from++
		}
		if i := strings.IndexFunc(s[from:at], unicode.IsSpace); i >= 0 { // with a whole word
			from += i
		}
		s, lead = strings.TrimLeftFunc(s[from:], unicode.IsSpace), "…"
	}
	part := firstRunes(s, snippetRunes)
	if part == s {
		return lead + s
	}
	part = strings.TrimSuffix(part, "…")
	if i := strings.LastIndexFunc(part, unicode.IsSpace); i > len(part)/2 {
		part = strings.TrimRightFunc(part[:i], unicode.IsSpace)
	}
	return lead + part + "…"
}

// redactFound takes out what the results say that are to be hidden.
func redactFound(page act.Page[Found], hidden func(act.ID) bool) act.Page[Found] {
	for i := range page.Items {
		if f := &page.Items[i]; hidden(f.ID) {
			f.Content, f.Snippet = gate.Redacted, gate.Redacted
			if f.ID.Kind() == act.KindPost {
				f.Title = gate.Redacted
			}
		}
		if f := &page.Items[i]; f.PostTitle != "" && (hidden(f.ID) || hidden(f.Post)) {
			f.PostTitle = gate.Redacted
		}
	}
	return page
}

// shownFound lists the foreign results and takes out what the reader may not see.
func (n *Network) shownFound(p act.Principal, page act.Page[Found], item func(act.Ref, gate.Facts) bool) act.Page[Found] {
	page.Items = slices.DeleteFunc(page.Items, func(f Found) bool {
		if f.Author.ID == p.ID && p.ID != 0 {
			return false
		}
		facts := n.classFacts(f.ID.Kind(), f.Place.ID, f.Author.ID, f.Origin)
		return !tells(facts.AuthorStanding) || !item(act.Ref{ID: f.ID, Version: f.version}, facts)
	})
	return page
}
