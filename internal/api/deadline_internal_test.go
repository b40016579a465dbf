package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A deadline ends as a context's does, whether its end is waited for or asked for,
// and with its parent.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, leave := context.WithCancel(t.Context())
		made := func() *deadline { return &deadline{Context: parent, at: time.Now().Add(time.Second)} }
		asked, waited, left := made(), made(), made()
		defer waited.cancel()
		if asked.Err() != nil || waited.Err() != nil {
			t.Error("it has ended before its time")
		}
		<-waited.Done()
		for what, d := range map[string]*deadline{"asked": asked, "waited for": waited} {
			if !errors.Is(d.Err(), context.DeadlineExceeded) {
				t.Errorf("%s: %v after its time", what, d.Err())
			}
		}
		left.at = time.Now().Add(time.Hour)
		defer left.cancel()
		if at, ok := left.Deadline(); !ok || !at.Equal(left.at) {
			t.Errorf("the deadline is %v", at)
		}
		derived, cancel := context.WithTimeout(left, 2*time.Hour)
		defer cancel()
		leave()
		<-derived.Done()
		if !errors.Is(left.Err(), context.Canceled) || !errors.Is(derived.Err(), context.Canceled) {
			t.Errorf("after the parent has left: %v, %v", left.Err(), derived.Err())
		}
		asked.cancel()
	})
}
