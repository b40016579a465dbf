package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	minReps    = 5
	maxScale   = 1000
	maxConns   = 1024
	maxSeconds = 600
	minBase    = 1000
	maxBase    = 100_000

	maxPolicies = 10_000
)

// Command returns `reef bench`: a subcommand for each scenario. Figures go to
// out, progress and profiles to diag.
func Command(out, diag io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use: "bench", Short: "Measure this build beside its baselines",
		Long: "Measure this build on this machine, beside baselines that run in turns with it.\n" +
			"Everything stays on loopback and in temporary directories; it stops by itself.\n\n" +
			"The figures are ratios first: what the machine does besides meets both sides.",
	}
	root.AddCommand(
		scenarioCommand(out, diag, "post", "Measure governed posts against bare net/http with the same rows", post),
		scenarioCommand(out, diag, "feed", "Measure governed feed pages against bare net/http with the same bytes", feed),
		scenarioCommand(out, diag, "votes", "Measure governed votes against bare net/http with the same rows", votes),
		scenarioCommand(out, diag, "home", "Measure the governed heartbeat against the same reads and the same bytes", home),
		scenarioCommand(out, diag, "search", "Measure governed search against the same reads of the index", search),
		scenarioCommand(out, diag, "messages", "Measure governed sealed messages against bare net/http with the same rows", messages),
		scenarioCommand(out, diag, "backup", "Measure governed posts while backups are taken against the same without", backups),
		scenarioCommand(out, diag, "token", "Measure what tokens cost to issue and to verify against the signatures alone", tokens),
		scenarioCommand(out, diag, "revoke", "Measure how long a token's revocation takes on every node, beside acts of other agents", revocations),
		scenarioCommand(out, diag, "kill", "Measure how long a stop takes, from its call to the last refused act on every node: of an agent, a line, an owner's agents and all", kills),
		scenarioCommand(out, diag, "gate", "Measure what a decision costs with up to 10,000 policies, against cedar-go without an index and OPA", gates),
		scenarioCommand(out, diag, "spawn", "Measure what it costs to make children, and to look for those whose time is over", spawns),
		scenarioCommand(out, diag, "plan", "Measure what planning 5, 50 and 500 objects as code costs", plans),
		scenarioCommand(out, diag, "audit", "Measure what leaves of the record cost to write, to take into the tree, to verify and to prove", records),
		scenarioCommand(out, diag, "why", "Measure the question why something was done, against a recursive query", whys),
		scenarioCommand(out, diag, "blast", "Measure the question how far something has spread, against a recursive query", blasts),
		scenarioCommand(out, diag, "exposure", "Measure what the record of what was shown costs to keep, and to make while feeds are read", exposures),
		scenarioCommand(out, diag, "start", "Measure the start of an empty network", start),
		worldCommand(out, diag),
		mixCommand(out, diag),
		childCommand(out, diag),
	)
	return root
}

