package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// killLog is the network's memory of kills outside its database: a file to which
// every node appends each kill before the kill is acknowledged. It only grows. A
// database that does not know a kill that the log has is of an earlier time.
type killLog struct {
	path    string
	network string // whose kills; lines of another network are refused
	codec   *act.Codec

	mu     sync.Mutex
	file   *os.File            // guarded by mu
	agents map[act.ID]struct{} // guarded by mu: whose kill is in the file
}

// killLine is a line of the log, and of `reef network kills -o jsonl`.
type killLine struct {
	Network string `json:"network"`
	N       int64  `json:"n"`
	Epoch   string `json:"epoch"`
	Agent   string `json:"agent"`
	Name    string `json:"name"`
	Reason  string `json:"reason"`
	At      string `json:"at"`
}

const (
	killLogPerm    = 0o600
	killFolderPerm = 0o700
	maxKillLine    = 16 << 10
)

// openKillLog reads the log and opens it for appending; it makes an empty one if
// there is none. A last line that was cut short is dropped: its kill was not
// acknowledged by this node, or the database has it. Any other line that cannot
// be read is an error, because what it says cannot be known.
func openKillLog(path, network string, codec *act.Codec) (l *killLog, logged []Kill, err error) {
	bad := func(n int, why string) error {
		return fmt.Errorf("lifecycle: kill log: line %d of %s %s: mend it, or move the file away, compare it with what is known elsewhere and confirm with reef network confirm", n, path, why)
	}
	if err := os.MkdirAll(filepath.Dir(path), killFolderPerm); err != nil {
		return nil, nil, fmt.Errorf("lifecycle: kill log: %w", err)
	}
	l = &killLog{path: path, network: network, codec: codec, agents: make(map[act.ID]struct{})}
	if l.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, killLogPerm); err != nil {
		return nil, nil, fmt.Errorf("lifecycle: kill log: %w", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return l, nil, errors.Join(fmt.Errorf("lifecycle: kill log: %w", err), l.close())
	}
	whole := bytes.LastIndexByte(raw, '\n') + 1
	if whole < len(raw) {
		if err := l.file.Truncate(int64(whole)); err != nil {
			return l, nil, errors.Join(fmt.Errorf("lifecycle: kill log: %w", err), l.close())
		}
	}
	n := 0
	for line := range bytes.Lines(raw[:whole]) {
		n++
		k, err := l.parse(line)
		if err != nil {
			return l, nil, errors.Join(bad(n, err.Error()), l.close())
		}
		if _, twice := l.agents[k.Agent]; !twice {
			l.agents[k.Agent] = struct{}{}
			logged = append(logged, k)
		}
	}
	return l, logged, nil
}

func (l *killLog) parse(raw []byte) (k Kill, err error) {
	var line killLine
	if len(raw) > maxKillLine || json.Unmarshal(raw, &line) != nil {
		return k, errors.New("is no kill")
	}
	if line.Network != "" && line.Network != l.network { // reef network kills leaves it out
		return k, errors.New("is of another network")
	}
	if k.Agent, err = l.codec.ParseKind(line.Agent, act.KindAgent); err != nil {
		return k, errors.New("names no agent of this network")
	}
	k.Name, k.Reason = line.Name, line.Reason
	at, err := time.Parse(time.RFC3339, line.At)
	if err != nil {
		return k, errors.New("has no time")
	}
	k.At = act.Micros(at)
	return k, nil
}

// add appends the kills that are not in the log yet, and returns when they are on
// the disk.
func (l *killLog) add(list []Kill) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b bytes.Buffer
	var fresh []act.ID
	for _, k := range list {
		if _, known := l.agents[k.Agent]; known {
			continue
		}
		raw, err := json.Marshal(killLine{
			Network: l.network, N: k.Epoch.N, Epoch: k.Epoch.String(), Agent: l.codec.String(k.Agent), Name: k.Name, Reason: k.Reason,
			At: act.FromMicros(k.At).Format(act.WireTime),
		})
		if err != nil {
			return err
		}
		b.Write(append(raw, '\n'))
		fresh = append(fresh, k.Agent)
	}
	if len(fresh) == 0 {
		return nil
	}
	before, err := l.file.Stat()
	if err == nil {
		if _, err = l.file.Write(b.Bytes()); err == nil {
			err = l.file.Sync()
		}
	}
	if err != nil {
		if before != nil {
			_ = l.file.Truncate(before.Size()) // half a line would make the next one unreadable
		}
		return fmt.Errorf("lifecycle: kill log: %w", err)
	}
	for _, id := range fresh {
		l.agents[id] = struct{}{}
	}
	return nil
}

func (l *killLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
