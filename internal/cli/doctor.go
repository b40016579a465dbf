package cli

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/certificate"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/secret"
	"github.com/reefwarden/reefwarden/internal/server"
	"github.com/reefwarden/reefwarden/internal/store"
)

// finding is the result of one of doctor's checks.
type finding struct {
	Check  string `json:"check"`
	Result string `json:"result"` // ok, warn, fail or skip
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

const (
	fixRestore = "find out what was killed after the backup, then: reef network confirm --kills EPOCH|none --reason TEXT (or --kill-log FILE)"

	minDisk     = 1 << 30
	probeFor    = 2 * time.Second
	maxFindings = 5

	witnessLate = time.Minute // from when on it is said that witnesses are behind
)

func (a *app) doctor() *cobra.Command {
	c := &cobra.Command{
		Use: "doctor --data DIR", Short: "Check a network's configuration, files, storage and record", Args: cobra.NoArgs,
		Long: "Check a network: settings, permissions, disk, the server if it runs, and otherwise its\n" +
			"database, policy, record and counters, and how many rows each table has and may\n" +
			"have. Exits 1 when a check fails.",
	}
	a.outputFlag(c)
	given := settingFlags(c.Flags())
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := a.settings(given())
		found := examine(cmd.Context(), cfg, err)
		t := table{header: []string{"#", "CHECK", "RESULT", "DETAIL"}, whole: found}
		failed := 0
		for i, f := range found {
			detail := f.Detail
			if f.Fix != "" {
				detail += "; " + f.Fix
			}
			t.rows = append(t.rows, []string{fmt.Sprint(i + 1), f.Check, f.Result, detail})
			t.names = append(t.names, f.Check)
			t.items = append(t.items, f)
			if f.Result == "fail" {
				failed++
			}
		}
		if err := a.print(t); err != nil {
			return err
		}
		if failed > 0 {
			return fmt.Errorf("%d of %d checks fail", failed, len(found))
		}
		return nil
	}
	return c
}

// examine runs the checks in the order in which one explains the next.
func examine(ctx context.Context, cfg server.Config, err error) (found []finding) {
	add := func(check, result, detail, fix string) {
		found = append(found, finding{check, result, detail, fix})
	}
	if err == nil {
		err = cfg.Check()
	}
	if err != nil {
		add("settings", "fail", err.Error(), "see reef serve --help")
		return found
	}
	add("settings", "ok", "they fit together", "")
	if _, err := os.Stat(cfg.Data); err != nil {
		add("data directory", "fail", "it is not there", "start the network once: reef serve --data "+cfg.Data)
		return found
	}
	files := []string{cfg.TokenFile()}
	if cfg.KeyStore == "" {
		files = append(files, cfg.KeyPath())
	}
	for _, path := range files {
		name := filepath.Base(path)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			add(name, "warn", "it is not there", "it is made at the first start")
		case err != nil:
			add(name, "fail", err.Error(), "")
		case info.Mode().Perm()&0o077 != 0:
			add(name, "fail", fmt.Sprintf("others can read it (%o)", info.Mode().Perm()), "chmod 600 "+path)
		default:
			add(name, "ok", "only its owner can read it", "")
		}
	}
	if cfg.TLSCert != "" {
		examineCertificate(ctx, cfg, add)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(cfg.Data, &fs); err == nil {
		free := fs.Bavail * uint64(fs.Bsize)
		if free < minDisk {
			add("disk", "warn", fmt.Sprintf("%d MiB free", free>>20), "make room: writes are refused when it is full")
		} else {
			add("disk", "ok", fmt.Sprintf("%d GiB free", free>>30), "")
		}
	}
	examineExports(cfg, add)
	if running(ctx, cfg, add) && cfg.DB == "" {
		add("storage, policy, record, exposures, counters", "skip", "the running server has the database open", "stop it to have them checked")
		return found
	}
	examineStorage(ctx, cfg, add)
	return found
}

