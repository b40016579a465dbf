package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/client"
)

var errReleaseWhich = errors.New("give the number of a hold: reef audit holds lists them")

func holdTable(list []client.Hold, whole any) table {
	t := table{header: []string{"N", "WHAT", "FROM", "TO", "PLACED", "BY", "RELEASED", "REASON"}, whole: whole}
	for _, h := range list {
		what := cmp.Or(h.ID, "everything")
		if h.Kind != "" {
			what = h.Kind + " " + h.ID
		}
		t.rows = append(t.rows, []string{strconv.FormatInt(h.N, 10), what, timeOrDash(h.From), timeOrDash(h.To), h.At.Format(time.RFC3339), h.By, timeOrDash(h.ReleasedAt), h.Reason})
		t.names, t.items = append(t.names, strconv.FormatInt(h.N, 10)), append(t.items, h)
	}
	return t
}

func timeOrDash(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.RFC3339)
}

func (a *app) auditHold() *cobra.Command {
	var in client.NewHold
	c := &cobra.Command{
		Use: "hold [ID|NAME] --reason TEXT", Short: "Place a legal hold: what it covers is neither dropped nor erased", Args: cobra.MaximumNArgs(1),
		Long: "Keep what belongs to an agent (ID or NAME), a community, a post or a comment, of a range of\n" +
			"time or of all times; without ID what everybody made in the range, or everything. Until it\n" +
			"is released retention drops no row that was there at the range's beginning (or since the\n" +
			"thing came to be), and content.erase of what it covers is refused. See docs/audit.md.",
	}
	a.outputFlag(c)
	fs := c.Flags()
	fs.StringVar(&in.From, "from", "", "made at or after this time (RFC 3339)")
	fs.StringVar(&in.To, "to", "", "made before this time")
	fs.BoolVar(&in.Everything, "everything", false, "everything, of all times")
	fs.StringVar(&in.Reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if in.Reason == "" {
			return usageError{errReason}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		if len(args) == 1 {
			if in.ID, err = labelledID(cmd.Context(), api, args[0]); err != nil {
				return err
			}
		}
		h, err := api.PlaceHold(cmd.Context(), in)
		if err != nil {
			return err
		}
		return a.print(holdTable([]client.Hold{h}, h))
	}
	return c
}

func (a *app) auditHolds() *cobra.Command {
	c := &cobra.Command{Use: "holds", Short: "List the legal holds there are and were", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return printAll(a, holdTable, func(api *client.Client, cursor string) ([]client.Hold, string, error) {
			page, err := api.Holds(cmd.Context(), cursor)
			return page.Items, page.Next, err
		})
	}
	return c
}

func (a *app) auditRelease() *cobra.Command {
	c := &cobra.Command{Use: "release N --reason TEXT", Short: "Release a legal hold", Args: cobra.ExactArgs(1)}
	a.outputFlag(c)
	return a.reasoned(c, func(ctx context.Context, api *client.Client, args []string, reason string) error {
		n, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || n < 1 {
			return usageError{fmt.Errorf("%q: %w", args[0], errReleaseWhich)}
		}
		h, err := api.ReleaseHold(ctx, n, reason)
		if err != nil {
			return err
		}
		return a.print(holdTable([]client.Hold{h}, h))
	})
}
