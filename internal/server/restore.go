package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/backup"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A restore works on a place where no network is. It fills the database, which
// cannot be opened before it is whole and suspended: from its first moment the
// restored network lets no agent act until an operator has confirmed which kills
// there were (lifecycle.Condition).

// settingsName is the process's settings file, and what the settings of a restored
// default network are called: they name a machine and its databases, and which of
// them hold for the new place is for a human to say.
const (
	settingsName     = "reef.yaml"
	restoredSettings = settingsName + ".restored"
)

// copies says how backups of this network are made.
func (s *Server) copies() lifecycle.Copies {
	return lifecycle.Copies{
		Key: backupKey(s.Keys), Network: cmp.Or(s.Config.Network, DefaultNetwork), Program: s.Config.Program,
		Files: func() ([]backup.File, error) {
			path, name := filepath.Join(s.Config.Data, settingsName), settingsName
			if s.Config.Network != "" {
				path, name = filepath.Join(NetworkDir(s.Config.Data, s.Config.Network), settingsFile), settingsFile
			}
			raw, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil
			}
			return []backup.File{{Name: name, Content: raw}}, err
		},
	}
}

func backupKey(k *identity.Keys) backup.Key {
	return backup.Key{Secret: k.BackupKey(), Check: k.Check()}
}

// Restoring is what a restore is made of.
type Restoring struct {
	Archive *backup.Archive
	Key     string                // file with the network's key; Config.KeyPath if ""
	Watch   func(backup.Progress) // may be nil
	Step    func(what string)     // told of what takes long beside loading rows; may be nil
}

// Restored is a restored network.
type Restored struct {
	Condition lifecycle.Condition
	Backup    backup.Manifest
	Head      string // file with the checkpoint that was kept of the record before; "" if there was none
	Settings  string // file with the settings of that time; "" if the backup had none
	Items     int    // of the index of words
}

// CheckRestore checks everything that can be checked without changing anything:
// the key, the place, the room on the disk, and every row of the backup.
func CheckRestore(ctx context.Context, c Config, r Restoring) error {
	keys, err := c.canRestore(ctx, r)
	if err != nil {
		return err
	}
	return r.Archive.Read(ctx, backupKey(keys), r.Watch)
}

// canRestore checks the key and the place.
func (c Config) canRestore(ctx context.Context, r Restoring) (*identity.Keys, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Network != "" {
		if err := CheckNetworkName(c.Network); err != nil {
			return nil, err
		}
		if _, err := os.Stat(filepath.Join(NetworkDir(c.Data, c.Network), settingsFile)); err == nil {
			return nil, occupied(store.ErrOccupied)
		}
	}
	from, err := c.Ring(ctx)
	if err == nil && r.Key != "" {
		from, err = c.KeyCopy(r.Key)
	}
	if err != nil {
		return nil, err
	}
	keys, err := identity.OpenKeys(ctx, from, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, act.Errorf(act.NotFound, "the network's key is not in %s", cmp.Or(r.Key, c.KeyPlace())).WithRule("backup.key").
			WithHint("give the file with --key: a backup does not hold the key, and nothing opens without it")
	}
	if err != nil {
		return nil, err
	}
	if err := r.Archive.Authenticate(backupKey(keys)); err != nil {
		return nil, err
	}
	if other, err := os.Stat(c.KeyPath()); err == nil && other.Mode().IsRegular() {
		there, err := c.OpenKeys(ctx, false)
		if err != nil {
			return nil, err
		}
		if err := r.Archive.Authenticate(backupKey(there)); err != nil {
			return nil, act.Errorf(act.Conflict, "%s holds the key of another network", c.KeyPath()).WithRule("backup.key").
				WithHint("restore into another data directory")
		}
	}
	if err := store.Vacant(ctx, c.Store()); err != nil {
		return nil, occupied(err)
	}
	return keys, c.room(r.Archive)
}

func occupied(err error) error {
	if errors.Is(err, store.ErrOccupied) {
		return act.Errorf(act.Conflict, "there is a network already: %w", err).WithRule("restore.occupied").
			WithHint("restore into an empty data directory or schema, or under another name with --network; a restore never overwrites")
	}
	return err
}

// room refuses a restore for which the disk has no room, as far as that can be
// told: rows take about as much again with their indexes.
func (c Config) room(a *backup.Archive) error {
	if c.DB != "" {
		return nil // the database's disk may be elsewhere
	}
	var need uint64
	for _, t := range a.Tables {
		for _, e := range t.Chunks {
			need += 2 * uint64(e.Plain)
		}
	}
	dir := c.Data
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return nil // it will be seen
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < need {
		return act.Errorf(act.Unavailable, "the restored network needs about %d MiB, and %s has %d MiB free", need>>20, dir, free>>20).
			WithRule("restore.room").WithHint("make room, or restore elsewhere")
	}
	return nil
}