func scenarioCommand(out, diag io.Writer, name, short string, scenario func(*runner, context.Context) error) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs}
	var o options
	var output, db, scales string
	f := c.Flags()
	f.StringVarP(&output, "output", "o", "table", "table or json (a line for each figure)")
	f.StringVar(&db, "db", "both", "sqlite, postgres or both")
	f.StringVar(&o.dbURL, "db-url", "", "PostgreSQL server to measure on; DATABASE_URL if empty, else a private one is started")
	f.IntVar(&o.reps, "reps", minReps, "repetitions of each side")
	f.StringVar(&o.dir, "dir", "", "where to put temporary directories; its disk is what is measured")
	switch name {
	case "home":
		f.StringVar(&o.onWorld, "world", "", "measure on this kept world (SQLite), in which the agents' heartbeats are noted; --scale and --base do not count")
	case "feed", "post", "votes":
		f.StringVar(&o.onWorld, "world", "", "measure on a copy of this kept world (SQLite), one for all sides; --scale and --base do not count")
	case "start":
		f.StringVar(&o.onWorld, "world", "", "measure the start with this kept world (SQLite) instead of an empty network")
	}
	loaded := name != "start" && name != "plan"
	if loaded {
		f.Float64Var(&o.seconds, "seconds", 2, "length of a repetition")
		f.StringVar(&scales, "scale", "1,10,100", "how many times the least data, with commas")
		f.IntVar(&o.conns, "conns", 64, "connections, each with one request under way")
		f.IntVar(&o.agents, "agents", 1000, "agents that take turns")
		f.IntVar(&o.base, "base", 10_000, "the least data of votes, home, search, backup (posts) and messages (messages)")
		f.StringVar(&o.profile, "profile", "", "write a CPU profile of the governed side to this file, and print where the time goes")
	}
	switch name {
	case "revoke":
		f.Lookup("base").Usage, f.Lookup("base").DefValue, o.base = "the least number of agents, each with a token that every node has seen", "10000", 10_000
		f.Lookup("scale").DefValue, scales = "1,10", "1,10"
		f.StringVar(&o.nats, "nats", "", "NATS server between the two nodes on PostgreSQL; without it they ask the database alone")
	case "kill":
		f.Lookup("base").Usage, f.Lookup("base").DefValue, o.base = "the least number of live agents", "100000", 100_000
		f.Lookup("scale").DefValue, scales = "1", "1"
		f.StringVar(&o.nats, "nats", "", "NATS server between the three nodes on PostgreSQL; without it they ask the database alone")
	case "gate":
		f.Lookup("base").Usage, f.Lookup("base").DefValue, o.base = "live agents, of whom it is looked up whether they were stopped", "100000", 100_000
		f.Lookup("scale").DefValue, scales = "1", "1"
		f.Lookup("db").DefValue, db = dbSQLite, dbSQLite
		f.IntVar(&o.policies, "policies", maxPolicies, "the most policies, from 10 on ten times as many each time")
		f.StringVar(&o.opa, "opa", "bin/opapeer", "program of the OPA peer; tools/peer.sh opa builds it")
	case "audit":
		f.Lookup("base").Usage, f.Lookup("base").DefValue, o.base = "the least number of leaves", "10000", 10_000
	case "spawn":
		f.Lookup("base").Usage, f.Lookup("base").DefValue, o.base = "the least number of agents with a lease", "16000", 16_000
	case "why", "blast", "exposure":
		f.Lookup("scale").Usage, f.Lookup("scale").DefValue, scales = "how many million edges (things shown to agents), with commas; the peers are asked at the first", "1,20", "1,20"
	case "token":
		f.Lookup("base").Usage, f.Lookup("base").DefValue, o.base = "the least number of agents, each with a key and a grant", "16000", 16_000
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := o.set(output, db, scales, loaded); err != nil {
			return err
		}
		if o.onWorld != "" {
			if db == dbPostgres {
				return badFlag("db", "a kept world is on SQLite")
			}
			o.dbs = []string{dbSQLite}
		}
		return o.run(cmd.Context(), name, out, diag, scenario)
	}
	return c
}

func badFlag(flag, hint string) error {
	return act.Errorf(act.Invalid, "--%s makes no sense", flag).WithRule("bench." + flag).WithHint(hint)
}

// set checks the flags and takes over those that need reading.
func (o *options) set(output, db, scales string, loaded bool) error {
	bad := badFlag
	switch output {
	case "json":
		o.json = true
	case "table":
	default:
		return bad("output", "choose table or json")
	}
	switch db {
	case dbSQLite, dbPostgres:
		o.dbs = []string{db}
	case "both":
		o.dbs = []string{dbSQLite, dbPostgres}
	default:
		return bad("db", "choose sqlite, postgres or both")
	}
	if o.dbURL == "" {
		o.dbURL = os.Getenv("DATABASE_URL") //arch:allow the server that tests use too; no setting of a network
	}
	if o.reps < 1 {
		return bad("reps", fmt.Sprintf("give at least 1; figures to rely on need %d", minReps))
	}
	if !loaded {
		return nil
	}
	switch {
	case !(o.seconds > 0 && o.seconds <= maxSeconds):
		return bad("seconds", fmt.Sprintf("give a number above 0, %d at most", maxSeconds))
	case o.conns < 1 || o.conns > maxConns:
		return bad("conns", fmt.Sprintf("give 1 to %d", maxConns))
	case o.agents < o.conns || o.agents > 1<<16:
		return bad("agents", "give at least as many as connections, 65536 at most")
	case o.policies != 0 && (o.policies < 10 || o.policies > maxPolicies):
		return bad("policies", fmt.Sprintf("give 10 to %d", maxPolicies))
	case o.base < minBase || o.base > maxBase:
		return bad("base", fmt.Sprintf("give %d to %d", minBase, maxBase))
	}
	for text := range strings.SplitSeq(scales, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 || n > maxScale || slices.Contains(o.scales, n) {
			return bad("scale", fmt.Sprintf("give different numbers from 1 to %d, as in 1,10,100", maxScale))
		}
		o.scales = append(o.scales, n)
	}
	slices.Sort(o.scales)
	return nil
}
