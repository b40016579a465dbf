package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/client"
)

func (a *app) networkShow() *cobra.Command {
	c := &cobra.Command{
		Use: "show", Short: "Show a network's kill epoch, and whether it was restored", Args: cobra.NoArgs,
	}
	a.outputFlag(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		n, err := api.Network(cmd.Context())
		if err != nil {
			return err
		}
		return a.print(conditionTable(n))
	}
	return c
}

func conditionTable(n client.NetworkInfo) table {
	t := table{header: []string{"AGENTS", "KILL EPOCH", "STATE OF", "RESTORED", "CONFIRMED", "REASON"}, whole: n, items: []any{n}, names: []string{n.KillEpoch}}
	row := []string{n.Agents, n.KillEpoch, "", "", "", ""}
	if r := n.Restoration; r != nil {
		row[2] = stamp(r.TakenAt)
		row[3], row[4], row[5] = stamp(r.RestoredAt), stamp(r.ConfirmedAt), r.Reason
	}
	t.rows = [][]string{row}
	return t
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339)
}

func (a *app) networkKills() *cobra.Command {
	var after int64
	c := &cobra.Command{
		Use: "kills", Short: "List every kill there was, by number", Args: cobra.NoArgs,
		Long: "List every kill there was, by number. With -o jsonl it is a kill log, to be kept where the\n" +
			"network is not and given to reef network confirm --kill-log after a restore.",
	}
	a.outputFlag(c)
	c.Flags().Int64Var(&after, "after", 0, "only those with a higher number")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		list, err := allKills(cmd.Context(), api, after)
		if err != nil {
			return err
		}
		return a.print(killTable(list))
	}
	return c
}

func allKills(ctx context.Context, api *client.Client, after int64) ([]client.KillInfo, error) {
	return pages(func(cursor string) ([]client.KillInfo, string, error) {
		page, err := api.Kills(ctx, after, 0, cursor)
		return page.Items, page.Next, err
	})
}

func killTable(list []client.KillInfo) table {
	t := table{header: []string{"N", "KILLED AT", "NAME", "AGENT", "REASON"}, whole: list}
	for _, k := range list {
		t.rows = append(t.rows, []string{fmt.Sprint(k.N), stamp(k.At), k.Name, k.Agent, k.Reason})
		t.names, t.items = append(t.names, k.Agent), append(t.items, k)
	}
	return t
}

func (a *app) networkConfirm() *cobra.Command {
	var kills, log, reason string
	c := &cobra.Command{
		Use: "confirm {--kills EPOCH | --kill-log FILE} --reason TEXT", Short: "Let agents act in a restored network", Args: cobra.NoArgs,
		Long: "A restored network serves no agent before an operator has confirmed which agents were ever\n" +
			"killed: one that was killed after the backup is alive in it. Say what you know from\n" +
			"elsewhere:\n\n" +
			"  --kills none         nobody was killed after the backup\n" +
			"  --kills 17-5d0c2a91  a kill epoch, as reef agent kill and the kill log show it; 17 alone\n" +
			"                       compares the number and not the agents\n" +
			"  --kill-log FILE      kills every agent and scope of a kill log that the network does not know as\n" +
			"                       killed, and confirms\n\n" +
			"It is refused as long as the network lacks a kill that you name.",
	}
	a.outputFlag(c)
	c.Flags().StringVar(&kills, "kills", "", `the kill epoch that you know of, or "none" since the backup`)
	c.Flags().StringVar(&log, "kill-log", "", "a kill log of the network: kills.log of one of its nodes")
	c.Flags().StringVar(&reason, "reason", "", "why; goes on record")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case reason == "":
			return usageError{errors.New("--reason is required: it goes on record")}
		case (kills == "") == (log == ""):
			return usageError{errors.New("give --kills or --kill-log: what do you know of kills after the backup?")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		if log != "" {
			if kills, err = a.killAgain(cmd.Context(), api, log); err != nil {
				return err
			}
		}
		n, err := api.Confirm(cmd.Context(), kills, reason)
		if err != nil {
			return err
		}
		return a.print(conditionTable(n))
	}
	return c
}

// killAgain kills what a kill log names and the network does not know as killed: scopes
// first, because they stop at once. It returns the network's epoch after that.
func (a *app) killAgain(ctx context.Context, api *client.Client, path string) (epoch string, err error) {
	logged, scopes, err := readKillLog(path)
	if err != nil {
		return "", err
	}
	if err := a.containAgain(ctx, api, scopes); err != nil {
		return "", err
	}
	known, err := allKills(ctx, api, 0)
	if err != nil {
		return "", err
	}
	dead := make(map[string]bool)
	for _, k := range known {
		dead[k.Agent] = true
	}
	work, done := a.work(), 0
	defer work.end()
	for i, k := range logged {
		if dead[k.Agent] {
			continue
		}
		work.tick("killing again: %d of %d (%s)", i, len(logged), plainCell(k.Name))
		if err := killOneAgain(ctx, api, k); err != nil {
			return "", fmt.Errorf("kill %s again: %w", plainCell(k.Name), err)
		}
		dead[k.Agent] = true
		done++
	}
	fmt.Fprintf(a.diag, "%d of %d kills were not known and are applied\n", done, len(logged))
	n, err := api.Network(ctx)
	return n.KillEpoch, err
}

