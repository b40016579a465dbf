package policy

import (
	"testing"

	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

const qTestSpoil store.Q = `UPDATE policy_bundle SET body = $2 WHERE version = $1`

func TestKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		load := func() (b *Bundle, found bool, err error) {
			err = db.View(t.Context(), func(v *store.View) error {
				b, found, err = Load(v, testPub(1))
				return err
			})
			return b, found, err
		}
		save := func(b *Bundle) error {
			return db.Write(t.Context(), func(tx *store.Tx) error { _, err := Save(tx, b, Origin{Source: SourceOperator}); return err })
		}
		if _, found, err := load(); found || err != nil {
			t.Fatalf("an empty database holds a bundle: %v, %v", found, err)
		}
		const text = `@id("all") permit (principal, action, resource);`
		one, three := bundle(t, 1, text), bundle(t, 3, text)
		for _, b := range []*Bundle{one, three, three} {
			if err := save(b); err != nil {
				t.Fatal(err)
			}
		}
		for name, b := range map[string]*Bundle{"older": one, "between": bundle(t, 2, text), "same, changed": bundle(t, 3, text+" ")} {
			if err := save(b); ruleOf(err) != "bundle.version" {
				t.Errorf("%s: %v", name, err)
			}
		}
		got, found, err := load()
		if err != nil || !found || got.Version != 3 || got.Digest != three.Digest {
			t.Fatalf("loaded %+v, %v, %v", got, found, err)
		}
		e := newEngine(t, &people{}, nil)
		if err := e.Activate(got); err != nil || e.Version() != 3 {
			t.Errorf("activate what was kept: %v", err)
		}
		// T61: what is kept may be spoiled; the older one does not come back.
		if err := db.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(qTestSpoil, 3, []byte(`{"schema":1}`))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if b, found, err := load(); err == nil || found {
			t.Errorf("a spoiled bundle was passed over: %+v", b)
		}
	})
}
