package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // database/sql driver, for migrations only
)

//go:embed migrations
var migrations embed.FS

// newest is the schema that this program works with.
const newest = 0

// migrateLite brings a SQLite database up to a schema number, on a connection of
// its own.
func migrateLite(ctx context.Context, path string, to int64) error {
	// Opaque, because after "file://" a relative path would be taken for a host.
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "_pragma=busy_timeout(5000)"}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing left to lose
	db.SetMaxOpenConns(1)
	return migrate(ctx, db, goose.DialectSQLite3, "migrations/sqlite", to)
}

// migratePostgres makes the network's schema if it is absent and brings it up
// to a schema number, under an advisory lock so that nodes that start together do not race.
func migratePostgres(ctx context.Context, config *pgx.ConnConfig, schema string, to int64) error {
	db := stdlib.OpenDB(*config)
	defer db.Close() //nolint:errcheck // nothing left to lose
	db.SetMaxOpenConns(2)
	lock, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // ends the session and with it the lock
	key := lockKey(schema, "migrate")
	if _, err := lock.ExecContext(ctx, "SELECT pg_advisory_lock($1)", key); err != nil {
		return err
	}
	defer lock.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", key) //nolint:errcheck // as above
	if _, err := lock.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{schema}.Sanitize()); err != nil {
		return err
	}
	return migrate(ctx, db, goose.DialectPostgres, "migrations/postgres", to)
}

// newestSchema is the number of the last migration that this program has.
func newestSchema() (last int64, err error) {
	names, err := fs.Glob(migrations, "migrations/sqlite/*.sql")
	for _, name := range names {
		n, nerr := goose.NumericComponent(name)
		last, err = max(last, n), errors.Join(err, nerr)
	}
	return last, err
}

// ownTables names every table that migrations have ever made.
func ownTables() (map[string]bool, error) {
	known := map[string]bool{"goose_db_version": true}
	made := regexp.MustCompile(`(?m)^CREATE TABLE (\w+)`)
	names, err := fs.Glob(migrations, "migrations/postgres/*.sql")
	for _, name := range names {
		text, rerr := fs.ReadFile(migrations, name)
		for _, m := range made.FindAllSubmatch(text, -1) {
			known[string(m[1])] = true
		}
		err = errors.Join(err, rerr)
	}
	return known, err
}

func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, dir string, to int64) error {
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(dialect, db, files)
	if err != nil {
		return err
	}
	if to != newest {
		_, err = p.UpTo(ctx, to)
	} else {
		_, err = p.Up(ctx)
	}
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}
