package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

// Config says which agents live where.
type Config struct {
	Base   string        // of the network, "http://127.0.0.1:7333"
	Seed   uint64        // of everything that the agents leave to chance
	Pace   time.Duration // mean time between two heartbeats of an agent; 2 s if 0
	Agents int           // 1 to MaxAgents; the whole cast if 0
	Dir    string        // where their keys are kept from run to run, mode 0600; "" forgets them

	// Invite gets a code for one registration; nil where registration is open.
	Invite func(context.Context) (string, error)

	Clock act.Clock // for times of day in texts; nil leaves act.RealClock
	Log   *slog.Logger
}

// MaxAgents bounds how many agents one Run starts. Those beyond the cast share
// its personas and play no part in the stories; they read, answer and vote.
const MaxAgents = 500

const (
	defaultPace = 2 * time.Second
	maxNames    = 20 // that are tried for one agent
	general     = "general"
)

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
	sc, err := readBook()
	if err != nil {
		return fmt.Errorf("the agents' book: %w", err)
	}
	if c.Agents == 0 {
		c.Agents = len(sc.cast)
	}
	if c.Agents < 0 || c.Agents > MaxAgents {
		return act.Errorf(act.Invalid, "%d agents are not between 1 and %d", c.Agents, MaxAgents)
	}
	lives, err := enlist(ctx, c, sc)
	if err == nil {
		err = settle(ctx, c, sc, lives)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	request, done := lingering(ctx)
	defer done()
	var all sync.WaitGroup
	for _, l := range lives {
		all.Go(func() { l.run(ctx, request) })
	}
	all.Wait()
	return nil
}

// enlist gives every agent its identity. The roster is complete before anybody
// acts.
func enlist(ctx context.Context, c Config, sc *script) (lives []*life, err error) {
	members := make([]member, 0, c.Agents)
	for n := range c.Agents {
		self, round := sc.cast[n%len(sc.cast)], n/len(sc.cast)
		wanted := self.Name
		if round > 0 {
			wanted += "-" + strconv.Itoa(round+1)
		}
		id, err := identify(ctx, c, wanted, self.Bio)
		if err != nil {
			return nil, fmt.Errorf("register %s: %w", wanted, err)
		}
		wire, err := client.NewAgent(c.Base, id.key)
		if err != nil {
			return nil, err
		}
		members = append(members, member{name: id.name, self: self, lead: round == 0})
		lives = append(lives, &life{
			wire: wire, pace: c.Pace, clock: c.Clock, log: c.Log.With(slog.String("agent", id.name)),
			jitter: random(c.Seed, "pace/"+id.name),
		})
	}
	r := newRoster(members)
	for i, m := range members {
		lives[i].mind = newMind(c.Seed, m.name, m.self, r, sc)
	}
	return lives, nil
}

// identify takes up a kept key, or registers. When a stranger has the name
// already, the agent takes another one.
func identify(ctx context.Context, c Config, wanted, bio string) (identity, error) {
	if id, ok, err := keptKey(c.Dir, wanted); ok || err != nil {
		return id, err
	}
	var invite string
	if c.Invite != nil {
		var err error
		if invite, err = c.Invite(ctx); err != nil {
			return identity{}, fmt.Errorf("an invite: %w", err)
		}
	}
	name := wanted
	for n := 2; ; n++ {
		var account client.Account
		err := patiently(ctx, c, later, func() (err error) {
			account, err = client.Register(ctx, c.Base, client.NewAccount{Name: name, Description: bio, Invite: invite})
			return err
		})
		switch {
		case err == nil:
			c.Log.DebugContext(ctx, "agent registered", slog.String("agent", account.Name))
			id := identity{name: account.Name, key: account.Key}
			return id, keepKey(c.Dir, wanted, id)
		case act.CodeOf(err) != act.Conflict || n > maxNames:
			return identity{}, err
		}
		name = wanted + "_" + strconv.Itoa(n)
	}
}

// settle makes the communities that are not there yet. A story whose community
// nobody may make is played in general.
func settle(ctx context.Context, c Config, sc *script, lives []*life) error {
	spent := make(map[*life]bool) // those that may make no more
	for _, st := range sc.stories {
		err := found(ctx, c, st, lives, spent)
		switch {
		case err == nil:
		case act.CodeOf(err) == act.RateLimited, stopped(err):
			c.Log.InfoContext(ctx, "story moves to general", slog.String("story", st.Name), slog.Any("err", err))
			st.Community = general
		default:
			return fmt.Errorf("community %s: %w", st.Community, err)
		}
	}
	return nil
}

// found makes a story's community: who opens the story first, then the others.
func found(ctx context.Context, c Config, st *story, lives []*life, spent map[*life]bool) error {
	refused := act.Errorf(act.RateLimited, "nobody may make another community now")
	opener := lives[0].mind.roster.holder(st.Steps[0].By)
	order := slices.Clone(lives)
	slices.SortStableFunc(order, func(a, b *life) int {
		switch opener {
		case a.mind.name:
			return -1
		case b.mind.name:
			return 1
		}
		return 0
	})
	for _, founder := range order {
		if spent[founder] {
			continue
		}
		err := patiently(ctx, c, unavailable, func() error {
			return founder.wire.CreateSubmolt(ctx, st.Community, "", st.About)
		})
		if act.CodeOf(err) == act.Conflict {
			return nil // it is there
		}
		if err == nil || !stopped(err) && act.CodeOf(err) != act.RateLimited {
			return err
		}
		spent[founder] = true
	}
	return refused
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
