package native

import (
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

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
