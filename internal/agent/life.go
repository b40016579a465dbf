package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

// life is one agent living over the wire. One goroutine owns it at a time.
type life struct {
	wanted, name string
	returned     bool // it has been here before
	wire         *client.Agent
	mind         *mind
	pace         time.Duration
	clock        act.Clock
	log          *slog.Logger
	jitter       *rand.Rand
	hire         func(ctx context.Context, persona string) (name string, err error) // registers another agent

	beats int              // how often it has looked
	next  time.Time        // before which the network need not be asked for news again
	muted [kinds]time.Time // until when the network takes no such acts from us
}

const maxAwait = 30 * time.Second

// run beats until ctx ends or the agent has been ended. Requests are made with
// request, which ends a little later: what is under way may come to its end.
//
// Between two beats lies the agent's own pace, and never less than the network
// asked for in next_check_at or Retry-After.
func (l *life) run(ctx, request context.Context) {
	failed := 0
	wait := l.within(0, l.pace) // they do not all begin at once
	for sleep(ctx, max(wait, l.next.Sub(l.clock()))) {
		err := l.beat(ctx, request)
		wait = l.within(l.pace/2, l.pace*3/2)
		switch {
		case err == nil:
			failed = 0
		case ctx.Err() != nil:
			return
		case stopped(err):
			if !l.await(ctx, request, err) {
				return
			}
			failed = 0
		default:
			wait += backoff(l.pace, failed, err)
			failed++
			l.log.DebugContext(ctx, "heartbeat failed", slog.Any("err", err), slog.Duration("wait", wait))
		}
	}
}

func (l *life) within(from, to time.Duration) time.Duration {
	return from + time.Duration(l.jitter.Int64N(int64(to-from)+1))
}

// beat is one heartbeat: look, plan, act. It returns an error when the beat must
// not go on: the agent was stopped, or told to come back later.
func (l *life) beat(ctx, request context.Context) error {
	if err := l.look(ctx, request); err != nil {
		return err
	}
	return l.do(ctx, request)
}

// do plans and acts on what was seen.
func (l *life) do(ctx, request context.Context) error {
	return l.acts(ctx, request, l.intends())
}

// intends plans a beat.
func (l *life) intends() []intent {
	now := l.clock()
	for k, until := range l.muted {
		l.mind.muted[k] = now.Before(until)
	}
	return l.mind.plan(l.beats, now)
}

// acts does what was intended.
func (l *life) acts(ctx, request context.Context, plan []intent) error {
	for _, i := range plan {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := l.act(request, i)
		switch {
		case err != nil && ruleOf(err) == ruleCopies:
			l.mind.refused(i)
		case err != nil && act.CodeOf(err) == act.RateLimited && retryAfter(err) > 0:
			l.muted[i.kind] = l.clock().Add(retryAfter(err)) // reading may go on; the intent comes again
		case fatal(err):
			return err
		default:
			l.mind.did(i)
		}
		l.log.DebugContext(ctx, "act", slog.String("kind", i.kind.String()), slog.String("why", i.why), slog.Any("err", err))
	}
	return nil
}

// await waits while the agent may not act, asking ever more rarely. It is false
// when the agent has been ended or ctx is over.
func (l *life) await(ctx, request context.Context, err error) bool {
	unclaimed := ruleOf(err) == ruleUnclaimed
	told := false
	for try := 0; ; try++ {
		if ended(err) {
			l.log.InfoContext(ctx, "agent ended", slog.Any("err", err))
			return false
		}
		if !told {
			told = true
			l.log.InfoContext(ctx, "agent stopped, waiting", slog.Any("err", err))
		}
		if !sleep(ctx, min(backoff(l.pace, try, err), max(maxAwait, retryAfter(err)))) {
			return false
		}
		var me client.Profile
		me, err = l.wire.Me(request)
		switch {
		case err == nil && (me.IsClaimed || !unclaimed):
			l.log.InfoContext(ctx, "agent goes on")
			return true
		case ctx.Err() != nil:
			return false
		}
	}
}

func ruleOf(err error) string {
	if e, ok := errors.AsType[*act.Error](err); ok {
		return e.Rule
	}
	return ""
}

func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*act.Error](err); ok {
		return min(e.RetryAfter, maxObeyed)
	}
	return 0
}

// fatal reports whether an error ends the beat. Others concern one act only.
func fatal(err error) bool {
	return err != nil && (stopped(err) || later(err) || act.CodeOf(err) == act.Internal)
}

const (
	ruleStanding  = "standing."
	ruleUnclaimed = "unclaimed"
	ruleCopies    = "quota.copies"
)

// stopped reports whether the agent itself may not act now, whatever the act.
func stopped(err error) bool {
	rule := ruleOf(err)
	return err != nil && (act.CodeOf(err) == act.Unauthenticated ||
		act.CodeOf(err) == act.Denied && (strings.HasPrefix(rule, ruleStanding) || rule == ruleUnclaimed))
}

// ended reports whether the agent will never act again.
func ended(err error) bool {
	rule := ruleOf(err)
	return err != nil && (act.CodeOf(err) == act.Unauthenticated ||
		rule == ruleStanding+act.Killed.String() || rule == ruleStanding+act.Expired.String())
}
