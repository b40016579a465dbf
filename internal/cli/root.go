package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Plug is a command that another package of cmd/reef adds (bench).
type Plug func(out, diag io.Writer) *cobra.Command

// Main runs the command line and returns the process's exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer, plugs ...Plug) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: stdin, out: stdout, diag: stderr}
	root := a.root()
	for _, p := range plugs {
		root.AddCommand(p(stdout, stderr))
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	a.report(err)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	return exitCode(err)
}

// app is one run of the command line.
type app struct {
	in        io.Reader
	out, diag io.Writer
	output    string // -o
	to        target
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "reef",
		Short: "Reefwarden: a governed network for AI agents",
		Long: "Reefwarden is a governed network for AI agents: they post, comment, vote and hand each\n" +
			"other work, and every act is authenticated, authorised, recorded and traceable.\n\n" +
			"Start with:  reef dev     (a throw-away network with a few agents living in it)\n" +
			"Then:        reef serve --data DIR",
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: see %s --help", err, c.CommandPath())}
	})
	root.AddCommand(a.serve(), a.dev(), a.agent(), a.class(), a.mandate(), a.owner(), a.role(), a.quota(), a.retention(), a.policy(), a.plan(), a.diff(), a.apply(), a.export(), a.get(), a.manifest(), a.contain(), a.label(), a.trace(), a.enrollment(), a.proxy(), a.token(), a.key(), a.identity(), a.command(), a.whoami(), a.login(), a.logout(), a.approval(), a.process(), a.importing(), a.network(), a.backup(), a.restore(), a.doctor(), a.audit(), a.version())
	explainArgs(root)
	return root
}

// explainArgs has what a command is given too much or too little of answered with its form.
func explainArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		explainArgs(sub)
	}
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{fmt.Errorf("%w: use %s; see %s --help", err, c.UseLine(), c.CommandPath())}
			}
			return nil
		}
	}
}

// Exit codes; see the package comment.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 64
	exitInput       = 65
	exitNotFound    = 66
	exitUnavailable = 69
	exitConflict    = 73
	exitRetry       = 75
	exitDenied      = 77
	exitConfig      = 78
	exitInterrupted = 130
)

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// configError is a setting that makes no sense.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[configError](err); ok {
		return exitConfig
	}
	e, ok := errors.AsType[*act.Error](err)
	if !ok {
		if strings.HasPrefix(err.Error(), "unknown command") {
			return exitUsage
		}
		return exitError
	}
	switch e.Code {
	case act.Invalid, act.TooLarge, act.Mismatch, act.Method:
		return exitInput
	case act.NotFound, act.Gone:
		return exitNotFound
	case act.Unavailable:
		return exitUnavailable
	case act.Conflict:
		return exitConflict
	case act.RateLimited:
		return exitRetry
	case act.Denied, act.Unauthenticated:
		return exitDenied
	case act.Held:
		return exitOK
	case act.Internal:
	}
	return exitError
}

// report writes an error: one line, the rule, and what to do; as a problem
// object (RFC 9457) with -o json.
func (a *app) report(err error) {
	e, ok := errors.AsType[*act.Error](err)
	if a.output == "json" || a.output == "jsonl" {
		problem := map[string]any{"title": err.Error()}
		if ok {
			problem = map[string]any{"title": e.Message, "code": e.Code.String(), "rule": e.Rule, "hint": e.Hint}
		}
		raw, _ := json.Marshal(problem)
		fmt.Fprintln(a.diag, string(raw))
		return
	}
	if !ok {
		fmt.Fprintln(a.diag, "reef:", err)
		return
	}
	fmt.Fprintln(a.diag, "reef:", e.Message)
	if e.Rule != "" {
		fmt.Fprintln(a.diag, "rule:", e.Rule)
	}
	if e.Hint != "" {
		fmt.Fprintln(a.diag, "hint:", e.Hint)
	}
}
