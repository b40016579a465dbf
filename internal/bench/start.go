package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/world"
)

const settled = time.Second // after the first answer, before memory is read

// start measures how long `reef serve` takes to its first answer with an empty
// network, and how much memory it holds then: with a directory that it has to
// make (new), and with one that is there (existing).
func start(r *runner, ctx context.Context) error {
	if r.onWorld != "" {
		return r.startWorld(ctx)
	}
	for _, db := range r.dbs {
		took, rss := make(map[string][]float64), make(map[string][]float64)
		for rep := range r.reps {
			dir, err := os.MkdirTemp(r.dir, "start-")
			if err != nil {
				return err
			}
			args := []string{"--data", filepath.Join(dir, "data"), "--addr", "127.0.0.1:0", "--log-level", "error"}
			name := ""
			if db == dbPostgres {
				name = "reef_bench_start_" + strconv.Itoa(os.Getpid()) + "_" + strconv.Itoa(rep)
				if err := r.pg.create(ctx, name, ""); err != nil {
					return err
				}
				args = append(args, "--db", r.pg.url(name), "--schema", schema)
			}
			for _, v := range []string{"new", "existing"} {
				ms, mb, err := r.startOnce(ctx, args)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", db, v, err)
				}
				r.say("%s %d/%d %-8s %6.0f ms to the first answer, %.0f MB", db, rep+1, r.reps, v, ms, mb)
				took[v], rss[v] = append(took[v], ms), append(rss[v], mb)
			}
			if name != "" {
				if err := r.pg.drop(ctx, name); err != nil {
					return err
				}
			}
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
		for _, v := range []string{"new", "existing"} {
			f := figure{DB: db, Variant: v, Side: string(governed), Data: "empty network"}
			f.Metric = "empty_ms"
			if err := r.press.put(f.with(spreadOf(took[v]), "ms", r.reps, int64(r.reps))); err != nil {
				return err
			}
			f.Metric = "rss_mb"
			if err := r.press.put(f.with(spreadOf(rss[v]), "MB", r.reps, int64(r.reps))); err != nil {
				return err
			}
		}
	}
	return nil
}

// startWorld measures the start of a kept world. Its files are in the system's cache
// after the first time, whose figure is least or most; a cold disk is not measured.
func (r *runner) startWorld(ctx context.Context) error {
	k, err := world.Open(r.onWorld)
	if err != nil {
		return err
	}
	bytes, err := treeSize(filepath.Dir(databaseFile(k.Dir)))
	if err != nil {
		return err
	}
	var took, rss []float64
	for rep := range r.reps {
		ms, mb, err := r.startOnce(ctx, []string{"--data", k.Dir, "--addr", "127.0.0.1:0", "--unclaimed-for", "0", "--max-agents", "0", "--log-level", "error"})
		if err != nil {
			return err
		}
		r.say("%d/%d %6.0f ms to the first answer, %.0f MB", rep+1, r.reps, ms, mb)
		took, rss = append(took, ms), append(rss, mb)
	}
	f := figure{DB: dbSQLite, Variant: "world", Side: string(governed), Data: fmt.Sprintf("%d agents, database of %d MB", k.Agents, bytes/1e6)}
	f.Metric = "start_ms"
	err = r.press.put(f.with(spreadOf(took), "ms", r.reps, int64(r.reps)))
	f.Metric = "rss_mb"
	return errors.Join(err, r.press.put(f.with(spreadOf(rss), "MB", r.reps, int64(r.reps))))
}

// startOnce starts the server, asks it once, and stops it.
func (r *runner) startOnce(ctx context.Context, args []string) (ms, mb float64, err error) {
	s, err := r.serve(ctx, args...)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(settled)
	mb, err = resident(s.pid)
	return milliseconds(s.ready), mb, errors.Join(err, s.stop())
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
