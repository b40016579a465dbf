package bench

import (
	"context"
	"net/http"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	// quiet: agents that have nothing new, the heartbeat that is asked for most.
	// Their numbers are even.
	quiet variant = "quiet"
	// news: agents with unread comments on their posts. Their numbers are odd.
	news variant = "news"

	newsEach = 10 // unread comments of an agent that has any
)

// homeAt grows as largeAt, with comments that half of the agents have not read.
func (o options) homeAt(agents, scale int) size {
	s := o.largeAt(agents, scale)
	s.news = newsEach * agents / 2
	return s
}

// home measures the heartbeat: GET /api/v1/home.
func home(r *runner, ctx context.Context) error {
	if r.agents < 2*r.conns {
		return act.Errorf(act.Invalid, "half of the agents are fewer than the connections").WithRule("bench.agents").
			WithHint("give at least twice as many agents as connections")
	}
	return r.compare(ctx, r.homeAt, func(ctx context.Context, st *stage) (list []contest, err error) {
		for first, v := range []variant{quiet, news} {
			page, header, err := r.captureHome(ctx, st, first)
			if err != nil {
				return nil, err
			}
			requests := make([][][]byte, r.conns)
			for i := first; i < len(st.agents); i += 2 {
				conn := i / 2 % r.conns
				requests[conn] = append(requests[conn], append(appendHead(nil, "GET", homePath, st.agents[i].key), "\r\n"...))
			}
			a := &arena{
				st: st, warm: prepared(requests, true), load: prepared(requests, false), rows: len(st.posts),
				task: func(kind sideKind, t *task) {
					if t.Work = workHome; kind == bare {
						t.Page, t.Header = page, header
					}
				},
			}
			list = append(list, a.contest(ctx, string(v), compared{governed, ""}, compared{raw, "ratio_raw"}, compared{bare, "ratio_bare"}))
		}
		return list, nil
	})
}

const homePath = "/api/v1/home"

// captureHome returns what a governed server answers to an agent.
func (r *runner) captureHome(ctx context.Context, st *stage, agent int) (body []byte, header http.Header, err error) {
	sc, err := st.copy(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer sc.remove(ctx) //nolint:errcheck // the parent directory goes anyhow
	err = r.onSide(ctx, sc.task(governed), 0, func(s *side, _ *load) error {
		client := &http.Client{Timeout: loadTimeout}
		defer client.CloseIdleConnections()
		body, header, err = get(ctx, client, s.url+homePath, st.agents[agent].key)
		header.Del("Date") // net/http sends its own
		return err
	})
	return body, header, err
}
