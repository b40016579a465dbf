package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/secret"
	"github.com/reefwarden/reefwarden/internal/server"
)

// settings merges the settings of a network that is opened here. Whoever runs the
// command is asked for a passphrase, once, if the key's file needs one.
func (a *app) settings(flags map[string]any) (server.Config, error) {
	cfg, err := server.Load(flags)
	cfg.Ask = sync.OnceValues(a.askPassphrase)
	return cfg, err
}

const maxPassphrase = 1 << 10

// askPassphrase reads a passphrase from the terminal, unseen, or a line of stdin.
func (a *app) askPassphrase() ([]byte, error) {
	if f, ok := a.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(a.diag, "Passphrase of the network's key: ")
		text, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.diag)
		return text, err
	}
	// Byte by byte: what follows the line is for the next question.
	var line []byte
	for c := make([]byte, 1); len(line) < maxPassphrase; line = append(line, c[0]) {
		if _, err := io.ReadFull(a.in, c); err != nil && (len(line) == 0 || !errors.Is(err, io.EOF)) {
			return nil, fmt.Errorf("read a passphrase: %w", err)
		} else if err != nil || c[0] == '\n' {
			break
		}
	}
	return line, nil
}

// keysOf reads the keys from a file that is brought along.
func (a *app) keysOf(ctx context.Context, path, unlock string) (*identity.Keys, error) {
	flags := make(map[string]any)
	if unlock != "" {
		flags["key-unlock"] = unlock
	}
	cfg, err := a.settings(flags)
	if err != nil {
		return nil, configError{err}
	}
	from, err := cfg.KeyCopy(path)
	if err != nil {
		return nil, configError{err}
	}
	keys, err := identity.OpenKeys(ctx, from, false)
	if errors.Is(err, fs.ErrNotExist) {
		err = configError{err}
	}
	return keys, err
}

// keyState is what can be told of a key without telling the key.
type keyState struct {
	Network  string `json:"network"`
	Place    string `json:"place"`
	Form     string `json:"form"` // plain, sealed or store
	Opens    string `json:"opens"`
	Versions int    `json:"versions"` // of the wrapping key
	Check    string `json:"check"`    // the same on every node of a network
}

// printKeys opens the keys of networks and says what they are.
func (a *app) printKeys(ctx context.Context, list []server.Config) error {
	t := table{header: []string{"NETWORK", "PLACE", "FORM", "OPENS WITH", "VERSIONS", "CHECK VALUE"}}
	var all []keyState
	for _, cfg := range list {
		keys, err := cfg.OpenKeys(ctx, false)
		if err != nil {
			return err
		}
		form, err := cfg.KeyForm()
		if err != nil {
			return err
		}
		s := keyState{Network: cfg.Network, Place: cfg.KeyPlace(), Form: form, Opens: cfg.KeyUnlock, Versions: keys.Versions(), Check: hex.EncodeToString(keys.Check())}
		if s.Network == "" {
			s.Network = server.DefaultNetwork
		}
		all = append(all, s)
		t.rows = append(t.rows, []string{s.Network, s.Place, s.Form, s.Opens, fmt.Sprint(s.Versions), s.Check})
		t.names, t.items = append(t.names, s.Place), append(t.items, s)
	}
	t.whole = all
	return a.print(t)
}

func (a *app) keyShow() *cobra.Command {
	c := &cobra.Command{
		Use: "show --data DIR", Short: "Say where the networks' keys are, and whether they open", Args: cobra.NoArgs,
		Long: "Open the key of each network of a data directory as reef serve would, and say what it is,\n" +
			"never the key. The check value is the same on every node of a network.\n\n" +
			"The flags are those of reef serve.",
	}
	given := settingFlags(c.Flags())
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.keySettings(given())
		if err != nil {
			return err
		}
		list, err := cfg.WithKeys()
		if err != nil {
			return err
		}
		return a.printKeys(cmd.Context(), list)
	}
	return c
}

// keySettings are the settings of networks whose keys are looked after. Where they
// listen is of no concern here.
func (a *app) keySettings(flags map[string]any) (server.Config, error) {
	cfg, err := a.settings(flags)
	if err == nil && cfg.Data == "" {
		err = errors.New("--data is required: the directory that holds the network")
	}
	if err != nil {
		return cfg, configError{err}
	}
	return cfg, nil
}

