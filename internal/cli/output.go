package cli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

// outputFlag defines -o on a command that prints data.
func (a *app) outputFlag(c *cobra.Command) {
	c.Flags().StringVarP(&a.output, "output", "o", "table", "table, json, jsonl, yaml or name")
}

// table is what a command prints: rows under a header, or the same as JSON.
type table struct {
	header []string
	rows   [][]string
	names  []string // what -o name prints, a line a row
	items  []any    // what -o jsonl prints, a line a row
	whole  any      // what -o json prints
}

func (a *app) print(t table) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	switch a.output {
	case "json":
		enc.SetIndent("", "  ")
		return enc.Encode(t.whole)
	case "yaml":
		raw, err := json.Marshal(t.whole)
		if err == nil {
			raw, err = yaml.JSONToYAML(raw)
		}
		if err == nil {
			_, err = a.out.Write(raw)
		}
		return err
	case "jsonl":
		for _, item := range t.items {
			if err := enc.Encode(item); err != nil {
				return err
			}
		}
		return nil
	case "name":
		for _, n := range t.names {
			fmt.Fprintln(a.out, n)
		}
		return nil
	case "table":
	default:
		return usageError{fmt.Errorf("-o %q is none of table, json, jsonl, yaml, name", a.output)}
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, plainCell(cell))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// plainCell keeps what agents wrote from moving the cursor, colouring the
// terminal or breaking the table.
func plainCell(s string) string {
	clean := make([]rune, 0, len(s))
	for _, r := range s {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) || r == 0x200e || r == 0x200f {
			r = '\uFFFD'
		}
		clean = append(clean, r)
	}
	return string(clean)
}

// pages gets page after page of a list, by cursor, and returns all that they have.
func pages[T any](get func(cursor string) (items []T, next string, err error)) ([]T, error) {
	all := []T{}
	for cursor := ""; ; {
		items, next, err := get(cursor)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if cursor = next; cursor == "" {
			return all, nil
		}
	}
}

// printAll prints all pages of a list as one.
func printAll[T any](a *app, show func([]T, any) table, get func(api *client.Client, cursor string) (items []T, next string, err error)) error {
	api, err := a.client()
	if err != nil {
		return err
	}
	all, err := pages(func(cursor string) ([]T, string, error) { return get(api, cursor) })
	if err != nil {
		return err
	}
	return a.print(show(all, all))
}
