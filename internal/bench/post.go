package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// post measures the governed write: POST /api/v1/posts with a valid key.
func post(r *runner, ctx context.Context) error {
	return r.compare(ctx, sizeAt, func(_ context.Context, st *stage) ([]contest, error) {
		return []contest{{
			data: st.has.String(), sides: append([]compared{{governed, ""}, {ungoverned, "ratio_ungoverned"}}, rawSides(st.db)...),
			run: func(ctx context.Context, kind sideKind, profile string) (measure, error) {
				return r.postSide(ctx, st, kind, profile, nil)
			},
		}}, nil
	})
}

// rawSides are the raw baselines of a write.
func rawSides(db string) []compared {
	if db == dbPostgres {
		return []compared{{raw, "ratio_raw"}, {rawTx, "ratio_raw_tx"}}
	}
	return []compared{{raw, "ratio_raw"}}
}

// postSide is one repetition of one side, on a copy of the stage. It checks that
// what was answered is stored. What is to happen beside the load, beside calls it;
// nil is nothing.
func (r *runner) postSide(ctx context.Context, st *stage, kind sideKind, profile string,
	beside func(ctx context.Context, url, data string, load func() error) error,
) (m measure, err error) {
	sc, err := st.copy(ctx)
	if err != nil {
		return m, err
	}
	defer sc.remove(ctx) //nolint:errcheck // the parent directory goes anyhow
	tables := []string{"post", "event", "leaf"}
	if kind == ungoverned {
		tables = tables[:1]
	}
	before := make(map[string]int64)
	for _, table := range tables {
		if before[table], err = sc.rows(ctx, table); err != nil {
			return m, err
		}
	}
	requests := postRequests(st, r.conns)
	var warm phase
	if err := r.onSide(ctx, sc.task(kind), r.conns, func(s *side, l *load) error {
		// Every agent writes once before it counts: its key is verified then.
		if warm, err = l.run(ctx, 0, prepared(requests, true)); err != nil {
			return err
		}
		count := func() (err error) {
			m, err = r.watch(ctx, s, l, profile, prepared(requests, false))
			return err
		}
		if beside == nil {
			return count()
		}
		return beside(ctx, s.url, sc.dir, count)
	}); err != nil {
		return m, err
	}
	if err := sc.settle(ctx, kind); err != nil {
		return m, err
	}
	answered := warm.answered + m.answered
	for _, table := range tables {
		n, err := sc.rows(ctx, table)
		if err != nil {
			return m, err
		}
		if want := before[table] + answered; n < want {
			return m, fmt.Errorf("%d posts were answered for, but table %s lacks %d rows", answered, table, want-n)
		}
	}
	m.rows = float64(st.has.posts+st.has.rows) + float64(answered)/2
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
	return appendBody(appendHead(nil, "POST", path, key), body)
}

// appendBody appends the end of a POST's head and its body.
func appendBody(b, body []byte) []byte {
	b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...)
	return append(b, body...)
}

// headRest stands between a request's path and its key.
const headRest = " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: reef-bench\r\nAuthorization: Bearer "

// appendHead appends the head of a request, without the line that ends it.
func appendHead(b []byte, method, path, key string) []byte {
	b = append(append(append(append(b, method...), ' '), path...), headRest...)
	return append(append(b, key...), "\r\n"...)
}
