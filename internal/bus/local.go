package bus

import (
	"slices"
	"sync"
)

// Local is a hub inside one process. Buses that are opened on the same hub with
// the same prefix hear each other, as nodes on one NATS server would. The zero
// value is not usable; see [NewLocal].
type Local struct {
	mu   sync.RWMutex
	nets map[string][]*Bus // guarded by mu; the slices are never changed in place
}

// NewLocal returns an empty hub.
func NewLocal() *Local { return &Local{nets: map[string][]*Bus{}} }

func (l *Local) join(b *Bus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nets[b.prefix] = append(slices.Clone(l.nets[b.prefix]), b)
}

func (l *Local) leave(b *Bus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(l.nets[b.prefix]), func(m *Bus) bool { return m == b })
	if len(rest) == 0 {
		delete(l.nets, b.prefix)
		return
	}
	l.nets[b.prefix] = rest
}

// members returns the buses of one network; the slice is not to be changed.
func (l *Local) members(prefix string) []*Bus {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.nets[prefix]
}
