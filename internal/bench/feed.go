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
	return r.compare(ctx, sizeAt, func(ctx context.Context, st *stage) (list []contest, err error) {
		variants := []variant{fresh, again, cold}
		if st.db == dbPostgres {
			variants = variants[:2]
		}
		pages, err := r.capture(ctx, st)
		if err != nil {
			return nil, fmt.Errorf("capture a page: %w", err)
		}
		for _, v := range variants {
			list = append(list, contest{
				variant: string(v), data: fmt.Sprintf("%s, page of %d bytes", st.has, len(pages.body)),
				sides: []compared{{governed, ""}, {bare, "ratio_bare"}},
				run: func(ctx context.Context, kind sideKind, profile string) (measure, error) {
					return r.feedSide(ctx, st, kind, v, pages, profile)
				},
			})
		}
		return list, nil
	})
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
	if kind != bare {
		st.turn()
	}
	script := newReading(st, v, r.conns, pages.next)
	t := task{Kind: bare, Page: pages.body, Header: pages.header}
	var sc *scene
	var before int64
	if kind != bare {
		if sc, err = st.copy(ctx); err != nil {
			return m, err
		}
		defer sc.remove(ctx) //nolint:errcheck // the parent directory goes anyhow
		t = sc.task(kind)
		if before, err = sc.shown(ctx); err != nil {
			return m, err
		}
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
	if m.rows = float64(st.has.posts); kind == ungoverned {
		return m, nil // it keeps no record of what it shows
	}
	n, err := sc.shown(ctx)
	if err != nil {
		return m, err
	}
	want := before + int64(len(st.agents))
	if v != again {
		want += m.answered
	}
	if n < want {
		return m, fmt.Errorf("%d new pages were shown, %d are on record", want, n)
	}
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
