package audit

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reefwarden/reefwarden/internal/store"
)

// Checkpoint is a signed head of the log (C2SP tlog-checkpoint): there were Size leaves,
// and Root is the hash of the tree over them.
type Checkpoint struct {
	Origin    string
	Size      int64
	Root      tlog.Hash
	At        int64  // when it was signed, Unix microseconds; 0 if that is not known
	Witnesses int    // that have cosigned it
	Note      []byte // as it was signed, with all signatures
}

// text is what is signed.
func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root)
}

// seal signs the checkpoint.
func (c *Checkpoint) seal(s signer) (err error) {
	c.Note, err = note.Sign(&note.Note{Text: c.text()}, s)
	return err
}

// OriginOf returns the origin that a signed note names. It may lie: see OpenCheckpoint.
func OriginOf(signed []byte) string {
	origin, _, _ := strings.Cut(string(signed[:min(len(signed), maxOrigin)]), "\n")
	return origin
}

const maxOrigin = 255

// OpenCheckpoint reads a signed checkpoint and verifies that a key has signed it.
func OpenCheckpoint(signed []byte, v note.Verifier) (c Checkpoint, err error) {
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return c, fmt.Errorf("the checkpoint is not signed by %s (key %08x): %w", v.Name(), v.KeyHash(), err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != v.Name() {
		return c, fmt.Errorf("what %s has signed is no checkpoint of that log", v.Name())
	}
	c.Origin = lines[0]
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 || strconv.FormatInt(c.Size, 10) != lines[1] {
		return c, fmt.Errorf("the checkpoint has no size: %q", lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize || base64.StdEncoding.EncodeToString(root) != lines[2] {
		return c, fmt.Errorf("the checkpoint has no root: %q", lines[2])
	}
	c.Root, c.Note = tlog.Hash(root), bytes.Clone(signed)
	return c, nil
}

const (
	qCheckpointLast  store.Q = `SELECT size, at, witnesses, note FROM checkpoint WHERE size > 0 ORDER BY size DESC LIMIT 1`
	qCheckpointSeen  store.Q = `SELECT size, at, witnesses, note FROM checkpoint WHERE witnesses > 0 AND witnesses >= $1 ORDER BY size DESC LIMIT 1`
	qCheckpointFirst store.Q = `SELECT size, at, witnesses, note FROM checkpoint WHERE size > $1 ORDER BY size LIMIT $2`
	qCheckpointKeep  store.Q = `INSERT INTO checkpoint (size, at, witnesses, note) VALUES ($1, $2, $3, $4)
ON CONFLICT (size) DO UPDATE SET witnesses = excluded.witnesses, note = excluded.note`
	// Of an hour the last one stays, and those that readers may need meanwhile.
	qCheckpointDrop store.Q = `DELETE FROM checkpoint WHERE at >= $1 AND size < $2 AND size <> $3`
)

// kept is a row of checkpoint: what the database says of one, signed or not.
type kept struct {
	size, at  int64
	witnesses int
	note      []byte
}

func scanKept(r *store.Row) kept {
	return kept{r.Int(0), r.Int(1), int(r.Int(2)), []byte(r.Text(3))}
}

// open verifies the row.
func (k kept) open(v note.Verifier) (Checkpoint, error) {
	c, err := OpenCheckpoint(k.note, v)
	if err == nil && c.Size != k.size {
		err = fmt.Errorf("the checkpoint of %d leaves stands in the place of one of %d", c.Size, k.size)
	}
	c.At, c.Witnesses = k.at, k.witnesses
	return c, err
}

// lastKept returns the newest checkpoint; found is false while there is none.
func lastKept(v *store.View) (k kept, found bool, err error) {
	found, err = v.One(qCheckpointLast, func(r *store.Row) error { k = scanKept(r); return nil })
	return k, found, err
}
