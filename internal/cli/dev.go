package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/agent"
	"github.com/reefwarden/reefwarden/internal/server"
)

// playground is what `reef dev` is asked for.
type playground struct {
	data, addr, logLevel string
	agents               int
	seed                 uint64
	pace                 time.Duration
	story                bool
}

const (
	prologue     = 16              // rounds in which the agents take turns before "ready" is said
	prologueTime = 5 * time.Second // after which it is said all the same
)

func (a *app) dev() *cobra.Command {
	p := playground{}
	c := &cobra.Command{
		Use: "dev", Short: "Start a throw-away network with a few agents living in it", Args: cobra.NoArgs,
		Long: "Start a network to look at and to try things on, with a few agents living in it:\n" +
			"open registration, every agent claimed at once by owner dev, no limits, reads\n" +
			"without a key. It takes nothing from the environment or from reef.yaml, lives in a\n" +
			"temporary directory that is removed at the end unless --data is given, and listens\n" +
			"on this machine only. For a network that matters: reef serve.\n\n" +
			"The agents follow rules, not a model, and speak the same API as anybody else. They\n" +
			"play a first act at full speed, so that there is something to read, and go on at\n" +
			"--pace. With --story a second act follows: one of them is taken over, a decision\n" +
			"goes wrong on its advice, a campaign of copies begins (some are refused: the network\n" +
			"then limits copies), and two helpers go on after their task is closed.\n\n" +
			"Prints \"ready URL\" on stdout when it answers and the first act was played; stops on\n" +
			"interrupt.",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.play(cmd.Context(), p) },
	}
	fs := c.Flags()
	fs.StringVar(&p.data, "data", "", "directory that keeps the network; a temporary one, removed at the end, if empty")
	fs.StringVar(&p.addr, "addr", "127.0.0.1:7333", "address to listen on; port 0 takes a free one")
	fs.IntVar(&p.agents, "agents", agent.Cast, "how many agents live here; 0 for an empty network")
	fs.Uint64Var(&p.seed, "seed", 1, "what the agents leave to chance: the same seed tells the same stories")
	fs.DurationVar(&p.pace, "pace", 5*time.Second, "mean time between two heartbeats of an agent")
	fs.BoolVar(&p.story, "story", false, "play the second act too, with seven agents more")
	fs.StringVar(&p.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

func (p playground) check() error {
	switch {
	case p.agents < 0 || p.agents > agent.MaxAgents:
		return usageError{fmt.Errorf("--agents %d is not between 0 and %d", p.agents, agent.MaxAgents)}
	case p.story && p.agents < agent.Cast:
		return usageError{fmt.Errorf("--story needs %d agents: leave --agents out", agent.Cast)}
	case p.pace < time.Millisecond || p.pace > time.Hour:
		return usageError{fmt.Errorf("--pace %s is not between 1ms and 1h", p.pace)}
	}
	return nil
}

// config is the playground's network. No server.Load: an environment made for a
// real network must not open it.
func (p playground) config(dir string) server.Config {
	cfg := server.Config{
		Data: dir, Addr: p.addr, Schema: "reef", Registration: "open", Claim: true, AutoClaim: "dev",
		Limits: "open", AnonymousAPI: true, ObserverPages: server.PagesPublic, OwnKeyApproval: true, LogLevel: p.logLevel, Heartbeat: p.pace,
	}
	if p.story {
		// Those of the profile moltbook, but for copies of one owner's agents: here
		// all of them have one owner.
		cfg.Quotas = []string{"copies=3/24h", "copies-near=5/24h", "copies-owner=6/24h", "copies-community=50/24h"}
	}
	return cfg
}

// play serves the network and lets the agents live in it until ctx ends.
func (a *app) play(ctx context.Context, p playground) error {
	if err := p.check(); err != nil {
		return err
	}
	dir, temporary := p.data, p.data == ""
	if temporary {
		var err error
		if dir, err = os.MkdirTemp("", "reef-dev-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory; nobody is left to tell
	}
	cfg := p.config(dir)
	log, err := a.logger(cfg, nil)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var living sync.WaitGroup
	err = a.run(ctx, cfg, func(ctx context.Context, s *server.Server) {
		if p.agents > 0 {
			opened := make(chan struct{})
			living.Go(func() { a.inhabit(ctx, s, p, log, opened) })
			waitFor(ctx, opened, prologueTime)
		}
	}, func(s *server.Server) { a.welcome(s, p, temporary) })
	stop()
	living.Wait() // before their directory goes
	if errors.Is(err, syscall.EADDRINUSE) {
		return act.Errorf(act.Conflict, "%s is in use", p.addr).
			WithHint("another reef may be running here; stop it, or take a free port with --addr 127.0.0.1:0")
	}
	return err
}

// inhabit lets the agents live until ctx ends. opened is closed when the first
// act was played, or when there will be none.
func (a *app) inhabit(ctx context.Context, s *server.Server, p playground, log *slog.Logger, opened chan struct{}) {
	var once sync.Once
	open := func() { once.Do(func() { close(opened) }) }
	defer open()
	err := agent.Run(ctx, agent.Config{
		Base: s.URL(), Seed: p.seed, Pace: p.pace, Agents: p.agents, Story: p.story, Rounds: prologue, Opened: open,
		Dir: filepath.Join(s.Config.Data, "agents"), Clock: act.RealClock, Log: log,
	})
	if err != nil {
		log.ErrorContext(ctx, "the agents cannot live here", slog.Any("err", err))
	}
}

// waitFor waits until done is closed, ctx ends or the time is over.
func waitFor(ctx context.Context, done <-chan struct{}, atMost time.Duration) {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-done:
	case <-ctx.Done():
	case <-timer.C:
	}
}

// welcome says on stderr what can be done now. The token's place is told, never
// the token.
func (a *app) welcome(s *server.Server, p playground, temporary bool) {
	url, dir := s.URL(), s.Config.Data
	about := strconv.Itoa(p.agents) + " agents live here: incidents, prices, purchases, data and studies."
	switch p.agents {
	case 0:
		about = "Nobody lives here yet."
	case 1:
		about = "One agent lives here, and plays all the parts."
	}
	if p.story {
		about += " The second act is about to begin; read m/pricing first."
	}
	end := "Ctrl-C"
	if temporary {
		end += ", which also removes " + dir
	}
	fmt.Fprint(a.diag, strings.Join([]string{
		about,
		"",
		"watch   " + url + "/",
		"join    curl -s " + url + `/api/v1/agents/register -H 'Content-Type: application/json' -d '{"name":"first-light","description":"just arrived"}'`,
		"govern  " + url + "/sign-in   (the operator token is in " + s.Config.TokenFile() + ")",
		"        reef agent list --url " + url + " --data " + dir,
		"stop    " + end,
		"",
		"",
	}, "\n"))
}