func (a *app) keySeal() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "seal --data DIR --to key:FILE", Short: "Seal the networks' keys, or have something else open them", Args: cobra.NoArgs,
		Long: "Encrypt the files of the keys of all networks of a data directory. --to says what is to\n" +
			"open them from now on:\n\n" +
			"  key:FILE         a long random key, which is made if FILE is not there\n" +
			"  credential:NAME  the same, passed by the service manager (systemd's LoadCredential=)\n" +
			"  passphrase:FILE  a passphrase in a file\n" +
			"  prompt           a passphrase that is asked for, also at each start\n" +
			"  plain            nothing: the files are in the clear again\n\n" +
			"What opens them now is --key-unlock. Put the new value there (reef.yaml: key-unlock)\n" +
			"before the next start; a server that runs goes on. Copies of the files elsewhere, also in\n" +
			"backups of the disk, stay as they are. Without what opens it a sealed key is lost for\n" +
			"good, and with it everything in the network: keep a copy of that, too. If it breaks off,\n" +
			"run it again.\n\n" +
			"The other flags are those of reef serve.",
	}
	given := settingFlags(c.Flags())
	a.outputFlag(c)
	c.Flags().StringVar(&to, "to", "", "what is to open the files")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.keySettings(given())
		if err != nil {
			return err
		}
		if to == "" {
			return usageError{errors.New("--to is required: what is to open the files")}
		}
		list, err := cfg.WithKeys()
		if err != nil {
			return err
		}
		ask := cfg.Ask
		if to == secret.Prompt && cfg.KeyUnlock == secret.Prompt {
			ask = sync.OnceValues(a.askPassphrase) // another one
		}
		for i, c := range list {
			next := c
			next.KeyUnlock, next.Ask = to, ask
			made, err := c.ResealKey(cmd.Context(), next)
			if err != nil {
				return err
			}
			if made {
				fmt.Fprintf(a.diag, "made a key; %s opens the networks' keys\n", to)
			}
			list[i] = next
		}
		fmt.Fprintf(a.diag, "say so from now on: key-unlock: %s\n", to)
		return a.printKeys(cmd.Context(), list)
	}
	return c
}

func (a *app) keyCopy() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "copy --data DIR --to-store FILE", Short: "Copy the networks' keys into Vault or AWS Secrets Manager", Args: cobra.NoArgs,
		Long: "Copy the keys of all networks of a data directory from where they are into the store that\n" +
			"FILE names (see key-store). What is there already is left: if it is another key, nothing\n" +
			"is changed. Then set key-store, leave out key-file and key-unlock, start, and remove the\n" +
			"files. The other flags are those of reef serve.",
	}
	given := settingFlags(c.Flags())
	a.outputFlag(c)
	c.Flags().StringVar(&to, "to-store", "", "JSON file that names the store")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.keySettings(given())
		if err != nil {
			return err
		}
		if to == "" {
			return usageError{errors.New("--to-store is required: the JSON file that names the store")}
		}
		list, err := cfg.WithKeys()
		if err != nil {
			return err
		}
		for i, c := range list {
			next := c
			next.KeyStore, next.KeyFile, next.KeyUnlock = to, "", ""
			if err := c.CopyKey(cmd.Context(), next); err != nil {
				return err
			}
			list[i] = next
		}
		return a.printKeys(cmd.Context(), list)
	}
	return c
}

func (a *app) keyRenew() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "renew --reason TEXT", Short: "Have a new version of the key that wraps conversation keys and other secrets", Args: cobra.NoArgs,
		Long: "Have the server make a new version of its wrapping key: the key under which the keys of\n" +
			"conversations, the keys that sign tokens, what authors deleted and the secrets of webhooks\n" +
			"are encrypted. It is used as soon as every node has it, within a minute or two, and what\n" +
			"older versions wrapped is wrapped anew. Nobody is kept waiting. Older versions stay in the\n" +
			"ring for the sake of backups. Ids and credentials do not change.",
	}
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if reason == "" {
			return usageError{errors.New("--reason is required: it goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		version, err := api.RenewKey(cmd.Context(), reason)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.diag, "version %d is used as soon as every node has it; keep the newest copy of the ring\n", version)
		return nil
	}
	return c
}
