package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Config says which agents live where.
type Config struct {
	Base   string        // of the network, "http://127.0.0.1:7333"
	Seed   uint64        // of everything that the agents leave to chance
	Pace   time.Duration // mean time between two heartbeats of an agent; 5 s if 0
	Agents int           // 1 to MaxAgents; the whole cast if 0
	Story  bool          // play the second act too, with the agents that it needs beside Agents
	Dir    string        // where their keys are kept from run to run, mode 0600; "" forgets them

	// Rounds is how often the agents, when they are new here, take turns at full
	// speed before each of them takes up its own pace; in those rounds one acts
	// after the other, in an order that the seed determines. Opened is called when
	// the rounds are over, or when there are none; nil if nobody needs to know.
	Rounds int
	Opened func()

	// Invite gets a code for one registration; nil where registration is open.
	Invite func(context.Context) (string, error)

	Clock act.Clock // for heartbeats, and times of day in texts; nil leaves act.RealClock
	Log   *slog.Logger
}

// MaxAgents bounds how many agents one Run starts. Those beyond the cast share
// its personas and play no part in the stories; they read, answer and vote.
const MaxAgents = 500

const (
	defaultPace = 5 * time.Second
	maxNames    = 20 // that are tried for one agent
	general     = "general"
)

// Cast is how many agents the stories have parts for: with fewer, some of them
// play several. The second act needs all of them.
const Cast = 12

// Run registers the agents, or takes up the keys that it kept, makes the
// communities of the stories and lets the agents live until ctx ends or none of
// them is left. It returns an error only when they cannot begin.
func Run(ctx context.Context, c Config) error {
	if c.Pace <= 0 {
		c.Pace = defaultPace
	}
	if c.Clock == nil {
		c.Clock = act.RealClock
	}
	sc, err := readBook(c.Story)
	if err != nil {
		return fmt.Errorf("the agents' book: %w", err)
	}
	if c.Agents == 0 {
		c.Agents = Cast
	}
	if c.Agents < 0 || c.Agents > MaxAgents {
		return act.Errorf(act.Invalid, "%d agents are not between 1 and %d", c.Agents, MaxAgents)
	}
	if c.Story && c.Agents < Cast {
		return act.Errorf(act.Invalid, "the second act needs %d agents", Cast)
	}
	request, done := lingering(ctx)
	defer done()
	co := &company{config: c, script: sc, request: request}
	err = co.gather(ctx)
	if err == nil {
		err = co.settle(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	co.rehearse(ctx)
	if c.Opened != nil {
		c.Opened()
	}
	co.live(ctx)
	return nil
}

// patiently repeats what the network could not do just now.
func patiently(ctx context.Context, c Config, again func(error) bool, do func() error) error {
	for try := 0; ; try++ {
		err := do()
		if err == nil || !again(err) || ctx.Err() != nil {
			return err
		}
		if !sleep(ctx, backoff(c.Pace, try, err)) {
			return err
		}
	}
}

// later reports whether the same request may succeed at another time.
func later(err error) bool {
	code := act.CodeOf(err)
	return code == act.Unavailable || code == act.RateLimited
}

func unavailable(err error) bool { return act.CodeOf(err) == act.Unavailable }

const (
	maxBackoff = time.Minute
	maxObeyed  = time.Hour // of a Retry-After
)

// backoff says how long to stay away after failures in a row (try counts from
// 0): ever longer, and never shorter than the network asked for.
func backoff(pace time.Duration, try int, err error) time.Duration {
	wait := min(pace<<min(try, 10), maxBackoff)
	if e, ok := errors.AsType[*act.Error](err); ok {
		wait = max(wait, min(e.RetryAfter, maxObeyed))
	}
	return wait
}

// lingering returns a context that ends a little after ctx.
func lingering(ctx context.Context) (context.Context, context.CancelFunc) {
	const while = time.Second
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		sleep(out, while)
		cancel()
	})
	return out, func() { stop(); cancel() }
}

// sleep waits; it is false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
