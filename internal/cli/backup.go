package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/backup"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/store"
)

// backupFlags are how a backup is asked for.
type backupFlags struct {
	all, offline    bool
	network, reason string
}

// take is a way to get a backup: from a server, or from a stopped network.
type take func(ctx context.Context, w io.Writer) error

func (a *app) backup() *cobra.Command {
	var f backupFlags
	c := &cobra.Command{
		Use: "backup FILE", Short: "Take a backup of a network, while it is served or stopped", Args: cobra.ExactArgs(1),
		Long: "Take a backup of a network and check it. A network that is served goes on meanwhile: the\n" +
			"backup has everything that was acknowledged before it was asked for. FILE must not be\n" +
			"there; \"-\" writes to stdout. With --all, FILE is a directory in which every network of\n" +
			"--data gets a file.\n\n" +
			"The backup is sealed under the network's key and does not hold it: keep a copy of\n" +
			"DIR/keys/network.key elsewhere. Without the key no backup can be opened or restored.\n" +
			"It can be restored into SQLite and into PostgreSQL, whichever it was taken from.",
	}
	a.targetFlags(c)
	a.outputFlag(c)
	fs := c.Flags()
	fs.BoolVar(&f.all, "all", false, "every network of the data directory, each into a file of its own")
	fs.BoolVar(&f.offline, "offline", false, "of a network that no process serves; needs --data")
	fs.StringVar(&f.network, "network", "", "with --data: the name of the network, if it is not the default one")
	fs.StringVar(&f.reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error { return a.takeBackups(cmd.Context(), args[0], f) }
	c.AddCommand(a.backupVerify())
	return c
}

func (a *app) takeBackups(ctx context.Context, path string, f backupFlags) error {
	data := orEnv(a.to.data, "REEF_DATA", "")
	switch {
	case f.offline && data == "":
		return usageError{errors.New("--offline needs --data: the directory that holds the network")}
	case f.network != "" && data == "":
		return usageError{errors.New("--network needs --data: the directory that holds it; or give its --url and --token-file")}
	case f.network != "" && f.all:
		return usageError{errors.New("--network names one, --all means every network: leave one of them out")}
	}
	if !f.all {
		from := a.fromStopped(data, f.network, f.reason)
		if !f.offline {
			open := a.client
			if f.network != "" {
				open = func() (*client.Client, error) { return a.clientOf(data, f.network) }
			}
			api, err := open()
			if err != nil {
				return err
			}
			from = fromServer(api, f.reason)
		}
		m, err := a.takeBackup(ctx, path, from)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.diag, keyApart)
		if path == "-" {
			return nil // stdout holds the backup
		}
		s := summarise(m, path)
		return a.print(backupTable([]summary{s}, s))
	}
	if data == "" {
		return usageError{errors.New("--all needs --data: the directory that holds the networks")}
	}
	list, err := server.ListNetworks(data)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	var done []summary
	for _, n := range list {
		from := a.fromStopped(data, n.Name, f.reason)
		if !f.offline {
			api, err := a.clientOf(data, n.Name)
			if err != nil {
				return err
			}
			from = fromServer(api, f.reason)
		}
		file := filepath.Join(path, n.Name+".reefbackup")
		m, err := a.takeBackup(ctx, file, from)
		if err != nil {
			return fmt.Errorf("network %s: %w", n.Name, err)
		}
		done = append(done, summarise(m, file))
	}
	fmt.Fprintln(a.diag, keyApart)
	return a.print(backupTable(done, done))
}

// clientOf opens a client for one of the networks of a data directory.
func (a *app) clientOf(data, name string) (*client.Client, error) {
	cfg := server.Config{Data: data}
	url := a.url()
	if name != server.DefaultNetwork {
		cfg.Network = name
		url = strings.TrimRight(url, "/") + "/n/" + name
	}
	raw, err := os.ReadFile(cfg.TokenFile())
	if err != nil {
		return nil, configError{fmt.Errorf("operators' token of the network %s: %w", name, err)}
	}
	return client.New(url, strings.TrimSpace(string(raw)))
}

func fromServer(api *client.Client, reason string) take {
	return func(ctx context.Context, w io.Writer) error {
		err := api.Backup(ctx, reason, w)
		if act.CodeOf(err) == act.Unavailable {
			e := act.AsError(err)
			e.Hint = strings.TrimPrefix(e.Hint+"; if no server runs, give --offline", "; ")
		}
		return err
	}
}

// fromStopped opens a network that no process serves and does the act there, as
// the operator whose token is in the data directory.
func (a *app) fromStopped(data, name, reason string) take {
	return func(ctx context.Context, w io.Writer) error {
		cfg, err := a.settings(map[string]any{"data": data})
		if err == nil {
			cfg, err = cfg.For(name)
		}
		if err == nil {
			err = cfg.Check()
		}
		if err != nil {
			return configError{err}
		}
		if _, err := cfg.OpenKeys(ctx, false); errors.Is(err, fs.ErrNotExist) { // or one would be made
			return configError{fmt.Errorf("there is no network in %s: %w", data, err)}
		}
		cfg.LogLevel, cfg.Program = "warn", Version()
		log, err := a.logger(cfg, nil)
		if err != nil {
			return err
		}
		s, err := server.Detached(ctx, cfg, log)
		if errors.Is(err, store.ErrInUse) {
			return act.Errorf(act.Conflict, "a process serves the network").WithHint("leave --offline out")
		}
		if err != nil {
			return err
		}
		defer s.Close()
		raw, err := os.ReadFile(cfg.TokenFile())
		if err != nil {
			return err
		}
		p, err := s.Identity.Authenticate(ctx, strings.TrimSpace(string(raw)))
		if err != nil {
			return err
		}
		_, err = s.Lifecycle.Backup(ctx, p, lifecycle.NewBackup{Reason: reason}, func() (io.Writer, error) { return w, nil }, nil)
		return err
	}
}

