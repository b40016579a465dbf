package manifest

import (
	"context"
	"sync/atomic"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Config says what manifests stand on. All fields are required.
type Config struct {
	Gate      *gate.Gate
	DB        *store.DB
	Lifecycle *lifecycle.Lifecycle
	Network   *network.Network
	Policies  *policy.Office
	Roles     *identity.Bindings
	Retention *audit.Retention
	Codec     *act.Codec
}

// Manifests keeps things as code. Safe for concurrent use.
type Manifests struct {
	Plan   *gate.ReadAct[Set, Plan]
	List   *gate.ReadAct[Query, []State]
	Get    *gate.ReadAct[Query, State]
	Export *gate.ReadAct[Query, File]

	Config
	apply *gate.WriteAct[Order, recorded] // see Apply
	kinds []*kind                         // in the order in which they are applied; written by New
	drift atomic.Int64
}

// New registers the acts on files. Policies that speak of acts are made after it.
func New(c Config) *Manifests {
	m := &Manifests{Config: c}
	m.kinds = m.kindsOf()
	for _, k := range m.kinds {
		k.whole = whole(k.name, k.doc, k.spec)
	}
	m.registerPlan(c.Gate)
	m.registerApply(c.Gate)
	m.registerLooks(c.Gate)
	return m
}

// Watch counts the objects that are not as their files say. Every node does so now and
// then, for Drift.
func (m *Manifests) Watch(ctx context.Context) error {
	var n int64
	if err := m.DB.View(ctx, func(v *store.View) error {
		n = 0
		var rows []row
		if err := v.All(qRows, func(r *store.Row) error {
			x, err := scanRow(r)
			rows = append(rows, x)
			return err
		}); err != nil {
			return err
		}
		for _, x := range rows {
			k := m.kind(x.kind)
			if k == nil {
				continue // of another release
			}
			s, _, err := k.state(v, x.owner, x)
			if err != nil {
				return err
			}
			if s.Drifted() {
				n++
			}
		}
		return nil
	}); err != nil {
		return err
	}
	m.drift.Store(n)
	return nil
}

// Drift is how many objects were not as their files say when Watch looked last.
func (m *Manifests) Drift() int64 { return m.drift.Load() }
