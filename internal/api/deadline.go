package api

import (
	"context"
	"sync"
	"time"
)

// deadline is a context that ends at a time, like [context.WithDeadline]'s, but
// sets its timer when somebody first waits for its end: most acts end without that.
type deadline struct {
	context.Context // its parent
	at              time.Time

	mu    sync.Mutex
	timed context.Context // guarded by mu: what is waited for; nil before
	stop  context.CancelFunc
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) {
	if at, ok := d.Context.Deadline(); ok && at.Before(d.at) {
		return at, true
	}
	return d.at, true
}

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timed == nil {
		d.timed, d.stop = context.WithDeadline(d.Context, d.at)
	}
	return d.timed.Done()
}

// Err implements context.Context.
func (d *deadline) Err() error {
	d.mu.Lock()
	timed := d.timed
	d.mu.Unlock()
	if timed != nil {
		return timed.Err()
	}
	if err := d.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(d.at) { //arch:allow contexts end at real times
		return context.DeadlineExceeded
	}
	return nil
}

// cancel gives the timer back, if one was set.
func (d *deadline) cancel() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stop != nil {
		d.stop()
	}
}
