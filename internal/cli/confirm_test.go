package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

// A kill log has lines of agents and of scopes; a last line that was cut short counts for
// nothing, any other that cannot be read is an error.
func TestReadKillLog(t *testing.T) {
	const (
		agent = `{"network":"n","n":1,"epoch":"1-0a","agent":"a-1","name":"ada","reason":"astray","at":"2026-11-30T06:00:00Z"}` + "\n"
		scope = `{"network":"n","scope":"owner:ann","seq":7,"reason":"left","at":"2026-11-30T06:00:00.000001Z"}` + "\n"
	)
	read := func(text string) (agents, scopes int, err error) {
		path := filepath.Join(t.TempDir(), "kills.log")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, of, err := readKillLog(path)
		return len(list), len(of), err
	}
	for _, c := range []struct {
		text           string
		agents, scopes int
		rule           string
	}{
		{agent + scope, 1, 1, ""},
		{scope + `{"network":"n","sco`, 0, 1, ""},
		{`{"scope":"owner:ann"}` + "\n" + agent, 0, 0, "kill.log"},
		{`not a log`, 0, 0, "kill.log"},
	} {
		agents, scopes, err := read(c.text)
		if agents != c.agents || scopes != c.scopes || (err != nil) != (c.rule != "") || err != nil && act.AsError(err).Rule != c.rule {
			t.Errorf("%q: %d agents, %d scopes, %v", c.text, agents, scopes, err)
		}
	}
}