// containAgain kills the scopes that were killed after the backup.
func (a *app) containAgain(ctx context.Context, api *client.Client, scopes []scopeLine) error {
	if len(scopes) == 0 {
		return nil
	}
	now, err := api.Network(ctx)
	if err != nil {
		return err
	}
	list, err := api.Scopes(ctx)
	if err != nil {
		return err
	}
	dead := make(map[string]bool)
	for _, c := range list {
		dead[c.Scope] = dead[c.Scope] || c.Does == "killed"
	}
	for _, s := range scopes {
		if r := now.Restoration; dead[s.Scope] || r != nil && r.TakenAt != nil && s.At.Before(*r.TakenAt) {
			continue
		}
		_, err := api.Contain(ctx, s.Scope, "kill", again(s.Reason))
		switch {
		case act.CodeOf(err) == act.NotFound:
			fmt.Fprintf(a.diag, "%s is not in this state of the network, as is whoever was in it\n", plainCell(s.Scope))
		case err != nil:
			return fmt.Errorf("kill %s again: %w", plainCell(s.Scope), err)
		default:
			fmt.Fprintf(a.diag, "%s is killed again\n", plainCell(s.Scope))
		}
		dead[s.Scope] = true
	}
	return nil
}

// again is the reason of a kill that is repeated.
func again(reason string) string {
	r := []rune("killed before: " + reason)
	return string(r[:min(len(r), maxReason)])
}

func killOneAgain(ctx context.Context, api *client.Client, k client.KillInfo) error {
	k.Reason = again(k.Reason)
	_, err := api.Kill(ctx, k.Agent, k.Reason)
	if code := act.CodeOf(err); code == act.NotFound || code == act.Conflict { // not here, or expired
		_, err = api.NoteKill(ctx, k)
	}
	return err
}

const (
	maxReason   = 500
	maxKillLine = 16 << 10
)

// scopeLine is the kill of a scope in a kill log.
type scopeLine struct {
	Scope  string    `json:"scope"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// readKillLog reads a kill log, or what reef network kills -o jsonl printed. A last
// line that was cut short is dropped, as the server does.
func readKillLog(path string) (list []client.KillInfo, scopes []scopeLine, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, act.Errorf(act.NotFound, "there is no file %s", path)
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxKillLine)
	bad := 0
	for n := 1; lines.Scan(); n++ {
		var k client.KillInfo
		if bad > 0 {
			return nil, nil, act.Errorf(act.Invalid, "line %d of %s is no kill", bad, path).WithRule("kill.log").
				WithHint("give a kill log: a JSON object in each line, with agent, name, reason and at")
		}
		if len(lines.Bytes()) == 0 {
			continue
		}
		var s scopeLine
		if json.Unmarshal(lines.Bytes(), &s) == nil && s.Scope != "" && !s.At.IsZero() {
			scopes = append(scopes, s)
			continue
		}
		if json.Unmarshal(lines.Bytes(), &k) != nil || k.Agent == "" || k.Reason == "" {
			bad = n
			continue
		}
		list = append(list, k)
	}
	if err := lines.Err(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	if bad > 0 && len(list)+len(scopes) == 0 {
		return nil, nil, act.Errorf(act.Invalid, "%s is no kill log", path).WithRule("kill.log").WithHint("give kills.log of one of the network's nodes")
	}
	return list, scopes, nil
}

func (a *app) networkNote() *cobra.Command {
	var k client.KillInfo
	c := &cobra.Command{
		Use: "note-kill ID --reason TEXT", Short: "Note the kill of an agent that a restored network does not know", Args: cobra.ExactArgs(1),
	}
	a.outputFlag(c)
	c.Flags().StringVar(&k.Name, "name", "", "what the agent was called")
	c.Flags().StringVar(&k.Reason, "reason", "", "why it was killed; goes on record")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if k.Reason == "" {
			return usageError{errors.New("--reason is required: it goes on record")}
		}
		api, err := a.client()
		if err != nil {
			return err
		}
		k.Agent = args[0]
		made, err := api.NoteKill(cmd.Context(), k)
		if err != nil {
			return err
		}
		return a.print(killTable([]client.KillInfo{made}))
	}
	return c
}
