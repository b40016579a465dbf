package lifecycle

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/backup"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Copies says how backups of the network are made.
type Copies struct {
	Key     backup.Key
	Network string // its name
	Program string // version of this program
	// Files returns the settings that go with the network. Optional.
	Files func() ([]backup.File, error)
}

// NewBackup asks for a backup.
type NewBackup struct {
	Reason string // goes on record; may be ""
}

const copyRetry = 30 * time.Second

func (l *Lifecycle) registerBackup(g *gate.Gate) {
	l.copy = gate.RegisterWrite(g, gate.Write[NewBackup, struct{}]{
		Info: gate.Info{Name: "network.backup", Doc: "Take a backup of the network, sealed under its key.", On: act.KindNetwork, Quota: gate.QuotaNone},
		Resolve: func(_ context.Context, _ *store.View, _ act.Principal, in NewBackup) (gate.Resource, error) {
			r := gate.Resource{Facts: gate.Facts{Kind: act.KindNetwork}}
			if in.Reason == "" {
				return r, nil
			}
			_, err := checkReason(in.Reason)
			return r, err
		},
		Run: func(_ context.Context, _ *store.Tx, _ act.Principal, in NewBackup) (struct{}, gate.Effects, error) {
			return struct{}{}, gate.Effects{Reason: in.Reason}, nil
		},
	})
}

// Backup does network.backup and then writes the backup to what to returns, which
// is asked for when the act is on record. So the backup holds its own leaf, and
// everything that was acknowledged before it was asked for. One is taken at a time
// on each node.
func (l *Lifecycle) Backup(ctx context.Context, p act.Principal, in NewBackup, to func() (io.Writer, error), watch func(backup.Progress)) (m backup.Manifest, err error) {
	if !l.copying.TryLock() {
		return m, act.Errorf(act.Conflict, "a backup is being taken already").WithRule("backup.busy").WithRetry(copyRetry).
			WithHint("take the next one when it has ended")
	}
	defer l.copying.Unlock()
	if _, err := l.copy.Do(ctx, p, in); err != nil {
		return m, err
	}
	about := backup.About{Network: l.cfg.Copies.Network, Program: l.cfg.Copies.Program}
	if l.cfg.Copies.Files != nil {
		if about.Files, err = l.cfg.Copies.Files(); err != nil {
			return m, err
		}
	}
	w, err := to()
	if err != nil {
		return m, err
	}
	if m, err = backup.Write(ctx, l.db, w, l.cfg.Copies.Key, about, watch); err != nil {
		l.log.WarnContext(ctx, "a backup broke off", slog.Any("err", err)) // its reader sees only that the end is missing
	}
	return m, err
}
