package api

import (
	"fmt"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Page reads the limit, up to most, and the cursor of a list's query. open opens
// the cursor: it knows of which list it must be.
func (c *Call) Page(most int, open func(*act.Codec, string) (act.Cursor, error)) (limit int, cur act.Cursor, err error) {
	var of, at string
	if c.R.URL.RawQuery != "" {
		q := c.R.URL.Query()
		of, at = q.Get("limit"), q.Get("cursor")
	}
	if limit, err = Number("limit", of, 1, most); err != nil {
		return 0, act.Cursor{}, err
	}
	cur, err = open(c.kernel.Codec, at)
	return limit, cur, err
}

// ID reads an id of the path. What this network did not make is the id of nothing,
// and is looked for all the same: an answer takes as long for what the caller may
// not see as for what there is not.
func (c *Call) ID(name string) act.ID {
	id, err := c.kernel.Codec.Parse(c.R.PathValue(name))
	if err != nil {
		return 0
	}
	return id
}

// Number reads a whole number of a query, "" as 0.
func Number(field, value string, low, high int) (int, error) {
	if value == "" {
		return 0, nil
	}
	n := 0
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' || i > 8 {
			n = -1
			break
		}
		n = n*10 + int(value[i]-'0')
	}
	if n < low {
		return 0, act.Errorf(act.Invalid, "%s is not a number from %d to %d", field, low, high).WithRule("http.query").
			WithHint(fmt.Sprintf("send %s=%d, say", field, low))
	}
	return min(n, high), nil
}
