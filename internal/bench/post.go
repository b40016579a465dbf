package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
)

// post measures the governed write: POST /api/v1/posts with a valid key.
func post(r *runner, ctx context.Context) error {
	for _, db := range r.dbs {
		if err := r.postOn(ctx, db); err != nil {
			return fmt.Errorf("%s: %w", db, err)
		}
	}
	return nil
}

func (r *runner) postOn(ctx context.Context, db string) error {
	sides := []compared{{governed, ""}, {ungoverned, "ratio_ungoverned"}, {raw, "ratio_raw"}}
	if db == dbPostgres {
		sides = append(sides, compared{rawTx, "ratio_raw_tx"})
	}
	st, err := r.newStage(ctx, db)
	if err != nil {
		return err
	}
	defer st.remove(ctx)
	grown := make(map[sideKind]*growth)
	for _, c := range sides {
		grown[c.kind] = &growth{}
	}
	for n, scale := range r.scales {
		to := sizeAt(r.agents, scale)
		r.say("%s ×%d: filling in %s", db, scale, to)
		if err := st.grow(ctx, to); err != nil {
			return err
		}
		got := make(map[sideKind]series)
		for rep := range r.reps {
			for i := range sides { // another one begins each time
				kind := sides[(i+rep)%len(sides)].kind
				m, err := r.postSide(ctx, st, kind, "")
				if err != nil {
					return fmt.Errorf("the %s side: %w", kind, err)
				}
				r.say("%s ×%d %d/%d %-10s %7.0f/s  p50 %.2f ms  p99 %.2f ms  %.0f µs CPU", db, scale, rep+1, r.reps, kind, m.rate, m.p50, m.p99, m.cpu+m.dbCPU)
				got[kind] = append(got[kind], m)
			}
		}
		if err := r.publish(figure{DB: db, Scale: scale, Data: to.String()}, sides, got); err != nil {
			return err
		}
		for kind, s := range got {
			grown[kind].add(s)
		}
		if r.profile != "" && n == len(r.scales)-1 {
			if err := r.profiled(db, func(path string) error {
				_, err := r.postSide(ctx, st, governed, path)
				return err
			}); err != nil {
				return err
			}
		}
	}
	for _, c := range sides {
		if err := grown[c.kind].publish(r, figure{DB: db, Side: string(c.kind)}); err != nil {
			return err
		}
	}
	return nil
}

// postSide is one repetition of one side, on a copy of the stage. It checks that
// what was answered is stored.
func (r *runner) postSide(ctx context.Context, st *stage, kind sideKind, profile string) (m measure, err error) {
	sc, err := st.copy(ctx)
	if err != nil {
		return m, err
	}
	defer sc.remove(ctx) //nolint:errcheck // the parent directory goes anyhow
	s, err := r.spawn(ctx, sc.task(kind))
	if err != nil {
		return m, err
	}
	l, err := dial(ctx, s.addr(), r.conns)
	if err != nil {
		_ = s.stop()
		return m, err
	}
	var warm phase
	m, warm, err = r.postLoad(ctx, s, l, st, profile)
	l.close()
	if serr := s.stop(); err == nil {
		err = serr
	}
	if err != nil {
		return m, err
	}
	answered := warm.answered + m.answered
	tables := []string{"post", "event", "leaf"}
	if kind == ungoverned {
		tables = tables[:1]
	}
	for i, table := range tables {
		n, err := sc.rows(ctx, table)
		if err != nil {
			return m, err
		}
		if want := int64(st.has.posts) + answered; n < want {
			return m, fmt.Errorf("%d posts were answered for, table %s has %d rows: %d are missing", answered, table, n, want-n)
		}
		if i == 0 {
			m.rows = float64(int64(st.has.posts)+n) / 2
		}
	}
	return m, nil
}

func (r *runner) postLoad(ctx context.Context, s *side, l *load, st *stage, profile string) (m measure, warm phase, err error) {
	// Every agent writes once before it counts: keys are verified then.
	requests := postRequests(st, r.conns)
	warm, err = l.run(ctx, 0, func(conn, i int, _ []byte) ([]byte, bool) {
		list := requests[conn]
		if i >= len(list) {
			return nil, false
		}
		return list[i], true
	})
	if err == nil && warm.answered == 0 {
		err = fmt.Errorf("no request was answered: %s", warm.example)
	}
	if err != nil {
		return m, warm, err
	}
	if profile != "" {
		if _, err := s.tell(order{Do: "profile", Path: profile}); err != nil {
			return m, warm, err
		}
		defer s.tell(order{Do: "unprofile"}) //nolint:errcheck // a broken profile is found when it is read
	}
	m, err = r.watch(ctx, s, l, r.span(), func(conn, i int, _ []byte) ([]byte, bool) {
		list := requests[conn]
		return list[i%len(list)], true
	})
	return m, warm, err
}

// postRequests prepares the requests of each connection. Agents belong to one
// connection each, so that none waits for itself.
func postRequests(st *stage, conns int) [][][]byte {
	all := make([][][]byte, conns)
	for i, a := range st.agents {
		title, content := prose(-1 - i)
		body, err := json.Marshal(map[string]string{"submolt_name": st.places[i%len(st.places)], "title": title, "content": content})
		if err != nil {
			panic(err) // three strings
		}
		all[i%conns] = append(all[i%conns], request("POST", "/api/v1/posts", a.key, body))
	}
	return all
}

// request returns the bytes of an HTTP/1.1 request.
func request(method, path, key string, body []byte) []byte {
	b := appendRequest(nil, method, path, key)
	if body != nil {
		b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n"...)
	}
	return append(append(b, "\r\n"...), body...)
}

// appendRequest appends the head of a request, without the line that ends it.
func appendRequest(b []byte, method, path, key string) []byte {
	b = append(append(append(b, method...), ' '), path...)
	b = append(b, " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: reef-bench\r\nAuthorization: Bearer "...)
	return append(append(b, key...), "\r\n"...)
}

// profiled runs the governed side once more under a CPU profile and prints
// where the time went.
func (r *runner) profiled(db string, run func(path string) error) error {
	path, err := filepath.Abs(r.profileFile(db))
	if err != nil {
		return err
	}
	r.say("%s: one more run for the profile %s", db, path)
	if err := run(path); err != nil {
		return err
	}
	p, err := readProfile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	p.print(r.diag, r.bench+" governed on "+db)
	return nil
}
