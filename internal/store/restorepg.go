package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
)

// connectPostgres opens a connection outside any pool, and fills in the schema's
// default.
func connectPostgres(ctx context.Context, cfg *Config) (*pgx.Conn, error) {
	if cfg.Schema == "" {
		cfg.Schema = "public"
	}
	c, err := pgx.ParseConfig(cfg.URL)
	if err != nil {
		return nil, errors.New("the PostgreSQL URL cannot be parsed") // pgx's text may hold the password
	}
	c.ConnectTimeout = pgDialTimeout
	c.RuntimeParams["search_path"] = pgx.Identifier{cfg.Schema}.Sanitize()
	c.RuntimeParams["application_name"] = "reef restore"
	return pgx.ConnectConfig(ctx, c)
}

const (
	qSchemaTherePostgres Q = `SELECT 1 FROM pg_namespace WHERE nspname = $1`
	qSchemaSizePostgres  Q = `SELECT COUNT(*), COUNT(*) FILTER (WHERE relname IN ('meta', 'event')) FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)`
	qIndexesPostgres Q = `SELECT CAST(x.relname AS TEXT), pg_get_indexdef(x.oid) FROM pg_class AS t JOIN pg_index AS i ON i.indrelid = t.oid
JOIN pg_class AS x ON x.oid = i.indexrelid WHERE t.relnamespace = CAST(current_schema() AS regnamespace) AND t.relkind = 'r'
  AND NOT EXISTS (SELECT 1 FROM pg_constraint AS c WHERE c.conindid = x.oid) ORDER BY CAST(x.relname AS TEXT) COLLATE "C"`
)

// vacantPostgres says whether a network can be made in the schema.
func vacantPostgres(ctx context.Context, conn *pgx.Conn, schema string) (vacancy, error) {
	v := &View{pg: &pgConn{ctx: ctx, conn: conn}}
	there, err := v.One(qSchemaTherePostgres, func(*Row) error { return nil }, schema)
	if err != nil || !there {
		return absent, err
	}
	var relations, ours int64
	if _, err := v.One(qSchemaSizePostgres, func(r *Row) error { relations, ours = r.Int(0), r.Int(1); return nil }, schema); err != nil {
		return 0, err
	}
	switch {
	case relations == 0:
		return emptied, nil
	case ours != 2:
		return 0, ErrOccupied // somebody's, and no network
	}
	return vacant(v)
}

// restorePostgres fills a schema in one transaction. What it makes before that
// holds nothing of the network, and goes when it fails.
func restorePostgres(ctx context.Context, cfg Config, what Loading) (err error) {
	conn, err := connectPostgres(ctx, &cfg)
	if err != nil {
		return err
	}
	calm := context.WithoutCancel(ctx)
	defer conn.Close(calm) //nolint:errcheck // what was not committed is gone
	// No second restore, and no node that would open what is not whole: it needs
	// this lock to choose its number. It ends with the connection.
	v := &View{pg: &pgConn{ctx: ctx, conn: conn}}
	if _, err := v.One(qLockSessionPostgres, func(*Row) error { return nil }, lockKey(cfg.Schema, "node")); err != nil {
		return err
	}
	state, err := vacantPostgres(ctx, conn, cfg.Schema)
	if err != nil {
		return err
	}
	if state == unbegun || state == unserved {
		if err := clearPostgres(ctx, conn, cfg.Schema); err != nil {
			return err
		}
	}
	defer func() {
		if err == nil {
			return
		}
		_ = conn.Close(calm) // it may be broken, or have begun something
		if cerr := undoPostgres(calm, cfg, state == absent); cerr != nil {
			err = errors.Join(err, fmt.Errorf("what was made in the schema %s is left, and is no network: %w", cfg.Schema, cerr))
		}
	}()
	config := conn.Config()
	if err := migratePostgres(ctx, config, cfg.Schema, what.Schema); err != nil {
		return err
	}
	l := &pgLoader{ctx: ctx, conn: conn, schema: cfg.Schema}
	if _, err := conn.Exec(ctx, string(qBeginPostgres)); err != nil {
		return pgError(err)
	}
	if err := fill(l, what); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, string(qCommit)); err != nil {
		return pgError(err)
	}
	what.Step("gathering statistics")
	for _, t := range what.Tables {
		if _, err := conn.Exec(ctx, "ANALYZE "+pgx.Identifier{cfg.Schema, t.Name}.Sanitize()); err != nil {
			return pgError(err)
		}
	}
	return migratePostgres(ctx, config, cfg.Schema, newest)
}

