package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/backup"
	"github.com/reefwarden/reefwarden/internal/server"
)

func (a *app) restore() *cobra.Command {
	var key, network string
	var dry bool
	c := &cobra.Command{
		Use: "restore FILE --data DIR", Short: "Make a network of a backup", Args: cobra.ExactArgs(1),
		Long: "Make a network of a backup, in SQLite or, with --db, in PostgreSQL, whichever it was taken\n" +
			"from. Nothing is overwritten: there must be no network at the place. The network's key\n" +
			"is not in the backup; it is copied from --key to its place, or is there already.\n\n" +
			"The restored network serves operators and observers at once, and no agent before an\n" +
			"operator has confirmed which agents were killed: in a backup older than a kill the\n" +
			"killed agent is alive. What is to be confirmed is printed at the end.\n\n" +
			"The flags are those of reef serve, which say where the network will be.",
	}
	given := settingFlags(c.Flags())
	a.outputFlag(c)
	c.Flags().StringVar(&key, "key", "", "file with the network's key, to be copied to its place")
	c.Flags().StringVar(&network, "network", "", "name of the restored network; the default one if empty")
	c.Flags().BoolVar(&dry, "dry-run", false, "check the backup, the key, the place and every row, and change nothing")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		cfg, err := a.settings(given())
		if err == nil {
			err = cfg.Check()
		}
		if err != nil {
			return configError{err}
		}
		if network != server.DefaultNetwork {
			cfg.Network = network
		}
		return a.restoreFrom(cmd.Context(), cfg, args[0], key, dry)
	}
	return c
}

func (a *app) restoreFrom(ctx context.Context, cfg server.Config, path, key string, dry bool) error {
	archive, err := a.openBackup(ctx, path)
	if err != nil {
		return err
	}
	work := a.work()
	defer work.end()
	verb := "restored"
	if dry {
		verb = "read"
	}
	r := server.Restoring{Archive: archive, Key: key, Watch: rows(work, verb), Step: func(what string) { work.tick("%s", what) }}
	s := summarise(archive.Manifest, path)
	if dry {
		if err := server.CheckRestore(ctx, cfg, r); err != nil {
			return err
		}
		work.end()
		fmt.Fprintln(a.diag, "it can be restored there; nothing was changed")
		return a.print(backupTable([]summary{s}, s))
	}
	cfg.Program = Version()
	log, err := a.logger(cfg, nil)
	if err != nil {
		return err
	}
	done, err := server.Restore(ctx, cfg, r, log)
	if err != nil {
		return err
	}
	work.end()
	a.adviseConfirmation(cfg, done, archive.Manifest)
	return a.print(backupTable([]summary{s}, s))
}

// adviseConfirmation says what a restored network waits for.
func (a *app) adviseConfirmation(cfg server.Config, done server.Restored, m backup.Manifest) {
	target := "--data " + cfg.Data
	if cfg.Network != "" {
		target = "--url …/n/" + cfg.Network + " --token-file " + cfg.TokenFile()
	}
	epoch := done.Condition.Kills
	lines := []string{
		"",
		fmt.Sprintf("Restored as it was at %s, after event %d. It serves no agent before you confirm", m.TakenAt.Format(time.RFC3339), m.Seq),
		fmt.Sprintf("which agents were ever killed. It knows of %d (kill epoch %s).", epoch.N, epoch),
	}
	if extra := epoch.N - done.Condition.Restored.Kills; extra > 0 {
		lines = append(lines, fmt.Sprintf("%d of them are later than the backup: %s has them, and they were killed again.", extra, cfg.KillLogPath()))
	}
	lines = append(lines,
		"",
		"Look for kills after that time where the network did not keep them itself: the kill log",
		"(kills.log) of each of its nodes, your SIEM, reef_kills in your metrics. Then serve it, and",
		"",
		"  reef network confirm "+target+" --kills none --reason TEXT        if there were none",
		"  reef network confirm "+target+" --kill-log FILE --reason TEXT     to kill those of a kill log again",
		"  reef network confirm "+target+" --kills EPOCH --reason TEXT       if you have killed them yourself",
		"",
		"Whatever else was withdrawn after the backup is as it was before: what was paused,",
		"quarantined, deleted, erased or revoked. See docs/backup.md.",
	)
	if done.Head != "" {
		lines = append(lines, "", "The checkpoint of the record that was kept here before is in "+done.Head+":",
			"reef audit verify --data "+cfg.Data+" --checkpoint "+done.Head+" says what was lost.")
	}
	if done.Settings != "" {
		lines = append(lines, "", "The settings of that time are in "+done.Settings+".")
	}
	fmt.Fprintln(a.diag, strings.Join(append(lines, ""), "\n"))
}
