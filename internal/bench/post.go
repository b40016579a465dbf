package bench

import (
	"context"
	"encoding/json"
	"fmt"
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
			part := ""
			if len(r.dbs) > 1 {
				part = db
			}
			if err := r.profiled(part, func(path string) error {
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
	requests := postRequests(st, r.conns)
	var warm phase
	if err := r.onSide(ctx, sc.task(kind), r.conns, func(s *side, l *load) error {
		// Every agent writes once before it counts: its key is verified then.
		if warm, err = l.run(ctx, 0, prepared(requests, true)); err == nil {
			m, err = r.watch(ctx, s, l, profile, prepared(requests, false))
		}
		return err
	}); err != nil {
		return m, err
	}
	tables := []string{"post", "event", "leaf"}
	if kind == ungoverned {
		tables = tables[:1]
	}
	answered := warm.answered + m.answered
	for _, table := range tables {
		n, err := sc.rows(ctx, table)
		if err != nil {
			return m, err
		}
		if want := int64(st.has.posts) + answered; n < want {
			return m, fmt.Errorf("%d posts were answered for, but table %s lacks %d rows", answered, table, want-n)
		}
	}
	m.rows = float64(st.has.posts) + float64(answered)/2
	return m, nil
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
		all[i%conns] = append(all[i%conns], request("/api/v1/posts", a.key, body))
	}
	return all
}

// request returns the bytes of a POST.
func request(path, key string, body []byte) []byte {
	b := appendHead(nil, "POST", path, key)
	b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...)
	return append(b, body...)
}

// appendHead appends the head of a request, without the line that ends it.
func appendHead(b []byte, method, path, key string) []byte {
	b = append(append(append(b, method...), ' '), path...)
	b = append(b, " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: reef-bench\r\nAuthorization: Bearer "...)
	return append(append(b, key...), "\r\n"...)
}
