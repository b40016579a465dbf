package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

const (
	importBatch    = 50
	importComments = 2000 // comments a batch carries before it is sent
	progressEvery  = 10 * time.Second
)

func (a *app) importing() *cobra.Command {
	c := &cobra.Command{
		Use: "import", Short: "Take over what agents wrote on another network",
		Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	a.targetFlags(c)
	c.AddCommand(a.importMoltbook(), a.importReddit())
	return c
}

func (a *app) importMoltbook() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use: "moltbook PATH…", Short: "Import raw responses of Moltbook's API", Args: cobra.MinimumNArgs(1),
		Long: "Import files, or folders of *.json, that hold raw responses of Moltbook's API: lists of posts,\n" +
			"single posts with their comments, lists of agents and of communities.\n\n" +
			"What is there already is left alone, so an import can be repeated and resumed. Imported\n" +
			"items are marked, their old ids resolve, and absent parents become placeholders.",
	}
	a.outputFlag(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "read and count, send nothing")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		world, err := readMoltbook(args)
		if err != nil {
			return err
		}
		return a.bring(cmd.Context(), world, dry)
	}
	return c
}

// bring says what was read and imports it.
func (a *app) bring(ctx context.Context, world *foreignWorld, dry bool) error {
	for _, line := range world.notes {
		fmt.Fprintln(a.diag, "note:", line)
	}
	fmt.Fprintf(a.diag, "read %d files: %d posts, %d comments, %d parents of comments are nowhere in them\n",
		world.files, len(world.posts), world.comments(), world.absent())
	if dry {
		return a.printImported(client.Imported{Posts: len(world.posts), Comments: world.comments(), Placeholders: world.absent()})
	}
	api, err := a.client()
	if err != nil {
		return err
	}
	done, err := a.send(ctx, api, world)
	if err != nil {
		fmt.Fprintln(a.diag, "the import stopped; run it again to go on where it was")
		return err
	}
	return a.printImported(done)
}

// send imports the world in batches and shows progress.
func (a *app) send(ctx context.Context, api *client.Client, w *foreignWorld) (total client.Imported, err error) {
	posts := w.ordered()
	tick := a.progress(len(posts))
	defer tick(-1)
	add := func(b client.Batch) error {
		b.Source = w.source
		done, err := api.Import(ctx, b)
		total.Posts += done.Posts
		total.Comments += done.Comments
		total.Authors += done.Authors
		total.Communities += done.Communities
		total.Known += done.Known
		total.Filled += done.Filled
		total.Placeholders += done.Placeholders
		return err
	}
	// Authors and communities come first: some of them wrote nothing that was
	// captured, or hold nothing.
	for list := range slices.Chunk(slices.SortedFunc(maps.Values(w.authors), byAuthor), importBatch) {
		if err := add(client.Batch{Authors: list}); err != nil {
			return total, err
		}
	}
	for list := range slices.Chunk(slices.SortedFunc(maps.Values(w.communities), byCommunity), importBatch) {
		if err := add(client.Batch{Communities: list}); err != nil {
			return total, err
		}
	}
	for len(posts) > 0 {
		n, nodes := 0, 0
		for n < len(posts) && n < importBatch && (n == 0 || nodes+len(posts[n].Tree) <= importComments) {
			nodes += len(posts[n].Tree)
			n++
		}
		if err := add(client.Batch{Posts: posts[:n]}); err != nil {
			return total, err
		}
		tick(n)
		posts = posts[n:]
	}
	return total, nil
}

func byAuthor(a, b client.ForeignAuthor) int { return strings.Compare(a.ID, b.ID) }

func byCommunity(a, b client.ForeignCommunity) int { return strings.Compare(a.Name, b.Name) }

// progress shows a bar on a terminal and a line now and then elsewhere. The
// returned function takes how many posts were done; -1 ends it.
func (a *app) progress(total int) func(n int) {
	if f, ok := a.diag.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		bar := progressbar.NewOptions(total, progressbar.OptionSetWriter(a.diag), progressbar.OptionSetDescription("import"), progressbar.OptionShowCount())
		return func(n int) {
			if n < 0 {
				_ = bar.Exit()
				fmt.Fprintln(a.diag)
				return
			}
			_ = bar.Add(n)
		}
	}
	done, last := 0, time.Now()
	return func(n int) {
		if n < 0 {
			return
		}
		done += n
		if time.Since(last) >= progressEvery {
			fmt.Fprintf(a.diag, "imported %d of %d posts\n", done, total)
			last = time.Now()
		}
	}
}

func (a *app) printImported(done client.Imported) error {
	t := table{header: []string{"WHAT", "COUNT"}, whole: done, items: []any{done}}
	for _, row := range []struct {
		what string
		n    int
	}{
		{"posts", done.Posts}, {"comments", done.Comments}, {"authors", done.Authors}, {"communities", done.Communities},
		{"already there", done.Known}, {"placeholders for absent parents", done.Placeholders}, {"placeholders filled", done.Filled},
	} {
		t.rows = append(t.rows, []string{row.what, fmt.Sprint(row.n)})
	}
	return a.print(t)
}

// badFile is a file that cannot be imported.
func badFile(path string, err error) error {
	if e, ok := errors.AsType[*act.Error](err); ok {
		return e
	}
	return act.Errorf(act.Invalid, "%s: %v", path, err).WithRule("import.file").
		WithHint("give raw responses of Moltbook's API, a JSON object in each file; or for reddit a comment in each line")
}
