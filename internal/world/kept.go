package world

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
)

const (
	factsFile  = "world.json"
	agentsFile = "world.agents"

	keyChars   = 32 // of an agent's key, after its prefix
	agentBytes = 8 + 1 + keyChars
)

// Kept is a world in a data directory: what it is, and the agents with their keys,
// which the network itself knows by their hashes only. Anybody who can read the
// directory can be any of them: it is for measuring.
type Kept struct {
	Dir     string    `json:"-"`
	Agents  int       `json:"agents"`
	Seed    uint64    `json:"seed"`
	Begin   time.Time `json:"begin"`
	End     time.Time `json:"end"`
	Acts    int       `json:"acts"`
	Reads   int       `json:"reads"`
	Figures []Figure  `json:"figures"`

	residents []byte
}

// Keep writes what is kept of a world into its data directory.
func Keep(dir string, p *Plan, l *Lived, figures []Figure) (*Kept, error) {
	k := &Kept{Dir: dir, Agents: p.Agents, Seed: p.Seed, Begin: p.Begin, End: p.End, Acts: l.Acts, Reads: l.Reads, Figures: figures}
	k.residents = make([]byte, 0, len(l.Agents)*agentBytes)
	for i := range l.Agents {
		a := &l.Agents[i]
		key, ok := strings.CutPrefix(a.Key, identity.AgentKey.Prefix())
		if !ok || len(key) != keyChars {
			return nil, fmt.Errorf("agent %d has no key", i)
		}
		k.residents = binary.BigEndian.AppendUint64(k.residents, uint64(a.ID))
		flag := byte(0)
		if a.Claimed {
			flag = 1
		}
		k.residents = append(append(k.residents, flag), key...)
	}
	if err := os.WriteFile(filepath.Join(dir, agentsFile), k.residents, 0o600); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return nil, err
	}
	return k, os.WriteFile(filepath.Join(dir, factsFile), append(text, '\n'), 0o600)
}

// Open reads what is kept of a world.
func Open(dir string) (*Kept, error) {
	k := &Kept{Dir: dir}
	text, err := os.ReadFile(filepath.Join(dir, factsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no world", dir)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, k); err != nil {
		return nil, fmt.Errorf("%s: %w", factsFile, err)
	}
	if k.residents, err = os.ReadFile(filepath.Join(dir, agentsFile)); err != nil {
		return nil, err
	}
	if len(k.residents) != k.Agents*agentBytes {
		return nil, fmt.Errorf("%s has %d bytes, want %d for each of %d agents", agentsFile, len(k.residents), agentBytes, k.Agents)
	}
	return k, nil
}

// Resident returns an agent by number, 0 to Agents-1.
func (k *Kept) Resident(i int) Resident {
	b := k.residents[i*agentBytes:][:agentBytes]
	return Resident{
		ID: act.ID(binary.BigEndian.Uint64(b)), Claimed: b[8] == 1, Key: identity.AgentKey.Prefix() + string(b[9:]),
	}
}

// Find returns the number of the agent with an id. Agents are numbered in the order
// in which they registered, which is that of their ids.
func (k *Kept) Find(id act.ID) (i int, ok bool) {
	i = sort.Search(k.Agents, func(i int) bool { return k.id(i) >= id })
	return i, i < k.Agents && k.id(i) == id
}

func (k *Kept) id(i int) act.ID {
	return act.ID(binary.BigEndian.Uint64(k.residents[i*agentBytes:]))
}

// AppendKey appends an agent's key and reports whether the agent is claimed,
// without allocating.
func (k *Kept) AppendKey(dst []byte, i int) (key []byte, claimed bool) {
	b := k.residents[i*agentBytes:][:agentBytes]
	return append(append(dst, identity.AgentKey.Prefix()...), b[9:]...), b[8] == 1
}
