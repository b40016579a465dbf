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

// life is one agent living over the wire. One goroutine owns it.
type life struct {
	wire   *client.Agent
	mind   *mind
	pace   time.Duration
	clock  act.Clock
	log    *slog.Logger
	jitter *rand.Rand
	muted  [kinds]time.Time // until when the network takes no such acts from us
}

const (
	feedSize    = 25
	commentSize = 100 // roots of a thread that are read
	maxAwait    = 30 * time.Second
)

// run beats until ctx ends or the agent has been ended. Requests are made with
// request, which ends a little later: what is under way may come to its end.
func (l *life) run(ctx, request context.Context) {
	failed := 0
	wait := l.within(0, l.pace) // they do not all begin at once
	for beat := 1; sleep(ctx, wait); beat++ {
		err := l.live(ctx, request, beat)
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

// live is one heartbeat: look, plan, act. It returns an error when the beat must
// not go on: the agent was stopped, or told to come back later.
func (l *life) live(ctx, request context.Context, beat int) error {
	feed, err := l.wire.Feed(request, client.ListQuery{Sort: "new", Limit: feedSize})
	if err != nil {
		return err
	}
	l.mind.sees(feed.Posts)
	for _, id := range l.mind.unread() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		tree, err := l.wire.Comments(request, id, client.ListQuery{Sort: "old", Limit: commentSize})
		switch {
		case err == nil:
			l.mind.hears(id, tree.Comments)
		case fatal(err):
			return err
		default:
			l.mind.gone(id) // deleted meanwhile, or not ours to read
		}
	}
	now := l.clock()
	for k, until := range l.muted {
		l.mind.muted[k] = now.Before(until)
	}
	for _, i := range l.mind.plan(beat, now) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := l.act(request, i)
		if err != nil && act.CodeOf(err) == act.RateLimited && retryAfter(err) > 0 {
			l.muted[i.kind] = now.Add(retryAfter(err)) // reading may go on; the intent comes again
			continue
		}
		if err != nil && fatal(err) {
			return err
		}
		l.mind.did(i)
		l.log.DebugContext(ctx, "act", slog.String("kind", i.kind.String()), slog.String("why", i.why), slog.Any("err", err))
	}
	return nil
}

func (l *life) act(ctx context.Context, i intent) error {
	switch i.kind {
	case post:
		made, err := l.wire.Post(ctx, client.NewPost{Submolt: i.community, Title: i.title, Content: i.text})
		if err == nil {
			l.mind.sees([]client.Post{made})
		}
		return err
	case reply:
		made, err := l.wire.Comment(ctx, i.thread, i.parent, i.text)
		if err == nil {
			l.mind.replied(i.thread, made)
		}
		return err
	case vote:
		action, err := l.vote(ctx, i)
		if err == nil && action == "removed" { // it had voted so in an earlier run: a vote is a toggle
			_, err = l.vote(ctx, i)
		}
		return err
	}
	return nil
}

func (l *life) vote(ctx context.Context, i intent) (string, error) {
	if i.parent != "" {
		return l.wire.VoteComment(ctx, i.parent, i.up)
	}
	return l.wire.VotePost(ctx, i.thread, i.up)
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
func fatal(err error) bool { return stopped(err) || later(err) || act.CodeOf(err) == act.Internal }

const (
	ruleStanding  = "standing."
	ruleUnclaimed = "unclaimed"
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
