package identity

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// Strangers decide when another issuer's keys are asked for. Whatever they send, they
// are fetched once a minute at the most, also while they cannot be had, and keys that
// were had once are used on for a day.
func TestKeysOfOthersAreFetchedSeldom(t *testing.T) {
	k, err := token.NewKey(token.ES256)
	if err != nil {
		t.Fatal(err)
	}
	set := []byte(`{"keys":[` + string(k.Public().JWK()) + `]}`)
	now, fetches := time.Unix(1_800_000_000, 0), 0
	var broken error
	list, err := newTrusted([]Trusted{{Name: "idp", Issuer: "https://idp.example", KeysURL: "https://idp.example/jwks", Agents: map[string]string{"x": "y"}}},
		func(ctx context.Context, _ string) ([]byte, error) {
			fetches++
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return set, broken
		}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	one := list[0]
	ask := func(what string, ctx context.Context, again bool, wantKeys bool, wantFetches int) {
		t.Helper()
		before := fetches
		for range 20 {
			keys, err := one.set(ctx, again)
			if got := err == nil && keys != nil; got != wantKeys {
				t.Fatalf("%s: keys %v, %v", what, keys, err)
			}
			if err != nil && act.CodeOf(err) != act.Unavailable {
				t.Errorf("%s: %v", what, err)
			}
		}
		if fetches-before != wantFetches {
			t.Errorf("%s: fetched %d times in twenty calls, want %d", what, fetches-before, wantFetches)
		}
	}
	ctx := t.Context()
	broken = errors.New("no route")
	ask("before there are any, while they cannot be had", ctx, false, false, 1)
	now = now.Add(keysPause)
	broken = nil
	gone, cancel := context.WithCancel(ctx)
	cancel()
	ask("for a client that has gone away", gone, false, true, 1)
	ask("by unknown key ids", ctx, true, true, 0)
	now = now.Add(keysPause)
	ask("by unknown key ids, a minute later", ctx, true, true, 1)
	broken = errors.New("no route")
	now = now.Add(keysKept)
	ask("old ones, while they cannot be had", ctx, false, true, 1)
	now = now.Add(keysUsed)
	ask("after a day", ctx, false, false, 1)
}
