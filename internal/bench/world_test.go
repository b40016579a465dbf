package bench

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/world"
)

// A world that is made is checked, measured and kept, and nothing else is left.
func TestWorld(t *testing.T) {
	kept := filepath.Join(t.TempDir(), "kept")
	figures := bench(t, "world", "--agents", "1000", "--seed", "4", "--check", "--keep", kept)
	for _, metric := range []string{"acts", "reads", "act_rate", "made_s", "db_mb", "bytes_per_agent", "bytes_per_act", "rss_mb"} {
		want(t, figures, dbSQLite, "", "", metric)
	}
	k, err := world.Open(kept)
	if err != nil {
		t.Fatal(err)
	}
	calibrated := 0
	for _, f := range figures {
		if f.Variant == "calibration" {
			calibrated++
		}
		if f.Metric == "acts" && int(f.Value) != k.Acts {
			t.Errorf("%v acts are printed, %d are kept", f.Value, k.Acts)
		}
	}
	if calibrated == 0 || k.Agents != 1000 || k.Seed != 4 || len(k.Figures) != calibrated {
		t.Errorf("kept are %d agents of seed %d with %d figures, printed were %d", k.Agents, k.Seed, len(k.Figures), calibrated)
	}
	if info, err := os.Stat(databaseFile(kept)); err != nil || info.Size() == 0 {
		t.Errorf("no database is kept: %v", err)
	}
	// What is there is not overwritten, nor removed.
	c := Command(io.Discard, io.Discard)
	c.SetArgs([]string{"world", "--agents", "1000", "--keep", kept})
	c.SilenceErrors, c.SilenceUsage = true, true
	if err := c.ExecuteContext(t.Context()); err == nil {
		t.Error("a world was made over another one")
	}
	if _, err := world.Open(kept); err != nil {
		t.Errorf("the world that was there is gone: %v", err)
	}
}

func TestWorldFlags(t *testing.T) {
	for _, args := range [][]string{
		{"--agents", "10"}, {"--agents", "2000000"}, {"--db", "both"}, {"--db", "postgres", "--keep", "x"}, {"-o", "xml"},
	} {
		c := Command(io.Discard, io.Discard)
		c.SetArgs(append([]string{"world"}, args...))
		c.SilenceErrors, c.SilenceUsage = true, true
		if err := c.ExecuteContext(t.Context()); act.CodeOf(err) != act.Invalid {
			t.Errorf("%v: %v, want invalid", args, err)
		}
	}
}
