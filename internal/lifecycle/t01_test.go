package lifecycle_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// T01: whoever reads the whole database and its files gets no way in. Every
// value of every column, in every form a thief would try, is tried as a
// credential; and no secret that was handed out is in the files.
func TestT01_DumpIsNoCredential(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		h := open(t, cfg, plan{life: lifecycle.Config{ClaimRequired: true}})
		var secrets []string
		for i := range 20 {
			code := h.invite("team")
			r, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: fmt.Sprintf("nemo-%d", i), Invite: code})
			if err != nil {
				t.Fatal(err)
			}
			h.principal(r.Key)
			secrets = append(secrets, code, r.Key, r.ClaimToken, h.invite(""))
			if i%2 == 0 {
				if _, err := h.life.Claim.Do(t.Context(), h.operator, lifecycle.NewClaim{ClaimToken: r.ClaimToken}); err != nil {
					t.Fatal(err)
				}
			}
		}
		token, err := os.ReadFile(filepath.Join(h.dir, "operator.token"))
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, strings.TrimSpace(string(token)))
		_, err = h.ids.Authenticate(t.Context(), secrets[len(secrets)-1])
		if err != nil {
			t.Fatalf("the token itself does not work: %v", err)
		}
		h.gate.Flush()

		var values [][]byte
		if cfg.Dir != "" {
			for _, file := range []string{"reef.db", "reef.db-wal"} {
				raw, err := os.ReadFile(filepath.Join(cfg.Dir, file))
				if err != nil {
					t.Fatal(err)
				}
				if len(raw) == 0 {
					t.Errorf("%s is empty: nothing was looked at", file)
				}
				for _, s := range secrets {
					for what, form := range forms(t, s) {
						if bytes.Contains(raw, form) {
							t.Errorf("%s holds the %s of a %s…", file, what, s[:12])
						}
					}
				}
			}
			values = dumpLite(t, filepath.Join(cfg.Dir, "reef.db"))
		} else {
			values = dumpPostgres(t, cfg)
		}
		if len(values) < 500 {
			t.Fatalf("only %d values in the dump", len(values))
		}
		tried := 0
		for _, v := range values {
			for _, s := range secrets {
				if bytes.Contains(v, []byte(s)) || bytes.Contains(v, []byte(s[len(s)-32:])) {
					t.Errorf("a column holds a secret: %q", v)
				}
			}
			for _, text := range []string{string(v), hex.EncodeToString(v), base64.RawURLEncoding.EncodeToString(v)} {
				for _, prefix := range []string{"", identity.AgentKey.Prefix(), identity.OperatorToken.Prefix()} {
					for _, body := range []string{text, text[:min(32, len(text))], text[max(0, len(text)-32):]} {
						tried++
						if p, err := h.ids.Authenticate(t.Context(), prefix+body); err == nil {
							t.Fatalf("%q works as %+v", prefix+body, p)
						}
					}
				}
			}
			if _, err := h.life.Register.Do(t.Context(), stranger, lifecycle.NewAgent{Name: "thief", Invite: identity.InviteCode.Prefix() + base64.RawURLEncoding.EncodeToString(v)}); err == nil {
				t.Fatalf("%q works as an invite code", v)
			}
		}
		t.Logf("%d values, %d tries, 0 work", len(values), tried)
		h.check()
	})
}

// forms are the ways in which a secret could lie about.
func forms(t *testing.T, secret string) map[string][]byte {
	t.Helper()
	body := secret[len(secret)-32:]
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"text": []byte(secret), "body": []byte(body), "bytes": raw, "random part": raw[:16], "hex": []byte(hex.EncodeToString(raw)),
	}
}

func dumpLite(t *testing.T, path string) (values [][]byte) {
	t.Helper()
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // read only
	query := func(q string, each func(*sqlite.Stmt)) {
		if err := sqlitex.ExecuteTransient(conn, q, &sqlitex.ExecOptions{ResultFunc: func(s *sqlite.Stmt) error { each(s); return nil }}); err != nil {
			t.Fatal(err)
		}
	}
	var tables []string
	query(`SELECT name FROM sqlite_schema WHERE type = 'table'`, func(s *sqlite.Stmt) { tables = append(tables, s.ColumnText(0)) })
	for _, table := range tables {
		query(`SELECT * FROM "`+table+`"`, func(s *sqlite.Stmt) {
			for i := range s.ColumnCount() {
				v := make([]byte, s.ColumnLen(i))
				s.ColumnBytes(i, v)
				if s.ColumnType(i) == sqlite.TypeInteger {
					v = strconv.AppendInt(nil, s.ColumnInt64(i), 10)
				}
				values = append(values, v)
			}
		})
	}
	return values
}

func dumpPostgres(t *testing.T, cfg store.Config) (values [][]byte) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, cfg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // read only
	rows, err := conn.Query(ctx, `SELECT table_name FROM information_schema.tables WHERE table_schema = $1`, cfg.Schema)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		rows, err := conn.Query(ctx, "SELECT * FROM "+pgx.Identifier{cfg.Schema, table}.Sanitize())
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			all, err := rows.Values()
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range all {
				if b, ok := v.([]byte); ok {
					values = append(values, b)
				} else {
					values = append(values, fmt.Append(nil, v))
				}
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return values
}
