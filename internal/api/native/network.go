package native

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
)

// condition is how the network stands as a whole.
type condition struct {
	Agents      string       `json:"agents"` // "served", or "refused" until a restore is confirmed
	KillEpoch   string       `json:"kill_epoch"`
	Kills       int64        `json:"kills"`
	KilledAt    *string      `json:"killed_at"` // of the last
	Restoration *restoration `json:"restoration"`
}

// restoration is the last time at which the network's state was found to be of an
// earlier time.
type restoration struct {
	Backup      *string `json:"backup"` // null: the kill log was ahead of the database
	TakenAt     *string `json:"taken_at"`
	Seq         int64   `json:"seq"`
	Kills       int64   `json:"kills"` // that it knew
	RestoredAt  *string `json:"restored_at"`
	ConfirmedAt *string `json:"confirmed_at"`
	Reason      string  `json:"reason"`
}

func (d *door) condition(c lifecycle.Condition) condition {
	out := condition{Agents: "served", KillEpoch: c.Kills.String(), Kills: c.Kills.N, KilledAt: wireTime(c.KilledAt)}
	if !c.Confirmed() {
		out.Agents = "refused"
	}
	if r := c.Restored; r.N != 0 {
		out.Restoration = &restoration{
			TakenAt: wireTime(r.TakenAt), Seq: r.Seq, Kills: r.Kills, RestoredAt: wireTime(r.RestoredAt),
			ConfirmedAt: wireTime(r.ConfirmedAt), Reason: r.Reason,
		}
		if r.Backup != "" {
			out.Restoration.Backup = &r.Backup
		}
	}
	return out
}

// GET /network
func (d *door) showNetwork(ctx context.Context, c *api.Call) error {
	out, err := d.lifecycle.ShowNetwork.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.condition(out))
}

type newConfirmation struct {
	Kills  string `json:"kills"` // a kill epoch, the number of one, or "none"
	Reason string `json:"reason"`
}

// POST /network/confirm
func (d *door) confirmNetwork(ctx context.Context, c *api.Call) error {
	var in newConfirmation
	if err := c.Decode(&in); err != nil {
		return err
	}
	out, err := d.lifecycle.Confirm.DoOnce(ctx, c.Principal, c.Key, lifecycle.Confirmation{Kills: in.Kills, Reason: in.Reason})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, d.condition(out))
}

type kill struct {
	N      int64   `json:"n"`
	Epoch  string  `json:"epoch"`
	Agent  string  `json:"agent"`
	Name   string  `json:"name"`
	Reason string  `json:"reason"`
	At     *string `json:"at"`
}

func (d *door) kill(k lifecycle.Kill) kill {
	return kill{k.Epoch.N, k.Epoch.String(), d.codec.String(k.Agent), k.Name, k.Reason, wireTime(k.At)}
}

// GET /kills?after&limit&cursor
func (d *door) kills(ctx context.Context, c *api.Call) error {
	q := c.R.URL.Query()
	var in lifecycle.KillQuery
	after, err := api.Number("after", q.Get("after"), 0, 999_999_999)
	if err != nil {
		return err
	}
	in.After = int64(after)
	if in.Limit, in.Cursor, err = d.paging(c, lifecycle.KillsCursor, lifecycle.MaxList); err != nil {
		return err
	}
	page, err := d.lifecycle.ListKills.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, listOf(d, page, d.kill))
}

type newKill struct {
	Agent  string `json:"agent"` // id of one that the network does not know
	Name   string `json:"name"`
	Reason string `json:"reason"`
	At     string `json:"at"` // now if ""
}

// POST /kills: of an agent that was registered after the backup and killed.
func (d *door) noteKill(ctx context.Context, c *api.Call) error {
	var in newKill
	if err := c.Decode(&in); err != nil {
		return err
	}
	note := lifecycle.Note{Name: in.Name, Reason: in.Reason}
	var err error
	if note.Agent, err = d.codec.ParseKind(in.Agent, act.KindAgent); err != nil {
		return act.Errorf(act.Invalid, "agent is no id of an agent of this network").WithRule("kill.agent").
			WithHint("send the id as the kill log or the record has it")
	}
	if in.At != "" {
		at, err := time.Parse(time.RFC3339, in.At)
		if err != nil {
			return act.Errorf(act.Invalid, "at is no time").WithRule("http.time").WithHint("write it as RFC 3339 has it, 2026-01-31T12:00:00Z say")
		}
		note.At = act.Micros(at)
	}
	out, err := d.lifecycle.NoteKill.DoOnce(ctx, c.Principal, c.Key, note)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusCreated, d.kill(out))
}

type newBackup struct {
	Reason string `json:"reason"` // may be ""
}

// archive stands in a route for a body that is a backup, not JSON.
type archive struct{}

// BackupType is the media type of a backup.
const BackupType = "application/vnd.reefwarden.backup"

// POST /backup streams the backup. What went wrong after it began shows in its end,
// which is not there.
func (d *door) backup(ctx context.Context, c *api.Call) error {
	var in newBackup
	if err := c.DecodeAny(&in); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // a server that stops waits for no backup
		select {
		case <-c.Ending():
			cancel(errors.New("the server is stopping"))
		case <-ctx.Done():
		}
	}()
	out := bufio.NewWriterSize(pushed{c}, pieceSize)
	_, err := d.lifecycle.Backup(ctx, c.Principal, lifecycle.NewBackup{Reason: in.Reason}, func() (io.Writer, error) {
		return out, c.Begin([]string{BackupType})
	}, nil)
	if err != nil {
		return err
	}
	return out.Flush()
}

const pieceSize = 64 << 10

// pushed writes a stream's pieces.
type pushed struct{ c *api.Call }

func (p pushed) Write(b []byte) (int, error) {
	if err := p.c.Push(b); err != nil {
		return 0, err
	}
	return len(b), nil
}