// takeBackup gets a backup into a file, checking it on its way, and gives the file
// its name when it is whole and on the disk. When it fails nothing is left.
func (a *app) takeBackup(ctx context.Context, path string, from take) (m backup.Manifest, err error) {
	if path == "-" {
		if f, ok := a.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return m, usageError{errors.New("a backup is no text: send stdout to a file or a program")}
		}
		return a.checked(ctx, a.out, from)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return m, act.Errorf(act.Conflict, "%s is there already", path).WithRule("backup.file").WithHint("a backup never overwrites: choose another name")
	}
	dir := filepath.Dir(path)
	draft, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return m, err
	}
	defer func() {
		_ = draft.Close()
		if err != nil {
			_ = os.Remove(draft.Name())
		}
	}()
	if m, err = a.checked(ctx, draft, from); err != nil {
		return m, err
	}
	if err := errors.Join(draft.Sync(), draft.Close()); err != nil {
		return m, err
	}
	if err := os.Rename(draft.Name(), path); err != nil {
		return m, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return m, err
	}
	return m, errors.Join(d.Sync(), d.Close())
}

// checked writes a backup to w and reads it again on its way.
func (a *app) checked(ctx context.Context, w io.Writer, from take) (m backup.Manifest, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := a.work()
	defer work.end()
	read, write := io.Pipe()
	found := make(chan error, 1)
	go func() {
		var cerr error
		m, cerr = backup.Check(ctx, read, func(p backup.Progress) { work.tick("backup: %s", size(p.Bytes)) })
		_ = read.CloseWithError(cerr) // nobody reads any more; nil is io.ErrClosedPipe
		found <- cerr
	}()
	err = from(ctx, io.MultiWriter(w, write))
	_ = write.CloseWithError(err)
	cerr := <-found
	if err == nil || errors.Is(err, io.ErrClosedPipe) {
		err = cerr
	}
	return m, err
}

// summary is a backup without the list of its parts.
type summary struct {
	File     string    `json:"file"`
	Network  string    `json:"network"`
	Backup   string    `json:"backup"`
	TakenAt  time.Time `json:"taken_at"`
	Database string    `json:"database"`
	Schema   int64     `json:"schema"`
	Seq      int64     `json:"seq"`
	Kills    int64     `json:"kills"`
	Rows     int64     `json:"rows"`
	Key      string    `json:"key"`
}

func summarise(m backup.Manifest, file string) summary {
	return summary{
		File: file, Network: m.Network, Backup: m.ID, TakenAt: m.TakenAt, Database: m.Database, Schema: m.Schema, Seq: m.Seq,
		Kills: m.Table("kill").Rows, Rows: m.Rows, Key: m.Key,
	}
}

func backupTable(list []summary, whole any) table {
	t := table{header: []string{"NETWORK", "TAKEN AT", "DATABASE", "EVENTS", "KILLS", "ROWS", "FILE"}, whole: whole}
	for _, s := range list {
		t.rows = append(t.rows, []string{s.Network, s.TakenAt.Format(time.RFC3339), s.Database, fmt.Sprint(s.Seq), fmt.Sprint(s.Kills), fmt.Sprint(s.Rows), s.File})
		t.names, t.items = append(t.names, s.File), append(t.items, s)
	}
	return t
}

const keyApart = "the network's key is not in it: keep a copy of the key elsewhere, nothing opens a backup without it"

func (a *app) backupVerify() *cobra.Command {
	var key, unlock string
	c := &cobra.Command{
		Use: "verify FILE", Short: "Check that a backup is whole and, with the key, that it opens", Args: cobra.ExactArgs(1),
		Long: "Read a backup from end to end. Without --key it is checked that nothing is missing or was\n" +
			"altered by accident; with the network's key also that this network wrote it, and that\n" +
			"every row can be read. No server is asked.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&key, "key", "", "file with the network's key")
	c.Flags().StringVar(&unlock, "key-unlock", "", "what opens that file, if it is sealed; see reef key seal")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		archive, err := a.openBackup(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if key != "" {
			keys, err := a.keysOf(cmd.Context(), key, unlock)
			if err != nil {
				return err
			}
			work := a.work()
			defer work.end()
			if err := archive.Read(cmd.Context(), backup.Key{Secret: keys.BackupKey(), Check: keys.Check()}, rows(work, "read")); err != nil {
				return err
			}
		}
		told := "whole; with --key also who wrote it"
		if key != "" {
			told = "whole, written by this network, and every row can be read"
		}
		fmt.Fprintln(a.diag, told)
		s := summarise(archive.Manifest, args[0])
		return a.print(backupTable([]summary{s}, s))
	}
	return c
}

// openBackup checks that a file is a whole backup.
func (a *app) openBackup(ctx context.Context, path string) (*backup.Archive, error) {
	work := a.work()
	defer work.end()
	archive, err := backup.Open(ctx, path, func(p backup.Progress) { work.tick("checking: %s", size(p.Bytes)) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, act.Errorf(act.NotFound, "there is no file %s", path)
	}
	return archive, err
}

// rows shows how many rows of a backup have been dealt with.
func rows(w *work, verb string) func(backup.Progress) {
	return func(p backup.Progress) {
		w.tick("%s: %d of %d rows, %d %% (%s)", verb, p.Rows, p.Total, 100*p.Rows/max(p.Total, 1), p.Table)
	}
}
