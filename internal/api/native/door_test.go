package native

import (
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Every code has a status of its own.
func TestStatusOfEveryCode(t *testing.T) {
	seen := map[int]act.Code{}
	for _, c := range act.Codes() {
		status := statusOf(c)
		if other, twice := seen[status]; twice {
			t.Errorf("%s and %s are both %d", c, other, status)
		}
		seen[status] = c
		if server := c == act.Internal || c == act.Unavailable; (status >= 500) != server {
			t.Errorf("%s is %d", c, status)
		}
	}
}

// Every standing can be asked for by the name under which it is shown.
func TestStandingNames(t *testing.T) {
	for s := act.Requested; s <= act.Stale; s++ {
		if got, err := standing(s.String()); err != nil || got != s {
			t.Errorf("%s is read as %s (%v)", s, got, err)
		}
	}
	if _, err := standing("unknown"); err == nil {
		t.Error("unknown is a standing to ask for")
	}
}
