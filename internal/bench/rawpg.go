package bench

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	rawConns   = 16
	rawTimeout = 30 * time.Second
)

// rawPG is a connection of a raw side to PostgreSQL. Everything up to the commit
// travels with it.
type rawPG struct {
	ctx   context.Context
	conn  *pgx.Conn
	batch *pgx.Batch
}

func openRawPostgres(ctx context.Context, url string, conns, most int) (*rawGroups, error) {
	kept := context.WithoutCancel(ctx)
	var dbs []rawDB
	var open []*pgx.Conn
	closeAll := func() {
		for _, conn := range open {
			_ = conn.Close(kept)
		}
	}
	for range conns {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			closeAll()
			return nil, err
		}
		open, dbs = append(open, conn), append(dbs, &rawPG{ctx: kept, conn: conn})
	}
	return openRawGroups(dbs, most, closeAll)
}

func (w *rawPG) load(q string, row func(n int64, b []byte)) error {
	rows, err := w.conn.Query(w.ctx, q)
	if err != nil {
		return err
	}
	var n int64
	var b []byte
	_, err = pgx.ForEachRow(rows, []any{&n, &b}, func() error { row(n, b); return nil })
	return err
}

func (w *rawPG) exec(q string, args ...any) error {
	if w.batch == nil {
		w.batch = &pgx.Batch{}
		w.batch.Queue("BEGIN")
	}
	w.batch.Queue(q, args...)
	return nil
}

func (w *rawPG) commit() error {
	ctx, cancel := context.WithTimeout(w.ctx, rawTimeout)
	defer cancel()
	w.batch.Queue("COMMIT")
	batch := w.batch
	w.batch = nil
	return w.conn.SendBatch(ctx, batch).Close()
}

func (w *rawPG) fail() error {
	w.batch = nil
	_, err := w.conn.Exec(w.ctx, "ROLLBACK")
	return err
}
