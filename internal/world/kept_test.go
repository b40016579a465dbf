package world

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

func TestKeptWorld(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "holds no world") {
		t.Errorf("an empty directory was opened: %v", err)
	}
	p := NewPlan(Options{Agents: MinAgents, Seed: 9, End: testEnd})
	l := &Lived{Acts: 5, Reads: 3, Agents: make([]Resident, MinAgents)}
	for i := range l.Agents {
		l.Agents[i] = Resident{ID: act.ID(1000 + i), Key: "moltbook_sk_" + strings.Repeat(string(rune('a'+i%26)), 32), Claimed: i%3 > 0}
	}
	if _, err := Keep(dir, p, l, []Figure{{Name: "one", Made: 2}}); err != nil {
		t.Fatal(err)
	}
	k, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if k.Agents != MinAgents || k.Seed != 9 || !k.End.Equal(p.End) || !k.Begin.Equal(p.Begin) || k.Acts != 5 || k.Reads != 3 || len(k.Figures) != 1 {
		t.Errorf("kept is %+v", k)
	}
	for i, a := range l.Agents {
		key, claimed := k.AppendKey(nil, i)
		if k.Resident(i) != a || string(key) != a.Key || claimed != a.Claimed {
			t.Fatalf("agent %d is kept as %+v, %q, %t; want %+v", i, k.Resident(i), key, claimed, a)
		}
		if n, ok := k.Find(a.ID); !ok || n != i {
			t.Fatalf("agent %d is found as %d, %t", i, n, ok)
		}
	}
	for _, id := range []act.ID{0, 999, act.ID(1000 + MinAgents)} {
		if n, ok := k.Find(id); ok {
			t.Errorf("agent %d is found by an id that is nobody's", n)
		}
	}
	for _, name := range []string{factsFile, agentsFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, agentsFile), 100); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a world without its agents was opened")
	}
	l.Agents[0].Key = ""
	if _, err := Keep(dir, p, l, nil); err == nil {
		t.Error("an agent without a key was kept")
	}
}
