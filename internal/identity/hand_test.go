package identity_test

import (
	"sync/atomic"
	"time"
)

// hand is a clock that runs on from where it is set.
type hand struct {
	began time.Time
	ahead atomic.Int64
}

func newHand() *hand { return &hand{began: time.Now()} }

func (h *hand) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

func (h *hand) jump(by time.Duration) { h.ahead.Add(int64(by)) }