// Restore makes a network of a backup. It refuses where CheckRestore does; a
// failure after that leaves no network behind, and a process that is killed leaves
// one that cannot be opened until a restore has started over.
func Restore(ctx context.Context, c Config, r Restoring, log *slog.Logger) (out Restored, err error) {
	out.Backup = r.Archive.Manifest
	if r.Step == nil {
		r.Step = func(string) {}
	}
	keys, err := c.canRestore(ctx, r)
	if err != nil {
		return out, err
	}
	fresh := c.missing()
	defer func() {
		if err != nil && store.Vacant(context.WithoutCancel(ctx), c.Store()) == nil { // the last of all
			for _, path := range fresh {
				_ = os.Remove(path) // of folders only those in which there is nothing
			}
		}
	}()
	if r.Key != "" {
		if err := c.bringKey(ctx, r.Key); err != nil {
			return out, err
		}
	}
	files, err := r.Archive.Restore(ctx, c.Store(), backupKey(keys), r.Watch, r.Step)
	if err != nil {
		return out, occupied(err)
	}
	finished := false
	defer func() {
		if err != nil && !finished { // when the database is closed
			err = errors.Join(err, store.Discard(context.WithoutCancel(ctx), c.Store()))
		}
	}()
	c.unfinished = true
	if err := c.suspend(ctx, r.Archive.Manifest); err != nil {
		return out, err
	}
	s, err := assemble(ctx, c, log)
	if err != nil {
		return out, err
	}
	defer s.Close()
	r.Step("indexing words")
	if out.Items, err = s.Network.Reindex(ctx, s.DB); err != nil {
		return out, err
	}
	if _, err := s.Lifecycle.NoteRestore(ctx); err != nil {
		return out, err
	}
	if err := s.Lifecycle.Reconcile(ctx); err != nil {
		return out, err
	}
	if out.Condition, err = lifecycle.ReadCondition(ctx, s.DB); err != nil {
		return out, err
	}
	// A named network is not opened before it has settings: they get their name last.
	draft, name, err := c.draftSettings(files)
	if err != nil {
		return out, err
	}
	// The restored record may be of an earlier time than what was kept of it: it begins
	// anew, and what was kept stays beside it.
	if out.Head, err = audit.SetAside(c.HeadPath()); err != nil {
		_ = os.Remove(draft)
		return out, err
	}
	if err := s.DB.FinishRestore(ctx); err != nil {
		_ = os.Remove(draft)
		return out, err
	}
	finished = true
	if name == "" {
		return out, nil
	}
	if err := os.Rename(draft, name); err != nil {
		return out, fmt.Errorf("the network is restored, and its settings are in %s: give them the name %s: %w", draft, name, err)
	}
	out.Settings = name
	return out, nil
}

// bringKey puts the ring of a file that was brought where the network's is kept.
func (c Config) bringKey(ctx context.Context, path string) error {
	from, err := c.KeyCopy(path)
	if err != nil {
		return err
	}
	to, err := c.Ring(ctx)
	if err != nil {
		return err
	}
	return identity.CopyRing(ctx, from, to)
}

// missing lists what a restore makes beside the database, as far as it is not
// there: the deepest first, so that they can be removed in that order.
func (c Config) missing() (list []string) {
	for _, file := range []string{c.KeyPath(), c.KillLogPath(), NetworkDir(c.Data, cmp.Or(c.Network, DefaultNetwork))} {
		for path := file; ; path = filepath.Dir(path) {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				break
			}
			list = append(list, path)
		}
	}
	slices.SortStableFunc(list, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return list
}

// suspend notes the restoration before anything else opens the database.
func (c Config) suspend(ctx context.Context, m backup.Manifest) error {
	db, err := store.Open(ctx, c.Store())
	if err != nil {
		return err
	}
	err = db.Write(ctx, func(tx *store.Tx) error {
		_, err := lifecycle.Suspend(tx, lifecycle.Restoration{Backup: m.ID, TakenAt: act.Micros(m.TakenAt), Seq: m.Seq})
		return err
	})
	return errors.Join(err, db.Close())
}

// draftSettings writes the settings that went with the network into a draft, which
// is to get a name; there is neither if the default network has none.
func (c Config) draftSettings(files []backup.File) (draft, name string, err error) {
	content := []byte("# Settings of the network " + c.Network + ": any of reef serve's that is not about the process.\nhost: \"\"\n")
	name = filepath.Join(c.Data, restoredSettings)
	if c.Network != "" {
		name = filepath.Join(NetworkDir(c.Data, c.Network), settingsFile)
	}
	found := false
	for _, f := range files {
		if want := settingsName; c.Network == "" && f.Name == want || c.Network != "" && f.Name == settingsFile {
			content, found = f.Content, true
		}
	}
	if !found && c.Network == "" {
		return "", "", nil
	}
	draft = name + ".new"
	if err := os.WriteFile(draft, content, 0o600); err != nil {
		return "", "", errors.Join(fmt.Errorf("the settings: %w", err), os.Remove(draft))
	}
	return draft, name, nil
}

// Detached opens a network without serving it, for what is done to one that no
// process serves. It listens nowhere; Close ends it.
func Detached(ctx context.Context, c Config, log *slog.Logger) (*Server, error) {
	s, err := assemble(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if err = s.Tree.Anchor(ctx); err == nil {
		s.sequencer, err = startSequencer(s.DB, s.Bus, log)
	}
	if err == nil {
		err = s.Lifecycle.Reconcile(ctx)
	}
	if err == nil {
		err = s.Identity.EnsureOperator(ctx, "operator", c.TokenFile())
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}
