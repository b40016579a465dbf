package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/store"
)

func (a *app) audit() *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "Check, prove and export the record of what was done",
		Long: "The record has a leaf for every act that changed something, was refused or failed. The leaves\n" +
			"stand in a Merkle tree whose head is signed: whoever has the log's public key checks leaves\n" +
			"without trusting the server. See docs/audit.md.",
	}
	a.targetFlags(c)
	c.AddCommand(a.auditShow(), a.auditVerify(), a.auditProve(), a.auditExport(), a.auditHold(), a.auditHolds(), a.auditRelease(),
		a.auditControls(), a.auditQueries(), a.auditQuery(), a.auditDefine(), a.auditWithdraw())
	return c
}

func (a *app) auditShow() *cobra.Command {
	var file string
	c := &cobra.Command{Use: "show", Short: "Show how far the record has come, and the key that it is checked with", Args: cobra.NoArgs}
	a.outputFlag(c)
	c.Flags().StringVar(&file, "checkpoint", "", "also write the signed checkpoint into this file, to be kept elsewhere")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		st, err := api.Log(cmd.Context())
		if err != nil {
			return err
		}
		if file != "" {
			if err := os.WriteFile(file, []byte(st.Checkpoint), 0o600); err != nil {
				return err
			}
		}
		return a.print(table{
			header: []string{"ORIGIN", "SIZE", "LEAVES", "WITNESSES", "KEY"},
			rows:   [][]string{{st.Origin, fmt.Sprint(st.Size), fmt.Sprint(st.Leaves), fmt.Sprintf("%d of %d", st.Witnesses, st.Quorum), st.Key}},
			names:  []string{st.Key}, items: []any{st}, whole: st,
		})
	}
	return c
}

// verdict is what a verification found.
type verdict struct {
	OK          bool      `json:"ok"`
	Origin      string    `json:"origin,omitempty"`
	From        int64     `json:"from,omitempty"`
	To          int64     `json:"to,omitempty"`
	Leaves      int64     `json:"leaves"`
	Size        int64     `json:"size"` // of the log under the last checkpoint
	Checkpoints int64     `json:"checkpoints"`
	Segments    int64     `json:"segments,omitempty"` // of what was shown
	Bad         int64     `json:"bad"`
	First       int64     `json:"first_bad,omitempty"`
	Problems    []problem `json:"problems"`
}

type problem struct {
	Seq  int64  `json:"seq,omitempty"`
	What string `json:"what"`
}

func verdictOf(r audit.Report) verdict {
	v := verdict{OK: r.OK(), Leaves: r.Leaves, Size: r.Tree, Checkpoints: r.Checkpoints, Bad: r.Bad, First: r.First().Seq, Problems: []problem{}}
	for _, p := range r.Problems {
		v.Problems = append(v.Problems, problem{p.Seq, p.What})
	}
	return v
}

// judge prints a verdict; one that is bad is an error.
func (a *app) judge(v verdict) error {
	t := table{header: []string{"RESULT", "LEAVES", "CHECKPOINT", "FIRST BAD", "WHAT"}, whole: v, names: []string{"whole"}, items: []any{v}}
	size := fmt.Sprint(v.Size)
	if v.OK {
		t.rows = [][]string{{"whole", fmt.Sprint(v.Leaves), size, "-", "every leaf is the one that was signed, and in its place"}}
		return a.print(t)
	}
	t.names = []string{"broken"}
	for _, p := range v.Problems {
		t.rows = append(t.rows, []string{"broken", fmt.Sprint(v.Leaves), size, fmt.Sprint(p.Seq), p.What})
	}
	if err := a.print(t); err != nil {
		return err
	}
	what := ""
	for _, p := range v.Problems {
		if p.Seq == v.First {
			what = p.What
			break
		}
	}
	return act.Errorf(act.Internal, "the record is not whole: %d problems, the first at leaf %d: %s", v.Bad, v.First, what).WithRule("audit.broken").
		WithHint("keep a copy of everything before anything else is written")
}

// auditFlags are what a verification goes by.
type auditFlags struct {
	key, network string
	witnesses    []string
	checkpoints  []string
}

func (f auditFlags) kept() (list [][]byte, err error) {
	for _, path := range f.checkpoints {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, configError{err}
		}
		list = append(list, raw)
	}
	return list, nil
}

