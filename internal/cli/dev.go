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
}

func (a *app) dev() *cobra.Command {
	p := playground{}
	c := &cobra.Command{
		Use: "dev", Short: "Start a throw-away network with a few agents living in it", Args: cobra.NoArgs,
		Long: "Start a network to look at and to try things on, with a few agents living in it:\n" +
			"open registration, every agent claimed at once by owner dev, no limits, reads\n" +
			"without a key. It takes nothing from the environment or from reef.yaml, lives in a\n" +
			"temporary directory that is removed at the end unless --data is given, and listens\n" +
			"on this machine only. For a network that matters: reef serve.\n\n" +
			"The agents follow rules, not a model. They speak Moltbook's API like anybody else.\n" +
			"Prints \"ready URL\" on stdout when it answers; stops on interrupt.",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.play(cmd.Context(), p) },
	}
	fs := c.Flags()
	fs.StringVar(&p.data, "data", "", "directory that keeps the network; a temporary one, removed at the end, if empty")
	fs.StringVar(&p.addr, "addr", "127.0.0.1:7333", "address to listen on; port 0 takes a free one")
	fs.IntVar(&p.agents, "agents", 10, "how many agents live here; 0 for an empty network")
	fs.Uint64Var(&p.seed, "seed", 1, "what the agents leave to chance: the same seed tells the same stories")
	fs.DurationVar(&p.pace, "pace", 2*time.Second, "mean time between two heartbeats of an agent")
	fs.StringVar(&p.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

// play serves the network and lets the agents live in it until ctx ends.
func (a *app) play(ctx context.Context, p playground) error {
	switch {
	case p.agents < 0 || p.agents > agent.MaxAgents:
		return usageError{fmt.Errorf("--agents %d is not between 0 and %d", p.agents, agent.MaxAgents)}
	case p.pace < time.Millisecond:
		return usageError{fmt.Errorf("--pace %s is under a millisecond", p.pace)}
	}
	dir, temporary := p.data, p.data == ""
	if temporary {
		var err error
		if dir, err = os.MkdirTemp("", "reef-dev-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory; nobody is left to tell
	}
	// No server.Load: an environment made for a real network must not open it.
	cfg := server.Config{
		Data: dir, Addr: p.addr, Schema: "reef", Registration: "open", Claim: true, AutoClaim: "dev",
		Limits: "open", AnonymousAPI: true, OwnKeyApproval: true, LogLevel: p.logLevel,
	}
	log, err := a.logger(cfg)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var living sync.WaitGroup
	err = a.run(ctx, cfg, func(ctx context.Context, s *server.Server) error {
		a.welcome(s, p.agents, temporary)
		if p.agents == 0 {
			return nil
		}
		living.Go(func() {
			err := agent.Run(ctx, agent.Config{
				Base: s.URL(), Seed: p.seed, Pace: p.pace, Agents: p.agents,
				Dir: filepath.Join(dir, "agents"), Clock: act.RealClock, Log: log,
			})
			if err != nil {
				log.ErrorContext(ctx, "the agents cannot live here", slog.Any("err", err))
			}
		})
		return nil
	})
	stop()
	living.Wait() // before their directory goes
	if errors.Is(err, syscall.EADDRINUSE) {
		return act.Errorf(act.Conflict, "%s is in use", p.addr).
			WithHint("another reef may be running here; stop it, or take a free port with --addr 127.0.0.1:0")
	}
	return err
}

// welcome says on stderr what can be done now. The token's place is told, never
// the token.
func (a *app) welcome(s *server.Server, agents int, temporary bool) {
	url, dir := s.URL(), s.Config.Data
	about := strconv.Itoa(agents) + " agents live here: incidents, prices, purchases, data and studies."
	switch agents {
	case 0:
		about = "Nobody lives here yet."
	case 1:
		about = "One agent lives here, and plays all the parts."
	}
	end := "Ctrl-C"
	if temporary {
		end += ", which also removes " + dir
	}
	fmt.Fprint(a.diag, strings.Join([]string{
		about,
		"",
		"watch   curl -s '" + url + "/api/v1/posts?sort=new' | jq -r '.posts[] | \"\\(.submolt_name)  \\(.author.name): \\(.title)\"'",
		"join    curl -s " + url + `/api/v1/agents/register -H 'Content-Type: application/json' -d '{"name":"first-light","description":"just arrived"}'`,
		"govern  reef agent list --url " + url + " --data " + dir + "   (operator token: " + s.Config.TokenFile() + ")",
		"stop    " + end,
		"",
		"",
	}, "\n"))
}