// soon is how long before its end a certificate is warned of.
const soon = 72 * time.Hour

func examineCertificate(ctx context.Context, cfg server.Config, add func(check, result, detail, fix string)) {
	const fix = "put a good certificate and its key into the files: a server that runs takes them within seconds"
	pair, err := certificate.Open(ctx, certificate.Config{Cert: cfg.TLSCert, Key: cfg.TLSKey, Clock: act.RealClock})
	if err != nil {
		add("certificate", "fail", err.Error(), fix)
		return
	}
	until := pair.State().NotAfter
	if left := time.Until(until); left < soon {
		add("certificate", "warn", "it ends "+until.UTC().Format(time.RFC3339), "renew it")
		return
	}
	add("certificate", "ok", "good until "+until.UTC().Format(time.RFC3339), "")
}

// running asks a server at the configured address whether it is ready.
func running(ctx context.Context, cfg server.Config, add func(check, result, detail, fix string)) bool {
	url := cfg.PublicURL
	if url == "" {
		url = "http://" + cfg.Addr
		if cfg.TLSCert != "" {
			url = "https://" + cfg.Addr
		}
	}
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return false
	}
	client := http.Client{Timeout: probeFor}
	resp, err := client.Do(req)
	if err != nil {
		add("server", "skip", "none answers at "+url, "")
		return false
	}
	var said struct {
		Agents string `json:"agents"`
		Policy string `json:"policy"`
		Detail string `json:"detail"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&said) // of another program: it says nothing
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusOK && said.Agents == "refused" {
		add("restore", "fail", "no agent is served at "+url+": "+said.Detail, fixRestore)
		return true
	}
	if resp.StatusCode != http.StatusOK {
		add("server", "fail", fmt.Sprintf("%s/readyz answers %d", url, resp.StatusCode), "read its log")
		return true
	}
	add("server", "ok", "ready at "+url, "")
	if said.Policy != "" {
		add("policy", "warn", said.Policy, "correct the operators' files: reef policy check DIR")
	}
	return true
}

func examineStorage(ctx context.Context, cfg server.Config, add func(check, result, detail, fix string)) {
	keys, err := cfg.OpenKeys(ctx, false)
	if err != nil {
		add("network key", "fail", err.Error(), "restore it from its backup: ids and credentials depend on it")
		return
	}
	switch form, _ := cfg.KeyForm(); form {
	case secret.Plain:
		add("network key", "ok", "it opens; it is in the clear (reef key seal encrypts it)", "")
	case secret.Sealed:
		add("network key", "ok", "it opens with "+cfg.KeyUnlock, "")
	default:
		add("network key", "ok", "it comes from "+cfg.KeyPlace(), "")
	}
	db, err := store.Open(ctx, cfg.Store())
	if errors.Is(err, store.ErrInUse) {
		add("storage, policy, record, exposures, counters", "skip", "a running server has the database open", "stop it to have them checked")
		return
	}
	if errors.Is(err, store.ErrUnfinished) {
		add("storage", "fail", "a restore into it was interrupted", "run reef restore again: it starts over")
		return
	}
	if err != nil {
		add("storage", "fail", err.Error(), "is another process using it?")
		return
	}
	defer db.Close() //nolint:errcheck // nothing was written
	if err := db.Pin(ctx, "network key", keys.Check()); err != nil {
		add("network key", "fail", "it is not the key this network was made with", "restore the right key file")
		return
	}
	add("storage", "ok", db.Dialect().String()+" answers, schema up to date, key fits", "")
	if c, err := lifecycle.ReadCondition(ctx, db); err != nil {
		add("kills", "fail", err.Error(), "")
	} else {
		add("kills", "ok", fmt.Sprintf("%d, kill epoch %s", c.Kills.N, c.Kills), "")
		if !c.Confirmed() {
			add("restore", "fail", "the network was restored to "+act.FromMicros(c.Restored.TakenAt).Format(time.RFC3339)+" and serves no agent", "serve it; "+fixRestore)
		}
	}
	examinePolicies(ctx, cfg, db, keys.PolicyKey(), add)
	examineDrills(ctx, db, cfg, add)
	examineRecord(ctx, cfg, db, keys, add)
	ends, err := provenance.CheckEnds(ctx, db)
	switch {
	case err != nil:
		add("edges", "fail", err.Error(), "")
	case len(ends) > 0:
		add("edges", "fail", strings.Join(ends[:min(len(ends), maxFindings)], "; "), "keep a copy before anything else is written")
	default:
		add("edges", "ok", "every end of an edge is there, or in the record", "")
	}
	lines, err := network.Check(ctx, db)
	switch {
	case err != nil:
		add("counters", "fail", err.Error(), "")
	case len(lines) > 0:
		add("counters", "fail", fmt.Sprintf("%d rules broken: %s", len(lines), strings.Join(lines[:min(len(lines), maxFindings)], "; ")), "report this: it is a defect")
	default:
		add("counters", "ok", "they equal their rows", "")
	}
	examineGrowth(ctx, db, cfg, add)
}

// examineRecord says whether the record is whole, what was shown is as it was sealed, and
// whether witnesses have seen it.
func examineRecord(ctx context.Context, cfg server.Config, db *store.DB, keys *identity.Keys, add func(check, result, detail, fix string)) {
	const fix = "keep a copy before anything else is written; reef audit verify says more"
	report, shown, err := server.VerifyRecord(ctx, cfg, keys, db, nil, nil)
	if err != nil {
		add("record", "fail", err.Error(), "")
		return
	}
	if report.OK() {
		add("record", "ok", fmt.Sprintf("%d leaves, dense and whole, %d under %d signed checkpoints, %d wait for a number",
			report.Leaves, report.Tree, report.Checkpoints, report.Waiting), "")
	} else {
		var lines []string
		for _, p := range report.Problems[:min(len(report.Problems), maxFindings)] {
			lines = append(lines, fmt.Sprintf("at %d: %s", p.Seq, p.What))
		}
		add("record", "fail", fmt.Sprintf("%d problems: %s", report.Bad, strings.Join(lines, "; ")), fix)
	}
	if len(shown.Problems) > 0 {
		add("exposures", "fail", strings.Join(shown.Problems[:min(len(shown.Problems), maxFindings)], "; "), fix)
	} else {
		add("exposures", "ok", fmt.Sprintf("%d pages with %d showings in %d segments of %d KiB, %d of them on record, %d pages not sealed yet",
			shown.Pages, shown.Items, shown.Segments, shown.Bytes>>10, len(report.Blocks), shown.Waiting), "")
	}
	if report.OK() && len(cfg.Witnesses) > 0 {
		examineWitnesses(ctx, cfg, db, keys, add)
	}
}

// examineWitnesses says how far behind the newest checkpoint the witnesses are.
func examineWitnesses(ctx context.Context, cfg server.Config, db *store.DB, keys *identity.Keys, add func(check, result, detail, fix string)) {
	state, err := server.RecordState(ctx, cfg, keys, db)
	late := act.FromMicros(state.Last.At).Sub(act.FromMicros(state.Served.At))
	switch {
	case err != nil:
		add("witnesses", "fail", err.Error(), "")
	case state.Last.Size > 0 && state.Served.Size == 0:
		add("witnesses", "warn", "no checkpoint has been cosigned by enough of them", "look into the log for why they do not cosign; the record goes on meanwhile")
	case late > witnessLate:
		add("witnesses", "warn", fmt.Sprintf("the last checkpoint that %d of them cosigned is %s older than the newest", state.Quorum, late.Round(time.Second)),
			"look into the log for why they do not cosign; the record goes on meanwhile")
	default:
		add("witnesses", "ok", fmt.Sprintf("%d of %d cosigned a checkpoint of %d leaves", state.Served.Witnesses, len(cfg.Witnesses), state.Served.Size), "")
	}
}

// examinePolicies says what is in force, and whether one operator alone can change it.
func examinePolicies(ctx context.Context, cfg server.Config, db *store.DB, key ed25519.PrivateKey, add func(check, result, detail, fix string)) {
	pub, _ := key.Public().(ed25519.PublicKey)
	var b *policy.Bundle
	var found, several bool
	err := db.View(ctx, func(v *store.View) (err error) {
		if b, found, err = policy.Load(v, pub); err != nil {
			return err
		}
		several, err = identity.SeveralOperators(v)
		return err
	})
	switch {
	case err != nil:
		add("policy", "fail", err.Error(), "nothing is allowed until a good bundle is in force: restore it from a backup")
	case !found:
		add("policy", "warn", "no bundle is kept", "it is made at the first start")
	case policy.DefaultsOf(b) < policy.DefaultVersion:
		add("policy", "warn", fmt.Sprintf("bundle %d has the defaults %d of an earlier release; this one has %d", b.Version, policy.DefaultsOf(b), int64(policy.DefaultVersion)),
			"start the server; if it says that the operators' files do not fit, correct them: reef policy check DIR")
	default:
		add("policy", "ok", fmt.Sprintf("bundle %d, defaults %d, %d files, %d of them operators', %d default policies left out",
			b.Version, policy.DefaultsOf(b), len(b.Files)+len(b.Tests), len(b.Own), len(b.Without)), "")
	}
	if several && !cfg.TwoPerson {
		add("two persons", "warn", "one operator alone can change the policies", "set two-person: a change then waits for a second operator's word")
	}
}

// examineDrills says how the controls held the last time that they were tried.
func examineDrills(ctx context.Context, db *store.DB, cfg server.Config, add func(check, result, detail, fix string)) {
	const fix = "look for drill.record in the record and the log, and stop agents in another way meanwhile: shut the server down"
	list, err := lifecycle.ReadDrills(ctx, db)
	if err != nil {
		add("drills", "fail", err.Error(), "")
		return
	}
	if len(list) == 0 {
		add("drills", "skip", "none was done yet", "")
		return
	}
	failed, held, oldest := []string{}, []string{}, list[0].At
	for _, d := range list {
		if oldest = min(oldest, d.At); d.Fault != "" {
			failed = append(failed, d.Control+": "+d.Fault)
			continue
		}
		held = append(held, fmt.Sprintf("%s in %s", d.Control, d.Ack.Round(time.Microsecond)))
	}
	at := act.FromMicros(oldest)
	switch {
	case len(failed) > 0:
		add("drills", "fail", strings.Join(failed, "; "), fix)
	case cfg.DrillEvery > 0 && db.Clock()().Sub(at) > 2*cfg.DrillEvery+time.Hour:
		add("drills", "warn", "the last one was at "+at.Format(time.RFC3339), "they are done while the network is served, every --drill-every")
	default:
		add("drills", "ok", strings.Join(held, ", ")+", at "+at.Format(time.RFC3339), "")
	}
}

// examineGrowth says of each table how large it is and what bounds it.
func examineGrowth(ctx context.Context, db *store.DB, cfg server.Config, add func(check, result, detail, fix string)) {
	grown, err := server.Growth(ctx, db, cfg)
	if err != nil {
		add("tables", "fail", err.Error(), "")
		return
	}
	for _, g := range grown {
		rows := fmt.Sprintf("%d rows", g.Rows)
		if g.About {
			rows = "about " + rows
		}
		result, fix := "ok", ""
		if wrong := g.Wrong(); wrong != "" {
			result, fix = "warn", wrong+": a running server does its housekeeping every ten minutes, and logs why if it cannot"
		}
		add("table "+g.Table, result, rows+"; "+g.Bound(), fix)
	}
}
