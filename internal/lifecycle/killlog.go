package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// killLog is the network's memory of kills outside its database: a file to which
// every node appends each kill, of an agent or of a scope, before the kill is
// acknowledged. It only grows. A database that does not know a kill that the log has is
// of an earlier time.
type killLog struct {
	path    string
	network string // whose kills; lines of another network are refused
	codec   *act.Codec

	mu     sync.Mutex
	file   *os.File            // guarded by mu
	agents map[act.ID]struct{} // guarded by mu: whose kill is in the file
	scopes map[string]int64    // guarded by mu: when a scope was last killed, Unix microseconds
}

// scopeKill is the kill of a scope as the log has it. While its agents are being ended it
// is all that stops those who still wait for it.
type scopeKill struct {
	on     ScopeName
	reason string
	at     int64 // Unix microseconds
	seq    int64 // the newest event then
}

// killLine is a line of the log, and of `reef network kills -o jsonl`.
type killLine struct {
	Network string `json:"network"`
	N       int64  `json:"n,omitempty"`
	Epoch   string `json:"epoch,omitempty"`
	Agent   string `json:"agent,omitempty"`
	Name    string `json:"name,omitempty"`
	Scope   string `json:"scope,omitempty"` // of a scope, in place of the four above: "owner:ann"
	Seq     int64  `json:"seq,omitempty"`
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
// be read is an error, because what it says cannot be known. Of the kills of one scope
// only the last counts.
func openKillLog(path, network string, codec *act.Codec) (l *killLog, logged []Kill, scopes map[string]scopeKill, err error) {
	bad := func(n int, why string) error {
		return fmt.Errorf("lifecycle: kill log: line %d of %s %s: mend it, or move the file away, compare it with what is known elsewhere and confirm with reef network confirm", n, path, why)
	}
	if err := os.MkdirAll(filepath.Dir(path), killFolderPerm); err != nil {
		return nil, nil, nil, fmt.Errorf("lifecycle: kill log: %w", err)
	}
	scopes = make(map[string]scopeKill)
	l = &killLog{path: path, network: network, codec: codec, agents: make(map[act.ID]struct{}), scopes: make(map[string]int64)}
	if l.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, killLogPerm); err != nil {
		return nil, nil, nil, fmt.Errorf("lifecycle: kill log: %w", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return l, nil, nil, errors.Join(fmt.Errorf("lifecycle: kill log: %w", err), l.close())
	}
	whole := bytes.LastIndexByte(raw, '\n') + 1
	if whole < len(raw) {
		if err := l.file.Truncate(int64(whole)); err != nil {
			return l, nil, nil, errors.Join(fmt.Errorf("lifecycle: kill log: %w", err), l.close())
		}
	}
	n := 0
	for line := range bytes.Lines(raw[:whole]) {
		n++
		k, s, err := l.parse(line)
		if err != nil {
			return l, nil, nil, errors.Join(bad(n, err.Error()), l.close())
		}
		if k.Agent == 0 {
			scopes[l.text(s.on)], l.scopes[l.text(s.on)] = s, s.at
			continue
		}
		if _, twice := l.agents[k.Agent]; !twice {
			l.agents[k.Agent] = struct{}{}
			logged = append(logged, k)
		}
	}
	return l, logged, scopes, nil
}

// parse reads a line: the kill of an agent or, with no agent, that of a scope.
func (l *killLog) parse(raw []byte) (k Kill, s scopeKill, err error) {
	var line killLine
	if len(raw) > maxKillLine || json.Unmarshal(raw, &line) != nil {
		return k, s, errors.New("is no kill")
	}
	if line.Network != "" && line.Network != l.network { // reef network kills leaves it out
		return k, s, errors.New("is of another network")
	}
	at, err := time.Parse(time.RFC3339, line.At)
	if err != nil {
		return k, s, errors.New("has no time")
	}
	if line.Scope != "" {
		s = scopeKill{reason: line.Reason, at: act.Micros(at), seq: line.Seq}
		s.on, err = l.scopeOf(line.Scope)
		return k, s, err
	}
	if k.Agent, err = l.codec.ParseKind(line.Agent, act.KindAgent); err != nil {
		return k, s, errors.New("names no agent of this network")
	}
	k.Name, k.Reason, k.At = line.Name, line.Reason, act.Micros(at)
	return k, s, nil
}

// text is a scope as the log and the wire have it.
func (l *killLog) text(s ScopeName) string {
	switch {
	case s.Agent != 0:
		return s.Kind + ":" + l.codec.String(s.Agent)
	case s.Name != "":
		return s.Kind + ":" + s.Name
	}
	return s.Kind
}

func (l *killLog) scopeOf(text string) (s ScopeName, err error) {
	s.Kind, s.Name, _ = strings.Cut(text, ":")
	if !named(s.Kind) {
		return s, errors.New("names no scope")
	}
	if s.Kind == ScopeLineage.String() {
		if s.Agent, err = l.codec.ParseKind(s.Name, act.KindAgent); err != nil {
			return s, errors.New("names no agent of this network")
		}
		s.Name = ""
	}
	return s, nil
}

// addScopes appends the kills of scopes that are not in the log yet, as add does.
func (l *killLog) addScopes(list []scopeKill) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b bytes.Buffer
	for _, s := range list {
		if l.scopes[l.text(s.on)] >= s.at {
			continue
		}
		raw, err := json.Marshal(killLine{
			Network: l.network, Scope: l.text(s.on), Seq: s.seq, Reason: s.reason, At: act.FromMicros(s.at).Format(time.RFC3339Nano),
		})
		if err != nil {
			return err
		}
		b.Write(append(raw, '\n'))
	}
	if err := l.append(b.Bytes()); err != nil {
		return err
	}
	for _, s := range list {
		l.scopes[l.text(s.on)] = max(l.scopes[l.text(s.on)], s.at)
	}
	return nil
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
	if err := l.append(b.Bytes()); err != nil {
		return err
	}
	for _, id := range fresh {
		l.agents[id] = struct{}{}
	}
	return nil
}

// append writes whole lines, and returns when they are on the disk.
func (l *killLog) append(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	before, err := l.file.Stat()
	if err == nil {
		if _, err = l.file.Write(lines); err == nil {
			err = l.file.Sync()
		}
	}
	if err != nil {
		if before != nil {
			_ = l.file.Truncate(before.Size()) // half a line would make the next one unreadable
		}
		return fmt.Errorf("lifecycle: kill log: %w", err)
	}
	return nil
}

func (l *killLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
