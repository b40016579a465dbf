package bench

import (
	"context"
	"fmt"
	"net/url"

	"github.com/reefwarden/reefwarden/internal/network"
)

const (
	// rare: words that ten posts have, however many there are.
	rare variant = "rare"
	// hundredth: words that every hundredth post has.
	hundredth variant = "hundredth"
	// common: two words that nearly all posts have.
	common variant = "common"
	// apart: two words of every hundredth post each, which no post has both of;
	// posts with either are found then.
	apart variant = "apart"

	found25 = 25 // results of a page
	queries = 64 // different ones of a variant, at most
)

// search measures the full-text search: GET /api/v1/search?type=posts&limit=25.
func search(r *runner, ctx context.Context) error {
	return r.compare(ctx, r.largeAt, func(ctx context.Context, st *stage) (list []contest, err error) {
		for _, v := range []variant{rare, hundredth, common, apart} {
			asked, finds := questions(st, v), make(map[string][]string)
			for _, q := range asked {
				for _, anyWord := range []bool{false, true} {
					match, err := st.index(network.SearchQuery{Text: q, Type: network.SearchPosts}, anyWord)
					if err != nil {
						return nil, fmt.Errorf("the query %q: %w", q, err)
					}
					finds[q] = append(finds[q], match)
				}
			}
			requests := make([][][]byte, r.conns)
			for i, agent := range st.agents {
				path := "/api/v1/search?type=posts&limit=25&q=" + url.QueryEscape(asked[i%len(asked)])
				requests[i%r.conns] = append(requests[i%r.conns], append(appendHead(nil, "GET", path, agent.key), "\r\n"...))
			}
			a := &arena{
				st: st, warm: prepared(requests, true), load: prepared(requests, false), showing: true, rows: len(st.posts),
				task: func(_ sideKind, t *task) { t.Work, t.Finds = workSearch, finds },
			}
			list = append(list, a.contest(ctx, string(v), compared{governed, ""}, compared{raw, "ratio_raw"}))
		}
		return list, nil
	})
}

// questions are the queries of a variant.
func questions(st *stage, v variant) (list []string) {
	for i := range queries {
		at := i * (st.has.rows / queries)
		switch v {
		case rare:
			list = append(list, thing(at))
		case hundredth:
			list = append(list, topic(i))
		case common:
			list = append(list, "reef coral")
		case apart:
			list = append(list, topic(i)+" "+topic(i+1))
		}
	}
	return list
}
