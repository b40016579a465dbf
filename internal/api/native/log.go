package native

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/api"
	"github.com/reefwarden/reefwarden/internal/audit"
)

// logRoutes give the record to auditors as C2SP tlog-tiles has it: a monitor takes
// /v1/log/ for the log's prefix.
func (d *door) logRoutes() []api.Route {
	const get = http.MethodGet
	return []api.Route{
		{Method: get, Path: "/log", Act: "audit.checkpoint", Handle: d.log, Gives: logState{}},
		{Method: get, Path: "/log/checkpoint", Act: "audit.checkpoint", Handle: d.checkpoint, Gives: logFile{}},
		{Method: get, Path: "/log/proof", Act: "audit.prove", Handle: d.proveLeaf, Gives: audit.Proof{}, Query: []string{"seq", "id"}},
		{Method: get, Path: "/log/tile/{path...}", Act: "audit.tile", Also: []string{"audit.entries"}, Handle: d.tile, Gives: logFile{}},
	}
}

// logFile stands in a route for a body that is a file of a log.
type logFile struct{}

var (
	logText  = []string{"text/plain; charset=utf-8"}
	logBytes = []string{"application/octet-stream"}
)

// logState is how far the record has come.
type logState struct {
	Origin     string `json:"origin"`
	Key        string `json:"key"`        // under which its checkpoints verify
	Size       int64  `json:"size"`       // leaves under the checkpoint that is given out
	Signed     int64  `json:"signed"`     // and under the newest, which may wait for witnesses
	Leaves     int64  `json:"leaves"`     // there are
	Witnesses  int    `json:"witnesses"`  // that have cosigned it
	Quorum     int    `json:"quorum"`     // that a checkpoint needs
	Checkpoint string `json:"checkpoint"` // signed
}

// GET /log
func (d *door) log(ctx context.Context, c *api.Call) error {
	st, err := d.audit.Checkpoint.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, logState{
		Origin: st.Origin, Key: st.Key, Size: st.Served.Size, Signed: st.Last.Size, Leaves: st.Leaves,
		Witnesses: st.Served.Witnesses, Quorum: st.Quorum, Checkpoint: string(st.Served.Note),
	})
}

// GET /log/checkpoint
func (d *door) checkpoint(ctx context.Context, c *api.Call) error {
	st, err := d.audit.Checkpoint.Do(ctx, c.Principal, struct{}{})
	if err != nil {
		return err
	}
	c.Send(http.StatusOK, logText, st.Served.Note)
	return nil
}

// GET /log/tile/{path...}: a level and a number, or "entries" and a number.
func (d *door) tile(ctx context.Context, c *api.Call) error {
	level, path, _ := strings.Cut(c.R.PathValue("path"), "/")
	n, width, err := audit.ParseTilePath(path)
	if err != nil {
		return err
	}
	at, read := audit.TileAt{N: n, Width: width}, d.audit.Entries
	if level != "entries" {
		l, err := strconv.ParseUint(level, 10, 6)
		if err != nil {
			return act.Errorf(act.NotFound, "there is no level %q", level).WithRule("audit.tile").WithHint("levels are numbers from 0, or entries")
		}
		at.Level, read = int(l), d.audit.Tile
	}
	raw, err := read.Do(ctx, c.Principal, at)
	if err != nil {
		return err
	}
	c.Send(http.StatusOK, logBytes, raw)
	return nil
}

// GET /log/proof
func (d *door) proveLeaf(ctx context.Context, c *api.Call) error {
	var in audit.Wanted
	q := c.R.URL.Query()
	seq, err := api.Number("seq", q.Get("seq"), 0, 1<<53)
	if err != nil {
		return err
	}
	in.Seq = int64(seq)
	if id := q.Get("id"); id != "" {
		if in.On, err = d.codec.Parse(id); err != nil {
			return err
		}
	}
	p, err := d.audit.Prove.Do(ctx, c.Principal, in)
	if err != nil {
		return err
	}
	return d.send(c, http.StatusOK, p)
}
