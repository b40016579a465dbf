package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// variant is a way of reading feeds.
type variant string

const (
	// again: every agent has been shown the page before; showings are counted.
	again variant = "again"
	// fresh: no agent has been shown anything on the page, so that every answer
	// waits for a commit; while they read, posts appear.
	fresh variant = "fresh"
	// cold is fresh from SQL: second pages, which memory does not keep. On
	// PostgreSQL every page is from SQL.
	cold variant = "sql"
)

// appear is how many posts a second appear while agents read what is fresh.
const appear = 50

// feed measures the governed feed page: GET /api/v1/posts?sort=hot&limit=25.
func feed(r *runner, ctx context.Context) error {
	for _, db := range r.dbs {
		if err := r.feedOn(ctx, db); err != nil {
			return fmt.Errorf("%s: %w", db, err)
		}
	}
	return nil
}

func (r *runner) feedOn(ctx context.Context, db string) error {
	variants := []variant{fresh, again, cold}
	if db == dbPostgres {
		variants = variants[:2]
	}
	sides := []compared{{governed, ""}, {bare, "ratio_bare"}}
	st, err := r.newStage(ctx, db)
	if err != nil {
		return err
	}
	defer st.remove(ctx)
	grown := make(map[variant]*growth)
	for n, scale := range r.scales {
		to := sizeAt(r.agents, scale)
		r.say("%s ×%d: filling in %s", db, scale, to)
		if err := st.grow(ctx, to); err != nil {
			return err
		}
		pages, err := r.capture(ctx, st)
		if err != nil {
			return fmt.Errorf("capture a page: %w", err)
		}
		data := fmt.Sprintf("%s, page of %d bytes", to, len(pages.body))
		for _, v := range variants {
			got := make(map[sideKind]series)
			for rep := range r.reps {
				for i := range sides {
					kind := sides[(i+rep)%len(sides)].kind
					m, err := r.feedSide(ctx, st, kind, v, pages, "")
					if err != nil {
						return fmt.Errorf("%s, the %s side: %w", v, kind, err)
					}
					r.say("%s ×%d %s %d/%d %-8s %7.0f/s  p50 %.2f ms  p99 %.2f ms  %.0f µs CPU", db, scale, v, rep+1, r.reps, kind, m.rate, m.p50, m.p99, m.cpu+m.dbCPU)
					got[kind] = append(got[kind], m)
				}
			}
			if err := r.publish(figure{DB: db, Scale: scale, Variant: string(v), Data: data}, sides, got); err != nil {
				return err
			}
			if grown[v] == nil {
				grown[v] = &growth{}
			}
			grown[v].add(got[governed])
			if r.profile != "" && n == len(r.scales)-1 {
				if err := r.profiled(db+"-"+string(v), func(path string) error {
					_, err := r.feedSide(ctx, st, governed, v, pages, path)
					return err
				}); err != nil {
					return err
				}
			}
		}
	}
	for _, v := range variants {
		if err := grown[v].publish(r, figure{DB: db, Variant: string(v), Side: string(governed)}); err != nil {
			return err
		}
	}
	return nil
}

// captured is what a governed server answers on a stage.
type captured struct {
	body   []byte // the first page of the whole network
	header http.Header
	next   []string // for each community, the cursor of its second page
}

func (r *runner) capture(ctx context.Context, st *stage) (pages captured, err error) {
	sc, err := st.copy(ctx)
	if err != nil {
		return pages, err
	}
	defer sc.remove(ctx) //nolint:errcheck // the parent directory goes anyhow
	err = r.onSide(ctx, sc.task(governed), 0, func(s *side, _ *load) error {
		client := &http.Client{Timeout: loadTimeout}
		defer client.CloseIdleConnections()
		if pages.body, pages.header, err = get(ctx, client, s.url+pagePath("", ""), st.agents[0].key); err != nil {
			return err
		}
		pages.header.Del("Date") // net/http sends its own
		for _, place := range st.places {
			body, _, err := get(ctx, client, s.url+pagePath(place, ""), st.agents[0].key)
			if err != nil {
				return err
			}
			var list struct {
				Count int    `json:"count"`
				Next  string `json:"next_cursor"`
			}
			if err := json.Unmarshal(body, &list); err != nil {
				return err
			}
			if list.Count != 25 || list.Next == "" {
				return fmt.Errorf("the page of %s has %d posts and the cursor %q, want 25 and more", place, list.Count, list.Next)
			}
			pages.next = append(pages.next, list.Next)
		}
		return nil
	})
	return pages, err
}

