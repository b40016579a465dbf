package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// keysFlag defines where the agents' keys are on a command that acts with one.
func (a *app) keysFlag(c *cobra.Command) {
	c.Flags().StringVar(&a.to.keys, "keys", "", "directory of the agents' keys (REEF_KEYS; reefwarden/agents below XDG_DATA_HOME)")
}

// agentFlag defines which agent's key a command acts with.
func (a *app) agentFlag(c *cobra.Command, usage string) {
	c.Flags().StringVar(&a.to.agent, "agent", "", usage)
	a.keysFlag(c)
}

const (
	keyName  = "key.json"
	nextName = "key.next.json" // a key that the network may or may not know yet
)

// agentDir is the directory of an agent of this machine.
func (a *app) agentDir(name string) (string, error) {
	if name == "" {
		return "", usageError{errors.New("which agent? give --agent NAME")}
	}
	if err := lifecycle.CheckName(name); err != nil { // it becomes a part of a path
		return "", err
	}
	keys := orEnv(a.to.keys, "REEF_KEYS", "")
	if keys == "" {
		home, err := dataHome()
		if err != nil {
			return "", err
		}
		keys = filepath.Join(home, "agents")
	}
	return filepath.Join(keys, name), nil
}

// dataHome is where this user's keys and sessions are unless they are said to be
// elsewhere.
func dataHome() (string, error) {
	home := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(home) { // the specification has others ignored
		user, err := os.UserHomeDir()
		if err != nil {
			return "", configError{fmt.Errorf("where is your home? set XDG_DATA_HOME: %w", err)}
		}
		home = filepath.Join(user, ".local", "share")
	}
	return filepath.Join(home, "reefwarden"), nil
}

// holder opens the key of the agent that --agent names.
func (a *app) holder(ctx context.Context, scope string) (*client.Holder, error) {
	dir, err := a.agentDir(a.to.agent)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, keyName)
	m, err := client.ReadMember(file)
	if err != nil {
		return nil, err
	}
	h, err := client.NewHolder(ctx, m, scope, time.Now)
	if err == nil {
		h.Follow(file)
	}
	return h, err
}

const maxSecret = 64 << 10 // bytes

// secret reads a secret from a file or, for "-", from stdin. Nobody types one into a
// command line, where others see it.
func (a *app) secret(path, what string) (string, error) {
	var raw []byte
	var err error
	if path == "-" {
		if f, ok := a.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			fmt.Fprintf(a.diag, "%s (it is not shown): ", what)
			raw, err = term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(a.diag)
		} else {
			raw, err = io.ReadAll(io.LimitReader(a.in, maxSecret+1))
		}
	} else {
		var f *os.File
		if f, err = os.Open(path); err == nil {
			raw, err = io.ReadAll(io.LimitReader(f, maxSecret+1))
			err = errors.Join(err, f.Close())
		}
	}
	raw = bytes.TrimSpace(raw)
	switch {
	case err != nil:
		return "", act.Errorf(act.Invalid, "the %s cannot be read: %w", what, err).WithRule("secret.file").WithHint("give a file, or - for stdin")
	case len(raw) == 0 || len(raw) > maxSecret || bytes.ContainsAny(raw, "\n\r \t"):
		return "", act.Errorf(act.Invalid, "there is no %s in it", what).WithRule("secret.file").WithHint("it is one line, as it was printed")
	}
	return string(raw), nil
}

// showsSecret refuses to print a secret where it would be kept by accident: in a
// script's log or a pipe that nobody thought of. Who wants it there asks for JSON.
func (a *app) showsSecret() error {
	if a.output == "json" {
		return nil
	}
	if f, ok := a.out.(*os.File); ok && a.output == "table" && term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return usageError{errors.New("the token is printed on a terminal only, or with -o json")}
}

func short(text string) string {
	if len(text) > 14 {
		return text[:12] + "…"
	}
	return text
}

func orDash(text string) string {
	if strings.TrimSpace(text) == "" {
		return "-"
	}
	return text
}
