package provenance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// The test of crashes runs this test binary again as a child that seals.
const (
	envSeal   = "REEF_TEST_SEAL"
	envDir    = "REEF_TEST_SEAL_DIR"
	envURL    = "REEF_TEST_SEAL_URL"
	envSchema = "REEF_TEST_SEAL_SCHEMA"
)

func TestMain(m *testing.M) {
	if os.Getenv(envSeal) != "" {
		if err := sealForKilling(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sealForKilling makes a segment of every few pages and says when it has begun.
func sealForKilling() error {
	ctx := context.Background()
	db, err := store.Open(ctx, store.Config{Dir: os.Getenv(envDir), URL: os.Getenv(envURL), Schema: os.Getenv(envSchema)})
	if err != nil {
		return err
	}
	s, err := NewSealer(db, nil)
	if err != nil {
		return err
	}
	s.pages, s.rows = 1, 1
	left := func() (n int64, err error) {
		err = db.View(ctx, func(v *store.View) error {
			_, err := v.One(qTestRows, func(r *store.Row) error { n = r.Int(0); return nil })
			return err
		})
		return n, err
	}
	first, err := left()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { _, err := s.Seal(ctx); done <- err }()
	fmt.Println("sealing")
	for said := false; !said; {
		select {
		case err := <-done:
			return errors.Join(err, db.Close())
		default:
		}
		n, err := left()
		if err != nil {
			return err
		}
		if said = n < first; said {
			fmt.Println("some are sealed")
		}
	}
	return errors.Join(<-done, db.Close())
}

// A process that seals is killed again and again, at any moment: every page is on
// record once, and whoever comes next goes on.
func TestKilledSealerLosesNothing(t *testing.T) {
	storetest.EachConfig(t, func(t *testing.T, cfg store.Config) {
		const rounds, rows = 5, 150
		r := rand.New(rand.NewPCG(9, uint64(time.Now().UnixNano())))
		db := storetest.OpenConfig(t, cfg)
		readers, items := readersOf(t, db, 4), posts(t, db, 40)
		cut := 0
		for round := range rounds {
			write(t, db, r, readers, items, rows)
			numberOnce(t, db)
			before := everything(t, db, readers)
			left := count(t, db, qTestRows)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			// Every other time when the first are sealed and others are not.
			killWhileSealing(t, cfg, round%2 == 0, time.Duration(r.Int64N(int64(60*time.Millisecond))))
			db = storetest.OpenConfig(t, cfg)
			if after := everything(t, db, readers); !reflect.DeepEqual(before, after) {
				t.Fatalf("round %d: pages differ after the crash", round)
			}
			whole(t, db)
			if now := count(t, db, qTestRows); now > 0 && now < left {
				cut++
			}
		}
		if cut == 0 {
			t.Errorf("in %d rounds no process was killed between two segments", rounds)
		}
		before := everything(t, db, readers)
		seal(t, sealer(t, db, 1, 1))
		if after := everything(t, db, readers); !reflect.DeepEqual(before, after) || count(t, db, qTestRows) != 0 {
			t.Error("the sealer after the crashes did not go on")
		}
		whole(t, db)
	})
}

// numberOnce is number for a process that will not be the next one's sequencer.
func numberOnce(t *testing.T, db *store.DB) {
	t.Helper()
	if db.Dialect() == store.SQLite {
		return
	}
	number(t, db)
	l, ok, err := db.Lead(t.Context(), store.SequencerLease)
	if err == nil && ok {
		err = db.Resign(t.Context(), l)
	}
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
}

// killWhileSealing starts a child and kills it a while after it began, or at once
// when it has sealed something.
func killWhileSealing(t *testing.T, cfg store.Config, between bool, after time.Duration) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), envSeal+"=1", envDir+"="+cfg.Dir, envURL+"="+cfg.URL, envSchema+"="+cfg.Schema)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "sealing" {
		_ = cmd.Wait()
		t.Fatalf("the child did not begin: %s", said.String())
	}
	if between {
		lines.Scan() // something is sealed
		_ = cmd.Process.Kill()
	} else {
		kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
	}
	for lines.Scan() { // until it is dead, or done before the kill
	}
	if err := cmd.Wait(); err != nil && said.Len() > 0 {
		t.Fatalf("the child failed by itself: %v: %s", err, said.String())
	}
}
