package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/client"
)

// copied is the governed side while one backup after the other is taken of it.
const copied sideKind = "copied"

// backups measures what a backup costs who is served meanwhile: governed posts on a
// network of which one backup after the other is taken, against the same posts
// without. Their p99 is how long the writer keeps anybody waiting.
func backups(r *runner, ctx context.Context) error {
	return r.compare(ctx, r.heldAt, func(_ context.Context, st *stage) ([]contest, error) {
		took := &copying{}
		return []contest{{
			data: st.has.String(), sides: []compared{{copied, ""}, {governed, "ratio_alone"}},
			run: func(ctx context.Context, kind sideKind, profile string) (measure, error) {
				if kind == governed {
					return r.postSide(ctx, st, governed, profile, nil)
				}
				return r.postSide(ctx, st, governed, profile, took.during)
			},
			end: func() { r.say("%s: %s", st.db, took) },
		}}, nil
	})
}

// heldAt is the posts of a scenario, most of them rows that were never acts: how
// much there is to copy is the point.
func (o options) heldAt(agents, scale int) size {
	s := sizeAt(agents, 1)
	s.rows = o.base * scale
	return s
}

// copying is the backups of a contest. It belongs to one goroutine at a time.
type copying struct {
	n     int // that ended, for as long as they were watched
	bytes int64
	took  time.Duration
	cut   int // were under way when the load ended
}

func (c *copying) String() string {
	text := fmt.Sprintf("%d backups under load, %d more cut short", c.n, c.cut)
	if c.n > 0 {
		text += fmt.Sprintf("; each %.1f MB in %.2f s", float64(c.bytes)/float64(c.n)/1e6, c.took.Seconds()/float64(c.n))
	}
	return text
}

// during has backups taken until fn returns. There is one under way all the time.
func (c *copying) during(ctx context.Context, url, data string, fn func() error) error {
	token, err := os.ReadFile(filepath.Join(data, "operator.token"))
	if err != nil {
		return err
	}
	operator, err := client.New(url, strings.TrimSpace(string(token)))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		failed <- func() error {
			for n := 0; ; n++ {
				w := &sink{first: func() {
					if n == 0 {
						close(began)
					}
				}}
				start := time.Now()
				switch err := operator.Backup(ctx, "bench", w); {
				case ctx.Err() != nil:
					c.cut++
					return nil
				case err != nil:
					return fmt.Errorf("backup: %w", err)
				}
				c.n, c.bytes, c.took = c.n+1, c.bytes+w.n, c.took+time.Since(start)
			}
		}()
	}()
	select {
	case <-began:
		err = fn()
	case err := <-failed:
		return err
	}
	cancel()
	return errors.Join(err, <-failed)
}

// sink counts what it is given.
type sink struct {
	n     int64
	first func()
}

var _ io.Writer = (*sink)(nil)

func (s *sink) Write(p []byte) (int, error) {
	if s.n == 0 {
		s.first()
	}
	s.n += int64(len(p))
	return len(p), nil
}