// undoPostgres drops what a failed restore has made, with the schema if there was
// none, unless somebody has made a network there since.
func undoPostgres(ctx context.Context, cfg Config, schemaToo bool) (err error) {
	conn, err := connectPostgres(ctx, &cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	v := &View{pg: &pgConn{ctx: ctx, conn: conn}}
	if _, err := v.One(qLockSessionPostgres, func(*Row) error { return nil }, lockKey(cfg.Schema, "node")); err != nil {
		return err
	}
	state, err := vacantPostgres(ctx, conn, cfg.Schema)
	if err != nil || state == absent {
		return err
	}
	if err := clearPostgres(ctx, conn, cfg.Schema); err != nil || !schemaToo {
		return err
	}
	_, err = conn.Exec(ctx, "DROP SCHEMA "+pgx.Identifier{cfg.Schema}.Sanitize()) // which is empty
	return err
}

// clearPostgres drops what an earlier restore or a start without a network has
// left in the schema. It touches nothing if there is a table that is not ours.
func clearPostgres(ctx context.Context, conn *pgx.Conn, schema string) error {
	known, err := ownTables()
	if err != nil {
		return err
	}
	list := []string{"DROP SEQUENCE IF EXISTS " + pgx.Identifier{schema, "position_seq"}.Sanitize()}
	v := &View{pg: &pgConn{ctx: ctx, conn: conn}}
	if err := v.All(qSchemaTablesPostgres, func(r *Row) error {
		if !known[r.Text(0)] {
			return ErrOccupied
		}
		list = append(list, "DROP TABLE "+pgx.Identifier{schema, r.Text(0)}.Sanitize())
		return nil
	}, schema); err != nil {
		return err
	}
	for _, q := range list {
		if _, err := conn.Exec(ctx, q); err != nil {
			return pgError(err)
		}
	}
	return nil
}

const qSchemaTablesPostgres Q = `SELECT CAST(relname AS TEXT) FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND relkind IN ('r', 'p', 'f', 'v', 'm') ORDER BY CAST(relname AS TEXT) COLLATE "C"`

const qLockSessionPostgres Q = `SELECT 1 FROM pg_advisory_lock($1)`

// pgLoader fills a PostgreSQL schema.
type pgLoader struct {
	ctx    context.Context
	conn   *pgx.Conn
	schema string
}

func (l *pgLoader) tx() *Tx { return &Tx{View: View{pg: &pgConn{ctx: l.ctx, conn: l.conn}}} }

func (l *pgLoader) tables() ([]Table, error) {
	return tablesOf(&l.tx().View, qDumpColumnsPostgres)
}

// dropIndexes drops the indexes, which are built faster from all rows at once.
func (l *pgLoader) dropIndexes() (func() error, error) {
	var names, texts []string
	if err := l.tx().All(qIndexesPostgres, func(r *Row) error {
		names, texts = append(names, r.Text(0)), append(texts, r.Text(1))
		return nil
	}); err != nil {
		return nil, err
	}
	for _, n := range names {
		if _, err := l.conn.Exec(l.ctx, "DROP INDEX "+pgx.Identifier{l.schema, n}.Sanitize()); err != nil {
			return nil, pgError(err)
		}
	}
	return func() error {
		for _, t := range texts {
			if _, err := l.conn.Exec(l.ctx, t); err != nil {
				return pgError(err)
			}
		}
		return nil
	}, nil
}

func (l *pgLoader) load(t Table, next func() ([]Value, error)) error {
	table := pgx.Identifier{l.schema, t.Name}
	if _, err := l.conn.Exec(l.ctx, "DELETE FROM "+table.Sanitize()); err != nil {
		return pgError(err) // what migrations have put there
	}
	values := make([]any, len(t.Columns))
	var own error // of the source, which is no failure of the database
	_, err := l.conn.CopyFrom(l.ctx, table, t.Columns, pgx.CopyFromFunc(func() ([]any, error) {
		row, err := next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			own = err
			return nil, err
		}
		for i, v := range row {
			switch v.Kind {
			case ValueNull:
				values[i] = nil
			case ValueInt:
				values[i] = v.Int
			case ValueText:
				values[i] = string(v.Bytes)
			case ValueBytes:
				values[i] = v.Bytes
				if v.Bytes == nil {
					values[i] = []byte{}
				}
			}
		}
		return values, nil
	}))
	if own != nil {
		return own
	}
	return pgError(err)
}
