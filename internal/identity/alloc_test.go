//go:build !race

// The race detector makes sync.Pool drop what it holds.

package identity_test

import (
	"testing"

	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

func TestAuthenticateDoesNotAllocate(t *testing.T) {
	db := storetest.Open(t, store.SQLite)
	s := service(t, db, identity.Config{})
	_, _, key := issue(t, db, s)
	ctx := t.Context()
	if _, err := s.Authenticate(ctx, key); err != nil {
		t.Fatal(err)
	}
	// A collection may empty the pool in between; on average nothing is made.
	if n := testing.AllocsPerRun(2000, func() { _, _ = s.Authenticate(ctx, key) }); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}
