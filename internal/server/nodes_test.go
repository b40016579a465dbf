package server_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// twoNodes starts two servers of one network: one PostgreSQL schema, one key,
// one NATS.
func twoNodes(t *testing.T) (a, b *servertest.Server) {
	t.Helper()
	cfg := servertest.Config(t, store.Postgres)
	cfg.KeyFile = filepath.Join(t.TempDir(), "network.key")
	cfg.NATS = servertest.NATS(t).ClientURL()
	a = servertest.Start(t, cfg)
	cfg.Data = t.TempDir()
	return a, servertest.Open(t, cfg)
}

// exposed reports whether an item's showing to a reader is on record.
func exposed(t *testing.T, s *servertest.Server, reader, item act.ID) (found bool) {
	t.Helper()
	if err := s.DB.View(context.Background(), func(v *store.View) (err error) {
		_, found, err = provenance.Exposed(v, reader, item)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// eventually waits for a condition without guessing how long it takes.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

// Nodes that start at the same moment on an empty network agree on one policy
// bundle, one community and one key, and differ in their node numbers.
func TestNodesThatStartTogetherAgree(t *testing.T) {
	cfg := servertest.Config(t, store.Postgres)
	cfg.KeyFile = filepath.Join(t.TempDir(), "network.key")
	cfg.NATS = servertest.NATS(t).ClientURL()
	if _, err := identity.LoadKeys(cfg.KeyFile); err != nil {
		t.Fatal(err)
	}
	nodes := make([]*server.Server, 3)
	var wg sync.WaitGroup
	for i := range nodes {
		c := cfg
		c.Data = t.TempDir()
		wg.Go(func() {
			s, err := server.New(context.Background(), c, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Errorf("node %d: %v", i, err)
				return
			}
			nodes[i] = s
		})
	}
	wg.Wait()
	numbers := make(map[int]bool)
	for i, s := range nodes {
		if s == nil {
			continue
		}
		defer s.Close()
		if err := s.Policy.Ready(); err != nil {
			t.Errorf("node %d: %v", i, err)
		}
		numbers[s.DB.Node()] = true
	}
	if len(numbers) != len(nodes) {
		t.Errorf("%d nodes have %d numbers", len(nodes), len(numbers))
	}
}

// Nodes hear each other's signals also when each reaches the database by another
// URL: what they share is the network's key.
func TestNodesHearEachOtherWhateverTheirURL(t *testing.T) {
	cfg := servertest.Config(t, store.Postgres)
	cfg.KeyFile = filepath.Join(t.TempDir(), "network.key")
	cfg.NATS = servertest.NATS(t).ClientURL()
	a := servertest.Open(t, cfg)
	cfg.Data = t.TempDir()
	cfg.DB += "&application_name=other"
	b := servertest.Open(t, cfg)
	var heard atomic.Int32
	cancel, err := a.Bus.Subscribe("probe", func([]byte) { heard.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	eventually(t, "a signal crosses", func() bool {
		if err := b.Bus.Publish("probe", nil); err != nil {
			t.Fatal(err)
		}
		return heard.Load() > 0
	})
}
