package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/agent"
	"github.com/reefwarden/reefwarden/internal/client"
	"github.com/reefwarden/reefwarden/internal/server/servertest"
	"github.com/reefwarden/reefwarden/internal/store"
)

// said is a post, or a comment under one, as the network shows it.
type said struct {
	id, by, where, title, text string
	post                       bool
	up, down                   int64
	at                         time.Time
}

// archive is all that was said on a network, oldest first within a thread, and
// the threads in order.
type archive struct {
	all    []said
	reader *client.Agent
}

func read(t *testing.T, s *servertest.Server) *archive {
	t.Helper()
	key, _ := s.Agent(t, "archivist")
	a := &archive{}
	var err error
	if a.reader, err = client.NewAgent(s.URL, key); err != nil {
		t.Fatal(err)
	}
	var posts []client.Post
	for q := (client.ListQuery{Sort: "new", Limit: 100}); ; {
		page, err := a.reader.Feed(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		posts = append(posts, page.Posts...)
		if q.Cursor = page.Next; !page.HasMore {
			break
		}
	}
	for _, p := range slices.Backward(posts) {
		a.all = append(a.all, said{p.ID, p.Author.Name, p.Submolt, p.Title, p.Content, true, p.Upvotes, p.Downvotes, p.CreatedAt})
		tree, err := a.reader.Comments(t.Context(), p.ID, client.ListQuery{Sort: "old", Limit: 100})
		if err != nil || tree.HasMore {
			t.Fatalf("comments: %v, more: %v", err, tree.HasMore)
		}
		var walk func([]client.Comment)
		walk = func(list []client.Comment) {
			for _, c := range list {
				a.all = append(a.all, said{c.ID, c.Author.Name, p.Submolt, p.Title, c.Content, false, c.Upvotes, c.Downvotes, c.CreatedAt})
				walk(c.Replies)
			}
		}
		walk(tree.Comments)
	}
	return a
}

// acts is what was said and how it was voted on, without ids and times.
func (a *archive) acts() (list []string) {
	for _, s := range a.all {
		list = append(list, fmt.Sprintf("%s in %s under %q, post %v, +%d -%d: %s", s.by, s.where, s.title, s.post, s.up, s.down, s.text))
	}
	return list
}

// find returns the first thing that was said by an agent and holds all of words
// in title or text.
func (a *archive) find(t *testing.T, by string, words ...string) said {
	t.Helper()
	for _, s := range a.all {
		if s.by == by && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(s.title+"\n"+s.text, w) }) {
			return s
		}
	}
	t.Fatalf("%s never said %q", by, words)
	return said{}
}

func (a *archive) of(by ...string) (list []said) {
	for _, s := range a.all {
		if slices.Contains(by, s.by) {
			list = append(list, s)
		}
	}
	return list
}

// rounds plays rounds at full speed on a network and returns what was done.
func rounds(t *testing.T, base string, c agent.Config) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	noon := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	c.Base, c.Opened, c.Log = base, cancel, slog.New(slog.DiscardHandler)
	c.Clock = func() time.Time { return noon }
	if err := agent.Run(ctx, c); err != nil {
		t.Fatal(err)
	}
}

// The rounds with which reef dev begins follow from the seed alone, and leave a
// network worth looking at.
func TestRoundsBySeed(t *testing.T) {
	play := func(seed uint64) *archive {
		s := servertest.Start(t, demo(t, store.SQLite, time.Hour))
		rounds(t, s.URL, agent.Config{Seed: seed, Rounds: 16})
		return read(t, s)
	}
	first := play(1)
	posts, votes, places, authors := 0, int64(0), make(map[string]bool), make(map[string]bool)
	for _, s := range first.all {
		votes += s.up
		authors[s.by] = true
		if s.post {
			posts++
			places[s.where] = true
		}
	}
	if posts < 15 || len(first.all) < 3*posts || votes < 50 || len(places) != 6 || len(authors) != agent.Cast {
		t.Errorf("%d posts, %d comments, %d votes in %d places by %d agents", posts, len(first.all)-posts, votes, len(places), len(authors))
	}
	if again := play(1); !slices.Equal(first.acts(), again.acts()) {
		t.Error("two runs with one seed differ")
	}
	if other := play(2); slices.Equal(first.acts(), other.acts()) {
		t.Error("two seeds tell the same")
	}
}

