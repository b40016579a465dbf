package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// A node keeps the newest checkpoint that it has seen in a file outside the database: a
// database that does not have the leaves that it speaks of is of an earlier time, and one
// that has others was made anew.

const (
	headPerm = 0o600
	maxHead  = 64 << 10
)

// ReadHead returns the checkpoint that a node keeps in a file, nil if there is none.
func ReadHead(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("audit: the kept checkpoint: %w", err)
	}
	if info.Size() > maxHead {
		return nil, fmt.Errorf("audit: %s is no checkpoint", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("audit: the kept checkpoint: %w", err)
	}
	return raw, nil
}

// writeHead puts another checkpoint in place of the one in the file: whole or not at all.
func writeHead(path string, signed []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("audit: keep a checkpoint: %w", err)
	}
	_, err = f.Write(signed)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("audit: keep a checkpoint: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// Anchor holds the log against the checkpoint that this node keeps outside the database,
// and then keeps the newest. A log that has lost leaves, or has others in their place, is
// an act.Conflict, and the kept checkpoint stays.
func (t *Tree) Anchor(ctx context.Context) error {
	if t.Head == "" {
		return nil
	}
	var newer []byte
	if err := t.DB.Snapshot(ctx, func(v *store.View) error {
		newer = nil
		s, last, err := t.signer(v)
		if err != nil {
			return err
		}
		var now Checkpoint
		if last.size > 0 {
			if now, err = last.open(s); err != nil {
				return act.Errorf(act.Conflict, "audit: %w", err).WithRule(ruleForked).WithHint(hintForked)
			}
		}
		raw, err := ReadHead(t.Head)
		if err != nil {
			return err
		}
		if raw != nil {
			if s, err = t.Key.signer(OriginOf(raw)); err != nil {
				return err
			}
			then, err := OpenCheckpoint(raw, s)
			if err != nil {
				return fmt.Errorf("audit: %s: %w", t.Head, err)
			}
			if err := follows(&stored{view: v}, then, now); err != nil {
				return err
			}
			if then.Size == now.Size {
				return nil
			}
		}
		newer = now.Note
		return nil
	}); err != nil || newer == nil {
		return err
	}
	return writeHead(t.Head, newer)
}

const (
	ruleRolledBack = "audit.rolled-back"
	ruleForked     = "audit.forked"

	hintForked = "keep a copy of the database and find out who changed it: reef audit verify --data DIR names the first leaf"
)

// follows fails unless the log of now goes on with that of then.
func follows(r tlog.HashReader, then, now Checkpoint) error {
	if then.Size > now.Size {
		return act.Errorf(act.Conflict, "the log has %d leaves, and a checkpoint of %d was kept: the database is of an earlier time, and leaf %d is the first that is missing",
			now.Size, then.Size, now.Size+1).WithRule(ruleRolledBack).
			WithHint("bring back the newer database; if it is lost, restore a backup with reef restore, which puts the kept checkpoint aside and has the kills confirmed")
	}
	err := error(nil)
	if then.Size < now.Size {
		err = consistent(r, then, now)
	} else if then.Root != now.Root {
		err = fmt.Errorf("another root")
	}
	if err != nil {
		return act.Errorf(act.Conflict, "the log of %d leaves is not the one of which a checkpoint of %d leaves was kept: %w", now.Size, then.Size, err).
			WithRule(ruleForked).WithHint(hintForked)
	}
	return nil
}

// SetAside gives the kept checkpoint another name, for a database that is to be of an
// earlier time. It stays as evidence: reef audit verify --checkpoint FILE says what was
// lost. It returns the name, "" if none was kept.
func SetAside(path string) (string, error) {
	raw, err := ReadHead(path)
	if err != nil || raw == nil {
		return "", err
	}
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.%d", path, n)
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			return aside, os.Rename(path, aside)
		}
	}
}
