package lifecycle

import (
	"github.com/reefwarden/reefwarden/internal/act"
)

// listed checks the limit and the cursor of a list of what. It returns how many are
// asked for and the key after which the page begins, start for the first one.
func listed(list, what string, limit int, c act.Cursor, start int64) (n int, after int64, err error) {
	if limit == 0 {
		limit = MaxList
	}
	if limit < 1 || limit > MaxList {
		return 0, 0, act.Errorf(act.Invalid, "a page has 1 to %d %s", MaxList, what).WithRule("limit").
			WithHint("ask for less and follow next_cursor")
	}
	if c.IsZero() {
		return limit, start, nil
	}
	if c.List != list || len(c.Keys) != 1 {
		return 0, 0, act.Errorf(act.Invalid, "the cursor is not one of this list").WithRule("cursor").
			WithHint("use next_cursor exactly as returned")
	}
	return limit, c.Keys[0], nil
}

// paged makes a page of one row more than it has.
func paged[T any](list string, items []T, n int, key func(T) int64) (page act.Page[T]) {
	page.Items = items
	if len(items) > n {
		page.Items = items[:n]
		page.Next = act.Cursor{List: list, Keys: []int64{key(items[n-1])}}
	}
	return page
}
