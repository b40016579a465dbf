package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/store/storetest"
)

// Every table of the schema says what bounds it, and no other.
func TestRetentionNamesEveryTable(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		columns, err := db.Schema(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var have, listed []string
		for _, c := range columns {
			have = append(have, c.Table)
		}
		if db.Dialect() == store.SQLite {
			have = append(have, "findable") // a virtual table is not in Schema
		}
		slices.Sort(have)
		have = slices.Compact(have)
		for _, k := range server.Retention(server.Config{}) {
			listed = append(listed, k.Table)
			if k.Grows == "" || k.Fixed == 0 && len(k.Each) == 0 && len(k.Ages) == 0 && k.Stays == "" {
				t.Errorf("%s has no bound and no reason to stay, or does not say what makes it grow", k.Table)
			}
			for _, e := range k.Each {
				if !slices.Contains(have, e.Of) {
					t.Errorf("the bound of %s hangs on %s, which is no table", k.Table, e.Of)
				}
			}
		}
		slices.Sort(listed)
		if !slices.Equal(have, listed) {
			t.Errorf("tables of the schema:\n%s\nof server.Retention:\n%s", strings.Join(have, " "), strings.Join(listed, " "))
		}
		grown, err := server.Growth(context.Background(), db, server.Config{})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range grown {
			if wrong := g.Wrong(); wrong != "" {
				t.Errorf("%s of an empty network: %s", g.Table, wrong)
			}
			if g.Table == "node" && g.Rows != 128 {
				t.Errorf("%d rows of node are counted, there are 128", g.Rows)
			}
		}
	})
}
