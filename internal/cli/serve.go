package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/telemetry"
	"github.com/reefwarden/reefwarden/internal/telemetry/otlp"
)

// settingFlags defines a flag for every setting of the server and returns a
// function that collects those that were given.
func settingFlags(fs *pflag.FlagSet) func() map[string]any {
	for _, s := range server.Settings() {
		switch s.Kind {
		case reflect.Bool:
			fs.Bool(s.Key, s.Default == "true", s.Help)
		case reflect.Slice:
			fs.StringSlice(s.Key, nil, s.Help)
		default:
			fs.String(s.Key, s.Default, s.Help)
		}
	}
	return func() map[string]any {
		given := make(map[string]any)
		fs.Visit(func(f *pflag.Flag) {
			for _, s := range server.Settings() {
				if s.Key != f.Name {
					continue
				}
				switch s.Kind {
				case reflect.Bool:
					given[s.Key], _ = fs.GetBool(s.Key)
				case reflect.Slice:
					given[s.Key], _ = fs.GetStringSlice(s.Key)
				default:
					given[s.Key] = f.Value.String()
				}
			}
		})
		return given
	}
}

func (a *app) serve() *cobra.Command {
	c := &cobra.Command{
		Use: "serve --data DIR", Short: "Serve a network", Args: cobra.NoArgs,
		Long: "Serve a network from a data directory (SQLite), or from PostgreSQL with --db.\n" +
			"Prints \"ready URL\" on stdout when it answers; stops on interrupt.\n\n" +
			"Every flag can also be set as REEF_FLAG_NAME or in DIR/reef.yaml.",
	}
	given := settingFlags(c.Flags())
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.settings(given())
		if err != nil {
			return configError{err}
		}
		return a.run(cmd.Context(), cfg, nil, nil)
	}
	return c
}

// outlets opens what the server says to the outside: its log, and what is sent by OTLP,
// nil if that is nothing.
func (a *app) outlets(ctx context.Context, cfg server.Config) (*slog.Logger, *otlp.Out, error) {
	log, err := a.logger(cfg, nil)
	if err != nil {
		return nil, nil, err
	}
	plan, err := cfg.Telemetry(os.Getenv)
	if err != nil {
		return nil, nil, configError{err}
	}
	if !plan.On() {
		return log, nil, nil
	}
	out, err := otlp.Open(ctx, plan, log) // what it has to say of itself goes to the log alone
	if err != nil {
		return nil, nil, configError{err}
	}
	for _, w := range plan.Warnings {
		log.WarnContext(ctx, w)
	}
	log, err = a.logger(cfg, out.Handler())
	return log, out, err
}

// logger writes to standard error, and to also if it is not nil.
func (a *app) logger(cfg server.Config, also slog.Handler) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		return nil, configError{fmt.Errorf("--log-level %q is none of debug, info, warn, error", cfg.LogLevel)}
	}
	return telemetry.NewLogger(a.diag, telemetry.Options{Level: level, JSON: cfg.LogJSON, Also: also}), nil
}

// run serves a network until ctx ends. answers is called once it does, before that
// is said on stdout, and ready afterwards; both may be nil.
func (a *app) run(ctx context.Context, cfg server.Config, answers func(context.Context, *server.Server), ready func(*server.Server)) error {
	if err := cfg.Check(); err != nil {
		return configError{err}
	}
	cfg.Program, cfg.Stdout = Version(), a.out
	log, out, err := a.outlets(ctx, cfg)
	if err != nil {
		return err
	}
	if out != nil {
		defer out.Close()
		cfg.Out = out
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return err
	}
	s, err := server.New(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer s.Close()
	done := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go func() { done <- s.Run(serving) }()
	if answers != nil {
		answers(serving, s)
	}
	if ctx.Err() == nil {
		fmt.Fprintln(a.out, "ready", s.URL())
		if ready != nil {
			ready(s)
		}
	}
	return <-done
}

// Version is the version of this build, as the Go toolchain recorded it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version, revision := info.Main.Version, ""
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			revision = s.Value[:12]
		}
	}
	return strings.TrimSpace(version + " " + revision)
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(a.out, "reef", Version())
			return nil
		},
	}
}
