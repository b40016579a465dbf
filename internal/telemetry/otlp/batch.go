package otlp

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what waits to be sent and of one request.
const (
	queueLength = 2048
	batchLength = 512
	batchBytes  = 900_000 // below the million bytes that products take at least
	batchEvery  = time.Second
	sendLimit   = 10 * time.Second // of one request with its repetitions
	lastLimit   = 2 * time.Second  // of all that is sent at Close
)

// batcher sends things in batches, from a goroutine of its own. What does not fit into
// its queue is dropped and counted, and so is what the receiver does not take: the
// exporter repeats what is worth repeating, within sendLimit.
type batcher[T any] struct {
	signal  Signal
	log     *slog.Logger
	size    func(T) int
	send    func(context.Context, []T) error
	dropped atomic.Int64

	queue chan T
	stop  chan struct{}
	done  sync.WaitGroup
	once  sync.Once

	sending context.Context // of all requests; it ends a little after close was called
	end     context.CancelFunc
	ill     bool // of the goroutine: the last request failed, which was said
}

func newBatcher[T any](s Signal, log *slog.Logger, size func(T) int, send func(context.Context, []T) error) *batcher[T] {
	b := &batcher[T]{signal: s, log: log, size: size, send: send, queue: make(chan T, queueLength), stop: make(chan struct{})}
	b.sending, b.end = context.WithCancel(context.Background()) //arch:allow what is sent is nobody's request
	b.done.Go(b.run)
	return b
}

// add takes a thing without waiting.
func (b *batcher[T]) add(x T) {
	select {
	case b.queue <- x:
	default:
		b.dropped.Add(1)
	}
}

func (b *batcher[T]) run() {
	tick := time.NewTicker(batchEvery)
	defer tick.Stop()
	var batch []T
	bytes := 0
	flush := func() {
		b.flush(batch)
		batch, bytes = nil, 0
	}
	take := func(x T) {
		n := b.size(x)
		if len(batch) > 0 && bytes+n > batchBytes {
			flush()
		}
		if batch, bytes = append(batch, x), bytes+n; len(batch) >= batchLength {
			flush()
		}
	}
	for {
		select {
		case x := <-b.queue:
			take(x)
		case <-tick.C:
			flush()
		case <-b.stop:
			for waits := true; waits; {
				select {
				case x := <-b.queue:
					take(x)
				default:
					waits = false
				}
			}
			flush()
			return
		}
	}
}

func (b *batcher[T]) flush(batch []T) {
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(b.sending, sendLimit)
	defer cancel()
	err := b.send(ctx, batch)
	if err != nil {
		b.dropped.Add(int64(len(batch)))
	}
	if ill := err != nil; ill != b.ill {
		b.ill = ill
		if ill {
			b.log.Warn("telemetry is not taken and is dropped until it is", "signal", b.signal.String(), "err", err)
		} else {
			b.log.Info("telemetry is taken again", "signal", b.signal.String())
		}
	}
}

// close sends what waits, for a short time.
func (b *batcher[T]) close() {
	b.once.Do(func() { close(b.stop) })
	late := time.AfterFunc(lastLimit, b.end)
	b.done.Wait()
	late.Stop()
	b.end()
}
