package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

const qTestNoSegments store.Q = `DELETE FROM segment`

// anchored has everything that is on record signed, and the checkpoint kept.
func anchored(t *testing.T, s *servertest.Server) {
	t.Helper()
	ctx := context.Background()
	if err := errors.Join(s.Settle(ctx), s.Tree.Integrate(ctx), s.Tree.Anchor(ctx)); err != nil {
		t.Fatal(err)
	}
}

func verified(t *testing.T, s *servertest.Server) (audit.Report, provenance.Report) {
	t.Helper()
	r, shown, err := server.VerifyRecord(context.Background(), s.Config, s.Keys, s.DB, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, shown
}

// T38: a server does not start on a database that lacks what was kept of its record, until
// somebody has put that aside.
func TestT38_ADatabaseOfAnEarlierTimeIsRefused(t *testing.T) {
	cfg := servertest.Config(t, store.SQLite)
	dir := server.NetworkDir(cfg.Data, server.DefaultNetwork)
	copied := t.TempDir()
	run := func(name string) {
		s := servertest.Open(t, cfg)
		s.Agent(t, name)
		anchored(t, s)
		s.Stop()
	}
	run("ada")
	copyFiles(t, dir, copied)
	run("bea")
	copyFiles(t, copied, dir)
	_, err := server.New(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if e, ok := errors.AsType[*act.Error](err); !ok || e.Rule != "audit.rolled-back" || !strings.Contains(e.Hint, "reef restore") {
		t.Fatalf("an older database is served: %v", err)
	}
	if aside, err := audit.SetAside(cfg.HeadPath()); err != nil || aside == "" {
		t.Fatalf("%q, %v", aside, err)
	}
	run("cleo")
}

// copyFiles makes a folder the same as another.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	list, err := os.ReadDir(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), "reef.db") {
			if err := os.Remove(filepath.Join(to, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if list, err = os.ReadDir(from); err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), "reef.db") {
			continue
		}
		in, err := os.Open(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(to, e.Name()))
		if err == nil {
			_, err = io.Copy(out, in)
		}
		if err := errors.Join(err, in.Close(), out.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// T64: what was shown and is sealed is on record: a segment that is gone is missed. And
// what is erased leaves record and proofs as they were.
func TestT64_WhatWasShownAndWhatIsErased(t *testing.T) {
	var ahead atomic.Int64
	cfg := servertest.Config(t, store.SQLite)
	cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := servertest.Open(t, cfg)
	writer, _ := s.Agent(t, "writer")
	reader, _ := s.Agent(t, "reader")
	a := s.Call(t, http.MethodPost, "/v1/posts", writer, map[string]string{"community": "general", "title": "a secret", "content": "that is to go"})
	id, _ := a.JSON["id"].(string)
	if a.Status != http.StatusCreated || id == "" {
		t.Fatalf("post: %d %s", a.Status, a.Raw)
	}
	if a := s.Call(t, http.MethodGet, "/v1/posts/"+id, reader, nil); a.Status != http.StatusOK {
		t.Fatalf("read: %d %s", a.Status, a.Raw)
	}
	anchored(t, s)
	before := s.Call(t, http.MethodGet, "/v1/log/proof?id="+id, s.Token, nil)
	if before.Status != http.StatusOK || strings.Contains(string(before.Raw), "a secret") {
		t.Fatalf("the proof: %d %s", before.Status, before.Raw)
	}
	if a := s.Call(t, http.MethodPost, "/v1/content/"+id+"/erase", s.Token, map[string]string{"reason": "asked for"}); a.Status != http.StatusOK {
		t.Fatalf("erase: %d %s", a.Status, a.Raw)
	}
	anchored(t, s)
	if a := s.Call(t, http.MethodGet, "/v1/log/proof?id="+id, s.Token, nil); a.Status != http.StatusOK || !strings.Contains(string(a.Raw), "content.erase") {
		t.Errorf("the proof of what was erased: %d %s", a.Status, a.Raw)
	}
	if r, shown := verified(t, s); !r.OK() || len(shown.Problems) > 0 {
		t.Errorf("with something erased: %+v %+v", r, shown)
	}

	ahead.Store(int64(25 * time.Hour)) // the day is over, so what was shown is sealed
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		anchored(t, s)
		r, shown := verified(t, s)
		if !r.OK() || len(shown.Problems) > 0 {
			t.Fatalf("%+v %+v", r, shown)
		}
		if len(r.Blocks) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is sealed")
		}
	}
	if err := s.DB.Write(context.Background(), func(tx *store.Tx) error { _, err := tx.Exec(qTestNoSegments); return err }); err != nil {
		t.Fatal(err)
	}
	if _, shown := verified(t, s); len(shown.Problems) == 0 || !strings.Contains(shown.Problems[0], "on record, and is not there") {
		t.Errorf("a segment is gone: %+v", shown)
	}
}
