package api_test

import (
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
)

// Every code has a status of its own.
func TestStatusOfEveryCode(t *testing.T) {
	seen := map[int]act.Code{}
	for _, c := range act.Codes() {
		status := api.Status(c)
		if other, twice := seen[status]; twice {
			t.Errorf("%s and %s are both %d", c, other, status)
		}
		seen[status] = c
		if server := c == act.Internal || c == act.Unavailable; (status >= 500) != server {
			t.Errorf("%s is %d", c, status)
		}
	}
}