// get sends one request and reads its whole answer, which must be 200.
func get(ctx context.Context, client *http.Client, url, key string) (body []byte, h http.Header, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	if key != "" {
		q.Header.Set("Authorization", "Bearer "+key)
	}
	a, err := client.Do(q)
	if err != nil {
		return nil, nil, err
	}
	defer a.Body.Close() //nolint:errcheck // it is read to its end
	if body, err = io.ReadAll(a.Body); err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", a.Status, body)
	}
	return body, a.Header, err
}

// pagePath returns the path and query of a feed page; names and cursors are
// made of characters that a query may hold.
func pagePath(place, cursor string) string {
	p := "/api/v1/posts?sort=hot&limit=25"
	if place != "" {
		p += "&submolt=" + place
	}
	if cursor != "" {
		p += "&cursor=" + cursor
	}
	return p
}

// feedSide is one repetition of one side. It checks that what was shown is on
// record.
func (r *runner) feedSide(ctx context.Context, st *stage, kind sideKind, v variant, pages captured, profile string) (m measure, err error) {
	script := newReading(st, v, r.conns, pages.next)
	t := task{Kind: bare, Page: pages.body, Header: pages.header}
	var sc *scene
	if kind != bare {
		if sc, err = st.copy(ctx); err != nil {
			return m, err
		}
		defer sc.remove(ctx) //nolint:errcheck // the parent directory goes anyhow
		t = sc.task(kind)
	}
	if err := r.onSide(ctx, t, r.conns+1, func(s *side, l *load) error {
		readers, writer := &load{conns: l.conns[:r.conns]}, &load{conns: l.conns[r.conns:]}
		warm, err := readers.run(ctx, 0, script.warm)
		if err == nil && warm.answered < int64(len(st.agents)) {
			err = fmt.Errorf("only %d of %d agents could read: %s", warm.answered, len(st.agents), warm.example)
		}
		if err != nil {
			return err
		}
		wrote := make(chan error, 1)
		if kind == bare || v == again {
			wrote <- nil
		} else {
			go func() { wrote <- r.write(ctx, st, writer) }()
		}
		m, err = r.watch(ctx, s, readers, profile, script.measured)
		return errors.Join(err, <-wrote)
	}); err != nil || kind == bare {
		return m, err
	}
	n, err := sc.rows(ctx, "exposure")
	if err != nil {
		return m, err
	}
	want := int64(len(st.agents))
	if v != again {
		want += m.answered
	}
	if n < want {
		return m, fmt.Errorf("%d new pages were shown, exposure has %d rows", want, n)
	}
	m.rows = float64(st.has.posts)
	return m, nil
}

// write has posts appear for the length of a repetition.
func (r *runner) write(ctx context.Context, st *stage, l *load) error {
	next := prepared(postRequests(st, 1), false)
	tick := time.NewTicker(time.Second / appear)
	defer tick.Stop()
	_, err := l.run(ctx, r.span(), func(conn, i int, dst []byte) ([]byte, bool) {
		<-tick.C
		return next(conn, i, dst)
	})
	return err
}

// reading says which agent reads which page. Agents belong to one connection
// each. In its q-th turn agent a reads page (q+a) modulo the number of pages:
// no pair comes twice.
type reading struct {
	st    *stage
	v     variant
	conns int
	first []string // paths of the communities' first pages
	cold  []string // and of the second
}

func newReading(st *stage, v variant, conns int, next []string) *reading {
	s := &reading{st: st, v: v, conns: conns}
	for i, place := range st.places {
		s.first = append(s.first, pagePath(place, ""))
		s.cold = append(s.cold, pagePath(place, next[i]))
	}
	return s
}

// warm has every agent read one page, by which its key is verified.
func (s *reading) warm(conn, i int, dst []byte) ([]byte, bool) {
	a := conn + i*s.conns
	if a >= len(s.st.agents) {
		return nil, false
	}
	return s.request(dst, a, 0, s.first), true
}

func (s *reading) measured(conn, i int, dst []byte) ([]byte, bool) {
	mine := (len(s.st.agents) - conn + s.conns - 1) / s.conns // agents of this connection
	a, q := conn+i%mine*s.conns, 1+i/mine
	switch {
	case s.v != again && q >= len(s.first):
		return nil, false
	case s.v == cold:
		return s.request(dst, a, q, s.cold), true
	}
	return s.request(dst, a, q, s.first), true
}

func (s *reading) request(dst []byte, a, q int, paths []string) []byte {
	path := pagePath("", "")
	if s.v != again {
		path = paths[(q+a)%len(paths)]
	}
	return append(appendHead(dst, "GET", path, s.st.agents[a].key), "\r\n"...)
}
