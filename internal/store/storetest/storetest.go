package storetest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/reefwarden/reefwarden/internal/store"
)

// Each runs fn on SQLite and on PostgreSQL, as subtests with those names.
func Each(t *testing.T, fn func(t *testing.T, db *store.DB)) {
	t.Helper()
	EachConfig(t, func(t *testing.T, cfg store.Config) { fn(t, OpenConfig(t, cfg)) })
}

// EachConfig is Each for tests that open the database themselves, or more than
// once: cfg points at an empty SQLite directory or PostgreSQL schema.
func EachConfig(t *testing.T, fn func(t *testing.T, cfg store.Config)) {
	t.Helper()
	for _, d := range []store.Dialect{store.SQLite, store.Postgres} {
		t.Run(d.String(), func(t *testing.T) { fn(t, Config(t, d)) })
	}
}

// Config returns the configuration of an empty database of the given dialect.
func Config(t testing.TB, d store.Dialect) store.Config {
	t.Helper()
	cfg := store.Config{Log: slog.New(slog.DiscardHandler)}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if d == store.SQLite {
		cfg.Dir = t.TempDir()
		return cfg
	}
	cfg.URL, cfg.Schema = URL(t), schemaName()
	t.Cleanup(func() { dropSchema(t, cfg) })
	return cfg
}

// Open opens an empty database of the given dialect and closes it after the test.
func Open(t testing.TB, d store.Dialect) *store.DB {
	t.Helper()
	return OpenConfig(t, Config(t, d))
}

// OpenConfig opens a database and closes it after the test.
func OpenConfig(t testing.TB, cfg store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("open %s: %v", dialect(cfg), err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close %s: %v", dialect(cfg), err)
		}
	})
	return db
}

func dialect(cfg store.Config) store.Dialect {
	if cfg.URL != "" {
		return store.Postgres
	}
	return store.SQLite
}

func schemaName() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return "t_" + hex.EncodeToString(b[:])
}

func dropSchema(t testing.TB, cfg store.Config) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, cfg.URL)
	if err != nil {
		t.Logf("drop schema: %v", err)
		return
	}
	defer conn.Close(ctx) //nolint:errcheck // the test is over
	if _, err := conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{cfg.Schema}.Sanitize()+" CASCADE"); err != nil {
		t.Logf("drop schema: %v", err)
	}
}
