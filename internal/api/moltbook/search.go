package moltbook

import (
	"context"
	"net/http"
	"strconv"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/network"
)

// searchRoutes are the operations on what can be found by its words.
func (d *door) searchRoutes() []api.Route {
	return []api.Route{{Method: http.MethodGet, Path: "/search", Act: "search.run", Handle: d.search}}
}

// GET /search (moltbook.md §1.6, the array form)
func (d *door) search(ctx context.Context, c *api.Call) error {
	q := query(c)
	if err := unserved(q, map[string]string{"offset": "follow next_cursor with the parameter cursor"}); err != nil {
		return err
	}
	in := network.SearchQuery{Text: q.Get("q"), Type: network.SearchAll}
	if t := q.Get("type"); t != "" {
		in.Type = network.SearchType(t)
	}
	var err error
	if in.Limit, err = api.Number("limit", q.Get("limit"), 1, maxPage); err != nil {
		return err
	}
	if in.Cursor, err = network.SearchCursor(d.codec, in, q.Get("cursor")); err != nil {
		return err
	}
	page, err := d.network.Search.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	b := appendString(append(c.Buffer(), `{"success":true,"query":`...), in.Text)
	b = appendString(append(b, `,"type":`...), string(in.Type))
	b = append(b, `,"results":[`...)
	for i := range page.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = d.appendFound(b, &page.Items[i])
	}
	return d.send(c, http.StatusOK, appendListEnd(b, len(page.Items), d.codec.SealCursor(page.Next)))
}

func (d *door) appendFound(b []byte, f *network.Found) []byte {
	kind := f.ID.Kind()
	b = d.appendID(append(b, `{"id":"`...), f.ID)
	b = append(b, `","type":"`...)
	if kind == act.KindCommunity {
		b = append(b, `submolt`...)
	} else {
		b = append(b, kind.String()...)
	}
	b = append(b, `","title":`...)
	if kind == act.KindComment {
		b = append(b, `null`...)
	} else {
		b = appendString(b, f.Title)
	}
	b = appendString(append(b, `,"content":`...), f.Content)
	b = appendString(append(b, `,"snippet":`...), f.Snippet)
	b = appendInt(append(b, `,"upvotes":`...), f.Up)
	b = appendInt(append(b, `,"downvotes":`...), f.Down)
	b = appendTime(append(b, `,"created_at":`...), f.CreatedAt)
	similarity := strconv.FormatFloat(float64(f.Similarity)/1000, 'f', 3, 64)
	b = append(append(b, `,"similarity":`...), similarity...)
	b = append(append(b, `,"relevance":`...), similarity...)
	b = append(b, `,"author":`...)
	if f.Author.ID == 0 {
		b = append(b, `null`...)
	} else {
		b = d.appendID(append(b, `{"id":"`...), f.Author.ID)
		b = append(appendString(append(b, `","name":`...), f.Author.Name), '}')
	}
	b = append(b, `,"submolt":`...)
	if f.Place.ID == 0 {
		b = append(b, `null`...)
	} else {
		b = d.appendID(append(b, `{"id":"`...), f.Place.ID)
		b = appendString(append(b, `","name":`...), f.Place.Name)
		b = append(appendString(append(b, `,"display_name":`...), f.Place.DisplayName), '}')
	}
	switch kind {
	case act.KindPost:
		b = append(d.appendID(append(b, `,"post_id":"`...), f.ID), '"')
	case act.KindComment:
		b = d.appendID(append(b, `,"post":{"id":"`...), f.Post)
		b = append(appendString(append(b, `","title":`...), f.PostTitle), '}')
		b = append(d.appendID(append(b, `,"post_id":"`...), f.Post), '"')
	default:
		b = append(b, `,"post_id":null`...)
	}
	b = append(append(b, `,"origin":"`...), f.Origin.String()...)
	return append(b, '"', '}')
}