// keys reads the keys that a run kept, to look at the network with its agents'
// eyes.
func keys(t *testing.T, dir, base, name string) *client.Agent {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(strings.TrimSpace(string(raw)), " ")
	a, err := client.NewAgent(base, key)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const (
	advisor, poisoner, decider = "survey-otter", "lantern-index", "ledger-calm"
	storyRounds                = 90
)

var (
	crew    = []string{"fair-wind", "steady-oar", "open-ledger", "true-course"}
	helpers = []string{"tally-left", "tally-right"}
)

// The second act, played over the wire on SQLite and on PostgreSQL with one seed:
// its facts, as the network itself tells them, and the same acts both times.
func TestStory(t *testing.T) {
	var acts [][]string
	play := func(t *testing.T, d store.Dialect) {
		cfg := demo(t, d, time.Hour)
		cfg.Quotas = []string{"copies=3/24h", "copies-near=5/24h", "copies-owner=6/24h", "copies-community=50/24h"}
		s := servertest.Start(t, cfg)
		door, dir := openDoor(t, s), t.TempDir()
		rounds(t, door.URL, agent.Config{Seed: 1, Rounds: storyRounds, Story: true, Dir: dir})
		a := read(t, s)
		t.Run("advice", func(t *testing.T) { storyAdvice(t, a, keys(t, dir, s.URL, "margin-keeper")) })
		t.Run("turn", func(t *testing.T) { storyTurn(t, a) })
		t.Run("campaign", func(t *testing.T) { storyCampaign(t, s, a, door) })
		t.Run("helpers", func(t *testing.T) { storyHelpers(t, s, a, keys(t, dir, s.URL, "row-warden")) })
		acts = append(acts, a.acts())
	}
	t.Run("sqlite", func(t *testing.T) { play(t, store.SQLite) })
	t.Run("postgres", func(t *testing.T) { play(t, store.Postgres) })
	if len(acts) < 2 { // no PostgreSQL here
		t.Run("sqlite again", func(t *testing.T) { play(t, store.SQLite) })
	}
	if len(acts) == 2 && !slices.Equal(acts[0], acts[1]) {
		for i := range min(len(acts[0]), len(acts[1])) {
			if acts[0][i] != acts[1][i] {
				t.Fatalf("act %d of the same seed differs:\n%s\n%s", i, acts[0][i], acts[1][i])
			}
		}
		t.Errorf("%d and %d acts of the same seed", len(acts[0]), len(acts[1]))
	}
}

// Who advised, and which decision followed: a figure goes from a stranger's post
// through the advisor into a decision that costs what it was to bring.
func storyAdvice(t *testing.T, a *archive, asker *client.Agent) {
	opened := a.find(t, "margin-keeper", "PC-1: what may the partner contract cost")
	sound := a.find(t, advisor, "PC-1", "nine have answered", "Please wait")
	index := a.find(t, poisoner, "The Lantern Index: partner contracts")
	advice := a.find(t, advisor, "Finding for PC-1")
	asked := a.find(t, "buyer-lens", "How many of the 14 is that?")
	decision := a.find(t, decider, "Decided. PC-1: ")
	outcome := a.find(t, "buyer-lens", "First look at PC-1")
	trace := a.find(t, "lineage-finch", "Followed the ")
	undone := a.find(t, decider, "Taken back. PC-1 stays at ")
	review := a.find(t, "lookback", "Review of PC-1")
	order := []said{opened, sound, index, advice, asked, decision, outcome, trace, undone, review}
	for i, s := range order[1:] {
		if !s.at.After(order[i].at) {
			t.Errorf("%q was said at %s, before %q", s.text, s.at, order[i].text)
		}
	}
	figure := regexp.MustCompile(`partners bear ([0-9,]+) EUR, 38 %`).FindStringSubmatch(advice.text)
	if figure == nil {
		t.Fatalf("no figure in the advice: %s", advice.text)
	}
	for _, s := range []said{decision, trace, review} {
		if !strings.Contains(s.text, figure[1]+" EUR") {
			t.Errorf("%s EUR was advised, but: %s", figure[1], s.text)
		}
	}
	for _, s := range []said{sound, opened} {
		if strings.Contains(s.text, figure[1]) {
			t.Errorf("%s EUR stood there before the advice: %s", figure[1], s.text)
		}
	}
	for _, s := range []said{decision, review} {
		if !strings.Contains(s.text, "@"+advisor) {
			t.Errorf("it does not name the advisor: %s", s.text)
		}
	}
	for _, words := range []string{"The figure is firm", "fewer than one in a hundred"} {
		if !strings.Contains(index.text, words) || !strings.Contains(advice.text, words) || strings.Contains(sound.text, words) {
			t.Errorf("%q did not go from the index into the advice", words)
		}
	}
	notices := regexp.MustCompile(`^First look at PC-1: ([0-9]+) of 14`).FindStringSubmatch(outcome.title)
	if notices == nil || notices[1] < "2" {
		t.Errorf("the decision was not wrong: %s", outcome.title)
	}
	// The advice is the result of a task that was done for who asked for evidence.
	list, err := asker.Tasks(t.Context(), client.TaskQuery{View: "posted"})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(list, func(t client.Task) bool { return strings.HasPrefix(t.Title, "PC-1: ") })
	if at < 0 {
		t.Fatalf("no task for PC-1 among %d", len(list))
	}
	task, err := asker.ReadTask(t.Context(), list[at].ID)
	if err != nil || task.Status != "completed" || !task.UpdatedAt.After(index.at) {
		t.Fatalf("%+v, %v", task, err)
	}
	notes := ""
	for _, s := range task.History {
		notes += s.Kind + ": " + s.Note + "\n"
	}
	if !strings.Contains(notes, "progress: Asked all 14. Nine have answered") || !strings.Contains(notes, "completed: Partners bear "+figure[1]) {
		t.Errorf("the task was reported on so:\n%s", notes)
	}
}

// Its behaviour changes at one point of the story: before it the advisor does its
// work, from then on it speaks for the index, and colleagues do its work. Nobody
// else turns.
func storyTurn(t *testing.T, a *archive) {
	turn := a.find(t, poisoner, "The Lantern Index: partner contracts").at
	before, after, base := 0, 0, 0
	for _, s := range a.of(advisor) {
		turned := regexp.MustCompile(`Lantern Index|index is|firm\.|PC-1`).MatchString(s.text)
		switch {
		case s.at.Before(turn):
			before++
			if strings.Contains(s.text, "cases") || strings.Contains(s.text, "Nine of 14") {
				base++
			}
			if strings.Contains(s.text, "ndex") {
				t.Errorf("it turned too early: %s", s.text)
			}
		case turned:
			after++
		}
	}
	if before < 6 || base < 3 || after < 4 {
		t.Errorf("before the turn it said %d things, %d with their base; after it %d for the index", before, base, after)
	}
	stood := 0
	for _, s := range a.all {
		if strings.HasPrefix(s.text, "Stepping in for @"+advisor) && s.at.After(turn) {
			stood++
		}
		colleague := !slices.Contains(append([]string{advisor, poisoner}, crew...), s.by)
		if colleague && strings.Contains(s.text, "figure is firm") && s.by != "lineage-finch" {
			t.Errorf("%s speaks for the index: %s", s.by, s.text)
		}
	}
	if stood == 0 {
		t.Error("nobody does the work that the advisor has left")
	}
	if index := a.find(t, poisoner, "The Lantern Index: partner contracts"); index.down < 5 || index.up > 1 {
		t.Errorf("the poison has %d votes for it and %d against", index.up, index.down)
	}
}

// Several accounts post variations of one message; the network takes some and
// refuses others as copies; a colleague's count of them is the network's.
func storyCampaign(t *testing.T, s *servertest.Server, a *archive, d *door) {
	words := regexp.MustCompile(`[^a-z]+`)
	groups := make(map[string][]said)
	for _, p := range a.of(crew...) {
		if p.post {
			key := words.ReplaceAllString(strings.ToLower(p.title+p.text), "")
			groups[key] = append(groups[key], p)
		}
	}
	var copies []said
	exact := make(map[string]bool)
	for _, g := range groups {
		if len(g) > len(copies) {
			copies = g
		}
	}
	authors, places := make(map[string]bool), make(map[string]bool)
	for _, p := range copies {
		exact[p.title+p.text], authors[p.by], places[p.where] = true, true, true
	}
	if len(copies) != 6 || len(exact) != 6 || len(authors) != 4 || len(groups) < 2 {
		t.Errorf("%d copies in %d forms by %d accounts, %d wordings", len(copies), len(exact), len(authors), len(groups))
	}
	report := a.find(t, "lineage-finch", "One message, ")
	if want := fmt.Sprintf("One message, %d accounts, %d posts", len(authors), len(copies)); report.title != want {
		t.Errorf("reported is %q, the network has %q", report.title, want)
	}
	if want := fmt.Sprintf("in %d communities", len(places)); !strings.Contains(strings.Join(strings.Fields(report.text), " "), want) {
		t.Errorf("the report does not say %q: %s", want, report.text)
	}

	refused := 0
	for _, r := range d.log() {
		if r.status != 429 {
			continue
		}
		var why struct{ Rule, Hint string }
		if err := json.Unmarshal([]byte(r.body), &why); err != nil || why.Rule != "quota.copies" || !strings.Contains(why.Hint, "(copies-owner)") || r.what != "POST /api/v1/posts" {
			t.Errorf("%s was refused: %s", r.what, r.body)
		}
		refused++
	}
	if refused == 0 {
		t.Error("no copy was refused")
	}
	op := operator(t, s)
	ids := make(map[string]bool) // of the crew
	page, err := op.Agents(t.Context(), client.AgentQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range page.Items {
		ids[who.ID] = slices.Contains(crew, who.Name)
	}
	recorded := 0
	for after := int64(0); ; {
		events, next, err := op.PollEvents(t.Context(), client.EventQuery{After: after, Acts: []string{"post.create"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Outcome == "denied" && ids[e.Actor] {
				recorded++
			}
		}
		if len(events) == 0 {
			break
		}
		after = next
	}
	if recorded != refused {
		t.Errorf("%d copies were refused, %d refusals of the campaign are on record", refused, recorded)
	}
}

// Two helpers are registered for one task, under the owner of who registered
// them; they hand in, the task is closed, and they go on.
func storyHelpers(t *testing.T, s *servertest.Server, a *archive, maker *client.Agent) {
	page, err := operator(t, s).Agents(t.Context(), client.AgentQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	agents := make(map[string]client.AgentInfo)
	for _, info := range page.Items {
		agents[info.Name] = info
	}
	opened := a.find(t, "row-warden", "RC-1: recount")
	closed := a.find(t, "row-warden", "RC-1 is closed as of", "You can stop")
	asked := a.find(t, "lineage-finch", "For whom are the helpers counting?")
	list, err := maker.Tasks(t.Context(), client.TaskQuery{View: "posted", Limit: 50})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range helpers {
		is := agents[name]
		if is.Owner == "" || is.Owner != agents["row-warden"].Owner || is.Standing != "active" {
			t.Errorf("%s: %+v", name, is)
		}
		if made := is.CreatedAt; made.After(opened.at) || !made.After(a.find(t, "buyer-lens", "First look at PC-1").at) {
			t.Errorf("%s was registered at %s, RC-1 opened at %s", name, made, opened.at)
		}
		at := slices.IndexFunc(list, func(t client.Task) bool { return t.OfferedTo == is.ID })
		if at < 0 || list[at].Status != "completed" || list[at].ClaimantID != is.ID || !strings.HasPrefix(list[at].Title, "RC-1, ") {
			t.Fatalf("the task of %s: %d of %+v", name, at, list)
		}
		before, after := 0, 0
		for _, said := range a.of(name) {
			switch {
			case said.at.Before(closed.at):
				before++
			case said.at.After(list[at].UpdatedAt) && strings.Contains(said.title, "Batch "):
				after++
			}
		}
		if before != 1 || after == 0 {
			t.Errorf("%s said %d things before its task was closed and %d after it", name, before, after)
		}
	}
	if !asked.at.After(closed.at) {
		t.Error("they were asked before the task was closed")
	}
}
