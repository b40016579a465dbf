package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

func (a *app) login() *cobra.Command {
	var scope string
	c := &cobra.Command{
		Use: "login", Short: "Let this terminal act for you, an operator, for eight hours", Args: cobra.NoArgs,
		Long: "Ask the network to let this terminal act for you. You say yes in a browser in which you are\n" +
			"signed in, on whatever device; nothing secret is typed here. The commands for operators use\n" +
			"the session where neither --data nor --token-file is given. It is bound to a key in a file\n" +
			"that nobody else can read, is good for eight hours, and ends with reef logout.",
	}
	c.Flags().StringVar(&a.to.url, "url", "", "URL of the network (REEF_URL; "+defaultURL+")")
	c.Flags().StringVar(&scope, "scope", "", `what it may: acts and nouns, like "agent.* approval.list" (default all that you may)`)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		file, err := a.sessionFile()
		if err != nil {
			return err
		}
		ask, err := client.Login(cmd.Context(), a.url(), scope, time.Now)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.diag, "Open  %s\nand compare the code:  %s\n\nWaiting until %s …\n", plainCell(ask.Complete), plainCell(ask.User), ask.Until.Format(time.TimeOnly))
		if err := ask.Wait(cmd.Context(), file); err != nil {
			return err
		}
		api, err := a.session()
		if err != nil {
			return err
		}
		who, err := api.Whoami(cmd.Context())
		if err != nil {
			return err
		}
		fmt.Fprintf(a.diag, "This terminal acts for %s now.\n", plainCell(who.Name))
		return nil
	}
	return c
}

func (a *app) logout() *cobra.Command {
	c := &cobra.Command{
		Use: "logout", Short: "End this terminal's session", Args: cobra.NoArgs,
		Long: "End the session that reef login began: at the network, then here.",
	}
	c.Flags().StringVar(&a.to.url, "url", "", "URL of the network (REEF_URL; "+defaultURL+")")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		file, err := a.sessionFile()
		if err != nil {
			return err
		}
		return client.Logout(cmd.Context(), file, time.Now)
	}
	return c
}

func (a *app) url() string { return orEnv(a.to.url, "REEF_URL", defaultURL) }

// sessionFile is where the session at the network is.
func (a *app) sessionFile() (string, error) {
	home, err := dataHome()
	if err != nil {
		return "", err
	}
	_, place, ok := strings.Cut(strings.TrimRight(a.url(), "/"), "://")
	if !ok {
		return "", usageError{errors.New("--url is not a plain http(s) URL")}
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, place)
	return filepath.Join(home, "sessions", name+".json"), nil
}

// session opens the client of an operator who has logged in.
func (a *app) session() (*client.Client, error) {
	file, err := a.sessionFile()
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, usageError{errors.New("who are you? run reef login, or give --data DIR (or REEF_DATA), where operator.token is, or --token-file FILE")}
	}
	h, err := client.OpenSession(context.Background(), file, time.Now)
	if err != nil {
		return nil, err
	}
	return h.Client(), nil
}
