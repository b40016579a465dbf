package act_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

const secret = "dial tcp 10.0.0.7: password rejected"

// What the caller sees never holds the cause's text, wherever it stands in the
// format; the log still reaches the cause.
func TestErrorfHidesTheCause(t *testing.T) {
	t.Parallel()
	cause := errors.New(secret)
	for _, c := range []struct {
		err  *act.Error
		want string
	}{
		{act.Errorf(act.Unavailable, "storage failed: %w", cause), "storage failed"},
		{act.Errorf(act.Unavailable, "storage failed: %w", fmt.Errorf("in the pool: %w", cause)), "storage failed"},
		{act.Errorf(act.Unavailable, "%w", cause), ""},
		{act.Errorf(act.Unavailable, "reading %w failed", cause), "reading failed"},
		{act.Errorf(act.Unavailable, "storage failed: %w: %w", io.EOF, cause), "storage failed"},
		{act.Errorf(act.Unavailable, "storage failed (%w) after %d tries: %w", cause, 3, io.EOF), "storage failed () after 3 tries"},
		{act.Errorf(act.Unavailable, "page %d of %s", 3, "feed"), "page 3 of feed"},
	} {
		if c.err.Message != c.want {
			t.Errorf("message %q, want %q", c.err.Message, c.want)
		}
		if strings.Contains(c.err.Error(), secret) || strings.Contains(fmt.Sprintf("%v %+v", c.err, c.err), secret) {
			t.Errorf("%q shows the cause", c.err.Error())
		}
		if wraps := strings.HasPrefix(c.want, "page"); errors.Is(c.err, cause) == wraps {
			t.Errorf("%q: the cause is reachable: %v", c.err.Message, !wraps)
		}
	}
}

func TestErrorKeepsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	limit := act.LimitState{Limit: 5, Daily: -1}
	e := act.Errorf(act.RateLimited, "too fast").WithHint("slow down").WithRule("quota/post").
		WithRetry(3 * time.Second).WithLimit(limit)
	if e.Code != act.RateLimited || e.Hint != "slow down" || e.Rule != "quota/post" ||
		e.RetryAfter != 3*time.Second || *e.Limit != limit || e.Unwrap() != nil {
		t.Errorf("%+v", e)
	}
	if e.Error() != "rate_limited: too fast" {
		t.Errorf("text %q", e.Error())
	}
}

func TestAsError(t *testing.T) {
	t.Parallel()
	if act.AsError(nil) != nil || act.CodeOf(nil) != act.None {
		t.Error("no error became one")
	}
	inner := act.Errorf(act.Gone, "deleted")
	if got := act.AsError(fmt.Errorf("show: %w", inner)); got != inner {
		t.Errorf("a wrapped error became %v", got)
	}
	foreign := &fs.PathError{Op: "open", Path: "/keys/network.key", Err: fs.ErrPermission}
	e := act.AsError(foreign)
	if e.Code != act.Internal || strings.Contains(e.Error()+e.Hint, "network.key") || e.Hint == "" {
		t.Errorf("a foreign error shows as %+v", e)
	}
	if !errors.Is(e, fs.ErrPermission) {
		t.Error("the cause is lost to the log")
	}
	if act.CodeOf(foreign) != act.Internal {
		t.Errorf("code of a foreign error = %v", act.CodeOf(foreign))
	}
}

// Names are wire format: clients switch on them.
func TestCodes(t *testing.T) {
	t.Parallel()
	want := []string{
		"internal", "invalid", "unauthenticated", "denied", "not_found", "conflict", "too_large", "rate_limited",
		"unavailable", "gone", "idempotency_mismatch", "method_not_allowed", "held",
	}
	codes := act.Codes()
	if len(codes) != len(want) {
		t.Fatalf("%d codes, want %d: a new code needs its name here", len(codes), len(want))
	}
	docs := map[string]bool{}
	for i, c := range codes {
		if int(c) != i || c.String() != want[i] {
			t.Errorf("code %d is %q, want %q", i, c, want[i])
		}
		if c.Doc() == "" || docs[c.Doc()] {
			t.Errorf("%s: doc %q is empty or another's", c, c.Doc())
		}
		docs[c.Doc()] = true
	}
	stray := act.Code(len(codes))
	if stray.String() != "internal" || stray.Doc() != act.Internal.Doc() {
		t.Errorf("a number that is no code reads %q", stray)
	}
}

func TestStandings(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for s := act.StandingUnknown; s <= act.Stale; s++ {
		if names[s.String()] {
			t.Errorf("standing %d shares the name %q", s, s)
		}
		names[s.String()] = true
		if want := s == act.Active || s == act.Requested; s.MayAct() != want {
			t.Errorf("%s may act: %v", s, s.MayAct())
		}
		if s.Final() && s.MayAct() {
			t.Errorf("%s is final and may act", s)
		}
	}
	if bad := act.Stale + 1; bad.MayAct() || bad.String() != "unknown" {
		t.Errorf("a number that is no standing: %q, may act %v", bad, bad.MayAct())
	}
}

func TestMicros(t *testing.T) {
	t.Parallel()
	if act.Micros(time.Time{}) != 0 || !act.FromMicros(0).IsZero() {
		t.Error("no time is not 0")
	}
	at := time.Date(2026, 2, 3, 4, 5, 6, 789_123_456, time.FixedZone("", 3600))
	if got := act.FromMicros(act.Micros(at)); !got.Equal(at.Truncate(time.Microsecond)) || got.Location() != time.UTC {
		t.Errorf("%v came back as %v", at, got)
	}
	if got := act.FromMicros(act.Micros(at)).Format(act.WireTime); got != "2026-02-03T03:05:06.789Z" {
		t.Errorf("on the wire: %q", got)
	}
}
