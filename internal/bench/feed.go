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
			if r.profile != "" && n == len(r.scales)-1 && v == fresh {
				if err := r.profiled(db, func(path string) error {
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

func (r *runner) capture(ctx context.Context, st *stage) (captured, error) {
	var pages captured
	err := r.onSide(ctx, st, task{Kind: governed}, func(s *side, _ *scene) error {
		client := &http.Client{Timeout: loadTimeout}
		defer client.CloseIdleConnections()
		get := func(place string) (body []byte, h http.Header, err error) {
			q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+pathOf(place, ""), nil)
			if err != nil {
				return nil, nil, err
			}
			q.Header.Set("Authorization", "Bearer "+st.agents[0].key)
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
		var err error
		if pages.body, pages.header, err = get(""); err != nil {
			return err
		}
		pages.header.Del("Date") // net/http sends its own
		for _, place := range st.places {
			body, _, err := get(place)
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

// onSide runs fn on a side that serves a copy of the stage.
func (r *runner) onSide(ctx context.Context, st *stage, t task, fn func(*side, *scene) error) error {
	sc, err := st.copy(ctx)
	if err != nil {
		return err
	}
	defer sc.remove(ctx) //nolint:errcheck // the parent directory goes anyhow
	if t.Kind != bare {
		t = sc.task(t.Kind)
	}
	s, err := r.spawn(ctx, t)
	if err != nil {
		return err
	}
	err = fn(s, sc)
	return errors.Join(err, s.stop())
}

// feedSide is one repetition of one side. It checks that what was shown is on
// record.
func (r *runner) feedSide(ctx context.Context, st *stage, kind sideKind, v variant, pages captured, profile string) (m measure, err error) {
	sc, err := st.copy(ctx)
	if err != nil {
		return m, err
	}
	defer sc.remove(ctx) //nolint:errcheck // the parent directory goes anyhow
	t := task{Kind: bare, Page: pages.body, Header: pages.header}
	if kind != bare {
		t = sc.task(kind)
	}
	s, err := r.spawn(ctx, t)
	if err != nil {
		return m, err
	}
	l, err := dial(ctx, s.addr(), r.conns+1) // the last one writes
	if err != nil {
		_ = s.stop()
		return m, err
	}
	m, err = r.feedLoad(ctx, s, l, st, v, pages, kind != bare && v != again, profile)
	l.close()
	if serr := s.stop(); err == nil {
		err = serr
	}
	if err != nil || kind == bare {
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
		return m, fmt.Errorf("%d pages were shown, exposure has %d rows", want, n)
	}
	m.rows = float64(st.has.posts)
	return m, nil
}

func (r *runner) feedLoad(ctx context.Context, s *side, l *load, st *stage, v variant, pages captured, writes bool, profile string) (m measure, err error) {
	readers := &load{conns: l.conns[:r.conns]}
	script := &reading{st: st, v: v, conns: r.conns, next: pages.next}
	warm, err := readers.run(ctx, 0, script.warm)
	if err == nil && warm.answered < int64(len(st.agents)) {
		err = fmt.Errorf("%d of %d agents could read: %s", warm.answered, len(st.agents), warm.example)
	}
	if err != nil {
		return m, err
	}
	if profile != "" {
		if _, err := s.tell(order{Do: "profile", Path: profile}); err != nil {
			return m, err
		}
		defer s.tell(order{Do: "unprofile"}) //nolint:errcheck // a broken profile is found when it is read
	}
	wrote := make(chan error, 1)
	if writes {
		writer := &load{conns: l.conns[r.conns:]}
		requests := postRequests(st, 1)[0]
		tick := time.NewTicker(time.Second / appear)
		defer tick.Stop()
		go func() {
			_, err := writer.run(ctx, r.span(), func(_, i int, _ []byte) ([]byte, bool) {
				<-tick.C
				return requests[i%len(requests)], true
			})
			wrote <- err
		}()
	} else {
		wrote <- nil
	}
	m, err = r.watch(ctx, s, readers, r.span(), script.measured)
	return m, errors.Join(err, <-wrote)
}

// reading says which agent reads which page. Agents belong to one connection
// each. In its q-th turn agent a reads page (q+a) modulo the number of pages:
// no pair comes twice.
type reading struct {
	st    *stage
	v     variant
	conns int
	next  []string
}

// warm has every agent read one page, by which its key is verified.
func (s *reading) warm(conn, i int, dst []byte) ([]byte, bool) {
	a := conn + i*s.conns
	if a >= len(s.st.agents) {
		return nil, false
	}
	if s.v == again {
		return s.get(dst, a, "", ""), true
	}
	return s.get(dst, a, s.st.places[a%len(s.st.places)], ""), true
}

func (s *reading) measured(conn, i int, dst []byte) ([]byte, bool) {
	mine := (len(s.st.agents) - conn + s.conns - 1) / s.conns
	if mine <= 0 {
		return nil, false
	}
	a, q := conn+i%mine*s.conns, 1+i/mine
	if s.v == again {
		return s.get(dst, a, "", ""), true
	}
	if q >= len(s.st.places) {
		return nil, false
	}
	page := (q + a) % len(s.st.places)
	if s.v == cold {
		return s.get(dst, a, s.st.places[page], s.next[page]), true
	}
	return s.get(dst, a, s.st.places[page], ""), true
}

func (s *reading) get(dst []byte, a int, place, cursor string) []byte {
	dst = append(dst, "GET /api/v1/posts?sort=hot&limit=25"...)
	if place != "" {
		dst = append(append(dst, "&submolt="...), place...)
	}
	if cursor != "" {
		dst = append(append(dst, "&cursor="...), cursor...)
	}
	dst = append(dst, " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: reef-bench\r\nAuthorization: Bearer "...)
	dst = append(dst, s.st.agents[a].key...)
	return append(dst, "\r\n\r\n"...)
}