func (a *app) auditVerify() *cobra.Command {
	var f auditFlags
	c := &cobra.Command{
		Use: "verify [FILE]", Short: "Check the record: of a server, of a stopped network, or an exported file", Args: cobra.MaximumNArgs(1),
		Long: "Check the record, and name the first leaf that is wrong.\n\n" +
			"With FILE, which reef audit export or reef audit prove has made, nothing else is needed\n" +
			"but the log's public key (--key).\n" +
			"With --data of a network whose database no process has open, everything is checked:\n" +
			"leaves against events, tree, signatures, what was sealed of what agents were shown, and\n" +
			"the checkpoint that the network keeps outside its database.\n" +
			"Else the leaves are read from the server and checked here: say with --key whom you trust,\n" +
			"or the server's word for its key is taken.",
	}
	a.outputFlag(c)
	fs := c.Flags()
	fs.StringVar(&f.key, "key", "", "the log's public key, NAME+HASH+KEY")
	fs.StringSliceVar(&f.checkpoints, "checkpoint", nil, "file with a checkpoint that was kept elsewhere: the log must go on from it")
	fs.StringSliceVar(&f.witnesses, "witness", nil, "key of a witness that must have cosigned the checkpoint, NAME+HASH+KEY")
	fs.StringVar(&f.network, "network", "", "with --data: the name of the network, if it is not the default one")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return a.verifyFile(cmd.Context(), args[0], f)
		}
		if data := orEnv(a.to.data, "REEF_DATA", ""); data != "" {
			err := a.verifyStopped(cmd.Context(), data, f)
			if !errors.Is(err, store.ErrInUse) {
				return err
			}
		}
		return a.verifyServer(cmd.Context(), f)
	}
	return c
}

// verifyFile checks a bundle or a proof.
func (a *app) verifyFile(ctx context.Context, path string, f auditFlags) error {
	if f.key == "" {
		return usageError{errors.New("give --key, the log's public key: what is in the file says nothing about whom to trust")}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return configError{err}
	}
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return a.verifyProof(raw, f.key)
	}
	b, err := audit.OpenBundle(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return act.Errorf(act.Invalid, "%s: %w", path, err).WithRule("audit.file").WithHint("give a file that reef audit export or reef audit prove has made")
	}
	in := audit.Inspection{From: b.About.From, To: b.About.To}
	return a.inspect(ctx, b.Fetch, in, f)
}

func (a *app) verifyProof(raw []byte, key string) error {
	var p audit.Proof
	if err := json.Unmarshal(raw, &p); err != nil {
		return act.Errorf(act.Invalid, "it is no proof: %w", err).WithRule("audit.file").WithHint("give a file that reef audit prove has made")
	}
	c, err := audit.CheckProof(p, key)
	v := verdict{OK: err == nil, Origin: c.Origin, Leaves: int64(len(p.Leaves)), Size: c.Size, Checkpoints: 1, Problems: []problem{}}
	if err != nil {
		v.Bad, v.Problems = 1, []problem{{What: err.Error()}}
	}
	return a.judge(v)
}

// inspect checks a log as somebody who trusts its key alone.
func (a *app) inspect(ctx context.Context, fetch audit.Fetch, in audit.Inspection, f auditFlags) error {
	var err error
	if in.Kept, err = f.kept(); err != nil {
		return err
	}
	work := a.work()
	in.Key, in.Witnesses, in.Watch = f.key, f.witnesses, func(seq int64) { work.tick("%d leaves checked", seq) }
	out, err := audit.Inspect(ctx, fetch, in)
	work.end()
	if err != nil {
		return err
	}
	v := verdictOf(out.Report)
	v.Origin, v.From, v.To = out.Checkpoint.Origin, out.From, out.To
	return a.judge(v)
}

func (a *app) verifyServer(ctx context.Context, f auditFlags) error {
	api, err := a.client()
	if err != nil {
		return err
	}
	if f.key, err = a.pinned(ctx, api, f.key); err != nil {
		return err
	}
	return a.inspect(ctx, api.LogFile, audit.Inspection{}, f)
}

// pinned returns the key that was given, or else the one that the server names.
func (a *app) pinned(ctx context.Context, api *client.Client, key string) (string, error) {
	if key != "" {
		return key, nil
	}
	st, err := api.Log(ctx)
	if err != nil {
		return "", err
	}
	fmt.Fprintln(a.diag, "the server's word is taken for its key; to trust it less, give --key", st.Key)
	return st.Key, nil
}

