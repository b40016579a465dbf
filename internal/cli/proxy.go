package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/egress"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

func (a *app) proxy() *cobra.Command {
	var at, mode, scope, level, workload string
	var most int
	c := &cobra.Command{
		Use: "proxy --agent NAME", Short: "Act for an agent of this machine, so that it needs no credential", Args: cobra.NoArgs,
		Long: "Take an agent's unchanged requests on this machine and send them to its network, each with\n" +
			"a fresh token that is bound to the agent's key and a proof of its own. Give the address\n" +
			"that is printed to the agent as its base URL; whatever it sends as its API key is dropped.\n\n" +
			"Whoever may connect acts as the agent: on a shared machine use a Unix socket, whose mode\n" +
			"says who that is, or a machine or container of the agent's own. Browsers are refused.\n\n" +
			"With --workload-socket, programs of the agent get its SPIFFE identities there, by the SPIFFE\n" +
			"Workload API: set SPIFFE_ENDPOINT_SOCKET to unix://PATH for them.\n\n" +
			"Prints \"ready ADDRESS\" on stdout when it answers; stops on interrupt.",
	}
	a.agentFlag(c, "the agent")
	c.Flags().StringVar(&at, "listen", "127.0.0.1:7334", "loopback address, or unix:PATH")
	c.Flags().StringVar(&mode, "socket-mode", "0600", "mode of a Unix socket: who may connect")
	c.Flags().StringVar(&workload, "workload-socket", "", "unix:PATH of the SPIFFE Workload API for the agent's programs; none if empty")
	c.Flags().StringVar(&scope, "scope", "", `what its requests may be: acts and nouns, like "post.* comment.create" (default all that its key may)`)
	c.Flags().IntVar(&most, "max-requests", egress.DefaultRequests, "requests at a time")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		bits, err := strconv.ParseUint(mode, 8, 32)
		if err != nil || most < 1 {
			return usageError{fmt.Errorf("--socket-mode is octal, like 0660, and --max-requests at least 1")}
		}
		if workload != "" && !strings.HasPrefix(workload, "unix:") {
			return usageError{errors.New("--workload-socket is unix:PATH")}
		}
		var l slog.Level
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return usageError{fmt.Errorf("--log-level %q is none of debug, info, warn, error", level)}
		}
		log := telemetry.NewLogger(a.diag, telemetry.Options{Level: l})
		ctx := cmd.Context()
		h, err := a.holder(ctx, scope)
		if err != nil {
			return err
		}
		defer h.Close()
		listener, err := egress.Listen(ctx, at, fs.FileMode(bits))
		if err != nil {
			return err
		}
		p, err := egress.NewProxy(egress.ProxyConfig{Holder: h, Listener: listener, Requests: most, Log: log})
		if err != nil {
			return err
		}
		var identities *egress.Workload
		if workload != "" {
			l, err := egress.Listen(ctx, workload, fs.FileMode(bits))
			if err != nil {
				return err
			}
			identities = egress.NewWorkload(egress.WorkloadConfig{Holder: h, Listener: l, Clock: act.RealClock, Log: log})
		}
		m := h.Member()
		log.InfoContext(ctx, "acting for an agent", slog.String("agent", m.Name), slog.String("id", m.ID), slog.String("network", m.URL))
		if left := time.Until(m.Until); left < keyEndsSoon {
			log.WarnContext(ctx, "the agent's key ends soon: reef key rotate --agent "+m.Name, slog.Time("at", m.Until))
		}
		// The network may be away when this begins; the agent is told so until it is back.
		go func() {
			if _, err := h.Token(ctx); err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, "the network gives no token yet", slog.Any("err", err))
			}
		}()
		where := "http://" + listener.Addr().String()
		if listener.Addr().Network() == "unix" {
			where = at
		}
		fmt.Fprintln(a.out, "ready", where)
		running, ctx := errgroup.WithContext(ctx)
		running.Go(func() error { return p.Run(ctx) })
		if identities != nil {
			running.Go(func() error { return identities.Run(ctx) })
		}
		return running.Wait()
	}
	return c
}

const keyEndsSoon = 7 * 24 * time.Hour