// verifyStopped checks a network whose database no other process has open, or one on
// PostgreSQL beside those that serve it.
func (a *app) verifyStopped(ctx context.Context, data string, f auditFlags) error {
	cfg, err := a.settings(map[string]any{"data": data})
	if err == nil {
		cfg, err = cfg.For(f.network)
	}
	if err == nil {
		err = cfg.Check()
	}
	if err != nil {
		return configError{err}
	}
	keys, err := cfg.OpenKeys(ctx, false)
	if errors.Is(err, fs.ErrNotExist) {
		return configError{fmt.Errorf("there is no network in %s: %w", data, err)}
	}
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, cfg.Store())
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing was written
	if len(f.witnesses) > 0 {
		return usageError{errors.New("with --data the witnesses are those of the network's settings: leave --witness out")}
	}
	if err := db.Pin(ctx, "network key", keys.Check()); err != nil {
		return err
	}
	kept, err := f.kept()
	if err != nil {
		return err
	}
	work := a.work()
	report, shown, err := server.VerifyRecord(ctx, cfg, keys, db, kept, func(n int64) { work.tick("%d leaves checked", n) })
	work.end()
	if err != nil {
		return err
	}
	v := verdictOf(report)
	v.Segments = shown.Segments
	state, err := server.RecordState(ctx, cfg, keys, db)
	if err == nil {
		v.Origin = state.Origin
	}
	if f.key != "" && err == nil && state.Key != f.key {
		v.OK, v.Bad = false, v.Bad+1
		v.Problems = append(v.Problems, problem{What: "the log's key is " + state.Key + ", and not the one that was given"})
	}
	for _, what := range shown.Problems {
		v.OK, v.Bad = false, v.Bad+1
		v.Problems = append(v.Problems, problem{What: what})
	}
	return a.judge(v)
}

func (a *app) auditProve() *cobra.Command {
	c := &cobra.Command{
		Use: "prove NUMBER|ID", Short: "Prove that acts are on record, by a leaf's number or a thing's id", Args: cobra.ExactArgs(1),
		Long: "Write a proof to stdout: leaves, the hashes that lead from them to the root, and the signed\n" +
			"checkpoint with that root. Who has the log's key checks it alone: reef audit verify FILE --key KEY.\n" +
			"Of a thing (a post, an agent) the first acts on it are proved, the making of it among them.",
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := a.client()
		if err != nil {
			return err
		}
		seq, err := strconv.ParseInt(args[0], 10, 64)
		id := ""
		if err != nil || seq < 1 {
			seq, id = 0, args[0]
		}
		proof, err := api.ProveLeaf(cmd.Context(), seq, id)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := json.Indent(&out, proof, "", "  "); err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, out.String())
		return err
	}
	return c
}

func (a *app) auditExport() *cobra.Command {
	var from, to, key string
	c := &cobra.Command{
		Use: "export FILE", Short: "Write a part of the record into a file that is checked without the server", Args: cobra.ExactArgs(1),
		Long: "Write leaves, the hashes that prove them, and the signed checkpoint into FILE, a zip with a\n" +
			"README. What is exported is checked on the way. FILE must not be there.",
	}
	a.outputFlag(c)
	fs := c.Flags()
	fs.StringVar(&from, "from", "", "the first leaf: its number, or a time (RFC 3339) at or after which it was written")
	fs.StringVar(&to, "to", "", "the last leaf: its number, or a time before which it was written")
	fs.StringVar(&key, "key", "", "the log's public key; the server's word is taken if empty")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.exportRecord(cmd.Context(), args[0], from, to, key)
	}
	return c
}

func (a *app) exportRecord(ctx context.Context, path, from, to, key string) (err error) {
	api, err := a.client()
	if err != nil {
		return err
	}
	if key, err = a.pinned(ctx, api, key); err != nil {
		return err
	}
	st, err := api.Log(ctx)
	if err != nil {
		return err
	}
	work := a.work()
	in := audit.Inspection{Key: key, Watch: func(seq int64) { work.tick("%d leaves exported", seq) }}
	if in.From, err = leafAt(ctx, api, from, st.Size, 0); err == nil {
		in.To, err = leafAt(ctx, api, to, st.Size, 1)
	}
	if err != nil {
		return err
	}
	if in.From > st.Size || in.To > 0 && in.From > in.To {
		return act.Errorf(act.NotFound, "there is no leaf in that range: the log has %d under its checkpoint", st.Size).WithRule("audit.range").WithHint("ask for others; the newest are under a checkpoint within seconds")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return configError{err}
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(path)
		}
	}()
	out, err := audit.Export(ctx, api.LogFile, in, f, time.Now())
	work.end()
	if err != nil {
		return err
	}
	v := verdictOf(out.Report)
	v.Origin, v.From, v.To = out.Checkpoint.Origin, out.From, out.To
	if err := a.judge(v); err != nil {
		return err
	}
	fmt.Fprintf(a.diag, "the leaves %d to %d are in %s; check it with: reef audit verify %s --key %s\n", out.From, out.To, path, filepath.Base(path), key)
	return nil
}

// leafAt reads a leaf's number, or finds it by a time; less is subtracted from what a time
// gives.
func leafAt(ctx context.Context, api *client.Client, text string, size, less int64) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
		return n, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, usageError{fmt.Errorf("%q is neither the number of a leaf nor a time like 2026-01-31T12:00:00Z", text)}
	}
	n, err := audit.Since(ctx, api.LogFile, size, act.Micros(at))
	if err == nil && n-less < 1 {
		err = act.Errorf(act.NotFound, "no leaf was written before %s", text).WithRule("audit.range").WithHint("ask for others")
	}
	return n - less, err
}
